/**
 * The tools that a chat request offers, and how it wants them used.
 */

import type { CallableTool } from "../../grammar/answer_forms.ts";
import { isObject, type JsonObject } from "../../json.ts";
import { invalid } from "../../serving/request_error.ts";
import type { Tool } from "../../text/tool_calls.ts";
import { invalidType, invalidValue, missing, optionalArray, optionalBoolean } from "../schema.ts";

/** Most tools of a request. */
export const TOOLS_MAX = 128;

/** Names of tools. */
export const TOOL_NAME = /^[A-Za-z0-9_-]{1,64}$/;

/** Longest description of all tools together, as JSON. */
const TOOLS_CHARACTERS_MAX = 256 * 1024;

/** The tools of a request. */
export interface OfferedTools {
  /** As they were sent, for templates that take tools; empty when there are none or none may be called. */
  sent: unknown[];
  tools: Tool[];
  /** Of those, what may be called, with the schemas of their arguments in OpenAI's sense. */
  callable: CallableTool[];
  /** Most calls in one answer. */
  callsMax: number;
  /** Whether the answer has to call. */
  callsAreRequired: boolean;
}

/** Arguments of a tool that has no parameters. */
const NO_ARGUMENTS = { type: "object", properties: {}, additionalProperties: false };

/** Reads `tools`, `tool_choice` and `parallel_tool_calls`. @throws RequestError 400. */
export function readTools(body: JsonObject): OfferedTools {
  const sent = optionalArray(body, "tools", TOOLS_MAX) ?? [];
  const tools = sent.map((tool, i) => readTool(tool, `tools[${i}]`));
  if (JSON.stringify(sent).length > TOOLS_CHARACTERS_MAX) {
    const message = `Invalid 'tools': too long. Expected at most ${TOOLS_CHARACTERS_MAX} characters of JSON.`;
    throw invalid("tools", "string_above_max_length", message);
  }
  const isParallel =
    (body.parallel_tool_calls ?? undefined) === undefined || optionalBoolean(body, "parallel_tool_calls");
  const choice = readChoice(body, tools);
  if (choice === "none") return { sent: [], tools: [], callable: [], callsMax: 0, callsAreRequired: false };
  const isNamed = typeof choice === "object";
  return {
    sent,
    tools,
    callable: tools.flatMap(({ name }, i) =>
      isNamed && choice.name !== name ? [] : [callableTool(name, sent[i] as JsonObject, i)],
    ),
    callsMax: isParallel && !isNamed ? Number.POSITIVE_INFINITY : 1,
    callsAreRequired: choice !== "auto",
  };
}

/** What `tool_choice` says; a tool's name when it names one. */
function readChoice(body: JsonObject, tools: readonly Tool[]): "none" | "auto" | "required" | { name: string } {
  const choice = body.tool_choice ?? "auto";
  if (choice === "none" || choice === "auto") return choice;
  if (typeof choice !== "string" && !isObject(choice))
    throw invalidType("tool_choice", "a string or an object", choice);
  if (typeof choice === "string") {
    if (choice !== "required") throw invalidValue("tool_choice", "'none', 'auto', 'required' or a function");
    if (tools.length === 0)
      throw invalid("tool_choice", "invalid_value", "'tool_choice' is only allowed with 'tools'.");
    return choice;
  }
  if (choice.type === undefined) throw missing("tool_choice.type");
  if (choice.type !== "function") throw invalidValue("tool_choice.type", "'function'");
  const named = choice.function;
  if (named === undefined) throw missing("tool_choice.function");
  if (!isObject(named)) throw invalidType("tool_choice.function", "an object", named);
  const { name } = named;
  if (name === undefined) throw missing("tool_choice.function.name");
  if (typeof name !== "string") throw invalidType("tool_choice.function.name", "a string", name);
  if (!tools.some((tool) => tool.name === name))
    throw invalidValue("tool_choice.function.name", "the name of one of 'tools'");
  return { name };
}

/** A tool with the JSON Schema of its arguments, which are always an object. */
function callableTool(name: string, tool: JsonObject, index: number): CallableTool {
  const path = `tools[${index}].function.parameters`;
  const { parameters } = tool.function as JsonObject;
  if (!isObject(parameters)) return { name, parameters: NO_ARGUMENTS, path };
  const isTyped = parameters.type !== undefined || parameters.$ref !== undefined;
  return { name, parameters: isTyped ? parameters : { ...parameters, type: "object" }, path };
}

function readTool(tool: unknown, path: string): Tool {
  if (!isObject(tool)) throw invalidType(path, "an object", tool);
  if (tool.type === undefined) throw missing(`${path}.type`);
  if (tool.type !== "function") throw invalidValue(`${path}.type`, "'function'");
  const described = tool.function;
  if (described === undefined) throw missing(`${path}.function`);
  if (!isObject(described)) throw invalidType(`${path}.function`, "an object", described);
  const { name, description, parameters = {} } = described;
  if (name === undefined) throw missing(`${path}.function.name`);
  if (typeof name !== "string") throw invalidType(`${path}.function.name`, "a string", name);
  if (!TOOL_NAME.test(name)) {
    throw invalidValue(`${path}.function.name`, "up to 64 letters, digits, underscores and dashes");
  }
  if (description !== undefined && description !== null && typeof description !== "string") {
    throw invalidType(`${path}.function.description`, "a string", description);
  }
  if (parameters !== null && !isObject(parameters)) {
    throw invalidType(`${path}.function.parameters`, "an object", parameters);
  }
  const properties = parameters?.properties;
  return { name, parameters: isObject(properties) ? Object.keys(properties) : [] };
}
