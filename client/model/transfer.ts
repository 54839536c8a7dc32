/** Conversations as files: JSON, which can be read again with all versions of all messages, and Markdown, which people read. */

import { type Conversation, fullText, type Message, pathTo } from "./conversation.ts";
import { newId } from "./id.ts";

/** A conversation and its messages. */
export interface SavedConversation {
  conversation: Conversation;
  messages: Message[];
}

/** What the JSON says that it is. */
const FORMAT = "wrinklefree-conversations";

/** Conversations as JSON. */
export function toJson(records: readonly SavedConversation[]): string {
  return JSON.stringify({ format: FORMAT, version: 1, conversations: records }, null, 1);
}

/** What is shown of a conversation, as Markdown. */
export function toMarkdown({ conversation, messages }: SavedConversation): string {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const parts = [`# ${conversation.title}`];
  if (conversation.system !== "") parts.push(`**System**\n\n${conversation.system}`);
  for (const message of pathTo(byId, conversation.leaf)) {
    const who = { user: "You", assistant: message.model ?? "Assistant", tool: "Tool" }[message.role];
    const calls = (message.calls ?? []).map(
      ({ name, arguments: args }) => `\`\`\`json\n${JSON.stringify({ name, arguments: args })}\n\`\`\``,
    );
    parts.push([`**${who}**`, fullText(message), ...calls].filter((part) => part !== "").join("\n\n"));
  }
  return `${parts.join("\n\n")}\n`;
}

/**
 * Reads conversations from JSON. They and their messages get new ids, so that a file can be read beside what it was made from.
 *
 * @throws Error that says what is wrong, for people.
 */
export function fromJson(text: string): SavedConversation[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Error("This file is no JSON. Choose one that was exported here.");
  }
  const { format, conversations } = (parsed ?? {}) as { format?: unknown; conversations?: unknown };
  if (format !== FORMAT || !Array.isArray(conversations)) {
    throw new Error("This file holds no conversations. Choose one that was exported here.");
  }
  return conversations.map((record, index) => readRecord(record, `Conversation ${index + 1} of this file`));
}

function readRecord(record: unknown, where: string): SavedConversation {
  const { conversation, messages } = (record ?? {}) as { conversation?: unknown; messages?: unknown };
  if (!isObject(conversation) || !Array.isArray(messages)) throw new Error(`${where} is damaged.`);
  const id = newId();
  const ids = new Map<unknown, string>();
  const read: Message[] = [];
  for (const message of messages) {
    if (!isObject(message) || !["user", "assistant", "tool"].includes(message.role as string)) {
      throw new Error(`${where} has a damaged message.`);
    }
    const parent = message.parent === null ? null : ids.get(message.parent);
    // A parent stands before its children: so there are no circles.
    if (parent === undefined) throw new Error(`${where} has a message that follows none.`);
    const own = newId();
    ids.set(message.id, own);
    read.push({ ...readMessage(message), id: own, conversation: id, parent });
  }
  const now = Date.now();
  return {
    conversation: {
      id,
      title: text(conversation.title) || "Imported",
      isPinned: conversation.isPinned === true,
      created: time(conversation.created, now),
      updated: time(conversation.updated, now),
      system: text(conversation.system),
      leaf: ids.get(conversation.leaf) ?? read.at(-1)?.id ?? null,
    },
    messages: read,
  };
}

/** The fields that a message may have; what is of another type is left out. */
function readMessage(message: { [field: string]: unknown }): Omit<Message, "id" | "conversation" | "parent"> {
  const optional: Partial<Message> = {};
  for (const field of ["callId", "reasoning", "model", "error"] as const) {
    if (typeof message[field] === "string") optional[field] = message[field];
  }
  const endings = ["stop", "length", "calls", "stopped", "error", "cut"];
  if (endings.includes(message.ending as string)) optional.ending = message.ending as Message["ending"] & string;
  if (Array.isArray(message.attachments)) {
    optional.attachments = message.attachments.filter(isObject).map(({ name, text: inside }) => ({
      name: text(name),
      text: text(inside),
    }));
  }
  if (Array.isArray(message.calls)) {
    optional.calls = message.calls.filter(isObject).map((call) => ({
      id: text(call.id),
      name: text(call.name),
      arguments: text(call.arguments),
    }));
  }
  const figures = message.figures;
  const names = ["tokens", "seconds", "tokensPerSecond", "firstTokenMs", "promptTokens", "cachedTokens"];
  if (isObject(figures) && names.every((name) => Number.isFinite(figures[name]))) {
    optional.figures = Object.fromEntries(
      names.map((name) => [name, figures[name]]),
    ) as unknown as Message["figures"] & {};
  }
  return {
    role: message.role as Message["role"],
    content: text(message.content),
    created: time(message.created, Date.now()),
    ...optional,
  };
}

function isObject(value: unknown): value is { [field: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function time(value: unknown, otherwise: number): number {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}
