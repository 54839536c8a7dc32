/**
 * Small tokenizers, each with one component of tokenizer.json in one of its settings: every normalizer, pre-tokenizer, setting of the
 * model and of added tokens, post-processor and decoder that is supported.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tinyDirectory } from "./goldens.ts";
import type { LooseJson } from "./small_checkpoint.ts";

/** The trained fixture's, a byte-level vocabulary of 2,048 tokens. */
export const byteLevel: LooseJson = JSON.parse(readFileSync(join(tinyDirectory, "tokenizer.json"), "utf8"));

/** A split at a regular expression. */
export const split = (regex: string, behavior = "Isolated", invert = false) => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior,
  invert,
});

/** A ByteLevel pre-tokenizer. */
export const bytes = (use_regex: boolean, add_prefix_space = false) => ({
  type: "ByteLevel",
  use_regex,
  add_prefix_space,
  trim_offsets: false,
});

/** Pre-tokenizers in a row. */
export const sequence = (...pretokenizers: object[]) => ({ type: "Sequence", pretokenizers });

/** A normalizer that marks spaces as SentencePiece does. */
export const spacesToMarks = { type: "Replace", pattern: { String: " " }, content: "▁" };

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}

const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };

/** A vocabulary of the SentencePiece kind, in which words begin with ▁. */
export function sentencePieces(model: LooseJson = {}): LooseJson {
  const merges = "a b,▁ a,ab c,▁ ▁,c d,▁a b,▁▁ ▁▁,d e,e e,x x,xx xx".split(",").map((merge) => merge.split(" "));
  const tokens = ["<unk>", "<s>", ...Array.from({ length: 256 }, (_, byte) => `<0x${hex(byte)}>`)];
  tokens.push(..."abcde▁🚀x", ...merges.map((merge) => merge.join("")));
  const vocab = Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));
  return {
    added_tokens: [
      { ...flags, id: 0, content: "<unk>", special: true },
      { ...flags, id: 1, content: "<s>", special: true, lstrip: true, rstrip: true },
      { ...flags, id: Object.keys(vocab).length, content: "a e", normalized: true },
    ],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: "BPE", unk_token: "<unk>", fuse_unk: true, byte_fallback: true, vocab, merges, ...model },
  };
}

/** A vocabulary of words with marks at their ends. */
function wordsWithMarks(model: LooseJson): LooseJson {
  const letters = [..."abcdeé. "];
  const { continuing_subword_prefix: prefix = "", end_of_word_suffix: suffix = "" } = model;
  const characters = letters.flatMap((letter) => [letter, letter + suffix, prefix + letter, prefix + letter + suffix]);
  const pairs = [
    ["a", `${prefix}b`],
    ["c", `${prefix}d${suffix}`],
    ["ab", `${prefix}c${suffix}`],
    [`${prefix}d`, `${prefix}e`],
    ["ab", `${prefix}de`],
  ] as const;
  const made = pairs.map(([left, right]) => left + right.slice(prefix.length));
  const made2 = pairs
    .filter(([left]) => left.startsWith(prefix))
    .map(([left, right]) => left + right.slice(prefix.length));
  const vocab = Object.fromEntries(
    [...new Set(["<unk>", ...characters, ...made, ...made2])].map((token, id) => [token, id]),
  );
  const base = sentencePieces();
  return {
    ...base,
    added_tokens: [{ ...flags, id: 0, content: "<unk>", special: true }],
    pre_tokenizer: { type: "WhitespaceSplit" },
    model: { type: "BPE", unk_token: "<unk>", fuse_unk: false, vocab, merges: pairs, ...model },
  };
}

/** Both vocabularies under a pre-tokenizer. */
function withPreTokenizer(name: string, ...stages: object[]): Record<string, LooseJson> {
  return {
    [`pre-tokenizer ${name}, bytes`]: { ...byteLevel, pre_tokenizer: sequence(...stages, bytes(false)) },
    [`pre-tokenizer ${name}`]: { ...sentencePieces(), pre_tokenizer: sequence(...stages) },
  };
}

function withNormalizer(name: string, normalizer: object): Record<string, LooseJson> {
  return {
    [`normalizer ${name}, bytes`]: { ...byteLevel, normalizer },
    [`normalizer ${name}`]: { ...sentencePieces(), normalizer },
  };
}

function withAdded(name: string, ...added: LooseJson[]): Record<string, LooseJson> {
  let next = byteLevel.added_tokens.length + Object.keys(byteLevel.model.vocab).length;
  const tokens = added.map((token) => ({ ...flags, id: byteLevel.model.vocab[token.content] ?? next++, ...token }));
  const all = [...byteLevel.added_tokens, ...tokens];
  return {
    [`added tokens ${name}`]: { ...byteLevel, added_tokens: all },
    [`added tokens ${name}, normalized to small letters`]: {
      ...byteLevel,
      added_tokens: all,
      normalizer: { type: "Lowercase" },
    },
  };
}

function withDecoder(name: string, ...decoders: object[]): Record<string, LooseJson> {
  return { [`decoder ${name}`]: { ...sentencePieces(), decoder: { type: "Sequence", decoders } } };
}

const BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"];

const marksToSpaces = { type: "Replace", pattern: { String: "▁" }, content: " " };

/** By what is special about them. */
export const components: Record<string, LooseJson> = {
  ...Object.assign(
    {},
    ...BEHAVIORS.flatMap((behavior) =>
      [false, true].flatMap((invert) => [
        withPreTokenizer(`Split ${behavior}${invert ? ", inverted" : ""}`, split("\\p{N}|[,.]", behavior, invert)),
        withPreTokenizer(`Split at spaces ${behavior}${invert ? ", inverted" : ""}`, {
          type: "Split",
          pattern: { String: " " },
          behavior,
          invert,
        }),
      ]),
    ),
    ...BEHAVIORS.map((behavior) => withPreTokenizer(`Punctuation ${behavior}`, { type: "Punctuation", behavior })),
    ...["always", "first", "never"].flatMap((prepend_scheme) =>
      [true, false].map((splits) =>
        withPreTokenizer(`Metaspace ${prepend_scheme}${splits ? "" : ", not split"}`, {
          type: "Metaspace",
          replacement: "▁",
          prepend_scheme,
          split: splits,
        }),
      ),
    ),
  ),
  ...withPreTokenizer("Metaspace after a split", split("\\p{N}+"), {
    type: "Metaspace",
    replacement: "▁",
    prepend_scheme: "first",
    split: true,
  }),
  ...withPreTokenizer("Digits", { type: "Digits", individual_digits: false }),
  ...withPreTokenizer("Digits, each", { type: "Digits", individual_digits: true }),
  ...withPreTokenizer("Whitespace", { type: "Whitespace" }),
  ...withPreTokenizer("WhitespaceSplit", { type: "WhitespaceSplit" }),
  ...withPreTokenizer("BertPreTokenizer", { type: "BertPreTokenizer" }),
  ...withPreTokenizer("CharDelimiterSplit", { type: "CharDelimiterSplit", delimiter: "e" }),
  ...withPreTokenizer("FixedLength", { type: "FixedLength", length: 3 }),
  ...withPreTokenizer("Split at what is empty", split("(?=[A-Z])", "MergedWithNext")),
  ...withPreTokenizer("Split at empty repetitions", split("a*", "Isolated")),
  ...withPreTokenizer("Split with classes", split("[^\\s\\w]+|\\d|\\bx\\b", "Isolated")),
  "pre-tokenizer ByteLevel": { ...byteLevel, pre_tokenizer: bytes(true) },
  "pre-tokenizer ByteLevel with a space before each text": { ...byteLevel, pre_tokenizer: bytes(true, true) },
  "pre-tokenizer ByteLevel before another": {
    ...byteLevel,
    pre_tokenizer: sequence(bytes(true), split("Ġ", "MergedWithNext")),
  },
  "pre-tokenizers of DeepSeek": {
    ...byteLevel,
    pre_tokenizer: sequence(split("\\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), bytes(true)),
  },
  ...Object.assign(
    {},
    ...["NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Lowercase", "Nmt"].map((type) => withNormalizer(type, { type })),
  ),
  ...withNormalizer("Strip", { type: "Strip", strip_left: true, strip_right: true }),
  ...withNormalizer("Strip at the left", { type: "Strip", strip_left: true, strip_right: false }),
  ...withNormalizer("Prepend", { type: "Prepend", prepend: "x" }),
  ...withNormalizer("Replace", { type: "Replace", pattern: { Regex: "\\s+" }, content: "$&" }),
  ...withNormalizer("Sequence", {
    type: "Sequence",
    normalizers: [{ type: "NFKD" }, { type: "StripAccents" }, { type: "Prepend", prepend: "▁" }, spacesToMarks],
  }),
  "normalizer ByteLevel": {
    ...byteLevel,
    normalizer: { type: "ByteLevel" },
    pre_tokenizer: split("Ġ", "MergedWithNext"),
  },
  "model without fallback": sentencePieces({ byte_fallback: false }),
  "model without fallback, unknown ones each": sentencePieces({ byte_fallback: false, fuse_unk: false }),
  "model without fallback, by words": {
    ...sentencePieces({ byte_fallback: false }),
    pre_tokenizer: { type: "WhitespaceSplit" },
  },
  "model without the unknown": sentencePieces({ byte_fallback: false, unk_token: null }),
  "model with whole words": { ...sentencePieces({ ignore_merges: true }), normalizer: spacesToMarks },
  "model with merges only": { ...byteLevel, model: { ...byteLevel.model, ignore_merges: false } },
  "model with marks at the ends of words": wordsWithMarks({ end_of_word_suffix: "</w>" }),
  "model with marks inside words": wordsWithMarks({ continuing_subword_prefix: "##" }),
  "model with both marks": wordsWithMarks({ continuing_subword_prefix: "##", end_of_word_suffix: "</w>" }),
  ...withAdded("that are single words", { content: "the", single_word: true }, { content: "1", single_word: true }),
  ...withAdded("that take white space", { content: "ab", lstrip: true }, { content: "e", rstrip: true }),
  ...withAdded("that take all white space", { content: "a", lstrip: true, rstrip: true, single_word: true }),
  ...withAdded("in normalized text", { content: "The", normalized: true }, { content: "日本", normalized: true }),
  ...withAdded("one in another", { content: "ab" }, { content: "abc" }, { content: "bc", normalized: true }),
  ...withDecoder(
    "Llama 2",
    marksToSpaces,
    { type: "ByteFallback" },
    { type: "Fuse" },
    { type: "Strip", content: " ", start: 1, stop: 0 },
  ),
  ...withDecoder("Strip of each token", { type: "Strip", content: "a", start: 1, stop: 0 }, { type: "Fuse" }),
  ...withDecoder("Strip of the ends of tokens", { type: "Strip", content: "b", start: 0, stop: 1 }, { type: "Fuse" }),
  ...withDecoder("Strip of a whole text", { type: "Fuse" }, { type: "Strip", content: "▁", start: 2, stop: 0 }),
  ...withDecoder(
    "Replace with an expression",
    { type: "Replace", pattern: { Regex: "[ab]+" }, content: "$1" },
    { type: "Fuse" },
  ),
  ...withDecoder("Metaspace", { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true }),
  ...withDecoder("Metaspace, never", { type: "Metaspace", replacement: "▁", prepend_scheme: "never", split: true }),
  ...withDecoder("ByteFallback", { type: "ByteFallback" }, { type: "Fuse" }),
};
