/**
 * Packs the matrices of ternary weights: those that are ternary already keep every code, master weights are quantised as the models' authors
 * do.
 */

import { packRows, sumOfMagnitudes, ternaryMagnitude, type WeightSource } from "../src/engine/library.ts";
import type { Failure } from "../src/errors.ts";
import { packedRowBytes } from "../src/model_file/layout.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { type Chunk, namingTensor, readChunks } from "./chunks.ts";
import { storedColumns, weightSource } from "./encodings.ts";
import { requireScale } from "./match_tensors.ts";
import type { CheckpointTensor, TernaryForm } from "./source_tensor.ts";

/** The scale below which a matrix counts as zero, from the training code of BitNet b1.58. */
export const SCALE_MIN = 1e-5;

/** What the packing of a matrix needs beside it. */
export interface Packing {
  /** Takes every source byte once. */
  hash: Bun.CryptoHasher;
  /** Where pieces are read to. */
  buffer: Uint8Array;
  /** Takes packed rows, from a row of the packed matrix on. The bytes are the taker's. */
  take: (row: number, packed: Uint8Array) => Promise<void>;
}

/** The size of a matrix. */
export interface MatrixSize {
  rows: number;
  columns: number;
}

/**
 * Packs a matrix.
 *
 * @returns the scale to multiply by
 * @throws Failure naming the file, the tensor and the weight at fault
 */
export async function packLinear(source: CheckpointTensor, size: MatrixSize, packing: Packing): Promise<number> {
  const form = source.ternary as TernaryForm;
  const scale =
    form.kind === "master"
      ? await quantise(source, size, packing)
      : form.kind === "quarters"
        ? await split(source, size, packing, form.scale)
        : await repack(source, packing, form);
  packing.hash.update(Float32Array.of(scale));
  return scale;
}

/** Packs a piece of a matrix, row by row as it is stored. */
function pack(source: CheckpointTensor, chunk: Chunk, scale: number): Uint8Array {
  const columns = storedColumns(source);
  const packed = new Uint8Array(chunk.rows * packedRowBytes(columns));
  const kind = weightSource(source.dtype) as WeightSource;
  namingTensor(source, chunk, () => packRows(chunk.bytes, kind, chunk.rows, columns, scale, packed));
  return packed;
}

/** Master weights: one pass for the mean magnitude, which is the scale, and one to quantise. */
async function quantise(
  source: CheckpointTensor,
  { rows, columns }: MatrixSize,
  { hash, buffer, take }: Packing,
): Promise<number> {
  const kind = weightSource(source.dtype) as WeightSource;
  let sum = 0;
  let last: Chunk | undefined;
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const chunkSum = sumOfMagnitudes(chunk.bytes, kind, chunk.rows * columns);
    // Packing finds and names the weight at fault.
    if (!Number.isFinite(chunkSum)) pack(source, chunk, 1);
    sum += chunkSum;
    last = chunk;
  }
  const scale = Math.fround(Math.max(sum / (rows * columns), SCALE_MIN));
  // What came in one piece is still in the buffer.
  const chunks = last?.row === 0 ? [last] : readChunks(source, buffer);
  for (const chunk of chunks) await take(chunk.row, pack(source, chunk, scale));
  return scale;
}

/** Weights that are ternary already: their codes are taken as they are, and the scale as it is, or as it is found in them. */
async function repack(
  source: CheckpointTensor,
  { hash, buffer, take }: Packing,
  form: Exclude<TernaryForm, { kind: "master" | "quarters" }>,
): Promise<number> {
  const kind = weightSource(source.dtype) as WeightSource;
  let magnitude = 0;
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    if (form.kind !== "I2_S") {
      const found = ternaryMagnitude(chunk.bytes, kind, chunk.rows * storedColumns(source));
      // Packing finds and names a weight that is no number.
      if (Number.isNaN(found)) pack(source, chunk, 1);
      if (Number.isNaN(found) || (found !== 0 && magnitude !== 0 && found !== magnitude))
        throw notTernary(source, form);
      magnitude ||= found;
    }
    await take(chunk.row, inOrder(pack(source, chunk, magnitude || 1), chunk.rows, source.interleavedRows));
  }
  if (form.kind === "I2_S") return form.scale;
  // Of a matrix of zeros any scale is right.
  return magnitude === 0 ? Math.fround(SCALE_MIN) : requireScale(source, magnitude, magnitude * form.factor);
}

function notTernary(source: CheckpointTensor, { kind }: TernaryForm): Failure {
  const fault =
    kind === "values"
      ? "its weights are not ternary: besides 0 they have more than one magnitude"
      : "its blocks have several scales; one for the matrix is supported";
  return tensorFailure(source.file, source.name, fault);
}

/** Where a row of the source belongs, if rows that are neighbours there belong half a head apart. */
export function placeOfRow(row: number, headRows: number): number {
  if (headRows === 1) return row;
  const within = row % headRows;
  return row - within + (within % 2) * (headRows / 2) + Math.floor(within / 2);
}

/** Brings the rows of whole heads from the order in which rotated ones are neighbours to that in which they are half a head apart. */
function inOrder(packed: Uint8Array, rows: number, headRows: number): Uint8Array {
  if (headRows === 1) return packed;
  const rowBytes = packed.length / rows;
  const ordered = new Uint8Array(packed.length);
  for (let row = 0; row < rows; row++) {
    ordered.set(packed.subarray(row * rowBytes, (row + 1) * rowBytes), placeOfRow(row, headRows) * rowBytes);
  }
  return ordered;
}

/** Four weights of a column in a byte: row r of the source holds rows r, r + out/4, r + out/2 and r + 3·out/4. */
async function split(
  source: CheckpointTensor,
  { rows, columns }: MatrixSize,
  { hash, buffer, take }: Packing,
  scale: number,
): Promise<number> {
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    for (let quarter = 0; quarter < 4; quarter++) {
      const codes = unpackCodes(chunk.bytes, 2 * quarter);
      const packed = new Uint8Array(chunk.rows * packedRowBytes(columns));
      namingTensor(source, chunk, () => packRows(codes, "codes", chunk.rows, columns, 1, packed));
      await take(quarter * (rows / 4) + chunk.row, packed);
    }
  }
  return scale;
}

/** Takes bits shift … shift+1 of every byte, four bytes at a time. */
function unpackCodes(bytes: Uint8Array, shift: number): Uint8Array {
  const codes = new Uint8Array(bytes.length);
  const words = Math.floor(bytes.length / 4);
  const from = new Uint32Array(bytes.buffer, bytes.byteOffset, words);
  const to = new Uint32Array(codes.buffer, 0, words);
  for (let index = 0; index < words; index++) to[index] = ((from[index] as number) >>> shift) & 0x03030303;
  for (let index = 4 * words; index < bytes.length; index++) codes[index] = ((bytes[index] as number) >> shift) & 3;
  return codes;
}
