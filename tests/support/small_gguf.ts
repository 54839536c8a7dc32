/** Makes GGUF files for tests, so that a test can put anything into one: a value of the wrong type, an offset, a length. */

/** A value of the metadata with the id of its type; a list's elements are of the type in `of`. */
export type GgufEntry =
  | { type: number; value: number | bigint | boolean | string }
  | { type: 9; of: number; value: readonly (number | bigint | boolean | string)[] };

/** A tensor. */
export interface MemoryGgufTensor {
  /** The type's id. */
  typeId: number;
  /** Outermost first. */
  shape: number[];
  bytes: Uint8Array;
  /** Instead of the next free place. */
  offset?: number | bigint;
}

/** A file in memory. */
export interface MemoryGguf {
  version?: number;
  alignment?: number;
  metadata: Map<string, GgufEntry>;
  tensors: Map<string, MemoryGgufTensor>;
}

/** The ids of the types of values. */
export const valueTypes = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  text: 8,
  list: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

/** Little-endian bytes of a value of plain type, or a string with its length. */
function encodeValue(type: number, value: number | bigint | boolean | string): Uint8Array {
  if (type === valueTypes.text) {
    const text = new TextEncoder().encode(String(value));
    return Buffer.concat([encodeValue(valueTypes.u64, text.length), text]);
  }
  const number = Number(value);
  const arrays: Record<number, () => { buffer: ArrayBuffer }> = {
    [valueTypes.u8]: () => Uint8Array.of(number),
    [valueTypes.i8]: () => Int8Array.of(number),
    [valueTypes.bool]: () => Uint8Array.of(number),
    [valueTypes.u16]: () => Uint16Array.of(number),
    [valueTypes.i16]: () => Int16Array.of(number),
    [valueTypes.u32]: () => Uint32Array.of(number),
    [valueTypes.i32]: () => Int32Array.of(number),
    [valueTypes.f32]: () => Float32Array.of(number),
    [valueTypes.f64]: () => Float64Array.of(number),
    [valueTypes.u64]: () => BigUint64Array.of(BigInt(value)),
    [valueTypes.i64]: () => BigInt64Array.of(BigInt(value)),
  };
  return new Uint8Array(arrays[type]?.().buffer ?? []);
}

const u32 = (value: number) => encodeValue(valueTypes.u32, value);
const u64 = (value: number | bigint) => encodeValue(valueTypes.u64, value);
const text = (value: string) => encodeValue(valueTypes.text, value);

/** The bytes before the tensors' data, when those follow one another. */
export function encodeGgufHeader(
  { version = 3, alignment = 32, metadata }: Omit<MemoryGguf, "tensors">,
  tensors: Iterable<[string, { typeId: number; shape: number[]; size: number; offset?: number | bigint }]>,
): Uint8Array {
  const entries = [...tensors];
  const header: Uint8Array[] = [
    new TextEncoder().encode("GGUF"),
    u32(version),
    u64(entries.length),
    u64(metadata.size),
  ];
  for (const [key, entry] of metadata) {
    header.push(text(key), u32(entry.type));
    if ("of" in entry) {
      header.push(u32(entry.of), u64(entry.value.length), ...entry.value.map((value) => encodeValue(entry.of, value)));
    } else header.push(encodeValue(entry.type, entry.value));
  }
  let end = 0;
  for (const [name, { typeId, shape, size, offset }] of entries) {
    header.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(typeId), u64(offset ?? end));
    end += Math.ceil(size / alignment) * alignment;
  }
  const length = header.reduce((sum, { length: bytes }) => sum + bytes, 0);
  return Buffer.concat([...header, new Uint8Array(-length & (alignment - 1))]);
}

/** The bytes of a file. */
export function encodeGguf({ tensors, ...rest }: MemoryGguf): Uint8Array {
  const sizes = [...tensors].map(([name, tensor]): [string, MemoryGgufTensor & { size: number }] => [
    name,
    { ...tensor, size: tensor.bytes.length },
  ]);
  const header = encodeGgufHeader(rest, sizes);
  const data = [...tensors.values()].flatMap(({ bytes }) => [
    bytes,
    new Uint8Array(-bytes.length & ((rest.alignment ?? 32) - 1)),
  ]);
  return Buffer.concat([header, ...data]);
}
