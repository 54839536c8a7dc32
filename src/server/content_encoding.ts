/**
 * Bodies that were compressed on their way: decoded within a bound, so that a small body can't become a large one.
 */

import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate, type ZlibOptions, zstdDecompress } from "node:zlib";
import { RequestError } from "../serving/request_error.ts";

type Decoder = (bytes: Uint8Array, limit: ZlibOptions) => Promise<Uint8Array>;

/** All of them work on threads of their own. */
const DECODERS: Record<string, Decoder> = {
  gzip: promisify(gunzip) as Decoder,
  deflate: promisify(inflate) as Decoder,
  br: promisify(brotliDecompress) as Decoder,
  async zstd(bytes, limit) {
    // Bounded, but Bun 1.4.5 takes the beginning of a frame for the whole; the other one is not bounded, and does not.
    await (promisify(zstdDecompress) as Decoder)(bytes, limit);
    return Bun.zstdDecompress(bytes as Uint8Array<ArrayBuffer>);
  },
};
DECODERS["x-gzip"] = DECODERS.gzip as Decoder;

/**
 * Bodies that are decoded at once. What comes out of them is counted when it is there; until then, what these may become is all that
 * nobody counts. The threads that decode are hardly more.
 */
const DECODED_AT_ONCE = 4;

let decoded = 0;
const waiting: (() => void)[] = [];

/** Does work as one of DECODED_AT_ONCE, the others having come first. */
async function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
  if (decoded < DECODED_AT_ONCE) decoded++;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) decoded--;
    else next();
  }
}

/** What a header Content-Encoding stands for. */
export interface ContentEncoding {
  /** @throws RequestError 400 when the bytes are not in this encoding, 413 when there are more than `bytesMax` in them. */
  decode(bytes: Uint8Array, bytesMax: number): Promise<Uint8Array>;
}

/**
 * Finds an encoding by its name; undefined for none and "identity".
 *
 * @throws RequestError 415 for one that is not known, or several on top of each other.
 */
export function contentEncoding(header: string | null): ContentEncoding | undefined {
  const name = (header ?? "").trim().toLowerCase();
  if (name === "" || name === "identity") return undefined;
  const decoder = Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined;
  if (decoder === undefined) {
    const known = "gzip, deflate, br, zstd";
    throw new RequestError(
      415,
      `The Content-Encoding of your request is not one of ${known}; send the body as it is.`,
      {
        headers: { "accept-encoding": known },
      },
    );
  }
  return {
    async decode(bytes, bytesMax) {
      try {
        return await inTurn(() => decoder(bytes, { maxOutputLength: bytesMax }));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
          throw new RequestError(
            413,
            `The body of your request is over the limit of ${bytesMax} bytes when it is decoded; send less at once.`,
          );
        }
        throw new RequestError(400, `The body of your request is not what its Content-Encoding says: ${name}.`);
      }
    },
  };
}
