/** Guesses what a person meant by a word that is unknown. */

import { distance } from "fastest-levenshtein";

/**
 * A hint in brackets with the known word that is nearest to an unknown one: misspelt, or cut short.
 *
 * @returns " (did you mean 'word'?)", or nothing when none is near.
 */
export function suggestion(word: string, known: readonly string[]): string {
  const wanted = plain(word);
  const longer = known.filter((candidate) => wanted.length >= 3 && plain(candidate).startsWith(wanted));
  // Of words that were cut short, the one that lacks least.
  const [whole] = longer.sort((one, other) => one.length - other.length);
  // Of words with as many mistakes, the one with the same letters is nearer.
  const misplaced = (candidate: string) => distance(letters(wanted), letters(plain(candidate)));
  // Two neighbouring letters that changed places count as two mistakes.
  const mistakesMax = Math.max(wanted.length / 3, Math.min(2, wanted.length / 2));
  const ranked = known
    .map((candidate) => ({ candidate, mistakes: distance(wanted, plain(candidate)) }))
    .filter(({ mistakes }) => mistakes <= mistakesMax)
    .sort((one, other) => one.mistakes - other.mistakes || misplaced(one.candidate) - misplaced(other.candidate));
  const nearest = whole ?? ranked[0]?.candidate;
  return nearest === undefined ? "" : ` (did you mean '${nearest}'?)`;
}

/** The letters of a word in the order of the alphabet. */
function letters(word: string): string {
  return [...word].sort().join("");
}

function plain(word: string): string {
  return word.replace(/^-+/, "").toLowerCase();
}
