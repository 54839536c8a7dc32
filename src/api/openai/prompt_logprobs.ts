/** `prompt_logprobs`, as in vLLM: what the model thought of the prompt's own tokens, and what it would have expected in their places. */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import type { JsonObject } from "../../json.ts";
import { invalid } from "../../serving/request_error.ts";
import { decodeAll } from "../../text/detokenizer.ts";
import type { ScoredToken } from "../../text/generation.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { finite } from "../logprobs.ts";
import { optionalInteger } from "../schema.ts";

/** Reads how many likely tokens are wanted in each place beside the prompt's own; undefined: nothing is wanted. @throws RequestError 400. */
export function readPromptLogprobs(body: JsonObject, isStreamed: boolean): number | undefined {
  const param = "prompt_logprobs";
  const top = optionalInteger(body, param, { low: 0, high: TOP_LOGPROBS_MAX });
  if (top === undefined || !isStreamed) return top;
  throw invalid(param, "invalid_value", `Invalid '${param}': they are not available when 'stream' is enabled.`);
}

/**
 * A place has an object with its likeliest tokens and its own, by their ids; the first place has null.
 *
 * @param tokens the prompt's, from the second one on.
 */
export function promptLogprobs(tokenizer: Tokenizer, tokens: readonly ScoredToken[], top: number): (object | null)[] {
  const describe = ({ token, logprob }: { token: number; logprob: number }, rank: number | undefined) => [
    token,
    { logprob: finite(logprob), rank, decoded_token: decodeAll(tokenizer, [token]) },
  ];
  const places = tokens.map((own) =>
    Object.fromEntries([
      ...own.top.slice(0, top).map((token, index) => describe(token, index + 1)),
      describe(own, own.rank),
    ]),
  );
  return [null, ...places];
}
