/**
 * The messages of the open conversation. Only the last ones are made at first; earlier ones come as one scrolls up to them, so that
 * a conversation of thousands opens as fast as a short one. The end stays in sight while an answer comes, unless its reader scrolls.
 */

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { givesText } from "../api/model.ts";
import { openId, path, versions } from "../chat/state.ts";
import { Answer } from "./answer.tsx";
import { EmbeddingServer } from "./embedding_server.tsx";
import { IconButton } from "./icons.tsx";
import { UserMessage } from "./user_message.tsx";
import { Welcome } from "./welcome.tsx";

/** Messages that are made at first, and whenever the reader comes near the first of them. */
const MADE_AT_ONCE = 10;

/** Pixels from the first message at which earlier ones are made. */
const NEAR = 800;

/** Pixels from the end within which it counts as in sight. */
const AT_END = 48;

export function Transcript() {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const followsEnd = useRef(true);
  /** Where the last scrolling led. */
  const scrolledTo = useRef(0);
  /** The height before earlier messages were added. */
  const heightBefore = useRef<number>(undefined);
  const isAtEnd = useSignal(true);
  const shown = path.value;
  const id = openId.value;
  /** The first message that is made, of which conversation. */
  const made = useRef<{ id: string | null; first: number }>(undefined);
  const lastFew = Math.max(0, shown.length - MADE_AT_ONCE);
  // Another version of a message may be followed by fewer.
  if (made.current?.id !== id || made.current.first > lastFew) made.current = { id, first: lastFew };
  const [, redraw] = useState(0);

  // A message that was just sent is wanted in sight.
  const last = shown.at(-1);
  useLayoutEffect(() => {
    followsEnd.current = true;
    toEnd();
  }, [id]);
  useLayoutEffect(() => {
    if (last === undefined || Date.now() - last.created > 1000) return;
    followsEnd.current = true;
    toEnd();
  }, [last?.id]);

  const toEnd = () => {
    if (scroller.current === null) return;
    // An empty conversation is read from its beginning.
    scroller.current.scrollTop = path.value.length === 0 ? 0 : scroller.current.scrollHeight;
    isAtEnd.value = true;
  };

  const makeEarlier = () => {
    const { scrollTop, scrollHeight } = scroller.current as HTMLElement;
    const { current: now } = made;
    if (now === undefined || now.first === 0 || scrollTop >= NEAR || heightBefore.current !== undefined) return;
    heightBefore.current = scrollHeight;
    now.first = Math.max(0, now.first - MADE_AT_ONCE);
    redraw(now.first);
  };

  useLayoutEffect(() => {
    const { current } = scroller;
    if (heightBefore.current === undefined || current === null) return;
    current.scrollTop += current.scrollHeight - heightBefore.current;
    heightBefore.current = undefined;
  });

  useEffect(() => {
    const observer = new ResizeObserver(() => {
      if (followsEnd.current) toEnd();
      makeEarlier();
    });
    observer.observe(content.current as HTMLElement);
    return () => observer.disconnect();
  }, []);

  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current as HTMLElement;
    const reachesEnd = scrollHeight - scrollTop - clientHeight < AT_END;
    // The end may have moved on since the page scrolled to it; its reader scrolls away from it upwards.
    if (reachesEnd) followsEnd.current = true;
    else if (scrollTop < scrolledTo.current) followsEnd.current = false;
    scrolledTo.current = scrollTop;
    isAtEnd.value = followsEnd.current;
    makeEarlier();
  };

  const start = made.current.first;
  return (
    <>
      <main class="transcript" ref={scroller} onScroll={onScroll} tabIndex={-1} aria-label="Conversation">
        <div class="messages" ref={content}>
          {shown.length === 0 ? (
            givesText.value ? (
              <Welcome />
            ) : (
              <EmbeddingServer />
            )
          ) : (
            shown.slice(start).map((message, index) => {
              const all = versions.value.get(message.id) ?? [message];
              const after = shown.slice(start + index + 1);
              if (message.role === "user") return <UserMessage key={message.id} message={message} versions={all} />;
              if (message.role === "tool") return null;
              return (
                <Answer
                  key={message.id}
                  message={message}
                  versions={all}
                  results={after.slice(0, after.findIndex(({ role }) => role !== "tool") >>> 0)}
                  isLast={after.every(({ role }) => role === "tool")}
                />
              );
            })
          )}
        </div>
      </main>
      {!isAtEnd.value && shown.length > 0 && (
        <IconButton
          class="to-end"
          icon="down"
          label="To the end"
          onClick={() => {
            followsEnd.current = true;
            toEnd();
          }}
        />
      )}
    </>
  );
}
