/**
 * What a handler knows about its request beside the body, and what it reports for the log and for traces.
 */

import type { ApiKey } from "../serving/api_key.ts";
import type { BodyShare } from "../serving/body_budget.ts";
import type { RequestError } from "../serving/request_error.ts";
import type { ServerState } from "../serving/state.ts";
import type { AnswerRecord } from "./answer_record.ts";
import type { Dialect } from "./dialect.ts";
import { jsonResponse } from "./json.ts";
import type { GenerationParameters } from "./sampling.ts";
import { eventStream } from "./sse.ts";

/** A request as it came in. */
export type ReceivedRequest = Pick<Exchange, "request" | "path" | "dialect"> & Partial<Pick<Exchange, "basePath">>;

/** One request and its answer. */
export class Exchange {
  readonly state: ServerState;
  readonly request: Request;
  /** How its client reads errors and streams. */
  readonly dialect: Dialect;
  /** The path that it asks for; undefined where Host and target make no URL. */
  readonly path: string | undefined;
  /** What stands before that path where a proxy passes it on; empty: nothing. */
  readonly basePath: string;
  /** Fires when the client leaves. */
  readonly client: AbortSignal;
  /** What its body takes of the memory for all bodies. */
  readonly body: BodyShare;
  /** Which of the server's API keys the request came with; undefined where it needs none. */
  key: ApiKey | undefined;
  /** Says that so many tokens were used, for the limits of its key. */
  charge: (tokens: number) => void = () => undefined;
  /** Says that it is over, for the same. */
  endUse: () => void = () => undefined;
  /** The name of the model that it is for; undefined where it is for none, or not known to be. */
  model: string | undefined;
  /** How its answers are to be generated; undefined where none are. */
  parameters: GenerationParameters | undefined;
  /** What the engine was asked for. */
  readonly answers: AnswerRecord[] = [];
  /** What went wrong, in the middle of a stream too. */
  error: RequestError | undefined;
  /** Whether the answer is a stream, which goes on after the handler has returned. */
  isStreamed = false;
  /** Whether it is a stream of events. */
  isEventStream = false;
  readonly #onStreamEnd: () => void;
  readonly #onSent: (() => void)[] = [];

  /** @param onStreamEnd called once when a streamed answer is over, before its last bytes are sent. */
  constructor(state: ServerState, { request, path, basePath = "", dialect }: ReceivedRequest, onStreamEnd: () => void) {
    this.state = state;
    this.request = request;
    this.path = path;
    this.basePath = basePath;
    this.dialect = dialect;
    this.client = request.signal;
    this.body = state.bodies.share();
    this.#onStreamEnd = onStreamEnd;
  }

  /** Has something done once the answer is sent, or given up. */
  onSent(action: () => void): void {
    this.#onSent.push(action);
  }

  /** The answer is sent, or given up. */
  sent(): void {
    for (const action of this.#onSent.splice(0)) action();
  }

  /** Answers with JSON; see jsonResponse. */
  json(value: object): Response {
    return jsonResponse(value, this.client, {
      onStream: () => {
        this.isStreamed = true;
      },
      onEnd: () => this.#end(),
    });
  }

  /** Answers with a stream of events; see eventStream. */
  stream(events: AsyncGenerator<object>): Response {
    this.isStreamed = true;
    this.isEventStream = true;
    return eventStream(events, this.dialect.events, this.client, {
      onError: (error) => {
        this.error = error;
      },
      onEnd: () => this.#end(),
    });
  }

  #end(): void {
    this.sent();
    if (this.isStreamed) this.#onStreamEnd();
  }
}
