/**
 * Strangers' texts to token ids: in turns with everybody else's, given up when the client leaves.
 */

import { invalid } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import type { PromptText } from "../text/added_tokens.ts";
import { describeIndivisible } from "../text/tokenizer.ts";
import type { Exchange } from "./exchange.ts";

/** The ids of a text, or, when there are too many, their number: the exact one, or one that the text has at least. */
export type TextIds = { ids: number[] } | { tooLong: number; isExact: boolean };

/**
 * Encodes a text of a request.
 *
 * @param param the parameter that holds it.
 * @param text all of it may name control tokens, unless it says otherwise.
 * @param limit most ids wanted.
 * @throws RequestError 400 when a part of it can't be divided and is too long to be encoded at once.
 */
export async function encodeText(
  exchange: Exchange,
  { tokenizer }: Service,
  param: string,
  text: string | PromptText,
  limit: number,
): Promise<TextIds> {
  const encoding = await tokenizer.encode(text, limit, exchange.client);
  if (!("indivisible" in encoding)) return encoding;
  const advice = "Please break them up, with spaces between words or new lines.";
  const message = `Invalid '${param}': ${describeIndivisible(encoding)}. ${advice}`;
  throw invalid(param, "string_above_max_length", message);
}
