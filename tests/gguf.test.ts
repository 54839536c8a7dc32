/** The reader of GGUF headers: values come out as they went in, and what cannot be is refused with its place. */

import { describe, expect, test } from "bun:test";
import { memoryByteSource } from "../src/model_file/byte_source.ts";
import { readGgufHeader } from "../src/model_file/gguf.ts";
import {
  encodeGguf,
  type GgufEntry,
  type MemoryGguf,
  type MemoryGgufTensor,
  valueTypes,
} from "./support/small_gguf.ts";

const read = (bytes: Uint8Array) => readGgufHeader(memoryByteSource(bytes, "x.gguf"));

/** A file with these keys and tensors. */
function gguf(
  metadata: Record<string, GgufEntry> = {},
  tensors: Record<string, MemoryGgufTensor> = {},
  rest: Partial<MemoryGguf> = {},
): Uint8Array {
  return encodeGguf({
    metadata: new Map(Object.entries(metadata)),
    tensors: new Map(Object.entries(tensors)),
    ...rest,
  });
}

const f32 = (shape: number[], offset?: number | bigint): MemoryGgufTensor => {
  const weights = shape.reduce((product, size) => product * size, 1);
  return { typeId: 0, shape, bytes: new Uint8Array(4 * weights), offset };
};

test("values of every type come out as they went in", () => {
  const { text, list } = valueTypes;
  const { metadata } = read(
    gguf({
      u8: { type: valueTypes.u8, value: 255 },
      i8: { type: valueTypes.i8, value: -128 },
      u16: { type: valueTypes.u16, value: 65535 },
      i16: { type: valueTypes.i16, value: -32768 },
      u32: { type: valueTypes.u32, value: 4294967295 },
      i32: { type: valueTypes.i32, value: -2147483648 },
      f32: { type: valueTypes.f32, value: 0.5 },
      f64: { type: valueTypes.f64, value: 0.1 },
      u64: { type: valueTypes.u64, value: 9007199254740991n },
      "u64 beyond": { type: valueTypes.u64, value: 18446744073709551615n },
      i64: { type: valueTypes.i64, value: -9007199254740991n },
      yes: { type: valueTypes.bool, value: true },
      text: { type: text, value: "naïve\n\u{1f600}" },
      texts: { type: list, of: text, value: ["", "\ufeff", "\ufeffa", "Ġ"] },
      bytes: { type: list, of: valueTypes.u8, value: [1, 2, 3] },
      scores: { type: list, of: valueTypes.f32, value: [-1.5, 0] },
      flags: { type: list, of: valueTypes.bool, value: [true, false] },
      longs: { type: list, of: valueTypes.i64, value: [-1n, 5n] },
    }),
  );
  expect(Object.fromEntries(metadata)).toEqual({
    u8: 255,
    i8: -128,
    u16: 65535,
    i16: -32768,
    u32: 4294967295,
    i32: -2147483648,
    f32: 0.5,
    f64: 0.1,
    u64: 9007199254740991,
    "u64 beyond": 18446744073709551615n,
    i64: -9007199254740991,
    yes: true,
    text: "naïve\n\u{1f600}",
    texts: ["", "\ufeff", "\ufeffa", "Ġ"],
    bytes: Uint8Array.of(1, 2, 3),
    scores: Float32Array.of(-1.5, 0),
    flags: Uint8Array.of(1, 0),
    longs: BigInt64Array.of(-1n, 5n),
  });
});

test("strings that lie across the reader's windows are whole", () => {
  const texts = Array.from({ length: 3000 }, (_, index) => String.fromCodePoint(97 + (index % 26)).repeat(index));
  const { metadata } = read(gguf({ texts: { type: 9, of: valueTypes.text, value: texts } }));
  expect(metadata.get("texts")).toEqual(texts);
});

test.each([2, 3])("tensors of version %d lie where the file says, at its alignment", (version) => {
  const tensors = { a: f32([3, 5]), b: { typeId: 36, shape: [4, 64], bytes: new Uint8Array(96) }, c: f32([7]) };
  const alignment: GgufEntry = { type: valueTypes.u32, value: 256 };
  const { tensors: found, version: read_ } = read(
    gguf({ "general.alignment": alignment }, tensors, { version, alignment: 256 }),
  );
  expect(read_).toBe(version);
  expect(found.map(({ name, type, shape, begin, end }) => [name, type, shape, begin, end])).toEqual([
    ["a", "F32", [3, 5], 256, 316],
    ["b", "I2_S", [4, 64], 512, 608],
    ["c", "F32", [7], 768, 796],
  ]);
});

test("a tensor of a type that is not read is listed", () => {
  const { tensors } = read(gguf({}, { a: { typeId: 12, shape: [1, 256], bytes: new Uint8Array(144) } }));
  expect(tensors[0]).toMatchObject({ name: "a", typeId: 12, type: undefined });
});

describe("refuses", () => {
  const cases: [string, Uint8Array, string][] = [
    ["an empty file", new Uint8Array(), 'x.gguf: not a GGUF file: it does not begin with "GGUF"'],
    [
      "version 1",
      gguf({}, {}, { version: 1 }),
      "x.gguf: its version is 1; little-endian GGUF files of versions 2 and 3 are read",
    ],
    [
      "a big-endian file",
      gguf({}, {}, { version: 0x03000000 }),
      "x.gguf: it is big-endian; little-endian GGUF files of versions 2 and 3 are read",
    ],
    ["an unknown type of value", gguf({ key: { type: 13, value: 0 } }), "x.gguf: 'key' is of unknown type 13"],
    ["a list of lists", gguf({ key: { type: 9, of: 9, value: [] } }), "x.gguf: 'key' is a list of lists"],
    ["a boolean of 2", gguf({ key: { type: 7, value: 2 } }), "x.gguf: damaged: 'key' holds 2 where 0 or 1 is needed"],
    [
      "an alignment of 24",
      gguf({ "general.alignment": { type: 4, value: 24 } }),
      "x.gguf: general.alignment is no power of two from 8 to 1048576",
    ],
    ["five dimensions", gguf({}, { a: f32([1, 1, 1, 1, 1]) }), "x.gguf: tensor 'a': it has 5 dimensions"],
    ["a dimension of 0", gguf({}, { a: f32([4, 0]) }), "x.gguf: tensor 'a': its shape [4, 0] is impossible"],
    [
      "a shape that overflows",
      gguf({}, { a: { typeId: 0, shape: [2 ** 31, 2 ** 31, 4, 1], bytes: new Uint8Array(4) } }),
      "x.gguf: tensor 'a': its shape [2147483648, 2147483648, 4, 1] is impossible",
    ],
    [
      "an offset that is not aligned",
      gguf({}, { a: f32([4], 8) }),
      "x.gguf: tensor 'a': its data's offset 8 is no multiple of 32",
    ],
    [
      "an offset beyond all numbers",
      gguf({}, { a: f32([4], 2n ** 64n - 32n) }),
      "x.gguf: tensor 'a': its data's offset Infinity is no multiple of 32",
    ],
    [
      "data beyond the end",
      gguf({}, { a: f32([4], 32) }),
      "x.gguf: tensor 'a': its data ends at byte 112, but the file has 96 bytes: truncated or damaged",
    ],
    [
      "half a block",
      gguf({}, { a: { typeId: 35, shape: [2, 128], bytes: new Uint8Array(66) } }),
      "x.gguf: tensor 'a': its 128 elements in a row are no multiple of 256, as TQ2_0 needs",
    ],
    [
      "overlapping tensors",
      gguf({}, { a: f32([16]), b: f32([4], 32) }),
      "x.gguf: tensor 'b': its data overlaps that of tensor 'a'",
    ],
  ];
  test.each(cases)("%s", (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(message);
  });

  test("a key that is there twice", () => {
    const bytes = Buffer.from(gguf({ one: { type: 4, value: 1 }, two: { type: 4, value: 2 } }));
    bytes.write("one", bytes.indexOf("two"));
    expect(() => read(bytes)).toThrow("x.gguf: the key 'one' is there twice");
  });

  test("a tensor that is there twice", () => {
    const bytes = Buffer.from(gguf({}, { one: f32([1]), two: f32([1]) }));
    bytes.write("one", bytes.indexOf("two"));
    expect(() => read(bytes)).toThrow("x.gguf: tensor 'one': it is there twice");
  });

  test.each([
    ["tensors", 8],
    ["keys", 16],
  ])("more %s than the file has room for, before allocating for them", (what, position) => {
    const bytes = Buffer.from(gguf());
    bytes.writeBigUInt64LE(2n ** 62n, position as number);
    expect(() => read(bytes)).toThrow(`x.gguf: a truncated or damaged GGUF file: the number of ${what} is`);
  });

  test("every truncation of a file", () => {
    const bytes = gguf(
      {
        text: { type: 8, value: "abc" },
        texts: { type: 9, of: 8, value: ["a", "b"] },
        n: { type: 9, of: 4, value: [1, 2] },
      },
      { a: f32([4]) },
    );
    // The last 16 bytes are padding.
    for (let length = 0; length < bytes.length - 16; length++) {
      expect(() => read(bytes.subarray(0, length))).toThrow(/^x\.gguf: /);
    }
  });
});
