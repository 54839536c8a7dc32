/**
 * The log of a service as JSON, read as it comes: each answered request has one line, no answer is cut off at an end, and nothing speaks of
 * a fault of the program.
 */

import type { ServerEvent } from "../../src/server/log.ts";
import type { Level } from "../../src/terminal/output.ts";
import type { Ledger } from "./ledger.ts";
import type { Tally } from "./tally.ts";

/** A line of it. */
export interface LogEntry {
  level: Level;
  event: ServerEvent | "request" | "note";
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

export class ServerLog {
  readonly #tally: Tally;
  readonly #ledger: Ledger;
  readonly #others: string[] = [];
  #waiting: { event: LogEntry["event"]; found: (entry: LogEntry) => void }[] = [];

  /** @param ledger takes what is said of requests. */
  constructor(tally: Tally, ledger: Ledger) {
    this.#tally = tally;
    this.#ledger = ledger;
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
      if (entry.status === 200 && entry.error_type !== null) this.#fault(`an answer that ended with an error: ${line}`);
      this.#ledger.record(entry.request_id, entry.status);
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

  #fault(text: string): void {
    this.#tally.fault("faults of logs and traces", text);
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
