/**
 * The C library, opened once and never closed. This is the only file that imports bun:ffi: what others get are functions that
 * take and give ordinary values, and that throw a Failure where C reports one.
 */

import { dlopen } from "bun:ffi";
import { accessSync, constants } from "node:fs";
import { tmpdir } from "node:os";
import libraryPath from "../../build/native/libwrinklefree.so" with { type: "file" };
import { Failure, MemoryFailure } from "../errors.ts";
import {
  ABI_VERSION,
  type layouts,
  MACHINE_ATTENTION_F16,
  MACHINE_ATTENTION_F32,
  MACHINE_ATTENTION_Q8,
  MACHINE_FLOAT_MULTIPLY_ADDS,
  MACHINE_MULTIPLY_ADDS,
  MACHINE_PHASE,
  MACHINE_READ_BANDWIDTH,
  MACHINE_SKETCH,
  MACHINE_TERNARY,
  SOURCE_BF16,
  SOURCE_CODES,
  SOURCE_F16,
  SOURCE_F32,
  SOURCE_I2_S,
  SOURCE_PTQ1_0,
  SOURCE_Q2_0_64,
  SOURCE_Q2_0_128,
  SOURCE_TQ1_0,
  SOURCE_TQ2_0,
  symbols,
} from "./symbols.ts";

export type { Pointer } from "bun:ffi";

/** How the weights given to packRows are stored; see WF_SOURCE_… in wrinklefree.h. */
export type WeightSource =
  | "f32"
  | "f16"
  | "bf16"
  | "codes"
  | "i2_s"
  | "tq1_0"
  | "tq2_0"
  | "q2_0_64"
  | "q2_0_128"
  | "ptq1_0";

const sources: Record<WeightSource, number> = {
  f32: SOURCE_F32,
  f16: SOURCE_F16,
  bf16: SOURCE_BF16,
  codes: SOURCE_CODES,
  i2_s: SOURCE_I2_S,
  tq1_0: SOURCE_TQ1_0,
  tq2_0: SOURCE_TQ2_0,
  q2_0_64: SOURCE_Q2_0_64,
  q2_0_128: SOURCE_Q2_0_128,
  ptq1_0: SOURCE_PTQ1_0,
};

type Functions = ReturnType<typeof dlopen<typeof symbols>>["symbols"];

let opened: Functions | undefined;

/** Why the library could not be opened, in one line that says what to do. */
function loadFailure(error: unknown): Failure {
  const reason = (error as Error).message.split("\n")[0];
  const directory = process.env.BUN_TMPDIR ?? tmpdir();
  if (!libraryPath.startsWith("/$bunfs/")) {
    return new Failure(`can't load the engine's library ${libraryPath}: ${reason}; build it with 'bun run build'`);
  }
  if (reason?.includes("requires the JIT")) {
    return new Failure(
      "the engine can't be called, because the runtime may not have the memory for programs that it makes; lift 'ulimit -v', 'ulimit -d' and MemoryDenyWriteExecute=, and bound memory with MemoryMax= or another control group",
    );
  }
  try {
    accessSync(directory, constants.W_OK);
  } catch {
    return new Failure(
      `can't unpack the engine into the temporary directory ${directory}: it is missing or not writable; set BUN_TMPDIR to a directory where files may be written and programs may run`,
    );
  }
  return new Failure(
    `can't load the engine from the temporary directory ${directory} (mounted noexec, or full?): ${reason}; set BUN_TMPDIR to a directory where programs may run`,
  );
}

/**
 * The library's functions.
 *
 * @throws Failure when the library can't be opened or is of another version than this program.
 */
export function library(): Functions {
  if (opened !== undefined) return opened;
  let functions: Functions;
  try {
    functions = dlopen(libraryPath, symbols).symbols;
  } catch (error) {
    throw loadFailure(error);
  }
  const version = functions.wf_abi_version();
  if (version !== ABI_VERSION) {
    throw new Failure(
      `the engine's library speaks version ${version}, this program version ${ABI_VERSION}; build both again`,
    );
  }
  opened = functions;
  return functions;
}

/** Bytes for the library's error line. */
const ERROR_BYTES = 1024;

/**
 * Calls a library function that takes an error buffer and its size as its last arguments.
 *
 * @param call Makes the call with the given buffer.
 * @param failed Whether a result means failure.
 * @throws Failure with the library's line.
 */
export function checked<Result>(
  call: (error: Uint8Array, size: number) => Result,
  failed: (result: Result) => boolean,
): Result {
  const error = new Uint8Array(ERROR_BYTES);
  const result = call(error, ERROR_BYTES);
  if (!failed(result)) return result;
  const message = new TextDecoder().decode(error.subarray(0, error.indexOf(0)));
  throw message.startsWith("no memory") ? new MemoryFailure(message) : new Failure(message);
}

/** A string as C wants it. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

type Layout = (typeof layouts)[keyof typeof layouts];

const writers = {
  u32: (view: DataView, offset: number, value: number | bigint) => view.setUint32(offset, Number(value), true),
  u64: (view: DataView, offset: number, value: number | bigint) => view.setBigUint64(offset, BigInt(value), true),
  f32: (view: DataView, offset: number, value: number | bigint) => view.setFloat32(offset, Number(value), true),
  f64: (view: DataView, offset: number, value: number | bigint) => view.setFloat64(offset, Number(value), true),
};

const readers: Record<keyof typeof writers, (view: DataView, offset: number) => number> = {
  u32: (view, offset) => view.getUint32(offset, true),
  u64: (view, offset) => Number(view.getBigUint64(offset, true)),
  f32: (view, offset) => view.getFloat32(offset, true),
  f64: (view, offset) => view.getFloat64(offset, true),
};

/** The bytes of a struct with the given values in its fields. */
export function packStruct<L extends Layout>(
  layout: L,
  values: Record<keyof L["fields"], number | bigint>,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(layout.size));
  for (const [name, field] of Object.entries(layout.fields) as [
    keyof L["fields"],
    { offset: number; type: keyof typeof writers },
  ][]) {
    writers[field.type](view, field.offset, values[name]);
  }
  return new Uint8Array(view.buffer);
}

/** The values of a struct's fields, read from its bytes. */
export function unpackStruct<L extends Layout>(layout: L, bytes: Uint8Array): Record<keyof L["fields"], number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const fields = Object.entries(layout.fields) as [string, { offset: number; type: keyof typeof readers }][];
  return Object.fromEntries(fields.map(([name, { offset, type }]) => [name, readers[type](view, offset)])) as Record<
    keyof L["fields"],
    number
  >;
}

/**
 * The name of the kernel tier in use.
 *
 * @throws Failure when WRINKLEFREE_CPU names none that this processor can run.
 */
export function cpuTier(): string {
  const tier = library().wf_cpu_tier() as string | null; // bun's types leave out that NULL becomes null
  if (tier === null) {
    throw new Failure(
      `WRINKLEFREE_CPU=${process.env.WRINKLEFREE_CPU} names no kernels that this processor can run, which are ${cpuTiers().join(", ")}; unset it for the first of them`,
    );
  }
  return tier;
}

/** The kernel tiers that this processor can run, best first. */
export function cpuTiers(): string[] {
  return String(library().wf_cpu_tiers()).split(",");
}

/** Why the tier in use is no better one: "no tiles: the processor has none", …; null when there is no better one. */
export function cpuTierReason(): string | null {
  return library().wf_cpu_tier_reason() as string | null;
}

/**
 * The tier in use for people: "avx512 (no tiles: the processor has none)".
 *
 * @throws Failure as cpuTier does.
 */
export function describeCpuTier(): string {
  const reason = cpuTierReason();
  return reason === null ? cpuTier() : `${cpuTier()} (${reason})`;
}

/** The cores that this process may run on. */
export function cpuCores(): number {
  return library().wf_cpu_cores();
}

/**
 * Locks an open file against other processes until it is closed or this process ends; see wf_file_lock in wrinklefree.h.
 *
 * @param isShared whether others that share it may have it too.
 * @returns false when another has it.
 */
export function lockFile(descriptor: number, isShared: boolean): boolean {
  return library().wf_file_lock(descriptor, isShared ? 1 : 0) === 1;
}

/** What can be measured of a machine; see WF_MACHINE_… in wrinklefree.h. */
export type Measured = keyof typeof measurements;

const measurements = {
  reads: MACHINE_READ_BANDWIDTH,
  multiplyAdds: MACHINE_MULTIPLY_ADDS,
  floatMultiplyAdds: MACHINE_FLOAT_MULTIPLY_ADDS,
  phaseMicroseconds: MACHINE_PHASE,
  ternary: MACHINE_TERNARY,
  sketch: MACHINE_SKETCH,
  attention_f32: MACHINE_ATTENTION_F32,
  attention_f16: MACHINE_ATTENTION_F16,
  attention_q8: MACHINE_ATTENTION_Q8,
};

/**
 * How much this many threads together do at most: GB/s, or multiply-adds in 10^9 a second; or how many µs a phase of theirs takes at
 * least. See wf_machine_measure in wrinklefree.h.
 *
 * @param tier one of cpuTiers.
 * @param tokens of products and attention, 1 to 1024.
 * @throws Failure when memory or threads are lacking.
 */
export function measureMachine(what: Measured, tier: string, threads: number, tokens = 0): number {
  return checked(
    (error, size) =>
      library().wf_machine_measure(measurements[what], Buffer.from(`${tier}\0`), threads, tokens, error, size),
    (result) => result === 0,
  );
}

/** Bytes of one row of the head's sketch, for a hidden state of `hidden` elements, as far as a greedy choice reads it. */
export function screenedRowBytes(hidden: number): number {
  return Number(library().wf_screened_row_bytes(hidden));
}

/** The sum of |w| over `count` master weights. */
export function sumOfMagnitudes(weights: Uint8Array, source: WeightSource, count: number): number {
  return library().wf_sum_of_magnitudes(weights, sources[source], count);
}

/** The magnitude of all weights that are not zero; 0 when all are, NaN when there are several: see wf_ternary_magnitude. */
export function ternaryMagnitude(weights: Uint8Array, source: WeightSource, count: number): number {
  return library().wf_ternary_magnitude(weights, sources[source], count);
}

/**
 * Quantises and packs rows of weights: see wf_pack_rows in wrinklefree.h.
 *
 * @param weights [rows][columns] in the source's element type.
 * @param out the packed rows, filled here.
 * @throws Failure for weights that are not finite, or codes over 2.
 */
export function packRows(
  weights: Uint8Array,
  source: WeightSource,
  rows: number,
  columns: number,
  scale: number,
  out: Uint8Array,
): void {
  checked(
    (error, size) => library().wf_pack_rows(weights, sources[source], rows, columns, scale, out, error, size),
    (result) => result !== 0,
  );
}

/** The widest group of inputs by which rows of weights are ternary; 0 when they are not: see wf_ternary_group. */
export function ternaryGroup(weights: Uint8Array, source: WeightSource, rows: number, columns: number): number {
  return library().wf_ternary_group(weights, sources[source], rows, columns);
}

/**
 * Packs rows of weights that are ternary by groups of inputs: see wf_pack_groups in wrinklefree.h.
 *
 * @param weights [rows][columns] in the source's encoding.
 * @param out the packed rows with their scales, filled here.
 * @throws Failure for weights that are not ternary by such groups, scales that are no halves, or codes over 2.
 */
export function packGroups(
  weights: Uint8Array,
  source: WeightSource,
  rows: number,
  columns: number,
  group: number,
  out: Uint8Array,
): void {
  checked(
    (error, size) => library().wf_pack_groups(weights, sources[source], rows, columns, group, out, error, size),
    (result) => result !== 0,
  );
}

/**
 * Puts rows that packGroups made into panels: see wf_pack_panels in wrinklefree.h.
 *
 * @param out the panels, filled here: as many rows as the last one needs to be whole.
 */
export function packPanels(rows: Uint8Array, count: number, columns: number, group: number, out: Uint8Array): void {
  library().wf_pack_panels(rows, count, columns, group, out);
}
