/**
 * The access log: one line on stderr for each request, when its answer is over; none for checks of health that found it well, of which
 * there is one every few seconds while somebody watches or has the page open. It never holds a prompt, an answer or a key,
 * nor anything else that a client made up: paths and methods are those that the server knows, ids are plain and short.
 */

import type { Counts } from "../text/generation.ts";

/** How the log is written. */
export const LOG_FORMATS = ["text", "json", "off"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** A request whose answer is over. */
export interface LogEntry {
  id: string;
  /** One of a fixed set, as in the metrics. */
  method: string;
  /** One of a fixed set, as in the metrics: somebody may have put a key into a path. */
  route: string;
  /** Of the answer; 499 where the client left before its end. */
  status: number;
  /** From the request's arrival to the end of its answer. */
  milliseconds: number;
  /** Where it came from: an address, or "unix" for a unix socket. */
  client: string;
  /** What its API key is called; undefined: none. */
  key: string | undefined;
  /** Of its generated answers; empty when there were none. */
  counts: readonly Counts[];
}

/** Writes a line about a request. */
export function logRequest(format: LogFormat, entry: LogEntry): void {
  if (format === "off" || isHealthCheck(entry)) return;
  process.stderr.write(`${format === "json" ? jsonLine(entry) : textLine(entry)}\n`);
}

function isHealthCheck({ route, status }: LogEntry): boolean {
  return (route === "/health" || route === "/ready") && status === 200;
}

function tokens(counts: readonly Counts[]) {
  const sum = (of: (count: Counts) => number) => counts.reduce((total, count) => total + of(count), 0);
  return {
    prompt: sum((count) => count.promptTokens),
    cached: sum((count) => count.cachedTokens),
    generated: sum((count) => count.completionTokens),
  };
}

function textLine(entry: LogEntry): string {
  const { prompt, cached, generated } = tokens(entry.counts);
  const parts = [
    new Date().toISOString(),
    entry.client,
    entry.method,
    entry.route,
    entry.status,
    `${entry.milliseconds.toFixed(1)} ms`,
  ];
  if (entry.counts.length > 0) parts.push(`${prompt} prompt (${cached} cached) + ${generated} tokens`);
  if (entry.key !== undefined) parts.push(`key ${entry.key}`);
  parts.push(entry.id);
  return parts.join(" ");
}

function jsonLine(entry: LogEntry): string {
  const { prompt, cached, generated } = tokens(entry.counts);
  return JSON.stringify({
    time: new Date().toISOString(),
    request_id: entry.id,
    client: entry.client,
    method: entry.method,
    path: entry.route,
    status: entry.status,
    duration_ms: Math.round(entry.milliseconds * 10) / 10,
    prompt_tokens: prompt,
    cached_tokens: cached,
    completion_tokens: generated,
    key: entry.key ?? null,
  });
}
