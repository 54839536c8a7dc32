/** Writes answers to stdout: as text that grows, harmless to a terminal, or each as one JSON object. */

import { timings } from "../api/timings.ts";
import { HarmlessText } from "../terminal/harmless.ts";
import { results } from "../terminal/output.ts";
import type { AnswerEvent, Outcome } from "./chat_model.ts";

/**
 * Writes one answer.
 *
 * @param model its name, for JSON.
 * @returns how it ended.
 */
export async function writeAnswer(
  events: AsyncGenerator<AnswerEvent, void>,
  model: string,
  isJson: boolean,
): Promise<Outcome> {
  // A program or a file gets what the model wrote, to the byte.
  const terminal = process.stdout.isTTY === true ? new HarmlessText() : undefined;
  let text = "";
  let outcome: Outcome | undefined;
  try {
    for await (const event of events) {
      if (event.kind === "end") outcome = event;
      else text += event.text;
      if (event.kind === "text" && !isJson) results.write(terminal?.push(event.text) ?? event.text);
    }
  } catch (error) {
    // What is said about it begins a line.
    if (terminal !== undefined && !isJson && text !== "") results.write("\n");
    throw error;
  }
  const ended = outcome as Outcome;
  results.write(isJson ? `${JSON.stringify(answerObject(model, text, ended))}\n` : `${terminal?.finish() ?? ""}\n`);
  return ended;
}

function answerObject(model: string, content: string, { reason, counts }: Outcome) {
  return {
    model,
    message: { role: "assistant", content },
    finish_reason: reason,
    usage: {
      prompt_tokens: counts.promptTokens,
      completion_tokens: counts.completionTokens,
      total_tokens: counts.promptTokens + counts.completionTokens,
      prompt_tokens_details: { cached_tokens: counts.cachedTokens },
    },
    timings: timings([counts]),
  };
}

/** What an answer cost, in words. */
export function describeOutcome({ reason, counts }: Outcome): string {
  const speed = timings([counts]);
  const cached = counts.cachedTokens > 0 ? ` (${counts.cachedTokens} cached)` : "";
  const ending: Record<string, string> = {
    length: "; it is cut off where the context or max-tokens ends",
    cancelled: "; it was stopped",
  };
  return (
    `${speed.prompt_n} prompt tokens${cached}, ${speed.prompt_per_second} per second; ` +
    `${speed.predicted_n} tokens, ${speed.predicted_per_second} per second${ending[reason] ?? ""}`
  );
}
