/** A conversation's title while it is changed. */

import { useEffect, useRef } from "preact/hooks";
import { changeConversation } from "../chat/conversations.ts";
import type { Conversation } from "../model/conversation.ts";
import { renamed } from "./windows.ts";

export function TitleField({ conversation: { id, title } }: { conversation: Conversation }) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    field.current?.focus();
    field.current?.select();
  }, []);
  const finish = (isKept: boolean) => {
    // Leaving the field by a key makes it lose the focus too.
    if (renamed.value?.id !== id) return;
    renamed.value = null;
    const wanted = field.current?.value.trim() ?? "";
    if (isKept && wanted !== "" && wanted !== title) changeConversation(id, { title: wanted });
  };
  return (
    <input
      ref={field}
      class="title-field"
      aria-label="Title"
      defaultValue={title}
      maxLength={200}
      onBlur={() => finish(true)}
      onKeyDown={(event) => {
        if (event.key === "Enter") finish(true);
        if (event.key !== "Escape") return;
        event.stopPropagation();
        finish(false);
      }}
    />
  );
}
