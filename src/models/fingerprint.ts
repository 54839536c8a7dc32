/**
 * What tells the contents of one model's files from another's: a key, made of hashes of all their bytes. A file whose identity is
 * remembered (where it lies on the disk, its size and times) is not read again.
 *
 * The hash is fast, not one that resists forgers: whoever forges a file gets the model that the user already has.
 */

import { type BigIntStats, statSync } from "node:fs";
import { FORMAT_VERSION } from "../engine/symbols.ts";
import { describeSystemError, Failure } from "../errors.ts";
import { openByteSource, readInPieces } from "../model_file/byte_source.ts";
import { KEY_DIGITS } from "./store.ts";

/** Bytes that are hashed at once. */
const CHUNK_BYTES = 16 * 1024 * 1024;

/** A file that changed so shortly before may change again without a sign: its times advance in steps. */
const SETTLED_AFTER_NS = 2_000_000_000n;

/** One of the files that a model is made from. */
export interface SourceFile {
  /** What tells it from the model's other files: its path in a directory, or its number among the parts of a file. */
  name: string;
  path: string;
}

/** What is remembered of one. */
export interface FileRecord {
  name: string;
  /** Device, number, size, and the times of the last changes of contents and of the file itself. */
  identity: string;
  /** 16 hexadecimal digits for each CHUNK_BYTES, hashed once more. */
  hash: string;
}

/** What identifies the contents of a model's files. */
export interface Fingerprint {
  key: string;
  files: FileRecord[];
  /** Whether all files have been at rest for long enough that their identities may be remembered. */
  isSettled: boolean;
}

/** How the making of a fingerprint goes. */
export interface FingerprintOptions {
  /** Hashes by identities. */
  known: ReadonlyMap<string, string>;
  onProgress: (progress: { done: number; total: number }) => void;
  signal: AbortSignal;
}

/**
 * Makes the fingerprint of a model's files. Each is read once, unless it is known.
 *
 * @throws Failure when one cannot be read, or changes meanwhile
 */
export async function fingerprint(files: SourceFile[], options: FingerprintOptions): Promise<Fingerprint> {
  const now = BigInt(Date.now()) * 1_000_000n;
  const states = files.map(({ path }) => readStatus(path));
  const total = states.reduce((sum, { size }) => sum + Number(size), 0);
  const records: FileRecord[] = [];
  let done = 0;
  for (const [index, { name, path }] of files.entries()) {
    const identity = identityOf(states[index] as BigIntStats);
    const before = done;
    const hash =
      options.known.get(identity) ??
      (await hashFile(path, options.signal, (bytes) => options.onProgress({ done: before + bytes, total })));
    if (fileIdentity(path) !== identity) throw new Failure(`${path}: changed while it was read; try again`);
    records.push({ name, identity, hash });
    done += Number((states[index] as BigIntStats).size);
  }
  const isSettled = states.every(({ ctimeNs, mtimeNs }) =>
    [ctimeNs, mtimeNs].every((time) => now - time > SETTLED_AFTER_NS),
  );
  return { key: keyOf(records), files: records, isSettled };
}

/** The key of contents. It depends on what is made of them as well. */
function keyOf(files: FileRecord[]): string {
  const hash = new Bun.CryptoHasher("sha256").update(`${FORMAT_VERSION}\n`);
  for (const file of files) hash.update(`${file.name}\0${file.hash}\n`);
  return hash.digest("hex").slice(0, KEY_DIGITS);
}

/** What a file's identity is now; undefined when it is gone. */
export function fileIdentity(path: string): string | undefined {
  const status = statSync(path, { bigint: true, throwIfNoEntry: false });
  return status === undefined ? undefined : identityOf(status);
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

function readStatus(path: string): BigIntStats {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    throw new Failure(`${path}: ${describeSystemError(error)}`);
  }
}

/** Hashes all bytes of a file, in pieces, with a hash over the pieces' hashes. */
async function hashFile(path: string, signal: AbortSignal, onProgress: (done: number) => void): Promise<string> {
  const file = openByteSource(path);
  try {
    const hashes = new Bun.CryptoHasher("sha256").update(`${file.size}\n`);
    const isWhole = await readInPieces(file, file.size, CHUNK_BYTES, signal, (piece, done) => {
      hashes.update(`${Bun.hash.xxHash3(piece).toString(16).padStart(16, "0")}\n`);
      onProgress(done);
    });
    if (!isWhole) throw new Failure(`${path}: interrupted`);
    return hashes.digest("hex").slice(0, 32);
  } finally {
    file.close();
  }
}
