/**
 * Conversations as trees of messages. An answer that is made anew and a message that is edited are further children of the same
 * parent, so nothing that was said is lost; what is shown is the way from the root to one leaf.
 */

/** A conversation, without its messages. */
export interface Conversation {
  id: string;
  title: string;
  isPinned: boolean;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  /** Instructions for the model; empty: none. */
  system: string;
  /** The last message that is shown; null in an empty conversation. */
  leaf: string | null;
}

/** A text file that was given with a message. */
export interface Attachment {
  name: string;
  text: string;
}

/** A tool that the model asks for. */
export interface ToolCall {
  id: string;
  name: string;
  /** JSON, as the model wrote it. */
  arguments: string;
}

/** What an answer cost. */
export interface Figures {
  tokens: number;
  /** From the first token to the last. */
  seconds: number;
  tokensPerSecond: number;
  firstTokenMs: number;
  promptTokens: number;
  cachedTokens: number;
  /** Tokens that were guessed ahead, and how many of them were right; only where the engine guesses. */
  drafts?: { made: number; accepted: number };
}

/**
 * How an answer ended: "stop" by itself, "length" at the limit, "calls" with calls of tools, "stopped" by its reader, "error" by a
 * fault, "cut" when the page was closed while it came.
 */
export type Ending = "stop" | "length" | "calls" | "stopped" | "error" | "cut";

/** One message. */
export interface Message {
  id: string;
  conversation: string;
  /** null for a first message. */
  parent: string | null;
  role: "user" | "assistant" | "tool";
  content: string;
  /** Milliseconds since 1970. */
  created: number;
  attachments?: Attachment[];
  /** Of a tool's result: the call that it answers. */
  callId?: string;
  /** What the model thought before it answered. */
  reasoning?: string;
  calls?: ToolCall[];
  model?: string;
  figures?: Figures;
  ending?: Ending;
  /** With the ending "error": what went wrong and what to do. */
  error?: string;
}

/** The messages of one conversation by id. */
export type Messages = ReadonlyMap<string, Message>;

/** The messages from the first to a leaf. */
export function pathTo(messages: Messages, leaf: string | null): Message[] {
  const path: Message[] = [];
  for (let id = leaf; id !== null; ) {
    const message: Message | undefined = messages.get(id);
    if (message === undefined) break;
    path.push(message);
    id = message.parent;
  }
  return path.reverse();
}

/** Children by parent, the oldest first. */
export function childrenOf(messages: Messages): Map<string | null, Message[]> {
  const children = new Map<string | null, Message[]>();
  for (const message of messages.values()) {
    const list = children.get(message.parent);
    if (list === undefined) children.set(message.parent, [message]);
    else list.push(message);
  }
  for (const list of children.values()) list.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
  return children;
}

/** The leaf below a message that was written last at each branch. */
export function latestLeaf(messages: Messages, from: string): string {
  const children = childrenOf(messages);
  let id = from;
  for (let next = children.get(id)?.at(-1); next !== undefined; next = children.get(id)?.at(-1)) id = next.id;
  return id;
}

/** A message and all that follow it. */
export function subtree(messages: Messages, from: string): string[] {
  const children = childrenOf(messages);
  const ids = [from];
  for (const id of ids) for (const child of children.get(id) ?? []) ids.push(child.id);
  return ids;
}

/** What a message says to the model: its files and its text. */
export function fullText({ content, attachments = [] }: Pick<Message, "content" | "attachments">): string {
  return [...attachments.map(({ name, text }) => fenced(name, text)), content]
    .filter((part) => part !== "")
    .join("\n\n");
}

/** A file in a fence that is longer than any in it. */
function fenced(name: string, text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map(({ length }) => length));
  const fence = "`".repeat(longest + 1);
  return `${name}:\n${fence}\n${text.replace(/\n$/, "")}\n${fence}`;
}

/** A title from the first words of a message. */
export function titleOf(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, " ");
  if (line.length <= 60) return line;
  const cut = line.slice(0, 60);
  return `${cut.slice(0, Math.max(30, cut.lastIndexOf(" ")))}…`;
}
