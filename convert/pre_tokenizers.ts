/**
 * How a byte-level vocabulary cuts a text before it merges, by the name that a GGUF has for it in `tokenizer.ggml.pre`. A name stands
 * for regular expressions that are applied one after the other, each inside the pieces that the one before left; what none matches is a
 * piece as well.
 */

import { Fault, printable } from "../src/model_file/config_fields.ts";

/** What a name stands for. */
export interface PreTokenizer {
  /** In the notation of tokenizer.json. */
  patterns: readonly string[];
  /** Whether characters are composed before (NFC), which no GGUF says: the tokenizers that these files were made from do it. */
  isComposed: boolean;
  /** Whether a beginning-of-text token stands before every text unless the file says otherwise. */
  addsBeginning: boolean;
  /** Whether a piece that is a token is taken whole, whatever merges would make of it. */
  takesWholePieces: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

const LLAMA_3 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const QWEN_2 = LLAMA_3.replace("{1,3}", "");
const QWEN_35 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const GPT_2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)";
const PUNCTUATION = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
const PUNCTUATION_BUT_BACKTICKS = "[\\p{P}\\$\\+<=>\\^~\\|]+";
const THREE_DIGITS = "[0-9][0-9][0-9]";
const A_DIGIT = "[0-9]";

const llama3: PreTokenizer = {
  patterns: [LLAMA_3],
  isComposed: false,
  addsBeginning: true,
  takesWholePieces: true,
};
const qwen2 = plain([QWEN_2], true);

/**
 * By name. llama.cpp and bitnet.cpp read "falcon3" differently; here it is llama.cpp's, and "falcon3-digits", which no file says, is
 * bitnet.cpp's.
 */
const known: Readonly<Record<string, PreTokenizer>> = {
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  falcon3: llama3,
  "falcon3-digits": plain([PUNCTUATION, GPT_2, A_DIGIT]),
  falcon_e: plain([PUNCTUATION, GPT_2, A_DIGIT]),
  falcon: plain([PUNCTUATION, GPT_2, THREE_DIGITS]),
  qwen2,
  "deepseek-r1-qwen": qwen2,
  qwen35: plain([QWEN_35], true),
  "gpt-2": plain([GPT_2]),
  default: plain([PUNCTUATION_BUT_BACKTICKS, GPT_2, "\\p{N}+", THREE_DIGITS]),
};

function plain(patterns: string[], isComposed = false): PreTokenizer {
  return { patterns, isComposed, addsBeginning: false, takesWholePieces: false };
}

/** All names that are known. */
export const preTokenizerNames: readonly string[] = Object.keys(known);

/** What a name stands for. @throws Fault for one that is unknown. */
export function preTokenizer(name: string): PreTokenizer {
  const found = Object.hasOwn(known, name) ? known[name] : undefined;
  if (found !== undefined) return found;
  throw new Fault(`tokenizer.ggml.pre is '${printable(name)}'; supported: ${preTokenizerNames.join(", ")}`);
}
