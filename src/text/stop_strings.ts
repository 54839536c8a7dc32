/**
 * Finds stop strings in a text that arrives in pieces, without ever letting a part of one out.
 *
 * The text ends before the first place at which any of the stop strings begins, wherever the borders of the pieces lie: cutting
 * the whole text there gives the same. So text is held back while it may still turn out to be the beginning of a stop string,
 * and a stop string that is complete waits while another one that begins before it may still become complete.
 *
 * Each stop string has a Knuth-Morris-Pratt automaton, so that a piece costs its length times the number of stop strings,
 * however long those are and however much text came before.
 */

/** One stop string and how much of it the text's end matches. */
class Automaton {
  readonly pattern: string;
  /** Code units of the pattern that the text's end matches. */
  matched = 0;
  /**
   * borders[i]: length of the longest proper prefix of the pattern that also ends pattern[0..i]. Only as long as the longest match
   * so far: a stop string may be megabytes long, a request may want many answers, and few texts ever match much of it.
   */
  readonly #borders = [0];

  constructor(pattern: string) {
    this.pattern = pattern;
  }

  /** Reads one code unit; true when it completes the pattern. */
  read(unit: string): boolean {
    if (this.matched === this.pattern.length) this.matched = this.#borders[this.matched - 1] as number;
    this.matched = this.#extend(this.matched, unit);
    if (this.matched > this.#borders.length) {
      const border = this.#borders[this.matched - 2] as number;
      this.#borders.push(this.#extend(border, this.pattern[this.matched - 1] as string));
    }
    return this.matched === this.pattern.length;
  }

  /** How much of the pattern is matched when `unit` comes after `length` code units of it. */
  #extend(length: number, unit: string): number {
    let matched = length;
    while (matched > 0 && unit !== this.pattern[matched]) matched = this.#borders[matched - 1] as number;
    return unit === this.pattern[matched] ? matched + 1 : matched;
  }
}

/** The stop strings of one answer, at work on its text. One per answer; not to be shared. */
export class StopStrings {
  /** The stop string that was found: the text is complete and nothing more may be pushed. */
  found: string | undefined;

  readonly #automata: Automaton[];
  readonly #isIncluded: boolean;
  /** Text that was not let out yet. */
  #held = "";
  /** Code units that were let out. */
  #released = 0;
  /** Where in the whole text the earliest complete stop string begins. */
  #cut = Number.POSITIVE_INFINITY;
  /** The stop string that begins there. */
  #cutter: string | undefined;

  /**
   * @param stops well-formed, none of them empty.
   * @param isIncluded whether the text ends behind the stop string rather than before it.
   */
  constructor(stops: readonly string[], isIncluded = false) {
    this.#isIncluded = isIncluded;
    this.#automata = [...new Set(stops)].map((stop) => new Automaton(stop));
  }

  /** Adds a piece of text and returns what is now certain to lie before every stop string. */
  push(text: string): string {
    if (this.#automata.length === 0) return text;
    const start = this.#released + this.#held.length;
    this.#held += text;
    for (let i = 0; i < text.length; i++) {
      const unit = text[i] as string;
      const end = start + i + 1;
      let earliestOpen = end;
      for (const automaton of this.#automata) {
        if (!automaton.read(unit)) {
          earliestOpen = Math.min(earliestOpen, end - automaton.matched);
        } else if (end - automaton.pattern.length < this.#cut) {
          this.#cut = end - automaton.pattern.length;
          this.#cutter = automaton.pattern;
        }
      }
      // Nothing that begins before the complete one can become complete any more.
      if (this.#cut <= earliestOpen) return this.#finishAtCut();
      if (i === text.length - 1) return this.#release(Math.min(earliestOpen, this.#cut));
    }
    return "";
  }

  /** Ends the text and returns what was held back of it, cut where a complete stop string begins. */
  finish(): string {
    if (this.found !== undefined) return "";
    if (this.#cut !== Number.POSITIVE_INFINITY) return this.#finishAtCut();
    return this.#release(this.#released + this.#held.length);
  }

  #finishAtCut(): string {
    const stop = this.#cutter as string;
    const rest = this.#release(this.#cut + (this.#isIncluded ? stop.length : 0));
    this.found = stop;
    this.#held = "";
    return rest;
  }

  /** Lets the text out up to a place in the whole text. */
  #release(position: number): string {
    const length = position - this.#released;
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    this.#released = position;
    return text;
  }
}
