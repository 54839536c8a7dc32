/** The page in other tabs of the same browser: each tells the others what it changed. */

import type { Conversation, Message } from "../model/conversation.ts";

/** What a tab says. */
export type TabMessage =
  | { kind: "conversation"; conversation: Conversation }
  /** Messages of one conversation, new or changed. */
  | { kind: "messages"; messages: Message[] }
  | { kind: "messages deleted"; ids: string[] }
  | { kind: "conversation deleted"; id: string }
  /** Conversations were added. */
  | { kind: "imported" }
  /** An answer comes in the tab that says so, or has ended there. */
  | { kind: "answering"; message: string; isOver: boolean }
  /** A tab was opened and asks for answers under way. */
  | { kind: "hello" };

const channel = new BroadcastChannel("wrinklefree");

/** Tells all other tabs. */
export function tellTabs(message: TabMessage): void {
  channel.postMessage(message);
}

/** Calls a function with what other tabs say. */
export function listenToTabs(listener: (message: TabMessage) => void): void {
  channel.onmessage = ({ data }) => listener(data as TabMessage);
}
