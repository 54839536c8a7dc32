/**
 * A checkpoint in, one packed file out. Tensors pass through one after another in pieces of bounded size, so the memory
 * in use does not depend on the model's size. The same source always gives the same bytes.
 */

import { packRows, sumOfMagnitudes, ternaryMagnitude, type WeightSource } from "../src/engine/library.ts";
import { ALIGNMENT, FORMAT_VERSION } from "../src/engine/symbols.ts";
import { Failure } from "../src/errors.ts";
import { type LayoutEntry, packedLayout, packedRowBytes } from "../src/model_file/layout.ts";
import { encodeModelConfig } from "../src/model_file/model_config.ts";
import { encodeSafetensorsHeader, type TensorEntry, tensorFailure } from "../src/model_file/safetensors.ts";
import type { Checkpoint, SourceOptions } from "./checkpoint.ts";
import { encodedBytes, inseparableRows, storedColumns, storedRows, weightSource } from "./encodings.ts";
import { toBfloat16, toFloat32 } from "./floats.ts";
import { openCheckpoint } from "./formats.ts";
import { requireScale } from "./match_tensors.ts";
import { OutputFile } from "./output_file.ts";
import type { CheckpointTensor, TernaryForm } from "./source_tensor.ts";

/** How far a conversion is. */
export interface ConversionProgress {
  /** Bytes of the packed file that are written. */
  done: number;
  /** Bytes that it will have. */
  total: number;
}

/** What a caller may ask of a conversion. */
export interface ConversionOptions extends SourceOptions {
  /** What the packed file says that it was made from; the source's own name when absent. */
  name?: string;
  /** Called after every piece. */
  onProgress?: (progress: ConversionProgress) => void;
  /** Called at the end with each thing that a person should know, one line. */
  onNotice?: (notice: string) => void;
  /** Whether an output that exists may be replaced; refused when absent. */
  replace?: boolean;
  /** Ends the conversion at the next piece; the promise is then rejected with a Failure. */
  signal?: AbortSignal;
  /** Most bytes of a source tensor in memory at a time, 64 MiB when absent. A row is never split. */
  chunkBytes?: number;
}

/** Large enough that most matrices of a model of 2 G weights are read at once. */
const CHUNK_BYTES = 64 * 1024 * 1024;

/** The scale below which a matrix counts as zero, from the training code of BitNet b1.58. */
const SCALE_MIN = 1e-5;

/**
 * Converts a checkpoint to a packed file.
 *
 * @param source a Hugging Face directory, a GGUF file or a file of the original system
 * @param output where the packed file will be
 * @throws Failure, one line; nothing is left behind then
 */
export async function convertCheckpoint(
  source: string,
  output: string,
  options: ConversionOptions = {},
): Promise<void> {
  const checkpoint = openCheckpoint(source, options);
  try {
    await writePackedFile(checkpoint, output, options);
    for (const notice of checkpoint.notices) options.onNotice?.(notice);
  } finally {
    checkpoint.close();
  }
}

async function writePackedFile(checkpoint: Checkpoint, output: string, options: ConversionOptions): Promise<void> {
  const assetSizes = new Map([...checkpoint.assets].map(([name, bytes]) => [name, bytes.length]));
  const layout = packedLayout(checkpoint.config, assetSizes);
  const header = (sourceHash: string) => {
    const metadata = {
      format: "wrinklefree",
      version: String(FORMAT_VERSION),
      source: options.name ?? checkpoint.name,
      source_sha256: sourceHash,
      config: encodeModelConfig(checkpoint.config),
    };
    return encodeSafetensorsHeader(metadata, layout, ALIGNMENT);
  };
  // The hash is known only at the end; its length is known now.
  const { bytes: placeholder, tensors } = header("0".repeat(64));
  const total = tensors.at(-1)?.end ?? placeholder.length;

  const file = new OutputFile(output, total, options.replace ?? false);
  try {
    const hash = new Bun.CryptoHasher("sha256");
    for (const [name, bytes] of checkpoint.assets) hash.update(`${name} ${bytes.length}\n`).update(bytes);
    const step = async (done: number) => {
      options.onProgress?.({ done, total });
      // Lets a signal's handler run: everything else here is synchronous.
      await new Promise(setImmediate);
      if (options.signal?.aborted) throw new Failure(`${output}: interrupted, nothing was written`);
    };
    const buffer = new Uint8Array(Math.max(options.chunkBytes ?? CHUNK_BYTES, largestPiece(checkpoint)));
    const conversion: Conversion = { checkpoint, file, hash, buffer, step };
    let scale = 0;
    for (const [index, entry] of layout.entries()) {
      const target = tensors[index] as TensorEntry;
      if (entry.kind === "asset") copyAsset(conversion, entry, target);
      else if (entry.kind === "norm") convertNorm(conversion, entry, target);
      else if (entry.kind === "embedding") await convertEmbedding(conversion, entry, target);
      else if (entry.kind === "ternary") scale = await convertLinear(conversion, entry, target);
      else writeScale(conversion, target, scale);
      await step(target.end);
    }
    file.write(0, header(hash.digest("hex")).bytes);
    file.commit();
  } finally {
    file.discard();
  }
}

/** What the conversion of one tensor needs. */
interface Conversion {
  checkpoint: Checkpoint;
  file: OutputFile;
  /** Takes every source byte once, in the packed file's order. */
  hash: Bun.CryptoHasher;
  /** Where all pieces are read to: a new buffer for each would cost more than the reading. */
  buffer: Uint8Array;
  /** To be called after every piece, with the end of what is written. */
  step: (done: number) => Promise<void>;
}

/** A piece of a source tensor. */
interface Chunk {
  /** The first row in it. */
  row: number;
  rows: number;
  bytes: Uint8Array;
}

/** Bytes of the longest rows that cannot be read one by one, of any tensor of a checkpoint. */
function largestPiece({ tensors }: Checkpoint): number {
  return Math.max(...[...tensors.values()].map((tensor) => rowsBytes(tensor, inseparableRows(tensor))));
}

/** Bytes of some of a tensor's rows, as it is stored. */
function rowsBytes(tensor: CheckpointTensor, rows: number): number {
  return encodedBytes(tensor.dtype, rows * storedColumns(tensor));
}

/** Reads a tensor in pieces of whole rows, all into the same buffer: a piece is gone when the next one is read. */
function* readChunks(source: CheckpointTensor, buffer: Uint8Array): Generator<Chunk> {
  const rows = storedRows(source);
  const unit = inseparableRows(source);
  const chunkRows = Math.floor(buffer.length / rowsBytes(source, unit)) * unit;
  for (let row = 0; row < rows; row += chunkRows) {
    const count = Math.min(chunkRows, rows - row);
    const bytes = buffer.subarray(0, rowsBytes(source, count));
    source.read(rowsBytes(source, row), bytes);
    yield { row, rows: count, bytes };
  }
}

function copyAsset({ checkpoint, file }: Conversion, entry: LayoutEntry, target: TensorEntry): void {
  const padded = new Uint8Array(target.end - target.begin);
  padded.set(checkpoint.assets.get(entry.name.slice("assets/".length)) as Uint8Array);
  file.write(target.begin, padded);
}

function convertNorm({ checkpoint, file, hash, buffer }: Conversion, entry: LayoutEntry, target: TensorEntry): void {
  const source = checkpoint.tensors.get(entry.name) as CheckpointTensor;
  const padded = new Float32Array((target.end - target.begin) / 4);
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    padded.set(namingTensor(source, chunk, () => toFloat32(chunk.bytes, source.dtype)));
  }
  file.write(target.begin, new Uint8Array(padded.buffer));
}

async function convertEmbedding(
  { checkpoint, file, hash, buffer, step }: Conversion,
  entry: LayoutEntry,
  target: TensorEntry,
) {
  const source = checkpoint.tensors.get(entry.name) as CheckpointTensor;
  let position = target.begin;
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const converted = namingTensor(source, chunk, () => toBfloat16(chunk.bytes, source.dtype));
    file.write(position, converted);
    position += converted.length;
    await step(position);
  }
  file.write(position, new Uint8Array(target.end - position));
}

/**
 * Packs one linear layer's weights.
 *
 * @returns the scale to multiply by, which the layout's next entry holds
 */
async function convertLinear(conversion: Conversion, entry: LayoutEntry, target: TensorEntry): Promise<number> {
  const source = conversion.checkpoint.tensors.get(entry.name) as CheckpointTensor;
  const form = source.ternary as TernaryForm;
  const scale =
    form.kind === "master"
      ? await quantiseLinear(conversion, entry, target, source)
      : form.kind === "quarters"
        ? await splitLinear(conversion, entry, target, source, form.scale)
        : await repackLinear(conversion, entry, target, source, form);
  conversion.hash.update(Float32Array.of(scale));
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
async function quantiseLinear(
  { file, hash, buffer, step }: Conversion,
  entry: LayoutEntry,
  target: TensorEntry,
  source: CheckpointTensor,
): Promise<number> {
  const kind = weightSource(source.dtype) as WeightSource;
  const { rows, columns } = entry.source as { rows: number; columns: number };
  const packedBytes = entry.shape[1] as number;
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
  for (const chunk of chunks) {
    const packed = pack(source, chunk, scale);
    const position = target.begin + chunk.row * packedBytes;
    file.write(position, packed);
    await step(position + packed.length);
  }
  return scale;
}

/** Weights that are ternary already: their codes are taken as they are, and the scale as it is, or as it is found in them. */
async function repackLinear(
  { file, hash, buffer, step }: Conversion,
  entry: LayoutEntry,
  target: TensorEntry,
  source: CheckpointTensor,
  form: Exclude<TernaryForm, { kind: "master" | "quarters" }>,
): Promise<number> {
  const kind = weightSource(source.dtype) as WeightSource;
  const packedBytes = entry.shape[1] as number;
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
    const packed = inOrder(pack(source, chunk, magnitude || 1), packedBytes, source.interleavedRows);
    const position = target.begin + chunk.row * packedBytes;
    file.write(position, packed);
    await step(position + packed.length);
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

/** Brings the rows of whole heads from the order in which rotated ones are neighbours to that in which they are half a head apart. */
function inOrder(packed: Uint8Array, rowBytes: number, headRows: number): Uint8Array {
  if (headRows === 1) return packed;
  const ordered = new Uint8Array(packed.length);
  for (let row = 0; row < packed.length / rowBytes; row++) {
    const within = row % headRows;
    const place = row - within + (within % 2) * (headRows / 2) + Math.floor(within / 2);
    ordered.set(packed.subarray(row * rowBytes, (row + 1) * rowBytes), place * rowBytes);
  }
  return ordered;
}

/** Four weights of a column in a byte: row r of the source holds rows r, r + out/4, r + out/2 and r + 3·out/4. */
async function splitLinear(
  { file, hash, buffer, step }: Conversion,
  entry: LayoutEntry,
  target: TensorEntry,
  source: CheckpointTensor,
  scale: number,
): Promise<number> {
  const { rows, columns } = entry.source as { rows: number; columns: number };
  const packedBytes = entry.shape[1] as number;
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const packed = new Uint8Array(chunk.rows * packedBytes);
    for (let quarter = 0; quarter < 4; quarter++) {
      const codes = unpackCodes(chunk.bytes, 2 * quarter);
      namingTensor(source, chunk, () => packRows(codes, "codes", chunk.rows, columns, 1, packed));
      file.write(target.begin + (quarter * (rows / 4) + chunk.row) * packedBytes, packed);
    }
    await step(target.begin + 4 * (chunk.row + chunk.rows) * packedBytes);
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

function writeScale({ file }: Conversion, target: TensorEntry, scale: number): void {
  const padded = new Float32Array((target.end - target.begin) / 4);
  padded[0] = scale;
  file.write(target.begin, new Uint8Array(padded.buffer));
}

/** Names the file and the tensor in whatever fault `work` finds in its bytes. */
function namingTensor<Result>({ file, name }: CheckpointTensor, chunk: Chunk, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    const place = chunk.row > 0 ? ` (rows counted from row ${chunk.row})` : "";
    throw tensorFailure(file, name, `${(error as Error).message}${place}`);
  }
}
