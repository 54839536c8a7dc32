/**
 * Parameters that every endpoint which generates has beside those of sampling: the model, whether the answer is streamed and what the stream
 * carries, who asks, and with whom the prefix cache may be shared.
 */

import type { JsonObject } from "../json.ts";
import type { Service } from "../serving/service.ts";
import type { Exchange } from "./exchange.ts";
import { checkParameters, streamOptionsTable } from "./parameters.ts";
import { checkLength, onlyWith, optionalBoolean, optionalObject, optionalString } from "./schema.ts";

/** Longest cache_salt, in UTF-16 code units. */
export const CACHE_SALT_LENGTH_MAX = 1024;

/** Which model a request is for. @throws RequestError 503 while there is none, 400 or 404 when it names another. */
export function readModel(exchange: Exchange, body: JsonObject): { service: Service; model: string } {
  const { state } = exchange;
  const service = state.requireService();
  state.checkModel(optionalString(body, "model"));
  exchange.model = state.modelName;
  return { service, model: state.modelName };
}

/** What a stream carries. */
export interface StreamParameters {
  isStreamed: boolean;
  /** One more chunk at the end, with the usage. */
  includeUsage: boolean;
  /** Chunks that say how far the prompt's computation is. */
  returnsProgress: boolean;
  /** Whether each chunk has the times so far, rather than only the last one. */
  timesTokens: boolean;
}

/** Reads what is said about the stream. @throws RequestError 400. */
export function readStreamParameters(body: JsonObject): StreamParameters {
  const isStreamed = optionalBoolean(body, "stream");
  const options = optionalObject(body, "stream_options");
  if (options !== undefined && !isStreamed) throw onlyWith("stream_options", "stream");
  checkParameters(options ?? {}, streamOptionsTable, "stream_options");
  const returnsProgress = optionalBoolean(body, "return_progress");
  if (returnsProgress && !isStreamed) throw onlyWith("return_progress", "stream");
  const timesTokens = optionalBoolean(body, "timings_per_token");
  return { isStreamed, includeUsage: optionalBoolean(options ?? {}, "include_usage"), returnsProgress, timesTokens };
}

/**
 * The scope of the prefix cache that a request belongs to: that of its API key, narrowed by its cache_salt.
 *
 * @throws RequestError 400.
 */
export function readScope(body: JsonObject, exchange: Exchange): bigint {
  const salt = optionalString(body, "cache_salt");
  if (salt !== undefined) checkLength(salt, "cache_salt", CACHE_SALT_LENGTH_MAX);
  return exchange.state.scopes.of(exchange.key?.hash, salt);
}

/** How far a prompt's computation is, in llama.cpp's words. */
export function promptProgress(total: number, event: { computed: number; cached: number; elapsedMs: number }) {
  return {
    total,
    cache: event.cached,
    processed: event.computed,
    time_ms: Math.round(event.elapsedMs * 100) / 100,
  };
}
