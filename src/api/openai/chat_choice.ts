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
  /** What the answer has of a call that the last message began. */
  #begun: CallPart[];

  constructor({ tools, callsMax, continued }: ChatPrompt) {
    this.#parser = new CallParser(tools, callsMax);
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
    this.#reason = reason === "stop" && called ? "tool_calls" : reason;
    return deltas;
  }

  /** An answer that calls ends with "tool_calls", unless it was cut off. */
  get finishReason(): string {
    return this.#reason;
  }

  /** The message as a whole. */
  get message(): object {
    const message = { role: "assistant", content: this.#content, refusal: null };
    if (this.#calls.length === 0) return message;
    return { ...message, content: this.#content || null, tool_calls: this.#calls };
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
      return { tool_calls: [{ index, id: call.id, type: call.type, function: { name, arguments: "" } }] };
    }
    const index = this.#calls.length - 1;
    (this.#calls[index] as ToolCall).function.arguments += part.text;
    return { tool_calls: [{ index, function: { arguments: part.text } }] };
  }
}
