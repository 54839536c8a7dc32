/**
 * Where a model keeps its chat templates. Hugging Face has changed its mind about that several times: in a file of their own, in
 * tokenizer_config.json, in chat_template.json beside it; as one template, or as several with names. Of those, "default" is for chats
 * and "tool_use" for chats with tools.
 */

import { isObject } from "../json.ts";

/** A model's templates. */
export interface TemplateSources {
  /** Undefined for a model without one. */
  chat: string | undefined;
  /** For requests with tools, where they have one of their own. */
  toolUse: string | undefined;
}

/** Finds the templates among a model's files, by their names. @throws SyntaxError when one of them should be JSON and isn't. */
export function findTemplates(assets: ReadonlyMap<string, Uint8Array>): TemplateSources {
  const text = (name: string) => {
    const file = assets.get(name);
    return file === undefined ? undefined : new TextDecoder().decode(file);
  };
  const field = (name: string): TemplateSources => {
    const file: unknown = JSON.parse(text(name) ?? "{}");
    return chosenFrom(isObject(file) ? file.chat_template : undefined);
  };
  const own = { chat: text("chat_template.jinja"), toolUse: text("additional_chat_templates/tool_use.jinja") };
  if (own.chat !== undefined) return own;
  const configured = field("tokenizer_config.json");
  const found = configured.chat === undefined ? field("chat_template.json") : configured;
  return { chat: found.chat, toolUse: own.toolUse ?? found.toolUse };
}

/** One template, a list of them with their names, or an object of them by their names. */
function chosenFrom(value: unknown): TemplateSources {
  if (typeof value === "string") return { chat: value, toolUse: undefined };
  const entries = Array.isArray(value)
    ? value.map((entry) => (isObject(entry) ? [entry.name, entry.template] : []))
    : isObject(value)
      ? Object.entries(value)
      : [];
  const named = entries.filter((entry): entry is [string, string] => entry.every((part) => typeof part === "string"));
  const templates = new Map(named);
  const others = named.find(([name]) => name !== "tool_use") ?? named[0];
  return { chat: templates.get("default") ?? others?.[1], toolUse: templates.get("tool_use") };
}
