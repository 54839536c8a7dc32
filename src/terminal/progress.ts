/**
 * Shows how far work on a file is: a bar on a terminal, a line every few seconds where stderr goes to a file or a log.
 */

import { formatBytes } from "./format_bytes.ts";

/** Milliseconds between two drawings of the bar. */
const BAR_INTERVAL_MS = 100;

/** Milliseconds between two lines in a log. */
const LINE_INTERVAL_MS = 5000;

/** How far the work is, in bytes. */
export interface Progress {
  done: number;
  total: number;
}

/** Where progress goes: stderr, as a rule. */
export interface ProgressStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** A progress display. */
export interface ProgressDisplay {
  /** To be called as often as one likes. */
  update(progress: Progress): void;
  /** Takes the bar off the screen. */
  finish(): void;
}

/** Starts a progress display for what `label` names. */
export function showProgress(label: string, stream: ProgressStream): ProgressDisplay {
  const interactive = stream.isTTY === true;
  const started = performance.now();
  let shown = interactive ? -Infinity : started;
  return {
    update(progress) {
      const now = performance.now();
      if (now - shown < (interactive ? BAR_INTERVAL_MS : LINE_INTERVAL_MS)) return;
      shown = now;
      const text = describe(label, progress, (now - started) / 1000);
      if (interactive) stream.write(`\r${bar(text, progress, stream.columns ?? 80)}\u001b[K`);
      else stream.write(`${text}\n`);
    },
    finish() {
      if (interactive) stream.write("\r\u001b[K");
    },
  };
}

function describe(label: string, { done, total }: Progress, seconds: number): string {
  const share = total > 0 ? Math.floor((100 * done) / total) : 100;
  const left = done > 0 ? Math.ceil((seconds * (total - done)) / done) : 0;
  return `${label}: ${share} %, ${formatBytes(done)} of ${formatBytes(total)}, ${left} s left`;
}

/** The text with a bar behind it that fills what is left of the line. */
function bar(text: string, { done, total }: Progress, columns: number): string {
  const width = Math.min(40, columns - text.length - 4);
  if (width < 10) return text.slice(0, columns - 1);
  const filled = total > 0 ? Math.floor((width * done) / total) : width;
  return `${text} [${"#".repeat(filled)}${" ".repeat(width - filled)}]`;
}
