/** The browser's database: conversations and their messages, each message a record of its own. */

import type { Conversation, Message } from "../model/conversation.ts";
import type { SavedConversation } from "../model/transfer.ts";

const NAME = "wrinklefree";
const VERSION = 1;

/** Messages that are looked through at once when texts are searched. */
const SEARCHED_AT_ONCE = 500;

/** What is kept. Its functions fail where the browser lets pages keep nothing. */
export class Database {
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
    // Another tab has a newer page, which needs another version.
    database.onversionchange = () => database.close();
  }

  static async open(): Promise<Database> {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("messages", { keyPath: ["conversation", "id"] });
    };
    return new Database(await result(request));
  }

  async conversations(): Promise<Conversation[]> {
    return await result(this.#read("conversations").getAll());
  }

  async messages(conversation: string): Promise<Message[]> {
    return await result(this.#read("messages").getAll(allOf(conversation)));
  }

  async putConversation(conversation: Conversation): Promise<void> {
    await this.#write(({ conversations }) => conversations.put(conversation));
  }

  async putMessages(...added: Message[]): Promise<void> {
    await this.#write(({ messages }) => {
      for (const message of added) messages.put(message);
    });
  }

  /** Adds whole conversations, all or none. */
  async addAll(records: readonly SavedConversation[]): Promise<void> {
    await this.#write(({ conversations, messages }) => {
      for (const record of records) {
        conversations.put(record.conversation);
        for (const message of record.messages) messages.put(message);
      }
    });
  }

  async deleteMessages(conversation: string, ids: readonly string[]): Promise<void> {
    await this.#write(({ messages }) => {
      for (const id of ids) messages.delete([conversation, id]);
    });
  }

  async deleteConversation(id: string): Promise<void> {
    await this.#write(({ conversations, messages }) => {
      conversations.delete(id);
      messages.delete(allOf(id));
    });
  }

  /** The conversations in which a message holds a text, whatever its case. Ends early when the signal aborts. */
  async search(text: string, signal: AbortSignal): Promise<Set<string>> {
    const wanted = text.toLowerCase();
    const found = new Set<string>();
    let after: IDBKeyRange | undefined;
    while (!signal.aborted) {
      const batch: Message[] = await result(this.#read("messages").getAll(after, SEARCHED_AT_ONCE));
      for (const { conversation, content } of batch) {
        if (content.toLowerCase().includes(wanted)) found.add(conversation);
      }
      if (batch.length < SEARCHED_AT_ONCE) break;
      const last = batch.at(-1) as Message;
      after = IDBKeyRange.lowerBound([last.conversation, last.id], true);
    }
    return found;
  }

  #read(store: string): IDBObjectStore {
    return this.#database.transaction(store).objectStore(store);
  }

  #write(action: (stores: { conversations: IDBObjectStore; messages: IDBObjectStore }) => void): Promise<void> {
    // What a power cut in the next second would take is not worth waiting for.
    const transaction = this.#database.transaction(["conversations", "messages"], "readwrite", {
      durability: "relaxed",
    });
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
    action({
      conversations: transaction.objectStore("conversations"),
      messages: transaction.objectStore("messages"),
    });
    // Now and not when this page has heard of it: it may be left before.
    transaction.commit();
    return done;
  }
}

/** The keys of a conversation's messages: an array stands behind all texts. */
function allOf(conversation: string): IDBKeyRange {
  return IDBKeyRange.bound([conversation], [conversation, []]);
}

function result<Value>(request: IDBRequest<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
