/** Prompts for checks and measurements. */

/**
 * Draws tokens at random, the same in every run of the program.
 *
 * @param vocabSize ids are below it.
 * @param seed other numbers draw other tokens.
 * @returns draws so many more.
 */
export function randomTokens(vocabSize: number, seed: number): (count: number) => Uint32Array {
  let state = seed;
  // A linear congruential generator with the constants of Numerical Recipes; its upper bits are random enough.
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabSize);
  };
  return (count) => Uint32Array.from({ length: count }, next);
}
