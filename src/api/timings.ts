/** What an answer took, as llama.cpp's clients read it; every dialect that has `timings` has these. */

import type { Counts } from "../text/generation.ts";

/** The times so far, for a chunk of a stream that is to have them. */
export function timesOf({ timesTokens }: { timesTokens: boolean }, { counts }: { counts: Counts }): object {
  return timesTokens ? { timings: timings([counts], 1) } : {};
}

/**
 * Speed of a request. The prompt's time is the time to the first token of any choice, waiting included; the first token counts
 * as the prompt's, so decoding is what came after it.
 *
 * @param counts of all choices, those of the first prompt first.
 * @param choicesEach choices of each prompt: they share it, so it is counted once.
 */
export function timings(counts: readonly Counts[], choicesEach: number) {
  const prompts = counts.filter((_, choice) => choice % choicesEach === 0);
  const promptTokens = prompts.reduce((sum, count) => sum + count.promptTokens, 0);
  const firstTokenMs = Math.min(...counts.map((count) => count.firstTokenMs));
  const decodeMs = Math.max(...counts.map((count) => count.totalMs)) - firstTokenMs;
  const decoded = counts.reduce((sum, count) => sum + count.completionTokens, 0);
  return {
    prompt_n: promptTokens,
    prompt_ms: rounded(firstTokenMs),
    prompt_per_second: perSecond(promptTokens, firstTokenMs),
    predicted_n: decoded,
    predicted_ms: rounded(decodeMs),
    predicted_per_second: perSecond(Math.max(0, decoded - counts.length), decodeMs),
    time_to_first_token_ms: rounded(firstTokenMs),
  };
}

function perSecond(count: number, ms: number): number {
  return ms > 0 ? rounded((count * 1000) / ms) : 0;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
