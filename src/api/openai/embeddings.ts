/** POST /v1/embeddings: vectors of length 1 for texts or token ids. */

import type { JsonObject } from "../../json.ts";
import { invalid } from "../../serving/request_error.ts";
import { embedTexts, normalised, requireEmbeddingModel, TEXTS_MAX } from "../embeddings.ts";
import type { Exchange } from "../exchange.ts";
import { checkParameters } from "../parameters.ts";
import { readPrompts } from "../prompts.ts";
import { readModel } from "../request.ts";
import { optionalInteger, optionalString } from "../schema.ts";
import { embeddingsTable } from "./parameters.ts";

/** How a vector is written: as numbers, or as its little-endian floats in base64. */
const ENCODING_FORMATS = ["float", "base64"] as const;

export async function createEmbeddings(exchange: Exchange, body: JsonObject): Promise<Response> {
  const { service, model } = readModel(exchange, body);
  requireEmbeddingModel(service);
  checkParameters(body, embeddingsTable);
  const texts = readPrompts(body, "input", service, TEXTS_MAX);
  const wanted = optionalString(body, "encoding_format") ?? "float";
  const format = ENCODING_FORMATS.find((known) => known === wanted);
  if (format === undefined) {
    const message = `Invalid value: '${wanted}'. Supported values are: ${ENCODING_FORMATS.map((known) => `'${known}'`).join(" and ")}.`;
    throw invalid("encoding_format", "invalid_value", message);
  }
  const { hiddenSize } = service.config;
  const dimensions = optionalInteger(body, "dimensions", { low: 1, high: hiddenSize }) ?? hiddenSize;
  if (dimensions !== hiddenSize) {
    const message = `Invalid 'dimensions': this model's embeddings have ${hiddenSize}, and it does not say that fewer would do.`;
    throw invalid("dimensions", "unsupported_value", message);
  }
  const { vectors, tokens } = await embedTexts(exchange, service, "input", texts);
  const data = vectors.map((vector, index) => {
    const embedding = normalised(vector);
    return { object: "embedding", index, embedding: format === "float" ? [...embedding] : base64(embedding) };
  });
  return exchange.json({ object: "list", data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } });
}

function base64({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("base64");
}
