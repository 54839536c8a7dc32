/**
 * The server's log on stderr. A line for each request, when its answer is over; none for checks of health that found it well, of which
 * there is one every few seconds while somebody watches or has the page open. It never holds a prompt, an answer or a key,
 * nor anything else that a client made up: paths and methods are those that the server knows, ids are plain and short, and errors
 * are told by their codes.
 *
 * As JSON, all of stderr is objects, one a line: requests, what becomes of the server from its start to its end, and as "note" whatever
 * else is said.
 */

import { endReason, tokensOf } from "../api/answer_record.ts";
import { hasFailed, isHealthCheck, type RequestRecord } from "../api/request_record.ts";
import { formNotes, type Level, notes, writeLog } from "../terminal/output.ts";

/** How the log is written. */
export const LOG_FORMATS = ["text", "json", "off"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What becomes of a server. */
export type ServerEvent = "start" | "ready" | "reload" | "drain" | "stop";

/** That of the process: whoever reads stderr reads one format at a time, whenever a request began. */
let format: LogFormat = "off";

/** Has the log written like this from now on, and all else that is said on stderr. */
export function speakAs(wanted: LogFormat): void {
  format = wanted;
  formNotes(wanted === "json" ? jsonNote : undefined);
}

/** Writes a line about a request. Like all that is said while the server serves, it waits for no reader. */
export function logRequest(entry: RequestRecord): void {
  if (format === "off" || isHealthCheck(entry)) return;
  writeLog(`${format === "json" ? requestLine(entry) : requestText(entry)}\n`);
}

/**
 * Says what becomes of the server.
 *
 * @param message a line for people.
 * @param facts the same for programs, and more.
 * @param text what is written where the log is not JSON; absent: the message.
 */
export function logEvent(
  event: ServerEvent,
  message: string,
  facts: Readonly<Record<string, unknown>>,
  { text = `wrinklefree: ${message}\n`, level = "info" }: { text?: string; level?: Level } = {},
): void {
  if (format === "json") writeLog(`${jsonLine(level, event, { message, ...facts })}\n`);
  else notes.writeLater(text);
}

function jsonLine(level: Level, event: string, facts: object): string {
  return JSON.stringify({ time: new Date().toISOString(), level, event, ...facts });
}

/** A note, whatever it says, as an entry. */
function jsonNote(text: string, level: Level): string {
  const message = text.replace(/^wrinklefree: (?:warning: )?/, "").trim();
  return message === "" ? "" : `${jsonLine(level, "note", { message })}\n`;
}

function requestText(entry: RequestRecord): string {
  const { prompt, cached, generated } = tokensOf(entry.answers);
  const parts = [
    new Date().toISOString(),
    entry.client,
    entry.method,
    entry.route,
    entry.status,
    `${entry.milliseconds.toFixed(1)} ms`,
  ];
  if (entry.answers.length > 0) parts.push(`${prompt} prompt (${cached} cached) + ${generated} tokens`);
  const { error } = entry;
  if (error !== undefined) {
    // Of a stream the status was sent before it went wrong.
    parts.push(error.status === entry.status ? "error" : "ended by", error.details.code ?? error.type);
  }
  if (entry.key !== undefined) parts.push(`key ${entry.key}`);
  parts.push(entry.id);
  return parts.join(" ");
}

function requestLine(entry: RequestRecord): string {
  const { answers, error, hasLeft } = entry;
  const { prompt, cached, generated } = tokensOf(answers);
  const begun = answers.filter(({ hasBegun }) => hasBegun).map(({ counts }) => counts.queueMs);
  const answered = answers.filter(({ counts }) => counts.completionTokens > 0).map(({ counts }) => counts.firstTokenMs);
  return jsonLine(hasFailed(entry) ? "error" : "info", "request", {
    request_id: entry.id,
    trace_id: entry.trace?.traceId ?? null,
    span_id: entry.trace?.spanId ?? null,
    client: entry.client,
    key: entry.key ?? null,
    method: entry.method,
    path: entry.route,
    model: entry.model ?? null,
    status: entry.status,
    error_type: error?.type ?? null,
    error_code: error?.details.code ?? null,
    finish_reasons: [...new Set(answers.map((answer) => endReason(answer, hasLeft)))],
    prompt_tokens: prompt,
    cached_tokens: cached,
    completion_tokens: generated,
    queue_ms: begun.length > 0 ? tenths(Math.max(...begun)) : null,
    first_token_ms: answered.length > 0 ? tenths(Math.min(...answered)) : null,
    duration_ms: tenths(entry.milliseconds),
  });
}

function tenths(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
