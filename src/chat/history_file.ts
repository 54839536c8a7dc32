/**
 * What was entered in earlier chats, in a file of the user's own: a JSON string a line, the newest last. It is bounded, and several chats
 * can add to it at once.
 */

import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { describeSystemError } from "../errors.ts";
import { waitForLock } from "../models/file_lock.ts";
import type { HistoryStore } from "../terminal/input_history.ts";
import { notes } from "../terminal/output.ts";
import { writeWholeFile } from "../whole_file.ts";

/** Bytes of the file, beyond which the older half goes; and of one entry, beyond which it is not kept. */
const FILE_BYTES_MAX = 1 << 20;
const ENTRY_BYTES_MAX = 1 << 16;

/** How long another chat may take to add an entry. */
const LOCK_MS = 5000;

/** The file of the history: in the directory for what programs remember (XDG_STATE_HOME of the XDG Base Directory Specification). */
export function historyPath(): string {
  const state = process.env.XDG_STATE_HOME;
  const directory = state !== undefined && isAbsolute(state) ? state : join(homedir(), ".local", "state");
  return join(directory, "wrinklefree", "chat_history");
}

/** The history between sessions. */
export class HistoryFile implements HistoryStore {
  readonly #path: string;
  #work: Promise<void> = Promise.resolve();
  #isBroken = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** The entries, the oldest first; none if there is no file that can be read. */
  read(): string[] {
    try {
      return readFileSync(this.#path, "utf8").split("\n").flatMap(parseEntry);
    } catch {
      return [];
    }
  }

  /** Adds an entry soon. That this fails is said once. */
  append(entry: string): void {
    const line = `${JSON.stringify(entry)}\n`;
    if (this.#isBroken || Buffer.byteLength(line) > ENTRY_BYTES_MAX) return;
    this.#work = this.#work.then(async () => {
      try {
        await this.#write(line);
      } catch (error) {
        if (!this.#isBroken) {
          notes.write(
            `(can't keep the history in ${this.#path}: ${describeSystemError(error)}; --no-history keeps none)\n`,
          );
        }
        this.#isBroken = true;
      }
    });
  }

  /** Resolves when everything is written. */
  close(): Promise<void> {
    return this.#work;
  }

  async #write(line: string): Promise<void> {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    const lock = await waitForLock(`${this.#path}.lock`, () => undefined, AbortSignal.timeout(LOCK_MS));
    if (lock === null) return;
    try {
      this.#append(line);
      const { size, mode } = statSync(this.#path);
      if ((mode & 0o077) !== 0) chmodSync(this.#path, 0o600);
      if (size > FILE_BYTES_MAX) this.#shorten();
    } finally {
      lock.release();
    }
  }

  #append(line: string): void {
    const before = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
    try {
      writeFileSync(this.#path, line, { flag: "a", mode: 0o600 });
    } catch (error) {
      // A line of which there is half would spoil the next one.
      if (existsSync(this.#path)) truncateSync(this.#path, before);
      throw error;
    }
  }

  /** Leaves the newest entries. */
  #shorten(): void {
    const newest = readFileSync(this.#path).subarray(-FILE_BYTES_MAX / 2);
    const whole = newest.subarray(newest.indexOf("\n") + 1);
    writeWholeFile(this.#path, whole, 0o600);
  }
}

/** The entry of a line; none where there is something else. */
function parseEntry(line: string): string[] {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "string" ? [value] : [];
  } catch {
    return [];
  }
}
