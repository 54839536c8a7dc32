/** Answers of POST /v1/chat/completions, piece by piece. */

import { type Figures, fullText, type Message, type ToolCall } from "../model/conversation.ts";
import { readTools, type Settings, samplingParameters } from "../model/settings.ts";
import { ask, type ErrorBody, fault, Refused } from "./connection.ts";
import { readEvents } from "./event_stream.ts";

/** A piece of an answer. */
type Piece =
  | { kind: "text"; text: string }
  | { kind: "reasoning"; text: string }
  /** A call begins, or its arguments go on. */
  | { kind: "call"; index: number; call: Partial<ToolCall> }
  /** How much of the prompt is read, in tokens. */
  | { kind: "progress"; done: number; total: number; cached: number }
  | { kind: "end"; reason: string; model: string; figures: Figures };

interface Delta {
  content?: string | null;
  reasoning_content?: string | null;
  tool_calls?: { index?: number; id?: string; function?: { name?: string; arguments?: string } }[] | null;
}

interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number };
}

interface Timings {
  predicted_ms: number;
  predicted_per_second: number;
  time_to_first_token_ms: number;
  draft_n?: number;
  draft_n_accepted?: number;
}

/** A chunk of a stream, or a whole answer. */
interface Answer {
  model?: string;
  choices?: { delta?: Delta; message?: Delta; finish_reason?: string | null }[];
  usage?: Usage | null;
  timings?: Timings;
  prompt_progress?: { total: number; cache: number; processed: number };
  error?: ErrorBody & { type?: string };
}

/** What of a request becomes the prompt. */
export interface Prompt {
  messages: object[];
  tools?: unknown[];
}

/** A message as far as the model reads it. */
export type Said = Pick<Message, "role" | "content" | "attachments" | "callId" | "reasoning" | "calls">;

/** The prompt of a conversation. @throws Refused for tools that can't be sent. */
export function promptOf(system: string, path: readonly Said[], settings: Settings): Prompt {
  const tools = readTools(settings.tools);
  if (typeof tools === "string") throw new Refused(`The tools in the settings can't be sent. ${tools}`);
  return { messages: requestMessages(system, path), ...(tools.length > 0 ? { tools } : {}) };
}

function requestMessages(system: string, path: readonly Said[]): object[] {
  const messages: object[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
  for (const message of path) {
    if (message.role === "tool") {
      messages.push({ role: "tool", tool_call_id: message.callId ?? "", content: message.content });
    } else if (message.role === "user") {
      messages.push({ role: "user", content: fullText(message) });
    } else {
      const { content, reasoning, calls = [] } = message;
      messages.push({
        role: "assistant",
        content: content === "" && calls.length > 0 ? null : content,
        ...(reasoning ? { reasoning_content: reasoning } : {}),
        ...(calls.length > 0
          ? { tool_calls: calls.map(({ id, ...call }) => ({ id, type: "function", function: call })) }
          : {}),
      });
    }
  }
  return messages;
}

/**
 * Asks for an answer to a prompt; a last message of the assistant's is continued.
 *
 * @throws as `ask` does, in the middle of the answer too.
 */
export async function* complete(prompt: Prompt, settings: Settings, signal: AbortSignal): AsyncGenerator<Piece, void> {
  const { isStreamed } = settings;
  const streaming = isStreamed
    ? { stream: true, stream_options: { include_usage: true }, return_progress: true }
    : { stream: false };
  const body = { ...prompt, ...samplingParameters(settings), ...streaming };
  const response = await ask("v1/chat/completions", body, signal);
  let reason = "stop";
  let model = "";
  const answers = isStreamed ? readEvents(response) : [(await response.json()) as object];
  for await (const answer of answers as AsyncIterable<Answer>) {
    if (answer.error !== undefined) throw fault(answer.error.type === "server_error" ? 503 : 400, answer.error);
    if (answer.prompt_progress !== undefined) {
      const { total, cache, processed } = answer.prompt_progress;
      yield { kind: "progress", done: processed, total, cached: cache };
    }
    model = answer.model ?? model;
    for (const { delta, message, finish_reason } of answer.choices ?? []) {
      yield* pieces(delta ?? message ?? {});
      reason = finish_reason ?? reason;
    }
    if (answer.usage && answer.timings !== undefined) {
      yield { kind: "end", reason, model, figures: figuresOf(answer.usage, answer.timings) };
    }
  }
}

function* pieces({ content, reasoning_content: reasoning, tool_calls: calls }: Delta): Generator<Piece> {
  if (reasoning) yield { kind: "reasoning", text: reasoning };
  if (content) yield { kind: "text", text: content };
  for (const [place, { index = place, id, function: called }] of (calls ?? []).entries()) {
    const { name, arguments: args } = called ?? {};
    const call = { ...(id ? { id } : {}), ...(name ? { name } : {}), ...(args ? { arguments: args } : {}) };
    yield { kind: "call", index, call };
  }
}

function figuresOf(usage: Usage, timings: Timings): Figures {
  return {
    tokens: usage.completion_tokens,
    seconds: timings.predicted_ms / 1000,
    tokensPerSecond: timings.predicted_per_second,
    firstTokenMs: timings.time_to_first_token_ms,
    promptTokens: usage.prompt_tokens,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? 0,
    ...(timings.draft_n ? { drafts: { made: timings.draft_n, accepted: timings.draft_n_accepted ?? 0 } } : {}),
  };
}
