/**
 * The engine as the rest of the program sees it: requests as async iterables of events.
 *
 * Nothing here waits in a foreign call. The engine's thread writes a byte to a socket when events wait; that wakes the event loop,
 * one call copies the events out, and each is put into the queue of its request.
 */

import { closeSync } from "node:fs";
import { Failure } from "../errors.ts";
import { type EngineEvent, type FinishReason, RequestEvents } from "./events.ts";
import { checked, cString, library, type Pointer, packStruct, unpackStruct } from "./library.ts";
import type { Model } from "./model.ts";
import { defaultSampling, packLists, packSampling, type Sampling } from "./sampling.ts";
import {
  EVENT_ALTERNATIVE,
  EVENT_DONE,
  EVENT_PROGRESS,
  EVENT_PROMPT,
  HEAD_EXACT,
  HEAD_SCREENED,
  KV_KIND_F16,
  KV_KIND_F32,
  KV_KIND_Q8,
  layouts,
  REASON_CANCELLED,
  REASON_GRAMMAR,
  REASON_LENGTH,
  REASON_STOP,
  ZEROS_MULTIPLY,
  ZEROS_SKIP,
} from "./symbols.ts";
import { onThread, returned } from "./task.ts";

/** How keys and values are stored: exactly, or in half or a quarter of the memory with slightly other logits. */
export const KV_KINDS = ["f32", "f16", "q8"] as const;
export type KvKind = (typeof KV_KINDS)[number];

/** What finds the next token: a sketch of the head and the rows that can matter, or the whole head. The same tokens. */
export const HEAD_KINDS = ["screened", "exact"] as const;
export type HeadKind = (typeof HEAD_KINDS)[number];

/** Whether weights that only meet zeros of relu² are left out where that is sooner, or all are read. The same tokens. */
export const ZEROS_KINDS = ["skip", "multiply"] as const;
export type ZerosKind = (typeof ZEROS_KINDS)[number];

const kvKindNumbers: Record<KvKind, number> = { f32: KV_KIND_F32, f16: KV_KIND_F16, q8: KV_KIND_Q8 };

/** Bytes that keys and values of one token take in the KV cache of a model of this shape. */
export function kvTokenBytes(shape: { layers: number; kvHeads: number; headDim: number }, kind: KvKind): number {
  const { layers, kvHeads, headDim } = shape;
  return Number(library().wf_kv_token_bytes(layers, kvHeads, headDim, kvKindNumbers[kind]));
}

/** What memory an engine takes, in bytes; see wf_memory_plan in wrinklefree.h. */
export type EngineMemory = Record<keyof typeof layouts.wf_memory_plan.fields, number>;

/**
 * What memory an engine would take beside the model's file. No weight is read.
 *
 * @param header the first bytes of a packed file, up to its tensors.
 * @param name stands for its path in messages.
 * @throws Failure as Engine.create, for options out of range.
 */
export function planEngineMemory(header: Uint8Array, name: string, options: EngineOptions): EngineMemory {
  const plan = new Uint8Array(layouts.wf_memory_plan.size);
  checked(
    (error, errorSize) =>
      library().wf_plan_memory(header, header.length, cString(name), packOptions(options), plan, error, errorSize),
    (result) => result !== 0,
  );
  return unpackStruct(layouts.wf_memory_plan, plan);
}

function packOptions(options: EngineOptions): Uint8Array {
  return packStruct(layouts.wf_engine_options, {
    threads: options.threads,
    max_sequences: options.maxSequences,
    context: options.context,
    kv_tokens: options.kvTokens,
    batch_tokens: options.batchTokens,
    kv_kind: kvKindNumbers[options.kvKind ?? "f32"],
    head: options.head === "exact" ? HEAD_EXACT : HEAD_SCREENED,
    zeros: options.zeros === "multiply" ? ZEROS_MULTIPLY : ZEROS_SKIP,
  });
}

/** What an engine is doing and has done; see wf_engine_stats in wrinklefree.h. */
export type EngineStats = Record<keyof typeof layouts.wf_engine_stats.fields, number>;

/** How an engine is laid out; see wf_engine_options in wrinklefree.h for the meaning of 0. */
export interface EngineOptions {
  threads: number;
  maxSequences: number;
  context: number;
  kvTokens: number;
  batchTokens: number;
  /** Absent: "f32". */
  kvKind?: KvKind;
  /** Absent: "screened". */
  head?: HeadKind;
  /** Absent: "skip". */
  zeros?: ZerosKind;
  /** Cores to pin the threads to; empty: none. */
  cpus: number[];
}

const finishReasons: Record<number, FinishReason> = {
  [REASON_STOP]: "stop",
  [REASON_LENGTH]: "length",
  [REASON_CANCELLED]: "cancelled",
  [REASON_GRAMMAR]: "grammar",
};

const NO_GRAMMAR = new Uint8Array(0);

/** Events that one call copies out. */
const DRAIN_CAPACITY = 1024;

/** A running engine. Its functions throw a Failure when it is closed. */
export class Engine {
  private handle: Pointer | undefined;
  private readonly requests = new Map<number, RequestEvents>();
  private readonly drained = new Uint8Array(DRAIN_CAPACITY * layouts.wf_event.size);
  private readonly listening: Promise<void>;
  private closing: Promise<void> | undefined;

  private constructor(handle: Pointer) {
    this.handle = handle;
    this.listening = this.listen(library().wf_engine_doorbell(handle));
  }

  /**
   * Starts an engine on a model, which may be closed from then on.
   *
   * @throws Failure for options out of range, or when memory or threads are lacking.
   */
  static async create(model: Model, options: EngineOptions): Promise<Engine> {
    const packed = packOptions(options);
    const cpus = Uint32Array.from(options.cpus);
    return new Engine(
      await onThread(
        (error, size) => library().wf_engine_create_begin(model.handle, packed, cpus, cpus.length, error, size),
        (task, error, size) => library().wf_engine_create_end(task, error, size),
      ),
    );
  }

  /**
   * Tells the engine the bytes of its tokens, once: grammars are about bytes.
   *
   * @param tokens the bytes of each id, none for those that no grammar may use.
   * @throws Failure when there are more than the model has, or they were told before.
   */
  setVocabulary(tokens: readonly Uint8Array[]): void {
    const offsets = new Uint32Array(tokens.length + 1);
    for (const [id, bytes] of tokens.entries()) offsets[id + 1] = (offsets[id] as number) + bytes.length;
    const all = new Uint8Array(offsets[tokens.length] as number);
    for (const [id, bytes] of tokens.entries()) all.set(bytes, offsets[id]);
    checked(
      (error, size) => library().wf_engine_set_vocabulary(this.open(), all, offsets, tokens.length, error, size),
      (result) => result !== 0,
    );
  }

  /**
   * Submits a request. It is queued when this returns; its events come as they happen and end after "done".
   *
   * Leaving the loop early, or aborting the signal, stops the generation; after an abort a "done" with the reason "cancelled"
   * still comes.
   *
   * @throws Failure when the request is out of range.
   */
  generate(tokens: Uint32Array, sampling: Sampling, signal?: AbortSignal): AsyncIterable<EngineEvent> {
    return this.events(this.submit(tokens, sampling), signal);
  }

  /**
   * The embedding of a text, by a model that gives embeddings: as it is, not yet scaled.
   *
   * @param dimensions the model's hidden size.
   * @param onStart called when its computation has begun, with the milliseconds that it had waited: it may be over by the call.
   * @returns undefined when it was cancelled.
   * @throws Failure when the request is out of range, or the model gives tokens.
   */
  async embed(
    tokens: Uint32Array,
    dimensions: number,
    signal?: AbortSignal,
    onStart?: (waitedMs: number) => void,
  ): Promise<Float32Array | undefined> {
    const request = this.submit(tokens, defaultSampling(0));
    let isQueued = true;
    for await (const event of this.events(request, signal)) {
      if (event.kind !== "progress" || !isQueued) continue;
      isQueued = false;
      onStart?.(event.elapsedMs);
    }
    const values = new Float32Array(dimensions);
    const count = library().wf_engine_take_embedding(this.open(), request, values, dimensions);
    return count === dimensions ? values : undefined;
  }

  /** Queues a request, with a queue for its events. @returns its number. @throws Failure when it is out of range. */
  private submit(tokens: Uint32Array, sampling: Sampling): number {
    const packed = packSampling(sampling);
    const stopIds = Uint32Array.from(sampling.stopIds);
    const biasIds = Uint32Array.from(sampling.logitBias.keys());
    const biasValues = Float32Array.from(sampling.logitBias.values());
    const lists = packLists(sampling.lists);
    const grammar = sampling.grammar ?? NO_GRAMMAR;
    const request = checked(
      (error, size) =>
        library().wf_engine_submit(
          this.open(),
          tokens,
          tokens.length,
          packed,
          stopIds,
          stopIds.length,
          biasIds,
          biasValues,
          biasIds.length,
          lists,
          lists.length,
          grammar,
          grammar.length,
          error,
          size,
        ),
      (result) => result === 0,
    );
    this.requests.set(request, new RequestEvents());
    return request;
  }

  /** What the engine is doing and has done. */
  stats(): EngineStats {
    const bytes = new Uint8Array(layouts.wf_engine_stats.size);
    library().wf_engine_read_stats(this.open(), bytes);
    return unpackStruct(layouts.wf_engine_stats, bytes);
  }

  /** Waits for the copies of weights that make steps faster; answers don't depend on them. */
  async copiesMade(): Promise<void> {
    while (this.stats().copying !== 0) await Bun.sleep(1);
  }

  /** Cancels what runs, stops the threads when they have computed the step at hand, and frees the memory. */
  close(): Promise<void> {
    this.closing ??= this.end(this.open());
    return this.closing;
  }

  private async end(handle: Pointer): Promise<void> {
    this.handle = undefined;
    let task: Pointer | undefined;
    try {
      task = checked(
        (error, size) => library().wf_engine_destroy_begin(handle, error, size),
        (result) => result === null,
      ) as Pointer;
    } catch {
      // Without a thread to wait on, this one waits: what an engine takes must come back, above all when little is left.
      library().wf_engine_destroy(handle);
    }
    if (task !== undefined) {
      await returned(task);
      library().wf_engine_destroy_end(task);
    }
    await this.listening;
    for (const queue of this.requests.values()) queue.push({ kind: "done", reason: "cancelled", elapsedMs: 0 });
  }

  private open(): Pointer {
    if (this.handle === undefined) throw new Failure("the engine is closed");
    return this.handle;
  }

  private cancel(request: number): void {
    if (this.handle !== undefined) library().wf_engine_cancel(this.handle, request);
  }

  private async *events(request: number, signal?: AbortSignal): AsyncIterable<EngineEvent> {
    const queue = this.requests.get(request) as RequestEvents;
    const abort = () => this.cancel(request);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    let finished = false;
    try {
      while (!finished) {
        const event = await queue.next();
        finished = event.kind === "done";
        yield event;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.requests.delete(request);
      if (!finished) this.cancel(request);
    }
  }

  /** Drains events whenever the doorbell rings; ends when the engine closes its end. */
  private async listen(doorbell: number): Promise<void> {
    for await (const _ of Bun.file(doorbell).stream()) {
      if (this.handle !== undefined) this.drain(this.handle);
    }
    closeSync(doorbell);
  }

  private drain(handle: Pointer): void {
    const { size, fields } = layouts.wf_event;
    const view = new DataView(this.drained.buffer);
    const count = library().wf_engine_drain(handle, this.drained, DRAIN_CAPACITY);
    for (let offset = 0; offset < count * size; offset += size) {
      const field = (name: "request" | "kind" | "token" | "reason" | "count" | "rank") =>
        view.getUint32(offset + fields[name].offset, true);
      const queue = this.requests.get(field("request"));
      const token = field("token");
      const logprob = view.getFloat32(offset + fields.logprob.offset, true);
      const elapsedMs = view.getFloat64(offset + fields.elapsed_ms.offset, true);
      switch (field("kind")) {
        case EVENT_DONE:
          queue?.push({ kind: "done", reason: finishReasons[field("reason")] ?? "cancelled", elapsedMs });
          break;
        case EVENT_PROGRESS:
          queue?.push({ kind: "progress", computed: token, cached: field("count"), elapsedMs });
          break;
        case EVENT_ALTERNATIVE:
          queue?.addAlternative({ token, logprob });
          break;
        default: {
          const kind = field("kind") === EVENT_PROMPT ? "prompt" : "token";
          queue?.pushToken({ kind, token, logprob, rank: field("rank"), top: [], elapsedMs }, field("count"));
        }
      }
    }
  }
}
