/**
 * Turns on the event loop, for work that would hold it up: in each round of the loop one slice of such work runs, whoever it
 * belongs to, so that sockets and timers are served between any two.
 */

/** A queue for turns. */
export class Turns {
  readonly #fresh: (() => void)[] = [];
  readonly #begun: (() => void)[] = [];
  /** Whether this round of the loop has had its slice. */
  #isTaken = false;

  /**
   * Waits for a turn, which lasts until the caller awaits something else. Work that has had no turn yet goes before work that has:
   * what takes one slice doesn't wait for what takes hundreds.
   *
   * @param isFresh whether this work has had no turn yet.
   * @throws the signal's reason when it has fired.
   */
  async take(isFresh = true, signal?: AbortSignal): Promise<void> {
    if (this.#isTaken) {
      await new Promise<void>((resolve) => (isFresh ? this.#fresh : this.#begun).push(resolve));
    } else {
      this.#isTaken = true;
      setImmediate(this.#handOn);
    }
    signal?.throwIfAborted();
  }

  #handOn = (): void => {
    const next = this.#fresh.shift() ?? this.#begun.shift();
    if (next === undefined) {
      this.#isTaken = false;
      return;
    }
    setImmediate(this.#handOn);
    next();
  };
}

/** There is one event loop, hence one queue. */
export const turns = new Turns();
