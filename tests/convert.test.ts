/** Conversion: the fixtures become packed files whose every value is what an independent reading of the source gives. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { packedRowBytes } from "../src/model_file/layout.ts";
import { type PackedModel, readPackedModel } from "../src/model_file/packed.ts";
import { type ProgressStream, showProgress } from "../src/terminal/progress.ts";
import { unpackFixtures } from "./support/archive.ts";
import { fixtures, root, runCommandLine } from "./support/command_line.ts";
import {
  encodeSafetensors,
  type LooseJson,
  type MemoryCheckpoint,
  type MemoryTensor,
  smallCheckpoint,
  smallTokenizer,
  writeCheckpoint,
} from "./support/small_checkpoint.ts";

const names = ["tiny", "tiny-packed", "llama-packed", "older-bitnet"];
let scratch: string;

/** The directory of a fixture. */
const directoryOf = (name: string) => join(name.startsWith("tiny") ? fixtures : scratch, name);

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "wrinklefree-convert-"));
  await unpackFixtures("checkpoints", scratch);
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

/** Converts and opens; the bytes are the whole file's. */
async function convert(source: string): Promise<{ packed: PackedModel; bytes: Uint8Array }> {
  const output = join(scratch, `${Bun.randomUUIDv7()}.wf`);
  await convertCheckpoint(source, output);
  const bytes = new Uint8Array(readFileSync(output));
  return { packed: await readPackedModel(output), bytes };
}

async function convertMemory(checkpoint: MemoryCheckpoint) {
  const directory = join(scratch, Bun.randomUUIDv7());
  writeCheckpoint(directory, checkpoint);
  return await convert(directory);
}

/** A tensor of a packed file. */
function tensorOf({ packed, bytes }: { packed: PackedModel; bytes: Uint8Array }, name: string): Uint8Array {
  const entry = packed.tensors.find((tensor) => tensor.name === name);
  if (entry === undefined) throw new Error(`no tensor ${name}`);
  return bytes.slice(entry.begin, entry.end);
}

function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer);
}

/** bf16 bytes as floats. */
function widen(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint32Array.from(new Uint16Array(bytes.slice().buffer), (bits) => bits << 16).buffer);
}

/** Codes of a packed file's matrix, one byte each, padding included: [rows][blocks * 128]. */
function unpackRows(bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const blocks = packedRowBytes(columns) / 32;
  const codes = new Uint8Array(rows * blocks * 128);
  for (let block = 0; block < rows * blocks; block++) {
    for (let weight = 0; weight < 128; weight++) {
      codes[block * 128 + weight] =
        ((bytes[block * 32 + (weight % 32)] as number) >> (2 * Math.floor(weight / 32))) & 3;
    }
  }
  return codes;
}

/** The source's tensors, read with nothing of the project's own. */
function readSource(directory: string): Map<string, { dtype: string; shape: number[]; bytes: Uint8Array }> {
  const tensors = new Map();
  for (const name of readdirSync(directory).filter((file) => file.endsWith(".safetensors"))) {
    const file = readFileSync(join(directory, name));
    const length = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.subarray(8, 8 + length).toString());
    for (const [tensor, { dtype, shape, data_offsets }] of Object.entries<LooseJson>(header)) {
      if (tensor === "__metadata__") continue;
      const [begin, end] = data_offsets;
      tensors.set(tensor, { dtype, shape, bytes: new Uint8Array(file.subarray(8 + length + begin, 8 + length + end)) });
    }
  }
  return tensors;
}

/** Codes and scale of a source's linear layer, straight from the format's description. */
function expectedLinear(
  source: ReturnType<typeof readSource>,
  name: string,
  rows: number,
  columns: number,
  divide: boolean,
) {
  const weight = source.get(`${name}.weight`);
  if (weight === undefined) throw new Error(`no source tensor ${name}`);
  const codes = new Uint8Array(rows * columns);
  if (weight.dtype === "U8") {
    for (let row = 0; row < rows; row++) {
      const part = Math.floor(row / (rows / 4));
      for (let column = 0; column < columns; column++) {
        const byte = weight.bytes[(row % (rows / 4)) * columns + column] as number;
        codes[row * columns + column] = (byte >> (2 * part)) & 3;
      }
    }
    const stored = floatsOf(source.get(`${name}.weight_scale`)?.bytes as Uint8Array)[0] as number;
    return { codes, scale: divide ? Math.fround(1 / stored) : stored };
  }
  const values = widen(weight.bytes);
  const scale = Math.fround(Math.max(values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length, 1e-5));
  for (const [index, value] of values.entries()) {
    const quotient = Math.fround(value / scale);
    codes[index] = quotient > 0.5 ? 2 : quotient < -0.5 ? 0 : 1;
  }
  return { codes, scale };
}

describe.each(names)("%s", (name) => {
  test("holds the source's values", async () => {
    const directory = directoryOf(name);
    const source = readSource(directory);
    const result = await convert(directory);
    const { config } = result.packed;
    const bf16 = (tensor: string) => (source.get(tensor) as { bytes: Uint8Array }).bytes;
    expect(tensorOf(result, "model.embed_tokens.weight")).toEqual(bf16("model.embed_tokens.weight"));
    if (!config.tiedEmbeddings) expect(tensorOf(result, "lm_head.weight")).toEqual(bf16("lm_head.weight"));

    const older = (tensor: string) =>
      name === "older-bitnet"
        ? tensor.replace("attn_sub_norm", "inner_attn_ln").replace("ffn_sub_norm", "ffn_layernorm")
        : tensor;
    const norms = result.packed.tensors.filter((tensor) => tensor.name.includes("norm"));
    expect(norms.length).toBe(config.layers * (config.subNorms ? 4 : 2) + 1);
    for (const norm of norms) {
      const values = floatsOf(tensorOf(result, norm.name));
      const expected = widen(bf16(older(norm.name)));
      expect(values.subarray(0, expected.length)).toEqual(expected);
      expect(values.subarray(expected.length).every((value) => value === 0)).toBe(true);
      expect(values.length - expected.length).toBeLessThan(16);
    }

    const linears = result.packed.tensors.filter((tensor) => tensor.name.endsWith("_scale"));
    expect(linears.length).toBe(config.layers * 7);
    for (const { name: scaleName } of linears) {
      const linear = scaleName.replace(/\.weight_scale$/, "");
      const shape = source.get(`${linear}.weight`)?.shape as [number, number];
      const columns = shape[1];
      const rows = shape[0] * (source.get(`${linear}.weight`)?.dtype === "U8" ? 4 : 1);
      const expected = expectedLinear(source, linear, rows, columns, name === "llama-packed");
      expect(floatsOf(tensorOf(result, scaleName))[0]).toBe(expected.scale);
      const codes = unpackRows(tensorOf(result, `${linear}.weight`), rows, columns);
      const width = codes.length / rows;
      for (let row = 0; row < rows; row++) {
        const found = codes.subarray(row * width, (row + 1) * width);
        const wanted = expected.codes.subarray(row * columns, (row + 1) * columns);
        if (Buffer.compare(found.subarray(0, columns), wanted) !== 0) throw new Error(`${linear}: row ${row} differs`);
        if (found.subarray(columns).some((code) => code !== 1))
          throw new Error(`${linear}: row ${row} is padded wrongly`);
      }
    }
  });

  test("is a valid safetensors file without gaps", async () => {
    const { packed, bytes } = await convert(directoryOf(name));
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect((8 + length) % 64).toBe(0);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    expect(Object.keys(header.__metadata__)).toEqual(["format", "version", "source", "source_sha256", "config"]);
    expect(header.__metadata__.source).toBe(name);
    let end = 0;
    for (const [key, entry] of Object.entries<LooseJson>(header)) {
      if (key === "__metadata__") continue;
      expect(Object.keys(entry)).toEqual(["dtype", "shape", "data_offsets"]);
      expect(entry.data_offsets[0]).toBe(end);
      expect(end % 64).toBe(0);
      end = entry.data_offsets[1];
    }
    expect(8 + length + end).toBe(bytes.length);
    expect(packed.bytes).toBe(bytes.length);
  });

  test("carries the small files", async () => {
    const { packed } = await convert(directoryOf(name));
    const expected = [
      "tokenizer.json",
      "tokenizer_config.json",
      "special_tokens_map.json",
      "generation_config.json",
      "config.json",
    ];
    expect([...packed.assets.keys()]).toEqual(expected);
    for (const [asset, bytes] of packed.assets) {
      expect(bytes).toEqual(new Uint8Array(readFileSync(join(directoryOf(name), asset))));
    }
  });

  test("comes out the same every time", async () => {
    const one = await convert(directoryOf(name));
    const other = await convert(directoryOf(name));
    expect(Buffer.compare(one.bytes, other.bytes)).toBe(0);
  });
});

test("packed weights and the master weights they came from give the same codes", async () => {
  const master = await convert(join(fixtures, "tiny"));
  const packed = await convert(join(fixtures, "tiny-packed"));
  for (const { name } of master.packed.tensors) {
    if (name.startsWith("assets/")) continue;
    const one = tensorOf(master, name);
    const other = tensorOf(packed, name);
    if (name.endsWith("_scale")) {
      const [scale, otherScale] = [floatsOf(one)[0] as number, floatsOf(other)[0] as number];
      // The fixture's scales are means that were summed in fp32.
      expect(Math.abs(scale / otherScale - 1)).toBeLessThan(5e-7);
    } else {
      expect(Buffer.compare(one, other)).toBe(0);
    }
  }
  expect(packed.packed.config).toEqual(master.packed.config);
});

test("configurations of all families", async () => {
  const tiny = (await convert(join(fixtures, "tiny"))).packed.config;
  expect(tiny).toEqual({
    architecture: "BitNetForCausalLM",
    vocabSize: 2048,
    hiddenSize: 256,
    intermediateSize: 768,
    layers: 5,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    context: 2048,
    ropeTheta: 500000,
    rmsNormEps: 1e-5,
    activation: "relu2",
    subNorms: true,
    tiedEmbeddings: true,
    bosTokenId: 2040,
    eosTokenIds: [2041, 2044],
  });
  const llama = (await convert(directoryOf("llama-packed"))).packed.config;
  expect(llama).toMatchObject({ activation: "silu", subNorms: false, tiedEmbeddings: false, headDim: 64 });
  const older = (await convert(directoryOf("older-bitnet"))).packed.config;
  expect(older).toMatchObject({
    activation: "silu",
    subNorms: true,
    tiedEmbeddings: true,
    headDim: 100,
    ropeTheta: 10000,
  });
});

test("master weights in F32, F16 and BF16 with the same values give the same tensors", async () => {
  const [first, ...others] = [
    await convertMemory(smallCheckpoint("F32")),
    await convertMemory(smallCheckpoint("F16")),
    await convertMemory(smallCheckpoint("BF16")),
  ] as const;
  for (const other of others) {
    for (const { name } of first.packed.tensors) {
      if (name.startsWith("assets/")) continue;
      expect(Buffer.compare(tensorOf(first, name), tensorOf(other, name))).toBe(0);
    }
  }
});

test("an fp32 embedding is rounded to the nearest bf16, to even between two", async () => {
  const checkpoint = smallCheckpoint("F32");
  const embedding = checkpoint.tensors.get("model.embed_tokens.weight") as { bytes: Uint8Array };
  const bits = [0x3f808000, 0x3f818000, 0x3f808001, 0xbf80ffff, 0x00000001, 0x7f7f0000];
  new Uint32Array(embedding.bytes.buffer).set(bits);
  const result = await convertMemory(checkpoint);
  const found = new Uint16Array(tensorOf(result, "model.embed_tokens.weight").buffer).subarray(0, bits.length);
  expect([...found]).toEqual([0x3f80, 0x3f82, 0x3f81, 0xbf81, 0x0000, 0x7f7f]);
});

test("embeddings whose bytes are no multiple of 64 are padded with rows of zeros", async () => {
  const result = await convertMemory(smallCheckpoint());
  const entry = result.packed.tensors[0];
  expect(entry?.shape).toEqual([64, 36]);
  expect(result.packed.config.vocabSize).toBe(61);
  const bytes = tensorOf(result, "model.embed_tokens.weight");
  expect(bytes.subarray(61 * 72).every((byte) => byte === 0)).toBe(true);
});

test("a matrix of zeros has the least scale and only zeros", async () => {
  const checkpoint = smallCheckpoint();
  (checkpoint.tensors.get("model.layers.0.mlp.up_proj.weight") as { bytes: Uint8Array }).bytes.fill(0);
  const result = await convertMemory(checkpoint);
  expect(floatsOf(tensorOf(result, "model.layers.0.mlp.up_proj.weight_scale"))[0]).toBe(Math.fround(1e-5));
  expect(tensorOf(result, "model.layers.0.mlp.up_proj.weight").every((byte) => byte === 0x55)).toBe(true);
});

test("end-of-text ids are the union of what three files say", async () => {
  const checkpoint = smallCheckpoint();
  checkpoint.files.set("generation_config.json", JSON.stringify({ eos_token_id: [5, 2] }));
  checkpoint.files.set("tokenizer_config.json", JSON.stringify({ eos_token: { content: "<end>" } }));
  const tokenizer = smallTokenizer();
  tokenizer.added_tokens.push({ id: 40, content: "<end>" });
  checkpoint.files.set("tokenizer.json", JSON.stringify(tokenizer));
  expect((await convertMemory(checkpoint)).packed.config.eosTokenIds).toEqual([5, 2, 40]);
  tokenizer.added_tokens.pop();
  checkpoint.files.set("tokenizer.json", JSON.stringify(tokenizer));
  expect((await convertMemory(checkpoint)).packed.config.eosTokenIds).toEqual([5, 2]);
  tokenizer.model.vocab["<end>"] = 47;
  checkpoint.files.set("tokenizer.json", JSON.stringify(tokenizer));
  expect((await convertMemory(checkpoint)).packed.config.eosTokenIds).toEqual([5, 2, 47]);
});

test("a head that is absent is the embedding; one of its own is kept", async () => {
  const checkpoint = smallCheckpoint();
  delete checkpoint.config.tie_word_embeddings;
  expect((await convertMemory(checkpoint)).packed.config.tiedEmbeddings).toBe(true);
  const embedding = checkpoint.tensors.get("model.embed_tokens.weight") as MemoryTensor;
  const head = embedding.bytes.slice().fill(1);
  head[0] = 2; // One value alone would be taken for ternary weights.
  checkpoint.tensors.set("lm_head.weight", { ...embedding, bytes: head });
  const untied = await convertMemory(checkpoint);
  expect(untied.packed.config.tiedEmbeddings).toBe(false);
  expect(
    tensorOf(untied, "lm_head.weight")
      .subarray(1, 61 * 72)
      .every((byte) => byte === 1),
  ).toBe(true);
  checkpoint.config.tie_word_embeddings = true;
  expect((await convertMemory(checkpoint)).packed.config.tiedEmbeddings).toBe(true);
});

test("settings that change nothing are accepted", async () => {
  const checkpoint = smallCheckpoint();
  Object.assign(checkpoint.config, {
    rope_theta: undefined,
    rope_parameters: { rope_type: "default", rope_theta: 12345 },
    rope_scaling: null,
    attention_bias: false,
    weight_bits: 1,
    input_bits: 8,
    quantization_config: { quant_method: "bitnet", quantization_mode: "online", linear_class: "autobitlinear" },
  });
  const { packed } = await convertMemory(checkpoint);
  expect(packed.config.ropeTheta).toBe(12345);
});

test("rotary positions are the same in every spelling of transformers", async () => {
  const llama3 = {
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 32,
  };
  const configOf = async (settings: object) => {
    const checkpoint = smallCheckpoint();
    Object.assign(checkpoint.config, { rope_theta: undefined, ...settings });
    const { ropeTheta, ropeDivisors } = (await convertMemory(checkpoint)).packed.config;
    return { ropeTheta, ropeDivisors };
  };
  const older = await configOf({ rope_theta: 250000, rope_scaling: llama3 });
  expect(older.ropeTheta).toBe(250000);
  expect(older.ropeDivisors?.at(-1)).toBe(8);
  const whole = { ...llama3, rope_theta: 250000 };
  for (const settings of [
    { rope_parameters: whole },
    { rope_theta: 250000, rope_parameters: llama3 },
    { rope_theta: 250000, rope_parameters: whole, rope_scaling: llama3 },
    { rope_parameters: { rope_theta: 250000 }, rope_scaling: { ...llama3, rope_type: undefined, type: "llama3" } },
    { rope_parameters: { full_attention: whole } },
    {
      rope_parameters: { full_attention: whole, sliding_attention: { rope_theta: 1 } },
      layer_types: ["full_attention"],
    },
    { rope_parameters: { full_attention: whole, other: whole }, partial_rotary_factor: 1 },
    { rope_parameters: { ...whole, partial_rotary_factor: 1 }, dtype: "bfloat16", torch_dtype: "torch.bfloat16" },
  ]) {
    expect(await configOf(settings)).toEqual(older);
  }
  expect(await configOf({ rope_parameters: { rope_theta: 250000 } })).toEqual({ ...older, ropeDivisors: undefined });
});

test("shards and a single file give the same tensors", async () => {
  const checkpoint = smallCheckpoint();
  const whole = await convertMemory(checkpoint);
  const directory = join(scratch, "sharded");
  mkdirSync(directory);
  const entries = [...checkpoint.tensors];
  const weightMap: Record<string, string> = {};
  for (const [number, part] of [entries.slice(0, 9), entries.slice(9)].entries()) {
    const shard = `model-0000${number + 1}-of-00002.safetensors`;
    writeFileSync(join(directory, shard), encodeSafetensors(part));
    for (const [name] of part) weightMap[name] = shard;
  }
  writeFileSync(
    join(directory, "model.safetensors.index.json"),
    JSON.stringify({ metadata: {}, weight_map: weightMap }),
  );
  writeFileSync(join(directory, "config.json"), JSON.stringify(checkpoint.config));
  const sharded = await convert(directory);
  for (const { name } of whole.packed.tensors) expect(tensorOf(sharded, name)).toEqual(tensorOf(whole, name));
  expect(sharded.packed.sourceSha256).toBe(whole.packed.sourceSha256);
});

test("the size of the pieces changes nothing", async () => {
  const directory = join(scratch, "pieces");
  writeCheckpoint(directory, smallCheckpoint());
  for (const source of [directory, join(fixtures, "tiny-packed")]) {
    const whole = await convert(source);
    for (const chunkBytes of [1, 1000, 4096]) {
      const output = join(scratch, `${Bun.randomUUIDv7()}.wf`);
      await convertCheckpoint(source, output, { chunkBytes });
      expect(Buffer.compare(readFileSync(output), whole.bytes)).toBe(0);
    }
  }
});

test("the source's hash changes with any of its bytes", async () => {
  const checkpoint = smallCheckpoint();
  const before = (await convertMemory(checkpoint)).packed.sourceSha256;
  const norm = checkpoint.tensors.get("model.norm.weight") as { bytes: Uint8Array };
  norm.bytes[0] = (norm.bytes[0] as number) ^ 1;
  expect((await convertMemory(checkpoint)).packed.sourceSha256).not.toBe(before);
});

test("an interrupted conversion leaves nothing behind", async () => {
  const directory = join(scratch, "interrupted");
  mkdirSync(directory);
  const controller = new AbortController();
  const converting = convertCheckpoint(join(fixtures, "tiny"), join(directory, "model.wf"), {
    signal: controller.signal,
    onProgress: ({ done, total }) => {
      if (done > total / 2) controller.abort();
    },
  });
  await expect(converting).rejects.toThrow("interrupted");
  expect(readdirSync(directory)).toEqual([]);
});

test.each(["SIGINT", "SIGTERM"])("%s ends a conversion in an orderly way", async (signal) => {
  const directory = join(scratch, signal);
  mkdirSync(directory);
  const script = join(directory, "script.ts");
  writeFileSync(
    script,
    `import { convertCheckpoint } from ${JSON.stringify(join(root, "convert/convert.ts"))};
     import { interruptible } from ${JSON.stringify(join(root, "src/terminal/interrupt.ts"))};
     await interruptible((signal) => convertCheckpoint(${JSON.stringify(join(fixtures, "tiny"))}, ${JSON.stringify(join(directory, "model.wf"))},
       { signal, onProgress: () => process.kill(process.pid, ${JSON.stringify(signal)}) }));`,
  );
  const child = Bun.spawn([process.execPath, script], { cwd: root, stdout: "ignore", stderr: "ignore" });
  await child.exited;
  expect(child.signalCode).toBe(signal as NodeJS.Signals);
  expect(readdirSync(directory)).toEqual(["script.ts"]);
});

test("the command converts, refuses to overwrite, and replaces with --force", () => {
  const output = join(scratch, "command.wf");
  const first = runCommandLine(["convert", join(fixtures, "tiny"), output]);
  expect(first.stderr).toBe("");
  expect(first.exitCode).toBe(0);
  expect(first.stdout).toStartWith(`${output}: 2.1`);
  const again = runCommandLine(["convert", join(fixtures, "tiny"), output]);
  expect(again.exitCode).toBe(1);
  expect(again.stderr).toBe(`wrinklefree: ${output}: already exists; --force replaces it\n`);
  expect(runCommandLine(["convert", directoryOf("llama-packed"), output, "--force"]).exitCode).toBe(0);
  expect(runCommandLine(["inspect", output]).stdout).toContain("LlamaForCausalLM");
});

test("the command says what it wants", () => {
  for (const args of [
    ["convert"],
    ["convert", "a"],
    ["convert", "a", "b"],
    ["convert", "a", "b.wf", "c"],
    ["inspect"],
    ["inspect", "--x"],
  ]) {
    const result = runCommandLine(args);
    expect(result.exitCode).toBe(2);
    expect(result.stdout).toBe("");
  }
});

test("inspect describes a packed file and the checkpoint it came from alike", () => {
  const output = join(scratch, "inspected.wf");
  runCommandLine(["convert", join(fixtures, "tiny"), output]);
  const packed = JSON.parse(runCommandLine(["inspect", output, "--json"]).stdout);
  const source = JSON.parse(runCommandLine(["inspect", join(fixtures, "tiny"), "--json"]).stdout);
  expect(packed.config).toEqual(source.config);
  expect(packed.parameters).toBe(4464384);
  expect(source.parameters).toBe(4464384);
  const text = runCommandLine(["inspect", output]).stdout;
  expect(text).toContain("parameters     4464384 (4.5 M)");
  expect(text).toContain("gives          text\n");
  expect(text).toContain("model.layers.4.mlp.down_proj.weight");
  expect(text).toContain("tokenizer.json");
});

test("progress is a bar on a terminal and seldom lines elsewhere", () => {
  const written: string[] = [];
  const stream = (isTTY: boolean): ProgressStream => ({
    isTTY,
    columns: 80,
    write: (text: string) => written.push(text),
  });
  const bar = showProgress("converting", stream(true));
  bar.update({ done: 50, total: 100 });
  bar.finish();
  expect(written[0]).toStartWith("\rconverting: 50 %");
  expect(written[0]).toContain("###");
  expect((written[0] as string).length).toBeLessThan("\r".length + 80 + "\u001b[K".length);
  expect(written[1]).toBe("\r\u001b[K");
  written.length = 0;
  const lines = showProgress("converting", stream(false));
  lines.update({ done: 50, total: 100 });
  lines.finish();
  expect(written).toEqual([]);
});

test("a source may be reached through symbolic links", async () => {
  const directory = join(scratch, "linked");
  mkdirSync(directory);
  for (const name of readdirSync(join(fixtures, "tiny")))
    symlinkSync(join(fixtures, "tiny", name), join(directory, name));
  const linked = await convert(directory);
  const plain = await convert(join(fixtures, "tiny"));
  expect(linked.packed.sourceSha256).toBe(plain.packed.sourceSha256);
});
