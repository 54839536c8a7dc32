/**
 * Token ids to text, one id at a time. A character may be spread over several ids, so what can't be read yet is held back: every
 * piece of text that leaves here consists of whole characters, and the pieces joined are the text of all the ids at once.
 */

import type { Tokenizer } from "./tokenizer.ts";

/** The text of one answer as it grows. One per answer; not to be shared. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  // A byte-order mark inside an answer is text like any other.
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Adds an id and returns the text that it completes, often none. Control tokens have no text. */
  push(id: number): string {
    if (this.#tokenizer.isSpecial(id)) return "";
    return this.#decoder.decode(this.#tokenizer.bytes(id), { stream: true });
  }

  /** Ends the answer: U+FFFD when it broke off in the middle of a character, else nothing. */
  finish(): string {
    return this.#decoder.decode();
  }
}
