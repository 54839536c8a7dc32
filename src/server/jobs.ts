/**
 * Who is being served: counts the answers that wait for their first token and those that are being written, bounds their number,
 * and knows how to wait for all of them or to end them, which is what shutting down needs.
 */

import { ApiError } from "../api/errors.ts";

/** One answer's place. */
export interface Job {
  /** Fires when the answer has to end: the client left, or the server stops waiting for it. */
  readonly signal: AbortSignal;
  /** Ends the answer. */
  abort(): void;
  /** The first token came. */
  start(): void;
  /** The answer is over. Further calls do nothing. */
  finish(): void;
}

/** The answers of one server. */
export class Jobs {
  /** Answers without a token yet. */
  waiting = 0;
  /** Answers being written. */
  running = 0;
  readonly #capacity: number;
  readonly #controllers = new Set<AbortController>();
  #idleListeners: (() => void)[] = [];

  /** @param capacity most answers at once, waiting and running. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /**
   * Takes places for the answers to one request, all or none, and ends them when the client leaves.
   *
   * @throws ApiError 429 when there are not enough places left.
   */
  admit(count: number, client: AbortSignal): Job[] {
    if (this.waiting + this.running + count > this.#capacity) {
      throw new ApiError(429, `The server is at its limit of ${this.#capacity} answers at once. Please try again.`, {
        code: "rate_limit_exceeded",
        headers: { "retry-after": "5" },
      });
    }
    return Array.from({ length: count }, () => this.#take(client));
  }

  /** Ends all answers. */
  abortAll(): void {
    for (const controller of this.#controllers) controller.abort();
  }

  /** Resolves as soon as there is no answer left. */
  async idle(): Promise<void> {
    if (this.#controllers.size > 0) await new Promise<void>((resolve) => this.#idleListeners.push(resolve));
  }

  #take(client: AbortSignal): Job {
    const controller = new AbortController();
    this.#controllers.add(controller);
    this.waiting++;
    let state: "waiting" | "running" | "finished" = "waiting";
    const onLeave = () => controller.abort();
    if (client.aborted) controller.abort();
    client.addEventListener("abort", onLeave, { once: true });
    return {
      signal: controller.signal,
      abort: onLeave,
      start: () => {
        if (state !== "waiting") return;
        state = "running";
        this.waiting--;
        this.running++;
      },
      finish: () => {
        if (state === "finished") return;
        if (state === "waiting") this.waiting--;
        else this.running--;
        state = "finished";
        client.removeEventListener("abort", onLeave);
        this.#controllers.delete(controller);
        if (this.#controllers.size > 0) return;
        const listeners = this.#idleListeners;
        this.#idleListeners = [];
        for (const listener of listeners) listener();
      },
    };
  }
}
