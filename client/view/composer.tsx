/** The field for messages. */

import { batch } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { model } from "../api/model.ts";
import { send, stopAnswer } from "../chat/answering.ts";
import { readAttachment } from "../chat/files.ts";
import { attachments, countRoom, draft, promptTokens } from "../chat/room.ts";
import { canAsk, isAnswering, notify, path, toolsFault } from "../chat/state.ts";
import { formatCount, plural } from "../text/format.ts";
import { Icon, IconButton } from "./icons.tsx";
import { editedId, settingsAreOpen } from "./windows.ts";

/** Takes files into the message, as far as the context has room for them. */
export async function attach(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    try {
      const read = await readAttachment(file, countRoom);
      attachments.value = [...attachments.value, read];
    } catch (error) {
      notify((error as Error).message, true);
    }
  }
}

export function Composer() {
  const field = useRef<HTMLTextAreaElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const isEmpty = draft.value.trim() === "" && attachments.value.length === 0;
  const canSend = !isEmpty && canAsk.value;

  // As high as its text, as far as the style allows.
  useLayoutEffect(() => {
    const { current } = field;
    if (current === null) return;
    current.style.height = "auto";
    current.style.height = `${current.scrollHeight}px`;
  }, [draft.value]);

  const submit = () => {
    if (!canSend) return;
    send(draft.value.trim(), [...attachments.value]);
    batch(() => {
      draft.value = "";
      attachments.value = [];
    });
  };

  return (
    <form
      class="composer"
      aria-label="Message"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {toolsFault.value !== undefined && (
        <p class="composer-fault fault" role="alert">
          <span>Nothing can be sent while the tools in the settings are wrong. {toolsFault.value}</span>
          <button
            type="button"
            class="small-button"
            onClick={() => {
              settingsAreOpen.value = true;
            }}
          >
            Open settings
          </button>
        </p>
      )}
      {attachments.value.length > 0 && (
        <ul class="attachments" aria-label="Attached files">
          {attachments.value.map((attachment) => (
            <li key={attachment.name}>
              <Icon name="file" />
              <span>{attachment.name}</span>
              <span class="quiet">{plural(attachment.tokens, "token")}</span>
              <IconButton
                icon="close"
                label={`Remove ${attachment.name}`}
                onClick={() => {
                  attachments.value = attachments.value.filter((other) => other !== attachment);
                }}
              />
            </li>
          ))}
        </ul>
      )}
      <textarea
        id="message"
        ref={field}
        rows={1}
        dir="auto"
        placeholder="Write a message"
        aria-label="Message"
        aria-describedby="room"
        value={draft.value}
        onInput={({ currentTarget }) => {
          draft.value = currentTarget.value;
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            submit();
          } else if (event.key === "ArrowUp" && draft.value === "" && canAsk.value) {
            const last = path.value.findLast(({ role }) => role === "user");
            if (last === undefined) return;
            event.preventDefault();
            editedId.value = last.id;
          }
        }}
        onPaste={(event) => {
          const files = event.clipboardData?.files;
          if (files === undefined || files.length === 0) return;
          event.preventDefault();
          attach(files);
        }}
      />
      <div class="composer-bar">
        <IconButton icon="attach" label="Attach text files" onClick={() => file.current?.click()} />
        <input
          ref={file}
          type="file"
          multiple
          class="off-screen"
          tabIndex={-1}
          aria-label="Files to attach"
          onChange={async ({ currentTarget }) => {
            await attach([...(currentTarget.files ?? [])]);
            currentTarget.value = "";
          }}
        />
        <Room />
        {isAnswering.value ? (
          <IconButton class="send" icon="stop" label="Stop" onClick={stopAnswer} />
        ) : (
          <button type="submit" class="icon-button send" aria-label="Send" title="Send" disabled={!canSend}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}

/** How many tokens will be sent, and how many the context has. */
function Room() {
  const context = model.value?.context;
  const tokens = promptTokens.value;
  // The answer has a token at least.
  const isFull = tokens !== undefined && context !== undefined && tokens >= context;
  return (
    <span id="room" class={`room ${isFull ? "full" : ""}`}>
      {tokens !== undefined && context !== undefined && (
        <>
          {formatCount(tokens)} of {plural(context, "token")}
          {isFull && ": more than the model can hold"}
        </>
      )}
    </span>
  );
}
