/**
 * An answer token by token: how likely the model finds each, and what else it would have written there. The model scores the text when
 * it is asked for, so this works for every answer, however old. An alternative can be followed: a new version goes on from it.
 */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { promptOf } from "../api/completion.ts";
import { type ScoredToken, scoreAnswer } from "../api/tokens.ts";
import { answerFrom } from "../chat/answering.ts";
import { canAsk, messages, open } from "../chat/state.ts";
import { type Message, pathTo } from "../model/conversation.ts";
import { settings } from "../storage/preferences.ts";
import { formatShare } from "../text/format.ts";

/** Probabilities under which a token is marked, more strongly with each. */
const LEVELS = [0.9, 0.6, 0.3, 0.1];

export function Probabilities({ message }: { message: Message }) {
  const tokens = useSignal<readonly ScoredToken[] | undefined>(undefined);
  const fault = useSignal("");
  const chosen = useSignal<number | undefined>(undefined);
  const { id, content, parent } = message;

  useEffect(() => {
    const before = () => promptOf(open.value?.system ?? "", pathTo(messages.value, parent), settings.value);
    const score = async () => await scoreAnswer(before(), content);
    score().then(
      (scored) => {
        tokens.value = scored;
      },
      (error: Error) => {
        fault.value = error.message;
      },
    );
  }, [id, content]);

  if (fault.value !== "") {
    return (
      <p class="fault" role="alert">
        {fault.value}
      </p>
    );
  }
  if (tokens.value === undefined) {
    return (
      <p class="quiet" role="status">
        The model reads its answer…
      </p>
    );
  }
  return (
    <div class="probabilities" onMouseLeave={() => hide(chosen)}>
      <p class="tokens" dir="auto">
        {tokens.value.map(({ text, probability }, index) => (
          // A button would be a box of its own, between which lines break.
          <span
            key={index}
            role="button"
            tabIndex={0}
            class={`token level${LEVELS.filter((level) => probability < level).length} ${chosen.value === index ? "chosen" : ""}`}
            aria-label={`${text.trim() === "" ? "White space" : text}, ${formatShare(probability)}`}
            onMouseEnter={() => show(chosen, index)}
            onFocus={() => show(chosen, index)}
            onKeyDown={({ key, currentTarget }) => {
              // From a token to its alternatives, which stand behind all tokens.
              if (key !== "Enter") return;
              const frame = currentTarget.closest(".probabilities");
              frame?.querySelector<HTMLButtonElement>(".alternatives button:enabled")?.focus();
            }}
          >
            {text.replaceAll("\n", "↵\n")}
          </span>
        ))}
      </p>
      {chosen.value !== undefined && <Alternatives message={message} tokens={tokens.value} index={chosen.value} />}
      <p class="quiet">
        The stronger its colour, the less likely a token was. Point at one for its alternatives; click one to go on from
        it.
      </p>
    </div>
  );
}

function show(chosen: { value: number | undefined }, index: number): void {
  chosen.value = index;
}

function hide(chosen: { value: number | undefined }): void {
  chosen.value = undefined;
}

function Alternatives({ message, tokens, index }: { message: Message; tokens: readonly ScoredToken[]; index: number }) {
  const card = useRef<HTMLDivElement>(null);
  const token = tokens[index] as ScoredToken;
  // Below the token that it is about.
  useEffect(() => {
    const shown = card.current as HTMLElement;
    const frame = shown.parentElement as HTMLElement;
    const place = frame.querySelectorAll<HTMLElement>(".token")[index];
    if (place === undefined) return;
    const left = Math.min(place.offsetLeft, frame.clientWidth - shown.offsetWidth);
    shown.style.left = `${Math.max(0, left)}px`;
    shown.style.top = `${place.offsetTop + place.offsetHeight}px`;
  }, [index]);
  const beginning = tokens
    .slice(0, index)
    .map(({ text }) => text)
    .join("");
  return (
    <div class="alternatives" ref={card} role="group" aria-label="Alternatives">
      {token.alternatives.map(({ text, probability }) => (
        <button
          key={text}
          type="button"
          class={text === token.text ? "own" : ""}
          disabled={text === token.text || !canAsk.value}
          onClick={() => answerFrom(message, beginning + text)}
        >
          <code>{visible(text)}</code>
          <progress max={1} value={probability} aria-hidden="true" />
          <span>{formatShare(probability)}</span>
        </button>
      ))}
    </div>
  );
}

/** A token with its white space, and what ends an answer in words. */
function visible(text: string): string {
  return text === "" ? "end of answer" : text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "→");
}
