/**
 * A checkpoint in, one packed file out. Tensors pass through one after another in pieces of bounded size, so the memory
 * in use does not depend on the model's size. The same source always gives the same bytes.
 */

import { packRows, sumOfMagnitudes } from "../src/engine/library.ts";
import { ALIGNMENT, FORMAT_VERSION } from "../src/engine/symbols.ts";
import { Failure } from "../src/errors.ts";
import { type LayoutEntry, packedLayout } from "../src/model_file/layout.ts";
import { encodeModelConfig } from "../src/model_file/model_config.ts";
import { encodeSafetensorsHeader, type TensorEntry, tensorFailure } from "../src/model_file/safetensors.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { toBfloat16, toFloat32 } from "./floats.ts";
import { OutputFile } from "./output_file.ts";
import type { SourceTensor } from "./source_tensor.ts";

/** How far a conversion is. */
export interface ConversionProgress {
  /** Bytes of the packed file that are written. */
  done: number;
  /** Bytes that it will have. */
  total: number;
}

/** What a caller may ask of a conversion. */
export interface ConversionOptions {
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
 * Converts a Hugging Face checkpoint to a packed file.
 *
 * @param directory the checkpoint
 * @param output where the packed file will be
 * @throws Failure, one line; nothing is left behind then
 */
export async function convertCheckpoint(
  directory: string,
  output: string,
  options: ConversionOptions = {},
): Promise<void> {
  const checkpoint = openCheckpoint(directory);
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
      source: checkpoint.name,
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
    const buffer = new Uint8Array(Math.max(options.chunkBytes ?? CHUNK_BYTES, largestRow(checkpoint)));
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

/** Bytes of the longest row of any tensor of a checkpoint. */
function largestRow({ tensors }: Checkpoint): number {
  return Math.max(...[...tensors.values()].map(rowBytes));
}

/** Bytes of a row of a matrix; all bytes of anything else. */
function rowBytes({ shape, bytes }: SourceTensor): number {
  return bytes / rowCount(shape);
}

function rowCount(shape: number[]): number {
  return shape.length === 2 ? (shape[0] as number) : 1;
}

/** Reads a tensor in pieces of whole rows, all into the same buffer: a piece is gone when the next one is read. */
function* readChunks(source: SourceTensor, buffer: Uint8Array): Generator<Chunk> {
  const rows = rowCount(source.shape);
  const stride = rowBytes(source);
  const chunkRows = Math.floor(buffer.length / stride);
  for (let row = 0; row < rows; row += chunkRows) {
    const count = Math.min(chunkRows, rows - row);
    const bytes = buffer.subarray(0, count * stride);
    source.read(row * stride, bytes);
    yield { row, rows: count, bytes };
  }
}

function copyAsset({ checkpoint, file }: Conversion, entry: LayoutEntry, target: TensorEntry): void {
  const padded = new Uint8Array(target.end - target.begin);
  padded.set(checkpoint.assets.get(entry.name.slice("assets/".length)) as Uint8Array);
  file.write(target.begin, padded);
}

function convertNorm({ checkpoint, file, hash, buffer }: Conversion, entry: LayoutEntry, target: TensorEntry): void {
  const source = checkpoint.tensors.get(entry.name) as SourceTensor;
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
  const source = checkpoint.tensors.get(entry.name) as SourceTensor;
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
  if (conversion.checkpoint.weights === "master") return await quantiseLinear(conversion, entry, target);
  await repackLinear(conversion, entry, target);
  return readScale(conversion, entry);
}

/** Master weights: one pass for the mean magnitude, which is the scale, and one to quantise. */
async function quantiseLinear(conversion: Conversion, entry: LayoutEntry, target: TensorEntry): Promise<number> {
  const { checkpoint, file, hash, buffer, step } = conversion;
  const source = checkpoint.tensors.get(entry.name) as SourceTensor;
  const kind = masterKinds[source.dtype as keyof typeof masterKinds];
  const { rows, columns } = entry.source as { rows: number; columns: number };
  const packedBytes = entry.shape[1] as number;
  const pack = (chunk: Chunk, scale: number) => {
    const packed = new Uint8Array(chunk.rows * packedBytes);
    namingTensor(source, chunk, () => packRows(chunk.bytes, kind, chunk.rows, columns, scale, packed));
    return packed;
  };
  let sum = 0;
  let last: Chunk | undefined;
  for (const chunk of readChunks(source, buffer)) {
    hash.update(chunk.bytes);
    const chunkSum = sumOfMagnitudes(chunk.bytes, kind, chunk.rows * columns);
    // Packing finds and names the weight at fault.
    if (!Number.isFinite(chunkSum)) pack(chunk, 1);
    sum += chunkSum;
    last = chunk;
  }
  const scale = Math.fround(Math.max(sum / (rows * columns), SCALE_MIN));
  // What came in one piece is still in the buffer.
  const chunks = last?.row === 0 ? [last] : readChunks(source, buffer);
  for (const chunk of chunks) {
    const packed = pack(chunk, scale);
    const position = target.begin + chunk.row * packedBytes;
    file.write(position, packed);
    await step(position + packed.length);
  }
  return scale;
}

/** Packed weights: row r of the source holds rows r, r + out/4, r + out/2 and r + 3·out/4, two bits of each byte for each. */
async function repackLinear(conversion: Conversion, entry: LayoutEntry, target: TensorEntry): Promise<void> {
  const { checkpoint, file, hash, buffer, step } = conversion;
  const source = checkpoint.tensors.get(entry.name) as SourceTensor;
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

/** The scale of a packed source, as a factor to multiply by. */
function readScale({ checkpoint, hash, buffer }: Conversion, entry: LayoutEntry): number {
  const source = checkpoint.tensors.get(`${entry.name}_scale`) as SourceTensor;
  const [chunk] = [...readChunks(source, buffer)] as [Chunk];
  hash.update(chunk.bytes);
  const [stored] = namingTensor(source, chunk, () => toFloat32(chunk.bytes, source.dtype)) as unknown as [number];
  const scale = Math.fround(checkpoint.weights === "packed, divide" ? 1 / stored : stored);
  if (!(scale > 0 && Number.isFinite(scale))) {
    throw tensorFailure(source.file, source.name, `${stored} is no scale: a finite number above 0 is needed`);
  }
  return scale;
}

function writeScale({ file }: Conversion, target: TensorEntry, scale: number): void {
  const padded = new Float32Array((target.end - target.begin) / 4);
  padded[0] = scale;
  file.write(target.begin, new Uint8Array(padded.buffer));
}

/** What the library calls the dtypes of master weights. */
const masterKinds = { F32: "f32", F16: "f16", BF16: "bf16" } as const;

/** Names the file and the tensor in whatever fault `work` finds in its bytes. */
function namingTensor<Result>({ file, name }: SourceTensor, chunk: Chunk, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    const place = chunk.row > 0 ? ` (rows counted from row ${chunk.row})` : "";
    throw tensorFailure(file, name, `${(error as Error).message}${place}`);
  }
}
