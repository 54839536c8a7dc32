/**
 * The codes of ternary weights by the words of each format, a weight at a time: what packed files are compared with. It shares nothing
 * with the way in which they are made.
 */

import type { Encoding } from "./source_tensor.ts";

/** A weight's code: 0, 1 and 2 stand for −1, 0 and 1. */
type Decoder = (bytes: Uint8Array, codes: Uint8Array) => void;

/** By encoding; `codes` says how many weights there are. */
const decoders: Partial<Record<Encoding, Decoder>> = {
  I2_S(bytes, codes) {
    for (let weight = 0; weight < codes.length; weight++) {
      const place = weight & 127;
      codes[weight] = ((bytes[(weight >> 7) * 32 + (place & 31)] as number) >> (6 - 2 * (place >> 5))) & 3;
    }
  },
  TQ2_0(bytes, codes) {
    for (let block = 0, weight = 0; weight < codes.length; block += 66) {
      const isZero = isZeroHalf(bytes, block + 64);
      for (let index = 0; index < 256; index++, weight++) {
        const byte = bytes[block + 32 * (index >> 7) + (index & 31)] as number;
        codes[weight] = isZero ? 1 : (byte >> (2 * ((index >> 5) & 3))) & 3;
      }
    }
  },
  TQ1_0(bytes, codes) {
    for (let block = 0, weight = 0; weight < codes.length; block += 54) {
      const isZero = isZeroHalf(bytes, block + 52);
      for (let index = 0; index < 256; index++, weight++) {
        let at = index & 31;
        let digit = index >> 5;
        if (index >= 240) {
          at = 48 + (index & 3);
          digit = (index - 240) >> 2;
        } else if (index >= 160) {
          at = 32 + (index & 15);
          digit = (index - 160) >> 4;
        }
        const shifted = ((bytes[block + at] as number) * (POWERS[digit] as number)) & 255;
        codes[weight] = isZero ? 1 : (3 * shifted) >> 8;
      }
    }
  },
  Q2_0: (bytes, codes) => pairsOfBits(bytes, codes, 64),
  PQ2_0: (bytes, codes) => pairsOfBits(bytes, codes, 128),
  PTQ1_0(bytes, codes) {
    for (let weight = 0; weight < codes.length; weight++) {
      const index = weight & 127;
      const [at, digit] =
        index < 80
          ? [index & 15, index >> 4]
          : index < 120
            ? [16 + ((index - 80) & 7), (index - 80) >> 3]
            : [24 + (index & 1), (index - 120) >> 1];
      const shifted = ((bytes[(weight >> 7) * 28 + at] as number) * (POWERS[digit] as number)) & 255;
      codes[weight] = (3 * shifted) >> 8;
    }
  },
};

/** Four codes a byte, the first in its lowest bits, behind a scale of two bytes. */
function pairsOfBits(bytes: Uint8Array, codes: Uint8Array, blockWeights: number): void {
  const blockBytes = 2 + blockWeights / 4;
  for (let weight = 0; weight < codes.length; weight++) {
    const place = weight % blockWeights;
    const byte = bytes[Math.floor(weight / blockWeights) * blockBytes + 2 + (place >> 2)] as number;
    codes[weight] = (byte >> (2 * (place & 3))) & 3;
  }
}

const POWERS = [1, 3, 9, 27, 81];

/** Weights of a block of ternary weights, its bytes, and where its scale stands in it. */
const ternaryBlocks: Partial<Record<Encoding, { weights: number; bytes: number; scaleAt: number }>> = {
  TQ1_0: { weights: 256, bytes: 54, scaleAt: 52 },
  TQ2_0: { weights: 256, bytes: 66, scaleAt: 64 },
  Q2_0: { weights: 64, bytes: 18, scaleAt: 0 },
  PQ2_0: { weights: 128, bytes: 34, scaleAt: 0 },
  PTQ1_0: { weights: 128, bytes: 28, scaleAt: 26 },
};

/** The values of `count` weights in ternary blocks: each code by the scale of its block. */
export function valuesOfBlocks(bytes: Uint8Array, encoding: Encoding, count: number): Float32Array {
  const {
    weights,
    bytes: blockBytes,
    scaleAt,
  } = ternaryBlocks[encoding] as { weights: number; bytes: number; scaleAt: number };
  const codes = codesOfBlocks(bytes, encoding, count);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from(codes, (code, index) => {
    return (code - 1) * view.getFloat16(Math.floor(index / weights) * blockBytes + scaleAt, true);
  });
}

/** Whether a half is 0 or −0. */
function isZeroHalf(bytes: Uint8Array, position: number): boolean {
  return bytes[position] === 0 && ((bytes[position + 1] as number) & 127) === 0;
}

/** The codes of `count` weights in blocks of codes. */
export function codesOfBlocks(bytes: Uint8Array, encoding: Encoding, count: number): Uint8Array {
  const codes = new Uint8Array(count);
  (decoders[encoding] as Decoder)(bytes, codes);
  return codes;
}

/** The codes of weights, quantised with a scale: the nearest of −1, 0 and 1, to even between two. */
export function codesOfValues(values: Float32Array, scale: number): Uint8Array {
  const codes = new Uint8Array(values.length);
  for (let weight = 0; weight < codes.length; weight++) {
    const quotient = Math.fround((values[weight] as number) / scale);
    codes[weight] = quotient > 0.5 ? 2 : quotient < -0.5 ? 0 : 1;
  }
  return codes;
}

/** The codes in bits 2·quarter and 2·quarter + 1 of every byte. */
export function codesOfQuarter(bytes: Uint8Array, quarter: number): Uint8Array {
  const codes = new Uint8Array(bytes.length);
  for (let weight = 0; weight < codes.length; weight++)
    codes[weight] = ((bytes[weight] as number) >> (2 * quarter)) & 3;
  return codes;
}

/** The first `rows` rows of panels of a packed file, each by itself: [rows][rowBytes], its codes and then its scales. */
export function rowsOfPanels(panels: Uint8Array, rows: number, rowBytes: number, codeBytes: number): Uint8Array {
  const separate = new Uint8Array(rows * rowBytes);
  for (let row = 0, to = 0; row < rows; row++) {
    const panel = (row >> 4) * 16 * rowBytes;
    const lane = row & 15;
    for (let byte = 0; byte < rowBytes; byte++, to++) {
      const width = byte < codeBytes ? 4 : 2;
      const word = byte - (byte % width);
      separate[to] = panels[panel + 16 * word + width * lane + (byte % width)] as number;
    }
  }
  return separate;
}

/** The codes of rows of a packed file: [rows][columns]. `rowBytes` may be more than they take. */
export function codesOfPacked(packed: Uint8Array, rows: number, columns: number, rowBytes = packed.length / rows) {
  const codes = new Uint8Array(rows * columns);
  for (let row = 0, weight = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, weight++) {
      const byte = packed[row * rowBytes + (column >> 7) * 32 + (column & 31)] as number;
      codes[weight] = (byte >> (2 * ((column >> 5) & 3))) & 3;
    }
  }
  return codes;
}
