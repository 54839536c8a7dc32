/** How much of the model's context the next prompt takes: what was said and what is being written, as the model will read it. */

import { effect, signal } from "@preact/signals";
import { type Prompt, promptOf } from "../api/completion.ts";
import { givesText, model } from "../api/model.ts";
import { state } from "../api/status.ts";
import { countPrompt } from "../api/tokens.ts";
import { settings } from "../storage/preferences.ts";
import type { ReadAttachment } from "./files.ts";
import { isAnswering, newSystem, open, path } from "./state.ts";

/** Milliseconds after the last key until the server is asked: nobody waits for it while they type. */
const COUNT_DELAY_MS = 250;

/** What is being written. */
export const draft = signal("");
export const attachments = signal<readonly ReadAttachment[]>([]);

/** Tokens of the prompt that would be sent now; undefined while there is none, or nobody knows. */
export const promptTokens = signal<number | undefined>(undefined);

/** What would be sent: subscribes to all that it is made of. */
function nextPrompt(): () => Prompt {
  const system = open.value?.system ?? newSystem.value;
  const written = { role: "user" as const, content: draft.value.trim(), attachments: [...attachments.value] };
  const [said, set] = [path.value, settings.value];
  return () => promptOf(system, [...said, written], set);
}

/** Begins to count, whenever what would be sent has changed. */
export function countWritten(): void {
  effect(() => {
    const prompt = nextPrompt();
    const isWritten = draft.value.trim() !== "" || attachments.value.length > 0;
    const isKnown = state.value === "ready" && model.value !== undefined && givesText.value && !isAnswering.value;
    if (isWritten && isKnown) return later(prompt);
    promptTokens.value = undefined;
  });
}

function later(prompt: () => Prompt): () => void {
  const leave = new AbortController();
  const count = async () => {
    let tokens: number | undefined;
    try {
      tokens = await countPrompt(prompt(), leave.signal);
    } catch {
      // What can't be counted can't be sent either; whoever sends it is told why.
    }
    if (!leave.signal.aborted) promptTokens.value = tokens;
  };
  const timer = setTimeout(count, COUNT_DELAY_MS);
  return () => {
    clearTimeout(timer);
    leave.abort();
  };
}

/** How many tokens may be added before the context is full, but for one of the answer's. @throws as `ask` does. */
export async function countRoom(): Promise<number> {
  return Math.max(0, (model.value?.context ?? 0) - 1 - (await countPrompt(nextPrompt()())));
}
