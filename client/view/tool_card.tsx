/** A tool that the model calls: its name, its arguments, and a place for its result. */

import { useRef } from "preact/hooks";
import { giveResult } from "../chat/answering.ts";
import { canAsk } from "../chat/state.ts";
import type { Message, ToolCall } from "../model/conversation.ts";
import { Icon } from "./icons.tsx";

export function ToolCard(properties: {
  answer: Message;
  call: ToolCall;
  isWritten: boolean;
  isRaw: boolean;
  result: Message | undefined;
  /** Whether the conversation waits for results. */
  isAwaited: boolean;
}) {
  const { answer, call, isWritten, isRaw, result, isAwaited } = properties;
  const field = useRef<HTMLTextAreaElement>(null);
  const fields = isRaw ? undefined : argumentsOf(call);
  return (
    <section class="tool" aria-label={`Call of ${call.name}`}>
      <header>
        <Icon name="tool" />
        <strong>{call.name}</strong>
        {!isWritten && <span class="spinner" aria-hidden="true" />}
      </header>
      {fields === undefined ? (
        <pre tabIndex={0}>{isRaw ? JSON.stringify(call, null, 2) : call.arguments}</pre>
      ) : (
        <dl>
          {fields.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd dir="auto">{value}</dd>
            </div>
          ))}
        </dl>
      )}
      {result !== undefined && (
        <div class="tool-result">
          <h3>Result</h3>
          <pre tabIndex={0}>{result.content}</pre>
        </div>
      )}
      {isWritten && isAwaited && result === undefined && (
        <form
          class="tool-result"
          onSubmit={(event) => {
            event.preventDefault();
            if (!canAsk.value) return;
            giveResult(answer, call.id, field.current?.value ?? "");
          }}
        >
          <textarea ref={field} class="grows" rows={1} aria-label={`Result of ${call.name}`} placeholder="Its result" />
          <button type="submit" class="small-button" disabled={!canAsk.value}>
            Give result
          </button>
        </form>
      )}
    </section>
  );
}

/** The arguments by name; undefined while they are no JSON object. */
function argumentsOf(call: ToolCall): [string, string][] | undefined {
  try {
    const parsed: unknown = JSON.parse(call.arguments);
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return undefined;
    return Object.entries(parsed).map(([name, value]) => [
      name,
      typeof value === "string" ? value : JSON.stringify(value),
    ]);
  } catch {
    return undefined;
  }
}
