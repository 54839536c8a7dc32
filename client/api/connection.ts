/** Requests to the server that the page came from, and their faults in plain words. */

import { apiKey } from "../storage/preferences.ts";
import { formatCount } from "../text/format.ts";

/** The server can't be reached, or the connection broke. */
export class Unreachable extends Error {}

/** The server is loading its model or shutting down. */
export class NotReady extends Error {}

/** The server wants a key, or another one. */
export class KeyNeeded extends Error {
  /** Whether one was sent. */
  readonly wasWrong: boolean;

  constructor(wasWrong: boolean) {
    super("The server asks for an API key.");
    this.wasWrong = wasWrong;
  }
}

/** Something that the server refused, in words for people: what is wrong and what to do. */
export class Refused extends Error {}

/** The error of an answer, in OpenAI's shape. */
export interface ErrorBody {
  message?: string;
  code?: string | null;
  n_prompt_tokens?: number;
  n_ctx?: number;
}

/**
 * Asks the server.
 *
 * @param path relative to the page, so that a prefix of a proxy's stays before it.
 * @param body what is posted as JSON; absent: a GET.
 * @throws Unreachable, NotReady, KeyNeeded, Refused, or the signal's reason.
 */
export async function ask(path: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const key = apiKey.value;
  let response: Response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body === undefined ? "GET" : "POST",
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(key === "" ? {} : { authorization: `Bearer ${key}` }),
      },
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The server can't be reached.");
  }
  if (response.ok) return response;
  if (response.status === 401) throw new KeyNeeded(key !== "");
  // What stands between the page and the server answers for it when it is gone.
  if (response.status === 502 || response.status === 504) throw new Unreachable("The server can't be reached.");
  const { error = {} } = (await response.json().catch(() => ({}))) as { error?: ErrorBody };
  throw fault(response.status, error, response.headers.get("retry-after"));
}

/** What an error of the server means. */
export function fault(status: number, error: ErrorBody, retryAfter: string | null = null): Error {
  if (status === 503) return new NotReady(error.message ?? "The server is not ready.");
  if (status === 429) {
    const when = retryAfter === null ? "in a moment" : `in ${retryAfter} s`;
    return new Refused(`The server has too much to do right now. Try again ${when}.`);
  }
  if (error.code === "context_length_exceeded") {
    const { n_prompt_tokens: tokens, n_ctx: context } = error;
    const numbers =
      tokens === undefined || context === undefined
        ? ""
        : ` It has ${formatCount(tokens)} tokens; the model can hold ${formatCount(context)}.`;
    return new Refused(
      `This conversation is too long for the model.${numbers} Shorten the message, delete earlier ones, or start a new conversation.`,
    );
  }
  if (status === 413) return new Refused("This message is too large for the server. Attach less.");
  return new Refused(error.message ?? `The server answered with status ${status}.`);
}
