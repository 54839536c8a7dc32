/**
 * What an embedding is made of: of the last token's vector, of all or of the first one's, as the files of sentence-transformers or a GGUF
 * file's pooling_type say. What it should be is put together here from the vectors of single tokens: of a text that is cut off behind a
 * token, the last token is that one.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { openCheckpoint } from "../convert/formats.ts";
import { Engine } from "../src/engine/engine.ts";
import { Model } from "../src/engine/model.ts";
import { readPackedModel } from "../src/model_file/packed.ts";
import { sourceFiles } from "../src/models/source_files.ts";
import { unpackFixtures } from "./support/archive.ts";
import { writeHuggingFaceWeights } from "./support/gguf_as_hugging_face.ts";
import { ggufModel } from "./support/gguf_model.ts";
import { runProgram, startServer } from "./support/server.ts";
import { type LooseJson, smallCheckpoint, writeCheckpoint } from "./support/small_checkpoint.ts";
import { encodeGguf, type GgufEntry, valueTypes } from "./support/small_gguf.ts";

let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-pooling-"));
  await unpackFixtures("embeddings", directory);
  writeHuggingFaceWeights(join(directory, "embedding-qwen3.I2_S.gguf"), join(directory, "embedding-qwen3"));
});

afterAll(() => rmSync(directory, { recursive: true }));

/** modules.json as sentence-transformers writes it, with further modules behind the pooling. */
function modules(...others: string[]): LooseJson[] {
  return [
    { idx: 0, name: "0", path: "", type: "sentence_transformers.models.Transformer" },
    { idx: 1, name: "1", path: "1_Pooling", type: "sentence_transformers.models.Pooling" },
    ...["Normalize", ...others].map((name, index) => ({
      idx: index + 2,
      name: String(index + 2),
      path: `${index + 2}_${name}`,
      type: `sentence_transformers.models.${name}`,
    })),
  ];
}

/** 1_Pooling/config.json as older versions write it. */
function flags(...names: string[]): LooseJson {
  const all = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"];
  return {
    word_embedding_dimension: 36,
    ...Object.fromEntries(all.map((name) => [`pooling_mode_${name}`, names.includes(name)])),
    include_prompt: true,
  };
}

function writePooling(path: string, pooling: unknown, list: unknown): void {
  if (list !== undefined) writeFileSync(join(path, "modules.json"), JSON.stringify(list));
  if (pooling === undefined) return;
  mkdirSync(join(path, "1_Pooling"), { recursive: true });
  writeFileSync(join(path, "1_Pooling/config.json"), JSON.stringify(pooling));
}

/** A small model that was trained to answer, with files of sentence-transformers. */
function directoryWith(pooling: unknown, list: unknown): string {
  const path = join(directory, Bun.randomUUIDv7());
  const checkpoint = smallCheckpoint();
  // Of a model that gives embeddings a head is not needed.
  checkpoint.tensors.set("lm_head.weight", checkpoint.tensors.get("model.embed_tokens.weight") as never);
  writeCheckpoint(path, { ...checkpoint, config: { ...checkpoint.config, tie_word_embeddings: false } });
  writePooling(path, pooling, list);
  return path;
}

/** What a source says of itself. */
function configOf(path: string) {
  const checkpoint = openCheckpoint(path);
  checkpoint.close();
  return checkpoint.config;
}

test.each<[string, unknown, unknown, string | undefined]>([
  ["the last token", flags("lasttoken"), modules(), "last"],
  ["the mean", flags("mean_tokens"), modules(), "mean"],
  ["the first token", flags("cls_token"), modules(), "cls"],
  ["the last token by its newer name", { word_embedding_dimension: 36, pooling_mode: "lasttoken" }, modules(), "last"],
  ["the mean by its newer name", { pooling_mode: "mean" }, modules(), "mean"],
  ["the first token by its newer name", { pooling_mode: "cls" }, modules(), "cls"],
  ["the mean where nothing is said", { word_embedding_dimension: 36 }, modules(), "mean"],
  ["no list of modules", flags("mean_tokens"), undefined, "mean"],
  ["no files", undefined, undefined, undefined],
  ["a list without a pooling", flags("mean_tokens"), modules().slice(0, 1), undefined],
])("sentence-transformers: %s", (_, pooling, list, expected) => {
  const config = configOf(directoryWith(pooling, list));
  expect([config.pooling, config.tiedEmbeddings]).toEqual([expected as never, expected !== undefined]);
});

test.each<[string, unknown, unknown, string]>([
  ["largest elements", flags("max_tokens"), modules(), "1_Pooling/config.json: the pooling max is not supported"],
  ["weights by place", flags("weightedmean_tokens"), modules(), "the pooling weightedmean is not supported"],
  [
    "sums",
    { pooling_mode: "mean_sqrt_len_tokens" },
    modules(),
    "mean_sqrt_len_tokens is not supported; lasttoken, mean, cls are",
  ],
  ["a way that is none", { pooling_mode: "toString" }, modules(), "the pooling toString is not supported"],
  ["two at once", flags("cls_token", "lasttoken"), modules(), "it joins the poolings lasttoken and cls"],
  ["none at all", flags(), modules(), "none of its pooling modes is true"],
  [
    "vectors of another model",
    { ...flags("cls_token"), word_embedding_dimension: 768 },
    modules(),
    "word_embedding_dimension is 768",
  ],
  [
    "a flag that is none",
    { ...flags(), pooling_mode_lasttoken: 1 },
    modules(),
    "pooling_mode_lasttoken is 1; true or false",
  ],
  ["a list", [], modules(), "1_Pooling/config.json: it is not a JSON object"],
  ["a file that is missing", undefined, modules(), "1_Pooling/config.json: "],
  ["a layer behind it", flags("lasttoken"), modules("Dense"), "modules.json: the module Dense is not supported"],
  ["modules that are no list", flags("lasttoken"), { type: "Pooling" }, "modules.json: it is no list of modules"],
  ["a module without a type", flags("lasttoken"), [{}], "modules.json: a module lacks type"],
  ["two poolings", flags("lasttoken"), [...modules(), modules()[1]], "modules.json: it has two poolings"],
  ["a pooling in another place", flags("lasttoken"), [{ ...modules()[1], path: "../x" }], 'its pooling is in "../x"'],
])("sentence-transformers: %s: refused by name", (_, pooling, list, expected) => {
  expect(() => configOf(directoryWith(pooling, list))).toThrow(expected);
});

test("the files are among those that decide what a model is made of", () => {
  const names = sourceFiles(directoryWith(flags("cls_token"), modules())).map(({ name }) => name);
  expect(names).toEqual(["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json"]);
});

describe("GGUF", () => {
  const file = (architecture: string, ...entries: [string, GgufEntry][]) => {
    const model = ggufModel(architecture, "TQ2_0");
    for (const [key, entry] of entries) model.metadata.set(key, entry);
    const path = join(directory, `${Bun.randomUUIDv7()}.gguf`);
    writeFileSync(path, encodeGguf(model));
    return path;
  };
  const poolingType = (value: number): [string, GgufEntry] => ["llama.pooling_type", { type: valueTypes.u32, value }];

  test.each([
    [0, undefined],
    [1, "mean"],
    [2, "cls"],
    [3, "last"],
  ])("pooling_type %i", (value, expected) => {
    expect(configOf(file("llama", poolingType(value))).pooling as string | undefined).toBe(expected);
  });

  test("a ranking, and tokens that see those behind them, are refused by name", () => {
    expect(() => configOf(file("llama", poolingType(4)))).toThrow(
      "pooling_type is 4, which is not supported; 1 (mean), 2 (cls) and 3 (last) are",
    );
    const causal: [string, GgufEntry] = ["llama.attention.causal", { type: valueTypes.bool, value: false }];
    expect(() => configOf(file("llama", poolingType(1), causal))).toThrow("llama.attention.causal is false");
  });
});

describe("what BitNet-embedding's files say beside their form, and isn't followed, is said where they are converted", () => {
  const NOT_FOLLOWED = "which is not followed: in models of this form the last token stands for a text";

  /** The published form as a GGUF file, with another pooling_type. */
  const published = (family: string, type: number) => {
    const bytes = readFileSync(join(directory, `embedding-${family}.I2_S.gguf`));
    const key = `${family}.pooling_type`;
    // Behind the key stands the type of its value, and then that.
    bytes.writeUInt32LE(type, bytes.indexOf(key) + key.length + 4);
    const path = join(directory, `${Bun.randomUUIDv7()}.gguf`);
    writeFileSync(path, bytes);
    return path;
  };

  test.each([
    ["qwen3", 0, `qwen3.pooling_type is 0 (none), ${NOT_FOLLOWED}`],
    ["qwen3", 1, `qwen3.pooling_type is 1 (mean), ${NOT_FOLLOWED}`],
    ["qwen3", 2, `qwen3.pooling_type is 2 (cls), ${NOT_FOLLOWED}`],
    ["qwen3", 3, undefined],
    ["gemma3", 1, `gemma3.pooling_type is 1 (mean), ${NOT_FOLLOWED}`],
  ])("%s's pooling_type %i", async (family, type, notice) => {
    const path = published(family, type);
    const { code, stderr } = await runProgram(["convert", path, `${path}.wf`]);
    expect(code).toBe(0);
    expect(stderr.split("\n").filter((line) => line.includes("pooling"))).toEqual(
      notice === undefined ? [] : [`${path}: ${notice}`],
    );
    expect((await readPackedModel(`${path}.wf`)).config.pooling).toBe("last");
  });

  test("a modules.json without a pooling", async () => {
    const path = join(directory, Bun.randomUUIDv7());
    cpSync(join(directory, "embedding-qwen3"), path, { recursive: true });
    writePooling(path, undefined, modules().slice(0, 1));
    const { code, stderr } = await runProgram(["convert", path, "--dry-run"]);
    expect([code, stderr]).toEqual([0, `${path}: modules.json lists no pooling, ${NOT_FOLLOWED}\n`]);
    expect(configOf(path).pooling).toBe("last");
  });
});

test.each([
  ["use_bidirectional_attention", true],
  ["is_causal", false],
])("a directory whose tokens see those behind them (%s) is refused by name", (key, value) => {
  const path = join(directory, Bun.randomUUIDv7());
  cpSync(join(directory, "embedding-qwen3"), path, { recursive: true });
  const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
  writeFileSync(join(path, "config.json"), JSON.stringify({ ...config, [key]: value }));
  expect(() => configOf(path)).toThrow("its tokens see those behind them too");
});

describe("what comes of it", () => {
  /** The model of the goldens with one of the poolings, packed. */
  async function packed(name: string): Promise<string> {
    const path = join(directory, name);
    cpSync(join(directory, "embedding-qwen3"), path, { recursive: true });
    writePooling(path, { ...flags(name), word_embedding_dimension: 256 }, modules());
    await convertCheckpoint(path, `${path}.wf`, { replace: true });
    return `${path}.wf`;
  }

  const ids = Array.from({ length: 70 }, (_, index) => (index * 29 + 3) % 2000);

  /** Runs something on an engine that computes one text at a time. */
  async function onEngine<Result>(run: (engine: Engine) => Promise<Result>): Promise<Result> {
    const model = await Model.open(await packed("lasttoken"));
    const engine = await Engine.create(model, {
      ...{ threads: 1, maxSequences: 1, context: 0, kvTokens: 0, batchTokens: 0 },
      cpus: [],
    });
    const result = await run(engine);
    await engine.close();
    model.close();
    return result;
  }

  test("the engine says how long each text waited, which one behind another does until that is done", async () => {
    const waited: number[][] = [[], []];
    await onEngine(async (engine) => {
      const texts = [ids, ids.slice(0, 3)].map((text, index) =>
        engine.embed(Uint32Array.from(text), 256, undefined, (milliseconds) => waited[index]?.push(milliseconds)),
      );
      await Promise.all(texts);
    });
    expect(waited.map(({ length }) => length)).toEqual([1, 1]);
    const [first, second] = waited.flat() as [number, number];
    expect(first).toBeGreaterThanOrEqual(0);
    expect(second).toBeGreaterThan(first);
  });

  /** The vectors of each token behind those before it. */
  function states(): Promise<Float32Array[]> {
    return onEngine(async (engine) => {
      const found: Float32Array[] = [];
      for (let length = 1; length <= ids.length; length++) {
        found.push((await engine.embed(Uint32Array.from(ids.slice(0, length)), 256)) as Float32Array);
      }
      return found;
    });
  }

  /** The embedding of the ids, as it is and brought to length 1, computed in steps of so many tokens. */
  async function served(name: string, batch: number): Promise<number[][]> {
    const server = await startServer([await packed(name), "--batch-tokens", String(batch)]);
    try {
      const raw = await server.post("/embedding", { content: ids, embd_normalize: -1 });
      const unit = await server.post("/v1/embeddings", { input: ids });
      const [{ embedding }] = (await raw.json()) as [{ embedding: [number[]] }];
      const { data } = (await unit.json()) as { data: [{ embedding: number[] }] };
      return [embedding[0], data[0].embedding];
    } finally {
      await server.stop();
    }
  }

  const unitOf = (vector: number[]) => {
    const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
    return vector.map((value) => value / length);
  };

  const largestError = (found: number[], expected: number[]) => {
    expect(found.length).toBe(expected.length);
    return Math.max(...found.map((value, index) => Math.abs(value - (expected[index] as number))));
  };

  test("the mean of all tokens, and the first one, whatever steps they are computed in", async () => {
    const all = await states();
    const mean = Array.from(
      { length: 256 },
      (_, index) => all.reduce((sum, state) => sum + (state[index] as number), 0) / 70,
    );
    const first = [...(all[0] as Float32Array)];
    const scale = Math.max(...mean.map(Math.abs));
    // A step that holds all tokens, and steps of 16.
    const means = [await served("mean_tokens", 128), await served("mean_tokens", 16)] as const;
    expect(means[1]).toEqual(means[0]);
    const [raw, unit] = means[0] as [number[], number[]];
    expect(largestError(raw, mean)).toBeLessThan(1e-5 * scale);
    expect(largestError(unit, unitOf(mean))).toBeLessThan(1e-5);
    const [rawFirst, unitFirst] = (await served("cls_token", 16)) as [number[], number[]];
    expect(rawFirst).toEqual(first);
    expect(largestError(unitFirst, unitOf(first))).toBeLessThan(1e-6);
  });

  test("tokens that the tokenizer puts behind a text belong to it, and it is not ended twice", async () => {
    const path = join(directory, "ended");
    cpSync(join(directory, "embedding-qwen3"), path, { recursive: true });
    const tokenizer = JSON.parse(readFileSync(join(path, "tokenizer.json"), "utf8")) as LooseJson;
    const special = (content: string) => ({ SpecialToken: { id: content, type_id: 0 } });
    const { content, id } = tokenizer.added_tokens.find((token: LooseJson) => token.id !== 2041);
    tokenizer.post_processor = {
      type: "TemplateProcessing",
      single: [{ Sequence: { id: "A", type_id: 0 } }, special(content)],
      pair: [],
      special_tokens: { [content]: { id: content, ids: [id], tokens: [content] } },
    };
    writeFileSync(join(path, "tokenizer.json"), JSON.stringify(tokenizer));
    await convertCheckpoint(path, `${path}.wf`);
    const server = await startServer([`${path}.wf`]);
    try {
      const embed = async (input: unknown) => {
        const response = await server.post("/v1/embeddings", { input });
        return (await response.json()) as { data: [{ embedding: number[] }]; usage: { prompt_tokens: number } };
      };
      const response = await server.post("/tokenize", { content: "The capital of France" });
      const { tokens } = (await response.json()) as { tokens: number[] };
      const text = await embed("The capital of France");
      expect(text.usage.prompt_tokens).toBe(tokens.length + 1);
      expect(text.data[0].embedding).toEqual((await embed([...tokens, id])).data[0].embedding);
    } finally {
      await server.stop();
    }
  });
});
