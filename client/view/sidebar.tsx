/** The list of conversations. */

import { useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { exportAll, importFile, openConversation, searchConversations } from "../chat/conversations.ts";
import { conversations, openId } from "../chat/state.ts";
import type { Conversation } from "../model/conversation.ts";
import { sidebarIsOpen } from "../storage/preferences.ts";
import { dayOf } from "../text/format.ts";
import { ConversationItem } from "./conversation_item.tsx";
import { Icon, IconButton } from "./icons.tsx";
import { drawerIsOpen, focusComposer } from "./windows.ts";

/** Conversations that are listed at first, and whenever the reader comes near the last of them. */
const LISTED_AT_ONCE = 60;

/** Pixels from the last one at which more are listed. */
const NEAR = 600;

/** Milliseconds after the last key until messages are searched. */
const SEARCH_DELAY_MS = 150;

export function Sidebar() {
  const search = useSignal("");
  const found = useSignal<ReadonlySet<string> | undefined>(undefined);
  const listed = useSignal(LISTED_AT_ONCE);
  const file = useRef<HTMLInputElement>(null);

  useSignalEffect(() => {
    const text = search.value.trim();
    if (text === "") {
      found.value = undefined;
      return;
    }
    const leave = new AbortController();
    const timer = setTimeout(async () => {
      const matches = await searchConversations(text, leave.signal);
      if (!leave.signal.aborted) found.value = matches;
    }, SEARCH_DELAY_MS);
    return () => {
      clearTimeout(timer);
      leave.abort();
    };
  });

  const shown = conversations.value.filter(({ id }) => found.value?.has(id) ?? true);
  return (
    <aside class="sidebar" aria-label="Conversations">
      <header>
        <span class="wordmark">wrinklefree</span>
        <IconButton
          icon="menu"
          label="Hide conversations"
          onClick={() => {
            drawerIsOpen.value = false;
            sidebarIsOpen.value = false;
          }}
        />
      </header>
      <button
        type="button"
        class="new"
        onClick={async () => {
          await openConversation(null);
          drawerIsOpen.value = false;
          focusComposer();
        }}
      >
        <Icon name="plus" />
        New conversation
      </button>
      <label class="search">
        <Icon name="search" />
        <input
          type="search"
          placeholder="Search"
          aria-label="Search conversations"
          value={search.value}
          onInput={({ currentTarget }) => {
            search.value = currentTarget.value;
          }}
        />
      </label>
      <nav
        class="conversations"
        aria-label="Conversations"
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
          if (isNear && listed.value < shown.length) listed.value += LISTED_AT_ONCE;
        }}
      >
        {groups(shown, listed.value).map(([heading, list]) => (
          <section key={heading}>
            <h2>{heading}</h2>
            <ul>
              {list.map((conversation) => (
                <ConversationItem
                  key={conversation.id}
                  conversation={conversation}
                  isOpen={conversation.id === openId.value}
                />
              ))}
            </ul>
          </section>
        ))}
        {shown.length === 0 && <p class="quiet">{found.value === undefined ? "Nothing yet." : "Nothing found."}</p>}
      </nav>
      <footer>
        <button type="button" onClick={() => file.current?.click()}>
          Import
        </button>
        <button type="button" disabled={conversations.value.length === 0} onClick={exportAll}>
          Export all
        </button>
        <input
          ref={file}
          type="file"
          accept=".json,application/json"
          class="off-screen"
          tabIndex={-1}
          aria-label="File to import"
          onChange={async ({ currentTarget }) => {
            const [chosen] = currentTarget.files ?? [];
            if (chosen !== undefined) await importFile(chosen);
            currentTarget.value = "";
          }}
        />
      </footer>
    </aside>
  );
}

/** The first conversations under their headings: pinned ones, then the others by day. */
function groups(list: readonly Conversation[], count: number): [string, Conversation[]][] {
  const now = Date.now();
  const byHeading = new Map<string, Conversation[]>();
  const order = list.toSorted((a, b) => Number(b.isPinned) - Number(a.isPinned) || b.updated - a.updated);
  for (const conversation of order.slice(0, count)) {
    const heading = conversation.isPinned ? "Pinned" : dayOf(conversation.updated, now);
    const group = byHeading.get(heading);
    if (group === undefined) byHeading.set(heading, [conversation]);
    else group.push(conversation);
  }
  return [...byHeading];
}
