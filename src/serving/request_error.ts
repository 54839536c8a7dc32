/**
 * The errors that clients see, before a dialect gives them its shape. Messages and codes are OpenAI's where it has them. Whatever
 * else goes wrong inside becomes a plain 500 that tells nothing of the inside.
 */

import { describeBug, MemoryFailure } from "../errors.ts";
import { notes } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";

/** What is known of an error beside its status and its message. */
export interface ErrorDetails {
  /** The parameter at fault, as a path: messages[0].content. */
  param?: string;
  /** A word for programs: context_length_exceeded. */
  code?: string;
  /** Further facts for programs, by the names that clients know. */
  extra?: Record<string, unknown>;
  /** Headers of the answer, Retry-After above all. */
  headers?: Record<string, string>;
}

/** A request that is answered with an error. */
export class RequestError extends Error {
  override name = "RequestError";
  readonly status: number;
  readonly details: ErrorDetails;

  constructor(status: number, message: string, details: ErrorDetails = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }

  /** What kind of error it is, in OpenAI's words. */
  get type(): "rate_limit_error" | "server_error" | "invalid_request_error" {
    if (this.status === 429) return "rate_limit_error";
    return this.status >= 500 ? "server_error" : "invalid_request_error";
  }
}

/** A 400 that names the parameter at fault. */
export function invalid(param: string, code: string | undefined, message: string): RequestError {
  return new RequestError(400, message, { param, code });
}

/** A parameter that would change the answer and can't be honoured: refused rather than ignored. */
export function unsupported(param: string, what: string): RequestError {
  return invalid(param, "unsupported_parameter", `Unsupported parameter: '${param}': ${what}.`);
}

/** A prompt that doesn't leave room for a single token of answer. */
export function contextLengthExceeded(
  param: string,
  context: number,
  promptTokens: number,
  isExact: boolean,
): RequestError {
  const count = `${isExact ? "" : "at least "}${promptTokens}`;
  return new RequestError(
    400,
    `This model's maximum context length is ${context} tokens. However, your ${param} resulted in ${count} tokens. ` +
      `Please reduce the length of the ${param}.`,
    { param, code: "context_length_exceeded", extra: { n_prompt_tokens: promptTokens, n_ctx: context } },
  );
}

/**
 * Prompts of a request that the context may hold, and the queue never. No client takes it for the context's limit: it would shorten its
 * prompts to what it believes to be that.
 */
export function queueTokensExceeded(param: string, tokensMax: number, promptTokens: number): RequestError {
  return new RequestError(
    400,
    `This server takes requests with up to ${plural(tokensMax, "prompt token")}, whatever the model's context is: its --queue-tokens ` +
      `says so. However, your ${param} resulted in ${plural(promptTokens, "token")}. Please send less at once.`,
    { param, code: "queue_tokens_exceeded" },
  );
}

/** Seconds after which a client may try again when there was no memory for its request: others give theirs back as they end. */
const MEMORY_RETRY_AFTER_S = "5";

/** Whether the library, or the runtime, could not have the memory that it wanted. */
function isLackOfMemory(error: unknown): error is Error {
  if (error instanceof MemoryFailure) return true;
  return error instanceof RangeError && /out of memory|allocation failed/i.test(error.message);
}

/** Whatever was thrown, as an error for a client. Anything unexpected is reported on stderr and reads as a plain 500. */
export function toRequestError(error: unknown): RequestError {
  if (error instanceof RequestError) return error;
  // Nobody will read it.
  if (error instanceof DOMException && error.name === "AbortError") {
    return new RequestError(499, "The connection ended before your request was answered.");
  }
  if (isLackOfMemory(error)) {
    notes.writeLater(`wrinklefree: a request is refused: ${error.message}\n`, "error");
    return new RequestError(503, "The server is short of memory. Please try again later.", {
      headers: { "retry-after": MEMORY_RETRY_AFTER_S },
    });
  }
  notes.writeLater(`wrinklefree: internal error: ${describeBug(error)}\n`, "error");
  return new RequestError(500, "The server had an internal error while processing your request.");
}
