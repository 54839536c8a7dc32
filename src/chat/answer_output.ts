/**
 * Writes answers to stdout: as text that grows, harmless to a terminal, or each as one JSON object. What the model thinks before is for
 * whoever sits at the terminal, and no part of the text.
 */

import { timings } from "../api/timings.ts";
import { HarmlessText } from "../terminal/harmless.ts";
import { notes, results } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import { dim } from "../terminal/style.ts";
import type { AnswerEvent, Outcome } from "./chat_model.ts";

/** Reading a conversation is shown when it takes longer. */
const READING_MS = 1000;

/**
 * Writes one answer.
 *
 * @param model its name, for JSON.
 * @returns how it ended.
 * @throws whatever the events do; what is written next begins a line of the terminal all the same.
 */
export async function writeAnswer(
  events: AsyncGenerator<AnswerEvent, void>,
  model: string,
  isJson: boolean,
): Promise<Outcome> {
  const written = isJson ? new JsonAnswer(model) : new TextAnswer();
  let outcome: Outcome | undefined;
  try {
    for await (const event of events) {
      if (event.kind === "end") outcome = event;
      else written.add(event);
    }
  } finally {
    if (outcome === undefined) written.breakOff();
  }
  written.end(outcome as Outcome);
  return outcome as Outcome;
}

type Growth = Exclude<AnswerEvent, { kind: "end" }>;

/** An answer as text. */
class TextAnswer {
  // A program or a file gets what the model wrote, to the byte.
  readonly #text = process.stdout.isTTY === true ? new HarmlessText() : undefined;
  readonly #thoughts = new HarmlessText();
  /** What the cursor stands behind. */
  #last: Growth["kind"] | undefined;

  add(event: Growth): void {
    if (event.kind === "reading") {
      if (event.elapsedMs >= READING_MS && this.#last !== "text") this.#showReading(event.share);
      return;
    }
    if (event.kind === "thought" && !notes.isTTY) return;
    this.#goTo(event.kind);
    if (event.kind === "text") results.write(this.#text?.push(event.text) ?? event.text);
    else notes.write(dim(this.#thoughts.push(event.text)));
  }

  end(_: Outcome): void {
    this.#goTo("text");
    results.write(`${this.#text?.finish() ?? ""}\n`);
  }

  breakOff(): void {
    if (this.#last === "text" && this.#text !== undefined) results.write("\n");
    else this.#goTo("text");
  }

  #showReading(share: number): void {
    if (!notes.canDraw) return;
    this.#last = "reading";
    notes.write(`\r${dim(`(reading: ${Math.floor(100 * share)} %)`)}`);
  }

  /** Takes what is only for a while off the screen, and ends the thoughts. */
  #goTo(kind: "text" | "thought"): void {
    if (this.#last === "reading") notes.write("\r\u001b[K");
    if (this.#last === "thought" && kind === "text") notes.write("\n");
    this.#last = kind;
  }
}

/** An answer as a JSON object. */
class JsonAnswer {
  readonly #model: string;
  #content = "";
  #thoughts = "";

  constructor(model: string) {
    this.#model = model;
  }

  add(event: Growth): void {
    if (event.kind === "text") this.#content += event.text;
    else if (event.kind === "thought") this.#thoughts += event.text;
  }

  end({ reason, counts }: Outcome): void {
    const answer = {
      model: this.#model,
      message: {
        role: "assistant",
        content: this.#content,
        ...(this.#thoughts === "" ? {} : { reasoning_content: this.#thoughts }),
      },
      finish_reason: reason,
      usage: {
        prompt_tokens: counts.promptTokens,
        completion_tokens: counts.completionTokens,
        total_tokens: counts.promptTokens + counts.completionTokens,
        prompt_tokens_details: { cached_tokens: counts.cachedTokens },
      },
      timings: timings([counts], 1),
    };
    results.write(`${JSON.stringify(answer)}\n`);
  }

  breakOff(): void {}
}

/** What an answer cost, in words. */
export function describeOutcome({ reason, counts }: Outcome): string {
  const speed = timings([counts], 1);
  const cached = counts.cachedTokens > 0 ? ` (${counts.cachedTokens} cached)` : "";
  const ending: Record<string, string> = {
    length: "; it is cut off where the context or max-tokens ends",
    cancelled: "; it was stopped",
  };
  return (
    `${plural(speed.prompt_n, "prompt token")}${cached}, ${rate(speed.prompt_per_second)} per second; ` +
    `${plural(speed.predicted_n, "token")}, ${rate(speed.predicted_per_second)} per second${ending[reason] ?? ""}`
  );
}

/** A decimal only where it says something. */
function rate(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0);
}
