/**
 * How OpenAI's clients read errors and streams. An error is {"error": {"message", "type", "param", "code"}}, all four keys always
 * there; a stream is one object after another and ends with [DONE].
 */

import type { RequestError } from "../../serving/request_error.ts";
import type { Dialect } from "../dialect.ts";
import { serverSentEvent } from "../sse.ts";

/** OpenAI's dialect; SGLang's clients read the same. */
export const openAi: Dialect = {
  errorBody,
  events: {
    event: (value) => serverSentEvent(value),
    error: (error) => serverSentEvent(errorBody(error)),
    end: "data: [DONE]\n\n",
  },
};

function errorBody({ status, message, details }: RequestError): object {
  const { param = null, code = null, extra } = details;
  return { error: { message, type: typeOf(status), param, code, ...extra } };
}

function typeOf(status: number): string {
  if (status === 429) return "rate_limit_error";
  if (status >= 500) return "server_error";
  return "invalid_request_error";
}
