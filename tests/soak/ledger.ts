/**
 * Requests as their clients saw them, against what the server says of them in one place, its log or its traces: each answered request has
 * to be there once, with the status that its client saw. Memory is only needed for those that have not been seen from both sides.
 */

/** Requests with ids of this form are the soak's. */
const OWN = /^soak-/;

export class Ledger {
  readonly #place: string;
  readonly #fault: (text: string) => void;
  /** Statuses of answers that the server has said nothing of so far. */
  readonly #answered = new Map<string, number>();
  /** Statuses that it said of answers which no client has seen so far. */
  readonly #recorded = new Map<string, number>();
  /** Requests that their client left: something may be said of them. */
  readonly #left = new Set<string>();

  /** @param place what is compared, for people. */
  constructor(place: string, fault: (text: string) => void) {
    this.#place = place;
    this.#fault = fault;
  }

  /** The server has said of a request how it was answered. */
  record(id: string, status: number): void {
    if (!OWN.test(id) || this.#left.delete(id)) return;
    const seen = this.#answered.get(id);
    if (seen !== undefined) {
      this.#answered.delete(id);
      this.#compare(id, status, seen);
    } else if (this.#recorded.has(id)) {
      this.#fault(`${id} is twice in the ${this.#place}`);
    } else {
      this.#recorded.set(id, status);
    }
  }

  /** A client has read an answer to its end. */
  answered(id: string, status: number): void {
    const recorded = this.#recorded.get(id);
    if (recorded === undefined) this.#answered.set(id, status);
    else this.#compare(id, recorded, status);
    this.#recorded.delete(id);
  }

  /** A client has left, or will never know. */
  left(id: string): void {
    if (!this.#recorded.delete(id)) this.#left.add(id);
  }

  /** Answers that the server has said nothing of so far. */
  get missing(): readonly string[] {
    return [...this.#answered].map(([id, status]) => `${id} (${status})`);
  }

  #compare(id: string, recorded: number, seen: number): void {
    if (recorded !== seen) this.#fault(`${id} has ${recorded} in the ${this.#place}, its client saw ${seen}`);
  }
}
