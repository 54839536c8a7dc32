/** How an engine is laid out for what the user wants of a service. */

import { type EngineOptions, type KvKind, kvTokenBytes } from "../engine/engine.ts";
import { cpuCores } from "../engine/library.ts";
import { KV_BLOCK } from "../engine/symbols.ts";
import { Failure } from "../errors.ts";
import { defaultContext, type ModelConfig } from "../model_file/model_config.ts";
import { writtenSize } from "../options/kinds.ts";
import { plural } from "../terminal/plural.ts";

/** What of it can be chosen. */
export interface LayoutOptions {
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
  /** Bytes that the server keeps at most, as memory_plan.ts counts them; 0: what the machine has. */
  memoryBudget: number;
  /** Whether copies of weights that speed up steps are worth their memory. */
  wantsCopies: boolean;
}

/** The copies of weights that an engine makes. */
export type Copies = Required<Pick<EngineOptions, "head" | "zeros">>;

/** The engine counts tokens in 32 bits. */
const KV_TOKENS_MAX = 2 ** 31;

/**
 * The options of the engine.
 *
 * @param name the model's, for messages.
 * @param memory bytes of the KV pool; 0: as many as `parallel` requests of `context` tokens need.
 * @throws Failure when the context is more than the model's, or the memory less than one context takes.
 */
export function engineLayout(
  config: ModelConfig,
  name: string,
  options: LayoutOptions,
  copies: Copies,
  memory = options.memory,
): Required<EngineOptions> {
  const context = options.context || defaultContext(config);
  if (context > config.context) {
    throw new Failure(
      `--ctx ${context} is more than ${name} was made for, whose context has ${config.context} tokens; lower --ctx, or leave it out`,
    );
  }
  const { parallel, cpus, kvKind, batchTokens } = options;
  return {
    threads: options.threads || cpus.length || cpuCores(),
    maxSequences: parallel,
    context,
    kvTokens: memory === 0 ? context * parallel : tokensIn(memory, context, parallel, kvTokenBytes(config, kvKind)),
    batchTokens,
    cpus,
    kvKind,
    ...copies,
  };
}

/**
 * The tokens that a pool of this many bytes is asked to hold. The engine adds a block for every sequence, because each may leave
 * its last one partly empty; these are within the bytes too.
 *
 * @throws Failure when that is less than one context.
 */
function tokensIn(memory: number, context: number, parallel: number, tokenBytes: number): number {
  const tokens = (Math.floor(memory / (KV_BLOCK * tokenBytes)) - parallel) * KV_BLOCK;
  if (tokens >= context) return Math.min(tokens, KV_TOKENS_MAX);
  const needed = poolBytes(context, parallel, tokenBytes);
  throw new Failure(
    `--memory is ${writtenSize(memory)}, and one context of ${context} tokens and a block for each of ${plural(parallel, "request")} need ${writtenSize(needed)}; raise --memory, or lower --ctx or --parallel`,
  );
}

/** Bytes of the least KV pool: one context, and a block for each request. */
export function leastPool(config: ModelConfig, options: LayoutOptions): number {
  return poolBytes(options.context || defaultContext(config), options.parallel, kvTokenBytes(config, options.kvKind));
}

function poolBytes(context: number, parallel: number, tokenBytes: number): number {
  return (Math.ceil(context / KV_BLOCK) + parallel) * KV_BLOCK * tokenBytes;
}
