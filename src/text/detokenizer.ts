/**
 * Token ids to text, one id at a time. A character may be spread over several ids, so what can't be read yet is held back: every
 * piece of text that leaves here consists of whole characters, and the pieces joined are the text of all the ids at once.
 */

import type { Tokenizer } from "./tokenizer.ts";

/** The text of one answer as it grows. One per answer; not to be shared. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #showsSpecial: boolean;
  // A byte-order mark inside an answer is text like any other.
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** The last bytes, as many as an unfinished character can have. */
  #tail: number[] = [];

  /** @param showsSpecial whether control tokens are spelled out, as a prompt spells them, rather than left out. */
  constructor(tokenizer: Tokenizer, showsSpecial = false) {
    this.#tokenizer = tokenizer;
    this.#showsSpecial = showsSpecial;
  }

  /** Whether the text so far ends with a whole character. */
  get isComplete(): boolean {
    for (let length = 1; length <= this.#tail.length; length++) {
      const byte = this.#tail[this.#tail.length - length] as number;
      if (byte >> 6 === 0b10) continue;
      const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
      return length >= needed;
    }
    return true;
  }

  /** Adds an id and returns the text that it completes, often none. Control tokens have no text. */
  push(id: number): string {
    if (this.#tokenizer.isSpecial(id) && !this.#showsSpecial) return "";
    const bytes = this.#tokenizer.bytes(id);
    this.#tail = [...this.#tail, ...bytes.slice(-3)].slice(-3);
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** Ends the answer: U+FFFD when it broke off in the middle of a character, else nothing. */
  finish(): string {
    this.#tail = [];
    return this.#decoder.decode();
  }
}

/** The text of ids, control tokens spelled out. */
export function decodeAll(tokenizer: Tokenizer, ids: Iterable<number>): string {
  const bytes = Buffer.concat(Array.from(ids, (id) => tokenizer.bytes(id)));
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}
