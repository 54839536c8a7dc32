/**
 * Makes checkpoints of a few kilobytes for tests, in memory first, so that a test can spoil any part of one before it is
 * written: a header, an offset, a value, a key of config.json.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packedLayout } from "../../src/model_file/layout.ts";
import type { ModelConfig } from "../../src/model_file/model_config.ts";

/** JSON into which tests put values of the wrong types. */
// biome-ignore lint/suspicious/noExplicitAny: the point is to write what no type allows
export type LooseJson = Record<string, any>;

/** A tensor in memory. */
export interface MemoryTensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

/** A checkpoint in memory. */
export interface MemoryCheckpoint {
  /** The contents of config.json. */
  config: Record<string, unknown>;
  tensors: Map<string, MemoryTensor>;
  /** Further files: name and text. */
  files: Map<string, string>;
}

/** The shape of the small checkpoints: every size is awkward for blocks of 128 and of 16. */
const shape: ModelConfig = {
  architecture: "BitNetForCausalLM",
  vocabSize: 61,
  hiddenSize: 36,
  intermediateSize: 52,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 10,
  context: 64,
  ropeTheta: 10000,
  rmsNormEps: 1e-5,
  activation: "relu2",
  subNorms: true,
  tiedEmbeddings: true,
  bosTokenId: 1,
  eosTokenIds: [2],
};

/**
 * A BitNetForCausalLM checkpoint with master weights. The values are multiples of 1/64 below 2, so that F32, F16 and BF16 hold
 * the same.
 */
export function smallCheckpoint(dtype: "F32" | "F16" | "BF16" = "BF16"): MemoryCheckpoint {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 24) - 128) / 64;
  };
  const tensors = new Map<string, MemoryTensor>();
  for (const entry of packedLayout(shape, new Map())) {
    if (entry.kind === "scale" || entry.source === null) continue;
    const { rows, columns } = entry.source;
    const values = Float32Array.from({ length: rows * columns }, next);
    tensors.set(entry.name, {
      dtype,
      shape: entry.kind === "norm" ? [columns] : [rows, columns],
      bytes: encodeFloats(values, dtype),
    });
  }
  return {
    config: {
      architectures: ["BitNetForCausalLM"],
      vocab_size: shape.vocabSize,
      hidden_size: shape.hiddenSize,
      intermediate_size: shape.intermediateSize,
      num_hidden_layers: shape.layers,
      num_attention_heads: shape.heads,
      num_key_value_heads: shape.kvHeads,
      head_dim: shape.headDim,
      max_position_embeddings: shape.context,
      rope_theta: shape.ropeTheta,
      rms_norm_eps: shape.rmsNormEps,
      hidden_act: "relu2",
      tie_word_embeddings: true,
      bos_token_id: 1,
      eos_token_id: 2,
    },
    tensors,
    files: new Map(),
  };
}

/** A tokenizer.json for the small checkpoints: the letters are tokens 3 to 28, and `<s>` and `</s>` are added ones. */
export function smallTokenizer(): LooseJson {
  return {
    added_tokens: [
      { id: 1, content: "<s>", special: true },
      { id: 2, content: "</s>", special: true },
    ],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(Array.from("abcdefghijklmnopqrstuvwxyz", (letter, i) => [letter, i + 3])),
      merges: [],
      unk_token: null,
    },
  };
}

/** Little-endian bytes of floats; BF16 by cutting off the lower half. */
export function encodeFloats(values: Float32Array, dtype: "F32" | "F16" | "BF16"): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  if (dtype === "F16") return new Uint8Array(Float16Array.from(values).buffer);
  const bits = new Uint32Array(values.slice().buffer);
  return new Uint8Array(Uint16Array.from(bits, (value) => value >>> 16).buffer);
}

/** The bytes of a safetensors file. `spoil` may change the header before it is encoded. */
export function encodeSafetensors(
  tensors: Iterable<[string, MemoryTensor]>,
  spoil: (header: LooseJson) => void = () => {},
): Uint8Array {
  const header: LooseJson = { __metadata__: { format: "pt" } };
  const pieces: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    pieces.push(bytes);
  }
  spoil(header);
  return safetensorsBytes(new TextEncoder().encode(JSON.stringify(header)), Buffer.concat(pieces));
}

/** A header of any bytes, with its true length before it, and the data behind. */
export function safetensorsBytes(header: Uint8Array, data: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return Buffer.concat([length, header, data]);
}

/** Writes a checkpoint's files. `spoil` may change the safetensors header. */
export function writeCheckpoint(
  directory: string,
  checkpoint: MemoryCheckpoint,
  spoil?: (header: LooseJson) => void,
): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "config.json"), JSON.stringify(checkpoint.config));
  writeFileSync(join(directory, "model.safetensors"), encodeSafetensors(checkpoint.tensors, spoil));
  for (const [name, text] of checkpoint.files) writeFileSync(join(directory, name), text);
}
