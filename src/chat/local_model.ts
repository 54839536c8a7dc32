/** A model that runs in this process. */

import { Failure } from "../errors.ts";
import { contextLengthExceeded } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import type { PromptText } from "../text/added_tokens.ts";
import { generate } from "../text/generation.ts";
import { TemplateError } from "../text/jinja/errors.ts";
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
    const prompt = await this.#prompt(messages);
    const request = { prompt, sampling: samplingOf(settings), stops: [], signal };
    for await (const event of generate(this.#service, request)) {
      if (event.kind === "text") yield { kind: "text", text: event.text };
      else if (event.kind === "end") yield { kind: "end", reason: event.reason, counts: event.counts };
    }
  }

  async faultOf(text: string): Promise<string | undefined> {
    const { tokenizer, context } = this.#service;
    const encoding = await tokenizer.encode({ text, literal: "everywhere" }, context - 1);
    if ("indivisible" in encoding) return `has ${encoding.indivisible} characters in a row that can't be divided`;
    if (!("tooLong" in encoding)) return undefined;
    return `has ${encoding.isExact ? "" : "at least "}${encoding.tooLong} tokens, and the model's context holds ${context} with the answer`;
  }

  async close(): Promise<void> {
    await this.#service.close();
  }

  async #prompt(messages: readonly Message[]): Promise<number[]> {
    const { tokenizer, context } = this.#service;
    const encoding = await tokenizer.encode(this.#render(messages), context - 1);
    if ("ids" in encoding) return encoding.ids;
    if ("indivisible" in encoding) {
      throw new Failure(`the tokenizer can't divide ${encoding.indivisible} characters in a row; break them up`);
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
