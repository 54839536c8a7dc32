/**
 * How much memory the bodies of all requests under way may take. Each is bounded by itself, but nothing else bounds their number.
 *
 * Bytes are counted as they arrive, not as they are announced: who announces much and sends nothing keeps nobody out. A part of the
 * budget is for small bodies alone, so that a few who send large ones slowly don't keep everybody else out either.
 */

import { RequestError } from "./request_error.ts";

/** Bytes of all bodies, where there is room for them. */
export const BODIES_BYTES_MAX = 128 * 1024 * 1024;

/** The part of that over which no large one may grow. */
const LARGE_BODIES_SHARE = 0.75;

/** A body is small up to this many bytes. */
const SMALL_BODY_BYTES = 64 * 1024;

/** Seconds after which a client may try again. A body has a minute to arrive; most answers take a few seconds. */
const RETRY_AFTER_S = 5;

/** The budget of one server. */
export class BodyBudget {
  bytes = 0;
  /** What all of them may take. */
  limit = BODIES_BYTES_MAX;

  /** A share for one request, empty at first. */
  share(): BodyShare {
    return new BodyShare(this);
  }
}

/** What the body of one request takes, in all of its forms, until its answer is over. */
export class BodyShare {
  readonly #budget: BodyBudget;
  #bytes = 0;

  constructor(budget: BodyBudget) {
    this.#budget = budget;
  }

  /** Checks whether the budget has room for this many bytes more, and takes none. @throws RequestError 429. */
  checkRoom(bytes: number): void {
    const isLarge = this.#bytes + bytes > SMALL_BODY_BYTES;
    const { limit } = this.#budget;
    const most = isLarge ? limit * LARGE_BODIES_SHARE : limit;
    if (this.#budget.bytes + bytes <= most) return;
    throw new RequestError(
      429,
      `The server is at its limit for the bodies of requests under way. Please try again in ${RETRY_AFTER_S} s, or send less at once.`,
      { code: "rate_limit_exceeded", headers: { "retry-after": String(RETRY_AFTER_S) } },
    );
  }

  /** Takes more of the budget. @throws RequestError 429 when it has no room for that. */
  take(bytes: number): void {
    this.checkRoom(bytes);
    this.#bytes += bytes;
    this.#budget.bytes += bytes;
  }

  /** Gives everything back. */
  release(): void {
    this.#budget.bytes -= this.#bytes;
    this.#bytes = 0;
  }
}
