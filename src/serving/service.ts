/**
 * A model ready to answer: its tokenizer, its chat template and a running engine, opened together. The server and the terminal
 * chat both stand on it.
 */

import { Engine, type HeadKind, type KvKind, kvTokenBytes, type ZerosKind } from "../engine/engine.ts";
import { cpuCores } from "../engine/library.ts";
import { Model } from "../engine/model.ts";
import { KV_BLOCK } from "../engine/symbols.ts";
import { Failure } from "../errors.ts";
import { type ModelConfig, parameterCount } from "../model_file/model_config.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import { notes, notice } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import type { ChatTemplate } from "../text/chat_template.ts";
import { openModelText } from "../text/model_text.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** How a model is to be run. */
export interface ServiceOptions {
  /** Threads that compute; 0: one for each core this process may use, or for each of `cpus`. */
  threads: number;
  /** Cores to pin the threads to; none: wherever the system likes. */
  cpus: number[];
  /** Tokens that one request may hold, prompt and answer; 0: what the model was made for. */
  context: number;
  /** Requests that decode together. */
  parallel: number;
  /** Most prompt tokens that one step computes; 0: what the engine thinks best. */
  batchTokens: number;
  /** Bytes of the KV pool; 0: as many as `parallel` requests of `context` tokens need. */
  memory: number;
  kvKind: KvKind;
  head: HeadKind;
  zeros: ZerosKind;
  /** Whether control tokens that messages spell are control tokens; otherwise only those of the chat template are. */
  parseSpecialInMessages: boolean;
  /** The date that chat templates see; otherwise that of each request. */
  templateDate?: Date | undefined;
}

/** The engine counts tokens in 32 bits. */
const KV_TOKENS_MAX = 2 ** 31;

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
  /** Of the KV pool, for one token. */
  readonly #kvTokenBytes: number;
  // A service is given to others when it has these; they take long to come.
  #engine!: Engine;
  #kvBlocks!: number;

  private constructor({ packed, bytes, name, given }: ResolvedModel, options: ServiceOptions) {
    this.config = packed.config;
    this.name = name;
    this.isDemo = bytes !== undefined;
    this.bytes = packed.bytes;
    this.parameters = parameterCount(packed.config);
    const { tokenizer, template } = openModelText(packed, given, (text) => notice(given, text), {
      messagesAreLiteral: !options.parseSpecialInMessages,
      date: options.templateDate,
    });
    this.tokenizer = tokenizer;
    this.template = template;
    this.threads = options.threads || options.cpus.length || cpuCores();
    this.parallel = options.parallel;
    this.#kvTokenBytes = kvTokenBytes(packed.config, options.kvKind);
    this.context = options.context || packed.config.context;
    if (this.context > packed.config.context) {
      throw new Failure(
        `--ctx ${this.context} is more than ${name} was made for; its context has ${packed.config.context} tokens: lower --ctx, or leave it out`,
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
    await service.#load(resolved, options);
    return service;
  }

  async #load({ packed, path, bytes, name }: ResolvedModel, options: ServiceOptions): Promise<void> {
    const kvTokens = options.memory === 0 ? this.context * this.parallel : this.#tokensIn(options.memory);
    const progress = showProgress(`reading ${name}`, notes);
    const model =
      bytes === undefined
        ? await Model.open(path ?? packed.path, progress.update).finally(progress.finish)
        : Model.fromBytes(bytes, name);
    this.#engine = await Engine.create(model, {
      threads: this.threads,
      maxSequences: this.parallel,
      context: this.context,
      kvTokens,
      batchTokens: options.batchTokens,
      cpus: options.cpus,
      kvKind: options.kvKind,
      head: options.head,
      zeros: options.zeros,
    }).finally(() => model.close()); // the engine keeps what it needs
    this.#engine.setVocabulary(this.#readableTokens());
    this.#kvBlocks = this.#engine.stats().blocks;
  }

  get engine(): Engine {
    return this.#engine;
  }

  /** Blocks of the KV pool. */
  get kvBlocks(): number {
    return this.#kvBlocks;
  }

  /** Tokens that the KV pool holds. */
  get kvTokens(): number {
    return this.kvBlocks * KV_BLOCK;
  }

  /** Memory of the KV pool in bytes when it is full. Addresses for it are set aside at the start, memory is taken as it fills. */
  get kvBytes(): number {
    return this.kvTokens * this.#kvTokenBytes;
  }

  /** The most tokens that a prompt can have, for admission: each stands for a byte of the text at least, and the context bounds them. */
  promptTokensAtMost(text: string): number {
    return Math.min(Buffer.byteLength(text), this.context);
  }

  /** Size in words: "a 4-million-parameter demo model". */
  get description(): string {
    const millions = Math.round(this.parameters / 1e6);
    const size = millions < 1000 ? `${millions}-million` : `${(this.parameters / 1e9).toFixed(1)}-billion`;
    return `a ${size}-parameter ${this.isDemo ? "demo model (it shows that everything works; do not expect it to know things)" : "model"}`;
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

  /**
   * The tokens that a pool of this many bytes is asked to hold. The engine adds a block for every sequence, because each may leave
   * its last one partly empty; these are within the bytes too.
   *
   * @throws Failure when that is less than one context.
   */
  #tokensIn(memory: number): number {
    const blockBytes = KV_BLOCK * this.#kvTokenBytes;
    const tokens = (Math.floor(memory / blockBytes) - this.parallel) * KV_BLOCK;
    if (tokens >= this.context) return Math.min(tokens, KV_TOKENS_MAX);
    const needed = (Math.ceil(this.context / KV_BLOCK) + this.parallel) * blockBytes;
    throw new Failure(
      `--memory is ${memory} bytes; one context of ${this.context} tokens and a block for each of ${this.parallel} requests need ${needed}: raise --memory, or lower --ctx or --parallel`,
    );
  }
}
