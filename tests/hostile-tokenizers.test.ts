/**
 * Tokenizers that don't belong to their model, or are made to do harm: the same faults are found when a checkpoint is converted and
 * when a packed file is inspected or opened, and tokens that the model lacks are ordinary text.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { Failure } from "../src/errors.ts";
import { readPackedModel } from "../src/model_file/packed.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { runProgram, startServer } from "./support/server.ts";
import { type LooseJson, smallCheckpoint, smallTokenizer, writeCheckpoint } from "./support/small_checkpoint.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-tokenizers-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", WRINKLEFREE_CACHE: join(scratch, "cache") };

/** Bytes that every tokenizer.json here has, so that one can stand in a packed file in the place of another. */
const FILE_BYTES = 4096;

interface Files {
  tokenizer: LooseJson;
  configuration: LooseJson;
}

/** The small tokenizer's files, changed. */
function changed(change: (files: Files) => void): Files {
  const files = {
    tokenizer: smallTokenizer(),
    configuration: { bos_token: "<s>", eos_token: { content: "</s>" }, chat_template: "{{ messages[0].content }}" },
  };
  change(files);
  return files;
}

function encode(value: LooseJson): string {
  return JSON.stringify(value).padEnd(FILE_BYTES);
}

/** A directory with the small checkpoint and these files. */
function checkpointWith({ tokenizer, configuration }: Files): string {
  const directory = join(scratch, Bun.randomUUIDv7());
  const checkpoint = smallCheckpoint();
  // What check needs.
  checkpoint.config.max_position_embeddings = 256;
  checkpoint.files.set("tokenizer.json", encode(tokenizer));
  checkpoint.files.set("tokenizer_config.json", encode(configuration));
  writeCheckpoint(directory, checkpoint);
  return directory;
}

let good: Uint8Array;
let positions: Map<string, number>;

beforeAll(async () => {
  const path = join(scratch, "good.wf");
  await convertCheckpoint(checkpointWith(changed(() => {})), path);
  good = readFileSync(path);
  const { tensors } = await readPackedModel(path);
  positions = new Map(tensors.map(({ name, begin }) => [name, begin]));
});

/** A packed file with these files, as no converter would write it. */
function packedWith({ tokenizer, configuration }: Files): string {
  const path = join(scratch, `${Bun.randomUUIDv7()}.wf`);
  const bytes = Buffer.from(good);
  bytes.write(encode(tokenizer), positions.get("assets/tokenizer.json") as number);
  bytes.write(encode(configuration), positions.get("assets/tokenizer_config.json") as number);
  writeFileSync(path, bytes);
  return path;
}

const faults: [string, (files: Files) => void, string][] = [
  ["an id that would make a table of 4 G entries", add(4_294_967_294), "the id of '<x>' is 4294967294; a whole number"],
  ["the least id that is too large for any model", add(2 ** 24), "the id of '<x>' is 16777216; a whole number below"],
  ["a negative id", add(-1), "the id of '<x>' is -1"],
  ["a fraction of an id", add(40.5), "the id of '<x>' is 40.5"],
  ["an id that is text", add("40"), "the id of '<x>' is \"40\""],
  ["no id", add(undefined), "the id of '<x>' is missing"],
  ["an id that another added token has", add(1), "'<s>' and '<x>' have the same id, 1"],
  ["an id that a token of the vocabulary has", add(3), "'a' and '<x>' have the same id, 3"],
  ["an added token with two ids", add(40, "</s>"), "'</s>' has two ids, 2 and 40"],
  ["a token with one id in the vocabulary and another as added", add(40, "a"), "'a' has two ids, 3 and 40"],
  ["an added token without text", add(40, ""), "an added token has no content"],
  ["added tokens that are no list", ({ tokenizer }) => (tokenizer.added_tokens = { id: 1 }), "added_tokens is not"],
  ["an added token that is null", ({ tokenizer }) => tokenizer.added_tokens.push(null), "an added token is not"],
  ["a vocabulary with a huge id", word("aa", 4e9), "the id of 'aa' is 4000000000"],
  ["a vocabulary with a negative id", word("aa", -3), "the id of 'aa' is -3"],
  ["a vocabulary with an id that is a list", word("aa", [1]), "the id of 'aa' is [1]"],
  ["a vocabulary with one id for two texts", word("aa", 3), "'a' and 'aa' have the same id, 3"],
  ["a vocabulary larger than the model's", word("aa", 61), "the id of 'aa' is 61; those of the model are below 61"],
  ["a vocabulary that is a list", ({ tokenizer }) => (tokenizer.model.vocab = ["a"]), "model.vocab is not a JSON"],
  ["no model", ({ tokenizer }) => delete tokenizer.model, "it has no model"],
  ["no merges", ({ tokenizer }) => delete tokenizer.model.merges, "model.merges is not a list"],
  ["a merge of three", merge(["a", "b", "c"]), 'model.merges holds ["a","b","c"]'],
  ["a merge of numbers", merge([3, 4]), "model.merges holds [3,4]"],
  ["a merge to what is no token", merge("a b"), "model.merges joins 'a' and 'b' to what is no token"],
  [
    "an end of text beyond the model's table",
    ({ tokenizer }) => (tokenizer.added_tokens[1].id = 61),
    "'</s>', which begins or ends a text, has the id 61; those of the model are below 61",
  ],
  [
    "a beginning of text beyond it",
    ({ tokenizer }) => (tokenizer.added_tokens[0].id = 900),
    "'<s>', which begins or ends a text, has the id 900",
  ],
  [
    "a post-processor that puts a token around texts that the model lacks",
    (files) => {
      add(61)(files);
      files.tokenizer.post_processor = { type: "Sequence", processors: [template("<x>")] };
    },
    "post_processor puts '<x>' around texts, which is no token of the model",
  ],
  [
    "a post-processor with a number for a token",
    ({ tokenizer }) => (tokenizer.post_processor = template(4e9)),
    "post_processor puts '4000000000' around texts",
  ],
  [
    "a post-processor whose token has an id that the model lacks",
    ({ tokenizer }) => (tokenizer.post_processor = { ...template("<s>"), special_tokens: { "<s>": { ids: [61] } } }),
    "post_processor has the ids [61] for '<s>', which the model lacks",
  ],
  [
    "pieces of no length, which would never come to an end",
    ({ tokenizer }) => (tokenizer.pre_tokenizer = { type: "FixedLength", length: 0 }),
    "FixedLength has the length 0; a whole number above 0 is needed",
  ],
  [
    "a split at what is neither text nor regular expression, which would leave nothing of a text",
    ({ tokenizer }) => (tokenizer.pre_tokenizer = { type: "Split", pattern: { Glob: "*" }, behavior: "Isolated" }),
    'Split has the pattern {"Glob":"*"}; a text in String or Regex is needed',
  ],
  [
    "a replacement of a number",
    ({ tokenizer }) => (tokenizer.normalizer = { type: "Replace", pattern: { String: 3 }, content: "a" }),
    'Replace has the pattern {"String":3}',
  ],
  [
    "a normalizer that makes a thousand characters of one",
    ({ tokenizer }) =>
      (tokenizer.normalizer = {
        type: "Sequence",
        normalizers: [{ type: "Replace", pattern: { String: "a" }, content: "a".repeat(1000) }],
      }),
    "Replace puts in 1000 characters at a time",
  ],
];

/** Adds a token. */
function add(id: unknown, content = "<x>") {
  return ({ tokenizer }: Files) => tokenizer.added_tokens.push({ id, content });
}

function word(text: string, id: unknown) {
  return ({ tokenizer }: Files) => {
    tokenizer.model.vocab[text] = id;
  };
}

function merge(pair: unknown) {
  return ({ tokenizer }: Files) => tokenizer.model.merges.push(pair);
}

function split(pattern: string) {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

function template(token: unknown) {
  return { type: "TemplateProcessing", single: [{ SpecialToken: { id: token } }, { Sequence: { id: "A" } }] };
}

describe("a model is refused", () => {
  test.each([
    ["a stage that is a number", ({ tokenizer }: Files) => (tokenizer.normalizer = 3)],
    ["a stage of a type that is a number", ({ tokenizer }: Files) => (tokenizer.pre_tokenizer = { type: 3 })],
    ["a regular expression that is none", ({ tokenizer }: Files) => (tokenizer.pre_tokenizer = split("("))],
    ["tokens without a decoder", ({ tokenizer }: Files) => delete tokenizer.decoder],
    ["special tokens that are numbers", ({ tokenizer }: Files) => (tokenizer.post_processor = template(undefined))],
  ] as [string, (files: Files) => void][])("with %s", async (_, change) => {
    const { code, stdout, stderr } = await runProgram(["inspect", packedWith(changed(change))]);
    expect(stderr).toMatch(/^wrinklefree: [^\n]+: tokenizer\.json[^\n]+\n$/);
    expect([code, stdout]).toEqual([1, ""]);
  });

  test.each(faults)("with %s", async (_, change, fault) => {
    const files = changed(change);
    const [directory, packed] = [checkpointWith(files), packedWith(files)];
    const output = join(scratch, "never.wf");
    const found = await Promise.all([
      runProgram(["convert", directory, output], { env }),
      runProgram(["inspect", directory], { env }),
      runProgram(["inspect", packed], { env }),
    ]);
    for (const [index, { code, stdout, stderr }] of found.entries()) {
      expect(stderr).toMatch(/^wrinklefree: [^\n]+\n$/);
      expect(stderr).toStartWith(`wrinklefree: ${index < 2 ? directory : packed}: tokenizer.json: ${fault}`);
      expect([code, stdout]).toEqual([1, ""]);
    }
    expect(readdirSync(scratch)).not.toContain("never.wf");
  });

  test("by every command that would answer with it, in the same words", async () => {
    const path = packedWith(changed(add(4_294_967_294)));
    const said = (await runProgram(["inspect", path])).stderr;
    for (const args of [
      ["serve", "--port", "0", path],
      ["chat", path, "-p", "a"],
      ["check", path, "--ctx", "256"],
    ]) {
      const { code, stdout, stderr } = await runProgram(args);
      expect([args[0], stderr]).toEqual([args[0], said]);
      expect([code, stdout]).toEqual([1, ""]);
    }
  });

  test("with a chat template that can't be used, also where nobody chats yet", async () => {
    const files = changed(({ configuration }) => (configuration.chat_template = "{% for %}"));
    const { code, stderr } = await runProgram(["inspect", packedWith(files)]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^wrinklefree: [^\n]*its chat template can't be used[^\n]*\n$/),
    ]);
  });

  test("with a tokenizer_config.json that is no object", async () => {
    const path = packedWith(changed((files) => (files.configuration = null as never)));
    const { code, stderr } = await runProgram(["chat", path, "-p", "a"]);
    expect([code, stderr]).toEqual([1, `wrinklefree: ${path}: tokenizer_config.json: it is not a JSON object\n`]);
  });
});

test("whatever the damage: a tokenizer is refused in one line, or all that it gives are ids of the model", async () => {
  const whole = changed((files) => {
    add(60)(files);
    files.tokenizer.model.vocab.ab = 59;
    files.tokenizer.model.merges.push("a b");
    files.tokenizer.pre_tokenizer = { type: "Sequence", pretokenizers: [{ type: "FixedLength", length: 7 }] };
    files.tokenizer.post_processor = template("<s>");
  });
  const text = JSON.stringify(whole.tokenizer);
  const values = ["-1", "0", "2", "0.5", "60", "61", "4294967294", "1e300", "null", "[]", "{}", '""', '"a"', "true"];
  const places = [...text.matchAll(/"[^"]*"(?!:)|\d+|\[\]|null|true/g)];
  let [refused, taken] = [0, 0];
  for (const place of places) {
    for (const value of values) {
      const damaged = text.slice(0, place.index) + value + text.slice(place.index + place[0].length);
      const assets = new Map([["tokenizer.json", new TextEncoder().encode(damaged)]]);
      let tokenizer: Tokenizer;
      try {
        tokenizer = Tokenizer.fromAssets(assets, "damaged", 61);
      } catch (error) {
        if (!(error instanceof Failure)) throw new Error(`${damaged}: ${error}`);
        expect(error.message).toMatch(/^damaged: [^\n]+$/);
        refused++;
        continue;
      }
      const encoding = await tokenizer.encode("<s>abc xyz</s>é<x>", 100);
      for (const id of [...tokenizer.beginning, ...("ids" in encoding ? encoding.ids : [])]) {
        if (!(Number.isInteger(id) && id >= 0 && id < 61)) throw new Error(`${damaged}: gives ${id}`);
      }
      taken++;
    }
  }
  expect(refused).toBeGreaterThan(500);
  expect(taken).toBeGreaterThan(50);
});

describe("added tokens beyond the model's table", () => {
  const beyond = changed((files) => {
    add(61, "<image>")(files);
    // Some files list them among the vocabulary as well.
    files.tokenizer.model.vocab["<image>"] = 61;
    for (const [index, letter] of [..."<>"].entries()) files.tokenizer.model.vocab[letter] = 40 + index;
  });
  const notice =
    "tokenizer.json: an added token is beyond the model's 61 tokens and will be read as ordinary text: '<image>' (61)\n";

  test("are ordinary text to a server, whoever types them", async () => {
    const path = packedWith(beyond);
    const server = await startServer([path], { env });
    expect(server.log()).toContain(`${path}: ${notice}`);
    const tokenized = await (await server.post("/tokenize", { content: "a<image>b" })).json();
    expect(tokenized).toMatchObject({ tokens: [3, 40, 11, 15, 3, 9, 7, 41, 4] });
    const completed = await server.post("/v1/completions", { prompt: "a<image>b", max_tokens: 2 });
    expect(completed.status).toBe(200);
    expect(await completed.json()).toMatchObject({ usage: { prompt_tokens: 9 } });
    const chatted = await server.post("/v1/chat/completions", {
      messages: [{ role: "user", content: "<image>" }],
      max_tokens: 2,
    });
    expect(chatted.status).toBe(200);
    await server.stop();
  });

  test("are said once, also when a directory is converted and opened at once", async () => {
    const directory = checkpointWith(beyond);
    const { code, stderr } = await runProgram(["chat", directory, "-p", "<image>", "--max-tokens", "2"], { env });
    expect([code, stderr.split(`${directory}: ${notice}`).length]).toEqual([0, 2]);
  });

  test("are said by convert and inspect", async () => {
    const directory = checkpointWith(beyond);
    const output = join(scratch, "beyond.wf");
    const converted = await runProgram(["convert", directory, output], { env });
    expect([converted.code, converted.stderr]).toEqual([0, `${directory}: ${notice}`]);
    const inspected = await runProgram(["inspect", output]);
    expect([inspected.code, inspected.stderr]).toEqual([0, `${output}: ${notice}`]);
  });

  test("are counted when there are many", async () => {
    const path = packedWith(changed((files) => [61, 62, 63, 64, 65].forEach((id) => void add(id, `<${id}>`)(files))));
    const { code, stderr } = await runProgram(["inspect", path]);
    expect(code).toBe(0);
    expect(stderr).toEndWith("as ordinary text: '<61>' (61), '<62>' (62), '<63>' (63), 2 more\n");
  });
});

test("a token for the unknown that is none is not missed until it is needed, which is said", async () => {
  const path = packedWith(changed(({ tokenizer }) => (tokenizer.model.unk_token = "<unk>")));
  const { code, stderr, stdout } = await runProgram(["chat", path, "-p", "aéb", "--max-tokens", "2"]);
  expect(stderr).toContain(`${path}: tokenizer.json: unk_token '<unk>' is no token of the model`);
  expect([code, stdout.length > 0]).toEqual([0, true]);
});

test("inspect says that a model without a tokenizer can't be served", async () => {
  const directory = join(scratch, "silent");
  writeCheckpoint(directory, smallCheckpoint());
  const { code, stderr } = await runProgram(["inspect", directory]);
  expect([code, stderr]).toEqual([
    0,
    `${directory}: there is no tokenizer.json: bench can run the model, serve and chat can't\n`,
  ]);
});
