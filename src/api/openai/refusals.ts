/**
 * Parameters that would change the answer and that this server can't honour: refused by name rather than ignored.
 */

import type { JsonObject } from "../../json.ts";
import { unsupported } from "../../serving/request_error.ts";
import { optionalArray } from "../schema.ts";

/** Refuses the parameters of OpenAI's chat API that this model can't follow. @throws RequestError 400. */
export function refuseForChat(body: JsonObject): void {
  for (const name of ["functions", "function_call"]) {
    const value = body[name] ?? undefined;
    const isEmpty = value === undefined || value === "none" || (Array.isArray(value) && value.length === 0);
    if (!isEmpty) throw unsupported(name, "it was replaced by 'tools', which this server knows");
  }
  const modalities = optionalArray(body, "modalities", 8) ?? [];
  if (modalities.some((modality) => modality !== "text")) {
    throw unsupported("modalities", "this model writes text only");
  }
  for (const name of ["audio", "web_search_options", "reasoning_effort", "verbosity"]) {
    if ((body[name] ?? undefined) !== undefined) throw unsupported(name, "this model can't follow it");
  }
  if (body.store === true) throw unsupported("store", "this server stores nothing");
}

/** The parameters of OpenAI's older completions API that this server can't follow. @throws RequestError 400. */
export function refuseForCompletion(body: JsonObject, choices: number): void {
  const suffix = body.suffix ?? "";
  if (suffix !== "") throw unsupported("suffix", "this model only writes at the end of a text");
  const bestOf = body.best_of ?? undefined;
  if (bestOf !== undefined && bestOf !== choices) {
    throw unsupported("best_of", "every choice is returned, so it can only be the same as 'n'");
  }
  const promptLogprobs = body.prompt_logprobs ?? undefined;
  if (promptLogprobs !== undefined) throw unsupported("prompt_logprobs", "use 'echo' with 'logprobs'");
}
