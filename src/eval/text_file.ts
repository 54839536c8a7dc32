/** Reads a text of any length piece by piece, and says at once when it is none. */

import { Failure } from "../errors.ts";
import type { ByteSource } from "../model_file/byte_source.ts";

/** Bytes that are read at a time. */
const READ_BYTES = 1 << 18;

/**
 * The text of a file, in pieces as they are read. A byte-order mark at its beginning is no part of it.
 *
 * @throws Failure for a file that is empty or not UTF-8, or has zero bytes, which no text has.
 */
export function* textOf(source: ByteSource): Generator<string, void> {
  if (source.size === 0) throw new Failure(`${source.name}: is empty`);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const buffer = new Uint8Array(Math.min(READ_BYTES, source.size));
  for (let position = 0; position < source.size; position += buffer.length) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, source.size - position));
    source.read(position, bytes);
    const zero = bytes.indexOf(0);
    if (zero >= 0) throw new Failure(`${source.name}: is no text: there is a zero byte at ${position + zero}`);
    try {
      const isLast = position + bytes.length === source.size;
      yield decoder.decode(bytes, { stream: !isLast });
    } catch {
      throw new Failure(
        `${source.name}: is not UTF-8: bytes ${position} to ${position + bytes.length} can't be read as text`,
      );
    }
  }
}
