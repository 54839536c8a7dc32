/** The names that are most like one that is not there. */

import { distance } from "fastest-levenshtein";

/** Three at most, the likest first; those with nothing in common are left out. */
export function nearest(name: string, others: readonly string[]): string[] {
  const lower = name.toLowerCase();
  return [...new Set(others)]
    .map((other) => ({ other, far: distance(lower, other.toLowerCase()) }))
    .filter(({ other, far }) => far < 0.7 * Math.max(name.length, other.length))
    .sort((a, b) => a.far - b.far)
    .slice(0, 3)
    .map(({ other }) => other);
}
