/** The page in other tabs of the same browser: each tells the others what it changed. */

/** What a tab says. */
export type TabMessage =
  /** Something in a conversation changed: its list entry, and its messages. */
  | { kind: "changed"; conversation: string }
  | { kind: "deleted"; conversation: string }
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
