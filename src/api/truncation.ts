/** `truncate_prompt_tokens` and `truncation_side`, as in vLLM: prompts that are too long are shortened instead of refused. */

import type { JsonObject } from "../json.ts";
import { invalid } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import type { PromptText } from "../text/added_tokens.ts";
import { encodeText, type TextIds } from "./encoding.ts";
import type { Exchange } from "./exchange.ts";
import { invalidValue, optionalInteger, optionalString } from "./schema.ts";

/** How prompts are shortened. */
export interface Truncation {
  /** Tokens that are kept; undefined: as many as fit. */
  tokens: number | undefined;
  /** Whether those at the beginning are kept, rather than those at the end. */
  keepsBeginning: boolean;
}

/** Most tokens of a text that is going to be shortened. */
const TOKENS_MAX = 262_144;

/** Reads how prompts are shortened; undefined: they are not. @throws RequestError 400. */
export function readTruncation(body: JsonObject): Truncation | undefined {
  const param = "truncate_prompt_tokens";
  const side = optionalString(body, "truncation_side") ?? "left";
  if (side !== "left" && side !== "right") throw invalidValue("truncation_side", "'left' or 'right'");
  const tokens = optionalInteger(body, param, { low: -1 });
  if (tokens === undefined) return undefined;
  if (tokens === 0) {
    throw invalid(
      param,
      "integer_below_min_value",
      `Invalid '${param}': expected a number over 0, or -1 for as many as fit.`,
    );
  }
  return { tokens: tokens === -1 ? undefined : tokens, keepsBeginning: side === "right" };
}

/** What is left of ids, of which `limit` fit. */
export function truncated(ids: number[], limit: number, truncation: Truncation | undefined): TextIds {
  const left = truncation === undefined ? ids : shortened(ids, truncation.tokens ?? limit, truncation.keepsBeginning);
  return left.length > limit ? { tooLong: left.length, isExact: true } : { ids: left };
}

function shortened(ids: number[], count: number, keepsBeginning: boolean): number[] {
  if (ids.length <= count) return ids;
  return keepsBeginning ? ids.slice(0, count) : ids.slice(ids.length - count);
}

/** Encodes a text of a request, as encodeText does, and shortens it. @throws RequestError 400. */
export async function encodeTruncated(
  exchange: Exchange,
  service: Service,
  param: string,
  text: string | PromptText,
  limit: number,
  truncation: Truncation | undefined,
): Promise<TextIds> {
  if (truncation === undefined) return encodeText(exchange, service, param, text, limit);
  const encoding = await encodeText(exchange, service, param, text, TOKENS_MAX);
  return "ids" in encoding ? truncated(encoding.ids, limit, truncation) : encoding;
}
