/** Markdown on the page. */

import { useLayoutEffect, useRef } from "preact/hooks";
import { StreamedMarkdown } from "../text/streamed_markdown.ts";

/** @param properties isComplete: whether the text will not grow any more. */
export function Markdown({ text, isComplete }: { text: string; isComplete: boolean }) {
  const root = useRef<HTMLDivElement>(null);
  const shown = useRef<StreamedMarkdown>(undefined);
  useLayoutEffect(() => {
    shown.current ??= new StreamedMarkdown(root.current as HTMLElement);
    shown.current.show(text, isComplete);
  }, [text, isComplete]);
  return <div ref={root} class="markdown" />;
}
