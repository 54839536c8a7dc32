/**
 * A model ready to answer: its tokenizer, its chat template and a running engine, opened together. The server and the terminal
 * chat both stand on it.
 */

import { Engine } from "../engine/engine.ts";
import { Model } from "../engine/model.ts";
import { KV_BLOCK } from "../engine/symbols.ts";
import { readMemory } from "../machine/memory.ts";
import { type ModelConfig, parameterCount } from "../model_file/model_config.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import { notes, notice } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import type { ChatTemplate } from "../text/chat_template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type MemoryPlan, type PlannedPart, planMemory } from "./memory_plan.ts";
import { planService, type ServiceOptions } from "./service_plan.ts";

/** A running model. */
export class Service {
  readonly config: ModelConfig;
  /** The model's own name: of its file, its directory, or of the demo. */
  readonly name: string;
  /** Whether it is the small model inside the executable. */
  readonly isDemo: boolean;
  /** Size of the packed model in bytes. */
  readonly bytes: number;
  /** Weights of the model. */
  readonly parameters: number;
  /** Unix time, in seconds, at which it was opened. */
  readonly opened = Math.floor(Date.now() / 1000);
  readonly threads: number;
  readonly parallel: number;
  /** Tokens that one request may hold. */
  readonly context: number;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  /** What is kept in memory. */
  readonly plan: MemoryPlan;
  readonly #resolved: ResolvedModel;
  // A service is given to others when it has this; it takes long to come.
  #engine!: Engine;

  private constructor(resolved: ResolvedModel, options: ServiceOptions) {
    const { packed, bytes, name, given } = resolved;
    this.config = packed.config;
    this.name = name;
    this.isDemo = bytes !== undefined;
    this.bytes = packed.bytes;
    this.parameters = parameterCount(packed.config);
    const tell = (text: string) => notice(given, text);
    const { text, memory } = planService(resolved, options, tell);
    this.tokenizer = text.tokenizer;
    this.template = text.template;
    this.plan = memory;
    this.#resolved = resolved;
    const { threads, maxSequences, context } = this.plan.layout;
    this.threads = threads;
    this.parallel = maxSequences;
    this.context = context;
    const { originalContext = context } = packed.config;
    if (context > originalContext) {
      notice(
        given,
        `the context of ${context} tokens is longer than ${originalContext}, so all requests have the rotary positions of long texts`,
      );
    }
  }

  /**
   * Opens a model. The event loop goes on while it is loaded, and nothing is left behind that a process
   * which doesn't wait for it would have to clean up.
   *
   * @throws Failure.
   */
  static async start(resolved: ResolvedModel, options: ServiceOptions): Promise<Service> {
    const service = new Service(resolved, options);
    await service.#load(resolved);
    return service;
  }

  async #load({ packed, path, bytes, name }: ResolvedModel): Promise<void> {
    const progress = showProgress(`reading ${name}`, notes);
    const model =
      bytes === undefined
        ? await Model.open(path ?? packed.path, progress.update, readMemory().limit?.value).finally(progress.finish)
        : Model.fromBytes(bytes, name);
    this.#engine = await Engine.create(model, this.plan.layout).finally(() => model.close()); // the engine keeps what it needs
    this.#engine.setVocabulary(this.#readableTokens());
  }

  /** @throws Failure where its model could not be served with other options. */
  checkOptions(options: ServiceOptions): void {
    const program = this.plan.parts.find(({ name }) => name === "program")?.bytes ?? 0;
    planMemory(this.#resolved, options, program, readMemory());
  }

  get engine(): Engine {
    return this.#engine;
  }

  /** Blocks of the KV pool. */
  get kvBlocks(): number {
    return this.plan.kvBlocks;
  }

  /** Tokens that the KV pool holds. */
  get kvTokens(): number {
    return this.kvBlocks * KV_BLOCK;
  }

  /** Memory of the KV pool in bytes when it is full. Addresses for it are set aside at the start, memory is taken as it fills. */
  get kvBytes(): number {
    return this.plan.parts.find(({ name }) => name === "kv")?.bytes ?? 0;
  }

  /** Memory of the copies of weights that speed up steps, in bytes. */
  get copyBytes(): number {
    const isCopy = ({ name }: PlannedPart) => name === "sketch" || name === "columns";
    return this.plan.parts.filter(isCopy).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The most tokens that a prompt can have, for admission: each stands for a byte of the text at least, and the context bounds them. */
  promptTokensAtMost(text: string): number {
    return Math.min(Buffer.byteLength(text), this.context);
  }

  /** Size and kind in words: "a 4-million-parameter demo model". */
  get description(): string {
    const millions = Math.round(this.parameters / 1e6);
    const size = millions < 1000 ? `${millions}-million` : `${(this.parameters / 1e9).toFixed(1)}-billion`;
    // Eight, eleven, eighteen and eighty begin with a vowel.
    const article = /^(8|11\b|18\b)/.test(size) ? "an" : "a";
    const kind = this.isDemo
      ? "demo model (it shows that everything works; do not expect it to know things)"
      : this.config.pooling === undefined
        ? "model"
        : "embedding model";
    return `${article} ${size}-parameter ${kind}`;
  }

  /** Cancels what runs and frees the memory. */
  async close(): Promise<void> {
    await this.#engine.close();
  }

  /** The bytes of each id that an answer with a form may be written with: control tokens and those that end answers have none. */
  #readableTokens(): Uint8Array[] {
    const { vocabSize, eosTokenIds } = this.config;
    const ends = new Set(eosTokenIds);
    return Array.from({ length: vocabSize }, (_, id) =>
      ends.has(id) || this.tokenizer.isSpecial(id) ? new Uint8Array(0) : this.tokenizer.bytes(id),
    );
  }
}
