/** What answers in a chat: a model in this process, or a server. */

import { Failure } from "../errors.ts";
import type { Counts } from "../text/generation.ts";
import type { Settings } from "./settings.ts";

/** A message of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** How an answer ended. */
export interface Outcome {
  /** "stop", "length", "cancelled", or what a server calls it. */
  reason: string;
  counts: Counts;
}

/** What happens to an answer: the conversation is read, by a share from 0 to 1; what the model thinks grows, and its text; it ends. */
export type AnswerEvent =
  | { kind: "reading"; share: number; elapsedMs: number }
  | { kind: "thought" | "text"; text: string }
  | ({ kind: "end" } & Outcome);

/** A model that answers one message at a time. */
export interface ChatModel {
  readonly name: string;
  /** One line that says what and where it is. */
  readonly description: string;
  /** Whether it is a server's, with defaults of its own. */
  readonly isRemote: boolean;
  /**
   * Answers a conversation. After the signal it ends soon, with the reason "cancelled".
   *
   * @throws ConversationTooLong, Failure.
   */
  answer(messages: readonly Message[], settings: Settings, signal: AbortSignal): AsyncGenerator<AnswerEvent, void>;
  /** What there is against a text as a part of a message; undefined: nothing that is known. */
  faultOf(text: string): Promise<string | undefined>;
  close(): Promise<void>;
}

/** A conversation has more tokens than the model can hold. */
export class ConversationTooLong extends Failure {
  override name = "ConversationTooLong";
}
