/**
 * Where the readers of this folder get their bytes from: a file of any size, or bytes in memory. Both are read at positions, a
 * piece at a time, so that no file is ever held whole; and both name themselves, so that every fault can say where it is.
 */

import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { describeSystemError, Failure } from "../errors.ts";

/** Bytes that can be read at any position. */
export interface ByteSource {
  /** The path, or what stands for it in messages. */
  readonly name: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /**
   * Fills `target` with the bytes from `position` on.
   *
   * @throws Failure when they are not all there
   */
  read(position: number, target: Uint8Array): void;
  /** Gives the file back. Nothing may be read afterwards. */
  close(): void;
}

/**
 * Opens a file for reading.
 *
 * @throws Failure naming the path when it cannot be opened or is not a regular file
 */
export function openByteSource(path: string): ByteSource {
  let descriptor: number;
  try {
    // Devices are not even opened, which can have effects; and whatever takes the file's place meanwhile, nobody waits for it.
    requireRegularFile(path, statusOf(path));
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${path}: ${describeSystemError(error)}`);
  }
  const status = fstatSync(descriptor);
  try {
    requireRegularFile(path, status);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  return {
    name: path,
    size: status.size,
    read(position, target) {
      let filled = 0;
      while (filled < target.length) {
        let count: number;
        try {
          count = readSync(descriptor, target, filled, target.length - filled, position + filled);
        } catch (error) {
          throw new Failure(`${path}: cannot be read at byte ${position + filled}: ${describeSystemError(error)}`);
        }
        if (count === 0)
          throw new Failure(`${path}: truncated: ends at byte ${position + filled} while it is being read`);
        filled += count;
      }
    },
    close() {
      closeSync(descriptor);
    },
  };
}

/**
 * What the system knows of a path.
 *
 * @throws Failure naming the path when there is nothing, or no way to it
 */
export function statusOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw new Failure(`${path}: ${describeSystemError(error)}`);
  }
}

function requireRegularFile(path: string, status: Stats): void {
  if (status.isFile()) return;
  const kind = status.isDirectory()
    ? "is a directory, not a file"
    : status.isFIFO()
      ? "is a pipe, not a regular file"
      : status.isSocket()
        ? "is a socket, not a regular file"
        : "is a device, not a regular file";
  throw new Failure(`${path}: ${kind}`);
}

/** Reads from bytes that are already in memory; `name` stands for the path in messages. */
export function memoryByteSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.length,
    read(position, target) {
      const piece = bytes.subarray(position, position + target.length);
      if (piece.length < target.length) throw new Failure(`${name}: truncated: ends at byte ${bytes.length}`);
      target.set(piece);
    },
    close() {},
  };
}

/**
 * Reads the first bytes of a source from end to end.
 *
 * @param size how many
 * @param pieceBytes how many at once
 * @param onPiece gets each piece, whose memory is that of the next, and how many bytes were read with it
 * @returns whether all were read, since the signal did not come
 * @throws Failure when they are not all there
 */
export async function readInPieces(
  source: ByteSource,
  size: number,
  pieceBytes: number,
  signal: AbortSignal,
  onPiece: (piece: Uint8Array, done: number) => void,
): Promise<boolean> {
  const buffer = new Uint8Array(Math.min(pieceBytes, size));
  for (let position = 0; position < size; position += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, size - position));
    source.read(position, piece);
    onPiece(piece, position + piece.length);
    // Lets a signal's handler run: reading is synchronous.
    await new Promise(setImmediate);
    if (signal.aborted) return false;
  }
  return true;
}

/**
 * Reads a whole small file.
 *
 * @param limit most bytes that it may have
 * @throws Failure naming the path when it cannot be read or is larger
 */
export function readSmallFile(path: string, limit: number): Uint8Array {
  const source = openByteSource(path);
  try {
    if (source.size > limit) throw new Failure(`${path}: ${source.size} bytes are over the limit of ${limit}`);
    const bytes = new Uint8Array(source.size);
    source.read(0, bytes);
    return bytes;
  } finally {
    source.close();
  }
}
