/**
 * What sets one API's clients apart from another's whatever they ask for: how they read an error, and how they read a stream. The
 * server knows a request's dialect by its path, before anything can go wrong with it.
 */

import type { RequestError } from "../serving/request_error.ts";
import type { EventWriter } from "./sse.ts";

/** One API's ways. */
export interface Dialect {
  /** The JSON body of an answer that is an error. */
  errorBody(error: RequestError): object;
  /** Writes streams. */
  readonly events: EventWriter;
}

/** The whole answer to a request that failed. */
export function errorResponse(error: RequestError, dialect: Dialect): Response {
  return Response.json(dialect.errorBody(error), { status: error.status, headers: error.details.headers });
}
