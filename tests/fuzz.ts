/**
 * Damages files at random and reads them: each is refused in one line, or is what a sound file would be. By hand:
 *
 *   bun tests/fuzz.ts safetensors|tokenizer|packed|gguf-tokenizer|gguf|sglbitnt [--count 100000] [--seed 1]
 *
 * It prints what came of it, with the slowest input and the memory that the process had at most; the first fault ends it and is printed with
 * its input. tests/fuzz.test.ts runs a short version of each. build/address/model_test does the same for the library's reader.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { convertCheckpoint } from "../convert/convert.ts";
import { openCheckpoint } from "../convert/formats.ts";
import { tokenizerFromGguf } from "../convert/gguf_tokenizer.ts";
import { Model } from "../src/engine/model.ts";
import { Failure } from "../src/errors.ts";
import { memoryByteSource } from "../src/model_file/byte_source.ts";
import { naming } from "../src/model_file/config_fields.ts";
import { readGgufHeader } from "../src/model_file/gguf.ts";
import { readPackedModel } from "../src/model_file/packed.ts";
import { readSafetensorsHeader } from "../src/model_file/safetensors.ts";
import { TemplateError } from "../src/text/jinja/errors.ts";
import { Template } from "../src/text/jinja/template.ts";
import { checkModelText } from "../src/text/model_text.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { ggufModel } from "./support/gguf_model.ts";
import { randomNumbers } from "./support/random_numbers.ts";
import { encodeSafetensors, smallCheckpoint, smallTokenizer, writeCheckpoint } from "./support/small_checkpoint.ts";
import { encodeGguf, type GgufEntry, valueTypes } from "./support/small_gguf.ts";
import { encodeSglbitnt } from "./support/small_sglbitnt.ts";

/** What came of it. */
export interface FuzzReport {
  refused: number;
  /** Inputs that were read as if nothing were wrong. */
  taken: number;
  slowestMs: number;
  /** Of the whole process. */
  peakMegabytes: number;
}

/** A kind of file: sound ones to begin with, and what reads them. */
interface Target {
  originals: () => Promise<Uint8Array[]>;
  /** Reads one and checks what it is. @throws Failure when it is refused. */
  read(bytes: Uint8Array): Promise<void> | void;
}

const NAME = "damaged";

const TEMPLATES = join(import.meta.dir, "fixtures/jinja/templates");

/** Ids of the small models are below this. */
const VOCABULARY = 61;

const TEXT = "<s>abc xyz  12345</s>é日本🚀\n\n\tThe model's <x>▁";

async function checkTokenizer(tokenizer: Tokenizer, vocabulary: number): Promise<void> {
  const encoding = await tokenizer.encode(TEXT, 10_000);
  for (const id of [...tokenizer.beginning, ...("ids" in encoding ? encoding.ids : [])]) {
    if (!(Number.isInteger(id) && id >= 0 && id < vocabulary)) throw new Error(`the tokenizer gives ${id}`);
    tokenizer.bytes(id);
  }
  if ("ids" in encoding) tokenizer.decode(encoding.ids);
}

/** Takes files that are not read beyond their end, and in pieces that are no longer than they are. */
function sourceOf(bytes: Uint8Array) {
  const source = memoryByteSource(bytes, NAME);
  return {
    ...source,
    read(position: number, target: Uint8Array) {
      if (target.length > bytes.length) throw new Error(`${target.length} bytes are made room for`);
      source.read(position, target);
    },
  };
}

/** A tokenizer of every stage that is known. */
function tokenizers(): object[] {
  const plain = smallTokenizer();
  const merged = {
    ...plain.model,
    vocab: { ...plain.model.vocab, ab: 59, abc: 58 },
    merges: [
      ["a", "b"],
      ["ab", "c"],
    ],
  };
  const letters = Object.fromEntries([..."Ġ▁ĊĠa"].map((letter, index) => [letter, 40 + index]));
  const split = {
    type: "Split",
    pattern: { Regex: " ?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+" },
    behavior: "Isolated",
    invert: false,
  };
  const template = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
  };
  return [
    { ...plain, model: { ...merged, vocab: { ...merged.vocab, ...letters, a: 3 } } },
    {
      ...plain,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [split, { type: "ByteLevel", use_regex: false, add_prefix_space: false }],
      },
      post_processor: { type: "Sequence", processors: [{ type: "ByteLevel", trim_offsets: false }, template] },
      decoder: { type: "ByteLevel" },
      model: { ...merged, ignore_merges: true },
    },
    {
      ...plain,
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "▁" },
          { type: "Replace", pattern: { String: " " }, content: "▁" },
          { type: "NFC" },
        ],
      },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Digits", individual_digits: true },
          { type: "FixedLength", length: 5 },
        ],
      },
      post_processor: template,
      decoder: {
        type: "Sequence",
        decoders: [{ type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }],
      },
      model: { ...merged, unk_token: "<s>", byte_fallback: true, fuse_unk: true },
    },
    {
      ...plain,
      added_tokens: [
        ...plain.added_tokens,
        { id: 57, content: " the", special: false, normalized: true, single_word: true, lstrip: true, rstrip: true },
      ],
      normalizer: {
        type: "Sequence",
        normalizers: ["Lowercase", "StripAccents", "Nmt"]
          .map((type): object => ({ type }))
          .concat({ type: "Strip", strip_left: true, strip_right: true }),
      },
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
          { type: "Punctuation", behavior: "MergedWithPrevious" },
          { type: "CharDelimiterSplit", delimiter: "e" },
          { type: "Split", pattern: { String: "3" }, behavior: "MergedWithNext", invert: true },
        ],
      },
      decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
      model: {
        ...merged,
        vocab: { ...merged.vocab, "##b": 56, "c</w>": 55 },
        merges: [["a", "##b"]],
        continuing_subword_prefix: "##",
        end_of_word_suffix: "</w>",
      },
    },
  ];
}

/** The metadata of a GGUF with a tokenizer, and no tensors. */
function ggufWithTokenizer(model: "gpt2" | "llama"): Uint8Array {
  const texts = [
    "<unk>",
    "<s>",
    "</s>",
    ..."abcdefghijklmnopqrstuvwxyz▁Ġ",
    "ab",
    "abc",
    "▁a",
    "<|eot_id|>",
    "[PAD35]",
    "",
  ];
  const types = texts.map((text, id) => (id === 0 ? 2 : id < 3 ? 3 : text.startsWith("[") ? 4 : 1));
  const list = (of: number, value: (string | number)[]): GgufEntry => ({ type: 9, of, value });
  const one = (type: number, value: string | number | boolean): GgufEntry => ({ type, value });
  const scores = texts.map((text) => (text.length > 1 ? -text.length : -100));
  const metadata = new Map<string, GgufEntry>([
    ["general.architecture", one(valueTypes.text, "bitnet-b1.58")],
    ["tokenizer.ggml.model", one(valueTypes.text, model)],
    ["tokenizer.ggml.pre", one(valueTypes.text, "llama-bpe")],
    ["tokenizer.ggml.tokens", list(valueTypes.text, texts)],
    ["tokenizer.ggml.token_type", list(valueTypes.i32, types)],
    ["tokenizer.ggml.bos_token_id", one(valueTypes.u32, 1)],
    ["tokenizer.ggml.eos_token_id", one(valueTypes.u32, 2)],
    ["tokenizer.ggml.add_bos_token", one(valueTypes.bool, true)],
    ["tokenizer.chat_template", one(valueTypes.text, "{% for message in messages %}{{ message.content }}{% endfor %}")],
  ]);
  if (model === "llama") metadata.set("tokenizer.ggml.scores", list(valueTypes.f32, scores));
  else metadata.set("tokenizer.ggml.merges", list(valueTypes.text, ["a b", "ab c"]));
  return encodeGguf({ metadata, tensors: new Map() });
}

/** Where files are put that are read by their paths. */
let scratch: string | undefined;

/** Converts a file that is a model by itself, and reads what becomes of it. */
async function convertFile(bytes: Uint8Array): Promise<void> {
  if (scratch === undefined) {
    // In memory, where there is such a place: each conversion waits until its file is on the disk.
    const made = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "wrinklefree-fuzz-"));
    process.once("exit", () => rmSync(made, { recursive: true }));
    scratch = made;
  }
  const path = join(scratch, NAME);
  writeFileSync(path, bytes);
  try {
    openCheckpoint(path).close();
    await convertCheckpoint(path, `${path}.wf`, { replace: true });
  } catch (error) {
    throw error instanceof Failure ? new Failure(error.message.replaceAll(`${scratch}/`, "")) : error;
  }
  // What was made is sound, whatever it was made of.
  await readPackedModel(`${path}.wf`);
  (await Model.open(`${path}.wf`)).close();
}

const targets: Record<string, Target> = {
  safetensors: {
    originals: async () => [
      encodeSafetensors(smallCheckpoint().tensors),
      encodeSafetensors(smallCheckpoint("F32").tensors),
    ],
    read(bytes) {
      for (const { begin, end, shape } of readSafetensorsHeader(sourceOf(bytes)).tensors) {
        const isInside = begin >= 8 && begin <= end && end <= bytes.length;
        if (!isInside || shape.some((size) => size < 0))
          throw new Error(`a tensor of [${shape}] from ${begin} to ${end}`);
      }
    },
  },
  tokenizer: {
    originals: async () => tokenizers().map((tokenizer) => Buffer.from(JSON.stringify(tokenizer))),
    async read(bytes) {
      await checkTokenizer(Tokenizer.fromAssets(new Map([["tokenizer.json", bytes]]), NAME, VOCABULARY), VOCABULARY);
    },
  },
  "chat-template": {
    originals: async () =>
      ["deepseek", "hermes_tools", "llama3_tools", "minicpm4", "qwen3", "typescript_tools"].map((name) =>
        readFileSync(join(TEMPLATES, `${name}.jinja`)),
      ),
    read(bytes) {
      try {
        const template = new Template(new TextDecoder().decode(bytes));
        const tools = [
          { type: "function", function: { name: "f", parameters: { properties: { x: { type: "string" } } } } },
        ];
        const calls = [{ id: "abcdefghi", type: "function", function: { name: "f", arguments: '{"x": 1}' } }];
        const messages = [
          { role: "system", content: TEXT },
          { role: "user", content: "<think>\n" },
          { role: "assistant", content: "", tool_calls: calls },
          { role: "tool", content: "1.0", tool_call_id: "abcdefghi" },
        ];
        const variables = { messages, tools, bos_token: "<s>", eos_token: "</s>", add_generation_prompt: true };
        template.render(variables, 100_000, new Date(0));
      } catch (error) {
        throw error instanceof TemplateError ? new Failure(`${NAME}: ${error.message}`) : error;
      }
    },
  },
  packed: {
    async originals() {
      const directory = mkdtempSync(join(tmpdir(), "wrinklefree-fuzz-"));
      const checkpoint = smallCheckpoint();
      checkpoint.files.set("tokenizer.json", JSON.stringify(tokenizers()[1]));
      checkpoint.files.set(
        "tokenizer_config.json",
        JSON.stringify({ bos_token: "<s>", chat_template: "{{ messages[0].content }}" }),
      );
      writeCheckpoint(join(directory, "small"), checkpoint);
      await convertCheckpoint(join(directory, "small"), join(directory, "small.wf"));
      const packed = readFileSync(join(directory, "small.wf"));
      rmSync(directory, { recursive: true });
      return [packed];
    },
    async read(bytes) {
      const packed = await readPackedModel(bytes, NAME);
      // The engine takes what this reader takes.
      Model.fromBytes(bytes, NAME).close();
      checkModelText(packed, NAME, () => {});
      if (packed.assets.has("tokenizer.json")) {
        await checkTokenizer(
          Tokenizer.fromAssets(packed.assets, NAME, packed.config.vocabSize),
          packed.config.vocabSize,
        );
      }
    },
  },
  "gguf-tokenizer": {
    originals: async () => [ggufWithTokenizer("gpt2"), ggufWithTokenizer("llama")],
    async read(bytes) {
      const { metadata } = readGgufHeader(sourceOf(bytes));
      const { assets } = naming(NAME, () => tokenizerFromGguf(metadata));
      if (assets.size > 0) await checkTokenizer(Tokenizer.fromAssets(assets, NAME, VOCABULARY), VOCABULARY);
    },
  },
  gguf: {
    originals: async () => [
      encodeGguf(ggufModel("llama", "TQ2_0")),
      encodeGguf(ggufModel("bitnet-b1.58", "I2_S")),
      encodeGguf(ggufModel("bitnet", "TQ1_0")),
    ],
    read: convertFile,
  },
  sglbitnt: { originals: async () => [encodeSglbitnt()], read: convertFile },
};

/** The names of what can be fuzzed. */
export const targetNames = Object.keys(targets);

/** What JSON's values may become. */
const VALUES =
  '-1 0 1 2 0.5 60 61 4294967294 1e300 -0 null [] {} "" "a" "\\u0000" true [[]] {"a":1} "<s>" 16777215'.split(" ");

/** Bytes that mean something in a header. */
const MEANINGFUL = Buffer.from('{}[]",:\\0123456789-+.eEu\0 \xff\xc2', "latin1");

/** A copy with one to four faults, most of them in the first 4 kB, where the headers are. */
export function damage(original: Uint8Array, below: (limit: number) => number): Uint8Array {
  let bytes = Buffer.from(original);
  for (let faults = 1 + below(4); faults > 0 && bytes.length > 1; faults--) {
    const at = below(below(4) === 0 ? bytes.length : Math.min(bytes.length, 4096));
    const length = 1 + below(24);
    const isDigit = (byte: number | undefined) => byte !== undefined && byte >= 0x30 && byte <= 0x39;
    switch (below(12)) {
      case 0:
        bytes[at] = (bytes[at] as number) ^ (1 << below(8));
        break;
      case 1:
        bytes[at] = MEANINGFUL[below(MEANINGFUL.length)] as number;
        break;
      case 2:
        bytes.copyWithin(at, below(bytes.length), bytes.length);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        break;
      case 5: {
        // Numbers of other sizes.
        for (let i = at; i < bytes.length; i++) {
          if (!isDigit(bytes[i])) continue;
          bytes[i] = 0x30 + below(10);
          if (below(2) === 0) break;
        }
        break;
      }
      case 6: {
        // A binary number, of four bytes or eight.
        const value = [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n][below(7)] as bigint;
        const size = below(2) === 0 ? 4 : 8;
        if (at + size <= bytes.length) {
          for (let i = 0; i < size; i++) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
        }
        break;
      }
      case 7:
      case 8:
      case 9:
      case 10: {
        // A value of JSON for another, the rest being as it was.
        const text = bytes.toString("latin1");
        const found = [...text.slice(at, at + 200).matchAll(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|\[\]|null|true|false/g)];
        const value = found[below(found.length)];
        if (value === undefined) break;
        const begin = at + value.index;
        bytes = Buffer.from(
          text.slice(0, begin) + VALUES[below(VALUES.length)] + text.slice(begin + value[0].length),
          "latin1",
        );
        break;
      }
      default:
        if (below(4) === 0) bytes = bytes.subarray(0, below(bytes.length));
    }
  }
  return bytes;
}

/** Damages files of one kind, `count` times. @throws Error at the first that is neither refused in one line nor sound. */
export async function fuzz(name: string, count: number, seed: number): Promise<FuzzReport> {
  const target = targets[name] as Target;
  const originals = await target.originals();
  // A sound file is taken, or nothing would be shown.
  for (const original of originals) await target.read(original);
  const random = randomNumbers(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const report: FuzzReport = { refused: 0, taken: 0, slowestMs: 0, peakMegabytes: 0 };
  for (let index = 0; index < count; index++) {
    const bytes = damage(originals[below(originals.length)] as Uint8Array, below);
    const started = performance.now();
    try {
      await target.read(bytes);
      report.taken++;
    } catch (error) {
      if (!(error instanceof Failure && /^damaged: [^\n]{1,1000}$/.test(error.message))) {
        const input = Buffer.from(bytes).toString("base64");
        throw new Error(`input ${index} of seed ${seed}: ${error instanceof Error ? error.stack : error}\n${input}`);
      }
      report.refused++;
    }
    report.slowestMs = Math.max(report.slowestMs, performance.now() - started);
  }
  // Not maxRSS of getrusage: that counts what the process was before it ran this program, a copy of the test runner.
  report.peakMegabytes = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;
  return report;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { count: { type: "string", default: "100000" }, seed: { type: "string", default: "1" } },
    allowPositionals: true,
  });
  const name = positionals[0];
  if (name === undefined || !targetNames.includes(name)) {
    console.error(`usage: bun tests/fuzz.ts ${targetNames.join("|")} [--count N] [--seed N]`);
    process.exit(2);
  }
  try {
    console.log(JSON.stringify(await fuzz(name, Number(values.count), Number(values.seed))));
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}
