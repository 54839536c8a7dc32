/** Log-probabilities in llama.cpp's shape. */

import type { ScoredToken } from "../../text/generation.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { finite, nameOf } from "../logprobs.ts";

/** llama.cpp's `completion_probabilities`: as in a chat answer, with ids. */
export function llamaProbabilities(tokenizer: Tokenizer, tokens: readonly ScoredToken[]): object[] {
  const describe = ({ token, logprob }: { token: number; logprob: number }) => {
    const bytes = tokenizer.bytes(token);
    return { id: token, token: nameOf(bytes, ""), bytes: Array.from(bytes), logprob: finite(logprob) };
  };
  return tokens.map((token) => ({ ...describe(token), top_logprobs: token.top.map(describe) }));
}
