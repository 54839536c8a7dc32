/** The model that the server has, from GET /v1/models. */

import { computed, effect, signal } from "@preact/signals";
import { apiKey } from "../storage/preferences.ts";
import { ask, KeyNeeded } from "./connection.ts";
import { health, state } from "./status.ts";

/** What is known of a model. */
interface ModelFacts {
  name: string;
  description: string;
  isDemo: boolean;
  parameters: number;
  /** Bytes of its file. */
  size: number;
  /** Tokens that a conversation may hold. */
  context: number;
  /** Whether it gives embeddings and no text. */
  isEmbedding: boolean;
  /** Numbers of an embedding. */
  dimensions: number;
}

/** undefined until the server is ready and has been asked. */
export const model = signal<ModelFacts | undefined>(undefined);

/** Whether it can be talked with, as far as is known. */
export const givesText = computed(() => model.value?.isEmbedding !== true);

/** Whether the server wants a key, and whether the one that it got was wrong. */
export const keyRequest = signal<"none" | "needed" | "wrong">("none");

/** Has the reader asked for a key. */
export function requestKey({ wasWrong }: KeyNeeded): void {
  keyRequest.value = wasWrong ? "wrong" : "needed";
}

/** Asks for the model whenever the server comes to have another one, or the key changes. */
export function followModel(): void {
  effect(() => {
    const { model: name, context, memory } = health.value ?? {};
    const key = apiKey.value;
    // A server that was away may have come back with another model that is called the same, and may have been away unseen.
    if (state.value !== "ready") asked = "";
    else askModel(`${name} ${context} ${memory?.weights} ${key}`);
  });
}

let asked = "";

async function askModel(what: string): Promise<void> {
  if (asked === what) return;
  asked = what;
  try {
    const { data } = (await (await ask("v1/models")).json()) as {
      data: [{ id: string; max_model_len: number; meta: { [field: string]: unknown } }];
    };
    if (asked !== what) return;
    const [{ id, max_model_len: context, meta }] = data;
    model.value = {
      name: id,
      context,
      description: String(meta.description),
      isDemo: meta.is_demo === true,
      parameters: Number(meta.n_params),
      size: Number(meta.size),
      isEmbedding: meta.pooling !== null,
      dimensions: Number(meta.n_embd),
    };
    keyRequest.value = "none";
  } catch (error) {
    // The same question with the same key would have the same answer.
    if (error instanceof KeyNeeded) requestKey(error);
    else if (asked === what) asked = "";
  }
}
