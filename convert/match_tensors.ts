/** Finds the tensors that a model's layout demands among those of a checkpoint. */

import { type LayoutEntry, packedLayout } from "../src/model_file/layout.ts";
import type { ModelConfig } from "../src/model_file/model_config.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { plural } from "../src/terminal/plural.ts";
import { toFloat32 } from "./floats.ts";
import type { CheckpointTensor, Encoding, SourceTensor, SourceTensors, TernaryForm } from "./source_tensor.ts";

/** What a format says of one tensor. */
export interface Expectation {
  /** The tensor's name in the checkpoint. */
  name: string;
  /** Where several tensors become one, their rows one behind the other: their names. */
  parts?: string[];
  /** Its shape there, where that is not [rows, columns], or [columns] for a norm. */
  shape?: number[];
  /** The encodings that it may have. */
  dtypes: readonly Encoding[];
  /** Behind a refusal of another encoding. */
  reason: string;
  interleavedRows?: number;
  /** What is to be added to a norm's values. */
  addend?: number;
  /** The form of a ternary matrix that has one of the encodings and the shape. `scale` is a tensor of one element. */
  ternary?: (tensor: SourceTensor, scale: SourceTensor | undefined) => TernaryForm | null;
  /** The tensor with a ternary matrix's scale. */
  scale?: { name: string; isRequired: boolean };
}

/** How a format spells what the layout demands. */
export interface Spelling {
  /** Where the shapes were read, for messages. */
  configName: string;
  /** What to expect for an entry of the layout. */
  expect(entry: LayoutEntry & { source: { rows: number; columns: number } }): Expectation;
  /** Whether a tensor that nothing demands carries nothing new. */
  isNeedless(name: string): boolean;
}

/**
 * Finds every tensor that the layout demands, checks its encoding and shape, and refuses those that nothing would use.
 *
 * @returns them by their names in the layout
 * @throws Failure naming the file and the tensor
 */
export function matchTensors(
  files: SourceTensors,
  config: ModelConfig,
  { configName, expect, isNeedless }: Spelling,
): Map<string, CheckpointTensor> {
  const matched = new Map<string, CheckpointTensor>();
  const used = new Set<string>();
  for (const entry of packedLayout(config, new Map())) {
    // A scale belongs to its matrix.
    if (entry.source === null || entry.kind === "scale") continue;
    const { rows, columns } = entry.source;
    const expected = expect({ ...entry, source: entry.source });
    const { name, dtypes, reason, interleavedRows = 1, addend = 0 } = expected;
    const shape =
      expected.shape ?? (entry.kind === "norm" ? [columns] : [rows / (expected.parts?.length ?? 1), columns]);
    const found = (expected.parts ?? [name]).map((part) => {
      const one = files.tensors.get(part);
      if (one === undefined) throw tensorFailure(files.listing, part, "missing");
      requireShape(one, shape, configName);
      requireEncoding(one, dtypes, reason);
      used.add(part);
      return one;
    });
    const tensor = expected.parts === undefined ? flattened(found[0] as SourceTensor) : stacked(name, found);
    const scale = expected.scale && findScale(files, expected.scale);
    if (scale !== undefined) used.add(scale.name);
    matched.set(entry.name, { ...tensor, ternary: expected.ternary?.(tensor, scale) ?? null, interleavedRows, addend });
  }
  for (const [name, tensor] of files.tensors) {
    if (used.has(name) || isNeedless(name)) continue;
    const model = `a ${config.architecture} of ${plural(config.layers, "layer")}`;
    throw tensorFailure(tensor.file, name, `is no part of ${model}, and would be lost`);
  }
  return matched;
}

/** A tensor of three dimensions as a matrix: the rows of all its matrices. */
function flattened(tensor: SourceTensor): SourceTensor {
  if (tensor.shape.length !== 3) return tensor;
  const [matrices, rows, columns] = tensor.shape as [number, number, number];
  return { ...tensor, shape: [matrices * rows, columns] };
}

/** Matrices of equal shape as one: the rows of all of them. @throws Failure when they are not encoded alike. */
function stacked(name: string, parts: SourceTensor[]): SourceTensor {
  const first = parts[0] as SourceTensor;
  for (const part of parts) {
    if (part.dtype !== first.dtype) {
      throw tensorFailure(
        part.file,
        part.name,
        `its dtype is ${part.dtype}, but that of ${first.name} is ${first.dtype}`,
      );
    }
  }
  const { bytes: size } = first;
  return {
    ...first,
    name,
    shape: [(first.shape[0] as number) * parts.length, first.shape[1] as number],
    bytes: size * parts.length,
    read(position, target) {
      for (let done = 0; done < target.length; ) {
        const at = position + done;
        const count = Math.min(target.length - done, size - (at % size));
        (parts[Math.floor(at / size)] as SourceTensor).read(at % size, target.subarray(done, done + count));
        done += count;
      }
    },
  };
}

function findScale(files: SourceTensors, { name, isRequired }: { name: string; isRequired: boolean }) {
  const scale = files.tensors.get(name);
  if (scale === undefined) {
    if (isRequired) throw tensorFailure(files.listing, name, "missing");
    return undefined;
  }
  if (scale.shape.join() !== "1" && scale.shape.length > 0) {
    throw tensorFailure(scale.file, name, `its shape is [${scale.shape.join(", ")}], but one number is needed`);
  }
  requireEncoding(scale, FLOATS, "a scale tensor is not read from it");
  return scale;
}

/** The one number of a tensor that findScale found. @throws Failure when it is not finite. */
export function readNumber(tensor: SourceTensor): number {
  const bytes = new Uint8Array(tensor.bytes);
  tensor.read(0, bytes);
  try {
    return toFloat32(bytes, tensor.dtype)[0] as number;
  } catch (error) {
    throw tensorFailure(tensor.file, tensor.name, (error as Error).message);
  }
}

/** The encodings of floating-point numbers. */
export const FLOATS = ["BF16", "F16", "F32"] as const;

/** @throws Failure */
function requireShape({ file, name, shape: found }: SourceTensor, shape: number[], configName: string): void {
  if (found.join() === shape.join()) return;
  throw tensorFailure(
    file,
    name,
    `its shape is [${found.join(", ")}], but ${configName} demands [${shape.join(", ")}]`,
  );
}

/** @throws Failure */
function requireEncoding({ file, name, dtype }: SourceTensor, dtypes: readonly Encoding[], reason: string): void {
  if (dtypes.includes(dtype)) return;
  throw tensorFailure(file, name, `its dtype is ${dtype}, not ${dtypes.join(", ")}: ${reason}`);
}

/**
 * A scale to multiply by, as fp32.
 *
 * @param stored what the checkpoint has
 * @throws Failure when it is none
 */
export function requireScale({ file, name }: SourceTensor, stored: number, scale = stored): number {
  const rounded = Math.fround(scale);
  if (rounded > 0 && Number.isFinite(rounded)) return rounded;
  throw tensorFailure(file, name, `${stored} is no scale: a finite number above 0 is needed`);
}
