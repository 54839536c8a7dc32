/** Finds the tokens of a vocabulary by the text in them. */

import type { Tokenizer } from "./tokenizer.ts";

/** A vocabulary's bytes, one token after the other. */
export class TokenSearch {
  static readonly #made = new WeakMap<Tokenizer, TokenSearch>();
  readonly #bytes: Buffer;
  /** Where each token begins, and where the last one ends. */
  readonly #offsets: Uint32Array;

  private constructor(tokenizer: Tokenizer, count: number) {
    const tokens = Array.from({ length: count }, (_, id) => tokenizer.bytes(id));
    this.#bytes = Buffer.concat(tokens);
    this.#offsets = new Uint32Array(count + 1);
    for (const [id, bytes] of tokens.entries()) this.#offsets[id + 1] = (this.#offsets[id] as number) + bytes.length;
  }

  /** That of the first `count` ids of a tokenizer; made once, in some ten milliseconds. */
  static of(tokenizer: Tokenizer, count: number): TokenSearch {
    const search = TokenSearch.#made.get(tokenizer) ?? new TokenSearch(tokenizer, count);
    TokenSearch.#made.set(tokenizer, search);
    return search;
  }

  /** The tokens that hold a text. */
  holding(text: string): number[] {
    const wanted = Buffer.from(text);
    const found: number[] = [];
    let id = 0;
    for (let at = this.#bytes.indexOf(wanted); at >= 0; at = this.#bytes.indexOf(wanted, at)) {
      while ((this.#offsets[id + 1] as number) <= at) id++;
      const end = this.#offsets[id + 1] as number;
      const isWhole = at + wanted.length <= end;
      if (isWhole) found.push(id);
      // One place in a token is enough.
      at = isWhole ? end : at + 1;
    }
    return found;
  }

  /** The tokens that end with a text. */
  endingWith(text: string): number[] {
    const wanted = Buffer.from(text);
    const found: number[] = [];
    for (let id = 0; id + 1 < this.#offsets.length; id++) {
      const [begin, end] = [this.#offsets[id] as number, this.#offsets[id + 1] as number];
      const at = end - wanted.length;
      if (at >= begin && this.#bytes[at] === wanted[0] && this.#bytes.compare(wanted, 0, wanted.length, at, end) === 0)
        found.push(id);
    }
    return found;
  }
}
