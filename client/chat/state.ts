/** What the page shows: the conversations, and the one that is open. */

import { computed, signal } from "@preact/signals";
import { givesText } from "../api/model.ts";
import { type Conversation, childrenOf, type Message, type Messages, pathTo } from "../model/conversation.ts";
import { readTools } from "../model/settings.ts";
import { settings } from "../storage/preferences.ts";

/** All conversations. */
export const conversations = signal<readonly Conversation[]>([]);

/** The one that is open; null: a new one, which is kept when its first message is sent. */
export const openId = signal<string | null>(null);

/** The messages of the open conversation. */
export const messages = signal<Messages>(new Map());

/** Instructions for the model in a conversation that is new. */
export const newSystem = signal("");

/** The open conversation. */
export const open = computed(() => conversations.value.find(({ id }) => id === openId.value));

/** What is shown of it. */
export const path = computed(() => pathTo(messages.value, open.value?.leaf ?? null));

/** All versions of each message that is shown. */
export const versions = computed(() => {
  const children = childrenOf(messages.value);
  return new Map(path.value.map((message) => [message.id, children.get(message.parent) ?? [message]]));
});

/** An answer that comes. */
export interface Live {
  content: string;
  reasoning: string;
  calls: NonNullable<Message["calls"]>;
  /** Of the prompt, in tokens; undefined once the answer has begun. */
  progress?: { done: number; total: number; cached: number } | undefined;
  /** Why nothing comes right now; it goes on by itself. */
  pause?: string | undefined;
}

/** Answers that come in this tab, by their messages. */
export const live = signal<ReadonlyMap<string, Live>>(new Map());

/** Messages whose answers come in other tabs. */
export const liveElsewhere = signal<ReadonlySet<string>>(new Set());

/** Whether an answer comes in the open conversation, in this tab. */
export const isAnswering = computed(() => path.value.some(({ id }) => live.value.has(id)));

/** What is wrong with the tools of the settings, which every question takes along; undefined: nothing. */
export const toolsFault = computed(() => {
  const tools = readTools(settings.value.tools);
  return typeof tools === "string" ? tools : undefined;
});

/** Whether the model can be asked for an answer. */
export const canAsk = computed(() => givesText.value && toolsFault.value === undefined && !isAnswering.value);

/** Lines for the reader that go away by themselves. */
export const notices = signal<readonly Notice[]>([]);

interface Notice {
  id: number;
  text: string;
  isFault: boolean;
  /** Takes back what the line says. */
  undo: (() => void) | undefined;
}

/** What a screen reader says next. */
export const announcement = signal("");

/** Milliseconds after which a screen reader has taken up what it was told; then nobody finds it on the page twice. */
const SAID_MS = 3000;

/** Has a screen reader say something when it is done with what it says. */
export function announce(text: string): void {
  announcement.value = text;
  setTimeout(() => {
    if (announcement.value === text) announcement.value = "";
  }, SAID_MS);
}

let noticeCount = 0;
const NOTICE_MS = 6000;
/** Time to see what is gone, and to reach the button. */
const UNDO_MS = 12_000;

/** Shows a line for some seconds. @param undo takes back what it says; then the line has a button for it. */
export function notify(text: string, isFault = false, undo?: () => void): void {
  const id = ++noticeCount;
  const close = () => {
    notices.value = notices.value.filter((notice) => notice.id !== id);
  };
  const closeAndUndo = () => {
    close();
    undo?.();
  };
  notices.value = [...notices.value, { id, text, isFault, undo: undo && closeAndUndo }];
  setTimeout(close, undo === undefined ? NOTICE_MS : UNDO_MS);
}
