/**
 * Many producers' events on their way to one consumer, in the order in which they happen. A wait for the next one costs one promise,
 * however many producers there are.
 */

/** A queue of events. One consumer takes from it. */
export class EventQueue<Event> {
  #events: Event[] = [];
  #error: { reason: unknown } | undefined;
  #isClosed = false;
  #wake: (() => void) | undefined;

  push(event: Event): void {
    this.#events.push(event);
    this.#wake?.();
  }

  /** What the consumer meets after the events so far, instead of those that would follow. */
  fail(reason: unknown): void {
    this.#error ??= { reason };
    this.#wake?.();
  }

  /** Nothing follows the events so far. */
  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  /** The events, until the queue is closed. @throws what it failed with. */
  async *drain(): AsyncGenerator<Event, void> {
    for (;;) {
      const events = this.#events;
      this.#events = [];
      yield* events;
      if (this.#events.length > 0) continue;
      if (this.#error !== undefined) throw this.#error.reason;
      if (this.#isClosed) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
