/** The line above a conversation. */

import { keyRequest } from "../api/model.ts";
import { openConversation } from "../chat/conversations.ts";
import { open } from "../chat/state.ts";
import { sidebarIsOpen } from "../storage/preferences.ts";
import { Badge } from "./badge.tsx";
import { IconButton } from "./icons.tsx";
import { TitleField } from "./title_field.tsx";
import { drawerIsOpen, focusComposer, keyIsPutOff, renamed, settingsAreOpen } from "./windows.ts";

/** As wide as page.css has it. */
const NARROW = "(max-width: 760px)";

export function Header() {
  const conversation = open.value;
  return (
    <header class="header">
      <IconButton
        class={sidebarIsOpen.value ? "only-narrow" : ""}
        icon="menu"
        label="Show conversations"
        onClick={() => {
          if (matchMedia(NARROW).matches) drawerIsOpen.value = true;
          else sidebarIsOpen.value = true;
        }}
      />
      {conversation !== undefined && renamed.value?.id === conversation.id && renamed.value.place === "header" ? (
        <TitleField conversation={conversation} />
      ) : (
        <button
          type="button"
          class="title"
          dir="auto"
          disabled={conversation === undefined}
          title="Rename"
          onClick={() => {
            if (conversation !== undefined) renamed.value = { id: conversation.id, place: "header" };
          }}
        >
          {conversation?.title ?? "New conversation"}
        </button>
      )}
      {keyRequest.value !== "none" && keyIsPutOff.value && (
        <button
          type="button"
          class="small-button"
          onClick={() => {
            keyIsPutOff.value = false;
          }}
        >
          Enter key
        </button>
      )}
      <Badge />
      <IconButton
        icon="settings"
        label="Settings"
        onClick={() => {
          settingsAreOpen.value = true;
        }}
      />
      <IconButton
        class="only-narrow"
        icon="plus"
        label="New conversation"
        onClick={async () => {
          await openConversation(null);
          focusComposer();
        }}
      />
    </header>
  );
}
