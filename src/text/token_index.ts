/**
 * The tokens of a vocabulary by their texts. A Map would do, but hundreds of thousands of merges are looked up when a model is opened,
 * each two parts of a text, and here no part has to become a text of its own.
 */

/** A vocabulary's tokens. Immutable. */
export class TokenIndex {
  /** Their texts, by id. */
  readonly texts: readonly (string | undefined)[];
  /** An id in each, or -1. */
  readonly #slots: Int32Array;
  readonly #mask: number;

  constructor(vocabulary: Readonly<Record<string, number>>) {
    const entries = Object.entries(vocabulary);
    const capacity = 2 ** Math.ceil(Math.log2(2 * entries.length + 2));
    this.#slots = new Int32Array(capacity).fill(-1);
    this.#mask = capacity - 1;
    const texts: (string | undefined)[] = [];
    this.texts = texts;
    for (const [text, id] of entries) {
      texts[id] = text;
      this.#slots[this.#slotOf(text, 0, text.length)] = id;
    }
  }

  /** The id of a text, or of a part of it; undefined for what is no token. */
  find(text: string, start = 0, end = text.length): number | undefined {
    const id = this.#slots[this.#slotOf(text, start, end)] as number;
    return id < 0 ? undefined : id;
  }

  /** Where a token is, or would be. */
  #slotOf(text: string, start: number, end: number): number {
    // FNV-1a.
    let hash = 0x811c9dc5;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash ^= hash >>> 15;
    for (; ; hash++) {
      const slot = hash & this.#mask;
      const id = this.#slots[slot] as number;
      if (id < 0) return slot;
      const known = this.texts[id] as string;
      if (known.length === end - start && text.startsWith(known, start)) return slot;
    }
  }
}
