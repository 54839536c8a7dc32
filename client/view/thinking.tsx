/** What the model thought before it answered, folded away. */

import { Icon } from "./icons.tsx";
import { Markdown } from "./markdown.tsx";

export function Thinking({ text, isOver }: { text: string; isOver: boolean }) {
  return (
    <details class="thinking">
      <summary>
        <Icon name="thought" />
        {isOver ? "Thought" : "Thinking…"}
      </summary>
      <Markdown text={text} isComplete={isOver} />
    </details>
  );
}
