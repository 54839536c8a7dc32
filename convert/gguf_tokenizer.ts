/**
 * A tokenizer out of a GGUF's metadata: its tokens, scores, merges and flags become the files that a Hugging Face checkpoint has, so that
 * nothing after the conversion knows where a model came from.
 */

import { Fault } from "../src/model_file/config_fields.ts";
import { ASSET_BYTES_MAX } from "../src/model_file/layout.ts";
import type { SourceOptions } from "./checkpoint.ts";
import { GgufFields } from "./gguf_fields.ts";
import { type GgufVocabulary, readGgufVocabulary } from "./gguf_vocabulary.ts";
import { type PreTokenizer, preTokenizer } from "./pre_tokenizers.ts";
import { mergesOfScores } from "./sentence_pieces.ts";

/** What a conversion needs of a tokenizer. */
export interface GgufTokenizer {
  /** tokenizer.json, tokenizer_config.json and generation_config.json; none when the file has no tokenizer. */
  assets: Map<string, Uint8Array>;
  /** The token that begins a text; null when the model has none. */
  bosTokenId: number | null;
  /** Every token that ends an answer. */
  eosTokenIds: number[];
  /** What a person should know, one line each. */
  notices: string[];
}

/** The token that stands for a space. */
const SPACE = "▁";

/** What the published GGUF of BitNet-b1.58-2B-4T has in its template, which the model was not trained on. */
const OUTDATED_TEMPLATE = "BITNETAssistant";

/** The format that it was trained on: "Role: content" and the end-of-turn token for each message. */
const BITNET_TEMPLATE =
  "{{ bos_token }}{% for message in messages %}" +
  "{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/** Tokens by which Llama 3's vocabulary is known. */
const LLAMA_3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"];

/**
 * Makes the files of a tokenizer.
 *
 * @param metadata the file's key-value pairs; lists are arrays or typed arrays.
 * @throws Fault naming the key and what is wrong with it.
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>, options: SourceOptions = {}): GgufTokenizer {
  const fields = new GgufFields(metadata);
  const notices: string[] = [];
  const onNotice = (notice: string) => void notices.push(notice);
  const model = fields.text("tokenizer.ggml.model");
  if (model === undefined || model === "no_vocab" || model === "none") {
    return { assets: new Map(), bosTokenId: null, eosTokenIds: [], notices };
  }
  const vocabulary = readGgufVocabulary(fields, onNotice);
  const isBytes = vocabulary.model === "gpt2";
  const pre = isBytes ? preTokenizer(options.pre ?? nameOfPreTokenizer(fields, vocabulary, onNotice)) : undefined;
  const around = readAround(fields, vocabulary, pre?.addsBeginning ?? true, onNotice);
  const stages = pre === undefined ? sentencePieceStages(fields, vocabulary) : byteLevelStages(vocabulary, pre);
  const description = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    ...stages,
    post_processor: postProcessor(vocabulary, around, isBytes),
  };
  const textOf = (id: number | undefined) => (id === undefined ? {} : vocabulary.texts[id]);
  const named = {
    bos_token: textOf(vocabulary.roles.beginning),
    eos_token: textOf(vocabulary.roles.end),
    unk_token: textOf(vocabulary.roles.unknown),
    pad_token: textOf(vocabulary.roles.padding),
  };
  const configuration = {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    add_bos_token: around.beginning !== undefined,
    add_eos_token: around.end !== undefined,
    ...Object.fromEntries(Object.entries(named).filter(([, text]) => typeof text === "string")),
    ...readTemplates(fields, onNotice),
  };
  const bosTokenId = vocabulary.roles.beginning ?? null;
  const generation = { bos_token_id: bosTokenId, eos_token_id: vocabulary.ends };
  return {
    assets: new Map([
      ["tokenizer.json", encode("tokenizer.json", description)],
      ["tokenizer_config.json", encode("tokenizer_config.json", configuration)],
      ["generation_config.json", encode("generation_config.json", generation)],
    ]),
    bosTokenId,
    eosTokenIds: vocabulary.ends,
    notices,
  };
}

function nameOfPreTokenizer(fields: GgufFields, { texts }: GgufVocabulary, onNotice: (notice: string) => void): string {
  const name = fields.text("tokenizer.ggml.pre");
  if (name === "falcon3") {
    onNotice(
      "tokenizer.ggml.pre is falcon3, which is read as llama.cpp does; 'wrinklefree convert --pre falcon3-digits' reads it as bitnet.cpp does",
    );
  }
  if (name !== undefined) return name;
  const isLlama3 = LLAMA_3_TOKENS.every((text) => texts.includes(text));
  onNotice(
    isLlama3
      ? "tokenizer.ggml.pre is missing; texts are cut as for llama-bpe, since the tokens are Llama 3's"
      : "tokenizer.ggml.pre is missing; texts are cut as such files have always been, which may not be this model's way",
  );
  return isLlama3 ? "llama-bpe" : "default";
}

/** Tokens that are put around every text. */
interface Around {
  beginning: number | undefined;
  end: number | undefined;
}

function readAround(
  fields: GgufFields,
  { roles }: GgufVocabulary,
  addsBeginning: boolean,
  onNotice: (notice: string) => void,
): Around {
  const read = (key: string, adds: boolean, id: number | undefined, role: string) => {
    if (!fields.flag(`tokenizer.ggml.add_${key}_token`, adds)) return undefined;
    if (id === undefined) {
      onNotice(`tokenizer.ggml.${key}_token_id is missing, so no ${role}-of-text token is put around texts`);
    }
    return id;
  };
  return {
    beginning: read("bos", addsBeginning, roles.beginning, "beginning"),
    end: read("eos", false, roles.end, "end"),
  };
}

/** A part of tokenizer.json. */
type Json = Record<string, unknown>;

/** Tokens that are looked for in a text before anything else. */
function addedTokens({ texts, kinds }: GgufVocabulary): Json[] {
  const added: Json[] = [];
  for (const [id, content] of texts.entries()) {
    const kind = kinds[id];
    if (kind !== "control" && kind !== "unknown" && kind !== "user") continue;
    const special = kind !== "user";
    added.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special });
  }
  return added;
}

/** The stages and the model of a vocabulary whose characters stand for bytes. */
function byteLevelStages(vocabulary: GgufVocabulary, { patterns, isComposed, takesWholePieces }: PreTokenizer): Json {
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const splits = patterns.map((Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }));
  const merges = vocabulary.merges as [string, string][];
  return {
    normalizer: isComposed ? { type: "NFC" } : null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...splits, bytes] },
    decoder: { ...bytes, use_regex: true },
    model: bpe(vocabulary, merges, { ignore_merges: takesWholePieces }),
  };
}

/** The stages and the model of a vocabulary of SentencePiece's. */
function sentencePieceStages(fields: GgufFields, vocabulary: GgufVocabulary): Json {
  const { texts, kinds, roles } = vocabulary;
  const hasPrefix = fields.flag("tokenizer.ggml.add_space_prefix", true);
  const spaces = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const prefix = { type: "Prepend", prepend: SPACE };
  const decoders: Json[] = [
    { type: "Replace", pattern: { String: SPACE }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
  ];
  if (hasPrefix) decoders.push({ type: "Strip", content: " ", start: 1, stop: 0 });
  const bytes = texts.filter((_, id) => kinds[id] === "byte").length;
  return {
    normalizer: hasPrefix ? { type: "Sequence", normalizers: [prefix, spaces] } : spaces,
    pre_tokenizer: null,
    decoder: { type: "Sequence", decoders },
    model: bpe(vocabulary, vocabulary.merges ?? mergesOfScores(vocabulary), {
      unk_token: roles.unknown === undefined ? null : texts[roles.unknown],
      fuse_unk: true,
      byte_fallback: bytes === 256,
    }),
  };
}

/** `model` of tokenizer.json. Added tokens are in the vocabulary as well: some readers give those that are not ids of their own. */
function bpe({ texts, kinds }: GgufVocabulary, merges: [string, string][], settings: Json): Json {
  const used = [...texts.entries()].filter(([id]) => kinds[id] !== "unused");
  return {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    ...settings,
    // fromEntries makes a property of any text, __proto__ too.
    vocab: Object.fromEntries(used.map(([id, text]) => [text, id])),
    merges,
  };
}

function postProcessor({ texts }: GgufVocabulary, { beginning, end }: Around, isBytes: boolean): Json | null {
  const ids = [beginning, end].filter((id) => id !== undefined);
  const bytes = { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true };
  if (ids.length === 0) return isBytes ? bytes : null;
  const sequence = (name: string, type_id: number) => [
    ...(beginning === undefined ? [] : [{ SpecialToken: { id: texts[beginning], type_id } }]),
    { Sequence: { id: name, type_id } },
    ...(end === undefined ? [] : [{ SpecialToken: { id: texts[end], type_id } }]),
  ];
  const special = ids.map((id) => [texts[id], { id: texts[id], ids: [id], tokens: [texts[id]] }]);
  const template = {
    type: "TemplateProcessing",
    single: sequence("A", 0),
    pair: [...sequence("A", 0), ...sequence("B", 1)],
    special_tokens: Object.fromEntries(special),
  };
  return isBytes ? { type: "Sequence", processors: [bytes, template] } : template;
}

/** The chat template, or all of them by name, as tokenizer_config.json has them. */
function readTemplates(fields: GgufFields, onNotice: (notice: string) => void): Json {
  const main = fields.text("tokenizer.chat_template");
  if (main?.includes(OUTDATED_TEMPLATE)) {
    onNotice("tokenizer.chat_template is not what this model was trained on; the format of BitNet-b1.58-2B-4T is used");
    return { chat_template: BITNET_TEMPLATE };
  }
  const prefix = "tokenizer.chat_template.";
  const named = fields.keys(prefix).map((key) => ({ name: key.slice(prefix.length), template: fields.text(key) }));
  if (named.length === 0) return main === undefined ? {} : { chat_template: main };
  const first = main === undefined ? [] : [{ name: "default", template: main }];
  return { chat_template: [...first, ...named] };
}

function encode(name: string, value: Json): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  if (bytes.length <= ASSET_BYTES_MAX) return bytes;
  throw new Fault(`tokenizer.ggml.tokens makes a ${name} of ${bytes.length} bytes; ${ASSET_BYTES_MAX} are the limit`);
}
