/**
 * The GGUF format, versions 2 and 3: a reader of headers that believes nothing. A file is "GGUF", a version, counts, key-value pairs,
 * one entry for each tensor, and from the next multiple of the alignment on the tensors' data. Everything is little-endian. As with
 * safetensors, tensors are not read here: callers take an entry's byte range piece by piece from the ByteSource.
 *
 * A header's numbers are bounded by the bytes that are really there before anything is allocated for them.
 */

import { Failure } from "../errors.ts";
import type { ByteSource } from "./byte_source.ts";
import { printable } from "./config_fields.ts";
import { type GgufType, ggufBlockWeights, ggufTensorBytes, ggufTypeOfId } from "./gguf_types.ts";
import { tensorFailure } from "./safetensors.ts";

/** A list of a GGUF's metadata: texts, or the typed array of its numbers. Booleans are bytes, 0 or 1. */
export type GgufArray =
  | string[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

/** A value of a GGUF's metadata. Integers of 64 bits are numbers as long as they are exact. */
export type GgufValue = number | bigint | boolean | string | GgufArray;

/** One tensor of a file. */
export interface GgufTensor {
  name: string;
  /** The type's id in the file. */
  typeId: number;
  /** Undefined for a type that is not read here. */
  type: GgufType | undefined;
  /** Outermost first, [rows, columns] for a matrix: the reverse of the file's order. */
  shape: number[];
  /** First byte, counted from the start of the file. */
  begin: number;
  /** One past the last byte; equal to `begin` where the type is not read. */
  end: number;
}

/** What a header says, checked against the file's size. */
export interface GgufHeader {
  version: number;
  /** In the file's order. */
  metadata: Map<string, GgufValue>;
  /** In the file's order. */
  tensors: GgufTensor[];
}

/** The most bytes that a header may have: a vocabulary of 256 thousand tokens with its merges takes about 12 MB. */
const HEADER_BYTES_MAX = 256 * 1024 * 1024;

/** Longest key, and longest name of a tensor, in bytes. */
const NAME_BYTES_MAX = 1024;

/** More keys, and more tensors, than any file has. */
const KEYS_MAX = 1 << 16;
const TENSORS_MAX = 1 << 18;

/** As many as the format has. */
const DIMENSIONS_MAX = 4;

/** Bytes that are read ahead of the cursor at a time. */
const WINDOW_BYTES = 1 << 20;

/** Of tensors' data where `general.alignment` does not say otherwise. */
const ALIGNMENT = 32;

/** The ids of value types that are not plain numbers. */
const BOOLEAN = 7;
const TEXT = 8;
const ARRAY = 9;

/** The plain numbers, by id: bytes, how to read one, and the array that holds many. */
const numbers: Record<
  number,
  {
    bytes: number;
    get: (view: DataView) => number | bigint;
    list: (buffer: ArrayBuffer) => GgufArray;
  }
> = {
  0: { bytes: 1, get: (view) => view.getUint8(0), list: (buffer) => new Uint8Array(buffer) },
  1: { bytes: 1, get: (view) => view.getInt8(0), list: (buffer) => new Int8Array(buffer) },
  2: { bytes: 2, get: (view) => view.getUint16(0, true), list: (buffer) => new Uint16Array(buffer) },
  3: { bytes: 2, get: (view) => view.getInt16(0, true), list: (buffer) => new Int16Array(buffer) },
  4: { bytes: 4, get: (view) => view.getUint32(0, true), list: (buffer) => new Uint32Array(buffer) },
  5: { bytes: 4, get: (view) => view.getInt32(0, true), list: (buffer) => new Int32Array(buffer) },
  6: { bytes: 4, get: (view) => view.getFloat32(0, true), list: (buffer) => new Float32Array(buffer) },
  10: { bytes: 8, get: (view) => view.getBigUint64(0, true), list: (buffer) => new BigUint64Array(buffer) },
  11: { bytes: 8, get: (view) => view.getBigInt64(0, true), list: (buffer) => new BigInt64Array(buffer) },
  12: { bytes: 8, get: (view) => view.getFloat64(0, true), list: (buffer) => new Float64Array(buffer) },
};

/** Whether a file begins as a GGUF does. */
export function isGguf(head: Uint8Array): boolean {
  return head.length >= 4 && new TextDecoder("latin1").decode(head.subarray(0, 4)) === "GGUF";
}

/**
 * Reads and checks the header: counts and lengths within the file, known value types, tensors that lie aligned within the file and do
 * not overlap. Tensors of types that are not read here are listed without a size.
 *
 * @throws Failure, one line: `path: fault` or `path: tensor 'x': fault`
 */
export function readGgufHeader(source: ByteSource): GgufHeader {
  const cursor = new Cursor(source);
  const magic = cursor.bytes(Math.min(4, source.size), "its first bytes");
  if (!isGguf(magic)) throw new Failure(`${source.name}: not a GGUF file: it does not begin with "GGUF"`);
  const version = cursor.u32("the version");
  if (version !== 2 && version !== 3) {
    const swapped = version === 0x02000000 || version === 0x03000000;
    const reason = swapped ? "it is big-endian" : `its version is ${version}`;
    throw new Failure(`${source.name}: ${reason}; little-endian GGUF files of versions 2 and 3 are read`);
  }
  // A key has 8 bytes of length and 4 of type at least, and a value of one; a tensor's entry 8 + 4 + 4 + 8.
  const tensorCount = cursor.count("the number of tensors", 24, TENSORS_MAX);
  const keyCount = cursor.count("the number of keys", 13, KEYS_MAX);
  const metadata = new Map<string, GgufValue>();
  for (let index = 0; index < keyCount; index++) {
    const key = cursor.name(`key ${index}`);
    if (metadata.has(key)) throw cursor.failure(`the key '${printable(key)}' is there twice`);
    metadata.set(key, readValue(cursor, key));
  }
  const alignment = readAlignment(cursor, metadata.get("general.alignment"));
  const entries = Array.from({ length: tensorCount }, (_, index) => readTensor(cursor, index));
  const dataBegin = Math.ceil(cursor.position / alignment) * alignment;
  const older = hasOlderBlocks(source, entries, dataBegin, alignment);
  const tensors = entries.map((entry) => place(source, entry, { dataBegin, alignment, older }));
  checkNames(source, tensors);
  checkOverlap(source, tensors);
  return { version, metadata, tensors };
}

/** Reads a header from its beginning to its end. */
class Cursor {
  position = 0;
  private window = new Uint8Array();
  private windowBegin = 0;

  constructor(readonly source: ByteSource) {}

  failure(fault: string): Failure {
    return new Failure(`${this.source.name}: ${fault}`);
  }

  /** Bytes between the cursor and the end of what a header may be. */
  private get left(): number {
    return Math.min(this.source.size, HEADER_BYTES_MAX) - this.position;
  }

  /** The next bytes; valid until the next call. `what` is for the message when they are not there. */
  bytes(length: number, what: string): Uint8Array {
    if (length > this.left) {
      throw this.failure(
        this.source.size > HEADER_BYTES_MAX
          ? `a damaged GGUF file: its header would be over ${HEADER_BYTES_MAX} bytes, at ${what}`
          : `a truncated or damaged GGUF file: ${what} would end at byte ${this.position + length}, the file ends at byte ${this.source.size}`,
      );
    }
    if (this.position + length > this.windowBegin + this.window.length) {
      this.windowBegin = this.position;
      this.window = new Uint8Array(Math.min(Math.max(length, WINDOW_BYTES), this.left));
      this.source.read(this.position, this.window);
    }
    const begin = this.position - this.windowBegin;
    this.position += length;
    return this.window.subarray(begin, begin + length);
  }

  view(length: number, what: string): DataView {
    const bytes = this.bytes(length, what);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  u32(what: string): number {
    return this.view(4, what).getUint32(0, true);
  }

  /** A u64 as a number; what is no safe integer becomes Infinity. */
  u64(what: string): number {
    const value = this.view(8, what).getBigUint64(0, true);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.POSITIVE_INFINITY;
  }

  /** How many things of at least `size` bytes follow: no more than `limit`, nor than there is room for. */
  count(what: string, size: number, limit = HEADER_BYTES_MAX): number {
    const value = this.u64(what);
    if (value > limit || value * size > this.left) {
      throw this.failure(`a truncated or damaged GGUF file: ${what} is ${value}, more than the file has room for`);
    }
    return value;
  }

  /** A string; bytes that are not UTF-8 become replacement characters. */
  text(what: string): string {
    const length = this.count(`the length of ${what}`, 1);
    return decoder.decode(this.bytes(length, what));
  }

  /** A key, or the name of a tensor. */
  name(what: string): string {
    const name = this.text(what);
    if (name.length > NAME_BYTES_MAX) throw this.failure(`damaged: the name of ${what} has ${name.length} characters`);
    return name;
  }
}

/** A byte order mark is a token like others. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function readValue(cursor: Cursor, key: string): GgufValue {
  const what = `'${printable(key)}'`;
  const type = cursor.u32(`the type of ${what}`);
  if (type === TEXT) return cursor.text(what);
  if (type === BOOLEAN) return readBoolean(cursor.bytes(1, what)[0] as number, cursor, what);
  if (type === ARRAY) return readArray(cursor, what);
  const number = numbers[type];
  if (number === undefined) throw cursor.failure(`${what} is of unknown type ${type}`);
  const value = number.get(cursor.view(number.bytes, what));
  return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function readBoolean(byte: number, cursor: Cursor, what: string): boolean {
  if (byte > 1) throw cursor.failure(`damaged: ${what} holds ${byte} where 0 or 1 is needed`);
  return byte === 1;
}

function readArray(cursor: Cursor, what: string): GgufArray {
  const type = cursor.u32(`the type of ${what}`);
  const number = numbers[type];
  if (number === undefined && type !== TEXT && type !== BOOLEAN) {
    throw cursor.failure(`${what} is a list of ${type === ARRAY ? "lists" : `unknown type ${type}`}`);
  }
  const elementBytes = number?.bytes ?? (type === TEXT ? 8 : 1);
  const count = cursor.count(`the length of ${what}`, elementBytes);
  // One by one, so that nothing is allocated for strings that turn out not to be there.
  if (type === TEXT) {
    const texts: string[] = [];
    for (let index = 0; index < count; index++) texts.push(cursor.text(what));
    return texts;
  }
  const bytes = cursor.bytes(count * elementBytes, what);
  if (type === BOOLEAN && bytes.some((byte) => byte > 1)) throw cursor.failure(`damaged: ${what} holds no booleans`);
  return number === undefined ? bytes.slice() : number.list(bytes.slice().buffer);
}

function readAlignment(cursor: Cursor, value: GgufValue | undefined): number {
  if (value === undefined) return ALIGNMENT;
  const valid = typeof value === "number" && value >= 8 && value <= 1 << 20 && Number.isInteger(Math.log2(value));
  if (!valid) throw cursor.failure(`general.alignment is no power of two from 8 to ${1 << 20}`);
  return value;
}

/** A tensor's entry as it stands in the file. */
interface Entry {
  name: string;
  shape: number[];
  typeId: number;
  /** From where the data begin. */
  offset: number;
}

function readTensor(cursor: Cursor, index: number): Entry {
  const name = cursor.name(`tensor ${index}`);
  const what = `the entry of tensor '${printable(name)}'`;
  const dimensions = cursor.u32(what);
  if (dimensions > DIMENSIONS_MAX) throw tensorFailure(cursor.source, name, `it has ${dimensions} dimensions`);
  const shape = Array.from({ length: dimensions }, () => cursor.u64(what)).reverse();
  return { name, shape, typeId: cursor.u32(what), offset: cursor.u64(what) };
}

/**
 * Whether Q2_0 in this file means the older blocks of 128 weights. Nothing in the metadata says so; but tensors follow each other with no
 * more between them than the alignment needs, so their offsets do.
 */
function hasOlderBlocks(source: ByteSource, entries: Entry[], dataBegin: number, alignment: number): boolean {
  const ordered = [...entries].sort((one, other) => one.offset - other.offset);
  const fits = (type: GgufType) =>
    ordered.every(({ shape, typeId, offset }, index) => {
      if (ggufTypeOfId(typeId) !== "Q2_0") return true;
      if ((shape.at(-1) ?? 1) % ggufBlockWeights(type) !== 0) return false;
      const weights = shape.reduce((product, size) => product * size, 1);
      const end = offset + ggufTensorBytes(type, weights);
      const next = ordered[index + 1]?.offset ?? source.size - dataBegin;
      return end === next || Math.ceil(end / alignment) * alignment === next;
    });
  return !fits("Q2_0") && fits("PQ2_0");
}

/** Where a file's data begin, and how they are laid out. */
interface DataLayout {
  dataBegin: number;
  alignment: number;
  /** Whether Q2_0 means blocks of 128 weights. */
  older: boolean;
}

function place(source: ByteSource, entry: Entry, { dataBegin, alignment, older }: DataLayout): GgufTensor {
  const { name, shape, typeId, offset } = entry;
  const fail = (fault: string): never => {
    throw tensorFailure(source, name, fault);
  };
  const weights = shape.reduce((product, size) => product * size, 1);
  if (weights === 0 || !Number.isSafeInteger(weights * 4)) fail(`its shape [${shape.join(", ")}] is impossible`);
  if (offset % alignment !== 0) fail(`its data's offset ${offset} is no multiple of ${alignment}`);
  const begin = dataBegin + offset;
  const stated = ggufTypeOfId(typeId);
  const type = stated === "Q2_0" && older ? "PQ2_0" : stated;
  let bytes = 0;
  if (type !== undefined) {
    const block = ggufBlockWeights(type);
    // I2_S packs a matrix as one long row.
    const row = type === "I2_S" ? weights : (shape.at(-1) ?? 1);
    if (row % block !== 0) fail(`its ${row} elements in a row are no multiple of ${block}, as ${type} needs`);
    bytes = ggufTensorBytes(type, weights);
  }
  if (!(begin + bytes <= source.size)) {
    fail(`its data ends at byte ${begin + bytes}, but the file has ${source.size} bytes: truncated or damaged`);
  }
  return { name, typeId, type, shape, begin, end: begin + bytes };
}

function checkNames(source: ByteSource, tensors: GgufTensor[]): void {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name)) throw tensorFailure(source, name, "it is there twice");
    names.add(name);
  }
}

function checkOverlap(source: ByteSource, tensors: GgufTensor[]): void {
  const ordered = [...tensors].sort((one, other) => one.begin - other.begin || one.end - other.end);
  for (const [index, tensor] of ordered.entries()) {
    const previous = ordered[index - 1];
    if (previous !== undefined && tensor.begin < previous.end) {
      throw tensorFailure(source, tensor.name, `its data overlaps that of tensor '${printable(previous.name)}'`);
    }
  }
}
