/**
 * The `messages` of a chat request: checked one by one, and brought into the form that chat templates know.
 */

import { isObject, type JsonObject } from "../../json.ts";
import { invalid } from "../../serving/request_error.ts";
import type { TemplateMessage } from "../../text/chat_template.ts";
import { isJson, type WrittenCall } from "../../text/tool_calls.ts";
import { invalidType, invalidValue, missing, optionalString } from "../schema.ts";

const ROLES = ["system", "developer", "user", "assistant", "tool", "function"];

/** The names that templates know, of roles that have others too. */
const TEMPLATE_ROLES: Readonly<Record<string, string>> = { developer: "system", function: "tool" };

/** A message of a request. */
export interface Message extends TemplateMessage {
  /** The calls that an assistant's message made. */
  calls?: (WrittenCall & { id: string | undefined })[];
}

/** Reads the messages. Of the last one, the last call may be unfinished. @throws RequestError 400 with the path of what is wrong. */
export function readMessages(body: JsonObject): Message[] {
  const { messages } = body;
  if (messages === undefined) throw missing("messages");
  if (!Array.isArray(messages)) throw invalidType("messages", "an array of objects", messages);
  if (messages.length === 0) {
    throw invalid(
      "messages",
      "empty_array",
      "Invalid 'messages': empty array. Expected an array with minimum length 1.",
    );
  }
  const read = messages.map((message, i) => readMessage(message, `messages[${i}]`));
  const open = read.at(-1)?.calls?.at(-1);
  if (open !== undefined && isJson(open.arguments)) {
    const path = `messages[${read.length - 1}]`;
    const message = `Invalid '${path}': 'tool_calls' must be followed by tool messages, unless the last call is to be continued: its arguments then are the beginning of JSON.`;
    throw invalid(path, "invalid_value", message);
  }
  // An answer that was cut has calls without arguments. Only of the last one there may be more to come.
  for (const { calls = [] } of read) {
    for (const call of calls) if (call !== open && call.arguments.trim() === "") call.arguments = "{}";
  }
  return read;
}

function readMessage(message: unknown, path: string): Message {
  if (!isObject(message)) throw invalidType(path, "an object", message);
  const { role } = message;
  if (role === undefined) throw missing(`${path}.role`);
  if (typeof role !== "string") throw invalidType(`${path}.role`, "a string", role);
  if (!ROLES.includes(role)) throw invalidValue(`${path}.role`, `one of ${ROLES.join(", ")}`);
  const calls = role === "assistant" ? readCalls(message, path) : [];
  // An assistant may have said nothing; clients send null for that, or leave it out.
  const isSilent = role === "assistant" && (message.content ?? undefined) === undefined;
  const content = isSilent ? "" : readContent(message, path);
  const result: Message = { role: TEMPLATE_ROLES[role] ?? role, content };
  if (calls.length > 0) result.calls = calls;
  // vLLM's newer name of the same thing.
  const thoughts = ["reasoning_content", "reasoning"].map((field) =>
    optionalString(message, field, `${path}.${field}`),
  );
  const thought = thoughts.find((text) => text !== undefined);
  if (thought !== undefined) result.reasoning_content = thought;
  for (const field of ["name", "tool_call_id"] as const) {
    const value = optionalString(message, field, `${path}.${field}`);
    if (value !== undefined) result[field] = value;
  }
  return result;
}

/** Content is a string or a list of text parts, which are joined as they are. */
function readContent(message: JsonObject, path: string): string {
  const { content } = message;
  if (typeof content === "string") return content;
  if (content === undefined) throw missing(`${path}.content`);
  if (!Array.isArray(content)) throw invalidType(`${path}.content`, "a string or an array of text parts", content);
  return content.map((part, i) => readPart(part, `${path}.content[${i}]`)).join("");
}

function readPart(part: unknown, path: string): string {
  if (!isObject(part)) throw invalidType(path, "an object", part);
  if (part.type === undefined) throw missing(`${path}.type`);
  if (typeof part.type !== "string") throw invalidType(`${path}.type`, "a string", part.type);
  if (part.type !== "text")
    throw invalidValue(`${path}.type`, "'text', the only kind of content that this model reads");
  if (part.text === undefined) throw missing(`${path}.text`);
  if (typeof part.text !== "string") throw invalidType(`${path}.text`, "a string", part.text);
  return part.text;
}

function readCalls(message: JsonObject, path: string): NonNullable<Message["calls"]> {
  const calls = message.tool_calls ?? [];
  if (!Array.isArray(calls)) throw invalidType(`${path}.tool_calls`, "an array", calls);
  // The older field for a single call.
  const single = message.function_call ?? undefined;
  return [
    ...(single === undefined ? [] : [{ id: undefined, ...readCalled(single, `${path}.function_call`) }]),
    ...calls.map((call, i) => readCall(call, `${path}.tool_calls[${i}]`)),
  ];
}

function readCall(call: unknown, path: string): NonNullable<Message["calls"]>[number] {
  if (!isObject(call)) throw invalidType(path, "an object", call);
  if (call.function === undefined) throw missing(`${path}.function`);
  const id = optionalString(call, "id", `${path}.id`);
  return { id, ...readCalled(call.function, `${path}.function`) };
}

function readCalled(called: unknown, path: string): WrittenCall {
  if (!isObject(called)) throw invalidType(path, "an object", called);
  for (const field of ["name", "arguments"]) {
    if (called[field] === undefined) throw missing(`${path}.${field}`);
    if (typeof called[field] !== "string") throw invalidType(`${path}.${field}`, "a string", called[field]);
  }
  return { name: called.name as string, arguments: called.arguments as string };
}
