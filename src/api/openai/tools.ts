/**
 * The tools that a chat request offers, and how it wants them used.
 */

import type { CallableTool } from "../../grammar/answer_forms.ts";
import { isObject, type JsonObject, membersOf } from "../../json.ts";
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
  /** In the shape of `tools`, for templates that take them; empty when there are none or none may be called. */
  sent: unknown[];
  tools: Tool[];
  /** Of those, what may be called, with the schemas of their arguments in OpenAI's sense. */
  callable: CallableTool[];
  /** Most calls in one answer. */
  callsMax: number;
  /** Whether the answer has to call. */
  callsAreRequired: boolean;
  /** Whether they came as `functions`, so that a call is to be returned as `function_call`. */
  areFunctions: boolean;
}

/** A function that is offered, and where the request has it. */
interface OfferedFunction {
  described: JsonObject;
  name: string;
  path: string;
}

/** Which functions an answer may call: "none", "auto" or "required", of all or of those that are named. */
interface ToolChoice {
  mode: "none" | "auto" | "required";
  names?: ReadonlySet<string>;
  /** Whether the answer is one call of one function. */
  isSingle?: boolean;
}

/** Arguments of a tool that has no parameters. */
const NO_ARGUMENTS = { type: "object", properties: {}, additionalProperties: false };

/** Reads `tools`, `tool_choice` and `parallel_tool_calls`, or the older `functions` and `function_call`. @throws RequestError 400. */
export function readTools(body: JsonObject): OfferedTools {
  const areFunctions = isThere(body, "functions") || isObject(body.function_call);
  if (areFunctions && isThere(body, "tools")) {
    throw invalid("functions", "invalid_value", "Only one of 'functions' and 'tools' can be set.");
  }
  const param = areFunctions ? "functions" : "tools";
  const sent = optionalArray(body, param, TOOLS_MAX) ?? [];
  const offered = sent.map((tool, i) =>
    areFunctions ? readFunction(tool, `functions[${i}]`) : readTool(tool, `tools[${i}]`),
  );
  const places = new Map<string, string>();
  for (const { name, path } of offered) {
    const first = places.getOrInsert(name, path);
    if (first !== path) throw invalidValue(`${path}.name`, `a name of its own: ${first} has the same one`);
  }
  if (JSON.stringify(sent).length > TOOLS_CHARACTERS_MAX) {
    const message = `Invalid '${param}': too long. Expected at most ${TOOLS_CHARACTERS_MAX} characters of JSON.`;
    throw invalid(param, "string_above_max_length", message);
  }
  const isParallel = optionalBoolean(body, "parallel_tool_calls", true);
  const { mode, names, isSingle } = areFunctions ? readFunctionCall(body, offered) : readChoice(body, offered);
  if (mode === "none") {
    return { sent: [], tools: [], callable: [], callsMax: 0, callsAreRequired: false, areFunctions };
  }
  const callable = offered.filter(({ name }) => names?.has(name) ?? true);
  // A form keeps an answer to some of the functions. Without one, those that may not be called are not even offered.
  const shown = mode === "auto" ? callable : offered;
  return {
    sent: shown.map(({ described }) => ({ type: "function", function: withParameters(described) })),
    tools: shown.map(({ name, described }) => ({ name, parameters: parameterNames(described) })),
    callable: callable.map(({ name, described, path }) => ({
      name,
      parameters: argumentsSchema(described.parameters),
      path: `${path}.parameters`,
    })),
    callsMax: isParallel && !isSingle && !areFunctions ? Number.POSITIVE_INFINITY : 1,
    callsAreRequired: mode === "required",
    areFunctions,
  };
}

/** Whether there is something; clients also send null and empty lists. */
function isThere(body: JsonObject, name: string): boolean {
  const value = body[name] ?? undefined;
  return value !== undefined && !(Array.isArray(value) && value.length === 0);
}

/** What `tool_choice` says. */
function readChoice(body: JsonObject, offered: readonly OfferedFunction[]): ToolChoice {
  const choice = body.tool_choice ?? "auto";
  if (choice === "none" || choice === "auto") return { mode: choice };
  if (typeof choice !== "string" && !isObject(choice))
    throw invalidType("tool_choice", "a string or an object", choice);
  if (typeof choice === "string") {
    if (choice !== "required") throw invalidValue("tool_choice", "'none', 'auto', 'required' or a function");
    if (offered.length === 0)
      throw invalid("tool_choice", "invalid_value", "'tool_choice' is only allowed with 'tools'.");
    return { mode: choice };
  }
  if (choice.type === undefined) throw missing("tool_choice.type");
  if (choice.type === "allowed_tools") return readAllowed(choice, offered);
  if (choice.type !== "function") throw invalidValue("tool_choice.type", "'function' or 'allowed_tools'");
  const name = readName(choice.function, "tool_choice.function", offered, "tools");
  return { mode: "required", names: new Set([name]), isSingle: true };
}

/** What a `tool_choice` of some tools says. The API for responses has its fields without `allowed_tools` around them. */
function readAllowed(choice: JsonObject, offered: readonly OfferedFunction[]): ToolChoice {
  const isNested = choice.allowed_tools !== undefined;
  const path = isNested ? "tool_choice.allowed_tools" : "tool_choice";
  const allowed = isNested ? choice.allowed_tools : choice;
  if (!isObject(allowed)) throw invalidType(path, "an object", allowed);
  const { mode, tools } = allowed;
  if (mode === undefined) throw missing(`${path}.mode`);
  if (mode !== "auto" && mode !== "required") throw invalidValue(`${path}.mode`, "'auto' or 'required'");
  if (tools === undefined) throw missing(`${path}.tools`);
  if (!Array.isArray(tools)) throw invalidType(`${path}.tools`, "an array of functions", tools);
  if (tools.length === 0) throw invalid(`${path}.tools`, "empty_array", `Invalid '${path}.tools': empty array.`);
  const names = tools.map((tool, i) => {
    const toolPath = `${path}.tools[${i}]`;
    if (!isObject(tool)) throw invalidType(toolPath, "an object", tool);
    if (tool.type !== "function") throw invalidValue(`${toolPath}.type`, "'function'");
    if (tool.function === undefined) return readName(tool, toolPath, offered, "tools");
    return readName(tool.function, `${toolPath}.function`, offered, "tools");
  });
  return { mode, names: new Set(names) };
}

/** What `function_call` says. */
function readFunctionCall(body: JsonObject, offered: readonly OfferedFunction[]): ToolChoice {
  const choice = body.function_call ?? "auto";
  if (choice === "none" || choice === "auto") return { mode: choice };
  if (!isObject(choice)) throw invalidValue("function_call", "'none', 'auto' or the name of a function in an object");
  return { mode: "required", names: new Set([readName(choice, "function_call", offered, "functions")]) };
}

/** The name of a function that is offered. */
function readName(named: unknown, path: string, offered: readonly OfferedFunction[], param: string): string {
  if (named === undefined) throw missing(path);
  if (!isObject(named)) throw invalidType(path, "an object", named);
  const { name } = named;
  if (name === undefined) throw missing(`${path}.name`);
  if (typeof name !== "string") throw invalidType(`${path}.name`, "a string", name);
  if (!offered.some((tool) => tool.name === name)) {
    throw invalidValue(`${path}.name`, `the name of one of '${param}'`);
  }
  return name;
}

/** The JSON Schema of a function's arguments, which are always an object. One that declares none has none. */
function argumentsSchema(parameters: unknown): unknown {
  if (!isObject(parameters) || declaresNothing(parameters)) return NO_ARGUMENTS;
  const isTyped = parameters.type !== undefined || parameters.$ref !== undefined;
  return isTyped ? parameters : { ...parameters, type: "object" };
}

/** Whether a schema of arguments says no more than that they are an object. */
function declaresNothing(parameters: JsonObject): boolean {
  return Object.entries(parameters).every(([keyword, value]) => {
    if (keyword === "type") return value === "object";
    if (keyword === "properties") return membersOf(value)?.length === 0;
    if (keyword === "required") return Array.isArray(value) && value.length === 0;
    return ["$schema", "title", "description"].includes(keyword);
  });
}

/** A function as templates expect it: many of them look into its parameters. */
function withParameters(described: JsonObject): JsonObject {
  return isObject(described.parameters) ? described : { ...described, parameters: { type: "object", properties: {} } };
}

function parameterNames({ parameters }: JsonObject): string[] {
  return isObject(parameters) ? (membersOf(parameters.properties) ?? []).map(([name]) => name) : [];
}

function readTool(tool: unknown, path: string): OfferedFunction {
  if (!isObject(tool)) throw invalidType(path, "an object", tool);
  if (tool.type === undefined) throw missing(`${path}.type`);
  if (tool.type !== "function") throw invalidValue(`${path}.type`, "'function'");
  if (tool.function === undefined) throw missing(`${path}.function`);
  return readFunction(tool.function, `${path}.function`);
}

function readFunction(described: unknown, path: string): OfferedFunction {
  if (!isObject(described)) throw invalidType(path, "an object", described);
  const { name, description, parameters } = described;
  if (name === undefined) throw missing(`${path}.name`);
  if (typeof name !== "string") throw invalidType(`${path}.name`, "a string", name);
  if (!TOOL_NAME.test(name)) throw invalidValue(`${path}.name`, "up to 64 letters, digits, underscores and dashes");
  if (description !== undefined && description !== null && typeof description !== "string") {
    throw invalidType(`${path}.description`, "a string", description);
  }
  if (parameters !== undefined && parameters !== null && !isObject(parameters)) {
    throw invalidType(`${path}.parameters`, "an object", parameters);
  }
  return { described, name, path };
}
