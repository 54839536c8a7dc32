/**
 * The vocabulary of a GGUF: its tokens with what each is for, and how they are joined. Files are not always right about what a token is
 * for, and a token that ends an answer has to be one whatever they say, so some are set right here, with a notice.
 */

import { Fault, printable } from "../src/model_file/config_fields.ts";
import { limits } from "../src/model_file/model_config.ts";
import type { GgufFields } from "./gguf_fields.ts";

/** What a token is for: `user` tokens are looked for in every text, `control` tokens are what no text consists of. */
export type TokenKind = "normal" | "unknown" | "control" | "user" | "unused" | "byte";

/** `tokenizer.ggml.token_type`, by number. Files of the first days have 0 for all. */
const kinds: readonly TokenKind[] = ["normal", "normal", "unknown", "control", "user", "unused", "byte"];

/** Tokens by their roles; undefined where a file names none. */
export interface Roles {
  beginning: number | undefined;
  end: number | undefined;
  unknown: number | undefined;
  padding: number | undefined;
}

/** A vocabulary after all checks. Tokens that are not unused have a text that is theirs alone. */
export interface GgufVocabulary {
  /** `gpt2`: characters stand for bytes. `llama`: ▁ stands for a space, as SentencePiece has it. */
  model: "gpt2" | "llama";
  /** By id. */
  texts: readonly string[];
  /** By id. */
  kinds: readonly TokenKind[];
  /** By id; undefined when there are none. */
  scores: ArrayLike<number> | undefined;
  /** Pairs that become one token, the first ones first; undefined when there are none. */
  merges: [string, string][] | undefined;
  roles: Roles;
  /** Ids that end an answer. */
  ends: number[];
}

/** Longest token, in UTF-16 code units; the longest ones of real vocabularies are runs of 128 to 256 spaces. */
const TEXT_LENGTH_MAX = 1024;

/** Gemma has 514 thousand. */
const MERGES_MAX = 1 << 22;

/** Texts of tokens that end an answer. The one that a file names is often only one of several. */
const END_TEXTS: ReadonlySet<string> = new Set([
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end_of_text|>",
  "<|endoftext|>",
  "<|im_end|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<end_of_turn>",
  "<turn|>",
  "<eos>",
  "<EOT>",
  "[EOS]",
  "</s>",
]);

/** Of those, what is HTML as well: it ends an answer only where the file says that it is a control token. */
const ALSO_HTML = "</s>";

/** Keys of further tokens that end an answer. */
const END_KEYS = ["eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"];

/** Tokens that a notice names; more are counted. */
const NAMED_MAX = 3;

/**
 * Reads and checks it.
 *
 * @param onNotice called with each thing that a person should know, one line.
 * @throws Fault naming the key.
 */
export function readGgufVocabulary(fields: GgufFields, onNotice: (notice: string) => void): GgufVocabulary {
  const model = fields.text("tokenizer.ggml.model");
  if (model !== "gpt2" && model !== "llama") {
    throw new Fault(`tokenizer.ggml.model is '${printable(model ?? "")}'; supported: gpt2, llama`);
  }
  const texts = fields.texts("tokenizer.ggml.tokens", limits.vocabSize);
  if (texts === undefined || texts.length === 0) throw new Fault("there are no tokens in tokenizer.ggml.tokens");
  const long = texts.findIndex((text) => text.length > TEXT_LENGTH_MAX);
  if (long >= 0) {
    throw new Fault(
      `tokenizer.ggml.tokens: token ${long} has ${texts[long]?.length} characters; ${TEXT_LENGTH_MAX} are the limit`,
    );
  }
  const kindsById = readKinds(fields, texts);
  const roles = readRoles(fields, model, texts.length);
  const ends = setControlTokens(fields, texts, kindsById, roles, onNotice);
  checkTexts(texts, kindsById);
  const scores = fields.numbers("tokenizer.ggml.scores", texts.length);
  const merges = readMerges(fields, texts, kindsById);
  if (model === "gpt2" && merges === undefined) throw new Fault("tokenizer.ggml.merges is missing");
  if (model === "llama" && merges === undefined && scores === undefined) {
    throw new Fault("tokenizer.ggml.scores is missing");
  }
  return { model, texts, kinds: kindsById, scores, merges, roles, ends };
}

function readKinds(fields: GgufFields, texts: readonly string[]): TokenKind[] {
  const types = fields.numbers("tokenizer.ggml.token_type", texts.length);
  return texts.map((text, id) => {
    const kind = types === undefined ? "normal" : kinds[types[id] as number];
    if (kind === undefined) {
      throw new Fault(`tokenizer.ggml.token_type holds ${types?.[id]}; whole numbers from 0 to 6 are needed`);
    }
    // Rows that fill up a table. As tokens that are looked for they would be taken out of texts.
    return text === "" || (text === `[PAD${id}]` && kind === "user") ? "unused" : kind;
  });
}

function readRoles(fields: GgufFields, model: "gpt2" | "llama", count: number): Roles {
  const id = (role: string, otherwise: number) =>
    fields.id(`tokenizer.ggml.${role}_token_id`, count) ??
    (model === "llama" && otherwise < count && !fields.has(`tokenizer.ggml.${role}_token_id`) ? otherwise : undefined);
  return {
    unknown: id("unknown", 0),
    beginning: id("bos", 1),
    end: id("eos", 2),
    padding: fields.id("tokenizer.ggml.padding_token_id", count),
  };
}

/**
 * Makes control tokens of those that begin or end texts where the file has them as something else.
 *
 * @returns the ids that end an answer.
 */
function setControlTokens(
  fields: GgufFields,
  texts: readonly string[],
  kindsById: TokenKind[],
  roles: Roles,
  onNotice: (notice: string) => void,
): number[] {
  const ends = new Set<number>();
  const add = (id: number | undefined) => id !== undefined && ends.add(id);
  add(roles.end);
  for (const key of END_KEYS) add(fields.id(`tokenizer.ggml.${key}_token_id`, texts.length));
  for (const [id, text] of texts.entries()) {
    if (END_TEXTS.has(text) && (text !== ALSO_HTML || kindsById[id] === "control")) add(id);
  }
  if (ends.size > limits.eosTokens) {
    throw new Fault(`tokenizer.ggml.tokens: ${ends.size} tokens end a text; ${limits.eosTokens} are the limit`);
  }
  const mended: string[] = [];
  for (const id of roles.beginning === undefined ? ends : [roles.beginning, ...ends]) {
    const text = texts[id] as string;
    if (text === "") throw new Fault(`tokenizer.ggml.tokens: token ${id}, which begins or ends texts, has no text`);
    // A model may end its texts with a word or a line; that stays what it is.
    const isTag = /^(<.*>|\[.*\])$/su.test(text);
    if (kindsById[id] === "control" || kindsById[id] === "unknown" || kindsById[id] === "byte" || !isTag) continue;
    kindsById[id] = "control";
    mended.push(`'${printable(text)}' (${id})`);
  }
  if (mended.length > 0) {
    const named =
      mended.length > NAMED_MAX ? [...mended.slice(0, NAMED_MAX), `${mended.length - NAMED_MAX} more`] : mended;
    onNotice(
      `tokenizer.ggml.token_type does not say that these are control tokens, which they are: ${named.join(", ")}`,
    );
  }
  return [...ends];
}

/** No two tokens have one text, and those of single bytes have the texts that bytes have. */
function checkTexts(texts: readonly string[], kindsById: readonly TokenKind[]): void {
  const ids = new Map<string, number>();
  for (const [id, text] of texts.entries()) {
    const kind = kindsById[id];
    if (kind === "unused") continue;
    const other = ids.get(text);
    if (other !== undefined) {
      throw new Fault(`tokenizer.ggml.tokens: tokens ${other} and ${id} have the same text, '${printable(text)}'`);
    }
    ids.set(text, id);
    if (kind === "byte" && !/^<0x[0-9A-F]{2}>$/.test(text)) {
      throw new Fault(
        `tokenizer.ggml.tokens: token ${id} is a byte but is called '${printable(text)}', not <0x00> to <0xFF>`,
      );
    }
  }
}

function readMerges(
  fields: GgufFields,
  texts: readonly string[],
  kindsById: readonly TokenKind[],
): [string, string][] | undefined {
  const lines = fields.texts("tokenizer.ggml.merges", MERGES_MAX);
  if (lines === undefined) return undefined;
  const tokens = new Set(texts.filter((_, id) => kindsById[id] !== "unused"));
  return lines.map((line, index) => {
    // A token may begin with a space, but is never empty.
    const space = line.indexOf(" ", 1);
    const pair: [string, string] = [line.slice(0, space), line.slice(space + 1)];
    if (space < 0 || pair[1] === "") {
      throw new Fault(`tokenizer.ggml.merges: entry ${index} is '${printable(line)}'; two texts are needed`);
    }
    if (!tokens.has(pair.join(""))) {
      const [left, right] = pair.map(printable);
      throw new Fault(`tokenizer.ggml.merges: entry ${index} joins '${left}' and '${right}' to what is no token`);
    }
    return pair;
  });
}
