/** What was said so far. The model sees all of it at each answer, so changing it is only a matter of messages. */

import { notes } from "../terminal/output.ts";
import { type AnswerEvent, type ChatModel, ConversationTooLong, type Message, type Outcome } from "./chat_model.ts";
import type { Settings } from "./settings.ts";

/** What an answer cost, and the sum of all. */
export interface Statistics {
  last: Outcome | undefined;
  answers: number;
  promptTokens: number;
  completionTokens: number;
}

/** A conversation with one model. */
export class Conversation {
  readonly model: ChatModel;
  settings: Settings;
  /** Instructions that come before it. */
  system: string | undefined;
  /** Questions and answers in turn. */
  #turns: Message[] = [];
  /** The last question, when it failed or was stopped before it had an answer. */
  #unanswered: string | undefined;
  readonly statistics: Statistics = { last: undefined, answers: 0, promptTokens: 0, completionTokens: 0 };

  constructor(model: ChatModel, settings: Settings, system: string | undefined) {
    this.model = model;
    this.settings = settings;
    this.system = system;
  }

  /** All messages, the instructions first. */
  get messages(): Message[] {
    return [...(this.system === undefined ? [] : [{ role: "system" as const, content: this.system }]), ...this.#turns];
  }

  /** Puts another conversation in place of this one. */
  replace(messages: readonly Message[]): void {
    const [first, ...others] = messages;
    this.system = first?.role === "system" ? first.content : undefined;
    this.#turns = first?.role === "system" ? others : [...messages];
    this.#unanswered = undefined;
  }

  /** Forgets everything but the instructions. */
  clear(): void {
    this.#turns = [];
    this.#unanswered = undefined;
  }

  /** Takes back the last question with its answer, and gives the question; undefined when there is none. */
  undo(): string | undefined {
    const place = this.#turns.findLastIndex(({ role }) => role === "user");
    if (place < 0) return undefined;
    const question = this.#turns[place]?.content;
    this.#turns = this.#turns.slice(0, place);
    return question;
  }

  /** The question to ask again: the one that has no answer, or the last one, which is taken back. */
  again(): string | undefined {
    return this.#unanswered ?? this.undo();
  }

  /**
   * Says something and gives the answer as it comes. If that fails, nothing was said. When the conversation outgrows the context, its
   * oldest turns are forgotten.
   *
   * @throws Failure.
   */
  async *say(content: string, signal: AbortSignal): AsyncGenerator<AnswerEvent, void> {
    const before = this.#turns;
    this.#turns = [...before, { role: "user", content }];
    let answer: string | undefined;
    try {
      for await (const event of this.#answer(signal)) {
        if (event.kind === "text") {
          answer = (answer ?? "") + event.text;
        } else if (event.kind === "end") {
          // An answer that was stopped before it began is none.
          if (event.reason !== "cancelled") answer ??= "";
          this.#count(event);
        }
        yield event;
      }
    } finally {
      this.#unanswered = answer === undefined ? content : undefined;
      if (answer === undefined) this.#turns = before;
      else this.#turns = [...this.#turns, { role: "assistant", content: answer }];
    }
  }

  async *#answer(signal: AbortSignal): AsyncGenerator<AnswerEvent, void> {
    for (;;) {
      try {
        return yield* this.model.answer(this.messages, this.settings, signal);
      } catch (error) {
        if (!(error instanceof ConversationTooLong) || this.#turns.length === 1) throw error;
        this.#turns = this.#turns.slice(2);
        notes.write("(the conversation is longer than the context: its beginning is forgotten)\n");
      }
    }
  }

  #count(outcome: Outcome): void {
    this.statistics.last = outcome;
    this.statistics.answers++;
    this.statistics.promptTokens += outcome.counts.promptTokens;
    this.statistics.completionTokens += outcome.counts.completionTokens;
  }
}
