/**
 * The files of a model's tokenizer, read and checked: afterwards every id is one of the model's, a text has one id and an id one
 * text, and no number in the files makes a loop or a table longer than the files are.
 *
 * Added tokens beyond the model's table are left out: some checkpoints have them for what their language model doesn't take, such
 * as images. Their text is then text like any other.
 */

import { isObject, type JsonObject } from "../json.ts";
import { Fault, inside, parseJson, printable } from "../model_file/config_fields.ts";
import { limits } from "../model_file/model_config.ts";

/** A token that is looked for in a text before anything else. */
export interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
  /** Whether it is only found where no letter, digit or underscore stands next to it. */
  single_word?: boolean;
  normalized?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
}

/** One step of a normalizer, pre-tokenizer, post-processor or decoder, or several in a row. */
export interface Stage {
  type: string;
  normalizers?: Stage[];
  pretokenizers?: Stage[];
  processors?: Stage[];
  decoders?: Stage[];
  [field: string]: unknown;
}

/** tokenizer.json. */
export interface TokenizerDescription {
  model: Vocabulary;
  added_tokens: AddedToken[];
  normalizer: Stage | null;
  pre_tokenizer: Stage | null;
  post_processor: Stage | null;
  decoder: Stage | null;
}

/** The model of tokenizer.json. */
export interface Vocabulary {
  type: string;
  vocab: Record<string, number>;
  /** Two tokens that become one, in a list or with a space between them. */
  merges: (string | [string, string])[];
  unk_token?: string | null;
  /** Put before every character of a piece but the first, and behind the last. */
  continuing_subword_prefix?: string | null;
  end_of_word_suffix?: string | null;
  /** Whether unknown characters that follow each other are one unknown token. */
  fuse_unk?: boolean | null;
  /** Whether an unknown character becomes tokens for its bytes, <0x00> to <0xFF>. */
  byte_fallback?: boolean | null;
  /** Whether a piece that is a token is that token, whatever merges would make of it. */
  ignore_merges?: boolean | null;
  dropout?: number | null;
}

/** tokenizer_config.json, as far as something here looks at it. */
export interface TokenizerConfiguration {
  bos_token?: unknown;
  eos_token?: unknown;
  [key: string]: unknown;
}

/** Both files. */
export interface TokenizerFiles {
  description: TokenizerDescription;
  configuration: TokenizerConfiguration;
  /** What a person should know of them, one line each. */
  notices: string[];
}

/** Longest text that a stage may put in the place of another, which may be a single character. */
const REPLACEMENT_LENGTH_MAX = 64;

/** Tokens that a notice names; more are counted. */
const NAMED_MAX = 3;

/**
 * Reads and checks them.
 *
 * @param assets a model's files by name; tokenizer.json must be among them.
 * @param vocabSize ids of the model are below this.
 * @throws Fault naming the file and what is wrong in it.
 */
export function readTokenizerFiles(assets: ReadonlyMap<string, Uint8Array>, vocabSize: number): TokenizerFiles {
  const configuration = readObject(assets, "tokenizer_config.json") ?? {};
  const specialTokens = readObject(assets, "special_tokens_map.json") ?? {};
  const description = (readObject(assets, "tokenizer.json") ?? {}) as unknown as TokenizerDescription;
  return inside("tokenizer.json", () => {
    description.added_tokens ??= [];
    checkModel(description.model);
    const highest = checkIds(description);
    const ends = [configuration, specialTokens].flatMap(({ bos_token, eos_token }) => [bos_token, eos_token]);
    const notices = highest < vocabSize ? [] : dropTokens(description, vocabSize, ends.map(tokenText));
    notices.push(...checkUnknown(description));
    checkStages(description);
    return { description, configuration, notices };
  });
}

/** The text of a token that is given as a string, or as an object with `content`; empty when there is none. */
export function tokenText(token: unknown): string {
  const text = isObject(token) ? token.content : token;
  return typeof text === "string" ? text : "";
}

/** A stage and the stages inside it. */
function flatten(stage: Stage | null | undefined): Stage[] {
  if (!isObject(stage)) return [];
  const inner = [stage.normalizers, stage.pretokenizers, stage.processors, stage.decoders];
  return [stage, ...inner.flatMap((stages) => (Array.isArray(stages) ? stages.flatMap(flatten) : []))];
}

/** A JSON object among a model's files; undefined where there is no such file. @throws Fault naming the file. */
export function readObject(assets: ReadonlyMap<string, Uint8Array>, file: string): JsonObject | undefined {
  const bytes = assets.get(file);
  if (bytes === undefined) return undefined;
  return inside(file, () => {
    const parsed = parseJson(bytes);
    if (!isObject(parsed)) throw new Fault("it is not a JSON object");
    return parsed;
  });
}

function checkModel(model: Vocabulary): void {
  if (!isObject(model)) throw new Fault("it has no model");
  // The first files of this kind left the type out; of the types with merges there is only one.
  if (model.type === undefined && Array.isArray(model.merges)) model.type = "BPE";
  if (model.type !== "BPE") {
    throw new Fault(`model type ${printable(String(model.type ?? "unknown"))} is not supported, only BPE is`);
  }
  if (!isObject(model.vocab)) throw new Fault("model.vocab is not a JSON object");
  if (!Array.isArray(model.merges)) throw new Fault("model.merges is not a list");
  for (const key of ["fuse_unk", "byte_fallback", "ignore_merges"] as const) {
    const value: unknown = model[key] ?? false;
    if (typeof value !== "boolean")
      throw new Fault(`model.${key} is ${printable(JSON.stringify(value))}; true or false is needed`);
  }
  for (const key of ["unk_token", "continuing_subword_prefix", "end_of_word_suffix"] as const) {
    const value: unknown = model[key] ?? "";
    if (typeof value !== "string")
      throw new Fault(`model.${key} is ${printable(JSON.stringify(value))}; a text is needed`);
  }
  if ((model.dropout ?? 0) !== 0) throw new Fault("model.dropout is set; texts would not have the same ids twice");
}

/** Every id is a whole number in bounds, and no two texts share one, nor two ids a text. @returns the highest. */
function checkIds({ model, added_tokens: added }: TokenizerDescription): number {
  if (!Array.isArray(added)) throw new Fault("added_tokens is not a list");
  const texts: (string | undefined)[] = [];
  const check = (text: string, id: unknown) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= limits.vocabSize) {
      const found = printable(JSON.stringify(id) ?? "missing");
      throw new Fault(`the id of ${quoted(text)} is ${found}; a whole number below ${limits.vocabSize} is needed`);
    }
    const other = texts[id] ?? text;
    if (other !== text) throw new Fault(`${quoted(other)} and ${quoted(text)} have the same id, ${id}`);
    texts[id] = text;
  };
  for (const [text, id] of Object.entries(model.vocab)) check(text, id);
  const addedIds = new Map<string, unknown>();
  for (const token of added as unknown[]) {
    if (!isObject(token)) throw new Fault("an added token is not a JSON object");
    const { content: text, id } = token;
    if (typeof text !== "string" || text === "") throw new Fault("an added token has no content");
    check(text, id);
    const other = addedIds.get(text) ?? (Object.hasOwn(model.vocab, text) ? model.vocab[text] : id);
    if (other !== id) throw new Fault(`${quoted(text)} has two ids, ${other} and ${id}`);
    addedIds.set(text, id);
  }
  return texts.length - 1;
}

/**
 * Takes the added tokens beyond the model's table out of the description, from the vocabulary and its merges too.
 *
 * @param needed texts of tokens that no model can do without.
 * @returns notices.
 */
function dropTokens(description: TokenizerDescription, vocabSize: number, needed: string[]): string[] {
  const { model, added_tokens: added } = description;
  const dropped = new Map(added.filter(({ id }) => id >= vocabSize).map(({ content, id }) => [content, id]));
  for (const text of needed) {
    const id = dropped.get(text) ?? (Object.hasOwn(model.vocab, text) ? (model.vocab[text] as number) : 0);
    if (id < vocabSize) continue;
    throw new Fault(
      `${quoted(text)}, which begins or ends a text, has the id ${id}; those of the model are below ${vocabSize}`,
    );
  }
  for (const [text, id] of Object.entries(model.vocab)) {
    if (id < vocabSize || dropped.has(text)) continue;
    throw new Fault(`the id of ${quoted(text)} is ${id}; those of the model are below ${vocabSize}`);
  }
  if (dropped.size === 0) return [];
  description.added_tokens = added.filter(({ content }) => !dropped.has(content));
  for (const text of dropped.keys()) delete model.vocab[text];
  model.merges = model.merges.filter((merge) => !dropped.has(mergeParts(merge).join("")));
  const named = [...dropped].slice(0, NAMED_MAX).map(([text, id]) => `${quoted(text)} (${id})`);
  if (dropped.size > NAMED_MAX) named.push(`${dropped.size - NAMED_MAX} more`);
  const what = dropped.size === 1 ? "an added token is" : "added tokens are";
  return [
    `tokenizer.json: ${what} beyond the model's ${vocabSize} tokens and will be read as ordinary text: ${named.join(", ")}`,
  ];
}

/** The two texts of a merge. @throws Fault. */
export function mergeParts(merge: unknown): [string, string] {
  if (typeof merge === "string") {
    const space = merge.indexOf(" ");
    if (space >= 0 && !merge.includes(" ", space + 1)) return [merge.slice(0, space), merge.slice(space + 1)];
  } else if (Array.isArray(merge) && merge.length === 2) {
    const [left, right] = merge;
    if (typeof left === "string" && typeof right === "string") return [left, right];
  }
  throw new Fault(`model.merges holds ${printable(JSON.stringify(merge) ?? "")}; two texts are needed`);
}

/** Takes out a token for the unknown that is none: many vocabularies that never need it name one. @returns notices. */
function checkUnknown(description: TokenizerDescription): string[] {
  const { model } = description;
  if ((model.unk_token ?? null) === null || isToken(description, model.unk_token)) return [];
  const text = quoted(String(model.unk_token));
  model.unk_token = null;
  return [`tokenizer.json: unk_token ${text} is no token of the model: text that no token stands for is left out`];
}

/** Tokens that are put around a text are the model's, and sizes are such that every step ends. */
function checkStages(description: TokenizerDescription): void {
  for (const stage of flatten(description.post_processor)) {
    for (const text of tokensAround(stage)) {
      if (isToken(description, text)) continue;
      throw new Fault(`post_processor puts ${quoted(String(text))} around texts, which is no token of the model`);
    }
  }
  for (const stage of [description.normalizer, description.pre_tokenizer].flatMap(flatten)) checkSizes(stage);
}

function isToken({ model, added_tokens: added }: TokenizerDescription, text: unknown): boolean {
  return (
    typeof text === "string" && (Object.hasOwn(model.vocab, text) || added.some(({ content }) => content === text))
  );
}

/** The texts of the tokens that a post-processor adds. */
function tokensAround(stage: Stage): unknown[] {
  const { single, pair, cls, sep } = stage as { single?: unknown; pair?: unknown; cls?: unknown; sep?: unknown };
  const pieces = [single, pair].flatMap((template) => (Array.isArray(template) ? template : []));
  const special = pieces.filter((piece) => isObject(piece) && isObject(piece.SpecialToken));
  const pairs = [cls, sep].filter((token) => token !== undefined);
  return [
    ...special.map((piece) => piece.SpecialToken.id),
    ...pairs.map((token) => (Array.isArray(token) ? token[0] : token)),
  ];
}

function checkSizes(stage: Stage): void {
  for (const key of ["content", "prepend", "replacement", "str_rep"]) {
    const value = stage[key];
    if (typeof value !== "string" || value.length <= REPLACEMENT_LENGTH_MAX) continue;
    throw new Fault(
      `${printable(String(stage.type))} puts in ${value.length} characters at a time; ${REPLACEMENT_LENGTH_MAX} are the limit`,
    );
  }
}

function quoted(text: string): string {
  return `'${printable(text)}'`;
}
