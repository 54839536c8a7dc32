/**
 * Finds the tokens that end an answer, and the one that no answer has. Checkpoints name the former in up to three places that seldom
 * agree: BitNet-b1.58-2B-4T has one id in config.json, two in generation_config.json, and a text in tokenizer_config.json. Each of them ends an answer, so the
 * packed file gets the union.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { readSmallFile } from "../src/model_file/byte_source.ts";
import { ConfigFields, Fault, naming, parseJson, printable } from "../src/model_file/config_fields.ts";
import { ASSET_BYTES_MAX, MASK_NAME } from "../src/model_file/layout.ts";

/**
 * The union of the end-of-text ids of generation_config.json, config.json and the tokenizer, without repetition, in that order.
 *
 * @param config the fields of config.json
 * @param assets the checkpoint's small files by name
 * @throws Failure naming the file and the key when an id is malformed or not below vocabSize
 */
export function endOfTextTokens(
  directory: string,
  config: ConfigFields,
  assets: Map<string, Uint8Array>,
  vocabSize: number,
): number[] {
  const ids: number[] = [];
  const add = (fileName: string, fields: ConfigFields) => {
    if (!fields.has("eos_token_id")) return;
    ids.push(...naming(join(directory, fileName), () => fields.wholes("eos_token_id", 0, vocabSize - 1)));
  };
  const generation = readFields(directory, "generation_config.json", assets);
  if (generation !== null) add("generation_config.json", generation);
  add("config.json", config);
  const text =
    tokenText(readFields(directory, "tokenizer_config.json", assets)) ??
    tokenText(readFields(directory, "special_tokens_map.json", assets));
  if (text !== null) {
    const id = tokenId(text, readFields(directory, "tokenizer.json", assets));
    // One beyond the vocabulary is refused where the tokenizer is checked.
    if (id !== null && id < vocabSize) ids.push(id);
  }
  return [...new Set(ids)];
}

/** The text of the token that stands for those which are not known yet, in models that were trained to fill it in. */
const MASK_TEXT = "|<MASK>|";

/** The mask token of a tokenizer: an input and never an answer. @throws Failure when its file, in the directory, is no JSON */
export function maskOfTokenizer(
  directory: string,
  assets: Map<string, Uint8Array>,
  vocabSize: number,
  text = MASK_TEXT,
): number | undefined {
  const id = tokenId(text, readFields(directory, "tokenizer.json", assets));
  return id !== null && id < vocabSize ? id : undefined;
}

/**
 * The mask token of a checkpoint: the one that dlm_config.json names, or else its tokenizer's.
 *
 * @throws Failure naming the file and the key
 */
export function maskToken(directory: string, assets: Map<string, Uint8Array>, vocabSize: number): number | undefined {
  const path = join(directory, MASK_NAME);
  if (!existsSync(path)) return maskOfTokenizer(directory, assets, vocabSize);
  const bytes = readSmallFile(path, ASSET_BYTES_MAX);
  return naming(path, () => {
    const fields = new ConfigFields(parseJson(bytes), "it");
    const text = fields.has("mask_token") ? fields.text("mask_token") : MASK_TEXT;
    const id = maskOfTokenizer(directory, assets, vocabSize, text);
    const stated = fields.has("mask_token_id") ? fields.whole("mask_token_id", 0, vocabSize - 1) : id;
    if (stated === undefined) {
      throw new Fault(`it lacks mask_token_id, and the tokenizer has no token '${printable(text)}'`);
    }
    if (id !== undefined && id !== stated) {
      throw new Fault(`mask_token_id is ${stated}, but the tokenizer's '${printable(text)}' is ${id}`);
    }
    return stated;
  });
}

function readFields(directory: string, fileName: string, assets: Map<string, Uint8Array>): ConfigFields | null {
  const bytes = assets.get(fileName);
  if (bytes === undefined) return null;
  return naming(join(directory, fileName), () => new ConfigFields(parseJson(bytes), "it"));
}

/** The text of eos_token, which is a string or an object with `content`. */
function tokenText(fields: ConfigFields | null): string | null {
  const token = fields?.raw("eos_token");
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : null;
}

/** The id of a token in tokenizer.json: an added token, or a word of the vocabulary. */
function tokenId(text: string, tokenizer: ConfigFields | null): number | null {
  const added = tokenizer?.raw("added_tokens");
  const entries: unknown[] = Array.isArray(added) ? added : [];
  for (const entry of entries) {
    const { content, id } = (entry ?? {}) as { content?: unknown; id?: unknown };
    if (content === text && Number.isSafeInteger(id)) return id as number;
  }
  const vocabulary = (tokenizer?.raw("model") as { vocab?: unknown } | null | undefined)?.vocab;
  if (typeof vocabulary !== "object" || vocabulary === null || !Object.hasOwn(vocabulary, text)) return null;
  const id: unknown = (vocabulary as Record<string, unknown>)[text];
  return Number.isSafeInteger(id) ? (id as number) : null;
}
