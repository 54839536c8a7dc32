/** What can be done with conversations. All of it is shown at once and kept in the browser's database behind it. */

import { batch } from "@preact/signals";
import { type Conversation, latestLeaf, type Message, subtree, titleOf } from "../model/conversation.ts";
import { newId } from "../model/id.ts";
import { fromJson, type SavedConversation, toJson, toMarkdown } from "../model/transfer.ts";
import { Database } from "../storage/database.ts";
import { listenToTabs, type TabMessage, tellTabs } from "../storage/tabs.ts";
import { saveFile } from "./files.ts";
import { conversations, live, liveElsewhere, messages, newSystem, notify, open, openId } from "./state.ts";

let database: Database | undefined;

/** Reads what is kept, and opens the conversation that the address names. */
export async function startConversations(): Promise<void> {
  try {
    database = await Database.open();
    conversations.value = await database.conversations();
  } catch {
    notify("This browser keeps nothing for this page: conversations are gone when it is closed.", true);
  }
  listenToTabs((message) => void hear(message));
  tellTabs({ kind: "hello" });
  addEventListener("hashchange", () => void openFromAddress());
  await openFromAddress();
}

async function openFromAddress(): Promise<void> {
  const id = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
  await openConversation(conversations.value.some((conversation) => conversation.id === id) ? id : null);
}

/** Opens a conversation, or with null a new one. */
export async function openConversation(id: string | null): Promise<void> {
  if (id !== null && id === openId.value) return;
  const read = id === null ? [] : ((await database?.messages(id)) ?? kept.get(id) ?? []);
  batch(() => {
    openId.value = id;
    messages.value = new Map(read.map((message) => [message.id, message]));
    if (id === null) newSystem.value = "";
  });
  const hash = id === null ? "" : `#/c/${id}`;
  if (location.hash !== hash) history.pushState(null, "", hash === "" ? location.pathname : hash);
}

/** Messages by conversation where there is no database. */
const kept = new Map<string, Message[]>();

/** The open conversation; a new one is added to the list. @param text of its first message. */
export function conversationFor(text: string): Conversation {
  const current = open.value;
  if (current !== undefined) return current;
  const now = Date.now();
  const conversation: Conversation = {
    id: newId(),
    title: titleOf(text) || "New conversation",
    isPinned: false,
    created: now,
    updated: now,
    system: newSystem.value,
    leaf: null,
  };
  batch(() => {
    conversations.value = [...conversations.value, conversation];
    openId.value = conversation.id;
    messages.value = new Map();
  });
  history.pushState(null, "", `#/c/${conversation.id}`);
  return conversation;
}

/** Changes a conversation. */
export function changeConversation(id: string, change: Partial<Conversation>): void {
  let changed: Conversation | undefined;
  conversations.value = conversations.value.map((conversation) => {
    if (conversation.id !== id) return conversation;
    changed = { ...conversation, ...change };
    return changed;
  });
  if (changed === undefined) return;
  keep(async (store) => store.putConversation(changed as Conversation));
  tellTabs({ kind: "conversation", conversation: changed });
}

/** Adds messages to a conversation, or changes them. */
export function putMessages(...added: Message[]): void {
  const [first] = added;
  // What still comes for a conversation that was deleted is not kept.
  if (first === undefined || !conversations.value.some(({ id }) => id === first.conversation)) return;
  const { conversation } = first;
  if (conversation === openId.value) {
    messages.value = new Map([...messages.value, ...added.map((message) => [message.id, message] as const)]);
  }
  keep(async (store) => store.putMessages(...added));
  if (database === undefined) {
    const before = (kept.get(conversation) ?? []).filter(({ id }) => !added.some((message) => message.id === id));
    kept.set(conversation, [...before, ...added]);
  }
  tellTabs({ kind: "messages", messages: added });
}

/** Takes a message and all that follows it out of the open conversation, until its reader takes that back. */
export function deleteMessage({ id, parent, conversation }: Message): void {
  const gone = new Set(subtree(messages.value, id));
  const deleted = [...messages.value.values()].filter((message) => gone.has(message.id));
  const leaf = open.value?.leaf ?? null;
  const rest = new Map([...messages.value].filter(([key]) => !gone.has(key)));
  const sibling = [...rest.values()].filter((message) => message.parent === parent).at(-1);
  batch(() => {
    messages.value = rest;
    changeConversation(conversation, { leaf: sibling === undefined ? parent : latestLeaf(rest, sibling.id) });
  });
  keep(async (store) => store.deleteMessages(conversation, [...gone]));
  tellTabs({ kind: "messages deleted", ids: [...gone] });
  notify(deleted.length === 1 ? "Message deleted." : `${deleted.length} messages deleted.`, false, () => {
    putMessages(...deleted);
    changeConversation(conversation, { leaf });
  });
}

/** Shows another version of a message, with what followed it. */
export function showVersion({ id, conversation }: Message): void {
  changeConversation(conversation, { leaf: latestLeaf(messages.value, id) });
}

/** Deletes a conversation, until its reader takes that back. */
export async function deleteConversation(conversation: Conversation): Promise<void> {
  const { id } = conversation;
  const wasOpen = openId.value === id;
  conversations.value = conversations.value.filter((other) => other.id !== id);
  // Both at once: the database reads before it deletes, and a page that is left right now has deleted all the same.
  const read = saved(conversation);
  keep(async (store) => store.deleteConversation(id));
  tellTabs({ kind: "conversation deleted", id });
  if (wasOpen) await openConversation(null);
  const record = await read;
  notify("Conversation deleted.", false, async () => {
    await add([record]);
    if (wasOpen) await openConversation(id);
  });
}

/** The conversations whose title or messages hold a text. */
export async function searchConversations(text: string, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const wanted = text.toLowerCase();
  const found = new Set(await database?.search(text, signal));
  for (const { id, title } of conversations.value) if (title.toLowerCase().includes(wanted)) found.add(id);
  return found;
}

async function saved(conversation: Conversation): Promise<SavedConversation> {
  return { conversation, messages: (await database?.messages(conversation.id)) ?? kept.get(conversation.id) ?? [] };
}

/** Saves all conversations as a file. */
export async function exportAll(): Promise<void> {
  const records = await Promise.all(conversations.value.map(saved));
  for (const record of records) inOrder(record);
  saveFile("wrinklefree-conversations.json", "application/json", toJson(records));
}

/** Saves one conversation as a file. */
export async function exportOne(conversation: Conversation, form: "json" | "markdown"): Promise<void> {
  const record = inOrder(await saved(conversation));
  const name = conversation.title.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-|-$/g, "") || "conversation";
  if (form === "json") saveFile(`${name}.json`, "application/json", toJson([record]));
  else saveFile(`${name}.md`, "text/markdown", toMarkdown(record));
}

/** Parents before their children. */
function inOrder(record: SavedConversation): SavedConversation {
  const byId = new Map(record.messages.map((message) => [message.id, message]));
  const roots = record.messages.filter(({ parent }) => parent === null || !byId.has(parent));
  const ids = roots.flatMap(({ id }) => subtree(byId, id));
  record.messages = ids.map((id) => byId.get(id) as Message);
  return record;
}

/** Adds the conversations of a file, and opens the last one. */
export async function importFile(file: File): Promise<void> {
  let records: SavedConversation[];
  try {
    records = fromJson(await file.text());
  } catch (error) {
    notify(`${file.name}: ${(error as Error).message}`, true);
    return;
  }
  await add(records);
  const last = records.at(-1);
  if (last !== undefined) await openConversation(last.conversation.id);
  notify(records.length === 1 ? "1 conversation imported." : `${records.length} conversations imported.`);
}

/** Adds whole conversations. */
async function add(records: readonly SavedConversation[]): Promise<void> {
  if (database === undefined) for (const { conversation, messages } of records) kept.set(conversation.id, messages);
  else await database.addAll(records);
  conversations.value = [...conversations.value, ...records.map(({ conversation }) => conversation)];
  tellTabs({ kind: "imported" });
}

/** Writes to the database; a full disk is said. */
async function keep(action: (store: Database) => Promise<void>): Promise<void> {
  if (database === undefined) return;
  try {
    await action(database);
  } catch (error) {
    notify(`The browser could not keep this: ${(error as Error).message}`, true);
  }
}

/** What another tab did. */
async function hear(message: TabMessage): Promise<void> {
  switch (message.kind) {
    case "hello":
      for (const id of live.value.keys()) tellTabs({ kind: "answering", message: id, isOver: false });
      return;
    case "answering": {
      const elsewhere = new Set(liveElsewhere.value);
      if (message.isOver) elsewhere.delete(message.message);
      else elsewhere.add(message.message);
      liveElsewhere.value = elsewhere;
      return;
    }
    case "imported":
      conversations.value = (await database?.conversations()) ?? [];
      return;
    case "conversation deleted":
      conversations.value = conversations.value.filter(({ id }) => id !== message.id);
      if (openId.value === message.id) await openConversation(null);
      return;
    case "conversation": {
      const { conversation } = message;
      const others = conversations.value.filter(({ id }) => id !== conversation.id);
      conversations.value = [...others, conversation];
      return;
    }
    case "messages": {
      // Where an answer comes in this tab, this tab knows best.
      const theirs = message.messages.filter(
        ({ id, conversation }) => conversation === openId.value && !live.value.has(id),
      );
      if (theirs.length === 0) return;
      messages.value = new Map([...messages.value, ...theirs.map((each) => [each.id, each] as const)]);
      return;
    }
    case "messages deleted":
      messages.value = new Map([...messages.value].filter(([id]) => !message.ids.includes(id)));
  }
}
