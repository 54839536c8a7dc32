/**
 * Where commands write: results to stdout, what people should know to stderr. Every write is over when the call returns, so
 * nothing is lost when the process ends, by itself or by a signal. What a server says while it serves, and may not wait for its
 * reader with, goes through process.stderr instead.
 */

import { writeSync } from "node:fs";
import { describeSystemError, OutputFailure } from "../errors.ts";
import { plural } from "./plural.ts";

/** How long to wait for the reader of a pipe that is full and does not block. */
const RETRY_MS = 5;

/** Stdout. */
export const results = {
  /** @throws OutputFailure when not all of the text can be written. */
  write(text: string): void {
    try {
      writeAll(1, text);
    } catch (error) {
      const isClosed = (error as NodeJS.ErrnoException).code === "EPIPE";
      throw new OutputFailure(`can't write the results to stdout: ${describeSystemError(error)}`, isClosed);
    }
  },
};

/** How grave a note is. */
export type Level = "info" | "warn" | "error";

/** What is written in the place of a note. */
type Form = (text: string, level: Level) => string;

let form: Form | undefined;

/** Has all notes written in another form from now on: a server whose log is JSON has nothing else on stderr. */
export function formNotes(wanted: Form | undefined): void {
  form = wanted;
}

/** Stderr. That it is full or closed is nothing that a command fails for: nobody could be told. */
export const notes = {
  get isTTY(): boolean {
    return process.stderr.isTTY === true && form === undefined;
  },

  /** Whether there is a terminal on which one can draw. */
  get canDraw(): boolean {
    return this.isTTY && process.env.TERM !== "dumb";
  },

  /** Width of the terminal. Some say 0 and mean that they don't know. */
  get columns(): number {
    return process.stderr.columns || 80;
  },

  /** Height of the terminal, likewise. */
  get rows(): number {
    return process.stderr.rows || 24;
  },

  write(text: string, level: Level = "info"): void {
    try {
      writeAll(2, form === undefined ? text : form(text, level));
    } catch {
      // See above.
    }
  },

  /** What is odd, but nothing to fail for. */
  warn(text: string): void {
    this.write(`wrinklefree: warning: ${text}\n`, "warn");
  },

  /** The same without waiting, see writeLog. */
  writeLater(text: string, level: Level = "info"): void {
    writeLog(form === undefined ? text : form(text, level));
  },

  /** What is odd, likewise. */
  warnLater(text: string): void {
    this.writeLater(`wrinklefree: warning: ${text}\n`, "warn");
  },
};

/** What waits for the reader of the log in memory at most, in bytes: some thousand lines. */
const WAITING_BYTES_MAX = 1 << 20;

let waitingBytes = 0;
let lostLines = 0;

/**
 * Writes a line of the server's log. What its reader doesn't take yet waits in memory, within a bound: beyond it lines are lost, and when
 * half of them are taken it is said how many.
 */
export function writeLog(line: string): void {
  if (waitingBytes > (lostLines > 0 ? WAITING_BYTES_MAX / 2 : WAITING_BYTES_MAX)) {
    lostLines++;
    return;
  }
  if (lostLines > 0) {
    const text = `wrinklefree: warning: the log has lost ${plural(lostLines, "line")}, because nobody read it\n`;
    lostLines = 0;
    sendLater(form === undefined ? text : form(text, "warn"));
  }
  sendLater(line);
}

function sendLater(text: string): void {
  const bytes = Buffer.byteLength(text);
  waitingBytes += bytes;
  process.stderr.write(text, () => {
    waitingBytes -= bytes;
  });
}

const said = new Set<string>();

/** Writes a line about a model, once: it is found out when the model is converted, and again when it is opened. */
export function notice(model: string, text: string): void {
  const line = `${model}: ${text}\n`;
  if (said.has(line)) return;
  said.add(line);
  notes.write(line);
}

/** Keeps what goes wrong with process.stderr, which the server's log and readline write to, from ending the process. */
export function tolerateStderr(): void {
  process.stderr.on("error", () => undefined);
}

function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(descriptor, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Bun.sleepSync(RETRY_MS);
    }
  }
}
