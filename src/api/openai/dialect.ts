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

function errorBody({ message, type, details }: RequestError): object {
  const { param = null, code = null, extra } = details;
  return { error: { message, type, param, code, ...extra } };
}
