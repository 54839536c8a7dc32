/**
 * What an answer cost, as clients read it: OpenAI's `usage`, and `timings` in llama.cpp's words.
 */

import packageJson from "../../../package.json" with { type: "json" };
import { cpuTier } from "../../engine/library.ts";
import type { Counts } from "../../text/generation.ts";

/** This program's version. */
export const version: string = packageJson.version;

/** Changes when answers to the same request may change: with the version and with the kernels in use. */
export function systemFingerprint(): string {
  return `wrinklefree-${version}-${cpuTier()}`;
}

/**
 * OpenAI's `usage` of a request's choices.
 *
 * @param counts of all choices, those of the first prompt first.
 * @param choicesEach choices of each prompt: they share it, so it is counted once.
 */
export function usage(counts: readonly Counts[], choicesEach: number) {
  const prompts = counts.filter((_, choice) => choice % choicesEach === 0);
  const promptTokens = prompts.reduce((sum, count) => sum + count.promptTokens, 0);
  const completionTokens = counts.reduce((sum, count) => sum + count.completionTokens, 0);
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: prompts.reduce((sum, count) => sum + count.cachedTokens, 0) },
  };
}

/**
 * Speed of a request. The prompt's time is the time to the first token of any choice, waiting included; the first token counts
 * as the prompt's, so decoding is what came after it.
 */
export function timings(counts: readonly Counts[]) {
  const promptTokens = counts[0]?.promptTokens ?? 0;
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
