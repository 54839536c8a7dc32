/** What became of the answers to a request, for the log and for traces. */

import type { FinishReason } from "../engine/events.ts";
import type { EndReason } from "../serving/metrics.ts";
import { type Counts, noCounts } from "../text/generation.ts";

/** One answer, from the time on at which the engine was given it. Times are those of performance.now(), in milliseconds. */
export interface AnswerRecord {
  readonly submitted: number;
  /** Whether the engine has taken it up. */
  hasBegun: boolean;
  /** What it has cost so far. */
  readonly counts: Counts;
  /** Why it ended; undefined as long as it goes on. */
  reason: FinishReason | undefined;
}

/** The record of an answer that the engine is given now. */
export function newRecord(promptTokens: number): AnswerRecord {
  return { submitted: performance.now(), hasBegun: false, counts: noCounts(promptTokens), reason: undefined };
}

/** The tokens of all answers to a request together. */
export function tokensOf(answers: readonly AnswerRecord[]): { prompt: number; cached: number; generated: number } {
  const sum = (of: (answer: AnswerRecord) => number) => answers.reduce((total, answer) => total + of(answer), 0);
  return {
    prompt: sum(({ counts }) => counts.promptTokens),
    cached: sum(({ counts }) => counts.cachedTokens),
    generated: sum(({ counts }) => counts.completionTokens),
  };
}

/** Why an answer ended, when its request is over. @param hasLeft whether the client did before it had all. */
export function endReason({ reason }: AnswerRecord, hasLeft: boolean): EndReason {
  if (reason === "stop" || reason === "length") return reason;
  return hasLeft ? "abort" : "error";
}
