/** Conversion of GGUF files: every code and scale is what the format says, and what is not understood is refused by name. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { openCheckpoint } from "../convert/formats.ts";
import { verifyConversion } from "../convert/verify.ts";
import { type PackedModel, readPackedModel } from "../src/model_file/packed.ts";
import {
  drawing,
  encodeTernary,
  ggufModel,
  type MemoryGgufModel,
  splitGguf,
  type TypeName,
  typeIds,
} from "./support/gguf_model.ts";
import { encodeGguf, type GgufEntry, valueTypes } from "./support/small_gguf.ts";

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-gguf-"));
});

afterAll(() => rmSync(directory, { recursive: true }));

function write(model: MemoryGgufModel): string {
  const path = join(directory, `${Bun.randomUUIDv7()}.gguf`);
  writeFileSync(path, encodeGguf(model));
  return path;
}

async function convert(source: string): Promise<PackedModel> {
  const path = join(directory, `${Bun.randomUUIDv7()}.wf`);
  await convertCheckpoint(source, path);
  return await readPackedModel(path);
}

/** The bytes of a packed model's tensor. */
function bytesOf({ path, tensors }: PackedModel, name: string): Uint8Array {
  const entry = tensors.find((tensor) => tensor.name === name);
  if (entry === undefined) throw new Error(`no tensor ${name}`);
  return new Uint8Array(readFileSync(path).subarray(entry.begin, entry.end));
}

function floatsOf(packed: PackedModel, name: string): Float32Array {
  return new Float32Array(bytesOf(packed, name).buffer);
}

/** The codes of a matrix whose rows are whole blocks. */
function codesOf(packed: PackedModel, name: string): Uint8Array {
  const bytes = bytesOf(packed, name);
  return Uint8Array.from({ length: 4 * bytes.length }, (_, index) => {
    const place = index % 128;
    return ((bytes[32 * Math.floor(index / 128) + (place % 32)] as number) >> (2 * Math.floor(place / 32))) & 3;
  });
}

/** Names in the file, and in the packed model. */
const names = {
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** What the rows of q and k of llama's files are, in Hugging Face's order: those of a head's first half, then those of its second. */
function reordered(codes: Uint8Array, columns: number, headDim: number): Uint8Array {
  const row = (index: number) => codes.subarray(index * columns, (index + 1) * columns);
  const rows = Array.from({ length: codes.length / columns }, (_, index) => {
    const within = index % headDim;
    const half = headDim / 2;
    return row(index - within + (within < half ? 2 * within : 2 * (within - half) + 1));
  });
  return Buffer.concat(rows);
}

/** A row that lies with 15 others in a panel: four bytes of each side by side as far as there are codes, then a half of each. */
function rowOfPanels(panels: Uint8Array, row: number, rowBytes: number, columns: number): Uint8Array {
  const codeBytes = 32 * Math.ceil(columns / 128);
  const first = Math.floor(row / 16) * 16 * rowBytes;
  return Uint8Array.from({ length: rowBytes }, (_, byte) => {
    const width = byte < codeBytes ? 4 : 2;
    const place = 16 * (byte - (byte % width)) + (row % 16) * width + (byte % width);
    return panels[first + place] as number;
  });
}

/** The same of rows by groups, with the scales of the first row. */
function expectGroups(packed: PackedModel, { matrices }: MemoryGgufModel, group: number): void {
  for (const [theirs, ours] of Object.entries(names)) {
    const { codes, columns, rows, scale } = matrices.get(`blk.0.${theirs}.weight`) as NonNullable<
      ReturnType<MemoryGgufModel["matrices"]["get"]>
    >;
    const expected = /_[qk]$/.test(theirs) ? reordered(codes, columns, 64) : codes;
    const bytes = bytesOf(packed, `model.layers.0.${ours}.weight`);
    const rowBytes = bytes.length / (16 * Math.ceil(rows / 16));
    for (let row = 0; row < rows; row++) {
      const one = rowOfPanels(bytes, row, rowBytes, columns);
      for (let column = 0; column < columns; column++) {
        const byte = one[32 * Math.floor(column / 128) + (column % 32)] as number;
        const code = (byte >> (2 * Math.floor((column % 128) / 32))) & 3;
        if (code !== expected[row * columns + column])
          throw new Error(`${theirs} differs in row ${row}, column ${column}`);
      }
      const scales = new Float16Array(one.slice(columns / 4).buffer);
      const used = columns / group;
      expect([...scales]).toEqual(Array.from(scales, (_, index) => (index < used ? scale : 0)));
    }
  }
}

function expectMatrices(packed: PackedModel, { matrices }: MemoryGgufModel, isLlama: boolean): void {
  for (const [theirs, ours] of Object.entries(names)) {
    if (theirs === "ffn_gate" && packed.config.gated === false) continue;
    const matrix = matrices.get(`blk.0.${theirs}.weight`);
    if (matrix === undefined) throw new Error(theirs);
    const { codes, columns, scale } = matrix;
    const expected = isLlama && /_[qk]$/.test(theirs) ? reordered(codes, columns, 64) : codes;
    const name = `model.layers.0.${ours}.weight`;
    if (Buffer.compare(codesOf(packed, name), expected) !== 0) throw new Error(`${theirs} has other codes`);
    expect(floatsOf(packed, `${name}_scale`)[0]).toBe(scale);
  }
}

describe("codes and scales are those of the file", () => {
  const types: TypeName[] = ["I2_S", "TQ1_0", "TQ2_0", "F32", "F16", "BF16"];
  test.each(types.flatMap((type) => ["bitnet-b1.58", "llama"].map((architecture) => [architecture, type] as const)))(
    "%s, %s",
    async (architecture, type) => {
      const model = ggufModel(architecture, type);
      expectMatrices(await convert(write(model)), model, architecture === "llama");
    },
  );

  test.each([
    ["Q2_0", 64],
    ["PQ2_0", 128],
    ["PTQ1_0", 128],
  ] as const)("llama, %s, whose scales are those of groups of %i", async (type, group) => {
    const model = ggufModel("llama", type);
    const path = write(model);
    const packed = await convert(path);
    expect(packed.config.scales).toBe(String(group) as "64");
    expectGroups(packed, model, group);
    expect((await verifyConversion(path, packed.path)).codes).toBeGreaterThan(5e5);
  });

  test("blocks of several scales become groups", async () => {
    const model = ggufModel("llama", "TQ2_0");
    model.tensors.get("blk.0.ffn_up.weight")?.bytes.set(Uint8Array.of(0, 0x3c), 64);
    const path = write(model);
    const packed = await convert(path);
    expect(packed.config.scales).toBe("128");
    const row = rowOfPanels(bytesOf(packed, "model.layers.0.mlp.up_proj.weight"), 0, 64 + 4, 256);
    expect([...new Float16Array(row.slice(64).buffer)]).toEqual([1, 1]);
    expect((await verifyConversion(path, packed.path)).codes).toBeGreaterThan(5e5);
  });

  test("arcee, whose feed-forward has no gate", async () => {
    const model = ggufModel("arcee", "TQ2_0");
    const packed = await convert(write(model));
    expect(packed.config).toMatchObject({ gated: false, activation: "relu2" });
    expectMatrices(packed, model, true);
  });

  test("in pieces of one head", async () => {
    const model = ggufModel("llama", "TQ1_0");
    const output = join(directory, "pieces.wf");
    await convertCheckpoint(write(model), output, { chunkBytes: 1 });
    expectMatrices(await readPackedModel(output), model, true);
  });

  test("blocks whose scale is 0 are zeros, whatever their codes say", async () => {
    const model = ggufModel("bitnet", "TQ2_0");
    const up = model.matrices.get("blk.0.ffn_up.weight");
    model.tensors.get("blk.0.ffn_up.weight")?.bytes.set([0, 0], 64);
    up?.codes.fill(1, 0, 256);
    expectMatrices(await convert(write(model)), model, false);
  });

  test("I2_S whose blocks go over the ends of rows", async () => {
    const model = ggufModel("bitnet-25", "I2_S");
    const width = 96;
    model.metadata.set("bitnet-25.feed_forward_length", { type: valueTypes.u32, value: width });
    const random = drawing(7);
    const matrix = (name: string, rows: number, columns: number) => {
      const codes = Uint8Array.from({ length: rows * columns }, () => Math.floor(3 * random()));
      model.tensors.set(name, { typeId: 36, shape: [rows, columns], bytes: encodeTernary(codes, 0.5, "I2_S") });
      return codes;
    };
    matrix("blk.0.ffn_gate.weight", width, 256);
    matrix("blk.0.ffn_up.weight", width, 256);
    const down = matrix("blk.0.ffn_down.weight", 256, width);
    model.tensors.set("blk.0.ffn_sub_norm.weight", { typeId: 0, shape: [width], bytes: new Uint8Array(4 * width) });
    const found = codesOf(await convert(write(model)), "model.layers.0.mlp.down_proj.weight");
    for (let row = 0; row < 256; row++) {
      expect(found.subarray(128 * row, 128 * row + width)).toEqual(down.subarray(width * row, width * (row + 1)));
      expect(found.subarray(128 * row + width, 128 * (row + 1)).every((code) => code === 1)).toBe(true);
    }
  });

  test("a scale in a tensor of its own is multiplied by", async () => {
    const model = ggufModel("bitnet", "TQ1_0");
    const scale = new Uint8Array(Float32Array.of(0.25).buffer);
    model.tensors.set("blk.0.ffn_up.scale", { typeId: 0, shape: [1], bytes: scale });
    const packed = await convert(write(model));
    const expected = 0.25 * (model.matrices.get("blk.0.ffn_up.weight")?.scale as number);
    expect(floatsOf(packed, "model.layers.0.mlp.up_proj.weight_scale")[0]).toBe(expected);
  });
});

test.each([2, 3, 4])("a model in %d parts is that of one file, whichever part is named", async (parts) => {
  const model = ggufModel("llama", "TQ2_0");
  const files = splitGguf(model, `split${parts}`, parts);
  for (const [name, bytes] of files) writeFileSync(join(directory, name), bytes);
  const last = join(directory, files.at(-1)?.[0] as string);
  const [whole, split] = [await convert(write(model)), await convert(last)];
  expect(split.source).toBe(`split${parts}`);
  for (const { name } of whole.tensors) expect(bytesOf(split, name)).toEqual(bytesOf(whole, name));
  rmSync(join(directory, files[0]?.[0] as string));
  expect(() => openCheckpoint(last)).toThrow(`the part ${files[0]?.[0]} is not beside it`);
});

test("a part under a name that is no part's says which it is", () => {
  const [, [, bytes]] = splitGguf(ggufModel("llama", "TQ2_0"), "x", 3) as [unknown, [string, Uint8Array]];
  writeFileSync(join(directory, "renamed.gguf"), bytes);
  expect(() => openCheckpoint(join(directory, "renamed.gguf"))).toThrow(
    "it is part 2 of 3; its name has to end in -00002-of-00003.gguf",
  );
});

describe("embeddings", () => {
  /** The value that a bf16 has, for a number of few digits. */
  const bf16 = (bytes: Uint8Array) =>
    new Float32Array(Uint32Array.from(new Uint16Array(bytes.slice().buffer), (bits) => bits << 16).buffer);
  const nearest = (value: number) => {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0] as number;
    return new Float32Array(Uint32Array.of(((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) << 16).buffer)[0] as number;
  };
  const half = (value: number) => [...new Uint8Array(Float16Array.of(value).buffer)];

  /** Blocks of random bytes with a scale, and the value of weight `index` of a block by the format's words. */
  const formats = {
    Q8_0: {
      weights: 32,
      make: (bytes: number[]) => [...half(0.125), ...bytes.slice(0, 32)],
      value: (block: number[], index: number) => 0.125 * (((block[2 + index] as number) << 24) >> 24),
    },
    Q4_0: {
      weights: 32,
      make: (bytes: number[]) => [...half(0.5), ...bytes.slice(0, 16)],
      value: (block: number[], index: number) =>
        0.5 * (((block[2 + (index % 16)] as number) >> (index < 16 ? 0 : 4)) % 16) - 4,
    },
    Q6_K: {
      weights: 256,
      make: (bytes: number[]) => [...bytes.slice(0, 208), ...half(2 ** -6)],
      value(block: number[], index: number) {
        const [half, within] = [Math.floor(index / 128), index % 128];
        const low = block[64 * half + (within % 64)] as number;
        const high = block[128 + 32 * half + (within % 32)] as number;
        const bits = (within < 64 ? low % 16 : low >> 4) + 16 * ((high >> (2 * Math.floor(within / 32))) % 4);
        const factor = ((block[192 + Math.floor(index / 16)] as number) << 24) >> 24;
        return 2 ** -6 * factor * (bits - 32);
      },
    },
  };

  test.each(["Q8_0", "Q4_0", "Q6_K"] as const)("of %s are rounded to the nearest bf16", async (type) => {
    const { weights, make, value } = formats[type];
    const random = drawing(3);
    const blocks = Array.from({ length: (40 * 256) / weights }, () =>
      make(Array.from({ length: 208 }, () => Math.floor(256 * random()))),
    );
    const model = ggufModel("llama", "I2_S");
    const bytes = Uint8Array.from(blocks.flat());
    model.tensors.set("token_embd.weight", { typeId: typeIds[type], shape: [40, 256], bytes });
    model.tensors.set("output.weight", { typeId: typeIds[type], shape: [40, 256], bytes });
    const packed = await convert(write(model));
    expect(packed.config.tiedEmbeddings).toBe(false);
    const expected = blocks.flatMap((block) =>
      Array.from({ length: weights }, (_, index) => nearest(value(block, index))),
    );
    for (const name of ["model.embed_tokens.weight", "lm_head.weight"]) {
      // −0 and 0 are the same.
      expect(Array.from(bf16(bytesOf(packed, name)), (number) => number + 0)).toEqual(
        expected.map((number) => number + 0),
      );
    }
  });
});

describe("refuses by name", () => {
  const text = (value: string): GgufEntry => ({ type: valueTypes.text, value });
  const u32 = (value: number): GgufEntry => ({ type: valueTypes.u32, value });
  const f32 = (value: number): GgufEntry => ({ type: valueTypes.f32, value });
  const key = (name: string, value: GgufEntry) => (model: MemoryGgufModel) => model.metadata.set(name, value);
  const tensor = (name: string, typeId: number, dimensions: number[], bytes: number) => (model: MemoryGgufModel) =>
    model.tensors.set(name, { typeId, shape: dimensions, bytes: new Uint8Array(bytes) });
  test.each<[string, (model: MemoryGgufModel) => unknown, string[]]>([
    [
      "another architecture",
      key("general.architecture", text("qwen2")),
      ["architecture 'qwen2' is not supported", "bitnet-b1.58"],
    ],
    ["no architecture", ({ metadata }) => metadata.delete("general.architecture"), ["it names no architecture"]],
    ["an adapter", key("general.type", text("adapter")), ["it is of type 'adapter', no model"]],
    ["weights in a rotated basis", key("prism.hadamard.block", u32(128)), ["'prism.hadamard.block'", "rotated basis"]],
    ["another activation", key("llama.hidden_act", text("gelu")), ["llama.hidden_act is 'gelu'; supported: silu"]],
    ["experts, but not how many", key("llama.expert_count", u32(8)), ["lacks expert_used_count"]],
    ["experts that all tokens share", key("llama.expert_shared_count", u32(1)), ["llama.expert_shared_count is 1"]],
    ["a sliding window", key("llama.attention.sliding_window", u32(512)), ["attention.sliding_window is 512"]],
    ["scaled logits", key("llama.logit_scale", f32(2)), ["llama.logit_scale is 2"]],
    [
      "stretched positions of another kind",
      (model) => {
        key("llama.rope.scaling.type", text("spiral"))(model);
        key("llama.rope.scaling.factor", f32(4))(model);
      },
      ["rope.scaling.type is 'spiral'"],
    ],
    ["a negative factor", key("llama.rope.scaling.factor", f32(-4)), ["rope.scaling.factor is -4"]],
    [
      "too few divisors",
      tensor("rope_freqs.weight", 0, [16], 64),
      ["'rope_freqs.weight': it is F32 [16], not F32 [32]"],
    ],
    ["a part of a head that is rotated", key("llama.rope.dimension_count", u32(32)), ["rope.dimension_count is 32"]],
    ["values of another size", key("llama.attention.value_length", u32(128)), ["attention.value_length 128"]],
    [
      "heads that differ by layer",
      key("llama.attention.head_count_kv", { type: 9, of: 4, value: [2, 2] }),
      ["attention.head_count_kv"],
    ],
    [
      "a matrix of an ordinary quantisation",
      tensor("blk.0.attn_v.weight", 12, [128, 256], 18432),
      ["'blk.0.attn_v.weight': it is of type Q4_K (12)"],
    ],
    [
      "a matrix of 8 bits",
      tensor("blk.0.attn_v.weight", 8, [128, 256], 34816),
      ["'blk.0.attn_v.weight': its dtype is Q8_0"],
    ],
    [
      "a type that nobody knows",
      tensor("blk.0.attn_v.weight", 999, [128, 256], 32),
      ["'blk.0.attn_v.weight': it is of unknown type 999"],
    ],
    ["a bias", tensor("blk.0.attn_q.bias", 0, [256], 1024), ["'blk.0.attn_q.bias': is no part of a llama of 1 layer"]],
    ["a missing tensor", ({ tensors }) => tensors.delete("blk.0.ffn_up.weight"), ["'blk.0.ffn_up.weight': missing"]],
    [
      "another shape",
      tensor("blk.0.attn_v.weight", 35, [256, 256], 16896),
      ["'blk.0.attn_v.weight': its shape is [256, 256]", "demands [128, 256]"],
    ],
    [
      "a key that is missing",
      ({ metadata }) => metadata.delete("llama.block_count"),
      ["its metadata under 'llama.' lacks block_count"],
    ],
  ])("%s", (_, spoil, messages) => {
    const model = ggufModel("llama", "TQ2_0");
    spoil(model);
    const path = write(model);
    let message = "";
    try {
      openCheckpoint(path).close();
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toStartWith(`${path}: `);
    for (const part of messages) expect(message).toContain(part);
  });

  test.each<[string, TypeName, (bytes: Uint8Array) => void, string]>([
    [
      "weights that are not ternary",
      "F16",
      (bytes) => bytes.set(Uint8Array.of(0, 0x3c)),
      "its weights are not ternary: besides 0 they have more than one magnitude",
    ],
    [
      "weights that are no numbers",
      "F16",
      (bytes) => bytes.set(Uint8Array.of(0, 0x7e)),
      "the weight at row 0, column 0 is NaN",
    ],
    ["a code that stands for 2", "Q2_0", (bytes) => bytes.set([3], 2), "a code in row 0, from column 0 on, is 3"],
    [
      "a scale that is none",
      "PQ2_0",
      (bytes) => bytes.set(Uint8Array.of(0, 0x7c), 34),
      "the scale of the group at row 0, column 128 is inf",
    ],
    [
      "a block with a negative scale",
      "TQ1_0",
      (bytes) => bytes.set(Uint8Array.of(0, 0xbc), 52),
      "the scale of the group at row 0, column 0 is negative",
    ],
    ["a code that is none", "TQ2_0", (bytes) => bytes.set([3], 0), "the code at row 0, column 0 is 3"],
    [
      "a code that is none, further on",
      "I2_S",
      (bytes) => bytes.set([3], 32 * 5 + 4),
      "the code at row 2, column 228 is 3",
    ],
  ])("%s", async (_, type, spoil, message) => {
    const model = ggufModel("llama", type);
    spoil(model.tensors.get("blk.0.ffn_up.weight")?.bytes as Uint8Array);
    expect(convert(write(model))).rejects.toThrow(`tensor 'blk.0.ffn_up.weight': ${message}`);
  });

  test("a scale of I2_S that is none", () => {
    const model = ggufModel("llama", "I2_S");
    const bytes = model.tensors.get("blk.0.ffn_up.weight")?.bytes as Uint8Array;
    bytes.fill(0, bytes.length - 32);
    expect(() => openCheckpoint(write(model))).toThrow("tensor 'blk.0.ffn_up.weight': 0 is no scale");
  });
});
