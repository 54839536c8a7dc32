/**
 * Conversions between the float types of checkpoints, for the tensors that are not quantised: norms become fp32, embeddings
 * bf16. Values that are not finite are refused, as one of them would spread to every answer.
 */

import { Fault } from "../src/model_file/config_fields.ts";
import type { Dtype } from "../src/model_file/safetensors.ts";

/** The exponent bits of a bf16. */
const EXPONENT = 0x7f80;

/** The bf16 for each of the 65536 halves; made when the first f16 embedding comes. */
let bfloat16OfHalf: Uint16Array | null = null;

/**
 * Reads F32, F16 or BF16 values.
 *
 * @param bytes little-endian, at an offset in their buffer that is a multiple of the element's size
 * @throws Fault when a value is not finite
 */
export function toFloat32(bytes: Uint8Array, dtype: Dtype): Float32Array {
  const { buffer, byteOffset, length } = bytes;
  let values: Float32Array;
  if (dtype === "F32") values = new Float32Array(buffer, byteOffset, length / 4);
  else if (dtype === "F16") values = Float32Array.from(new Float16Array(buffer, byteOffset, length / 2));
  else
    values = new Float32Array(
      Uint32Array.from(new Uint16Array(buffer, byteOffset, length / 2), (bits) => bits << 16).buffer,
    );
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw new Fault(`value ${index} is ${values[index]}, not a finite number: the source is damaged`);
  return values;
}

/**
 * Converts F32, F16 or BF16 values to bf16, to the nearest and to even between two.
 *
 * @param bytes as in toFloat32
 * @returns little-endian bf16; `bytes` itself when it is that already
 * @throws Fault when a value is not finite, or not as bf16
 */
export function toBfloat16(bytes: Uint8Array, dtype: Dtype): Uint8Array {
  const { buffer, byteOffset, length } = bytes;
  let values: Uint16Array;
  if (dtype === "BF16") {
    values = new Uint16Array(buffer, byteOffset, length / 2);
  } else if (dtype === "F16") {
    bfloat16OfHalf ??= tabulateHalves();
    const halves = new Uint16Array(buffer, byteOffset, length / 2);
    values = new Uint16Array(halves.length);
    for (let index = 0; index < halves.length; index++)
      values[index] = bfloat16OfHalf[halves[index] as number] as number;
  } else {
    values = roundToBfloat16(new Uint32Array(buffer, byteOffset, length / 4));
  }
  for (let index = 0; index < values.length; index++) {
    if (((values[index] as number) & EXPONENT) === EXPONENT) {
      throw new Fault(`value ${index} is not a finite number: the source is damaged`);
    }
  }
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The upper halves of fp32 values given as bits, rounded to the nearest even. A NaN stays a NaN. */
function roundToBfloat16(bits: Uint32Array): Uint16Array {
  const values = new Uint16Array(bits.length);
  for (let index = 0; index < bits.length; index++) {
    const value = bits[index] as number;
    const special = ((value >>> 16) & EXPONENT) === EXPONENT;
    values[index] = special ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
  }
  return values;
}

function tabulateHalves(): Uint16Array {
  const halves = new Float16Array(Uint16Array.from({ length: 65536 }, (_, bits) => bits).buffer);
  return roundToBfloat16(new Uint32Array(Float32Array.from(halves).buffer));
}
