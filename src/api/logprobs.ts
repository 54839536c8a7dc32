/** What all shapes of log-probabilities have in common. */

/** Stands for probabilities that 32-bit floats can't tell from 0: JSON has no infinity. */
const LOWEST = -9999;

/** A token's name for readers: its text, or, for a part of a character, its bytes as \xe3\x81 after `prefix`. */
export function nameOf(bytes: Uint8Array, prefix: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return prefix + Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  }
}

/** A log-probability as JSON can hold it. */
export function finite(logprob: number): number {
  return Math.max(logprob, LOWEST);
}
