/** Whose prompts may share what was computed for them. */

/** Pairs of key and salt that are remembered. */
const SCOPES_MAX = 10_000;

/**
 * Numbers for the prefix cache: requests with the same key and the same salt, and only they, get the same one. A pair that was long
 * not seen is forgotten and gets a new number, so a number never means two pairs.
 */
export class Scopes {
  readonly #known = new Map<string, bigint>();
  #last = 0n;

  /** The scope of a key, by its hash (undefined: none), and a salt. */
  of(key: string | undefined, salt: string | undefined): bigint {
    const pair = JSON.stringify([key ?? null, salt ?? null]);
    const scope = this.#known.get(pair) ?? ++this.#last;
    // Put at the end, so that the first one is the one that was not seen for longest.
    this.#known.delete(pair);
    this.#known.set(pair, scope);
    if (this.#known.size > SCOPES_MAX) this.#known.delete(this.#known.keys().next().value as string);
    return scope;
  }
}
