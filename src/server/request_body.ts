/**
 * What a request may send: how much, and in what form.
 */

import { DEPTH_MAX, measureJson, PARTS_MAX } from "../api/json_bounds.ts";
import { findFault, type JsonObject, parseMembersExactly } from "../json.ts";
import type { BodyShare } from "../serving/body_budget.ts";
import { RequestError } from "../serving/request_error.ts";
import { turns } from "../text/turns.ts";
import { contentEncoding } from "./content_encoding.ts";

/** Largest body of a request, in bytes, as it is sent and when it is decoded. A prompt that fills a context of 100,000 tokens has about a tenth of it. */
export const BODY_BYTES_MAX = 8 * 1024 * 1024;

/** How long a body may take to arrive. A connection with a request under way has no time limit of its own: answers may be silent for long. */
const BODY_MS_MAX = 60_000;

/** Schemas, and what templates write: there the digits of numbers count, and the order of names that JavaScript would put first. */
const EXACT_MEMBERS: ReadonlySet<string> = new Set([
  "tools",
  "functions",
  "response_format",
  "json_schema",
  "guided_json",
  "structured_outputs",
  "chat_template_kwargs",
]);

/** A body of more bytes is decoded and parsed in a turn of its own. */
const LONG_BODY = 65_536;

/**
 * Reads a request's body as a JSON object.
 *
 * The size is checked here, while reading, and not by Bun.serve, which would answer without our error shape.
 *
 * @param share takes what the body takes, in all of its forms.
 * @param bodyMsMax milliseconds that it may take to arrive.
 * @throws RequestError 400, 408, 413, 415 or 429.
 */
export async function readJsonBody(request: Request, share: BodyShare, bodyMsMax = BODY_MS_MAX): Promise<JsonObject> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(type)) {
    throw new RequestError(400, "The body has to be JSON, with the header 'Content-Type: application/json'.");
  }
  const encoding = contentEncoding(request.headers.get("content-encoding"));
  let bytes = await readBody(request, share, bodyMsMax);
  if (encoding !== undefined) {
    bytes = await encoding.decode(bytes, BODY_BYTES_MAX);
    share.take(bytes.length);
  }
  // Reading megabytes takes a while.
  if (bytes.length > LONG_BODY) await turns.take(true, request.signal);
  const text = readText(bytes);
  const measure = measureJson(text);
  if (measure.isTooDeep) {
    throw new RequestError(
      400,
      `The body of your request is nested more than ${DEPTH_MAX} levels deep; send fewer objects and arrays within each other.`,
    );
  }
  if (measure.parts > PARTS_MAX) {
    throw new RequestError(
      400,
      `The body of your request has more than ${PARTS_MAX} strings, names of members, objects and arrays; send fewer at once.`,
    );
  }
  share.take(measure.bytes);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    if (text.trim() === "") throw new RequestError(400, "The body of your request is empty; send a JSON object.");
    if (bytes.length > LONG_BODY) await turns.take(false, request.signal);
    const fault = findFault(text);
    throw new RequestError(
      400,
      `We could not parse the JSON body of your request${fault === undefined ? "" : `: ${fault}`}.`,
    );
  }
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new RequestError(400, "The body of your request has to be a JSON object.");
  if (!Object.keys(body).some((name) => EXACT_MEMBERS.has(name))) return body as JsonObject;
  if (bytes.length > LONG_BODY) await turns.take(false, request.signal);
  return { ...body, ...parseMembersExactly(text, EXACT_MEMBERS) };
}

/** The text of a body. @throws RequestError 400 when it is no UTF-8. */
function readText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new RequestError(400, "The body of your request is not valid UTF-8.");
  }
}

async function readBody(request: Request, share: BodyShare, bodyMsMax: number): Promise<Uint8Array> {
  const tooLarge = () =>
    new RequestError(413, `The body of your request is over the limit of ${BODY_BYTES_MAX} bytes; send less at once.`);
  // The length may be given several times, if it is the same one.
  const announced = Number.parseInt(request.headers.get("content-length") ?? "0", 10);
  if (announced > BODY_BYTES_MAX) throw tooLarge();
  // Told before it is sent.
  share.checkRoom(announced);
  const reader = request.body?.getReader();
  if (reader === undefined) return new Uint8Array(0);
  let isLate = false;
  const deadline = setTimeout(() => {
    isLate = true;
    // Ends the read that waits.
    reader.cancel().catch(() => undefined);
  }, bodyMsMax);
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      size += next.value.length;
      if (size > BODY_BYTES_MAX) throw tooLarge();
      share.take(next.value.length);
      parts.push(next.value);
    }
  } catch (error) {
    if (error instanceof RequestError) throw error;
    // Nobody will read it: the client left in the middle of its own request.
    throw new RequestError(400, "The connection ended before the body of your request did.");
  } finally {
    clearTimeout(deadline);
    // What was not read must not be kept for us.
    if (!isLate) reader.cancel().catch(() => undefined);
  }
  if (isLate) throw new RequestError(408, `The body of your request did not arrive within ${bodyMsMax / 1000} s.`);
  return Buffer.concat(parts);
}
