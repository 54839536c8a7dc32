/**
 * Server-sent events: an answer that comes piece by piece, on a socket. What the pieces look like is the dialect's matter.
 *
 * The stream is pulled: the next object is only asked for when the socket has room, so what waits for a slow reader is what the
 * kernel buffers plus one event. (Bun 1.4.5 calls `pull` for a stream with highWaterMark 0 exactly then, and calls `cancel` as
 * soon as the client is gone, before the first event too.) What the engine makes meanwhile waits in event_queue.ts, in memory that
 * the request was admitted with.
 *
 * A reader that comes back after a while takes megabytes without a pause. They are written in turns, so that everybody else is served
 * in between.
 */

import { type RequestError, toRequestError } from "../serving/request_error.ts";
import { turns } from "../text/turns.ts";

/** A silent connection gets a comment this often, so that no proxy takes it for dead. */
const PING_INTERVAL_MS = 15_000;

/** UTF-16 code units of events that are written before another turn is taken: some milliseconds' work. */
const TURN_LENGTH = 65_536;

const PING = Symbol("ping");

/** How a dialect writes its streams: each text is one event, or several, as serverSentEvent makes them. */
export interface EventWriter {
  /** What the answer says next. */
  event(value: object): string;
  /** What stands in the place of the rest when something goes wrong. */
  error(error: RequestError): string;
  /** What marks the end, after an error too; empty: nothing does. */
  readonly end: string;
}

/** What else a stream needs. */
export interface StreamOptions {
  /** Silence after which a comment is sent. */
  pingIntervalMs?: number;
  /** Called with what ends the stream in the place of the rest. */
  onError?: (error: RequestError) => void;
  /** Called once when the stream is over, complete or not; before its last bytes are sent. */
  onEnd?: () => void;
}

/**
 * Answers with a stream of events.
 *
 * @param events one object each; it is asked for the first one at once. If it throws, an error event is sent in its place and the
 *   stream ends. If the client leaves it is returned, so that its `finally` blocks run.
 * @param writer makes the events' text.
 * @param client fires when the client has left. Whatever `events` may be waiting for has to end by it too.
 */
export function eventStream(
  events: AsyncGenerator<object>,
  writer: EventWriter,
  client: AbortSignal,
  options: StreamOptions = {},
): Response {
  const { pingIntervalMs = PING_INTERVAL_MS, onError, onEnd } = options;
  const encoder = new TextEncoder();
  let isOpen = true;
  let lengthInTurn = 0;
  let next: Promise<IteratorResult<object>> | undefined = events.next();
  // Nobody may be waiting for it yet when it fails.
  next.catch(() => undefined);

  // A client may leave before anything asks for the stream, and then nothing cancels it either: hence the signal beside `cancel`.
  async function leave(): Promise<void> {
    if (isOpen) onEnd?.();
    isOpen = false;
    await events.return(undefined).catch(() => undefined);
  }
  if (client.aborted) leave();
  client.addEventListener("abort", leave, { once: true });

  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        let text: string;
        let isLast = false;
        try {
          if (lengthInTurn >= TURN_LENGTH) {
            await turns.take();
            lengthInTurn = 0;
          }
          next ??= events.next();
          const result = await firstOrPing(next, pingIntervalMs);
          if (result === PING) {
            text = ": ping\n\n";
          } else {
            next = undefined;
            isLast = result.done === true;
            text = isLast ? writer.end : writer.event(result.value);
          }
        } catch (error) {
          isLast = true;
          const known = toRequestError(error);
          onError?.(known);
          text = writer.error(known) + writer.end;
        }
        if (!isOpen) return;
        lengthInTurn += text.length;
        if (isLast) {
          isOpen = false;
          client.removeEventListener("abort", leave);
          onEnd?.();
        }
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (isLast) controller.close();
      },
      cancel: leave,
    },
    { highWaterMark: 0 },
  );
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      // nginx would otherwise collect the answer before passing it on.
      "x-accel-buffering": "no",
    },
  });
}

/** One event with a value as JSON, and with a name where the dialect names its events. */
export function serverSentEvent(value: object, name?: string): string {
  const data = `data: ${JSON.stringify(value).replaceAll(LINE_ENDS, escaped)}\n\n`;
  return name === undefined ? data : `event: ${name}\n${data}`;
}

/** Ends of lines by Unicode, where Python's splitlines cuts as well; JSON has them only in strings, which may spell them otherwise. */
const LINE_ENDS = /[\u0085\u2028\u2029]/g;

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Waits for a promise, but no longer than until a ping is due. */
async function firstOrPing<T>(promise: Promise<T>, pingIntervalMs: number): Promise<T | typeof PING> {
  let timer: NodeJS.Timeout | undefined;
  const ping = new Promise<typeof PING>((resolve) => {
    timer = setTimeout(resolve, pingIntervalMs, PING);
  });
  try {
    return await Promise.race([promise, ping]);
  } finally {
    clearTimeout(timer);
  }
}
