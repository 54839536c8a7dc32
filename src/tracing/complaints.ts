/** Warnings about traces, each kind of which is said now and then at most: what goes wrong once goes wrong with every batch. */

import type { DiagLogger } from "@opentelemetry/api";
import { harmlessLine } from "../terminal/harmless.ts";
import { notes } from "../terminal/output.ts";

/** How long the same complaint is not repeated, in milliseconds. */
const SILENCE_MS = 60_000;

/** The longest complaint, in UTF-16 code units: it may repeat what a collector says. */
const LENGTH_MAX = 400;

/** Says on stderr what goes wrong with traces. It waits for no reader. */
export function complain(text: string): void {
  notes.warnLater(`traces: ${harmlessLine(text.slice(0, LENGTH_MAX))}`);
}

/** Where OpenTelemetry's library says what it finds odd. */
export function diagnostics(): DiagLogger {
  const said = new Map<string, number>();
  const say = (message: string, ...details: unknown[]) => {
    // What follows is about this case, and may be somebody's own words.
    const kind = message.split(":", 1)[0]?.replaceAll(/\d+/g, "N") ?? "";
    const now = performance.now();
    if (now - (said.get(kind) ?? Number.NEGATIVE_INFINITY) < SILENCE_MS) return;
    said.set(kind, now);
    complain([message, ...details.map(String)].join(" "));
  };
  const ignore = () => undefined;
  return { error: say, warn: say, info: ignore, debug: ignore, verbose: ignore };
}
