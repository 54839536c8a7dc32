/** Small models as GGUF files, of any architecture, types and faults: weights are drawn as codes and encoded here, by the formats' words. */

import { encodeGguf, type GgufEntry, type MemoryGguf, type MemoryGgufTensor, valueTypes } from "./small_gguf.ts";

/** The ids of the types that are made here. */
export const typeIds = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q8_0: 8,
  Q6_K: 14,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
  I2_S: 36,
  /** Blocks of 64 weights. */
  Q2_0: 42,
  PQ2_0: 142,
  PTQ1_0: 143,
} as const;

export type TypeName = keyof typeof typeIds;

/** The shape of the models. */
export const shape = { vocabulary: 40, hidden: 256, ffn: 512, heads: 4, kvHeads: 2, headDim: 64, layers: 1 };

/** A random number from 0 to 1, the same every time. */
export function drawing(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A list of floats as a tensor. */
export function floatList(values: readonly number[]): MemoryGgufTensor {
  return { typeId: typeIds.F32, shape: [values.length], bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

const halfBytes = (value: number) => new Uint8Array(Float16Array.of(value).buffer);

/** Five digits in base 3, as a fraction of 243 that is rounded up to one of 256; four digits count as five, the last of them 0. */
function fraction(at: (index: number) => number, first: number, stride: number, digits: number): number {
  let number = 0;
  for (let digit = 0; digit < 5; digit++) number = 3 * number + (digit < digits ? at(first + stride * digit) : 0);
  return Math.ceil((256 * number) / 243);
}

/** A block of Bonsai's types: the scale before two bits for each weight, or behind the fractions. */
function encodePrism(codes: Uint8Array, scale: number, type: TypeName): Uint8Array {
  const at = (index: number) => codes[index] as number;
  if (type === "PTQ1_0") {
    return Uint8Array.of(
      ...Array.from({ length: 16 }, (_, m) => fraction(at, m, 16, 5)),
      ...Array.from({ length: 8 }, (_, m) => fraction(at, 80 + m, 8, 5)),
      ...Array.from({ length: 2 }, (_, m) => fraction(at, 120 + m, 2, 4)),
      ...halfBytes(scale),
    );
  }
  const byte = (_: unknown, p: number) =>
    at(4 * p) | (at(4 * p + 1) << 2) | (at(4 * p + 2) << 4) | (at(4 * p + 3) << 6);
  return Uint8Array.of(...halfBytes(scale), ...Array.from({ length: codes.length / 4 }, byte));
}

/** Encodes codes (0, 1, 2 for −s, 0, s), row after row. */
export function encodeTernary(codes: Uint8Array, scale: number, type: TypeName): Uint8Array {
  const values = Float32Array.from(codes, (code) => (code - 1) * scale);
  if (type === "F32") return new Uint8Array(values.buffer);
  if (type === "F16") return new Uint8Array(Float16Array.from(values).buffer);
  if (type === "BF16") {
    return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);
  }
  const pieces: Uint8Array[] = [];
  if (type === "I2_S") {
    for (let block = 0; block < codes.length; block += 128) {
      const at = (index: number) => codes[block + index] as number;
      const byte = (_: unknown, p: number) => (at(p) << 6) | (at(32 + p) << 4) | (at(64 + p) << 2) | at(96 + p);
      pieces.push(Uint8Array.from({ length: 32 }, byte));
    }
    const tail = new Uint8Array(32);
    tail.set(new Uint8Array(Float32Array.of(scale).buffer));
    return Buffer.concat([...pieces, tail]);
  }
  if (type === "Q2_0" || type === "PQ2_0" || type === "PTQ1_0") {
    const size = type === "Q2_0" ? 64 : 128;
    for (let block = 0; block < codes.length; block += size)
      pieces.push(encodePrism(codes.subarray(block, block + size), scale, type));
    return Buffer.concat(pieces);
  }
  for (let block = 0; block < codes.length; block += 256) {
    const at = (index: number) => codes[block + index] as number;
    if (type === "TQ2_0") {
      const byte = (_: unknown, index: number) => {
        const first = 128 * (index >> 5) + (index & 31);
        return at(first) | (at(first + 32) << 2) | (at(first + 64) << 4) | (at(first + 96) << 6);
      };
      pieces.push(Uint8Array.from({ length: 64 }, byte));
    } else {
      const byte = (first: number, stride: number, digits: number) => fraction(at, first, stride, digits);
      pieces.push(Uint8Array.from({ length: 32 }, (_, m) => byte(m, 32, 5)));
      pieces.push(Uint8Array.from({ length: 16 }, (_, m) => byte(160 + m, 16, 5)));
      pieces.push(Uint8Array.from({ length: 4 }, (_, m) => byte(240 + m, 4, 4)));
    }
    pieces.push(halfBytes(scale));
  }
  return Buffer.concat(pieces);
}

/** A model in memory with the codes of its matrices. */
export interface MemoryGgufModel extends MemoryGguf {
  metadata: Map<string, GgufEntry>;
  tensors: Map<string, MemoryGgufTensor>;
  /** By the names in the file: codes and scale. */
  matrices: Map<string, { codes: Uint8Array; scale: number; rows: number; columns: number }>;
}

/** A model of an architecture, with matrices of one type. Scales are halves. */
export function ggufModel(architecture: string, type: TypeName): MemoryGgufModel {
  const random = drawing(1);
  const { vocabulary, hidden, ffn, heads, kvHeads, headDim, layers } = shape;
  const u32 = (value: number): GgufEntry => ({ type: valueTypes.u32, value });
  const f32 = (value: number): GgufEntry => ({ type: valueTypes.f32, value });
  const metadata = new Map<string, GgufEntry>([
    ["general.architecture", { type: valueTypes.text, value: architecture }],
    [`${architecture}.context_length`, u32(128)],
    [`${architecture}.embedding_length`, u32(hidden)],
    [`${architecture}.block_count`, u32(layers)],
    [`${architecture}.feed_forward_length`, u32(ffn)],
    [`${architecture}.attention.head_count`, u32(heads)],
    [`${architecture}.attention.head_count_kv`, u32(kvHeads)],
    [`${architecture}.attention.layer_norm_rms_epsilon`, f32(1e-5)],
    [`${architecture}.rope.freq_base`, f32(10000)],
  ]);
  const tensors = new Map<string, MemoryGgufTensor>();
  const matrices: MemoryGgufModel["matrices"] = new Map();
  const floats = (name: string, dimensions: number[]) => {
    const length = dimensions.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, () => Math.round(32 * random() - 16) / 16);
    tensors.set(name, { typeId: typeIds.F32, shape: dimensions, bytes: new Uint8Array(values.buffer) });
  };
  const matrix = (name: string, rows: number, columns: number) => {
    const codes = Uint8Array.from({ length: rows * columns }, () => Math.floor(3 * random()));
    const scale = Math.ceil(64 * random()) / 1024;
    matrices.set(name, { codes, scale, rows, columns });
    tensors.set(name, { typeId: typeIds[type], shape: [rows, columns], bytes: encodeTernary(codes, scale, type) });
  };
  floats("token_embd.weight", [vocabulary, hidden]);
  floats("output_norm.weight", [hidden]);
  for (let layer = 0; layer < layers; layer++) {
    const subNorms = architecture !== "llama" && architecture !== "arcee";
    floats(`blk.${layer}.attn_norm.weight`, [hidden]);
    matrix(`blk.${layer}.attn_q.weight`, heads * headDim, hidden);
    matrix(`blk.${layer}.attn_k.weight`, kvHeads * headDim, hidden);
    matrix(`blk.${layer}.attn_v.weight`, kvHeads * headDim, hidden);
    if (subNorms) floats(`blk.${layer}.attn_sub_norm.weight`, [heads * headDim]);
    matrix(`blk.${layer}.attn_output.weight`, hidden, heads * headDim);
    floats(`blk.${layer}.ffn_norm.weight`, [hidden]);
    if (architecture !== "arcee") matrix(`blk.${layer}.ffn_gate.weight`, ffn, hidden);
    matrix(`blk.${layer}.ffn_up.weight`, ffn, hidden);
    if (subNorms) floats(`blk.${layer}.ffn_sub_norm.weight`, [ffn]);
    matrix(`blk.${layer}.ffn_down.weight`, hidden, ffn);
  }
  return { metadata, tensors, matrices };
}

/** The files of a model that is split after so many tensors: names and bytes. The first has all keys and no tensors. */
export function splitGguf(model: MemoryGguf, name: string, parts: number): [string, Uint8Array][] {
  const tensors = [...model.tensors];
  return Array.from({ length: parts }, (_, index) => {
    const share = Math.ceil(tensors.length / (parts - 1));
    const held = index === 0 ? [] : tensors.slice((index - 1) * share, index * share);
    const keys: [string, GgufEntry][] = [
      ["split.no", { type: valueTypes.u16, value: index }],
      ["split.count", { type: valueTypes.u16, value: parts }],
      ["split.tensors.count", { type: valueTypes.i32, value: tensors.length }],
    ];
    const metadata = new Map([...(index === 0 ? model.metadata : []), ...keys]);
    const digits = (number: number) => String(number).padStart(5, "0");
    const bytes = encodeGguf({ metadata, tensors: new Map(held) });
    return [`${name}-${digits(index + 1)}-of-${digits(parts)}.gguf`, bytes];
  });
}

/** Parts of tensors' names: those of GGUF files, then Hugging Face's. */
export const tensorNames: readonly [string, string][] = [
  ["token_embd", "model.embed_tokens"],
  ["output_norm", "model.norm"],
  ["output.", "lm_head."],
  ["blk", "model.layers"],
  ["attn_norm", "input_layernorm"],
  ["attn_q", "self_attn.q_proj"],
  ["attn_k", "self_attn.k_proj"],
  ["attn_v", "self_attn.v_proj"],
  ["attn_sub_norm", "self_attn.attn_sub_norm"],
  ["attn_output", "self_attn.o_proj"],
  ["ffn_norm", "post_attention_layernorm"],
  ["ffn_gate", "mlp.gate_proj"],
  ["ffn_up", "mlp.up_proj"],
  ["ffn_sub_norm", "mlp.ffn_sub_norm"],
  ["ffn_down", "mlp.down_proj"],
];

/** A tensor's name in GGUF files, from Hugging Face's. */
export function ggufTensorName(name: string): string {
  return tensorNames.reduce((found, [theirs, ours]) => found.replace(ours, theirs), name);
}
