/**
 * What a handler knows about its request beside the body, and what it reports for the access log.
 */

import type { ServerState } from "../server/state.ts";
import type { Counts } from "../text/generation.ts";
import { eventStream } from "./sse.ts";

/** One request and its answer. */
export class Exchange {
  readonly state: ServerState;
  readonly request: Request;
  /** The path that it asks for; undefined where Host and target make no URL. */
  readonly path: string | undefined;
  /** Fires when the client leaves. */
  readonly client: AbortSignal;
  /** Which of the server's API keys the request came with; -1 where it needs none. */
  key = -1;
  /** What the answers cost, as far as they are complete. */
  readonly counts: Counts[] = [];
  /** Whether the answer is a stream, which goes on after the handler has returned. */
  isStreamed = false;
  /** Called when a streamed answer is over. */
  onStreamEnd: (() => void) | undefined;

  constructor(state: ServerState, request: Request, path: string | undefined) {
    this.state = state;
    this.request = request;
    this.path = path;
    this.client = request.signal;
  }

  /** Answers with a stream of events; see eventStream. */
  stream(events: AsyncGenerator<object>, isMarked = true): Response {
    this.isStreamed = true;
    return eventStream(events, this.client, { isMarked, onEnd: () => this.onStreamEnd?.() });
  }
}
