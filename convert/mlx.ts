/**
 * MLX's checkpoints of two bits: beside each matrix of packed codes stand a scale and a bias for each group of inputs, a weight being
 * scale · code + bias. Where the bias is −scale, weights are −scale, 0 and scale: so each group is a block of Q2_0, and is read as one.
 */

import { ConfigFields, Fault, inside } from "../src/model_file/config_fields.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { toFloat32 } from "./floats.ts";
import type { SourceTensor, SourceTensors } from "./source_tensor.ts";

/** Weights in one word of codes. */
const WORD_WEIGHTS = 16;

/** What the weights of a group of so many inputs are called as blocks. */
const encodings = { 64: "Q2_0", 128: "PQ2_0" } as const;

/**
 * The inputs of a group, where a config.json is of such a checkpoint.
 *
 * @returns undefined when it is not
 * @throws Fault for widths that are not supported
 */
export function mlxGroup(fields: ConfigFields): 64 | 128 | undefined {
  if (!fields.has("quantization")) return undefined;
  return inside("quantization", () => {
    const quantization = new ConfigFields(fields.raw("quantization"), "quantization");
    if (!quantization.has("group_size")) return undefined;
    const bits = quantization.whole("bits", 1, 16);
    if (bits !== 2) throw new Fault(`bits is ${bits}; only MLX's checkpoints of 2 bits hold ternary weights`);
    const group = quantization.whole("group_size", 1, 4096);
    if (group === 64 || group === 128) return group;
    throw new Fault(`group_size is ${group}; 64 and 128 are supported`);
  });
}

/** The tensors of such a checkpoint, each matrix with its scales and biases as one of ternary blocks. @throws Failure */
export function mlxTensors(files: SourceTensors, group: 64 | 128): SourceTensors {
  const tensors = new Map<string, SourceTensor>();
  for (const [name, tensor] of files.tensors) {
    const prefix = name.replace(/\.weight$/, "");
    const [scales, biases] = ["scales", "biases"].map((part) => files.tensors.get(`${prefix}.${part}`));
    if (/\.(scales|biases)$/.test(name) && files.tensors.has(name.replace(/\.\w+$/, ".weight"))) continue;
    if (scales === undefined || tensor.dtype !== "U32") tensors.set(name, tensor);
    else tensors.set(name, blocksOf(files, tensor, { scales, biases, group }));
  }
  return { ...files, tensors };
}

interface Parts {
  scales: SourceTensor;
  biases: SourceTensor | undefined;
  group: 64 | 128;
}

function blocksOf(files: SourceTensors, codes: SourceTensor, { scales, biases, group }: Parts): SourceTensor {
  const [rows, words] = codes.shape as [number, number];
  const columns = words * WORD_WEIGHTS;
  const groups = columns / group;
  if (biases === undefined) throw tensorFailure(files.listing, scales.name.replace(/scales$/, "biases"), "missing");
  for (const part of [scales, biases]) {
    if (part.shape.join() !== [rows, groups].join()) {
      throw tensorFailure(part.file, part.name, `its shape is [${part.shape.join(", ")}], not [${rows}, ${groups}]`);
    }
    if (part.dtype !== "F16" && part.dtype !== "BF16" && part.dtype !== "F32") {
      throw tensorFailure(part.file, part.name, `its dtype is ${part.dtype}, not F16, BF16 or F32`);
    }
  }
  const codeBytes = group / 4;
  const blockBytes = codeBytes + 2;
  const rowBytes = groups * blockBytes;
  const numbers = (part: SourceTensor, first: number, count: number) => {
    const width = part.bytes / (rows * groups);
    const bytes = new Uint8Array(count * groups * width);
    part.read(first * groups * width, bytes);
    return toFloat32(bytes, part.dtype);
  };
  return {
    ...codes,
    dtype: encodings[group],
    shape: [rows, columns],
    bytes: rows * rowBytes,
    // Whole rows are asked for.
    read(position, target) {
      const first = position / rowBytes;
      const count = target.length / rowBytes;
      const [steps, offsets] = [numbers(scales, first, count), numbers(biases, first, count)];
      const packed = new Uint8Array(count * groups * codeBytes);
      codes.read(first * groups * codeBytes, packed);
      const view = new DataView(target.buffer, target.byteOffset, target.length);
      for (const [index, step] of steps.entries()) {
        const place = `row ${first + Math.floor(index / groups)}, group ${index % groups}`;
        if (offsets[index] !== -step) {
          const fault = `its bias in ${place} is ${offsets[index]}, not −${step}: the weights are not ternary`;
          throw tensorFailure(codes.file, codes.name, fault);
        }
        view.setFloat16(index * blockBytes, step, true);
        if (view.getFloat16(index * blockBytes, true) !== step) {
          throw tensorFailure(
            codes.file,
            codes.name,
            `its scale in ${place} is ${step}, which half precision can't hold`,
          );
        }
        target.set(packed.subarray(index * codeBytes, (index + 1) * codeBytes), index * blockBytes + 2);
      }
    },
  };
}
