/**
 * Damaged and malicious checkpoints and packed files, through the command line: every one ends with exit code 1 and one line on
 * stderr that names the file, the tensor or key, and the fault; nothing is left in the output's directory.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { FORMAT_VERSION } from "../src/engine/symbols.ts";
import { fixtures, runCommandLine } from "./support/command_line.ts";
import {
  encodeFloats,
  encodeSafetensors,
  type LooseJson,
  type MemoryCheckpoint,
  type MemoryTensor,
  safetensorsBytes,
  smallCheckpoint,
  writeCheckpoint,
} from "./support/small_checkpoint.ts";

let scratch: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "wrinklefree-hostile-"));
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

/** Expects one line on stderr that holds all `parts`, exit code 1, and an empty output directory. */
function expectRefusal(source: string, parts: string[]): void {
  const outputs = join(scratch, Bun.randomUUIDv7());
  mkdirSync(outputs);
  const { exitCode, stdout, stderr } = runCommandLine(["convert", source, join(outputs, "model.wf")]);
  expect(stderr).toMatch(/^wrinklefree: [^\n]+\n$/);
  for (const part of parts) expect(stderr).toContain(part);
  expect(stderr.length).toBeLessThan(1000);
  expect(stdout).toBe("");
  expect(exitCode).toBe(1);
  expect(readdirSync(outputs)).toEqual([]);
}

/** A directory with the small checkpoint, changed by `change`, its safetensors header by `spoil`. */
function spoiled(change: (checkpoint: MemoryCheckpoint) => void, spoil?: (header: LooseJson) => void): string {
  const directory = join(scratch, Bun.randomUUIDv7());
  const checkpoint = smallCheckpoint();
  change(checkpoint);
  writeCheckpoint(directory, checkpoint, spoil);
  return directory;
}

const query = "model.layers.0.self_attn.q_proj.weight";
const up = "model.layers.1.mlp.up_proj.weight";

const headerFaults: [string, (header: LooseJson) => void, string[]][] = [
  ["offsets past the end", (header) => shift(header[query], 1e9), [query, "truncated or damaged"]],
  [
    "offsets past what a double can hold",
    (header) => (header[query].data_offsets = [0, 2 ** 60]),
    [query, "data_offsets"],
  ],
  ["negative offsets", (header) => (header[query].data_offsets = [-2880, 0]), [query, "data_offsets"]],
  ["an end before the beginning", (header) => header[query].data_offsets.reverse(), [query, "before it begins"]],
  ["offsets that are text", (header) => (header[query].data_offsets = ["0", "2880"]), [query, "data_offsets"]],
  ["one offset", (header) => header[query].data_offsets.pop(), [query, "data_offsets"]],
  ["no offsets", (header) => delete header[query].data_offsets, [query, "data_offsets"]],
  ["overlapping tensors", (header) => shift(header[query], -4), [query, "overlaps", "input_layernorm"]],
  [
    "two tensors in one place",
    (header) => (header[up].data_offsets = header["model.layers.0.mlp.up_proj.weight"].data_offsets),
    ["overlaps"],
  ],
  ["a size that is not the shape's", (header) => header[query].shape.push(2), [query, "2880 bytes", "needs 5760"]],
  ["a shape that overflows 64 bits", (header) => (header[query].shape = [2 ** 33, 2 ** 33]), [query, "overflows"]],
  [
    "a shape whose overflow a zero hides",
    (header) => (header[query].shape = [2 ** 52, 2 ** 52, 0]),
    [query, "overflows"],
  ],
  ["a negative shape", (header) => (header[query].shape = [-40, -36]), [query, "shape"]],
  ["a fractional shape", (header) => (header[query].shape = [40.5, 36]), [query, "shape"]],
  ["a shape of too many dimensions", (header) => (header[query].shape = Array(100).fill(1)), [query, "100 dimensions"]],
  ["no shape", (header) => delete header[query].shape, [query, "shape"]],
  ["an unknown dtype", (header) => (header[query].dtype = "F4"), [query, "unknown dtype 'F4'"]],
  ["a dtype out of Object.prototype", (header) => (header[query].dtype = "constructor"), [query, "unknown dtype"]],
  ["a dtype that does not fit", (header) => (header[query].dtype = "I16"), [query, "its dtype is I16"]],
  ["an entry that is no object", (header) => (header[query] = [1, 2, 3]), [query, "not a JSON object"]],
  ["metadata that is no string", (header) => (header.__metadata__ = { format: 3 }), ["__metadata__", "format"]],
  ["metadata that is a list", (header) => (header.__metadata__ = []), ["__metadata__"]],
  [
    "a name that breaks lines",
    (header) => (header["x\n\u001b[31m\u2028y"] = {}),
    ["tensor 'x\ufffd\ufffd[31m\ufffdy'"],
  ],
  ["a very long name", (header) => (header["x".repeat(5000)] = {}), ["…'"]],
];

/** Moves a tensor's data. */
function shift(entry: { data_offsets: [number, number] }, bytes: number): void {
  entry.data_offsets = entry.data_offsets.map((offset) => offset + bytes) as [number, number];
}

describe("safetensors headers", () => {
  test.each(headerFaults)("%s", (_, spoil, parts) => {
    const directory = spoiled(() => {}, spoil);
    expectRefusal(directory, [join(directory, "model.safetensors"), ...parts]);
  });

  const fileFaults: [string, Uint8Array, string][] = [
    ["an empty file", new Uint8Array(), "an empty file"],
    ["three bytes", new Uint8Array(3), "3 bytes are too few"],
    ["a header longer than the limit", lengthOnly(100_000_001n), "a file of a kind that is unknown here"],
    ["a header of 2^64-1 bytes", lengthOnly(2n ** 64n - 1n), "a file of a kind that is unknown here"],
    ["a header longer than the file", lengthOnly(1000n), "truncated: the header ends at byte 1008"],
    ["a header that is not JSON", headerOnly('{"a": '), "not JSON"],
    ["a header that is not UTF-8", safetensorsBytes(Uint8Array.of(0x22, 0xff, 0x22), new Uint8Array()), "not JSON"],
    ["a header that is a list", headerOnly("[]"), "not a JSON object"],
    ["a header that is null", headerOnly("null"), "not a JSON object"],
    ["a header nested a million deep", headerOnly("[".repeat(1e6)), "not JSON"],
    ["a header without tensors", headerOnly("{}"), "tensor 'model.embed_tokens.weight': missing"],
    [
      "a Git LFS pointer",
      new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
      "Git LFS pointer",
    ],
    ["a PyTorch file", new TextEncoder().encode("PK\u0003\u0004 and so on and on"), "PyTorch"],
  ];

  test.each(fileFaults)("%s", (_, bytes, fault) => {
    const directory = spoiled(() => {});
    writeFileSync(join(directory, "model.safetensors"), bytes);
    expectRefusal(directory, [`${join(directory, "model.safetensors")}: `, fault]);
  });

  test("a truncated file", () => {
    const directory = spoiled(() => {});
    const path = join(directory, "model.safetensors");
    truncateSync(path, readFileSync(path).length - 1);
    expectRefusal(directory, [path, "tensor 'model.norm.weight'", "truncated"]);
  });
});

/** Only a header's length, and a little behind it. */
function lengthOnly(length: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, length, true);
  return bytes;
}

function headerOnly(text: string): Uint8Array {
  return safetensorsBytes(new TextEncoder().encode(text), new Uint8Array());
}

describe("tensors", () => {
  const tensorFaults: [string, (checkpoint: MemoryCheckpoint) => void, string[]][] = [
    ["a missing tensor", ({ tensors }) => tensors.delete(up), [up, "missing"]],
    ["a missing norm", ({ tensors }) => tensors.delete("model.norm.weight"), ["model.norm.weight", "missing"]],
    [
      "a missing layer",
      ({ config }) => (config.num_hidden_layers = 3),
      ["model.layers.2.input_layernorm.weight", "missing"],
    ],
    ["a layer too many", ({ config }) => (config.num_hidden_layers = 1), ["model.layers.1.", "would be lost"]],
    [
      "a bias",
      ({ tensors }) => tensors.set("model.layers.0.mlp.up_proj.bias", floats(52)),
      ["up_proj.bias", "would be lost"],
    ],
    [
      "another vocabulary than the config's",
      ({ config }) => (config.vocab_size = 60),
      ["embed_tokens", "[61, 36]", "[60, 36]"],
    ],
    ["another head size than the config's", ({ config }) => (config.head_dim = 12), [query, "[40, 36]", "[48, 36]"]],
    [
      "another hidden size than the config's",
      ({ config }) => (config.hidden_size = 40),
      ["config.json demands [61, 40]"],
    ],
    ["a NaN among the weights", ({ tensors }) => poison(tensors.get(up), 100, NaN), [up, "row 2, column 28", "NaN"]],
    [
      "an infinity among the weights",
      ({ tensors }) => poison(tensors.get(up), 1, Infinity),
      [up, "row 0, column 1", "infinite"],
    ],
    [
      "a NaN in a norm",
      ({ tensors }) => poison(tensors.get("model.norm.weight"), 3, NaN),
      ["model.norm.weight", "value 3"],
    ],
    [
      "an infinity in the embedding",
      ({ tensors }) => poison(tensors.get("model.embed_tokens.weight"), 9, -Infinity),
      ["value 9"],
    ],
    ["packed weights without saying so", ({ tensors }) => pack(tensors), [query, "its shape is [10, 36]"]],
    [
      "packed weights that are not packed",
      ({ config }) => (config.quantization_config = { quant_method: "bitnet" }),
      [query, "its shape is [40, 36]", "demands [10, 36]"],
    ],
    ["a packed code of 3", (checkpoint) => packedWith(checkpoint, 0xff, 1), [query, "row 0, column 0", "3"]],
    ["a packed scale of zero", (checkpoint) => packedWith(checkpoint, 0, 0), [`${query}_scale`, "0 is no scale"]],
    [
      "a packed scale that is negative",
      (checkpoint) => packedWith(checkpoint, 0, -1),
      [`${query}_scale`, "-1 is no scale"],
    ],
    [
      "a packed scale that is NaN",
      (checkpoint) => packedWith(checkpoint, 0, NaN),
      [`${query}_scale`, "not a finite number"],
    ],
    [
      "a packed scale whose inverse overflows",
      (checkpoint) => packedWith(checkpoint, 0, 1e-40),
      [`${query}_scale`, "is no scale"],
    ],
    [
      "a packed tensor without a scale",
      (checkpoint) => {
        packedWith(checkpoint, 0, 1);
        checkpoint.tensors.delete(`${query}_scale`);
      },
      [`${query}_scale`, "missing"],
    ],
  ];

  test.each(tensorFaults)("%s", (_, change, parts) => {
    const directory = spoiled(change);
    expectRefusal(directory, [`${join(directory, "model.safetensors")}: tensor '`, ...parts]);
  });
});

function floats(count: number): MemoryTensor {
  return { dtype: "BF16", shape: [count], bytes: encodeFloats(new Float32Array(count), "BF16") };
}

function poison(tensor: MemoryTensor | undefined, index: number, value: number): void {
  tensor?.bytes.set(encodeFloats(Float32Array.of(value), "BF16"), 2 * index);
}

/** Replaces the linear layers' master weights by packed ones whose bytes are all `byte`. */
function pack(tensors: Map<string, MemoryTensor>, byte = 0, scale = 1): void {
  for (const [name, { shape }] of [...tensors]) {
    if (!name.includes("_proj")) continue;
    const [rows, columns] = shape as [number, number];
    const bytes = new Uint8Array((rows / 4) * columns).fill(byte);
    tensors.set(name, { dtype: "U8", shape: [rows / 4, columns], bytes });
    tensors.set(`${name}_scale`, { dtype: "F32", shape: [1], bytes: encodeFloats(Float32Array.of(scale), "F32") });
  }
}

function packedWith(checkpoint: MemoryCheckpoint, byte: number, scale: number): void {
  pack(checkpoint.tensors, byte, scale);
  checkpoint.config.quantization_config = { quant_method: "bitnet" };
}

describe("config.json", () => {
  const configFaults: [string, Record<string, unknown>, string[]][] = [
    ["an unsupported architecture", { architectures: ["MistralForCausalLM"] }, ["MistralForCausalLM is not supported"]],
    ["no architecture", { architectures: undefined }, ["names no architecture"]],
    ["an architecture of Object.prototype", { architectures: ["constructor"] }, ["constructor is not supported"]],
    ["a count that is text", { num_hidden_layers: "2" }, ['num_hidden_layers is "2"']],
    ["a fractional count", { hidden_size: 36.5 }, ["hidden_size is 36.5"]],
    ["a negative count", { vocab_size: -1 }, ["vocab_size is -1"]],
    ["no layers", { num_hidden_layers: 0 }, ["num_hidden_layers is 0"]],
    ["a huge count", { hidden_size: 1e15 }, ["hidden_size is 1000000000000000", "65536"]],
    ["a missing key", { hidden_size: undefined }, ["lacks hidden_size"]],
    ["an odd head", { head_dim: 9 }, ["head_dim is 9", "even"]],
    ["heads that do not divide", { num_key_value_heads: 3 }, ["4 attention heads cannot share 3"]],
    ["more key-value heads than heads", { num_key_value_heads: 5 }, ["num_key_value_heads is 5"]],
    [
      "heads that do not divide the hidden size",
      { head_dim: undefined, num_attention_heads: 5 },
      ["head_dim is not given"],
    ],
    ["an epsilon of zero", { rms_norm_eps: 0 }, ["rms_norm_eps is 0"]],
    ["an epsilon over 1", { rms_norm_eps: 1.5 }, ["rms_norm_eps is 1.5"]],
    ["a base that is no number", { rope_theta: [1] }, ["rope_theta is [1]"]],
    ["an unknown activation", { hidden_act: "gelu" }, ['hidden_act is "gelu"', "relu2, silu"]],
    ["rotary positions scaled as nobody does", { rope_scaling: { type: "spiral" } }, ["rope_scaling", '"spiral"']],
    [
      "rotary positions scaled as Phi's, without the factors",
      { rope_scaling: { type: "longrope" } },
      ["rope_scaling", "lacks short_factor"],
    ],
    [
      "as many factors as another model needs",
      { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
      ["rope_scaling: short_factor has 1 number; 5 are needed"],
    ],
    ["rotary positions scaled by nothing", { rope_scaling: { type: "linear" } }, ["rope_scaling", "lacks factor"]],
    [
      "rotary positions scaled by less than nothing",
      { rope_scaling: { type: "linear", factor: -2 } },
      ["rope_scaling: factor is -2"],
    ],
    [
      "rotary positions with a ramp the wrong way round",
      {
        rope_scaling: {
          type: "llama3",
          factor: 8,
          low_freq_factor: 4,
          high_freq_factor: 1,
          original_max_position_embeddings: 64,
        },
      },
      ["rope_scaling: high_freq_factor 1 is not above low_freq_factor 4"],
    ],
    [
      "rotary positions scaled in two ways",
      { rope_scaling: { type: "linear", factor: 2 }, rope_parameters: { rope_type: "linear", factor: 4 } },
      ["rope_parameters and rope_scaling contradict each other"],
    ],
    [
      "two bases",
      { rope_theta: 10000, rope_parameters: { rope_type: "default", rope_theta: 500000 } },
      ["rope_theta (10000) and rope_parameters.rope_theta (500000) contradict each other"],
    ],
    [
      "a base that is another in the scaling",
      { rope_scaling: { rope_type: "default", rope_theta: 500000 } },
      ["rope_theta (10000) and rope_scaling.rope_theta (500000) contradict each other"],
    ],
    [
      "a base for each type of layer",
      {
        rope_theta: undefined,
        rope_parameters: { full_attention: { rope_theta: 1e6 }, sliding_attention: { rope_theta: 1e4 } },
      },
      ["rope_parameters.full_attention.rope_theta (1000000)", "rope_parameters.sliding_attention.rope_theta (10000)"],
    ],
    [
      "a scaling for each type of layer",
      { rope_parameters: { full_attention: { rope_type: "linear", factor: 8 }, other: { rope_type: "default" } } },
      ["rope_parameters.full_attention and rope_parameters.other contradict each other"],
    ],
    [
      "a factor of what is not scaled",
      { rope_parameters: { rope_type: "default", factor: 8 } },
      ["rope_parameters: it has a factor, 8, but the type is default"],
    ],
    [
      "two lengths of the first training",
      {
        original_max_position_embeddings: 32,
        rope_scaling: {
          rope_type: "llama3",
          factor: 8,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 64,
        },
      },
      ["rope_scaling: original_max_position_embeddings is not the one that stands outside"],
    ],
    ["a part that is rotated", { partial_rotary_factor: 0.5 }, ["partial_rotary_factor is not 1"]],
    [
      "a part that is rotated, in the new place",
      { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.25 } },
      ["rope_parameters.partial_rotary_factor is not 1"],
    ],
    ["rotary parameters that are a list", { rope_parameters: [1] }, ["rope_parameters is not a JSON object"]],
    [
      "two types of numbers",
      { dtype: "bfloat16", torch_dtype: "float32" },
      ["dtype 'bfloat16' and torch_dtype 'float32' contradict each other"],
    ],
    [
      "layers of another type",
      { layer_types: ["full_attention", "sliding_attention"] },
      ['layer_types holds "sliding_attention"'],
    ],
    [
      "new-style scaled rotary positions",
      { rope_parameters: { rope_type: "yarn" } },
      ["rope_parameters", "lacks factor"],
    ],
    ["attention biases", { attention_bias: true }, ["attention_bias is true"]],
    ["a sliding window", { sliding_window: 128 }, ["sliding_window"]],
    ["an end-of-text id beyond the vocabulary", { eos_token_id: 61 }, ["eos_token_id holds 61"]],
    ["end-of-text ids that are text", { eos_token_id: ["2"] }, ['eos_token_id holds "2"']],
    ["a begin-of-text id beyond the vocabulary", { bos_token_id: 1e9 }, ["bos_token_id is 1000000000"]],
    [
      "another quantisation",
      { quantization_config: { quant_method: "awq" } },
      ["quantization_config: quant_method", '"awq"'],
    ],
    [
      "an unknown linear class",
      { quantization_config: { quant_method: "bitnet", linear_class: "x" } },
      ["linear_class"],
    ],
    [
      "an unknown mode",
      { quantization_config: { quant_method: "bitnet", quantization_mode: "x" } },
      ["quantization_mode"],
    ],
    [
      "norms inside the linear layers",
      { quantization_config: { quant_method: "bitnet", use_rms_norm: true } },
      ["use_rms_norm"],
    ],
    [
      "layers left in full precision",
      { quantization_config: { quant_method: "bitnet", modules_to_not_convert: ["lm_head", "model.layers.0"] } },
      ["modules_to_not_convert"],
    ],
    ["a flag that is a number", { tie_word_embeddings: 1 }, ["tie_word_embeddings is 1"]],
  ];

  test.each(configFaults)("%s", (_, change, parts) => {
    const directory = spoiled(({ config }) => Object.assign(config, change));
    expectRefusal(directory, [`${join(directory, "config.json")}: `, ...parts]);
  });

  test.each(["", "{", "[]", "null", '"x"'])("a config.json that is %p", (text) => {
    const directory = spoiled(() => {});
    writeFileSync(join(directory, "config.json"), text);
    expectRefusal(directory, [join(directory, "config.json")]);
  });

  test("a generation_config.json with a bad id", () => {
    const directory = spoiled(({ files }) => files.set("generation_config.json", '{"eos_token_id": [2, -3]}'));
    expectRefusal(directory, [join(directory, "generation_config.json"), "eos_token_id holds -3"]);
  });

  test("a tokenizer that is not JSON", () => {
    const directory = spoiled(({ files }) => {
      files.set("tokenizer_config.json", '{"eos_token": "x"}');
      files.set("tokenizer.json", "{");
    });
    expectRefusal(directory, [join(directory, "tokenizer.json"), "not JSON"]);
  });
});

describe("directories and shards", () => {
  test("a path that is not there", () => {
    expectRefusal(join(scratch, "nowhere"), [join(scratch, "nowhere"), "no such file or directory"]);
  });

  test("a file in place of a directory", () => {
    const path = join(fixtures, "tiny", "config.json");
    expectRefusal(path, [path, "is not a directory"]);
  });

  test("a directory without config.json", () => {
    expectRefusal(scratch, [scratch, "no config.json"]);
  });

  test("a directory without weights", () => {
    const directory = spoiled(() => {});
    rmSync(join(directory, "model.safetensors"));
    writeFileSync(join(directory, "pytorch_model.bin"), "");
    expectRefusal(directory, [
      directory,
      "neither model.safetensors nor",
      "it has pytorch_model.bin",
      "pickled weights",
    ]);
  });

  test("a config.json that is a directory", () => {
    const directory = spoiled(() => {});
    rmSync(join(directory, "config.json"));
    mkdirSync(join(directory, "config.json"));
    expectRefusal(directory, [join(directory, "config.json"), "is a directory"]);
  });

  test("a link that leads nowhere", () => {
    const directory = spoiled(() => {});
    rmSync(join(directory, "model.safetensors"));
    symlinkSync("nothing", join(directory, "model.safetensors"));
    expectRefusal(directory, [directory]);
  });

  const indexFaults: [string, unknown, string[]][] = [
    [
      "a shard outside the directory",
      { weight_map: { x: "../model.safetensors" } },
      ["tensor 'x'", "not the plain name"],
    ],
    ["an absolute shard", { weight_map: { x: "/etc/model.safetensors" } }, ["tensor 'x'", "not the plain name"]],
    ["a shard of another kind", { weight_map: { x: "config.json" } }, ["tensor 'x'", "not the plain name"]],
    ["a shard that is no string", { weight_map: { x: 3 } }, ["tensor 'x'", "not the plain name"]],
    ["a map that is a list", { weight_map: ["a"] }, ["weight_map is not a JSON object"]],
    ["no map", {}, ["no weight_map"]],
    ["an index that is a list", [], ["not a JSON object"]],
    [
      "a tensor missing from its shard",
      { weight_map: { x: "part.safetensors" } },
      ["tensor 'x'", "missing from part.safetensors"],
    ],
    ["an empty map", { weight_map: {} }, ["model.embed_tokens.weight", "missing"]],
  ];

  test.each(indexFaults)("%s", (_, index, parts) => {
    const directory = spoiled(() => {});
    rmSync(join(directory, "model.safetensors"));
    writeFileSync(join(directory, "part.safetensors"), encodeSafetensors(smallCheckpoint().tensors));
    writeFileSync(join(directory, "model.safetensors.index.json"), JSON.stringify(index));
    expectRefusal(directory, [join(directory, "model.safetensors.index.json"), ...parts]);
  });

  test("a missing shard", () => {
    const directory = spoiled(() => {});
    rmSync(join(directory, "model.safetensors"));
    const weight_map = { "model.norm.weight": "model-00001-of-00001.safetensors" };
    writeFileSync(join(directory, "model.safetensors.index.json"), JSON.stringify({ weight_map }));
    expectRefusal(directory, [join(directory, "model-00001-of-00001.safetensors"), "no such file or directory"]);
  });

  test("an output directory that is not there", () => {
    const output = join(scratch, "nowhere", "model.wf");
    const { exitCode, stderr } = runCommandLine(["convert", join(fixtures, "tiny"), output]);
    expect(stderr).toBe(`wrinklefree: ${output}: cannot be written: no such file or directory\n`);
    expect(exitCode).toBe(1);
  });
});

describe("files that are no regular files", () => {
  /** Ways to put something else in a file's place. */
  const kinds: [string, (path: string) => void, string][] = [
    ["a pipe", (path) => void Bun.spawnSync(["mkfifo", path]), "is a pipe"],
    ["a socket", (path) => void Bun.listen({ unix: path, socket: { data() {} } }).unref(), "is a socket"],
    ["a device", (path) => symlinkSync("/dev/zero", path), "is a device"],
  ];

  /** The files of a checkpoint that are opened. */
  const names = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors"];

  for (const [kind, make, fault] of kinds) {
    test.each(names)(`${kind} in the place of %s`, (name) => {
      const directory = spoiled(() => {});
      rmSync(join(directory, name), { force: true });
      make(join(directory, name));
      expectRefusal(directory, [name, fault]);
    });

    test(`${kind} in the place of the index and of a shard`, () => {
      const directory = spoiled(() => {});
      rmSync(join(directory, "model.safetensors"));
      const index = join(directory, "model.safetensors.index.json");
      writeFileSync(index, JSON.stringify({ weight_map: { [query]: "one.safetensors" } }));
      make(join(directory, "one.safetensors"));
      expectRefusal(directory, ["one.safetensors", fault]);
      rmSync(index);
      make(index);
      expectRefusal(directory, ["model.safetensors.index.json", fault]);
    });

    test.each([
      ["inspect", []],
      ["chat", ["-p", "Hi"]],
      ["serve", ["--port", "0"]],
      ["check", []],
      ["bench", []],
      ["convert", ["/nowhere/out.wf"]],
    ])(`${kind} as the model of %s`, (command, more) => {
      const path = join(scratch, `${Bun.randomUUIDv7().slice(-12)}.wf`);
      make(path);
      const { exitCode, stdout, stderr } = runCommandLine([command, path, ...more]);
      expect(stderr).toMatch(/^wrinklefree: [^\n]+\n$/);
      expect(stderr).toContain(path);
      expect(stdout).toBe("");
      expect(exitCode).toBe(1);
    });
  }
});

describe("packed files", () => {
  let good: Uint8Array;
  let header: LooseJson;
  let data: Uint8Array;

  beforeAll(async () => {
    const path = join(scratch, "good.wf");
    await convertCheckpoint(
      spoiled(() => {}),
      path,
    );
    good = new Uint8Array(readFileSync(path));
    const length = Number(new DataView(good.buffer).getBigUint64(0, true));
    header = JSON.parse(new TextDecoder().decode(good.subarray(8, 8 + length)));
    data = good.subarray(8 + length);
  });

  /** The good file with a changed header, padded to its alignment again. */
  function withHeader(change: (header: LooseJson) => void): Uint8Array {
    const changed = structuredClone(header);
    change(changed);
    const text = JSON.stringify(changed);
    const bytes = new TextEncoder().encode(text);
    const padded = new Uint8Array(Math.ceil((8 + bytes.length) / 64) * 64 - 8).fill(0x20);
    padded.set(bytes);
    return safetensorsBytes(padded, data);
  }

  function withConfig(change: Record<string, unknown>): Uint8Array {
    return withHeader(({ __metadata__ }) => {
      __metadata__.config = JSON.stringify({ ...JSON.parse(__metadata__.config), ...change });
    });
  }

  /** The good file with four bytes of a tensor replaced by a float. */
  function withValue(tensor: string, index: number, value: number): Uint8Array {
    const bytes = good.slice();
    const position = good.length - data.length + header[tensor].data_offsets[0] + 4 * index;
    new DataView(bytes.buffer).setFloat32(position, value, true);
    return bytes;
  }

  const norm = "model.norm.weight";
  const faults: [string, () => Uint8Array, string[]][] = [
    ["nothing", () => new Uint8Array(), ["an empty file"]],
    ["a GGUF file", () => new TextEncoder().encode("GGUF\u0003\0\0\0\0\0\0\0\0\0"), ["GGUF"]],
    [
      "another safetensors file",
      () => withHeader((changed) => delete changed.__metadata__.format),
      ["not a packed model"],
    ],
    [
      "a newer version",
      () => withHeader((changed) => (changed.__metadata__.version = String(FORMAT_VERSION + 1))),
      [`version ${FORMAT_VERSION + 1}`, "newer"],
    ],
    ["no version", () => withHeader((changed) => delete changed.__metadata__.version), ["unknown version"]],
    [
      "a version that is no number",
      () => withHeader((changed) => (changed.__metadata__.version = "1.0")),
      ["unknown version"],
    ],
    ["no config", () => withHeader((changed) => delete changed.__metadata__.config), ["lacks config"]],
    ["a config that is not JSON", () => withHeader((changed) => (changed.__metadata__.config = "{")), ["not JSON"]],
    ["a bad hash", () => withHeader((changed) => (changed.__metadata__.source_sha256 = "x")), ["source_sha256"]],
    [
      "a config with other layers",
      () => withConfig({ layers: 3 }),
      ["tensor 'model.layers.2.input_layernorm.weight': missing"],
    ],
    ["a config with fewer layers", () => withConfig({ layers: 1 }), ["tensor 'model.layers.1.input_layernorm.weight'"]],
    [
      "a config with another vocabulary",
      () => withConfig({ vocab_size: 2 ** 20 }),
      ["tensor 'model.embed_tokens.weight'"],
    ],
    ["a config with another activation", () => withConfig({ activation: "gelu" }), ["activation"]],
    ["a config with a key too many", () => withConfig({ moe: 1 }), ["keys"]],
    ["a config with a key too few", () => withConfig({ bos_token_id: undefined }), ["keys"]],
    ["a config with an odd head", () => withConfig({ head_dim: 9 }), ["head_dim"]],
    ["a config with an id beyond the vocabulary", () => withConfig({ eos_token_ids: [61] }), ["eos_token_ids"]],
    ["a missing tensor", () => withHeader((changed) => delete changed[norm]), [norm]],
    [
      "a tensor too many",
      () =>
        withHeader((changed) => (changed.x = { dtype: "U8", shape: [0], data_offsets: [data.length, data.length] })),
      ["'x'"],
    ],
    ["a truncated file", () => good.slice(0, good.length - 64), ["truncated"]],
    ["a file that is cut in the header", () => good.slice(0, 100), ["truncated"]],
    ["bytes behind the end", () => Buffer.concat([good, new Uint8Array(64)]), ["64 bytes follow"]],
    [
      "a header that is not aligned",
      () => safetensorsBytes(new TextEncoder().encode(`${JSON.stringify(header)} `), data),
      ["multiple of 64"],
    ],
    ["a NaN in a norm", () => withValue(norm, 5, NaN), [norm, "value 5"]],
    ["a norm with padding", () => withValue(norm, 40, 1), [norm, "padding"]],
    ["a scale of zero", () => withValue(`${query}_scale`, 0, 0), [`${query}_scale`, "above 0"]],
    ["a scale that is infinite", () => withValue(`${query}_scale`, 0, Infinity), [`${query}_scale`, "finite"]],
  ];

  test.each(faults)("%s", (_, make, parts) => {
    const path = join(scratch, `${Bun.randomUUIDv7()}.wf`);
    writeFileSync(path, make());
    const { exitCode, stdout, stderr } = runCommandLine(["inspect", path]);
    expect(stderr).toMatch(/^wrinklefree: [^\n]+\n$/);
    for (const part of [`${path}: `, ...parts]) expect(stderr).toContain(part);
    expect(stdout).toBe("");
    expect(exitCode).toBe(1);
  });
});
