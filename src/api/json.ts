/**
 * JSON answers of any size. A large one is written in pieces, each in a turn of its own and only when the client has taken what came
 * before: neither the event loop nor memory has to deal with all of its text at once.
 */

import { turns } from "../text/turns.ts";
import { countValues } from "./schema.ts";

/** An answer with fewer values is written at once: a few milliseconds. */
const VALUES_AT_ONCE = 4096;

/** Characters that are collected before they are handed on. */
const PIECE_LENGTH = 65_536;

/** How an answer is sent. */
export interface JsonOptions {
  /** Called when the answer is so large that it is streamed. */
  onStream: () => void;
  /** Called once when the answer is over, before its last bytes are sent, or when it is given up. */
  onEnd: () => void;
}

/**
 * Answers with a value as JSON.
 *
 * @param client fires when the client has left.
 */
export function jsonResponse(value: object, client: AbortSignal, { onStream, onEnd }: JsonOptions): Response {
  if (countValues(value, VALUES_AT_ONCE) < VALUES_AT_ONCE) {
    const response = Response.json(value);
    onEnd();
    return response;
  }
  onStream();
  const pieces = writeJson(value);
  const encoder = new TextEncoder();
  let isOpen = true;
  const end = () => {
    if (isOpen) onEnd();
    isOpen = false;
    client.removeEventListener("abort", end);
  };
  client.addEventListener("abort", end, { once: true });
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        await turns.take();
        const piece = pieces.next();
        if (!isOpen) return;
        if (piece.done) {
          end();
          controller.close();
        } else {
          controller.enqueue(encoder.encode(piece.value));
        }
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: { "content-type": "application/json;charset=utf-8" } });
}

/** The JSON text of a value of plain objects, lists, strings, numbers, booleans and null, in pieces. */
export function* writeJson(value: unknown): Generator<string, void> {
  let piece = "";
  for (const text of write(value)) {
    piece += text;
    if (piece.length < PIECE_LENGTH) continue;
    yield piece;
    piece = "";
  }
  if (piece !== "") yield piece;
}

/** Values that are written together. */
const VALUES_TOGETHER = 64;

function* write(value: unknown): Generator<string, void> {
  if (countValues(value, VALUES_TOGETHER) < VALUES_TOGETHER) {
    yield JSON.stringify(value);
  } else if (Array.isArray(value)) {
    yield "[";
    for (const [i, element] of value.entries()) {
      if (i > 0) yield ",";
      yield* write(element ?? null);
    }
    yield "]";
  } else {
    yield "{";
    let isFirst = true;
    for (const [name, element] of Object.entries(value as object)) {
      if (element === undefined) continue;
      yield `${isFirst ? "" : ","}${JSON.stringify(name)}:`;
      isFirst = false;
      yield* write(element);
    }
    yield "}";
  }
}
