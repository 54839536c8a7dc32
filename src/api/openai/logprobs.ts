/**
 * Log-probabilities in OpenAI's two shapes: that of chat answers and the older one of completions, which lm-evaluation-harness reads.
 */

import { Detokenizer } from "../../text/detokenizer.ts";
import type { ScoredToken } from "../../text/generation.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { finite, nameOf } from "../logprobs.ts";

/** `logprobs.content` of a chat answer, with the `top` likeliest tokens in each place. */
export function chatLogprobs(tokenizer: Tokenizer, tokens: readonly ScoredToken[], top: number): object[] {
  const describe = ({ token, logprob }: { token: number; logprob: number }) => {
    const bytes = tokenizer.bytes(token);
    return { token: nameOf(bytes, ""), logprob: finite(logprob), bytes: Array.from(bytes) };
  };
  return tokens.map((token) => ({ ...describe(token), top_logprobs: token.top.slice(0, top).map(describe) }));
}

/** `logprobs` of a completion; the four lists have one element for each token. */
export interface CompletionLogprobs {
  tokens: string[];
  /** null for a token that nothing comes before. */
  token_logprobs: (number | null)[];
  /** The likeliest tokens and the chosen one. */
  top_logprobs: (Record<string, number> | null)[];
  /** Characters of the choice's text before the token. */
  text_offset: number[];
}

/** Makes the lists of one choice, piece by piece. */
export class CompletionScores {
  readonly #tokenizer: Tokenizer;
  readonly #top: number;
  readonly #showsSpecial: boolean;
  /** Code points of text so far. */
  #offset = 0;

  /**
   * @param top likeliest tokens in each place beside the chosen one.
   * @param showsSpecial whether control tokens are spelled out in the answer.
   */
  constructor(tokenizer: Tokenizer, top: number, showsSpecial: boolean) {
    this.#tokenizer = tokenizer;
    this.#top = top;
    this.#showsSpecial = showsSpecial;
  }

  /**
   * The lists for a prompt that is echoed.
   *
   * @param hidden ids at its beginning that the echoed text doesn't spell.
   * @param scores of the second id and those after it.
   */
  prompt(ids: readonly number[], hidden: number, scores: readonly ScoredToken[]): CompletionLogprobs {
    const first: ScoredToken = { token: ids[0] as number, logprob: 0, top: [] };
    const lists = this.#lists([first, ...scores], new Detokenizer(this.#tokenizer, true), hidden);
    lists.token_logprobs[0] = null;
    lists.top_logprobs[0] = null;
    return lists;
  }

  /** The lists for a piece of the answer. */
  answer(tokens: readonly ScoredToken[]): CompletionLogprobs {
    return this.#lists(tokens, new Detokenizer(this.#tokenizer, this.#showsSpecial), 0);
  }

  /**
   * The lists for the control token that ended the answer. The text lacks it, so it is named by no text: the names joined are the text.
   * It stays in the lists, since readers rely on one element for each token generated (lm-evaluation-harness drops the last one).
   */
  end(token: ScoredToken): CompletionLogprobs {
    return { ...this.answer([token]), tokens: [""] };
  }

  #lists(tokens: readonly ScoredToken[], detokenizer: Detokenizer, hidden: number): CompletionLogprobs {
    const lists: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    const name = (id: number) => nameOf(this.#tokenizer.bytes(id), "bytes:");
    tokens.forEach(({ token, logprob, top }, index) => {
      lists.tokens.push(name(token));
      lists.token_logprobs.push(finite(logprob));
      const likeliest = [...top.slice(0, this.#top), { token, logprob }];
      lists.top_logprobs.push(Object.fromEntries(likeliest.map((other) => [name(other.token), finite(other.logprob)])));
      lists.text_offset.push(this.#offset);
      if (index >= hidden) this.#offset += Array.from(detokenizer.push(token)).length;
    });
    this.#offset += Array.from(detokenizer.finish()).length;
    return lists;
  }
}

/** The lists of several pieces as one. */
export function joinScores(pieces: readonly CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: pieces.flatMap((piece) => piece.tokens),
    token_logprobs: pieces.flatMap((piece) => piece.token_logprobs),
    top_logprobs: pieces.flatMap((piece) => piece.top_logprobs),
    text_offset: pieces.flatMap((piece) => piece.text_offset),
  };
}
