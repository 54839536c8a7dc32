/**
 * Compares a packed file with what it was made from: every code, scale, norm and embedding. Codes are decoded by other means than those
 * that packed them.
 */

import { Failure } from "../src/errors.ts";
import { type ByteSource, openByteSource } from "../src/model_file/byte_source.ts";
import { type LayoutEntry, packedRowBytes, ROUTER_PARTS } from "../src/model_file/layout.ts";
import { type PackedModel, readPackedModel } from "../src/model_file/packed.ts";
import { type TensorEntry, tensorFailure } from "../src/model_file/safetensors.ts";
import type { Checkpoint, SourceOptions } from "./checkpoint.ts";
import { chunkBuffer, partOf, readChunks } from "./chunks.ts";
import { CHUNK_BYTES, type ConversionProgress, largestLayout } from "./convert.ts";
import { storedColumns } from "./encodings.ts";
import { toBfloat16, toFloat32 } from "./floats.ts";
import { openCheckpoint } from "./formats.ts";
import { placeOfRow, SCALE_MIN, THRESHOLD } from "./linear.ts";
import {
  codesOfBlocks,
  codesOfPacked,
  codesOfQuarter,
  codesOfValues,
  rowsOfPanels,
  valuesOfBlocks,
} from "./plain_codes.ts";
import type { CheckpointTensor, Encoding, TernaryForm } from "./source_tensor.ts";
import { type KeptNeurons, placeNeurons } from "./unused_neurons.ts";

/** What a caller may ask of a comparison. */
export interface VerificationOptions extends SourceOptions {
  /** Called after every tensor. */
  onProgress?: (progress: ConversionProgress) => void;
  /** Ends the comparison; the promise is then rejected with a Failure. */
  signal?: AbortSignal;
}

/** What was compared. */
export interface Verification {
  /** Codes of ternary weights. */
  codes: number;
  /** Scales of matrices. */
  scales: number;
  /** Values of norms and embeddings. */
  values: number;
}

/** A sum of magnitudes in another order is another one, in its last bits; as fp32 it may be the neighbour. */
const MEAN_TOLERANCE = 2 ** -22;

/**
 * Compares a packed file with its source.
 *
 * @returns how much was compared
 * @throws Failure naming the first tensor that differs, and where
 */
export async function verifyConversion(
  source: string,
  output: string,
  options: VerificationOptions = {},
): Promise<Verification> {
  const packed = await readPackedModel(output);
  const checkpoint = openCheckpoint(source, options);
  const file = openByteSource(output);
  try {
    return await new Comparison(checkpoint, packed, file).run(options);
  } finally {
    file.close();
    checkpoint.close();
  }
}

class Comparison {
  private readonly buffer: Uint8Array;
  private readonly entries: Map<string, TensorEntry>;
  private readonly done: Verification = { codes: 0, scales: 0, values: 0 };

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly packed: PackedModel,
    private readonly file: ByteSource,
  ) {
    this.buffer = chunkBuffer(checkpoint, CHUNK_BYTES);
    this.entries = new Map(packed.tensors.map((entry) => [entry.name, entry]));
  }

  async run({ onProgress, signal }: VerificationOptions): Promise<Verification> {
    const layout = largestLayout(this.checkpoint);
    const total = this.packed.bytes;
    let done = 0;
    let kept: KeptNeurons | null = null;
    for (const entry of layout) {
      if (entry.kind === "asset") this.compareAsset(entry);
      else if (entry.kind === "norm") this.compareNorm(entry, entry.name.includes(".mlp.") ? kept : null);
      else if (entry.kind === "embedding") this.compareEmbedding(entry);
      else if (entry.kind === "router") this.compareRouter(entry);
      else if (entry.kind === "ternary") {
        if (entry.name.endsWith(".gate_proj.weight")) kept = this.keptNeurons(entry);
        this.compareMatrix(entry, kept);
      }
      const found = this.entries.get(entry.name);
      done += found === undefined ? 0 : found.end - found.begin;
      onProgress?.({ done, total });
      // Lets a signal's handler run: everything else here is synchronous.
      await new Promise(setImmediate);
      if (signal?.aborted) throw new Failure(`${this.packed.path}: interrupted before all of it was compared`);
    }
    return this.done;
  }

  private fault(entry: LayoutEntry, fault: string): Failure {
    return tensorFailure(this.file, entry.name, `${fault}; the conversion went wrong, or the file is damaged`);
  }

  private source(entry: LayoutEntry): CheckpointTensor {
    return this.checkpoint.tensors.get(entry.name) as CheckpointTensor;
  }

  /** Bytes of a tensor of the packed file. */
  private read(name: string, offset = 0, length?: number): Uint8Array {
    const { begin, end } = this.entries.get(name) as TensorEntry;
    const bytes = new Uint8Array(length ?? end - begin);
    this.file.read(begin + offset, bytes);
    return bytes;
  }

  private compareAsset(entry: LayoutEntry): void {
    const expected = this.checkpoint.assets.get(entry.name.slice("assets/".length)) as Uint8Array;
    if (Buffer.compare(this.read(entry.name).subarray(0, expected.length), expected) !== 0) {
      throw this.fault(entry, "it differs from the source's file");
    }
  }

  private compareNorm(entry: LayoutEntry, kept: KeptNeurons | null): void {
    const found = new Float32Array(this.read(entry.name).buffer);
    const source = this.source(entry);
    const [chunk] = [...readChunks(source, this.buffer)];
    const stored = toFloat32(chunk?.bytes as Uint8Array, source.dtype);
    const values = source.addend === 0 ? stored : stored.map((value) => value + source.addend);
    const expected = kept === null ? values : Float32Array.from(kept, (neuron) => values[neuron] ?? 0);
    const index = expected.findIndex((value, place) => value !== found[place]);
    if (index >= 0) throw this.fault(entry, `element ${index} is ${found[index]}, not ${expected[index]}`);
    this.done.values += expected.length;
  }

  private compareEmbedding(entry: LayoutEntry): void {
    const source = this.source(entry);
    const columns = storedColumns(source);
    for (const chunk of readChunks(source, this.buffer)) {
      const expected = toBfloat16(chunk.bytes, source.dtype);
      const found = this.read(entry.name, chunk.row * columns * 2, expected.length);
      if (Buffer.compare(found, expected) !== 0) {
        const index = found.findIndex((byte, place) => byte !== expected[place]) >> 1;
        throw this.fault(entry, `row ${chunk.row + Math.floor(index / columns)}, column ${index % columns} differs`);
      }
      this.done.values += expected.length / 2;
    }
  }

  /** A router's weights are the sums of their parts. */
  private compareRouter(entry: LayoutEntry): void {
    const source = this.source(entry);
    const [chunk] = [...readChunks(source, this.buffer)];
    const expected = toFloat32(chunk?.bytes as Uint8Array, source.dtype);
    const parts = toFloat32(this.read(entry.name), "BF16");
    for (const [index, value] of expected.entries()) {
      let sum = 0;
      for (let part = ROUTER_PARTS - 1; part >= 0; part--) sum += parts[part * expected.length + index] as number;
      if (sum !== value) throw this.fault(entry, `weight ${index} is ${sum}, not ${value}`);
    }
    this.done.values += expected.length;
  }

  /** The neurons that the packed file should have; null where it has all. */
  private keptNeurons(gate: LayoutEntry): KeptNeurons | null {
    const { intermediateSize, ffnNeurons } = this.packed.config;
    const layer = Number(/\d+/.exec(gate.name)?.[0]);
    if ((ffnNeurons?.[layer] ?? intermediateSize) === intermediateSize) return null;
    const used = new Array<boolean>(intermediateSize).fill(true);
    for (const name of [gate.name, gate.name.replace("gate_proj", "up_proj")]) {
      const source = this.checkpoint.tensors.get(name) as CheckpointTensor;
      const isUsed = new Array<boolean>(intermediateSize).fill(false);
      this.decode(source, (row, codes) => {
        if (codes.some((code) => code !== 1)) isUsed[row] = true;
      });
      for (const [row, value] of isUsed.entries()) used[row] &&= value;
    }
    const kept = placeNeurons(used);
    if (kept?.length === ffnNeurons?.[layer]) return kept;
    throw this.fault(gate, `it has ${ffnNeurons?.[layer]} rows, not ${kept?.length ?? intermediateSize}`);
  }

  /** The rows of a tensor of the packed file, without those that fill up panels. */
  private rowsOf(entry: LayoutEntry): Uint8Array {
    const { rows, columns } = entry.source as { rows: number; columns: number };
    const rowBytes = entry.shape[1] as number;
    if (entry.group === undefined) return this.read(entry.name);
    const experts = entry.experts ?? 1;
    const height = rows / experts;
    const bytes = ((entry.shape[0] as number) / experts) * rowBytes;
    const separate = new Uint8Array(rows * rowBytes);
    for (let expert = 0; expert < experts; expert++) {
      const panels = this.read(entry.name, expert * bytes, bytes);
      separate.set(rowsOfPanels(panels, height, rowBytes, packedRowBytes(columns)), expert * height * rowBytes);
    }
    return separate;
  }

  /** Values of a matrix that is ternary by groups or by rows: each is its code times the scale that stands for it. */
  private compareValues(entry: LayoutEntry): void {
    const { rows, columns } = entry.source as { rows: number; columns: number };
    const rowBytes = entry.shape[1] as number;
    const stored = this.rowsOf(entry);
    const codes = codesOfPacked(stored, rows, columns, rowBytes);
    const halves = new Float16Array(stored.buffer, stored.byteOffset, stored.length / 2);
    const scalesAt = packedRowBytes(columns);
    const rowScales =
      entry.group === undefined
        ? new Float32Array(this.read(entry.name.replace(/weight$/, "row_scales")).buffer)
        : undefined;
    const factor = this.factorOf(entry);
    const source = this.source(entry);
    const scaleOf = (row: number, column: number): number => {
      if (rowScales !== undefined) return rowScales[row] as number;
      const place = (row * rowBytes + scalesAt) / 2 + Math.floor(column / (entry.group as number));
      return halves[place] as number;
    };
    if (source.ternary?.kind === "thresholds") {
      this.compareThresholds(entry, codes, rowScales as Float32Array);
      return;
    }
    for (const chunk of readChunks(source, this.buffer)) {
      const form = source.ternary as TernaryForm;
      const values =
        form.kind === "values"
          ? toFloat32(chunk.bytes, source.dtype)
          : valuesOfBlocks(chunk.bytes, form.kind as Encoding, chunk.rows * columns);
      for (let index = 0; index < values.length; index++) {
        const column = index % columns;
        const row = placeOfRow(chunk.row + Math.floor(index / columns), source.interleavedRows);
        const code = codes[row * columns + column] as number;
        const expected =
          rowScales === undefined ? (values[index] as number) : Math.fround((values[index] as number) * factor);
        const found = code === 1 ? 0 : (code - 1) * scaleOf(row, column);
        if (found !== expected && !(found === 0 && expected === 0)) {
          throw this.fault(entry, `row ${row}, column ${column} is ${found}, not ${expected}`);
        }
      }
    }
    this.done.codes += codes.length;
    this.done.scales += rowScales === undefined ? rows * Math.ceil(columns / (entry.group as number)) : rows;
  }

  /** Rows whose codes and scales follow from the mean of their magnitudes. */
  private compareThresholds(entry: LayoutEntry, codes: Uint8Array, scales: Float32Array): void {
    const source = this.source(entry);
    const columns = storedColumns(source);
    for (const chunk of readChunks(source, this.buffer)) {
      const values = toFloat32(chunk.bytes, source.dtype);
      for (let row = 0; row < chunk.rows; row++) {
        const weights = values.subarray(row * columns, (row + 1) * columns);
        const magnitudes = weights.map(Math.abs);
        const threshold = Math.fround((THRESHOLD * magnitudes.reduce((sum, value) => sum + value, 0)) / columns);
        const beyond = magnitudes.filter((value) => value > threshold);
        const scale = beyond.reduce((sum, value) => sum + value, 0) / Math.max(1, beyond.length) || SCALE_MIN;
        const at = chunk.row + row;
        const column = weights.findIndex((value, index) => {
          const expected = Math.abs(value) > threshold ? Math.sign(value) : 0;
          return codes[at * columns + index] !== expected + 1;
        });
        if (column >= 0) throw this.fault(entry, `row ${at}, column ${column} has another code`);
        if (Math.abs((scales[at] as number) / scale - 1) > MEAN_TOLERANCE) {
          throw this.fault(entry, `the scale of row ${at} is ${scales[at]}, not ${scale}`);
        }
      }
    }
    this.done.codes += codes.length;
    this.done.scales += scales.length;
  }

  /** Matrices with a scale each. */
  private compareExperts(entry: LayoutEntry, experts: number): void {
    const { rows, columns } = entry.source as { rows: number; columns: number };
    const stored = codesOfPacked(this.read(entry.name), rows, columns);
    const scales = new Float32Array(this.read(`${entry.name}_scale`).buffer);
    const height = rows / experts;
    for (let expert = 0; expert < experts; expert++) {
      const part = partOf(this.source(entry), expert, height);
      const scale = this.decode(part, (row, codes) => {
        const at = (expert * height + row) * columns;
        if (Buffer.compare(stored.subarray(at, at + columns), codes) !== 0) {
          throw this.fault(entry, `row ${row} of expert ${expert} differs`);
        }
      });
      const found = scales[expert] as number;
      const isMean = part.ternary?.kind === "master";
      if (isMean ? Math.abs(found / scale - 1) > MEAN_TOLERANCE : found !== Math.fround(scale)) {
        throw this.fault(entry, `the scale of expert ${expert} is ${found}, not ${scale}`);
      }
    }
    this.done.codes += stored.length;
    this.done.scales += experts;
  }

  /** What all scales of a matrix are multiplied by. */
  private factorOf(entry: LayoutEntry): number {
    const form = this.source(entry).ternary as TernaryForm;
    const factor = "factor" in form ? form.factor : 1;
    const name = entry.name.replace(/weight$/, "weight_scale");
    if (!this.entries.has(name)) return factor;
    const stored = new Float32Array(this.read(name).buffer).subarray(0, entry.experts ?? 1);
    const other = stored.find((value) => value !== Math.fround(factor));
    if (other !== undefined) throw this.fault(entry, `its scale is ${other}, not ${factor}`);
    return factor;
  }

  private compareMatrix(entry: LayoutEntry, kept: KeptNeurons | null): void {
    if (entry.group !== undefined || (this.packed.config.scales === "row" && this.isByRow(entry))) {
      this.compareValues(entry);
      return;
    }
    const { rows, columns } = entry.source as { rows: number; columns: number };
    if (entry.experts !== undefined && this.packed.config.scales !== "row") {
      this.compareExperts(entry, entry.experts);
      return;
    }
    const isDown = entry.name.endsWith(".down_proj.weight");
    const isInto = /\.(gate|up)_proj\.weight$/.test(entry.name);
    const keptRows = isInto ? kept : null;
    const keptColumns = isDown ? kept : null;
    const width = keptColumns?.length ?? columns;
    const height = keptRows?.length ?? rows;
    const found = codesOfPacked(this.read(entry.name), height, width);
    const place = keptRows === null ? undefined : new Map([...keptRows].map((neuron, index) => [neuron, index]));
    const scale = this.decode(this.source(entry), (row, codes) => {
      const target = place === undefined ? row : place.get(row);
      if (target === undefined) return;
      const expected = keptColumns === null ? codes : Uint8Array.from(keptColumns, (neuron) => codes[neuron] ?? 1);
      const stored = found.subarray(target * width, (target + 1) * width);
      if (Buffer.compare(stored, expected) !== 0) {
        const column = expected.findIndex((code, index) => code !== stored[index]);
        throw this.fault(entry, `row ${target}, column ${column} is ${stored[column]}, not ${expected[column]}`);
      }
    });
    for (const [index, neuron] of keptRows?.entries() ?? []) {
      if (neuron < 0 && found.subarray(index * width, (index + 1) * width).some((code) => code !== 1)) {
        throw this.fault(entry, `row ${index} is not zero`);
      }
    }
    const scaleName =
      this.packed.config.scales === "row" ? entry.name.replace(/weight$/, "row_scales") : `${entry.name}_scale`;
    const stored = new Float32Array(this.read(scaleName).buffer)[0] as number;
    const isMean = this.source(entry).ternary?.kind === "master";
    if (isMean ? Math.abs(stored / scale - 1) > MEAN_TOLERANCE : stored !== Math.fround(scale)) {
      throw this.fault(entry, `its scale is ${stored}, not ${scale}`);
    }
    this.done.codes += height * width;
    this.done.scales++;
  }

  /** Whether a matrix's rows may have scales of their own: not where its format has one for all of them. */
  private isByRow(entry: LayoutEntry): boolean {
    const kind = this.source(entry).ternary?.kind;
    return kind !== "master" && kind !== "quarters" && kind !== "I2_S";
  }

  /**
   * Decodes a matrix of the source.
   *
   * @param take gets each row by its number in the packed matrix, before any is left out, and its codes
   * @returns the scale
   */
  private decode(source: CheckpointTensor, take: (row: number, codes: Uint8Array) => void): number {
    const form = source.ternary as TernaryForm;
    const columns = storedColumns(source);
    if (form.kind === "thresholds") throw new Error("rows with thresholds are compared by themselves");
    if (form.kind === "quarters") {
      const quarterRows = source.shape[0] as number;
      for (const chunk of readChunks(source, this.buffer)) {
        for (let quarter = 0; quarter < 4; quarter++) {
          const codes = codesOfQuarter(chunk.bytes, quarter);
          for (let row = 0; row < chunk.rows; row++) {
            take(quarter * quarterRows + chunk.row + row, codes.subarray(row * columns, (row + 1) * columns));
          }
        }
      }
      return form.scale;
    }
    const scale = form.kind === "I2_S" ? form.scale : this.scaleOf(source, form);
    const divisor = form.kind === "values" ? scale / form.factor : scale;
    for (const chunk of readChunks(source, this.buffer)) {
      const codes =
        form.kind === "master" || form.kind === "values"
          ? codesOfValues(toFloat32(chunk.bytes, source.dtype), divisor)
          : codesOfBlocks(chunk.bytes, form.kind, chunk.rows * columns);
      for (let row = 0; row < chunk.rows; row++) {
        const place = placeOfRow(chunk.row + row, source.interleavedRows);
        take(place, codes.subarray(row * columns, (row + 1) * columns));
      }
    }
    return scale;
  }

  /** The scale that stands in the weights or their blocks, or that they give by their mean. */
  private scaleOf(
    source: CheckpointTensor,
    form: Exclude<TernaryForm, { kind: "thresholds" | "quarters" | "I2_S" }>,
  ): number {
    let sum = 0;
    let largest = 0;
    for (const { bytes } of readChunks(source, this.buffer)) {
      if (form.kind === "TQ1_0" || form.kind === "TQ2_0") {
        const blockBytes = form.kind === "TQ1_0" ? 54 : 66;
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        for (let end = blockBytes; end <= bytes.length; end += blockBytes) {
          largest = Math.max(largest, view.getFloat16(end - 2, true));
        }
      } else {
        const values = toFloat32(bytes, source.dtype);
        for (let index = 0; index < values.length; index++) {
          const magnitude = Math.abs(values[index] as number);
          sum += magnitude;
          if (magnitude > largest) largest = magnitude;
        }
      }
    }
    if (form.kind === "master") {
      const [rows, columns] = source.shape as [number, number];
      return Math.max(sum / (rows * columns), SCALE_MIN);
    }
    return largest === 0 ? Math.fround(SCALE_MIN) : largest * form.factor;
  }
}
