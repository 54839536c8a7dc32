/** POST /embedding: vectors for texts or token ids, in llama.cpp's shape. */

import type { JsonObject } from "../../json.ts";
import { embedTexts, normalised, requireEmbeddingModel, TEXTS_MAX } from "../embeddings.ts";
import type { Exchange } from "../exchange.ts";
import { checkParameters } from "../parameters.ts";
import { readPrompts } from "../prompts.ts";
import { readModel } from "../request.ts";
import { onlyOneOf, optionalInteger } from "../schema.ts";
import { embeddingTable } from "./parameters.ts";

/** The largest magnitude when `embd_normalize` is 0: 16-bit integers, nearly. */
const LARGEST = 32760;

/** What `embd_normalize` may be; see `scaled`. */
export const NORMS = { low: -1, high: 16 };

export async function embedding(exchange: Exchange, body: JsonObject): Promise<Response> {
  const { service } = readModel(exchange, body);
  requireEmbeddingModel(service);
  checkParameters(body, embeddingTable);
  if (body.content !== undefined && body.input !== undefined) throw onlyOneOf("content", "input");
  const param = body.input === undefined ? "content" : "input";
  const texts = readPrompts(body, param, service, TEXTS_MAX);
  const norm = optionalInteger(body, "embd_normalize", NORMS) ?? 2;
  const { vectors } = await embedTexts(exchange, service, param, texts);
  return exchange.json(vectors.map((vector, index) => ({ index, embedding: [[...scaled(vector, norm)]] })));
}

/** As llama.cpp has it: −1 leaves a vector as it is, 0 makes its largest magnitude a fixed one, p its p-norm 1. */
function scaled(vector: Float32Array, norm: number): Float32Array {
  if (norm < 0) return vector;
  if (norm > 0) return normalised(vector, norm);
  const largest = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return largest > 0 ? vector.map((value) => (value / largest) * LARGEST) : vector;
}
