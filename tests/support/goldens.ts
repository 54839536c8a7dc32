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
