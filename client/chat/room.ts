/** How much of the model's context the open conversation and what is being written take. */

import { computed, effect, signal } from "@preact/signals";
import { requestMessages } from "../api/completion.ts";
import { model } from "../api/model.ts";
import { countPrompt, countTokens } from "../api/tokens.ts";
import type { ReadAttachment } from "./files.ts";
import { isAnswering, newSystem, open, path } from "./state.ts";

/** Milliseconds after the last key until the text is counted. */
const COUNT_DELAY_MS = 250;

/** What is being written. */
export const draft = signal("");
export const attachments = signal<readonly ReadAttachment[]>([]);

/** Tokens of the draft's text. */
const draftTokens = signal(0);
/** Tokens of what was said so far, as the model would read it. */
const spokenTokens = signal(0);

/** Tokens of the draft: its text and its files. */
export const writtenTokens = computed(() =>
  attachments.value.reduce((sum, { tokens }) => sum + tokens, draftTokens.value),
);

/** Tokens that the next prompt will have. */
export const promptTokens = computed(() => spokenTokens.value + writtenTokens.value);

/** Tokens that may be added before the context is full, one of the answer's among them. */
export const room = computed(() => (model.value?.context ?? 0) - promptTokens.value);

/** Counts what is written as it is typed, and what was said when somebody begins to type. */
export function countRoom(): void {
  effect(() => {
    const text = draft.value;
    if (text === "") {
      draftTokens.value = 0;
      return;
    }
    return later((signal) => countTokens(text, signal), draftTokens);
  });
  let counted = "";
  const isWriting = computed(() => draft.value !== "" || attachments.value.length > 0);
  effect(() => {
    const last = path.value.at(-1);
    if (last === undefined && open.value === undefined && newSystem.value === "") spokenTokens.value = 0;
    if (!isWriting.value || isAnswering.value || model.value === undefined) return;
    const system = open.value?.system ?? newSystem.value;
    const what = `${last?.id} ${last?.content.length} ${system}`;
    if (what === counted) return;
    counted = what;
    const messages = requestMessages(system, path.value);
    if (messages.length === 0) return;
    return later((signal) => countPrompt(messages, signal), spokenTokens);
  });
}

function later(count: (signal: AbortSignal) => Promise<number>, into: { value: number }): () => void {
  const leave = new AbortController();
  const timer = setTimeout(() => {
    count(leave.signal).then(
      (tokens) => {
        if (!leave.signal.aborted) into.value = tokens;
      },
      // Without a server there is nothing to say.
      () => undefined,
    );
  }, COUNT_DELAY_MS);
  return () => {
    clearTimeout(timer);
    leave.abort();
  };
}
