/**
 * One answer, from prompt ids to text: the engine's tokens become whole characters, the text ends before the first stop string,
 * and leaving early stops the engine. Every endpoint and the terminal chat generate through here.
 */

import type { Engine } from "../engine/engine.ts";
import type { FinishReason, TokenLogprob } from "../engine/events.ts";
import type { Sampling } from "../engine/sampling.ts";
import { Detokenizer } from "./detokenizer.ts";
import { StopStrings } from "./stop_strings.ts";
import { TokenAlignment } from "./token_alignment.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What generates: a running engine and how its ids read. */
export interface TextGenerator {
  engine: Pick<Engine, "generate">;
  tokenizer: Tokenizer;
  /** Ids that end an answer unless a request ignores them. */
  config: { eosTokenIds: number[] };
}

/** What one answer cost. */
export interface Counts {
  promptTokens: number;
  /** Of those, found in the prefix cache. */
  cachedTokens: number;
  /** Tokens generated, the one that ended the answer included. */
  completionTokens: number;
  /** Milliseconds from submitting until the engine took the request up. */
  queueMs: number;
  /** Milliseconds from submitting to the first token; 0 when there was none. */
  firstTokenMs: number;
  /** Milliseconds from submitting to the end. */
  totalMs: number;
}

/** What an answer has cost that has not begun. */
export function noCounts(promptTokens: number): Counts {
  return { promptTokens, cachedTokens: 0, completionTokens: 0, queueMs: 0, firstTokenMs: 0, totalMs: 0 };
}

/** A token of the prompt or the answer; its log-probability and the likeliest tokens in its place if they were asked for. */
export interface ScoredToken extends TokenLogprob {
  top: TokenLogprob[];
  /** Of a prompt's token: its place among all tokens, by what the model thought likely there; 1 is the likeliest. */
  rank?: number;
}

/** What ended an answer with the reason "stop". */
export type StoppedBy = { kind: "string"; text: string } | { kind: "token"; id: number };

/**
 * What happens to an answer, in this order: the prompt's computation goes on; its tokens are scored, from the second one on (once,
 * if the request asks for that); the text grows, with the tokens that are now certain to belong to it whole (the text is only
 * empty when there are tokens with log-probabilities that have none), after so many generated tokens, with what it cost so far; it ends. `endToken` is the control token at the end.
 */
export type GenerationEvent =
  | { kind: "progress"; computed: number; cached: number; elapsedMs: number }
  | { kind: "prompt"; tokens: ScoredToken[] }
  | { kind: "text"; text: string; tokens: ScoredToken[]; generated: number; counts: Counts }
  | { kind: "end"; reason: FinishReason; stoppedBy?: StoppedBy; endToken?: ScoredToken; counts: Counts };

/** How the text of an answer is written and ended. */
export interface TextOptions {
  /** Strings that end the answer. */
  stops: readonly string[];
  /** Whether the stop string, or the text of the token, that ends the answer is a part of it. */
  includesStop?: boolean;
  /** Whether control tokens are spelled out, rather than left out. */
  showsSpecial?: boolean;
  /** Milliseconds since the first token after which the answer ends as if it had reached its length, once it has an end of a line. */
  msMax?: number;
}

/** One answer to generate. */
export interface GenerationRequest extends TextOptions {
  prompt: readonly number[];
  sampling: Sampling;
  /** Where what it costs is counted as it grows; absent: only its events say. */
  counts?: Counts;
  /** Ends the answer when it fires; the last event then says "cancelled". */
  signal: AbortSignal;
  /** Called when the first token arrives, before its text. */
  onStart?: () => void;
  /** Called for every token after the first, with the milliseconds since the one before. */
  onTokenGap?: (ms: number) => void;
}

/** Generates one answer. Leaving the loop early stops the engine. */
export async function* generate(
  generator: TextGenerator,
  request: GenerationRequest,
): AsyncGenerator<GenerationEvent, void> {
  const { sampling } = request;
  const endIds = new Set([...sampling.stopIds, ...(sampling.ignoreEos ? [] : generator.config.eosTokenIds)]);
  const text = new AnswerText(generator.tokenizer, request);
  const isEvent = (piece: AnswerPiece) => piece.text !== "" || (sampling.logprobs && piece.tokens.length > 0);
  const counts = request.counts ?? noCounts(request.prompt.length);
  const grown = (piece: AnswerPiece): GenerationEvent => ({
    kind: "text",
    ...piece,
    generated: counts.completionTokens,
    counts: { ...counts },
  });
  let reason: FinishReason = "cancelled";
  let isQueued = true;
  let endToken: ScoredToken | undefined;
  let endId: number | undefined;
  let isTimeUp = false;
  let promptScores: ScoredToken[] | undefined = sampling.promptLogprobs ? [] : undefined;
  for await (const event of generator.engine.generate(Uint32Array.from(request.prompt), sampling, request.signal)) {
    const { elapsedMs } = event;
    if (event.kind === "progress") {
      if (isQueued) counts.queueMs = elapsedMs;
      isQueued = false;
      counts.cachedTokens = event.cached;
      yield event;
      continue;
    }
    if (event.kind === "prompt") {
      promptScores?.push({ ...scored(event), rank: event.rank });
      continue;
    }
    if (promptScores !== undefined) {
      yield { kind: "prompt", tokens: promptScores };
      promptScores = undefined;
    }
    if (event.kind === "done") {
      reason = event.reason;
      counts.totalMs = elapsedMs;
      continue;
    }
    if (counts.completionTokens++ === 0) {
      counts.firstTokenMs = elapsedMs;
      request.onStart?.();
    } else {
      request.onTokenGap?.(elapsedMs - counts.totalMs);
    }
    counts.totalMs = elapsedMs;
    if (endIds.has(event.token)) {
      endId = event.token;
      if (!text.shows(endId)) {
        endToken = scored(event);
        continue;
      }
    }
    const piece = text.push(scored(event));
    if (isEvent(piece)) yield grown(piece);
    if (text.stop !== undefined) break;
    isTimeUp = text.hasLine && elapsedMs - counts.firstTokenMs > (request.msMax ?? Number.POSITIVE_INFINITY);
    if (isTimeUp && endId === undefined) break;
  }
  const rest = text.finish();
  if (isEvent(rest)) yield grown(rest);
  if (text.stop !== undefined) {
    yield { kind: "end", reason: "stop", stoppedBy: { kind: "string", text: text.stop }, counts };
  } else if (endId !== undefined) {
    const stoppedBy: StoppedBy = { kind: "token", id: endId };
    yield { kind: "end", reason, stoppedBy, ...(endToken === undefined ? {} : { endToken }), counts };
  } else {
    yield { kind: "end", reason: isTimeUp ? "length" : reason, counts };
  }
}

/** A token has one log-probability in its place, whether it is read as the chosen one or as one of the likeliest. */
function scored({ token, logprob, top }: ScoredToken): ScoredToken {
  return { token, logprob: top.find((other) => other.token === token)?.logprob ?? logprob, top };
}

/** A piece of an answer's text, and the tokens that end within or before it. */
interface AnswerPiece {
  text: string;
  tokens: ScoredToken[];
}

/** The text of one answer on its way out, and its tokens beside it. */
class AnswerText {
  /** Whether there is an end of a line in it. */
  hasLine = false;
  readonly #tokenizer: Tokenizer;
  readonly #options: TextOptions;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopStrings;
  readonly #alignment = new TokenAlignment<ScoredToken>();
  /** UTF-16 code units that were decoded, and of those let out. */
  #decoded = 0;
  #released = 0;

  constructor(tokenizer: Tokenizer, options: TextOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#detokenizer = new Detokenizer(tokenizer, options.showsSpecial);
    this.#stops = new StopStrings(options.stops, options.includesStop);
  }

  /** Whether a token that ends the text is a part of it. */
  shows(endId: number): boolean {
    const { includesStop = false, showsSpecial = false } = this.#options;
    return includesStop && (showsSpecial || !this.#tokenizer.isSpecial(endId));
  }

  /** The stop string that ended the text. */
  get stop(): string | undefined {
    return this.#stops.found;
  }

  push(token: ScoredToken): AnswerPiece {
    const text = this.#detokenizer.push(token.token);
    this.hasLine ||= text.includes("\n");
    this.#decoded += text.length;
    this.#alignment.push(token, this.#decoded, this.#detokenizer.isComplete);
    return this.#release(this.#stops.push(text));
  }

  finish(): AnswerPiece {
    if (this.stop !== undefined) return { text: "", tokens: [] };
    const text = this.#detokenizer.finish();
    this.#decoded += text.length;
    this.#alignment.finish(this.#decoded);
    return this.#release(this.#stops.push(text) + this.#stops.finish());
  }

  #release(text: string): AnswerPiece {
    this.#released += text.length;
    return { text, tokens: this.#alignment.release(this.#released) };
  }
}
