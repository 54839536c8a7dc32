/** What was entered before, to go through with the arrow keys and to search. */

/** Keeps entries beyond the session. */
export interface HistoryStore {
  append(entry: string): void;
}

/** Entries, the oldest first, and a place among them. */
export class InputHistory {
  readonly #entries: string[];
  readonly #store: HistoryStore | undefined;
  /** Behind the last entry is what is being written. */
  #place: number;
  #draft = "";

  constructor(entries: readonly string[], store: HistoryStore | undefined) {
    this.#entries = [...entries];
    this.#store = store;
    this.#place = this.#entries.length;
  }

  /** Adds an entry, but not the last one again, and goes behind it. */
  add(entry: string): void {
    if (entry !== this.#entries.at(-1)) {
      this.#entries.push(entry);
      this.#store?.append(entry);
    }
    this.rewind();
  }

  /** Goes behind the last entry. */
  rewind(): void {
    this.#place = this.#entries.length;
  }

  /**
   * Goes to the entry before or after.
   *
   * @param text what is written now, which is found again behind the last entry.
   * @returns undefined where there is none.
   */
  go(by: -1 | 1, text: string): string | undefined {
    const place = this.#place + by;
    if (place < 0 || place > this.#entries.length) return undefined;
    if (this.#place === this.#entries.length) this.#draft = text;
    this.#place = place;
    return this.#entries[place] ?? this.#draft;
  }

  /** The place of the last entry before `end` that holds a text. */
  find(text: string, end = this.#entries.length): { place: number; entry: string } | undefined {
    const place = this.#entries.slice(0, end).findLastIndex((entry) => entry.includes(text));
    return place < 0 ? undefined : { place, entry: this.#entries[place] as string };
  }
}
