/**
 * `logit_bias` of llama.cpp's POST /completion. A bias belongs to a token's id, or to a text: then to each token of that text.
 */

import { isObject, type JsonObject } from "../../json.ts";
import { invalid } from "../../serving/request_error.ts";
import type { Service } from "../../serving/service.ts";
import { encodeText } from "../encoding.ts";
import type { Exchange } from "../exchange.ts";
import { BOUNDS, checkBiasCount, readBias } from "../sampling.ts";
import { invalidType, readInteger } from "../schema.ts";

/** Most texts among a request's biases: each is tokenized in a turn of its own. */
const TEXTS_MAX = 1024;

/** Longest texts of a request's biases together, in UTF-16 code units; a text is meant to be a word. */
const TEXTS_LENGTH_MAX = 65_536;

/** A bias and what it belongs to. */
interface Bias {
  /** An id, or a text. */
  of: number | string;
  bias: number;
  /** Where it stands in the request. */
  path: string;
}

/**
 * Reads the biases: pairs of an id or a text and a bias, or an object with ids, spelled in digits, and texts as its keys. `false` instead of
 * a bias forbids. Biases of one token add up.
 *
 * @throws RequestError 400.
 */
export async function readLogitBias(
  exchange: Exchange,
  service: Service,
  body: JsonObject,
): Promise<Map<number, number>> {
  const total = new Map<number, number>();
  const add = (id: number, bias: number) => {
    const sum = (total.get(id) ?? 0) + bias;
    total.set(id, Math.min(Math.max(sum, BOUNDS.bias.low), BOUNDS.bias.high));
  };
  const biases = readBiases(body, service.config.vocabSize);
  const texts = biases.filter(({ of }) => typeof of === "string");
  if (texts.length > TEXTS_MAX) {
    const message = `Invalid 'logit_bias': too many texts. Expected at most ${TEXTS_MAX}.`;
    throw invalid("logit_bias", "array_above_max_length", message);
  }
  if (texts.reduce((sum, { of }) => sum + (of as string).length, 0) > TEXTS_LENGTH_MAX) {
    const message = `Invalid 'logit_bias': too long. Expected texts of at most ${TEXTS_LENGTH_MAX} characters together.`;
    throw invalid("logit_bias", "string_above_max_length", message);
  }
  for (const { of, bias, path } of biases) {
    if (typeof of === "number") {
      add(of, bias);
      continue;
    }
    const encoded = await encodeText(exchange, service, path, of, TEXTS_LENGTH_MAX * 4);
    if ("ids" in encoded) for (const id of encoded.ids) add(id, bias);
  }
  return total;
}

function readBiases(body: JsonObject, vocabularySize: number): Bias[] {
  const param = "logit_bias";
  const value = body[param] ?? [];
  if (!Array.isArray(value) && !isObject(value)) throw invalidType(param, "an array or an object", value);
  const pairs = Array.isArray(value) ? value : Object.entries(value);
  checkBiasCount(pairs.length, vocabularySize);
  return pairs.map((pair, i) => {
    const path = Array.isArray(value) ? `${param}[${i}]` : param;
    if (!Array.isArray(pair) || pair.length !== 2) throw invalidType(path, "an array of two", pair);
    const [of, sent] = pair;
    const bias = sent === false ? BOUNDS.bias.low : readBias(sent, path);
    if (typeof of === "string" && !(isObject(value) && /^\d+$/.test(of))) return { of, bias, path };
    if (typeof of !== "number" && typeof of !== "string") throw invalidType(path, "a token id or a text", of);
    return { of: readInteger(Number(of), path, { low: 0, high: vocabularySize - 1 }), bias, path };
  });
}
