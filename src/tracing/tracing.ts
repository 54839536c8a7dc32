/** Traces of requests, as far as the server knows of them. */

import type { RequestRecord, TraceIds } from "../api/request_record.ts";

/** A request under way, as a span of a trace. */
export interface RequestTrace extends TraceIds {
  /** What the answer says of it, by W3C's Trace Context. */
  readonly traceparent: string;
  /** Its answer is over. Without this, nothing is sent of it. */
  end(record: RequestRecord): void;
}

/** The traces of one server. */
export interface Tracing {
  /**
   * A request has arrived. If its traceparent can be read, its span belongs to that trace.
   *
   * @param started when, as performance.now() has it.
   */
  begin(started: number, headers: Headers): RequestTrace;
  /** Sends what waits, and says what could not be sent until the deadline. Resolves when that is done. */
  stop(deadline: Promise<unknown>): Promise<void>;
}
