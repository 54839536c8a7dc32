/**
 * The tools that a chat request offers, and how it wants them used.
 */

import type { Tool } from "../text/tool_calls.ts";
import { invalid, unsupported } from "./errors.ts";
import {
  invalidType,
  invalidValue,
  isObject,
  type JsonObject,
  missing,
  optionalArray,
  optionalBoolean,
} from "./schema.ts";

const TOOLS_MAX = 128;

/** Longest description of all tools together, as JSON. */
const TOOLS_CHARACTERS_MAX = 256 * 1024;

/** The tools of a request. */
export interface OfferedTools {
  /** As they were sent, for templates that take tools; empty when there are none or none may be called. */
  sent: unknown[];
  tools: Tool[];
  /** Most calls in one answer. */
  callsMax: number;
}

/** Reads `tools`, `tool_choice` and `parallel_tool_calls`. @throws ApiError 400. */
export function readTools(body: JsonObject): OfferedTools {
  const sent = optionalArray(body, "tools", TOOLS_MAX) ?? [];
  const tools = sent.map((tool, i) => readTool(tool, `tools[${i}]`));
  if (JSON.stringify(sent).length > TOOLS_CHARACTERS_MAX) {
    const message = `Invalid 'tools': too long. Expected at most ${TOOLS_CHARACTERS_MAX} characters of JSON.`;
    throw invalid("tools", "string_above_max_length", message);
  }
  const isParallel =
    (body.parallel_tool_calls ?? undefined) === undefined || optionalBoolean(body, "parallel_tool_calls");
  const choice = body.tool_choice ?? "auto";
  if (choice === "required" || isObject(choice)) {
    throw unsupported("tool_choice", "this server can't force a call yet; use 'auto' or 'none'");
  }
  if (typeof choice !== "string") throw invalidType("tool_choice", "a string or an object", choice);
  if (choice !== "auto" && choice !== "none") throw invalidValue("tool_choice", "'auto' or 'none'");
  if (choice === "none") return { sent: [], tools: [], callsMax: 0 };
  return { sent, tools, callsMax: isParallel ? Number.POSITIVE_INFINITY : 1 };
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
  if (!/^[\w-]{1,64}$/.test(name)) {
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
