/**
 * Which tokens belong to a text that leaves in pieces. Text is held back while it may be the beginning of a stop string, and a
 * character may be spread over several tokens; a token may only be shown once all of its text is out, or it would give away what
 * is held back.
 */

/** The tokens of one text. One per text; not to be shared. */
export class TokenAlignment<Token> {
  #waiting: { token: Token; end: number }[] = [];

  /**
   * Adds a token.
   *
   * @param end length of the text up to and with this token, in UTF-16 code units.
   * @param isComplete whether the text so far ends at the end of a character; if not, the token waits for the next that does.
   */
  push(token: Token, end: number, isComplete: boolean): void {
    this.#waiting.push({ token, end: isComplete ? end : Number.POSITIVE_INFINITY });
    if (isComplete) this.finish(end);
  }

  /** The text is complete with this length, so tokens that waited for the rest of a character do so no longer. */
  finish(end: number): void {
    for (const entry of this.#waiting) entry.end = Math.min(entry.end, end);
  }

  /** Hands out the tokens whose text lies within the first `released` code units. */
  release(released: number): Token[] {
    const waiting = this.#waiting.findIndex(({ end }) => end > released);
    const count = waiting < 0 ? this.#waiting.length : waiting;
    return this.#waiting.splice(0, count).map(({ token }) => token);
  }
}
