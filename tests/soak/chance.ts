/** Random choices that a seed repeats. */

import { randomNumbers } from "../support/random_numbers.ts";

export class Chance {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = randomNumbers(seed);
  }

  /** A whole number from 0 to limit − 1. */
  below = (limit: number): number => Math.floor(this.#next() * limit);

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** True once in `times`, on average. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }
}
