/** Embeddings of texts, in every dialect: their ids, a place among the requests that are served, and the engine's vectors in turn. */

import { invalid, RequestError } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import { endedByShutdown } from "../serving/state.ts";
import { newRecord } from "./answer_record.ts";
import { encodeText } from "./encoding.ts";
import type { Exchange } from "./exchange.ts";

/** Most texts of a request. */
export const TEXTS_MAX = 2048;

/** A text or its ids. */
type SentText = string | readonly number[];

/** What a request's texts became. */
export interface Embeddings {
  /** One for each text, in their order, as the model gives them. */
  vectors: Float32Array[];
  /** Tokens of all texts. */
  tokens: number;
}

/** @throws RequestError 400 when the model gives no embeddings. */
export function requireEmbeddingModel(service: Service): void {
  if (service.config.pooling !== undefined) return;
  throw new RequestError(
    400,
    "This model answers with text and has no embeddings; serve an embedding model, such as bitnet-embedding-0.6b.",
    { param: "model", code: "model_not_supported" },
  );
}

/** @throws RequestError 400 when the model gives nothing but embeddings. */
export function requireTextModel(service: Service): void {
  if (service.config.pooling === undefined) return;
  throw new RequestError(
    400,
    "This model gives embeddings, no text; POST to /v1/embeddings, or serve a model that answers.",
    { param: "model", code: "model_not_supported" },
  );
}

/**
 * Embeds texts. They go through the engine together, as many at a time as it serves at once, and leave nothing in the prefix cache.
 *
 * @param param the request's parameter that holds them.
 * @throws RequestError 400 for a text that is empty or too long, 429 and 503 as every request.
 */
export async function embedTexts(
  exchange: Exchange,
  service: Service,
  param: string,
  texts: readonly SentText[],
): Promise<Embeddings> {
  requireEmbeddingModel(service);
  const most = texts.map((text) =>
    typeof text === "string" ? service.promptTokensAtMost(text) + service.tokenizer.end.length + 2 : text.length,
  );
  const [job] = exchange.state.jobs.admit(1, exchange.client, Math.max(...most));
  if (job === undefined) throw endedByShutdown();
  try {
    const ids: (readonly number[])[] = [];
    for (const [index, text] of texts.entries()) {
      ids.push(await encode(exchange, service, texts.length === 1 ? param : `${param}[${index}]`, text));
    }
    const tokens = ids.reduce((sum, text) => sum + text.length, 0);
    job.setPromptTokens(Math.max(...ids.map((text) => text.length)), param);
    exchange.charge(tokens);
    const record = newRecord(tokens);
    exchange.answers.push(record);
    const elapsed = () => performance.now() - record.submitted;
    // The first to begin is one of those that were submitted at once.
    const begin = (waitedMs: number) => {
      job.start();
      if (!record.hasBegun) record.counts.queueMs = waitedMs;
      record.hasBegun = true;
    };
    const vectors = new Array<Float32Array>(ids.length);
    let next = 0;
    const work = async () => {
      while (next < ids.length) {
        const index = next++;
        const vector = await service.engine.embed(
          Uint32Array.from(ids[index] as readonly number[]),
          service.config.hiddenSize,
          job.signal,
          begin,
        );
        if (vector === undefined) throw endedByShutdown();
        vectors[index] = vector;
      }
    };
    await Promise.all(Array.from({ length: Math.min(service.parallel, ids.length) }, work));
    record.reason = "stop";
    record.counts.totalMs = elapsed();
    return { vectors, tokens };
  } catch (error) {
    job.abort();
    throw error;
  } finally {
    job.finish();
  }
}

/** A text's ids with those that belong around it; ids as they are. */
async function encode(exchange: Exchange, service: Service, param: string, text: SentText): Promise<readonly number[]> {
  const { tokenizer, context, config } = service;
  const tooLong = (count: number) =>
    new RequestError(
      400,
      `This model's maximum context length is ${context} tokens. However, '${param}' has ${count} tokens.`,
      { param, code: "context_length_exceeded" },
    );
  if (typeof text !== "string") {
    if (text.length > context) throw tooLong(text.length);
    return text;
  }
  if (text === "") throw invalid(param, "invalid_value", `Invalid '${param}': it is empty.`);
  const encoding = await encodeText(exchange, service, param, text, context);
  if (!("ids" in encoding)) throw tooLong(encoding.tooLong);
  const { eosTokenIds, pooling } = config;
  const [end] = eosTokenIds;
  const ids = [...tokenizer.beginning, ...encoding.ids, ...tokenizer.end];
  // The last token stands for the text: the one that ends it, if the tokenizer does not say which that is.
  const isEnded = tokenizer.end.length > 0 || eosTokenIds.includes(ids.at(-1) ?? -1);
  if (pooling === "last" && end !== undefined && !isEnded) ids.push(end);
  if (ids.length > context) throw tooLong(ids.length);
  return ids;
}

/** A vector whose p-norm is 1: 2 for its length, 1 for the sum of its magnitudes. */
export function normalised(vector: Float32Array, p = 2): Float32Array {
  let sum = 0;
  for (const value of vector) sum += Math.abs(value) ** p;
  const norm = sum ** (1 / p);
  return norm > 0 ? vector.map((value) => value / norm) : vector;
}
