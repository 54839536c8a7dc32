/** Bounds what making a grammar takes: a schema is a stranger's, and the event loop waits meanwhile. */

import { GrammarTooLarge } from "./grammar_builder.ts";

/** Steps of a grammar together, for all of its schemas: most of a microsecond each, so some tenths of a second. */
const WORK_MAX = 300_000;

/** What may still be spent on one grammar. */
export class WorkBudget {
  #left = WORK_MAX;

  /** @param fault what is thrown when more was spent than there is. */
  spend(steps: number, fault: () => Error = () => new GrammarTooLarge()): void {
    this.#left -= steps;
    if (this.#left < 0) throw fault();
  }
}
