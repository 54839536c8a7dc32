/**
 * The safetensors format: a reader of headers that believes nothing, and a writer of headers. A file is a little-endian u64
 * header length, that many bytes of JSON, then the tensors. Tensors are not read here as a whole: callers take an entry's byte
 * range piece by piece from the ByteSource, so files may be of any size.
 */

import { Failure } from "../errors.ts";
import { isObject } from "../json.ts";
import type { ByteSource } from "./byte_source.ts";
import { printable } from "./config_fields.ts";
import { recogniseForeignFile } from "./foreign.ts";

/** Bytes of one element of each dtype that the format knows and this project can size. */
const elementBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const;

/** The element type of a tensor. */
export type Dtype = keyof typeof elementBytes;

/** One tensor of a file. */
export interface TensorEntry {
  name: string;
  dtype: Dtype;
  /** Outermost first, [rows, columns] for a matrix. */
  shape: number[];
  /** First byte, counted from the start of the file. */
  begin: number;
  /** One past the last byte, counted from the start of the file. */
  end: number;
}

/** What a header says, checked against the file's size. */
export interface SafetensorsHeader {
  /** The strings of `__metadata__`; empty when there is none. */
  metadata: Map<string, string>;
  /** In the header's order. */
  tensors: TensorEntry[];
  /** Where the tensors' bytes begin: 8 + the header's length. */
  dataBegin: number;
}

/** What a tensor will be when a header is written. */
export interface TensorPlan {
  name: string;
  dtype: Dtype;
  shape: number[];
}

/** The longest header that the format allows. */
const HEADER_BYTES_MAX = 100_000_000;

/** More dimensions than any tensor of a language model has. */
const DIMENSIONS_MAX = 8;

/** Bytes of one element. */
export function dtypeBytes(dtype: Dtype): number {
  return elementBytes[dtype];
}

/** Bytes of a tensor whose shape is known to be sane. */
export function tensorBytes(plan: TensorPlan): number {
  return plan.shape.reduce((product, size) => product * size, elementBytes[plan.dtype]);
}

/**
 * Reads and checks the header: lengths within the file, known dtypes, sizes that agree with shapes, no overlap. Bytes that no
 * tensor covers are allowed, as other writers leave them.
 *
 * @throws Failure, one line: `path: fault` or `path: tensor 'x': fault`
 */
export function readSafetensorsHeader(source: ByteSource): SafetensorsHeader {
  const fail = (fault: string): never => {
    throw new Failure(`${source.name}: ${fault}`);
  };
  const head = new Uint8Array(Math.min(source.size, 64));
  source.read(0, head);
  if (head.length < 8) fail(`${foreignOr(head, "truncated")}: ${source.size} bytes are too few for a safetensors file`);
  const length = new DataView(head.buffer).getBigUint64(0, true);
  if (length > BigInt(HEADER_BYTES_MAX)) {
    fail(
      foreignOr(
        head,
        "a file of a kind that is unknown here; a model is a packed file (.wf), a GGUF file or the directory of a checkpoint, with safetensors files",
      ),
    );
  }
  const dataBegin = 8 + Number(length);
  if (dataBegin > source.size) {
    fail(foreignOr(head, `truncated: the header ends at byte ${dataBegin}, the file at byte ${source.size}`));
  }
  const headerBytes = new Uint8Array(Number(length));
  source.read(8, headerBytes);
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(headerBytes));
  } catch {
    fail(foreignOr(head, "the safetensors header is not JSON"));
  }
  if (!isObject(parsed)) return fail("the safetensors header is not a JSON object");

  const header: SafetensorsHeader = { metadata: new Map(), tensors: [], dataBegin };
  for (const [name, value] of Object.entries(parsed)) {
    if (name === "__metadata__") {
      if (!isObject(value)) return fail("__metadata__ is not a JSON object");
      for (const [key, text] of Object.entries(value)) {
        if (typeof text !== "string") return fail(`__metadata__ '${printable(key)}' is not a string`);
        header.metadata.set(key, text);
      }
    } else {
      header.tensors.push(checkEntry(name, value, dataBegin, source));
    }
  }
  checkOverlap(header.tensors, source);
  return header;
}

/**
 * Lays tensors out one after another and encodes the header for them, padded with spaces so that the data begins at a multiple
 * of `alignment` bytes, and not before `leastBytes`.
 *
 * @returns the first bytes of the file, and an entry for each plan in its order
 */
export function encodeSafetensorsHeader(
  metadata: Record<string, string>,
  plans: TensorPlan[],
  alignment: number,
  leastBytes = 0,
): { bytes: Uint8Array; tensors: TensorEntry[] } {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const plan of plans) {
    const end = offset + tensorBytes(plan);
    header[plan.name] = { dtype: plan.dtype, shape: plan.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const dataBegin = Math.ceil(Math.max(8 + text.length, leastBytes) / alignment) * alignment;
  const bytes = new Uint8Array(dataBegin).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(dataBegin - 8), true);
  bytes.set(text, 8);
  let begin = dataBegin;
  const tensors = plans.map((plan) => {
    const entry = { ...plan, begin, end: begin + tensorBytes(plan) };
    begin = entry.end;
    return entry;
  });
  return { bytes, tensors };
}

/** A failure that names the file, the tensor and the fault. */
export function tensorFailure(source: ByteSource | string, tensor: string, fault: string): Failure {
  return new Failure(`${typeof source === "string" ? source : source.name}: tensor '${printable(tensor)}': ${fault}`);
}

function checkEntry(name: string, value: unknown, dataBegin: number, source: ByteSource): TensorEntry {
  const fail = (fault: string): never => {
    throw tensorFailure(source, name, fault);
  };
  if (!isObject(value)) return fail("its header entry is not a JSON object");
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string") return fail("its dtype is missing or not a string");
  if (!Object.hasOwn(elementBytes, dtype)) return fail(`unknown dtype '${printable(dtype)}'`);
  if (Array.isArray(shape) && shape.length > DIMENSIONS_MAX) return fail(`it has ${shape.length} dimensions`);
  if (!Array.isArray(shape) || !shape.every(isSize)) return fail("its shape is not a list of whole numbers");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail("its data_offsets are not two whole numbers");
  }
  let bytes = elementBytes[dtype as Dtype] as number;
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) return fail(`its shape [${shape.join(", ")}] overflows`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) return fail(`its data ends at ${end}, before it begins at ${begin}`);
  if (end > source.size - dataBegin) {
    return fail(
      `its data ends at byte ${dataBegin + end}, but the file has ${source.size} bytes: truncated or damaged`,
    );
  }
  if (end - begin !== bytes) {
    return fail(`its data is ${end - begin} bytes, but ${dtype} [${shape.join(", ")}] needs ${bytes}`);
  }
  return { name, dtype: dtype as Dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function checkOverlap(tensors: TensorEntry[], source: ByteSource): void {
  const ordered = tensors.filter((tensor) => tensor.end > tensor.begin).sort((one, other) => one.begin - other.begin);
  for (const [index, tensor] of ordered.entries()) {
    const previous = ordered[index - 1];
    if (previous !== undefined && tensor.begin < previous.end) {
      throw tensorFailure(source, tensor.name, `its data overlaps that of tensor '${printable(previous.name)}'`);
    }
  }
}

function foreignOr(head: Uint8Array, fault: string): string {
  const kind = recogniseForeignFile(head);
  return kind === null ? fault : `this is ${kind}`;
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
