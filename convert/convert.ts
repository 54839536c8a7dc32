/**
 * A checkpoint in, one packed file out. Tensors pass through one after another in pieces of bounded size, so the memory
 * in use does not depend on the model's size. The same source always gives the same bytes.
 */

import { ALIGNMENT, FORMAT_VERSION } from "../src/engine/symbols.ts";
import { Failure } from "../src/errors.ts";
import { type LayoutEntry, packedLayout, ROUTER_PARTS } from "../src/model_file/layout.ts";
import { encodeModelConfig, type ModelConfig, type WeightScales } from "../src/model_file/model_config.ts";
import { encodeSafetensorsHeader, type TensorEntry, tensorBytes } from "../src/model_file/safetensors.ts";
import type { Checkpoint, SourceOptions } from "./checkpoint.ts";
import { chunkBuffer, namingTensor, partOf, readChunks } from "./chunks.ts";
import { toBfloat16, toFloat32 } from "./floats.ts";
import { openCheckpoint } from "./formats.ts";
import { type Matrix, matrixRowBytes, matrixRows, packLinear } from "./linear.ts";
import { OutputFile } from "./output_file.ts";
import type { CheckpointTensor } from "./source_tensor.ts";
import { type KeptNeurons, keepColumns, keepRows, keepValues, neuronsToKeep } from "./unused_neurons.ts";

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
  /** Whether neurons that are always zero stay in the packed file; they are left out when absent. */
  keepUnusedNeurons?: boolean;
  /** Most bytes of a source tensor in memory at a time, 64 MiB when absent. A row is never split. */
  chunkBytes?: number;
}

/** Large enough that most matrices of a model of 2 G weights are read at once. */
export const CHUNK_BYTES = 64 * 1024 * 1024;

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

/** The layout of a checkpoint's packed file, if all of its neurons stay: no packed file of it is larger. */
export function largestLayout({ config, assets }: Checkpoint): LayoutEntry[] {
  return packedLayout(config, assetSizes(assets));
}

function assetSizes(assets: Map<string, Uint8Array>): Map<string, number> {
  return new Map([...assets].map(([name, bytes]) => [name, bytes.length]));
}

/** The header of a checkpoint's packed file. */
function encodeHeader(
  { assets }: Checkpoint,
  config: ModelConfig,
  { source, hash, leastBytes }: { source: string; hash: string; leastBytes: number },
) {
  const metadata = {
    format: "wrinklefree",
    version: String(FORMAT_VERSION),
    source,
    source_sha256: hash,
    config: encodeModelConfig(config),
  };
  return encodeSafetensorsHeader(metadata, packedLayout(config, assetSizes(assets)), ALIGNMENT, leastBytes);
}

/**
 * The most that a packed file of a checkpoint can take. The source's hash, and how many neurons each layer keeps, are known only at the end
 * of a conversion.
 *
 * @returns the header with its tensors, and how many bytes the file has
 */
export function largestFile(
  checkpoint: Checkpoint,
  source = checkpoint.name,
): { header: Uint8Array; tensors: TensorEntry[]; total: number } {
  const { config } = checkpoint;
  const ffnNeurons = new Array<number>(config.layers).fill(config.intermediateSize);
  const header = encodeHeader(checkpoint, { ...config, ffnNeurons }, { source, hash: "0".repeat(64), leastBytes: 0 });
  const { bytes, tensors } = header;
  return { header: bytes, tensors, total: tensors.at(-1)?.end ?? bytes.length };
}

async function writePackedFile(checkpoint: Checkpoint, output: string, options: ConversionOptions): Promise<void> {
  const { config, tensors } = checkpoint;
  const source = options.name ?? checkpoint.name;
  const { header, total } = largestFile(checkpoint, source);
  const file = new OutputFile(output, total, options.replace ?? false);
  try {
    const conversion: Conversion = {
      file,
      hash: new Bun.CryptoHasher("sha256"),
      buffer: chunkBuffer(checkpoint, options.chunkBytes ?? CHUNK_BYTES),
      position: header.length,
      async step() {
        options.onProgress?.({ done: this.position, total });
        // Lets a signal's handler run: everything else here is synchronous.
        await new Promise(setImmediate);
        if (options.signal?.aborted) throw new Failure(`${output}: interrupted, nothing was written`);
      },
    };
    const { hash } = conversion;
    for (const [name, bytes] of checkpoint.assets) hash.update(`${name} ${bytes.length}\n`).update(bytes);
    const neurons: number[] = [];
    for (const entry of largestLayout(checkpoint)) {
      const tensor = tensors.get(entry.name) as CheckpointTensor;
      const isFeedForward = FEED_FORWARD.test(entry.name) && mayLeaveOutNeurons(config);
      if (isFeedForward && entry.name.endsWith(GATE)) {
        const kept = await convertFeedForward(conversion, entry.name.slice(0, -GATE.length), checkpoint, options);
        neurons.push(kept?.length ?? config.intermediateSize);
      } else if (isFeedForward) continue;
      else if (entry.kind === "asset") append(conversion, assetOf(checkpoint, entry), tensorBytes(entry));
      else if (entry.kind === "norm") appendFloats(conversion, readNorm(conversion, tensor), 16);
      else if (entry.kind === "router") convertRouter(conversion, tensor, tensorBytes(entry));
      else if (entry.kind === "embedding") await convertEmbedding(conversion, tensor, tensorBytes(entry));
      else if (entry.kind === "ternary") await convertLinear(conversion, tensor, matrixOf(entry, config));
      await conversion.step();
    }
    const isSmaller = neurons.some((count) => count !== config.intermediateSize);
    const final = isSmaller ? { ...config, ffnNeurons: neurons } : config;
    const written = { source, hash: hash.digest("hex"), leastBytes: header.length };
    file.write(0, encodeHeader(checkpoint, final, written).bytes);
    options.onProgress?.({ done: total, total });
    file.commit();
  } finally {
    file.discard();
  }
}

/** The end of the name of a layer's gate projection, with which its FFN begins, and the tensors that belong to one. */
const GATE = "gate_proj.weight";
const FEED_FORWARD = /\.mlp\./;

/** Whether neurons that are always zero can be left out: where rows are nothing but codes, and columns belong to no norm. */
function mayLeaveOutNeurons({ scales, inputNorms, gated, experts }: ModelConfig): boolean {
  return scales === undefined && !inputNorms && gated !== false && experts === undefined;
}

/** A conversion under way. */
interface Conversion {
  file: OutputFile;
  /** Takes every source byte once, in the packed file's order. */
  hash: Bun.CryptoHasher;
  /** Where all pieces are read to: a new buffer for each would cost more than the reading. */
  buffer: Uint8Array;
  /** Where the next tensor begins. */
  position: number;
  /** To be called after every piece. */
  step(): Promise<void>;
}

/** Writes a tensor, with zeros behind it up to its size. */
function append(conversion: Conversion, bytes: Uint8Array, size = bytes.length): void {
  conversion.file.write(conversion.position, bytes);
  if (size > bytes.length)
    conversion.file.write(conversion.position + bytes.length, new Uint8Array(size - bytes.length));
  conversion.position += size;
}

/** Writes a tensor of floats, with zeros behind them up to a multiple of `multiple` elements. */
function appendFloats(conversion: Conversion, values: Float32Array, multiple: number): void {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  append(conversion, bytes, 4 * multiple * Math.ceil(values.length / multiple));
}

function assetOf({ assets }: Checkpoint, { name }: LayoutEntry): Uint8Array {
  return assets.get(name.slice("assets/".length)) as Uint8Array;
}

/** A matrix at its place in the file. */
interface PlacedMatrix extends Matrix {
  name: string;
  /** Of its rows, with those of zeros that pad it. */
  bytes: number;
  /** How many matrices it consists of. */
  experts: number;
}

function matrixOf(entry: LayoutEntry, { scales }: ModelConfig): PlacedMatrix {
  const { name, source, group } = entry;
  const { rows, columns } = source as { rows: number; columns: number };
  const own = group === undefined ? (scales ?? "matrix") : (String(group) as WeightScales);
  return { name, bytes: tensorBytes(entry), rows, columns, scales: own, experts: entry.experts ?? 1 };
}

function readNorm({ hash, buffer }: Conversion, source: CheckpointTensor): Float32Array {
  const [chunk] = [...readChunks(source, buffer)];
  if (chunk === undefined) return new Float32Array();
  hash.update(chunk.bytes);
  // A copy: the buffer is used again.
  const values = namingTensor(source, chunk, () => toFloat32(chunk.bytes, source.dtype)).slice();
  for (let index = 0; source.addend !== 0 && index < values.length; index++) {
    values[index] = (values[index] as number) + source.addend;
  }
  return values;
}

async function convertEmbedding(conversion: Conversion, source: CheckpointTensor, size: number): Promise<void> {
  const end = conversion.position + size;
  for (const chunk of readChunks(source, conversion.buffer)) {
    conversion.hash.update(chunk.bytes);
    append(
      conversion,
      namingTensor(source, chunk, () => toBfloat16(chunk.bytes, source.dtype)),
    );
    await conversion.step();
  }
  append(conversion, new Uint8Array(end - conversion.position));
}

/** Writes a router's weights as sums of bf16: the first parts of all, then what those leave, and what is left then. */
function convertRouter(conversion: Conversion, source: CheckpointTensor, size: number): void {
  const rest = readNorm(conversion, { ...source, shape: [source.shape.reduce((count, length) => count * length, 1)] });
  const end = conversion.position + size;
  for (let part = 0; part < ROUTER_PARTS; part++) {
    const bytes = toBfloat16(new Uint8Array(rest.buffer), "F32");
    append(conversion, bytes);
    const values = toFloat32(bytes, "BF16");
    for (const [index, value] of values.entries()) rest[index] = (rest[index] as number) - value;
  }
  append(conversion, new Uint8Array(end - conversion.position));
}

/** Packs a matrix, or those of all experts, and its scales straight into the file. */
async function convertLinear(conversion: Conversion, source: CheckpointTensor, matrix: PlacedMatrix): Promise<void> {
  const { file, hash, buffer, position: begin } = conversion;
  const rowBytes = matrixRowBytes(matrix);
  const take = async (row: number, packed: Uint8Array) => {
    file.write(begin + row * rowBytes, packed);
    conversion.position = Math.max(conversion.position, begin + row * rowBytes + packed.length);
    await conversion.step();
  };
  const scales: number[] = [];
  const rows = matrix.rows / matrix.experts;
  for (let expert = 0; expert < matrix.experts; expert++) {
    const one = matrix.experts === 1 ? source : partOf(source, expert, rows);
    const first = expert * matrixRows({ ...matrix, rows });
    const placed = { hash, buffer, take: (row: number, packed: Uint8Array) => take(first + row, packed) };
    scales.push(...(await packLinear(one, { ...matrix, rows }, placed)));
  }
  if (VOCABULARY.test(matrix.name)) append(conversion, new Uint8Array(begin + matrix.bytes - conversion.position));
  else appendFloats(conversion, Float32Array.from(scales), 16);
}

/** An embedding or a head has no scale but those of its groups, and is padded with rows of zeros. */
const VOCABULARY = /^(model\.embed_tokens|lm_head)\./;

/**
 * Packs a layer's FFN. Its gate and up projections are held in memory, so that it is known which neurons are always zero before any is
 * written.
 *
 * @param prefix of the names of its tensors
 * @returns the neurons that were kept; null when all were
 */
async function convertFeedForward(
  conversion: Conversion,
  prefix: string,
  { config, tensors }: Checkpoint,
  options: ConversionOptions,
): Promise<KeptNeurons | null> {
  const { hiddenSize: hidden, intermediateSize: neurons } = config;
  const tensor = (name: string) => tensors.get(`${prefix}${name}.weight`) as CheckpointTensor;
  const into: Matrix = { rows: neurons, columns: hidden, scales: "matrix" };
  const gate = await packInMemory(conversion, tensor("gate_proj"), into);
  const up = await packInMemory(conversion, tensor("up_proj"), into);
  const kept = options.keepUnusedNeurons ? null : neuronsToKeep(gate.packed, up.packed, neurons);
  for (const { packed, scales } of [gate, up]) {
    append(conversion, kept === null ? packed : keepRows(packed, neurons, kept));
    appendFloats(conversion, scales, 16);
  }
  if (config.subNorms) {
    const norm = readNorm(conversion, tensor("ffn_sub_norm"));
    appendFloats(conversion, kept === null ? norm : keepValues(norm, kept), 16);
  }
  const size: Matrix = { rows: hidden, columns: neurons, scales: "matrix" };
  if (kept === null)
    await convertLinear(conversion, tensor("down_proj"), {
      ...size,
      name: "down_proj",
      bytes: hidden * matrixRowBytes(size),
      experts: 1,
    });
  else {
    const down = await packInMemory(conversion, tensor("down_proj"), size);
    append(conversion, keepColumns(down.packed, hidden, kept));
    appendFloats(conversion, down.scales, 16);
  }
  return kept;
}

async function packInMemory(
  conversion: Conversion,
  source: CheckpointTensor,
  matrix: Matrix,
): Promise<{ packed: Uint8Array; scales: Float32Array }> {
  const { hash, buffer } = conversion;
  const rowBytes = matrixRowBytes(matrix);
  const packed = new Uint8Array(matrix.rows * rowBytes);
  const take = async (row: number, piece: Uint8Array) => {
    packed.set(piece, row * rowBytes);
    await conversion.step();
  };
  return { packed, scales: await packLinear(source, matrix, { hash, buffer, take }) };
}
