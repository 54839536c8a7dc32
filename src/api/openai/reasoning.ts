/**
 * How a request wants its answer thought about, under all the names that clients have for it: whether a model thinks and how hard, where
 * its template can be told, and what becomes of its thoughts.
 */

import type { JsonObject } from "../../json.ts";
import { unsupported } from "../../serving/request_error.ts";
import { REASONING_FORMATS, type ReasoningFormat } from "../../serving/state.ts";
import { invalidValue, missing, optionalBoolean, optionalObject, optionalString, statedBoolean } from "../schema.ts";

/** Reads `reasoning_effort`, `reasoning`, `thinking` and `enable_thinking`, as variables of templates. @throws RequestError 400. */
export function readThinkingVariables(body: JsonObject): JsonObject {
  const reasoning = optionalObject(body, "reasoning") ?? {};
  if ((reasoning.max_tokens ?? undefined) !== undefined) throw unsupported("reasoning.max_tokens", "use 'max_tokens'");
  const effort = optionalString(body, "reasoning_effort") ?? optionalString(reasoning, "effort", "reasoning.effort");
  const isWanted =
    statedBoolean(body, "enable_thinking") ??
    readThinking(body) ??
    statedBoolean(reasoning, "enabled", "reasoning.enabled") ??
    (effort === undefined ? undefined : effort !== "none");
  return {
    // Templates have either name for the switch, and ignore the other one.
    ...(isWanted === undefined ? {} : { enable_thinking: isWanted, thinking: isWanted }),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
  };
}

/** `thinking`: {"type": "enabled"} or {"type": "disabled"}. */
function readThinking(body: JsonObject): boolean | undefined {
  const thinking = optionalObject(body, "thinking");
  if (thinking === undefined) return undefined;
  if ((thinking.budget_tokens ?? undefined) !== undefined) {
    throw unsupported("thinking.budget_tokens", "use 'max_tokens'");
  }
  const { type } = thinking;
  if (type === undefined) throw missing("thinking.type");
  if (type !== "enabled" && type !== "disabled") throw invalidValue("thinking.type", "'enabled' or 'disabled'");
  return type === "enabled";
}

/** What becomes of thoughts: a field of their own, a part of the text, or nothing. */
export type ThoughtsPlace = "field" | "text" | "nowhere";

/**
 * Reads `reasoning_format` (llama.cpp), `separate_reasoning` (SGLang), `include_reasoning` (vLLM) and `reasoning.exclude`.
 *
 * @param standard the format where a request doesn't say.
 * @throws RequestError 400.
 */
export function readThoughtsPlace(body: JsonObject, standard: ReasoningFormat): ThoughtsPlace {
  const format = optionalString(body, "reasoning_format") ?? standard;
  if (!REASONING_FORMATS.some((known) => known === format)) {
    throw invalidValue("reasoning_format", `one of ${REASONING_FORMATS.join(", ")}`);
  }
  const isSeparate = optionalBoolean(body, "separate_reasoning", format !== "none");
  const isExcluded = optionalBoolean(optionalObject(body, "reasoning") ?? {}, "exclude", false, "reasoning.exclude");
  if (isExcluded || !optionalBoolean(body, "include_reasoning", true)) return "nowhere";
  return isSeparate ? "field" : "text";
}
