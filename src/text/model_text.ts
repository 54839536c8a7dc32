/**
 * What a model needs beside its weights to speak: a tokenizer and a chat template. Everything that takes a model opens them here
 * and so makes the same checks: serve, chat and check to use them, convert and inspect to say at once what would stop those.
 */

import type { ModelConfig } from "../model_file/model_config.ts";
import { ChatTemplate, type TemplateSettings } from "./chat_template.ts";
import { Tokenizer } from "./tokenizer.ts";

/** A model's files and the part of its configuration that they have to agree with. */
export interface TextSource {
  /** By name. */
  assets: ReadonlyMap<string, Uint8Array>;
  config: ModelConfig;
}

/** A tokenizer and a chat template that belong together. */
export interface ModelText {
  tokenizer: Tokenizer;
  template: ChatTemplate;
}

/**
 * Opens them.
 *
 * @param name what to call the model in messages.
 * @param onNotice called with each thing that a person should know, one line.
 * @throws Failure when there is no tokenizer, or one of them can't be used.
 */
export function openModelText(
  { assets, config }: TextSource,
  name: string,
  onNotice: (notice: string) => void,
  settings: TemplateSettings = {},
): ModelText {
  const tokenizer = Tokenizer.fromAssets(assets, name, config.vocabSize, onNotice);
  return { tokenizer, template: ChatTemplate.fromAssets(assets, tokenizer, name, settings, onNotice) };
}

/** Whether a model has a tokenizer, without which it takes and gives no texts. */
export function hasTokenizer({ assets }: Pick<TextSource, "assets">): boolean {
  return assets.has("tokenizer.json");
}

/**
 * Makes the checks of openModelText where a model may lack a tokenizer: bench runs one without.
 *
 * @throws Failure when its files can't be used.
 */
export function checkModelText(source: TextSource, name: string, onNotice: (notice: string) => void): void {
  if (hasTokenizer(source)) openModelText(source, name, onNotice);
  else onNotice("there is no tokenizer.json: bench can run the model, serve and chat can't");
}
