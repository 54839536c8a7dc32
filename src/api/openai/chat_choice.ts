/** One choice of a chat's answer as it grows: the deltas of a stream, and the whole message, in OpenAI's shapes. */

import type { GenerationEvent } from "../../text/generation.ts";
import { CallParser, type CallPart, type WrittenCall } from "../../text/tool_calls.ts";
import { newId } from "../ids.ts";
import type { ChatPrompt } from "./chat_prompt.ts";

/** A call of a tool, in OpenAI's shape. */
interface ToolCall {
  id: string;
  type: "function";
  function: WrittenCall;
}

/** One choice. */
export class Choice {
  /** Of its tokens; described one by one as they come, since there may be very many in the end. */
  readonly logprobs: object[] = [];
  /** The text without the calls in it. */
  #content = "";
  readonly #calls: ToolCall[] = [];
  #reason = "";
  readonly #parser: CallParser;
  readonly #areFunctions: boolean;
  /** What the answer has of a call that the last message began. */
  #begun: CallPart[];

  constructor({ tools, callsMax, continued, areFunctions }: ChatPrompt) {
    this.#parser = new CallParser(tools, callsMax);
    this.#areFunctions = areFunctions;
    this.#begun = this.#parser.continueFrom(continued);
  }

  /** Adds text and returns what is new, as deltas of a stream. */
  grow(text: string): object[] {
    return this.#add(this.#parser.push(text));
  }

  /** Ends the text and returns what is new. */
  end({ reason, stoppedBy }: Extract<GenerationEvent, { kind: "end" }>): object[] {
    const isCut = reason !== "stop" || stoppedBy?.kind === "string";
    const deltas = this.#add(this.#parser.finish(isCut));
    const called = this.#calls.length > 0 && !(isCut && this.#parser.isWithinCall);
    this.#reason = reason === "stop" && called ? this.#callReason : reason;
    return deltas;
  }

  /** An answer that calls ends with "tool_calls" or "function_call", unless it was cut off. */
  get finishReason(): string {
    return this.#reason;
  }

  /** The message as a whole. */
  get message(): object {
    const message = { role: "assistant", content: this.#content, refusal: null };
    if (this.#calls.length === 0) return message;
    const calls = this.#areFunctions ? { function_call: this.#calls[0]?.function } : { tool_calls: this.#calls };
    return { ...message, content: this.#content || null, ...calls };
  }

  get #callReason(): string {
    return this.#areFunctions ? "function_call" : "tool_calls";
  }

  #add(parts: CallPart[]): object[] {
    const all = [...this.#begun, ...parts];
    this.#begun = [];
    return all.map((part) => this.#delta(part));
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
