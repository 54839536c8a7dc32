/**
 * The `messages` of a chat request: checked one by one, and brought into the form that chat templates know.
 */

import type { TemplateMessage } from "../text/chat_template.ts";
import { invalid, unsupported } from "./errors.ts";
import { invalidType, invalidValue, isObject, type JsonObject, missing } from "./schema.ts";

const ROLES = ["system", "developer", "user", "assistant", "tool"];

/** Reads the messages. @throws ApiError 400 with the path of what is wrong. */
export function readMessages(body: JsonObject): TemplateMessage[] {
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
  return messages.map((message, i) => readMessage(message, `messages[${i}]`));
}

function readMessage(message: unknown, path: string): TemplateMessage {
  if (!isObject(message)) throw invalidType(path, "an object", message);
  const { role } = message;
  if (role === undefined) throw missing(`${path}.role`);
  if (typeof role !== "string") throw invalidType(`${path}.role`, "a string", role);
  if (!ROLES.includes(role)) throw invalidValue(`${path}.role`, `one of ${ROLES.join(", ")}`);
  for (const field of ["tool_calls", "function_call"]) {
    const value = message[field] ?? [];
    if (!Array.isArray(value) || value.length > 0)
      throw unsupported(`${path}.${field}`, "this server can't render calls yet");
  }
  // "developer" is the newer name of the same thing, which templates don't know.
  const result: TemplateMessage = { role: role === "developer" ? "system" : role, content: readContent(message, path) };
  if (typeof message.name === "string") result.name = message.name;
  if (typeof message.tool_call_id === "string") result.tool_call_id = message.tool_call_id;
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
