/**
 * Bounds on the time and the memory of one rendering. A chat template is a program that came with a model; a bad one must not stop
 * the server, however few words it needs for that. A rendering is one turn on the event loop, so what it may do in all is bounded.
 *
 * Work is counted in steps of about a quarter of a microsecond. Whatever may take or make more than a step's worth is counted
 * before it is done, by the sizes of its operands.
 */

import { isWide } from "./characters.ts";
import { TemplateError } from "./errors.ts";

/** Steps that one rendering may take: enough for thousands of messages, at most some 100 ms. */
const STEPS_MAX = 250_000;

/** Most elements of a list, as jinja2's sandbox has it for ranges. */
export const LIST_LENGTH_MAX = 100_000;

/** Most levels of macros, loops and values within each other. */
const DEPTH_MAX = 200;

/** With so many UTF-16 code units in a step, texts can be searched or joined, made, or gone through in a loop. */
const READ_PER_STEP = 2048;
const MADE_PER_STEP = 256;
const WALKED_PER_STEP = 16;

/** Steps that arithmetic with a large number takes, or writing one, at most. */
const LARGE_NUMBER_STEPS = 300;

/** Counts what one rendering does. */
export class Budget {
  #steps = 0;
  #depth = 0;
  readonly #charactersMax: number;

  /** @param charactersMax longest text, in UTF-16 code units, that may be made. */
  constructor(charactersMax: number) {
    this.#charactersMax = charactersMax;
  }

  /** Counts steps. @throws TemplateError when there were too many, as do all of these. */
  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > STEPS_MAX) throw new TemplateError(`the chat template takes more than ${STEPS_MAX} steps`);
  }

  /** Counts work with numbers, of which it is the large ones that take long. */
  compute(...numbers: readonly unknown[]): void {
    for (const number of numbers) if (typeof number === "bigint") this.spend(LARGE_NUMBER_STEPS);
  }

  /** Counts a search through a text. */
  read(length: number): void {
    this.spend(length / READ_PER_STEP);
  }

  /** Counts a search for places in a text that are counted in code points. */
  readPoints(text: string): void {
    if (isWide(text)) this.walk(text.length);
    else this.read(text.length);
  }

  /** Counts work on each character of a text. */
  walk(length: number): void {
    this.spend(length / WALKED_PER_STEP);
  }

  /** Counts work that looks each character of a text up. */
  walkSlowly(length: number): void {
    this.spend(length);
  }

  /** Counts two texts becoming one, which shares their memory. */
  join(length: number): void {
    this.fits(length);
    this.spend(length / READ_PER_STEP);
  }

  /** Counts a text that is about to be made. */
  make(length: number): void {
    this.fits(length);
    this.spend(length / MADE_PER_STEP);
  }

  /** Counts a list that is about to be made or gone through. */
  list(length: number): void {
    if (length > LIST_LENGTH_MAX) {
      throw new TemplateError(`the chat template makes a list of more than ${LIST_LENGTH_MAX} elements`);
    }
    this.spend(length / 4);
  }

  /** Does what may go on into depth. */
  deeper<Result>(work: () => Result): Result {
    if (++this.#depth > DEPTH_MAX) throw new TemplateError(`the chat template goes more than ${DEPTH_MAX} levels deep`);
    try {
      return work();
    } finally {
      this.#depth--;
    }
  }

  /** Checks the length of a text. */
  fits(length: number): void {
    if (length > this.#charactersMax) {
      throw new TemplateError(`the chat template makes more than ${this.#charactersMax} characters`);
    }
  }
}

/** A text that is put together from pieces, each of which is counted. */
export class TextBuilder {
  #text = "";
  readonly #budget: Budget;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  add(piece: string): void {
    this.#budget.spend(0.25);
    this.#budget.make(piece.length);
    this.#text += piece;
    this.#budget.fits(this.#text.length);
  }

  get text(): string {
    return this.#text;
  }
}
