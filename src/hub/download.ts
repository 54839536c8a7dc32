/**
 * Fetches contents from the hub over several connections at once. What came stays on the disk when a fetch ends early, with a note of how
 * much of each piece it is, and the next one goes on from there. A file gets its name only when its checksum is right.
 */

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { describeSystemError, Failure } from "../errors.ts";
import { openByteSource, readInPieces } from "../model_file/byte_source.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { writeWholeFile } from "../whole_file.ts";
import { type Hub, PassingFault, Patience } from "./endpoint.ts";
import type { HubName } from "./hub_name.ts";
import { explainRefusal, type HubFile } from "./repository.ts";

/** The ends of the names of contents that are not all there, and of the note of how much is. */
export const INCOMPLETE_SUFFIX = ".incomplete";
const NOTE_SUFFIX = ".incomplete.json";

const CONNECTIONS = 4;

/** What one request asks for at most. */
const PIECE_BYTES = 8 * 1024 * 1024;

/** Bytes that are read at once for a checksum. */
const CHECK_BYTES = 4 * 1024 * 1024;

/** How often the note is written, at most. */
const NOTE_INTERVAL_MS = 1000;

/** Contents to fetch and where they belong. */
export interface Wanted {
  file: HubFile;
  target: string;
}

/** What a fetch tells. */
export interface DownloadReport {
  /** Bytes that are there, and that there will be. */
  onProgress: (progress: { done: number; total: number }) => void;
  /** The same while checksums are computed. */
  onCheck: (progress: { done: number; total: number }) => void;
  /** A line about something that went wrong, and what is done about it. */
  say: (line: string) => void;
  signal: AbortSignal;
}

/**
 * Fetches contents.
 *
 * @param commit of the repository that has them
 * @throws Failure, one line. What came is kept for the next time.
 */
export async function download(
  hub: Hub,
  name: HubName,
  commit: string,
  wanted: Wanted[],
  report: DownloadReport,
): Promise<void> {
  requireSpace(wanted);
  let remaining = wanted;
  for (let attempt = 1; remaining.length > 0; attempt++) {
    await fetchAll(hub, name, commit, remaining, report);
    const wrong = await check(remaining, report);
    if (wrong.length > 0 && attempt === 2) {
      const [{ file }] = wrong as [Wanted];
      throw new Failure(
        `${name.repository}: ${file.path} does not have the checksum that ${hub.endpoint.host} states (${file.blob}), twice: nothing of it is kept`,
      );
    }
    for (const { file } of wrong) report.say(`${file.path} came with a wrong checksum; it is fetched once more`);
    remaining = wrong;
  }
}

/** Bytes of contents that are still to come, beside those of an earlier fetch. */
export function bytesLacking(wanted: Wanted[]): number {
  const present = ({ file, target }: Wanted) => readNote(target, file.size).reduce((sum, count) => sum + count, 0);
  return wanted.reduce((sum, item) => sum + item.file.size - present(item), 0);
}

/** Removes contents that are not all there. */
function removeIncomplete(target: string): void {
  for (const suffix of [INCOMPLETE_SUFFIX, NOTE_SUFFIX]) rmSync(target + suffix, { force: true });
}

/** Refuses at once what the disk cannot hold. */
function requireSpace(wanted: Wanted[]): void {
  const [first] = wanted;
  if (first === undefined) return;
  const folder = dirname(first.target);
  const needed = bytesLacking(wanted);
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= needed) return;
  throw new Failure(
    `no space: ${formatBytes(needed)} are still to come, ${formatBytes(bavail * bsize)} are free in ${folder}`,
  );
}

/** A file that is being fetched. */
class Incoming {
  /** Bytes of each piece that are there, from its beginning on. */
  readonly filled: number[];
  /** Where the hub's answer led, for the next pieces. */
  location: URL | undefined;
  /** From a server that sends whole files only, the piece whose request takes all of it. */
  takenBy: number | undefined;
  readonly #descriptor: number;
  #noted = performance.now();

  constructor(readonly wanted: Wanted) {
    const { file, target } = wanted;
    this.filled = readNote(target, file.size);
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    const path = target + INCOMPLETE_SUFFIX;
    this.#descriptor = openSync(path, existsSync(path) ? "r+" : "w+", 0o644);
  }

  get done(): number {
    return this.filled.reduce((sum, count) => sum + count, 0);
  }

  /** Bytes of a piece. */
  pieceSize(piece: number): number {
    return Math.min(PIECE_BYTES, this.wanted.file.size - piece * PIECE_BYTES);
  }

  /** Writes bytes and counts them. */
  write(position: number, bytes: Uint8Array): void {
    try {
      for (let written = 0; written < bytes.length; ) {
        written += writeSync(this.#descriptor, bytes, written, bytes.length - written, position + written);
      }
    } catch (error) {
      throw this.#failure(error);
    }
    const end = position + bytes.length;
    for (let piece = Math.floor(position / PIECE_BYTES); piece * PIECE_BYTES < end; piece++) {
      const count = Math.min(end - piece * PIECE_BYTES, this.pieceSize(piece));
      this.filled[piece] = Math.max(this.filled[piece] ?? 0, count);
    }
    if (performance.now() - this.#noted > NOTE_INTERVAL_MS) this.note();
  }

  /** Writes down how much is there. */
  note(): void {
    this.#noted = performance.now();
    const { file, target } = this.wanted;
    try {
      const text = JSON.stringify({ size: file.size, piece: PIECE_BYTES, filled: this.filled });
      writeWholeFile(target + NOTE_SUFFIX, text);
    } catch {
      // On a full disk an older note, or none, is not wrong: less is there than could be.
    }
  }

  /** Ends the writing. @throws Failure: some disks say only now that they are full. */
  close(): void {
    try {
      if (this.done === this.wanted.file.size) fsyncSync(this.#descriptor);
      this.note();
    } catch (error) {
      throw this.#failure(error);
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #failure(error: unknown): Failure {
    const reason = describeSystemError(error);
    return new Failure(
      `${this.wanted.target}: cannot be written: ${reason}; what came is kept, and the next pull goes on from there`,
    );
  }
}

/** How much of each piece an earlier fetch brought. */
function readNote(target: string, size: number): number[] {
  const nothing = Array.from({ length: Math.ceil(size / PIECE_BYTES) }, () => 0);
  try {
    const note = JSON.parse(readFileSync(target + NOTE_SUFFIX, "utf8"));
    const length = statSync(target + INCOMPLETE_SUFFIX).size;
    if (note.size !== size || note.piece !== PIECE_BYTES || note.filled.length !== nothing.length) return nothing;
    return nothing.map((_, piece) => {
      const room = Math.min(PIECE_BYTES, size - piece * PIECE_BYTES, length - piece * PIECE_BYTES);
      return Math.max(0, Math.min(room, Math.floor(Number(note.filled[piece])) || 0));
    });
  } catch {
    return nothing;
  }
}

/** Fetches what is lacking of some files; the first fault that does not pass ends it. */
async function fetchAll(
  hub: Hub,
  name: HubName,
  commit: string,
  wanted: Wanted[],
  { onProgress, say, signal }: DownloadReport,
): Promise<void> {
  const files = wanted.map((item) => new Incoming(item));
  const total = wanted.reduce((sum, { file }) => sum + file.size, 0);
  const tell = () => onProgress({ done: files.reduce((sum, { done }) => sum + done, 0), total });
  const pieces = files.flatMap((file) =>
    file.filled.flatMap((count, piece) => (count < file.pieceSize(piece) ? [{ file, piece }] : [])),
  );
  const all = new AbortController();
  const onAbort = () => all.abort();
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  let fault: unknown;
  const connection = async () => {
    for (let next = pieces.shift(); next !== undefined && fault === undefined; next = pieces.shift()) {
      const { file, piece } = next;
      try {
        const request = () => fetchPiece(hub, name, commit, file, piece, all.signal, tell);
        await hub.persist(request, all.signal, () => file.done, say);
      } catch (error) {
        fault ??= error;
        all.abort();
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: CONNECTIONS }, connection));
  } finally {
    signal.removeEventListener("abort", onAbort);
    for (const file of files) file.close();
  }
  if (fault !== undefined) {
    const done = files.reduce((sum, file) => sum + file.done, 0);
    if (!signal.aborted) throw fault;
    throw new Failure(
      `stopped after ${formatBytes(done)} of ${formatBytes(total)}; the next 'wrinklefree pull' goes on from there`,
    );
  }
}

/** Fetches what is lacking of one piece; or the whole file, from a server that knows no pieces. */
async function fetchPiece(
  hub: Hub,
  name: HubName,
  commit: string,
  incoming: Incoming,
  piece: number,
  signal: AbortSignal,
  tell: () => void,
): Promise<void> {
  const { file } = incoming.wanted;
  if (incoming.takenBy !== undefined && incoming.takenBy !== piece) return;
  const isTaken = incoming.takenBy === piece;
  const begin = isTaken ? 0 : piece * PIECE_BYTES + (incoming.filled[piece] as number);
  const end = isTaken ? file.size : piece * PIECE_BYTES + incoming.pieceSize(piece);
  if (begin >= end) return;
  const isAll = begin === 0 && end === file.size;
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  const start = incoming.location ?? hub.url(`${name.repository}/resolve/${commit}/${path}`);
  const patience = new Patience(signal);
  try {
    const headers: Record<string, string> = isAll ? {} : { range: `bytes=${begin}-${end - 1}` };
    const response = await hub.get(start, headers, patience);
    const { status } = response;
    const address = URL.parse(response.url);
    const isHub = address === null || address.origin === hub.endpoint.origin;
    if (status !== 200 && status !== 206) {
      if (isHub || status === 429 || status >= 500) throw await explainRefusal(hub, name, response, signal);
      // An address that the hub gave is good for a while only, whether another piece was told it or this request was led there.
      incoming.location = undefined;
      await response.body?.cancel();
      throw new PassingFault(`${address.host} refuses ${file.path} (${status})`, 1);
    }
    if (!isHub) incoming.location = address;
    const isPart = status === 206;
    if (isPart && !response.headers.get("content-range")?.startsWith(`bytes ${begin}-`)) {
      throw new Failure(`${start.host} sends another part of ${file.path} than it was asked for`);
    }
    if (!isPart && !isAll) {
      if (incoming.takenBy !== undefined) return;
      incoming.takenBy = piece;
    }
    await receive(incoming, response, isPart ? begin : 0, isPart ? end : file.size, patience, tell);
  } catch (error) {
    throw patience.explain(error, start.host);
  } finally {
    patience.close();
  }
}

/** Writes an answer's bytes to their place. */
async function receive(
  incoming: Incoming,
  response: Response,
  begin: number,
  end: number,
  patience: Patience,
  tell: () => void,
): Promise<void> {
  let position = begin;
  for await (const bytes of response.body ?? []) {
    patience.renew();
    const piece = bytes.subarray(0, end - position);
    incoming.write(position, piece);
    position += piece.length;
    tell();
    if (position === end) return;
  }
  if (position < end) throw new PassingFault(`${new URL(response.url).host}: closed the connection`);
}

/**
 * Compares checksums, and names the contents whose is right.
 *
 * @returns those whose is wrong; nothing is left of them
 */
async function check(wanted: Wanted[], { onCheck, signal }: DownloadReport): Promise<Wanted[]> {
  const total = wanted.reduce((sum, { file }) => sum + file.size, 0);
  const wrong: Wanted[] = [];
  let done = 0;
  for (const item of wanted) {
    const { file, target } = item;
    const before = done;
    const sum = await checksum(target + INCOMPLETE_SUFFIX, file, signal, (bytes) =>
      onCheck({ done: before + bytes, total }),
    );
    done += file.size;
    if (sum !== file.blob) {
      removeIncomplete(target);
      wrong.push(item);
      continue;
    }
    renameSync(target + INCOMPLETE_SUFFIX, target);
    removeIncomplete(target);
  }
  return wrong;
}

/** The SHA-256 of a large file, git's hash of a small one: whichever its name on the hub is. */
async function checksum(
  path: string,
  { blob, size }: HubFile,
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<string> {
  const isLarge = blob.length === 64;
  const hash = new Bun.CryptoHasher(isLarge ? "sha256" : "sha1");
  if (!isLarge) hash.update(`blob ${size}\0`);
  const source = openByteSource(path);
  try {
    const isWhole = await readInPieces(source, size, CHECK_BYTES, signal, (piece, done) => {
      hash.update(piece);
      onProgress(done);
    });
    if (!isWhole) throw new Failure("stopped; the next 'wrinklefree pull' goes on from there");
    return hash.digest("hex");
  } finally {
    source.close();
  }
}
