/**
 * Where a model keeps its chat templates. Hugging Face has changed its mind about that several times: in a file of their own, in
 * tokenizer_config.json, in chat_template.json beside it; as one template, or as several with names. Of those, "default" is for chats
 * and "tool_use" for chats with tools.
 */

import { isObject } from "../json.ts";
import { Fault, inside } from "../model_file/config_fields.ts";
import { readObject } from "./tokenizer_files.ts";

/** A model's templates. */
export interface TemplateSources {
  /** Undefined for a model without one. */
  chat: string | undefined;
  /** For requests with tools, where they have one of their own. */
  toolUse: string | undefined;
}

/** Finds the templates among a model's files, by their names. @throws Fault that says which file is none of those. */
export function findTemplates(assets: ReadonlyMap<string, Uint8Array>): TemplateSources {
  const text = (name: string) => {
    const file = assets.get(name);
    return file === undefined ? undefined : inside(name, () => decoded(file));
  };
  const field = (name: string): TemplateSources => {
    const fields = readObject(assets, name);
    return inside(name, () => inside("chat_template", () => chosenFrom(fields?.chat_template)));
  };
  const own = { chat: text("chat_template.jinja"), toolUse: text("additional_chat_templates/tool_use.jinja") };
  if (own.chat !== undefined) return own;
  const configured = field("tokenizer_config.json");
  const found = configured.chat === undefined ? field("chat_template.json") : configured;
  return { chat: found.chat, toolUse: own.toolUse ?? found.toolUse };
}

function decoded(file: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(file);
  } catch {
    throw new Fault("it is not UTF-8");
  }
}

/** One template, a list of them with their names, or an object of them by their names. @throws Fault for anything else but null. */
function chosenFrom(value: unknown): TemplateSources {
  if (value === undefined || value === null) return { chat: undefined, toolUse: undefined };
  if (typeof value === "string") return { chat: value, toolUse: undefined };
  const entries = Array.isArray(value)
    ? value.map((entry) => (isObject(entry) ? [entry.name, entry.template] : []))
    : isObject(value)
      ? Object.entries(value)
      : [[]];
  const named = entries.filter(
    (entry): entry is [string, string] => typeof entry[0] === "string" && typeof entry[1] === "string",
  );
  if (named.length < entries.length) throw new Fault("a text is needed, or texts with names");
  const templates = new Map(named);
  const others = named.find(([name]) => name !== "tool_use") ?? named[0];
  return { chat: templates.get("default") ?? others?.[1], toolUse: templates.get("tool_use") };
}
