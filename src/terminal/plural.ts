/** Counts in words. */

/** "1 message", "2 messages". @param written the count as it is to be read. */
export function plural(count: number, noun: string, written = String(count)): string {
  return `${written} ${noun}${count === 1 ? "" : "s"}`;
}
