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
  /** To be called as often as one likes. What is done at the first call was done before. */
  update(progress: Progress): void;
  /** Writes a line above the bar. */
  say(line: string): void;
  /** Takes the bar off the screen. */
  finish(): void;
}

/** Told of all progress, beside what is displayed. */
export type ProgressObserver = (label: string, progress: Progress) => void;

let observer: ProgressObserver | undefined;

/** Has a function told of all progress from now on: a server says it to those who wait for the model. */
export function observeProgress(observe: ProgressObserver): void {
  observer = observe;
}

/** Starts a progress display for what `label` names. */
export function showProgress(label: string, stream: ProgressStream): ProgressDisplay {
  const interactive = stream.isTTY === true;
  const started = performance.now();
  let shown = interactive ? -Infinity : started;
  let before: number | undefined;
  return {
    update(progress) {
      before ??= progress.done;
      observer?.(label, progress);
      const now = performance.now();
      if (now - shown < (interactive ? BAR_INTERVAL_MS : LINE_INTERVAL_MS)) return;
      shown = now;
      const text = describe(label, progress, (progress.done - before) / ((now - started) / 1000));
      if (interactive) stream.write(`\r${bar(text, progress, stream.columns ?? 80)}\u001b[K`);
      else stream.write(`${text}\n`);
    },
    say(line) {
      stream.write(interactive ? `\r\u001b[K${line}\n` : `${line}\n`);
    },
    finish() {
      if (interactive) stream.write("\r\u001b[K");
    },
  };
}

/** @param speed bytes a second. */
function describe(label: string, { done, total }: Progress, speed: number): string {
  const share = total > 0 ? Math.floor((100 * done) / total) : 100;
  const pace = speed > 0 ? `, ${formatBytes(Math.round(speed))}/s, ${formatTime((total - done) / speed)} left` : "";
  return `${label}: ${share} %, ${formatBytes(done)} of ${formatBytes(total)}${pace}`;
}

/** Seconds for people: 40 s, 3 min 20 s, 2 h 5 min. */
function formatTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** The text with a bar behind it that fills what is left of the line. */
function bar(text: string, { done, total }: Progress, columns: number): string {
  const width = Math.min(40, columns - text.length - 4);
  if (width < 10) return text.slice(0, columns - 1);
  const filled = total > 0 ? Math.floor((width * done) / total) : width;
  return `${text} [${"#".repeat(filled)}${" ".repeat(width - filled)}]`;
}
