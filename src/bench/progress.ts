/** Shows which measurement runs: a bar on a terminal, a line for each where stderr goes to a file or a log. */

import { notes } from "../terminal/output.ts";
import type { ProgressStream } from "../terminal/progress.ts";

const BAR_WIDTH = 20;

/** How far a bench is. Nothing is drawn while something is timed. */
export class BenchProgress {
  readonly #stream: ProgressStream;
  readonly #total: number;
  #begun = 0;

  constructor(total: number, stream: ProgressStream = notes) {
    this.#total = total;
    this.#stream = stream;
  }

  /** The next of the steps begins. */
  begin(step: string): void {
    const text = `${step} (${this.#begun + 1} of ${this.#total})`;
    if (this.#stream.isTTY === true) {
      const filled = Math.floor((BAR_WIDTH * this.#begun) / this.#total);
      const line = `[${"#".repeat(filled)}${" ".repeat(BAR_WIDTH - filled)}] ${text}`;
      this.#stream.write(`\r${line.slice(0, (this.#stream.columns ?? 80) - 1)}\u001b[K`);
    } else {
      this.#stream.write(`measuring: ${text}\n`);
    }
    this.#begun++;
  }

  /** Takes the bar off the screen, to make room for a result. */
  clear(): void {
    if (this.#stream.isTTY === true) this.#stream.write("\r\u001b[K");
  }
}
