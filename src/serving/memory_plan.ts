/** What serving a model will keep in memory, part by part, and whether that fits: before anything of it is loaded. */

import { planEngineMemory } from "../engine/engine.ts";
import type { Memory } from "../machine/memory.ts";
import { memoryByteSource, openByteSource } from "../model_file/byte_source.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import { BODIES_BYTES_MAX } from "./body_budget.ts";
import { engineLayout, type LayoutOptions } from "./engine_layout.ts";
import { ANSWER_BYTES_MAX } from "./jobs.ts";

/** A part of the plan. */
export interface PlannedPart {
  name: "embedding" | "head" | "layers" | "sketch" | "columns" | "kv" | "buffers" | "program" | "requests";
  bytes: number;
  /** What it is, for people. */
  what: string;
}

/** The plan, in bytes. */
export interface MemoryPlan {
  parts: PlannedPart[];
  /** All that is resident when the server has long been at work, but for what requests hold. */
  resident: number;
  /** The same with what requests hold at most. */
  most: number;
  /** Tokens that one request may hold. */
  context: number;
  parallel: number;
  kvBlocks: number;
}

/** Whether a plan fits. "tight": only as long as others, and requests, leave room. */
export interface Fit {
  state: "fits" | "tight" | "exceeds";
  /** In words, with what to do. */
  text: string;
}

/**
 * Plans the memory of a server.
 *
 * @param programBytes what the process takes beside the model.
 * @throws Failure for options that the model does not allow.
 */
export function planMemory(model: ResolvedModel, options: LayoutOptions, programBytes: number): MemoryPlan {
  const { packed, name } = model;
  const layout = engineLayout(packed.config, name, options);
  const engine = planEngineMemory(readHeader(model), name, layout);
  const bytesOf = (wanted: (tensor: string) => boolean) =>
    packed.tensors.reduce((sum, tensor) => (wanted(tensor.name) ? sum + tensor.end - tensor.begin : sum), 0);
  const embedding = bytesOf((tensor) => tensor.startsWith("model.embed_tokens."));
  const head = bytesOf((tensor) => tensor.startsWith("lm_head."));
  const { kv_bytes: kv, kv_blocks: kvBlocks, context } = engine;
  const requests = BODIES_BYTES_MAX + ANSWER_BYTES_MAX + engine.grammar_bytes;
  const parts: PlannedPart[] = [
    {
      name: "embedding",
      bytes: embedding,
      what: packed.config.tiedEmbeddings ? "weights: embedding, which is the head as well" : "weights: embedding",
    },
    { name: "head", bytes: head, what: "weights: head" },
    { name: "layers", bytes: packed.bytes - embedding - head, what: "weights: layers, and the files of the tokenizer" },
    { name: "sketch", bytes: engine.sketch_bytes, what: "sketch of the head; none with --head exact" },
    { name: "columns", bytes: engine.column_bytes, what: "down projections by columns; none with --zeros multiply" },
    {
      name: "kv",
      bytes: kv,
      what: `keys and values, when full: ${kvBlocks} blocks; --memory, --ctx, --parallel, --kv`,
    },
    { name: "buffers", bytes: engine.buffer_bytes, what: "what steps work with, about" },
    { name: "program", bytes: programBytes, what: "the program with the model's tokenizer" },
    { name: "requests", bytes: requests, what: "requests, their answers and grammars, at most" },
  ];
  const planned = parts.filter(({ bytes }) => bytes > 0);
  const most = planned.reduce((sum, { bytes }) => sum + bytes, 0);
  const resident = most - requests;
  return { parts: planned, resident, most, context, parallel: layout.maxSequences, kvBlocks };
}

/** Whether a plan fits into the memory that there is. @param format writes a size. */
export function fitOf(
  { resident, most }: MemoryPlan,
  { total, available, limit }: Memory,
  format: (bytes: number) => string,
): Fit {
  const bound = limit?.value ?? total;
  const whose = limit === undefined ? "this machine's" : `the limit of ${limit.file},`;
  const remedy = "lower --memory, --ctx or --parallel, or take --kv q8, --head exact or --zeros multiply";
  if (resident > bound) {
    return { state: "exceeds", text: `${format(resident)} are more than ${whose} ${format(bound)}: ${remedy}` };
  }
  if (most > bound) {
    return {
      state: "tight",
      text: `${format(resident)} fit into ${whose} ${format(bound)}, but not with all that requests may hold: ${remedy}`,
    };
  }
  if (available !== undefined && resident > available) {
    return {
      state: "tight",
      text: `${format(resident)} fit into ${whose} ${format(bound)}, but only ${format(available)} are free now: end what else runs, or ${remedy}`,
    };
  }
  return { state: "fits", text: `${format(most)} at most fit into ${whose} ${format(bound)}` };
}

function readHeader({ packed, path, bytes, name }: ResolvedModel): Uint8Array {
  const source = bytes === undefined ? openByteSource(path ?? packed.path) : memoryByteSource(bytes, name);
  try {
    const header = new Uint8Array(packed.tensors[0]?.begin ?? 0);
    source.read(0, header);
    return header;
  } finally {
    source.close();
  }
}
