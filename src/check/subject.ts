/** The model that is checked, and what the checks need of it: engines of their own, requests, answers to compare. */

import { Engine, type EngineOptions } from "../engine/engine.ts";
import type { FinishReason } from "../engine/events.ts";
import type { Model } from "../engine/model.ts";
import { randomTokens } from "../engine/random_tokens.ts";
import { greedySampling, type Sampling } from "../engine/sampling.ts";
import { Failure } from "../errors.ts";
import type { ModelConfig } from "../model_file/model_config.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import { notice } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import type { ChatTemplate, TemplateMessage } from "../text/chat_template.ts";
import { openModelText } from "../text/model_text.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** Something is not as it has to be; the message says what. */
export class Difference extends Error {}

/** @throws Difference unless the condition holds. */
export function require(condition: boolean, message: string): void {
  if (!condition) throw new Difference(message);
}

/** One finished request. */
export interface Answer {
  tokens: number[];
  reason: FinishReason;
  /** Prompt tokens that came from the prefix cache. */
  cached: number;
  /** Milliseconds from submitting to the first token, and to the end. */
  firstTokenMs: number;
  totalMs: number;
}

/** A request: its prompt and how its tokens are chosen. */
export interface Request {
  prompt: Uint32Array;
  sampling: Sampling;
}

/** The model that is checked, and what the checks need of it. */
export class Subject {
  readonly context: number;
  readonly concurrent: number;
  readonly #model: Model;
  readonly #threads: number;
  readonly #config: ModelConfig;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;

  constructor(
    model: Model,
    { packed, given }: ResolvedModel,
    options: { threads: number; context: number; concurrent: number },
  ) {
    this.#model = model;
    this.#threads = options.threads;
    this.context = options.context;
    this.concurrent = options.concurrent;
    this.#config = packed.config;
    const { tokenizer, template } = openModelText(packed, given, (text) => notice(given, text));
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  /** Runs `use` with an engine of its own, whose cache is empty. */
  async withEngine<T>(use: (engine: Engine) => Promise<T>, options: Partial<EngineOptions> = {}): Promise<T> {
    const engine = await Engine.create(this.#model, {
      threads: this.#threads,
      maxSequences: this.concurrent,
      context: this.context,
      kvTokens: 0,
      batchTokens: 0,
      cpus: [],
      ...options,
    });
    try {
      return await use(engine);
    } finally {
      await engine.close();
    }
  }

  /** The answer of an engine that has seen nothing before. */
  fresh(request: Request, options: Partial<EngineOptions> = {}): Promise<Answer> {
    return this.withEngine((engine) => answer(engine, request), options);
  }

  /** A prompt of `length` tokens; different numbers give prompts that differ from the first token on. */
  prompt(length: number, number = 0): Uint32Array {
    return randomTokens(this.#config.vocabSize, number + 1)(length);
  }

  /** The prompt of a conversation, as the server makes it. */
  async chatPrompt(messages: TemplateMessage[]): Promise<Uint32Array> {
    const encoding = await this.#tokenizer.encode(this.#template.prompt(messages), this.context - 1);
    if ("ids" in encoding) return Uint32Array.from(encoding.ids);
    throw new Failure(`a conversation of ${this.context} tokens or more does not fit; raise --ctx`);
  }

  /** The text of an answer, without control tokens. */
  text(tokens: number[]): string {
    const visible = tokens.filter((token) => !this.#tokenizer.isSpecial(token));
    return Buffer.concat(visible.map((token) => this.#tokenizer.bytes(token))).toString();
  }

  /**
   * Requests of `promptTokens` tokens each that write `answerTokens`: greedy ones and ones with a seed by turns. So many in turn have
   * the same prompt.
   */
  requests(promptTokens: number, answerTokens: number, withSamePrompt: number): Request[] {
    return Array.from({ length: this.concurrent }, (_, i) => ({
      prompt: this.prompt(promptTokens, 100 + Math.floor(i / withSamePrompt)),
      sampling: { ...greedySampling(answerTokens), temperature: i % 2, seed: BigInt(i) },
    }));
  }
}

/** Has a request answered. */
export async function answer(engine: Engine, { prompt, sampling }: Request, signal?: AbortSignal): Promise<Answer> {
  const result: Answer = { tokens: [], reason: "cancelled", cached: 0, firstTokenMs: 0, totalMs: 0 };
  for await (const event of engine.generate(prompt, sampling, signal)) {
    result.totalMs = event.elapsedMs;
    if (event.kind === "progress") result.cached = event.cached;
    if (event.kind === "done") result.reason = event.reason;
    if (event.kind !== "token") continue;
    if (result.tokens.length === 0) result.firstTokenMs = event.elapsedMs;
    result.tokens.push(event.token);
  }
  return result;
}

/** @throws Difference unless both answers have the same tokens and the same end. */
export function requireSame(what: string, found: Answer, expected: Answer): void {
  const at = expected.tokens.findIndex((token, i) => found.tokens[i] !== token);
  require(at < 0, `${what}: token ${at} of the answer is ${found.tokens[at]}, not ${expected.tokens[at]}`);
  require(found.tokens.length === expected.tokens.length &&
    found.reason ===
      expected.reason, `${what}: ended after ${plural(found.tokens.length, "token")} (${found.reason}), not ${expected.tokens.length} (${expected.reason})`);
}

/** How many times as fast, in words. */
export function gain(slow: number, fast: number): string {
  return `${(slow / fast).toFixed(1)} times as fast`;
}
