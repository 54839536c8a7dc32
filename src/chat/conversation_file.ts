/** Conversations as files: JSON with the messages in OpenAI's shape, so that they can be sent to any server too. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { describeSystemError, Failure } from "../errors.ts";
import { writeWholeFile } from "../whole_file.ts";
import type { Message } from "./chat_model.ts";

const ROLES = ["system", "user", "assistant"];
const BYTES_MAX = 64 << 20;

/** Writes a conversation, in place of another that was saved there. @throws Failure. */
export function saveConversation(path: string, model: string, messages: readonly Message[]): void {
  const text = `${JSON.stringify({ model, messages }, null, 2)}\n`;
  if (existsSync(path)) {
    // Only what can be loaded again was saved by /save.
    try {
      loadConversation(path);
    } catch {
      throw new Failure(`${path}: is there already, and is no conversation; give another name`);
    }
  }
  try {
    writeWholeFile(path, text, 0o600);
  } catch (error) {
    throw systemFailure(path, error);
  }
}

/** Reads a conversation. @throws Failure. */
export function loadConversation(path: string): Message[] {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > BYTES_MAX) throw new Failure(`${path}: is too large for a conversation`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw error instanceof Failure ? error : systemFailure(path, error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Failure(`${path}: is no JSON; /load takes what /save wrote`);
  }
  const messages = (value as { messages?: unknown } | null)?.messages;
  if (!Array.isArray(messages)) throw new Failure(`${path}: has no "messages"; /load takes what /save wrote`);
  return messages.map((message, index) => {
    const { role, content } = (message ?? {}) as { role?: unknown; content?: unknown };
    if (!ROLES.includes(role as string) || typeof content !== "string" || (role === "system" && index > 0)) {
      throw new Failure(
        `${path}: messages[${index}] is no message of a chat: a role (user or assistant) and a content`,
      );
    }
    return { role: role as Message["role"], content };
  });
}

function systemFailure(path: string, error: unknown): Failure {
  return new Failure(`${path}: ${describeSystemError(error)}`);
}
