/**
 * Conversions between the float types of checkpoints, for the tensors that are not ternary: norms become fp32, embeddings
 * bf16. Values that are not finite are refused, as one of them would spread to every answer. Embeddings of GGUF files may come in blocks of
 * integers with a scale; their values are rounded to bf16 like others.
 */

import { Fault } from "../src/model_file/config_fields.ts";
import type { Encoding } from "./source_tensor.ts";

/** The exponent bits of a bf16. */
const EXPONENT = 0x7f80;

/** The bf16 for each of the 65536 halves; made when the first f16 embedding comes. */
let bfloat16OfHalf: Uint16Array | null = null;

/**
 * Reads F32, F16, BF16, Q4_0, Q8_0 or Q6_K values.
 *
 * @param bytes little-endian, at an offset in their buffer that is a multiple of the element's size
 * @throws Fault when a value is not finite
 */
export function toFloat32(bytes: Uint8Array, dtype: Encoding): Float32Array {
  const { buffer, byteOffset, length } = bytes;
  let values: Float32Array;
  if (dtype === "F32") values = new Float32Array(buffer, byteOffset, length / 4);
  else if (isBlocked(dtype)) values = blocks[dtype](bytes);
  else if (dtype === "F16") values = new Float32Array(new Float16Array(buffer, byteOffset, length / 2));
  else values = widenBfloat16(new Uint16Array(buffer, byteOffset, length / 2));
  // A loop: matrices of hundreds of millions of values come by here.
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as number;
    if (!Number.isFinite(value))
      throw new Fault(`value ${index} is ${value}, not a finite number: the source is damaged`);
  }
  return values;
}

/**
 * Converts such values to bf16, to the nearest and to even between two.
 *
 * @param bytes as in toFloat32
 * @returns little-endian bf16; `bytes` itself when it is that already
 * @throws Fault when a value is not finite, or not as bf16
 */
export function toBfloat16(bytes: Uint8Array, dtype: Encoding): Uint8Array {
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
  } else if (isBlocked(dtype)) {
    values = roundToBfloat16(new Uint32Array(blocks[dtype](bytes).buffer));
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

/** A bf16 is the upper half of an fp32. */
function widenBfloat16(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let index = 0; index < bits.length; index++) bits[index] = (halves[index] as number) << 16;
  return new Float32Array(bits.buffer);
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

/** The encodings in blocks. */
const blocks = { Q4_0: readQ4, Q8_0: readQ8, Q6_K: readQ6 };

function isBlocked(dtype: Encoding): dtype is keyof typeof blocks {
  return Object.hasOwn(blocks, dtype);
}

/** A block's scale, a half. */
function scaleAt(bytes: Uint8Array, position: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + position, 2).getFloat16(0, true);
}

/** 32 weights in 18 bytes: the scale, then the first half of the weights in the low four bits of each byte, the second in the high ones. */
function readQ4(bytes: Uint8Array): Float32Array {
  const values = new Float32Array((bytes.length / 18) * 32);
  for (let block = 0, at = 0; block < bytes.length; block += 18, at += 32) {
    const scale = scaleAt(bytes, block);
    for (let index = 0; index < 16; index++) {
      const byte = bytes[block + 2 + index] as number;
      values[at + index] = ((byte & 15) - 8) * scale;
      values[at + 16 + index] = ((byte >> 4) - 8) * scale;
    }
  }
  return values;
}

/** 32 weights in 34 bytes: the scale, then a signed byte for each. */
function readQ8(bytes: Uint8Array): Float32Array {
  const values = new Float32Array((bytes.length / 34) * 32);
  const integers = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let block = 0, at = 0; block < bytes.length; block += 34, at += 32) {
    const scale = scaleAt(bytes, block);
    for (let index = 0; index < 32; index++) values[at + index] = (integers[block + 2 + index] as number) * scale;
  }
  return values;
}

/**
 * 256 weights in 210 bytes: the low four bits of all, the high two bits of all, a signed factor for each 16 weights, and the scale. Each half
 * of the weights has 64 bytes of low bits and 32 of high ones: byte l of the latter holds bits of weights l, 32 + l, 64 + l and 96 + l.
 */
function readQ6(bytes: Uint8Array): Float32Array {
  const values = new Float32Array((bytes.length / 210) * 256);
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let block = 0, at = 0; block < bytes.length; block += 210, at += 256) {
    const scale = scaleAt(bytes, block + 208);
    for (let index = 0; index < 256; index++) {
      const half = index >> 7;
      const quarter = (index >> 5) & 3;
      const place = index & 31;
      const low = bytes[block + 64 * half + 32 * (quarter & 1) + place] as number;
      const high = bytes[block + 128 + 32 * half + place] as number;
      const integer = (((low >> (4 * (quarter >> 1))) & 15) | (((high >> (2 * quarter)) & 3) << 4)) - 32;
      values[at + index] = scale * (signed[block + 192 + (index >> 4)] as number) * integer;
    }
  }
  return values;
}
