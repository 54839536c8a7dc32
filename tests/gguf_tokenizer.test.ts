/**
 * Tokenizers out of GGUF metadata: the same ids as the tokenizer that the metadata were made from has, whatever the text. The oracles
 * are the library with the tiny model's own tokenizer.json, Hugging Face's Rust library for how texts are cut, and SentencePiece itself,
 * which wrote the vocabularies and ids of tests/fixtures/sentencepiece.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { type GgufTokenizer, tokenizerFromGguf } from "../convert/gguf_tokenizer.ts";
import { Fault } from "../src/model_file/config_fields.ts";
import { readPackedModel } from "../src/model_file/packed.ts";
import { ChatTemplate } from "../src/text/chat_template.ts";
import { decodeAll } from "../src/text/detokenizer.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { unpackFixtures } from "./support/archive.ts";
import { goldens, tinyDirectory } from "./support/goldens.ts";
import { runProgram, startServer } from "./support/server.ts";

setDefaultTimeout(60_000);

type Metadata = Map<string, unknown>;

const tiny = JSON.parse(readFileSync(join(tinyDirectory, "tokenizer.json"), "utf8"));
const tinyConfiguration = JSON.parse(readFileSync(join(tinyDirectory, "tokenizer_config.json"), "utf8"));
const library = new Library(tiny, tinyConfiguration);

/** The tiny model's tokenizer as a GGUF has it, changed. */
function tinyMetadata(changes: Record<string, unknown> = {}): Metadata {
  const texts: string[] = [];
  for (const [text, id] of Object.entries<number>(tiny.model.vocab)) texts[id] = text;
  for (const { id, content } of tiny.added_tokens) texts[id] = content;
  const metadata: Metadata = new Map(
    Object.entries({
      "general.architecture": "bitnet-b1.58",
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "llama-bpe",
      "tokenizer.ggml.tokens": texts,
      "tokenizer.ggml.token_type": Int32Array.from(texts, (_, id) => (id < 2040 ? 1 : 3)),
      "tokenizer.ggml.merges": tiny.model.merges.map((merge: string | string[]) =>
        Array.isArray(merge) ? merge.join(" ") : merge,
      ),
      "tokenizer.ggml.bos_token_id": 2040,
      "tokenizer.ggml.eos_token_id": 2041,
      "tokenizer.ggml.add_bos_token": true,
      "tokenizer.chat_template": tinyConfiguration.chat_template,
    }),
  );
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) metadata.delete(`tokenizer.${key}`);
    else metadata.set(`tokenizer.${key}`, value);
  }
  return metadata;
}

/** A list of the tiny model's, changed in one place. */
function changedList(key: string, index: number, value: unknown): unknown[] {
  return Array.from(tinyMetadata().get(`tokenizer.${key}`) as unknown[]).with(index, value);
}

function open({ assets }: GgufTokenizer, vocabSize = 4096): Tokenizer {
  return Tokenizer.fromAssets(assets, "test", vocabSize);
}

async function encode(tokenizer: Tokenizer, text: string): Promise<number[]> {
  const encoding = await tokenizer.encode(text, 1e9);
  if (!("ids" in encoding)) throw new Error("not encoded");
  return encoding.ids;
}

function files({ assets }: GgufTokenizer) {
  const read = (name: string) => JSON.parse(new TextDecoder().decode(assets.get(name)));
  return {
    description: read("tokenizer.json"),
    configuration: read("tokenizer_config.json"),
    generation: read("generation_config.json"),
  };
}

/** Texts with all that makes tokenizers stumble, the names of special tokens among it. */
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc
    .array(
      fc.oneof(
        fc.constantFrom(
          ..."word, the model,Hello,don't,I'LL,'ſ,s, ,  ,       ,\n,\n\n,\r\n,\t,1,12,2345,1234567,½,٣,e\u0301,\u0300,Å".split(
            ",",
          ),
          ..."日本,語,한국어,नमस्ते,ا,Привет,🚀,👩‍👩‍👧,—,…,`,```,$,<=>,~|,\0,\u007f,\u200b,\u3000,\u0085,\u2028,\ufeff,▁".split(
            ",",
          ),
          ...tiny.added_tokens.map(({ content }: { content: string }) => content),
          ..."<|eot,_id|>,<|,|>,[PAD7],</s>,<0x0A>".split(","),
        ),
        fc.string({ unit: "binary", maxLength: 3 }),
      ),
      { maxLength: 16 },
    )
    .map((parts) => parts.join("")),
);

describe("a byte-level vocabulary", () => {
  const made = tokenizerFromGguf(tinyMetadata());
  const tokenizer = open(made, 2048);

  test("has the ids of the goldens", async () => {
    for (const { text, ids } of goldens.tokenizer) expect(await encode(tokenizer, text)).toEqual(ids);
    const template = ChatTemplate.fromAssets(made.assets, tokenizer, "test");
    for (const { messages, prompt, prompt_ids } of goldens.chat) {
      expect(template.render(messages)).toBe(prompt);
      expect(await encode(tokenizer, prompt)).toEqual(prompt_ids);
    }
    expect(made.notices).toEqual([]);
  });

  test("has the ids of the model's own tokenizer.json for any text, and its bytes", async () => {
    await fc.assert(
      fc.asyncProperty(anyText, async (text) => {
        const ids = await encode(tokenizer, text);
        expect(ids).toEqual(library.encode(text, { add_special_tokens: false }).ids);
        expect(decodeAll(tokenizer, ids)).toBe(text.toWellFormed());
        expect([...tokenizer.beginning, ...ids]).toEqual(library.encode(text).ids);
      }),
      { numRuns: 2000 },
    );
  });

  test("is a tokenizer.json that the library reads as it reads the model's own", () => {
    const { description, configuration, generation } = files(made);
    const other = new Library(description, configuration);
    for (const { text, ids } of goldens.tokenizer) expect(other.encode(text).ids).toEqual([2040, ...ids]);
    expect(description.added_tokens).toEqual(tiny.added_tokens);
    expect(configuration).toMatchObject({ bos_token: "<|begin_of_text|>", eos_token: "<|end_of_text|>" });
    expect(generation).toEqual({ bos_token_id: 2040, eos_token_id: [2041, 2044] });
    expect([made.bosTokenId, made.eosTokenIds]).toEqual([2040, [2041, 2044]]);
  });

  test("keeps tokens whose texts are names that JavaScript has for other things", async () => {
    const texts = changedList("ggml.tokens", 300, "__proto__").with(301, "constructor");
    const merges = tinyMetadata().get("tokenizer.ggml.merges") as string[];
    const gone = [300, 301].map((id) => (tinyMetadata().get("tokenizer.ggml.tokens") as string[])[id]);
    const kept = merges.filter((merge) => !gone.some((text) => merge.replace(" ", "").includes(text as string)));
    const changed = tokenizerFromGguf(tinyMetadata({ "ggml.tokens": texts, "ggml.merges": kept }));
    // Pieces that are tokens are taken whole.
    expect(await encode(open(changed), "constructor")).toEqual([301]);
    expect(decodeAll(open(changed), [300])).toBe("__proto__");
  });
});

/** A text, and the pieces into which Hugging Face's Rust library cuts it, for each name. */
const TEXT =
  "Hello don't DON'T I'LL  1234567 x12 ½٣4\r\n\n  a\n\t b `code` $5+3<=>^~|«q» e\u0301\u0300 नमस्ते日本🚀\u00a0\u3000 end   ";
const PIECES: Record<string, string> = {
  "llama-bpe":
    "Hello⁞ don⁞'t⁞ DON⁞'T⁞ I⁞'LL⁞ ⁞ ⁞123⁞456⁞7⁞ x⁞12⁞ ⁞½٣4⁞\r\n\n⁞ ⁞ a⁞\n⁞\t⁞ b⁞ `⁞code⁞`⁞ $⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ e⁞\u0301\u0300⁞ नमस⁞्त⁞े日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
  qwen2:
    "Hello⁞ don⁞'t⁞ DON⁞'T⁞ I⁞'LL⁞ ⁞ ⁞1⁞2⁞3⁞4⁞5⁞6⁞7⁞ x⁞1⁞2⁞ ⁞½⁞٣⁞4⁞\r\n\n⁞ ⁞ a⁞\n⁞\t⁞ b⁞ `⁞code⁞`⁞ $⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ \u00e9⁞\u0300⁞ नमस⁞्त⁞े日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
  qwen35:
    "Hello⁞ don⁞'t⁞ DON⁞'T⁞ I⁞'LL⁞ ⁞ ⁞1⁞2⁞3⁞4⁞5⁞6⁞7⁞ x⁞1⁞2⁞ ⁞½⁞٣⁞4⁞\r\n\n⁞ ⁞ a⁞\n⁞\t⁞ b⁞ `⁞code⁞`⁞ $⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ \u00e9\u0300⁞ नमस्ते日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
  "gpt-2":
    "Hello⁞ don⁞'t⁞ DON⁞'⁞T⁞ I⁞'⁞LL⁞ ⁞ 1234567⁞ x⁞12⁞ ½٣4⁞\r\n\n ⁞ a⁞\n\t⁞ b⁞ `⁞code⁞`⁞ $⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ e⁞\u0301\u0300⁞ नमस⁞्⁞त⁞े⁞日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
  falcon:
    "Hello⁞ don⁞'⁞t⁞ DON⁞'⁞T⁞ I⁞'⁞LL⁞ ⁞ ⁞123⁞456⁞7⁞ x⁞12⁞ ½٣4⁞\r\n\n ⁞ a⁞\n\t⁞ b⁞ ⁞`⁞code⁞`⁞ ⁞$⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ e⁞\u0301\u0300⁞ नमस⁞्⁞त⁞े⁞日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
  falcon_e:
    "Hello⁞ don⁞'⁞t⁞ DON⁞'⁞T⁞ I⁞'⁞LL⁞ ⁞ ⁞1⁞2⁞3⁞4⁞5⁞6⁞7⁞ x⁞1⁞2⁞ ½٣⁞4⁞\r\n\n ⁞ a⁞\n\t⁞ b⁞ ⁞`⁞code⁞`⁞ ⁞$⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ e⁞\u0301\u0300⁞ नमस⁞्⁞त⁞े⁞日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
  default:
    "Hello⁞ don⁞'⁞t⁞ DON⁞'⁞T⁞ I⁞'⁞LL⁞ ⁞ ⁞123⁞456⁞7⁞ x⁞12⁞ ⁞½٣4⁞\r\n\n ⁞ a⁞\n\t⁞ b⁞ `⁞code⁞`⁞ ⁞$⁞5⁞+⁞3⁞<=>^~|«⁞q⁞»⁞ e⁞\u0301\u0300⁞ नमस⁞्⁞त⁞े⁞日本⁞🚀⁞\u00a0\u3000⁞ end⁞   ",
};

describe("tokenizer.ggml.pre", () => {
  const synonyms = { llama3: "llama-bpe", "llama-v3": "llama-bpe", falcon3: "llama-bpe", "deepseek-r1-qwen": "qwen2" };
  const names = [...Object.keys(PIECES).map((name) => [name, name]), ...Object.entries(synonyms)] as [string, string][];

  test.each(names)("%s cuts texts as %s does in Hugging Face's library", (pre, like) => {
    const { description, configuration } = files(tokenizerFromGguf(tinyMetadata({ "ggml.pre": pre })));
    const { pre_tokenizer, normalizer } = new Library(description, configuration);
    const normalized = normalizer?.normalize(TEXT) ?? TEXT;
    const pieces = pre_tokenizer?.pre_tokenize(normalized) ?? [];
    const bytesOf = (text: string) =>
      new Library(
        { ...description, pre_tokenizer: description.pre_tokenizer.pretokenizers.at(-1) },
        configuration,
      ).pre_tokenizer
        ?.pre_tokenize(text)
        .join("");
    expect(pieces).toEqual((PIECES[like] as string).split("⁞").map((piece) => bytesOf(piece) as string));
  });

  test.each([
    ["llama-bpe", [2040]],
    ["falcon3", [2040]],
    ["qwen2", []],
    ["default", []],
  ] as [string, number[]][])("%s decides about the beginning of text where the file does not", (pre, beginning) => {
    const metadata = tinyMetadata({ "ggml.pre": pre, "ggml.add_bos_token": undefined });
    expect(open(tokenizerFromGguf(metadata)).beginning).toEqual(beginning);
  });

  test("falcon3 means two things, which is said, and the other one may be chosen", async () => {
    const metadata = tinyMetadata({ "ggml.pre": "falcon3" });
    const [made, said] = [tokenizerFromGguf(metadata), tokenizerFromGguf(metadata, { pre: "falcon3-digits" })];
    expect((await encode(open(said), "1234567")).length).toBe(7);
    expect([made.notices, said.notices]).toEqual([[expect.stringContaining("--pre falcon3-digits")], []]);
  });

  test("that is missing is Llama 3's where its tokens are", async () => {
    const made = tokenizerFromGguf(tinyMetadata({ "ggml.pre": undefined, "ggml.add_bos_token": undefined }));
    for (const { text, ids } of goldens.tokenizer) expect(await encode(open(made), text)).toEqual(ids);
    expect(open(made).beginning).toEqual([2040]);
    expect(made.notices).toEqual([expect.stringMatching(/^tokenizer\.ggml\.pre is missing; .*llama-bpe/)]);
  });

  test("that is missing is that of old files where they are not", () => {
    const made = tokenizerFromGguf(
      tinyMetadata({ "ggml.pre": undefined, "ggml.tokens": changedList("ggml.tokens", 2044, "<|im_end|>") }),
    );
    expect(files(made).description.pre_tokenizer.pretokenizers).toHaveLength(5);
    expect(made.notices).toEqual([expect.stringContaining("tokenizer.ggml.pre is missing")]);
  });
});

describe("a vocabulary of SentencePiece's", () => {
  test.each(["llama", "gemma"])("has the ids that SentencePiece has: %s", async (name) => {
    const path = join(import.meta.dir, "fixtures", "sentencepiece", `${name}.json`);
    const { metadata, cases } = JSON.parse(readFileSync(path, "utf8"));
    const made = tokenizerFromGguf(new Map(Object.entries(metadata)));
    const tokenizer = open(made);
    for (const { text, ids } of cases) expect([text, await encode(tokenizer, text)]).toEqual([text, ids]);
    expect(cases.length).toBeGreaterThan(150);
    expect([tokenizer.beginning, made.eosTokenIds, made.notices]).toEqual([[1], [2], []]);
  });

  /** A small one: its pieces with scores, after <unk>, <s>, </s> and, unless told otherwise, the bytes. */
  function pieces(scores: Record<string, number>, changes: Record<string, unknown> = {}, withBytes = true): Metadata {
    const bytes = withBytes ? Array.from({ length: 256 }, (_, byte) => `<0x${byteName(byte)}>`) : [];
    const texts = ["<unk>", "<s>", "</s>", ...bytes, ...Object.keys(scores)];
    return new Map(
      Object.entries({
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": Float32Array.from(texts, (text) => scores[text] ?? 0),
        "tokenizer.ggml.token_type": texts.map((text, id) =>
          id === 0 ? 2 : id < 3 ? 3 : bytes.includes(text) ? 6 : 1,
        ),
        ...changes,
      }),
    );
  }
  const byteName = (byte: number) => byte.toString(16).toUpperCase().padStart(2, "0");
  const read = async (metadata: Metadata, text: string) => {
    const tokenizer = open(tokenizerFromGguf(metadata));
    const ids = await encode(tokenizer, text);
    return ids.map((id) => (metadata.get("tokenizer.ggml.tokens") as string[])[id]).join(" ");
  };
  const letters = { "▁": -10, a: -11, b: -12, c: -13 };

  test("joins what has the highest score, not what comes first", async () => {
    expect(await read(pieces({ ...letters, ab: -3, bc: -2 }), "abc")).toBe("▁ a bc");
    expect(await read(pieces({ ...letters, ab: -2, bc: -3 }), "abc")).toBe("▁ ab c");
  });

  test("gives each part of a text between control tokens a space of its own, unless told not to", async () => {
    const scores = { ...letters, "▁a": -1 };
    expect(await read(pieces(scores), "a</s>a a")).toBe("▁a </s> ▁a ▁a");
    expect(await read(pieces(scores, { "tokenizer.ggml.add_space_prefix": false }), "a</s>a a")).toBe("a </s> a ▁a");
  });

  test("spells what it lacks in bytes, or with the unknown token", async () => {
    expect(await read(pieces(letters), "aé")).toBe("▁ a <0xC3> <0xA9>");
    expect(await read(pieces(letters, {}, false), "aéb")).toBe("▁ a <unk> b");
    const tokenizer = open(tokenizerFromGguf(pieces(letters)));
    expect(decodeAll(tokenizer, await encode(tokenizer, "aé b"))).toBe(" aé b");
  });

  test("does not join to what no merge makes, where scores are places of merges", async () => {
    const places = { "▁": 0, a: 0, b: 0, c: 0, ab: -1, bc: 0, ca: 0 };
    expect(await read(pieces(places), "abc")).toBe("▁ ab c");
  });

  test("takes merges where it has them", async () => {
    const scores = { ...letters, ab: -2, bc: -3 };
    expect(await read(pieces(scores, { "tokenizer.ggml.merges": ["b c"] }), "abab abc")).toBe("▁ a b a b ▁ a bc");
  });

  test("has tokens of its user's in any text, white space among them", async () => {
    const scores = { ...letters, "  ": -1, "\n\n": -1 };
    const metadata = pieces(scores);
    const types = metadata.get("tokenizer.ggml.token_type") as number[];
    const user = types.map((type, id) => (id >= types.length - 2 ? 4 : type));
    metadata.set("tokenizer.ggml.token_type", user);
    metadata.set("tokenizer.ggml.add_space_prefix", false);
    expect(await read(metadata, "a  b\n\nc")).toBe("a    b \n\n c");
    const tokenizer = open(tokenizerFromGguf(metadata));
    expect(decodeAll(tokenizer, await encode(tokenizer, "a  b\n\nc"))).toBe("a  b\n\nc");
  });

  test("has runs of spaces among them, spelled as in its vocabulary", async () => {
    const metadata = pieces({ ...letters, "▁▁": -1 });
    metadata.set("tokenizer.ggml.token_type", (metadata.get("tokenizer.ggml.token_type") as number[]).with(-1, 4));
    expect(await read(metadata, "a  b")).toBe("▁ a ▁▁ b");
    const tokenizer = open(tokenizerFromGguf(metadata));
    expect(decodeAll(tokenizer, await encode(tokenizer, "a  b"))).toBe(" a  b");
  });

  test("is refused when its tokens could be joined in more ways than a file of its size has", () => {
    const scores = Object.fromEntries(
      Array.from({ length: 1024 }, (_, length) => ["a".repeat(length + 1), -length - 1]),
    );
    expect(() => tokenizerFromGguf(pieces(scores))).toThrow("too many ways to join them");
  });
});

describe("tokens of all kinds", () => {
  const types = (changes: Record<number, number>) =>
    Array.from({ length: 2048 }, (_, id) => changes[id] ?? (id < 2040 ? 1 : 3));

  test("a token that ends an answer is one token whatever the file calls it, with a notice", async () => {
    for (const type of [1, 4]) {
      const made = tokenizerFromGguf(tinyMetadata({ "ggml.token_type": types({ 2044: type, 2040: type }) }));
      const tokenizer = open(made);
      expect(await encode(tokenizer, "a<|eot_id|>b")).toEqual(
        library.encode("a<|eot_id|>b", { add_special_tokens: false }).ids,
      );
      expect([tokenizer.isSpecial(2044), tokenizer.isSpecial(2040)]).toEqual([true, true]);
      expect(made.notices).toEqual([
        "tokenizer.ggml.token_type does not say that these are control tokens, which they are: '<|begin_of_text|>' (2040), '<|eot_id|>' (2044)",
      ]);
    }
  });

  test("a word that ends texts stays a word", async () => {
    const made = tokenizerFromGguf(tinyMetadata({ "ggml.eos_token_id": 0 }));
    expect([open(made).isSpecial(0), made.eosTokenIds, made.notices]).toEqual([false, [0, 2041, 2044], []]);
  });

  test("tokens that end an answer are found by their texts and by every key that names one", () => {
    const texts = changedList("ggml.tokens", 2045, "<|im_end|>").with(2046, "</s>");
    const made = tokenizerFromGguf(
      tinyMetadata({ "ggml.tokens": texts, "ggml.eot_token_id": 2042, "ggml.eom_token_id": 0xffff_ffff }),
    );
    expect(made.eosTokenIds).toEqual([2041, 2042, 2044, 2045, 2046]);
    const html = tokenizerFromGguf(tinyMetadata({ "ggml.tokens": texts, "ggml.token_type": types({ 2046: 4 }) }));
    expect(html.eosTokenIds).toEqual([2041, 2044, 2045]);
  });

  test("rows that fill up the table are no tokens, also those that a text could spell", async () => {
    const texts = [...changedList("ggml.tokens", 2046, "[PAD2046]"), "[PAD2048]", "", "", "[PAD2048]"];
    const made = tokenizerFromGguf(
      tinyMetadata({ "ggml.tokens": texts, "ggml.token_type": [...types({ 2046: 4 }), 5, 1, 3, 5] }),
    );
    const text = "[PAD2046][PAD2048]";
    expect(await encode(open(made), text)).toEqual(library.encode(text, { add_special_tokens: false }).ids);
  });

  test("a user's token is found in any text and is no control token", async () => {
    const made = tokenizerFromGguf(
      tinyMetadata({ "ggml.tokens": changedList("ggml.tokens", 2047, "ee"), "ggml.token_type": types({ 2047: 4 }) }),
    );
    const tokenizer = open(made);
    expect((await encode(tokenizer, "see"))[1]).toBe(2047);
    expect([tokenizer.isSpecial(2047), decodeAll(tokenizer, [2047])]).toEqual([false, "ee"]);
  });

  test("tokens around texts are as the flags say", () => {
    const around = (changes: Record<string, unknown>) => {
      const { description, configuration } = files(tokenizerFromGguf(tinyMetadata(changes)));
      return new Library(description, configuration).encode("!").ids;
    };
    expect(around({})).toEqual([2040, 0]);
    expect(around({ "ggml.add_bos_token": false })).toEqual([0]);
    expect(around({ "ggml.add_eos_token": true })).toEqual([2040, 0, 2041]);
    expect(around({ "ggml.add_bos_token": false, "ggml.add_eos_token": true })).toEqual([0, 2041]);
  });

  test("a beginning of text that the file wants and lacks is said", () => {
    const made = tokenizerFromGguf(tinyMetadata({ "ggml.bos_token_id": undefined }));
    expect([open(made).beginning, made.bosTokenId]).toEqual([[], null]);
    expect(made.notices).toEqual([expect.stringContaining("tokenizer.ggml.bos_token_id is missing")]);
  });
});

describe("the chat template", () => {
  test("of the published 2B, which it was not trained on, is replaced, with a notice", async () => {
    const outdated =
      "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}{% endif %}{% endfor %}";
    const made = tokenizerFromGguf(tinyMetadata({ chat_template: outdated }));
    const template = ChatTemplate.fromAssets(made.assets, open(made), "test");
    for (const { messages, prompt } of goldens.chat) expect(template.render(messages)).toBe(prompt);
    expect(made.notices).toEqual([expect.stringContaining("is not what this model was trained on")]);
  });

  test("may be one of several", () => {
    const made = tokenizerFromGguf(tinyMetadata({ "chat_template.tool_use": "{{ tools }}" }));
    const template = ChatTemplate.fromAssets(made.assets, open(made), "test");
    expect(template.render([{ role: "user", content: "Hi" }])).toBe("<|begin_of_text|>User: Hi<|eot_id|>Assistant: ");
  });
});

describe("a GGUF file of other people's writing", () => {
  let directory: string;
  let path: string;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "wrinklefree-gguf-"));
    await unpackFixtures("formats", directory);
    path = join(directory, "tiny.I2_S.gguf");
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test("is served with the tokens of the model that it was made from, one beginning of text, and its ends", async () => {
    const server = await startServer([path, "--store", join(directory, "store")]);
    const post = async (route: string, body: object) =>
      (await (await server.post(route, body)).json()) as Record<string, never>;
    for (const { text, ids } of goldens.tokenizer) {
      expect(await post("/tokenize", { content: text })).toMatchObject({ tokens: ids });
    }
    for (const prompt of ["Hello", "<|begin_of_text|>Hello"]) {
      const { usage } = await post("/v1/completions", { prompt, max_tokens: 1 });
      expect(usage).toMatchObject({ prompt_tokens: library.encode("Hello").ids.length });
    }
    for (const { messages, prompt_ids, greedy_text } of goldens.chat.filter((chat) => chat.finish_reason === "stop")) {
      const answer = await post("/v1/chat/completions", { messages, temperature: 0 });
      expect(answer).toMatchObject({
        choices: [{ message: { content: greedy_text }, finish_reason: "stop" }],
        usage: { prompt_tokens: prompt_ids.length },
      });
    }
    await server.stop();
  });

  test("may be told how its texts are cut; a directory has that in its tokenizer.json", async () => {
    const output = join(directory, "told.wf");
    const told = await runProgram(["convert", path, output, "--pre", "falcon3-digits"]);
    expect([told.code, told.stderr]).toEqual([0, ""]);
    const packed = await readPackedModel(output);
    const tokenizer = Tokenizer.fromAssets(packed.assets, "told", packed.config.vocabSize);
    expect(await encode(tokenizer, "12345")).toHaveLength(5);
    const refused = await runProgram(["convert", tinyDirectory, join(directory, "never.wf"), "--pre", "qwen2"]);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining(`${tinyDirectory}: how its texts are cut`),
    ]);
    const unknown = await runProgram(["convert", path, join(directory, "never.wf"), "--pre", "qwen3"]);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("--pre takes llama-bpe, ")]);
  });
});

test("a file without a tokenizer gives no files", () => {
  expect(tokenizerFromGguf(new Map([["general.architecture", "llama"]])).assets.size).toBe(0);
  expect(tokenizerFromGguf(new Map([["tokenizer.ggml.model", "no_vocab"]])).assets.size).toBe(0);
});

describe("metadata that do harm are refused by name", () => {
  const many = (length: number, element: unknown) => ({ length, __proto__: Array.prototype, 0: element });
  test.each([
    ["a model of another kind", { "ggml.model": "rwkv" }, "tokenizer.ggml.model is 'rwkv'; supported: gpt2, llama"],
    ["a model that is a number", { "ggml.model": 3 }, "tokenizer.ggml.model is no text"],
    [
      "an unknown way to cut",
      { "ggml.pre": "new\nline" },
      "tokenizer.ggml.pre is 'new\ufffdline'; supported: llama-bpe",
    ],
    ["a way to cut that JavaScript knows", { "ggml.pre": "constructor" }, "tokenizer.ggml.pre is 'constructor'"],
    ["no tokens", { "ggml.tokens": undefined }, "there are no tokens in tokenizer.ggml.tokens"],
    ["an empty list of tokens", { "ggml.tokens": [] }, "there are no tokens in tokenizer.ggml.tokens"],
    ["tokens that are a text", { "ggml.tokens": "abc" }, "tokenizer.ggml.tokens is 'abc'; a list is needed"],
    ["tokens that are numbers", { "ggml.tokens": new Uint32Array(2048) }, "tokenizer.ggml.tokens holds 0 where a text"],
    [
      "too many tokens",
      { "ggml.tokens": new Uint8Array(2 ** 24 + 1) },
      "has 16777217 elements; 16777216 are the limit",
    ],
    ["a huge token", { "ggml.tokens": changedList("ggml.tokens", 5, "a".repeat(1025)) }, "token 5 has 1025 characters"],
    ["one text twice", { "ggml.tokens": changedList("ggml.tokens", 5, "!") }, "tokens 0 and 5 have the same text, '!'"],
    [
      "types for other tokens",
      { "ggml.token_type": [1, 1] },
      "tokenizer.ggml.token_type has 2 elements for 2048 tokens",
    ],
    ["a type that is none", { "ggml.token_type": changedList("ggml.token_type", 5, 7) }, "token_type holds 7"],
    ["a fraction of a type", { "ggml.token_type": changedList("ggml.token_type", 5, 1.5) }, "token_type holds 1.5"],
    ["a type that is a text", { "ggml.token_type": changedList("ggml.token_type", 5, "1") }, "token_type holds '1'"],
    [
      "a byte that is none",
      { "ggml.token_type": changedList("ggml.token_type", 5, 6) },
      "token 5 is a byte but is called",
    ],
    ["scores that are no numbers", { "ggml.scores": new Float32Array(2048).fill(Number.NaN) }, "scores holds NaN"],
    ["no merges", { "ggml.merges": undefined }, "tokenizer.ggml.merges is missing"],
    ["a merge of one", { "ggml.merges": changedList("ggml.merges", 9, "abc") }, "merges: entry 9 is 'abc'; two texts"],
    ["a merge of nothing", { "ggml.merges": changedList("ggml.merges", 9, "a ") }, "entry 9 is 'a '; two texts"],
    [
      "a merge to no token",
      { "ggml.merges": changedList("ggml.merges", 9, "! !") },
      "entry 9 joins '!' and '!' to what is",
    ],
    ["a merge that is a number", { "ggml.merges": changedList("ggml.merges", 9, 3) }, "merges holds 3 where a text"],
    ["a beginning that is no token", { "ggml.bos_token_id": 2048 }, "bos_token_id is 2048; the file has 2048 tokens"],
    ["an end below all tokens", { "ggml.eos_token_id": -2 }, "eos_token_id is -2; the file has 2048 tokens"],
    ["an end that is a fraction", { "ggml.eos_token_id": 0.5 }, "eos_token_id is 0.5"],
    ["an end that is a text", { "ggml.eot_token_id": "2041" }, "eot_token_id is '2041'"],
    ["an end that is huge", { "ggml.eos_token_id": 2n ** 60n }, "eos_token_id is 1152921504606846976"],
    [
      "an end without text",
      { "ggml.tokens": changedList("ggml.tokens", 2041, "") },
      "token 2041, which begins or ends",
    ],
    ["a flag that is a number", { "ggml.add_bos_token": 1 }, "add_bos_token is 1; true or false is needed"],
    ["a template that is a list", { chat_template: ["a"] }, "tokenizer.chat_template is no text"],
    ["a list that only looks like one", { "ggml.tokens": many(2 ** 30, "a") }, "a list is needed"],
  ] as [string, Record<string, unknown>, string][])("%s", (_, changes, fault) => {
    let found: unknown;
    try {
      tokenizerFromGguf(tinyMetadata(changes));
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(Fault);
    expect((found as Fault).message).toContain(fault);
    expect((found as Fault).message).not.toContain("\n");
  });

  test("more ends than a model can have", () => {
    const texts = tinyMetadata().get("tokenizer.ggml.tokens") as string[];
    const types = Array.from({ length: 2048 }, () => 5);
    // Unused tokens may have one text.
    const metadata = tinyMetadata({ "ggml.tokens": texts.map(() => "<|eot_id|>"), "ggml.token_type": types });
    expect(() => tokenizerFromGguf(metadata)).toThrow("2048 tokens end a text; 64 are the limit");
  });
});
