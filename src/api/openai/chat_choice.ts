/** One choice of a chat's answer as it grows: the deltas of a stream, and the whole message, in OpenAI's shapes. */

import type { GenerationEvent, StoppedBy } from "../../text/generation.ts";
import { ThinkingParser, type ThinkingPart } from "../../text/thinking.ts";
import { CallParser, type CallPart, type WrittenCall } from "../../text/tool_calls.ts";
import { newId } from "../ids.ts";
import type { ChatPrompt } from "./chat_prompt.ts";
import type { ThoughtsPlace } from "./reasoning.ts";

/** A call of a tool, in OpenAI's shape. */
interface ToolCall {
  id: string;
  type: "function";
  function: WrittenCall;
}

/** What a choice needs to know of its request. */
interface ChoiceRequest {
  service: { config: { eosTokenIds: number[] } };
  prompt: ChatPrompt;
  thoughts: ThoughtsPlace;
  /** Whether the answer has a form. */
  isFormed: boolean;
}

/** What has read the text that a choice continues, and what the answer has of a call in it. */
interface Parsers {
  thinking: ThinkingParser;
  calls: CallParser;
  begun: CallPart[];
}

/** One choice. */
export class Choice {
  /** Of its tokens; described one by one as they come, since there may be very many in the end. */
  readonly logprobs: object[] = [];
  /** Tokens up to the end of its thoughts. */
  reasoningTokens = 0;
  /** The text without thoughts and calls. */
  #content = "";
  #thoughts = "";
  readonly #calls: ToolCall[] = [];
  #reason = "";
  readonly #thinking: ThinkingParser;
  readonly #parser: CallParser;
  readonly #place: ThoughtsPlace;
  readonly #areFunctions: boolean;
  readonly #endIds: readonly number[];
  /** What the answer has of a call that the last message began. */
  #begun: CallPart[];

  private constructor({ service, prompt, thoughts }: ChoiceRequest, parsers: Parsers) {
    this.#endIds = service.config.eosTokenIds;
    this.#place = thoughts;
    this.#areFunctions = prompt.areFunctions;
    this.#thinking = parsers.thinking;
    this.#parser = parsers.calls;
    this.#begun = parsers.begun;
  }

  /** The choices of a request. What they continue is read once: it may be long, and there may be many. */
  static all(request: ChoiceRequest, count: number): Choice[] {
    const { prompt, thoughts, isFormed } = request;
    const thinking = new ThinkingParser(prompt.thinks && thoughts !== "text");
    const calls = new CallParser(prompt.tools, prompt.callsMax);
    const answered = thinking.continueFrom(prompt.begun);
    // A form applies to what is added to the last message.
    const begun = isFormed ? [] : calls.continueFrom(answered);
    const fork = () => new Choice(request, { thinking: thinking.fork(), calls: calls.fork(), begun });
    return Array.from({ length: count }, fork);
  }

  /**
   * Adds text and returns what is new, as deltas of a stream.
   *
   * @param generated tokens of the answer so far.
   */
  grow(text: string, generated: number): object[] {
    const hasThought = this.#thinking.isThinking;
    const pieces = this.#thinking.push(text);
    const thinks = hasThought || this.#thinking.isThinking || pieces.some(({ kind }) => kind === "thinking");
    if (thinks) this.reasoningTokens = generated;
    return this.#add(pieces);
  }

  /** Ends the text and returns what is new. */
  end({ reason, stoppedBy }: Extract<GenerationEvent, { kind: "end" }>): object[] {
    const isCut = reason !== "stop" || (stoppedBy !== undefined && !this.#isOwnEnd(stoppedBy));
    const deltas = this.#add(this.#thinking.finish(isCut));
    deltas.push(...this.#parser.finish(isCut).map((part) => this.#delta(part)));
    // After the last call that is wanted there is nothing to cut.
    const isWhole = this.#parser.isDone || (reason === "stop" && !(isCut && this.#parser.isWithinCall));
    this.#reason = this.#calls.length > 0 && isWhole ? this.#callReason : reason;
    return deltas;
  }

  /** An answer that calls ends with "tool_calls" or "function_call", unless it was cut off. */
  get finishReason(): string {
    return this.#reason;
  }

  /** The message as a whole. */
  get message(): object {
    const thoughts = this.#thoughts === "" ? {} : { reasoning_content: this.#thoughts };
    const message = { role: "assistant", content: this.#content, ...thoughts, refusal: null };
    if (this.#calls.length === 0) return message;
    const calls = this.#areFunctions ? { function_call: this.#calls[0]?.function } : { tool_calls: this.#calls };
    return { ...message, content: this.#content || null, ...calls };
  }

  /** Whether the model itself ended the answer, rather than a stop of the request's. */
  #isOwnEnd(stop: StoppedBy): boolean {
    return stop.kind === "token" && this.#endIds.includes(stop.id);
  }

  get #callReason(): string {
    return this.#areFunctions ? "function_call" : "tool_calls";
  }

  #add(pieces: ThinkingPart[]): object[] {
    const deltas = this.#begun.map((part) => this.#delta(part));
    this.#begun = [];
    for (const { kind, text } of pieces) {
      if (kind === "answer") deltas.push(...this.#parser.push(text).map((part) => this.#delta(part)));
      else if (this.#place === "field") deltas.push(this.#think(text));
    }
    return deltas;
  }

  #think(text: string): object {
    this.#thoughts += text;
    return { reasoning_content: text };
  }

  #delta(part: CallPart): object {
    if (part.kind === "content") {
      this.#content += part.text;
      return { content: part.text };
    }
    if (part.kind === "call") {
      const { name } = part;
      const call: ToolCall = { id: `call_${newId()}`, type: "function", function: { name, arguments: "" } };
      const index = this.#calls.push(call) - 1;
      const begun = { name, arguments: "" };
      if (this.#areFunctions) return { function_call: begun };
      return { tool_calls: [{ index, id: call.id, type: call.type, function: begun }] };
    }
    const index = this.#calls.length - 1;
    (this.#calls[index] as ToolCall).function.arguments += part.text;
    const more = { arguments: part.text };
    return this.#areFunctions ? { function_call: more } : { tool_calls: [{ index, function: more }] };
  }
}
