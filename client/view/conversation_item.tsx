/** A conversation in the list. */

import { changeConversation, deleteConversation, exportOne, openConversation } from "../chat/conversations.ts";
import type { Conversation } from "../model/conversation.ts";
import { Icon } from "./icons.tsx";
import { Menu } from "./menu.tsx";
import { TitleField } from "./title_field.tsx";
import { drawerIsOpen, renamed } from "./windows.ts";

export function ConversationItem({ conversation, isOpen }: { conversation: Conversation; isOpen: boolean }) {
  const { id, title, isPinned } = conversation;
  if (renamed.value?.id === id && renamed.value.place === "list") {
    return (
      <li class="item">
        <TitleField conversation={conversation} />
      </li>
    );
  }
  return (
    <li class={`item ${isOpen ? "open" : ""}`}>
      <a
        href={`#/c/${id}`}
        aria-current={isOpen ? "page" : undefined}
        dir="auto"
        onClick={(event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          drawerIsOpen.value = false;
          openConversation(id);
        }}
        onDblClick={() => {
          renamed.value = { id, place: "list" };
        }}
      >
        {isPinned && <Icon name="pin" />}
        <span>{title}</span>
      </a>
      <Menu
        label={`Actions for ${title}`}
        actions={[
          {
            label: "Rename",
            icon: "edit",
            run: () => {
              renamed.value = { id, place: "list" };
            },
          },
          {
            label: isPinned ? "Unpin" : "Pin",
            icon: "pin",
            run: () => changeConversation(id, { isPinned: !isPinned }),
          },
          { label: "Export as JSON", icon: "file", run: () => exportOne(conversation, "json") },
          { label: "Export as Markdown", icon: "file", run: () => exportOne(conversation, "markdown") },
          { label: "Delete", icon: "trash", isDangerous: true, run: () => deleteConversation(conversation) },
        ]}
      />
    </li>
  );
}
