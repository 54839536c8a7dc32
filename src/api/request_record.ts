/** What is known of a request when its answer is over, as the log and traces tell it. */

import type { RequestError } from "../serving/request_error.ts";
import type { AnswerRecord } from "./answer_record.ts";
import type { GenerationParameters } from "./sampling.ts";

/** A request's place in a trace, by its ids in hexadecimal digits. */
export interface TraceIds {
  readonly traceId: string;
  readonly spanId: string;
}

/** A request whose answer is over. */
export interface RequestRecord {
  id: string;
  /** One of a fixed set, as in the metrics. */
  method: string;
  /** One of a fixed set, as in the metrics: somebody may have put a key into a path. */
  route: string;
  /** Of the answer; 499 where the client left before its end. */
  status: number;
  /** When it arrived, as performance.now() has it. */
  started: number;
  /** From then to the end of its answer. */
  milliseconds: number;
  /** Where it came from: an address, or "unix" for a unix socket. */
  client: string;
  /** What its API key is called; undefined: none. */
  key: string | undefined;
  /** The name of the model that it was for; undefined where it was for none. */
  model: string | undefined;
  /** How answers were to be generated; undefined where none were. */
  parameters: GenerationParameters | undefined;
  /** Whether the answer was a stream of events. */
  isEventStream: boolean;
  /** Whether its client left before it had all of the answer. */
  hasLeft: boolean;
  /** What went wrong, in the middle of a stream too. */
  error: Pick<RequestError, "status" | "type" | "details"> | undefined;
  /** What the engine was asked for. */
  answers: readonly AnswerRecord[];
  /** Undefined where nothing is traced. */
  trace: TraceIds | undefined;
}

/** Whether something went wrong that is not its client's fault. */
export function hasFailed({ error, status }: Pick<RequestRecord, "error" | "status">): boolean {
  return (error?.status ?? status) >= 500;
}

/** Whether a request asked for nothing but the server's health, and found it well: nobody wants to read of those. */
export function isHealthCheck({ route, status }: RequestRecord): boolean {
  return (route === "/health" || route === "/ready") && status === 200;
}
