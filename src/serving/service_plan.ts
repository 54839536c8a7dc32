/**
 * What a service needs of a model, found out before anything is loaded: its texts, and memory. The service begins with it, and whoever
 * says that a model can be served asks here.
 */

import { readMemory } from "../machine/memory.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import type { TemplateSettings } from "../text/chat_template.ts";
import { type ModelText, openModelText } from "../text/model_text.ts";
import type { LayoutOptions } from "./engine_layout.ts";
import { type MemoryPlan, planMemory } from "./memory_plan.ts";

/** How a model is to be run. */
export interface ServiceOptions extends LayoutOptions {
  prompts: TemplateSettings;
}

/** The texts of a model, and the memory that serving it takes. */
export interface ServicePlan {
  text: ModelText;
  memory: MemoryPlan;
}

/**
 * Plans a service.
 *
 * @param onNotice called with each thing that a person should know of the model's texts, one line.
 * @param memory what there is; absent: what this process may have.
 * @throws Failure for a model that can't be served, and for options that it does not allow.
 */
export function planService(
  model: ResolvedModel,
  options: ServiceOptions,
  onNotice: (notice: string) => void,
  memory = readMemory(),
): ServicePlan {
  const text = openModelText(model.packed, model.given, onNotice, options.prompts);
  // After the tokenizer, which is a part of what the program takes.
  return { text, memory: planMemory(model, options, process.memoryUsage.rss(), memory) };
}
