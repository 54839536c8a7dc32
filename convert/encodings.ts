/** How many bytes weights take in each encoding, and what the library calls those that it packs. */

import type { WeightSource } from "../src/engine/library.ts";
import { PANEL_ROWS } from "../src/engine/symbols.ts";
import { type GgufType, ggufBlockWeights, ggufTensorBytes, TERNARY_BLOCKS } from "../src/model_file/gguf_types.ts";
import { type Dtype, dtypeBytes } from "../src/model_file/safetensors.ts";
import type { CheckpointTensor, Encoding, SourceTensor, TernaryForm } from "./source_tensor.ts";

const weightSources: Partial<Record<Encoding, WeightSource>> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I2_S: "i2_s",
  TQ1_0: "tq1_0",
  TQ2_0: "tq2_0",
  Q2_0: "q2_0_64",
  PQ2_0: "q2_0_128",
  PTQ1_0: "ptq1_0",
};

/** What the library calls an encoding of weights that it packs. */
export function weightSource(encoding: Encoding): WeightSource | undefined {
  return weightSources[encoding];
}

/** The encodings of GGUF files that are blocks of several weights. */
const blocked: readonly Encoding[] = ["Q4_0", "Q8_0", "Q6_K", "I2_S", ...TERNARY_BLOCKS] satisfies GgufType[];

/** Bytes of so many weights, whole blocks of them; without a scale behind the last. */
export function encodedBytes(encoding: Encoding, weights: number): number {
  if (!blocked.includes(encoding)) return dtypeBytes(encoding as Dtype) * weights;
  const type = encoding as GgufType;
  return ggufTensorBytes(type, weights) - ggufTensorBytes(type, 0);
}

/** The form of a tensor of ternary blocks; null for any other. `factor` is what their scales are to be multiplied by. */
export function blockForm({ dtype }: SourceTensor, factor = 1): TernaryForm | null {
  const kind = TERNARY_BLOCKS.find((block) => block === dtype);
  return kind === undefined ? null : { kind, factor };
}

/** Rows of a tensor as it is stored: [rows, columns]; anything else is one row. */
export function storedRows({ shape }: CheckpointTensor): number {
  return shape.length === 2 ? (shape[0] as number) : 1;
}

/** Weights of a stored row. */
export function storedColumns({ shape }: CheckpointTensor): number {
  return shape.at(-1) ?? 1;
}

/**
 * The fewest rows that can be read and understood without others: whole blocks, whole heads where rows change places in them,
 * and whole panels where they may go into those.
 */
export function inseparableRows(tensor: CheckpointTensor): number {
  if (tensor.dtype !== "I2_S") return leastCommonMultiple(PANEL_ROWS, tensor.interleavedRows);
  const block = ggufBlockWeights("I2_S");
  const rows = block / greatestCommonDivisor(block, storedColumns(tensor));
  return leastCommonMultiple(rows, tensor.interleavedRows);
}

function leastCommonMultiple(one: number, other: number): number {
  return (one / greatestCommonDivisor(one, other)) * other;
}

function greatestCommonDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestCommonDivisor(other, one % other);
}
