/**
 * Packs the matrices of ternary weights: those that are ternary already keep every code, master weights are quantised as the models' authors
 * do.
 */

import {
  packGroups,
  packPanels,
  packRows,
  sumOfMagnitudes,
  ternaryMagnitude,
  type WeightSource,
} from "../src/engine/library.ts";
import type { Failure } from "../src/errors.ts";
import { groupedRowBytes, packedRowBytes, panelRows } from "../src/model_file/layout.ts";
import type { WeightScales } from "../src/model_file/model_config.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { type Chunk, namingTensor, readChunks } from "./chunks.ts";
import { storedColumns, weightSource } from "./encodings.ts";
import { toFloat32 } from "./floats.ts";
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

/** A packed matrix. */
export interface Matrix {
  rows: number;
  columns: number;
  scales: WeightScales;
}

function hasGroups({ scales }: Matrix): boolean {
  return scales !== "matrix" && scales !== "row";
}

/** Bytes of a row of it. */
export function matrixRowBytes(matrix: Matrix): number {
  return hasGroups(matrix) ? groupedRowBytes(matrix.columns, Number(matrix.scales)) : packedRowBytes(matrix.columns);
}

/** Rows of it, with those that fill up its last panel. */
export function matrixRows(matrix: Matrix): number {
  return hasGroups(matrix) ? panelRows(matrix.rows) : matrix.rows;
}

/**
 * Packs a matrix.
 *
 * @returns what stands beside its rows: the scale to multiply by, or one for each row
 * @throws Failure naming the file, the tensor and the weight at fault
 */
export async function packLinear(source: CheckpointTensor, matrix: Matrix, packing: Packing): Promise<Float32Array> {
  const scales = await packByForm(source, matrix, packing);
  packing.hash.update(scales);
  return scales;
}

async function packByForm(source: CheckpointTensor, matrix: Matrix, packing: Packing): Promise<Float32Array> {
  const form = source.ternary as TernaryForm;
  const isWhole = form.kind === "master" || form.kind === "quarters" || form.kind === "I2_S";
  if (isWhole && hasGroups(matrix)) {
    throw tensorFailure(
      source.file,
      source.name,
      "it has one scale where other matrices have scales by groups of inputs, which is not supported",
    );
  }
  if (form.kind === "thresholds") return await packByThresholds(source, matrix, packing);
  if (!isWhole && matrix.scales === "row") return await packRowByRow(source, matrix, packing, form.factor);
  if (!isWhole && hasGroups(matrix)) return await packByGroups(source, matrix, packing, form.factor);
  const scale =
    form.kind === "master"
      ? await quantise(source, matrix, packing)
      : form.kind === "quarters"
        ? await split(source, matrix, packing, form.scale)
        : await repack(source, packing, form);
  return new Float32Array(matrix.scales === "row" ? matrix.rows : 1).fill(scale);
}

/** Weights that are ternary by groups of inputs, with codes and scales as they are. */
async function packByGroups(
  source: CheckpointTensor,
  matrix: Matrix,
  { hash, buffer, take }: Packing,
  factor: number,
): Promise<Float32Array> {
  const kind = weightSource(source.dtype) as WeightSource;
  const rowBytes = matrixRowBytes(matrix);
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const packed = new Uint8Array(chunk.rows * rowBytes);
    const group = Number(matrix.scales);
    namingTensor(source, chunk, () => packGroups(chunk.bytes, kind, chunk.rows, matrix.columns, group, packed));
    const panels = new Uint8Array(panelRows(chunk.rows) * rowBytes);
    packPanels(inOrder(packed, chunk.rows, source.interleavedRows), chunk.rows, matrix.columns, group, panels);
    await take(chunk.row, panels);
  }
  return Float32Array.of(factor);
}

/** The share of a row's mean magnitude beyond which a weight is not zero. */
export const THRESHOLD = 0.7;

/** Master weights that are quantised row by row. */
async function packByThresholds(
  source: CheckpointTensor,
  { rows, columns, scales: kind }: Matrix,
  { hash, buffer, take }: Packing,
): Promise<Float32Array> {
  if (kind !== "row") throw tensorFailure(source.file, source.name, "rows with scales beside groups are not supported");
  const scales = new Float32Array(rows);
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const values = namingTensor(source, chunk, () => toFloat32(chunk.bytes, source.dtype));
    const codes = new Uint8Array(values.length);
    for (let row = 0; row < chunk.rows; row++) {
      let sum = 0;
      for (let index = row * columns; index < (row + 1) * columns; index++) sum += Math.abs(values[index] as number);
      const threshold = Math.fround(THRESHOLD * (sum / columns));
      let beyond = 0;
      let count = 0;
      for (let index = row * columns; index < (row + 1) * columns; index++) {
        const value = values[index] as number;
        const isBeyond = Math.abs(value) > threshold;
        codes[index] = isBeyond ? (value > 0 ? 2 : 0) : 1;
        if (!isBeyond) continue;
        beyond += Math.abs(value);
        count++;
      }
      scales[chunk.row + row] = count === 0 ? SCALE_MIN : beyond / count;
    }
    const packed = new Uint8Array(chunk.rows * packedRowBytes(columns));
    packRows(codes, "codes", chunk.rows, columns, 1, packed);
    await take(chunk.row, packed);
  }
  return scales;
}

/** Weights that are ternary row by row. */
async function packRowByRow(
  source: CheckpointTensor,
  { rows, columns }: Matrix,
  { hash, buffer, take }: Packing,
  factor: number,
): Promise<Float32Array> {
  const kind = weightSource(source.dtype) as WeightSource;
  const scales = new Float32Array(rows);
  const rowBytes = packedRowBytes(columns);
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const packed = new Uint8Array(chunk.rows * rowBytes);
    const sourceBytes = chunk.bytes.length / chunk.rows;
    for (let row = 0; row < chunk.rows; row++) {
      const bytes = chunk.bytes.subarray(row * sourceBytes, (row + 1) * sourceBytes);
      const magnitude = ternaryMagnitude(bytes, kind, columns);
      const piece = { row: chunk.row + row, rows: 1, bytes };
      const one = pack(source, piece, Number.isNaN(magnitude) ? 1 : magnitude || 1);
      if (Number.isNaN(magnitude)) throw notTernary(source);
      packed.set(one, row * rowBytes);
      // Of a row of zeros any scale is right.
      const scale = magnitude === 0 ? Math.fround(SCALE_MIN) : requireScale(source, magnitude, magnitude * factor);
      scales[placeOfRow(chunk.row + row, source.interleavedRows)] = scale;
    }
    await take(chunk.row, inOrder(packed, chunk.rows, source.interleavedRows));
  }
  return scales;
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
  { rows, columns }: Matrix,
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
  form: Exclude<TernaryForm, { kind: "master" | "thresholds" | "quarters" }>,
): Promise<number> {
  const kind = weightSource(source.dtype) as WeightSource;
  let magnitude = 0;
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    if (form.kind !== "I2_S") {
      const found = ternaryMagnitude(chunk.bytes, kind, chunk.rows * storedColumns(source));
      // Packing finds and names a weight that is no number.
      if (Number.isNaN(found)) pack(source, chunk, 1);
      if (Number.isNaN(found) || (found !== 0 && magnitude !== 0 && found !== magnitude)) throw notTernary(source);
      magnitude ||= found;
    }
    await take(chunk.row, inOrder(pack(source, chunk, magnitude || 1), chunk.rows, source.interleavedRows));
  }
  if (form.kind === "I2_S") return form.scale;
  // Of a matrix of zeros any scale is right.
  return magnitude === 0 ? Math.fround(SCALE_MIN) : requireScale(source, magnitude, magnitude * form.factor);
}

function notTernary(source: CheckpointTensor): Failure {
  const fault =
    source.ternary?.kind === "values"
      ? "its weights are not ternary as those at its beginning are: besides 0 they have more magnitudes"
      : "its blocks have several scales, which those at its beginning do not";
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
  { rows, columns }: Matrix,
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
