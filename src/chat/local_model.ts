/** A model that runs in this process. */

import { Failure } from "../errors.ts";
import { contextLengthExceeded } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import type { PromptText } from "../text/added_tokens.ts";
import { generate } from "../text/generation.ts";
import { TemplateError } from "../text/jinja/errors.ts";
import { begunThoughts, ThinkingParser, type ThinkingPart } from "../text/thinking.ts";
import { describeIndivisible } from "../text/tokenizer.ts";
import { type AnswerEvent, type ChatModel, ConversationTooLong, type Message } from "./chat_model.ts";
import { type Settings, samplingOf } from "./settings.ts";

export class LocalModel implements ChatModel {
  readonly isRemote = false;
  readonly #service: Service;

  /** Takes over a service, and closes it at its end. */
  constructor(service: Service) {
    this.#service = service;
  }

  get name(): string {
    return this.#service.name;
  }

  get description(): string {
    return `${this.#service.name}: ${this.#service.description}`;
  }

  async *answer(
    messages: readonly Message[],
    settings: Settings,
    signal: AbortSignal,
  ): AsyncGenerator<AnswerEvent, void> {
    const { prompt, begun } = await this.#prompt(messages);
    const thinking = new ThinkingParser(this.#service.template.thinks);
    thinking.continueFrom(begun);
    const request = { prompt, sampling: samplingOf(settings), stops: [], signal };
    for await (const event of generate(this.#service, request)) {
      if (event.kind === "progress") {
        yield { kind: "reading", share: event.computed / prompt.length, elapsedMs: event.elapsedMs };
      } else if (event.kind === "text") {
        yield* thinking.push(event.text).map(eventOf);
      } else if (event.kind === "end") {
        yield* thinking.finish(event.reason !== "stop").map(eventOf);
        yield { kind: "end", reason: event.reason, counts: event.counts };
      }
    }
  }

  async faultOf(text: string): Promise<string | undefined> {
    const { tokenizer, context } = this.#service;
    const encoding = await tokenizer.encode({ text, literal: "everywhere" }, context - 1);
    if ("indivisible" in encoding) return `has ${describeIndivisible(encoding)}`;
    if (!("tooLong" in encoding)) return undefined;
    return `has ${encoding.isExact ? "" : "at least "}${encoding.tooLong} tokens, and the model's context holds ${context} with the answer`;
  }

  async close(): Promise<void> {
    await this.#service.close();
  }

  /** The ids of a conversation, and what its end has of the thoughts that come next. */
  async #prompt(messages: readonly Message[]): Promise<{ prompt: number[]; begun: string }> {
    const { tokenizer, context } = this.#service;
    const rendered = this.#render(messages);
    const encoding = await tokenizer.encode(rendered, context - 1);
    if ("ids" in encoding) return { prompt: encoding.ids, begun: begunThoughts(rendered.text) };
    if ("indivisible" in encoding) {
      throw new Failure(`the conversation has ${describeIndivisible(encoding)}; break them up`);
    }
    const { message } = contextLengthExceeded("messages", context, encoding.tooLong, encoding.isExact);
    throw new ConversationTooLong(message);
  }

  #render(messages: readonly Message[]): PromptText {
    try {
      return this.#service.template.prompt(messages.map((message) => ({ ...message })));
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      throw new Failure(`the model's chat template does not accept this conversation: ${error.message}`);
    }
  }
}

function eventOf({ kind, text }: ThinkingPart): AnswerEvent {
  return { kind: kind === "thinking" ? "thought" : "text", text };
}
