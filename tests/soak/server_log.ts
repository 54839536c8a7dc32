/**
 * The log of a service as JSON, read as it comes: each answered request has to have one line, with the status that the client saw, no
 * answer may be cut off at an end, and nothing may speak of a fault of the program. Memory is only needed for requests that have not
 * been seen from both sides.
 */

import type { Tally } from "./tally.ts";

/** A line of it. */
export interface LogEntry {
  level: "info" | "warning" | "error";
  event: "request" | "start" | "ready" | "reload" | "drain" | "stop" | "note";
  /** Of all but requests. */
  message: string;
  /** Of requests. */
  request_id: string;
  status: number;
  error_type: string | null;
  /** Of reloads. */
  is_reloaded: boolean;
  /** Of an end: answers that were not finished. */
  cut_off: number;
}

/** Lines about other things than requests that are kept, for those who look for the cause of a fault. */
const KEPT = 50;

/** Requests with ids of this form are the soak's. */
const OWN = /^soak-/;

export class ServerLog {
  readonly #tally: Tally;
  /** Statuses of answers without a line so far. */
  readonly #answered = new Map<string, number>();
  /** Statuses of lines without an answer so far. */
  readonly #logged = new Map<string, number>();
  /** Requests that their client left: they may have a line. */
  readonly #left = new Set<string>();
  readonly #others: string[] = [];
  #waiting: { event: LogEntry["event"]; found: (entry: LogEntry) => void }[] = [];

  constructor(tally: Tally) {
    this.#tally = tally;
  }

  /** A line. */
  add(line: string): void {
    let entry: LogEntry;
    try {
      entry = JSON.parse(line);
    } catch {
      this.#fault(`a line that is no JSON: ${line}`);
      return;
    }
    if (entry.event === "request") {
      this.#addRequest(entry, line);
      return;
    }
    this.#others.push(line);
    if (this.#others.length > KEPT) this.#others.shift();
    // A reload of wrong files is an error, too.
    if (entry.level !== "info" && entry.event !== "reload") this.#fault(line);
    if (entry.event === "stop" && entry.cut_off > 0) this.#fault(`answers were cut off: ${line}`);
    const isWanted = ({ event }: { event: string }) => event === entry.event;
    for (const { found } of this.#waiting.filter(isWanted)) found(entry);
    this.#waiting = this.#waiting.filter((one) => !isWanted(one));
  }

  #addRequest({ request_id: id, status, error_type }: LogEntry, line: string): void {
    if (!OWN.test(id) || this.#left.delete(id)) return;
    if (status === 200 && error_type !== null) this.#fault(`an answer that ended with an error: ${line}`);
    const answered = this.#answered.get(id);
    if (answered !== undefined) {
      this.#answered.delete(id);
      if (answered !== status) this.#fault(`${id} has ${status}, its client saw ${answered}`);
    } else if (this.#logged.has(id)) {
      this.#fault(`${id} has two lines`);
    } else {
      this.#logged.set(id, status);
    }
  }

  #fault(text: string): void {
    this.#tally.fault("faults of the log", text);
  }

  /** A client has read an answer to its end. */
  answered(id: string, status: number): void {
    const logged = this.#logged.get(id);
    if (logged === undefined) this.#answered.set(id, status);
    else if (logged !== status) this.#fault(`${id} has ${logged}, its client saw ${status}`);
    this.#logged.delete(id);
  }

  /** A client has left, or will never know. */
  left(id: string): void {
    if (!this.#logged.delete(id)) this.#left.add(id);
  }

  /** Answers without a line so far. */
  get unlogged(): readonly string[] {
    return [...this.#answered].map(([id, status]) => `${id} (${status})`);
  }

  /** The next line about something. */
  next(event: LogEntry["event"]): Promise<LogEntry> {
    return new Promise((found) => this.#waiting.push({ event, found }));
  }

  /** The last lines that are not about requests. */
  toString(): string {
    return this.#others.join("\n");
  }
}
