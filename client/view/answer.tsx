/** What the model answered. */

import { useComputed, useSignal } from "@preact/signals";
import { givesText } from "../api/model.ts";
import { goOn, regenerate } from "../chat/answering.ts";
import { deleteMessage } from "../chat/conversations.ts";
import { canAsk, isAnswering, live, liveElsewhere, toolsFault } from "../chat/state.ts";
import type { Message } from "../model/conversation.ts";
import { settings } from "../storage/preferences.ts";
import { AnswerFigures } from "./answer_figures.tsx";
import { CopyButton } from "./copy_button.tsx";
import { IconButton } from "./icons.tsx";
import { Markdown } from "./markdown.tsx";
import { Probabilities } from "./probabilities.tsx";
import { PromptProgress } from "./prompt_progress.tsx";
import { Thinking } from "./thinking.tsx";
import { ToolCard } from "./tool_card.tsx";
import { Versions } from "./versions.tsx";

/** What is said of an answer that did not end by itself. */
const ENDINGS: Readonly<Record<string, string>> = {
  length: "The answer reached its limit of tokens.",
  stopped: "Stopped.",
  cut: "The answer was cut off.",
};

export function Answer(properties: {
  message: Message;
  versions: readonly Message[];
  /** Of tools that it called. */
  results: readonly Message[];
  isLast: boolean;
}) {
  const { message, versions, results, isLast } = properties;
  const { id, ending, error, figures } = message;
  const now = useComputed(() => live.value.get(id)).value;
  const isElsewhere = useComputed(() => liveElsewhere.value.has(id)).value;
  const showsProbabilities = useSignal(false);
  const { content, reasoning = "", calls = [] } = now ?? message;
  const isWritten = now === undefined;
  const isEmpty = content === "" && reasoning === "" && calls.length === 0;
  return (
    <article class={`message answer ${isLast ? "last" : ""}`} aria-label="Answer" aria-busy={!isWritten}>
      {reasoning !== "" && <Thinking text={reasoning} isOver={isWritten || content !== "" || calls.length > 0} />}
      {showsProbabilities.value && isWritten ? (
        <Probabilities message={message} />
      ) : (
        content !== "" && <Markdown text={content} isComplete={isWritten} />
      )}
      {calls.map((call, index) => (
        <ToolCard
          key={index}
          answer={message}
          call={call}
          isWritten={isWritten}
          isRaw={settings.value.showsRawCalls}
          result={results.find(({ callId }) => callId === call.id)}
          isAwaited={isLast}
        />
      ))}
      {now?.pause !== undefined && (
        <p class="pause" role="status">
          <span class="spinner" aria-hidden="true" />
          {now.pause} The answer goes on by itself as soon as the server is back.
        </p>
      )}
      {!isWritten && now.pause === undefined && (now.progress !== undefined || isEmpty) && (
        <PromptProgress progress={now.progress} />
      )}
      {isWritten && ending === "error" && (
        <p class="fault" role="alert">
          {error}
        </p>
      )}
      {isWritten && isElsewhere && <p class="quiet">This answer comes in another tab.</p>}
      {isWritten && !isElsewhere && ending !== undefined && ENDINGS[ending] !== undefined && (
        <p class="quiet ending">{ENDINGS[ending]}</p>
      )}
      {isWritten && (
        <div class="actions">
          <Versions message={message} versions={versions} />
          {content !== "" && <CopyButton text={() => content} label="Copy answer" />}
          <IconButton
            icon="again"
            label="Answer again"
            isDisabled={!canAsk.value}
            onClick={() => regenerate(message)}
          />
          {isLast && content !== "" && calls.length === 0 && (
            <IconButton
              icon="forward"
              label="Continue the answer"
              isDisabled={!canAsk.value || isElsewhere}
              onClick={() => goOn(message)}
            />
          )}
          {content !== "" && (
            <IconButton
              icon="chart"
              label="Show how likely each token was"
              isPressed={showsProbabilities.value}
              isDisabled={!givesText.value || toolsFault.value !== undefined}
              onClick={() => {
                showsProbabilities.value = !showsProbabilities.value;
              }}
            />
          )}
          <IconButton
            icon="trash"
            label="Delete answer and what follows"
            isDisabled={isAnswering.value}
            onClick={() => deleteMessage(message)}
          />
          {figures !== undefined && <AnswerFigures figures={figures} />}
        </div>
      )}
    </article>
  );
}
