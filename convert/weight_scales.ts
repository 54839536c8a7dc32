/**
 * Finds out what a checkpoint's ternary matrices are scaled by. Weights in floating point do not say whether one scale belongs to a matrix,
 * to a row or to a group of inputs; a look at a part of each matrix shows it, and packing finds what that part did not show.
 *
 * A model has one kind of scales: the narrowest that one of its matrices needs. The others' scales then stand several times.
 */

import { ternaryGroup, ternaryMagnitude, type WeightSource } from "../src/engine/library.ts";
import { packedLayout } from "../src/model_file/layout.ts";
import type { ModelConfig, WeightScales } from "../src/model_file/model_config.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { encodedBytes, storedColumns, storedRows, weightSource } from "./encodings.ts";
import type { CheckpointTensor } from "./source_tensor.ts";

/** Bytes of a matrix that are looked at. */
const SAMPLE_BYTES = 1 << 18;

/** What narrower scales are behind. */
const order: readonly WeightScales[] = ["matrix", "row", "128", "64", "32", "16"];

/** The groups that ternary values of an embedding's rows have, at most. */
const GROUP_MAX = 128;

/**
 * Sets a configuration's scales, and whether its embedding and head are ternary.
 *
 * @param tensors by their names in the packed file.
 * @throws Failure naming a matrix that is not ternary.
 */
export function chooseScales(config: ModelConfig, tensors: Map<string, CheckpointTensor>): void {
  const found: WeightScales[] = ["matrix"];
  for (const { name, kind } of packedLayout(config, new Map())) {
    const tensor = tensors.get(name);
    if (tensor === undefined) continue;
    if (kind === "ternary") found.push(scalesOf(tensor));
    if (kind !== "embedding") continue;
    const group = embeddingGroup(tensor);
    if (group === 0) continue;
    tensor.ternary ??= { kind: "values", factor: 1 };
    if (name === "lm_head.weight") config.ternaryHead = true;
    else config.ternaryEmbedding = true;
    if (group < GROUP_MAX) found.push(String(group) as WeightScales);
  }
  const narrowest = order[Math.max(...found.map((scales) => order.indexOf(scales)))] as WeightScales;
  config.scales = narrowest === "matrix" ? undefined : narrowest;
}

function scalesOf(tensor: CheckpointTensor): WeightScales {
  const kind = tensor.ternary?.kind;
  if (kind === "thresholds") return "row";
  if (kind === "Q2_0") return "64";
  if (kind === "PQ2_0" || kind === "PTQ1_0") return "128";
  if (kind !== "values" && kind !== "TQ1_0" && kind !== "TQ2_0") return "matrix";
  const { bytes, source, rows, columns } = sample(tensor);
  const count = rows * columns;
  if (!Number.isNaN(ternaryMagnitude(bytes, source, count))) return "matrix";
  if (kind !== "values") return "128";
  const rowBytes = bytes.length / rows;
  const isByRow = Array.from({ length: rows }, (_, row) => bytes.subarray(row * rowBytes, (row + 1) * rowBytes)).every(
    (row) => !Number.isNaN(ternaryMagnitude(row, source, columns)),
  );
  if (isByRow) return "row";
  const group = ternaryGroup(bytes, source, rows, columns);
  // Packing finds and names a weight that is no number.
  if (group > 0) return String(group) as WeightScales;
  if (hasOddNumber(bytes, tensor)) return "matrix";
  throw tensorFailure(
    tensor.file,
    tensor.name,
    "its weights are not ternary: besides 0 they have more than one magnitude, even in groups of 16 inputs",
  );
}

/** Whether a sample has an infinity or a NaN. */
function hasOddNumber(bytes: Uint8Array, { dtype }: CheckpointTensor): boolean {
  const { buffer, byteOffset, length } = bytes;
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, length / 4).some((value) => !Number.isFinite(value));
  const exponent = dtype === "F16" ? 0x7c00 : 0x7f80;
  return new Uint16Array(buffer, byteOffset, length / 2).some((bits) => (bits & exponent) === exponent);
}

/** The widest groups by which an embedding is ternary; 0 when it is not. */
function embeddingGroup(tensor: CheckpointTensor): number {
  if (tensor.ternary !== null && tensor.ternary.kind !== "values") return scalesOf(tensor) === "64" ? 64 : GROUP_MAX;
  const { bytes, source, rows, columns } = sample(tensor);
  // Rows of zeros show nothing.
  if (source === undefined || ternaryMagnitude(bytes, source, rows * columns) === 0) return 0;
  return ternaryGroup(bytes, source, rows, columns);
}

/** The first rows of a matrix. */
function sample(tensor: CheckpointTensor): { bytes: Uint8Array; source: WeightSource; rows: number; columns: number } {
  const columns = storedColumns(tensor);
  const rowBytes = encodedBytes(tensor.dtype, columns);
  const rows = Math.max(1, Math.min(storedRows(tensor), Math.floor(SAMPLE_BYTES / rowBytes)));
  const bytes = new Uint8Array(rows * rowBytes);
  tensor.read(0, bytes);
  return { bytes, source: weightSource(tensor.dtype) as WeightSource, rows, columns };
}
