/** The trained fixture model and what is known of it. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The Hugging Face directory of the trained model. */
export const tinyDirectory = join(import.meta.dir, "../fixtures/tiny");

interface Goldens {
  chat: {
    messages: { role: string; content: string }[];
    prompt: string;
    prompt_ids: number[];
    greedy_ids: number[];
    greedy_text: string;
    finish_reason: "stop" | "length";
  }[];
  logits: {
    ids: number[];
    /** Standard deviation of the logits: the unit in which differences are bounded. */
    logit_std: number;
    positions: { top_ids: number[]; top_logits: number[]; logsumexp: number; next_logprob: number | null }[];
  }[];
  tokenizer: { text: string; ids: number[] }[];
}

/** Answers of an independent implementation. */
export const goldens: Goldens = JSON.parse(readFileSync(join(tinyDirectory, "goldens.json"), "utf8"));

/** The small files of a checkpoint's directory as a packed model carries them. */
export function readAssets(directory: string): Map<string, Uint8Array> {
  const names = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
  ];
  const present = names.filter((name) => existsSync(join(directory, name)));
  return new Map(present.map((name) => [name, readFileSync(join(directory, name))]));
}
