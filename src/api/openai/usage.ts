/** What an answer cost, as OpenAI's clients read it. */

import type { Counts } from "../../text/generation.ts";

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
