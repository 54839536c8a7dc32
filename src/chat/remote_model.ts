/** A model behind an HTTP API in OpenAI's dialect: a wrinklefree server, or another. */

import { EventSourceParserStream } from "eventsource-parser/stream";
import { Failure } from "../errors.ts";
import { harmless } from "../terminal/harmless.ts";
import type { Counts } from "../text/generation.ts";
import { type AnswerEvent, type ChatModel, ConversationTooLong, type Message } from "./chat_model.ts";
import { requestFields, type Settings } from "./settings.ts";

/** Longest message of a server that is shown. */
const MESSAGE_LENGTH_MAX = 1000;

/** Longest event of a stream. */
const EVENT_LENGTH_MAX = 1 << 24;

/** The parts of a server's JSON that are read, each unchecked. */
interface Chunk {
  choices?: { delta?: { content?: unknown; reasoning_content?: unknown }; finish_reason?: unknown }[];
  usage?: { prompt_tokens?: unknown; completion_tokens?: unknown; prompt_tokens_details?: { cached_tokens?: unknown } };
  error?: { message?: unknown; code?: unknown };
}

export class RemoteModel implements ChatModel {
  readonly name: string;
  readonly isRemote = true;
  /** Of the API, with the version. */
  readonly #base: string;
  readonly #key: string | undefined;

  private constructor(base: string, key: string | undefined, name: string) {
    this.#base = base;
    this.#key = key;
    this.name = name;
  }

  /**
   * Connects to a server.
   *
   * @param address of the server, with or without /v1.
   * @param model the model's name there; undefined: the first that it has.
   * @throws Failure.
   */
  static async connect(address: URL, key: string | undefined, model: string | undefined): Promise<RemoteModel> {
    const path = address.pathname.replace(/\/+$/, "");
    const base = address.origin + (path.endsWith("/v1") ? path : `${path}/v1`);
    const response = await request(`${base}/models`, key, undefined, undefined);
    const { data } = ((await parsed(response, base)) ?? {}) as { data?: { id?: unknown }[] };
    const name = model ?? (Array.isArray(data) ? data : []).map(({ id }) => id).find((id) => typeof id === "string");
    if (name === undefined) throw new Failure(`${base}/models lists no model; name one as MODEL`);
    return new RemoteModel(base, key, name as string);
  }

  get description(): string {
    return `${harmless(this.name)} at ${this.#base}`;
  }

  async *answer(
    messages: readonly Message[],
    settings: Settings,
    signal: AbortSignal,
  ): AsyncGenerator<AnswerEvent, void> {
    const started = performance.now();
    const counts: Counts = {
      promptTokens: 0,
      cachedTokens: 0,
      completionTokens: 0,
      queueMs: 0,
      firstTokenMs: 0,
      totalMs: 0,
    };
    let reason: string | undefined;
    try {
      for await (const chunk of this.#chunks(messages, settings, signal)) {
        const [choice] = chunk.choices ?? [];
        const { content: text, reasoning_content: thought } = choice?.delta ?? {};
        if (text || thought) counts.firstTokenMs ||= performance.now() - started;
        if (typeof thought === "string" && thought !== "") yield { kind: "thought", text: thought };
        if (typeof text === "string" && text !== "") yield { kind: "text", text };
        if (typeof choice?.finish_reason === "string") reason = choice.finish_reason;
        counts.promptTokens = Number(chunk.usage?.prompt_tokens ?? counts.promptTokens);
        counts.completionTokens = Number(chunk.usage?.completion_tokens ?? counts.completionTokens);
        counts.cachedTokens = Number(chunk.usage?.prompt_tokens_details?.cached_tokens ?? counts.cachedTokens);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      reason = "cancelled";
    }
    if (reason === undefined)
      throw new Failure(`${this.#base} broke off in the middle of the answer; /retry asks again`);
    counts.totalMs = performance.now() - started;
    counts.firstTokenMs ||= counts.totalMs;
    yield { kind: "end", reason, counts };
  }

  /** The server has the tokenizer; it says itself what it can't take. */
  async faultOf(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {}

  async *#chunks(messages: readonly Message[], settings: Settings, signal: AbortSignal): AsyncGenerator<Chunk, void> {
    const fields = [
      `"model":${JSON.stringify(this.name)}`,
      `"messages":${JSON.stringify(messages)}`,
      '"stream":true,"stream_options":{"include_usage":true}',
      ...requestFields(settings),
    ];
    const response = await request(`${this.#base}/chat/completions`, this.#key, `{${fields.join(",")}}`, signal);
    if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      throw new Failure(
        `${this.#base}/chat/completions does not stream its answer: is this the address of a model's server?`,
      );
    }
    const events = (response.body as ReadableStream<Uint8Array<ArrayBuffer>>)
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream({ maxBufferSize: EVENT_LENGTH_MAX }));
    try {
      for await (const { data } of events) {
        if (data === "[DONE]") return;
        const chunk = parseChunk(data, this.#base);
        if (chunk.error !== undefined) throw failureOf(chunk, this.#base, response.status);
        yield chunk;
      }
    } catch (error) {
      throw error instanceof Failure ? error : new Failure(`${this.#base} broke off in the middle of the answer`);
    }
  }
}

/** @throws Failure for an answer that is an error, or none at all. */
async function request(
  url: string,
  key: string | undefined,
  body: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const headers = new Headers(body === undefined ? {} : { "content-type": "application/json" });
  if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
  const method = body === undefined ? "GET" : "POST";
  let response: Response;
  try {
    response = await fetch(url, { method, headers, body, signal, redirect: "error" });
  } catch (error) {
    throw signal?.aborted ? error : unreachable(url, error);
  }
  if (response.ok) return response;
  const chunk = ((await response.json().catch(() => undefined)) ?? {}) as Chunk;
  throw failureOf(chunk, url, response.status, key);
}

function unreachable(url: string, error: unknown): Failure {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const { origin, host } = new URL(url);
  const words: Record<string, string> = {
    ECONNREFUSED: "nothing listens there; 'wrinklefree serve' starts a server",
    ENOTFOUND: `there is no host '${host}'`,
    ECONNRESET: "it closed the connection",
    EPROTO: "it does not speak https; try http",
    UnexpectedRedirect: "it sends to another address; give that one",
  };
  return new Failure(`can't reach ${origin}: ${words[String(code)] ?? harmless(String(message))}`);
}

/** What a server's error says, in words. */
function failureOf(chunk: Chunk, url: string, status: number, key?: string): Failure {
  const { message, code } = (typeof chunk.error === "object" ? chunk.error : {}) ?? {};
  const said = typeof message === "string" ? harmless(message).slice(0, MESSAGE_LENGTH_MAX) : "";
  if (code === "context_length_exceeded") return new ConversationTooLong(said);
  const { origin } = new URL(url);
  if (status === 401 || status === 403) {
    const what = key === undefined ? "wants a key" : "does not take this key";
    return new Failure(`${origin} ${what}; give one with WRINKLEFREE_API_KEY in the environment, or --api-key`);
  }
  return new Failure(
    `${origin}: ${said || `answers with HTTP status ${status}: is this the address of a model's server?`}`,
  );
}

async function parsed(response: Response, base: string): Promise<unknown> {
  return await response.json().catch(() => {
    throw new Failure(`${base}/models is no JSON: is this the address of a model's server?`);
  });
}

function parseChunk(data: string, base: string): Chunk {
  try {
    const value: unknown = JSON.parse(data);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // As any other that is none.
  }
  throw new Failure(`${base} streams something that is no answer: ${harmless(data).slice(0, 100)}`);
}
