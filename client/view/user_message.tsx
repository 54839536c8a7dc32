/** What the reader said. */

import { useEffect, useRef } from "preact/hooks";
import { resend } from "../chat/answering.ts";
import { deleteMessage } from "../chat/conversations.ts";
import { canAsk, isAnswering } from "../chat/state.ts";
import { fullText, type Message } from "../model/conversation.ts";
import { CopyButton } from "./copy_button.tsx";
import { Icon, IconButton } from "./icons.tsx";
import { Versions } from "./versions.tsx";
import { editedId, focusComposer } from "./windows.ts";

export function UserMessage({ message, versions }: { message: Message; versions: readonly Message[] }) {
  const { id, content, attachments = [] } = message;
  if (editedId.value === id) return <Editor message={message} />;
  return (
    <article class="message user" aria-label="You">
      {attachments.map(({ name, text }, index) => (
        <details class="attachment" key={index}>
          <summary>
            <Icon name="file" />
            {name}
          </summary>
          <pre tabIndex={0}>{text}</pre>
        </details>
      ))}
      {content !== "" && (
        <div class="bubble" dir="auto">
          {content}
        </div>
      )}
      <div class="actions">
        <Versions message={message} versions={versions} />
        <CopyButton text={() => fullText(message)} label="Copy message" />
        <IconButton
          icon="edit"
          label="Edit and send again"
          isDisabled={!canAsk.value}
          onClick={() => {
            editedId.value = id;
          }}
        />
        <IconButton
          icon="trash"
          label="Delete message and what follows"
          isDisabled={isAnswering.value}
          onClick={() => deleteMessage(message)}
        />
      </div>
    </article>
  );
}

function Editor({ message }: { message: Message }) {
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(field.current.value.length, field.current.value.length);
  }, []);
  const finish = (isSent: boolean) => {
    if (isSent && !canAsk.value) return;
    const text = field.current?.value ?? "";
    editedId.value = null;
    if (isSent && (text.trim() !== "" || message.attachments !== undefined)) resend(message, text);
    focusComposer();
  };
  return (
    <form
      class="message user editor"
      onSubmit={(event) => {
        event.preventDefault();
        finish(true);
      }}
    >
      <textarea
        ref={field}
        class="grows"
        aria-label="Edit message"
        dir="auto"
        defaultValue={message.content}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            finish(false);
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            finish(true);
          }
        }}
      />
      <div class="editor-buttons">
        <button type="button" class="small-button" onClick={() => finish(false)}>
          Cancel
        </button>
        <button type="submit" class="small-button primary" disabled={!canAsk.value}>
          Send
        </button>
      </div>
    </form>
  );
}
