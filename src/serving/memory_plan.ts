/** What serving a model will keep in memory, part by part, and whether that fits: before anything of it is loaded. */

import { type EngineOptions, planEngineMemory } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import type { Memory } from "../machine/memory.ts";
import { memoryByteSource, openByteSource } from "../model_file/byte_source.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import { writtenSize } from "../options/kinds.ts";
import { BODIES_BYTES_MAX } from "./body_budget.ts";
import { type Copies, engineLayout, type LayoutOptions, leastPool } from "./engine_layout.ts";
import { ANSWER_BYTES_MAX } from "./jobs.ts";

/** A part of the plan. */
export interface PlannedPart {
  name: "embedding" | "head" | "layers" | "experts" | "sketch" | "columns" | "kv" | "buffers" | "program" | "requests";
  bytes: number;
  /** What it is, for people. */
  what: string;
}

/** The plan, in bytes. */
export interface MemoryPlan {
  parts: PlannedPart[];
  /**
   * What steps need again and again: all that is resident but an embedding and a head of which single rows are read, as a rule. Those pages
   * of the file are given back when nothing runs, and the system can take them at any time.
   */
  kept: number;
  /** Of that, the experts which a token has not chosen: the system may take their pages, and reads them from the file when they are chosen. */
  unchosen: number;
  /** All that is resident when the server has long been at work, but for what requests hold. */
  resident: number;
  /** The same with what requests hold at most. */
  most: number;
  /** What is kept is not more than this, if that can be: the budget, or what the machine has if that is less. */
  bound: number;
  /** What requests may hold: as much as there is room for, up to what a busy server needs. */
  requests: RequestMemory;
  /** How the engine is laid out. */
  layout: Required<EngineOptions>;
  kvBlocks: number;
}

/** What requests may hold, in bytes. */
export interface RequestMemory {
  bodies: number;
  /** Until they are sent. */
  answers: number;
}

/** What they may hold however little room there is: one large body, and answers of some ten thousand tokens. */
const LEAST_REQUESTS: RequestMemory = { bodies: 16 * 1024 * 1024, answers: 48 * 1024 * 1024 };
const LEAST_REQUEST_BYTES = LEAST_REQUESTS.bodies + LEAST_REQUESTS.answers;

/** Whether a plan fits. "tight": only as long as others, and requests, leave room. */
export interface Fit {
  state: "fits" | "tight" | "exceeds";
  /** In words, with what to do. */
  text: string;
}

/** Which copies are made: the first that there is room for. Without its sketch all of the head would be needed, which is larger. */
const COPIES: readonly Copies[] = [
  { head: "screened", zeros: "skip" },
  { head: "screened", zeros: "multiply" },
];
const NO_COPIES: readonly Copies[] = [{ head: "exact", zeros: "multiply" }];

/**
 * Plans the memory of a server: which copies of weights it makes, and how many tokens it has room for.
 *
 * @param programBytes what the process takes beside the model.
 * @param memory what the machine has.
 * @throws Failure for options that the model does not allow, and for a budget that is too small.
 */
export function planMemory(
  model: ResolvedModel,
  options: LayoutOptions,
  programBytes: number,
  memory: Memory,
): MemoryPlan {
  const { config } = model.packed;
  const machine = memory.limit?.value ?? memory.total;
  const bound = options.memoryBudget === 0 ? machine : Math.min(options.memoryBudget, machine);
  const header = readHeader(model);
  const plan = (copies: Copies, pool: number) => {
    return describe(model, header, options, copies, pool, programBytes, { bound, machine });
  };
  const least = options.memory === 0 ? leastPool(config, options) : options.memory;
  const choices = options.wantsCopies ? COPIES : NO_COPIES;
  const plans = choices.map((copies) => plan(copies, least));
  const chosen = plans.findIndex(({ kept }) => kept <= bound);
  if (chosen < 0) {
    const smallest = plans.at(-1) as MemoryPlan;
    if (options.memoryBudget === 0) return smallest;
    throw new Failure(tooSmall(model.name, smallest, options));
  }
  if (options.memory > 0) return plans[chosen] as MemoryPlan;
  const copies = choices[chosen] as Copies;
  // The pool has what is left, unless all requests together need less. What requests hold comes on top of a budget, and not of a machine.
  const spare = Math.max(0, bound - machine + LEAST_REQUEST_BYTES);
  const whole = plan(copies, 0);
  if (whole.kept <= bound - spare) return whole;
  return plan(copies, Math.max(least, least + bound - spare - (plans[chosen] as MemoryPlan).kept));
}

function tooSmall(name: string, { kept, bound, layout }: MemoryPlan, options: LayoutOptions): string {
  const pool = options.memory === 0 ? `one context of ${layout.context} tokens` : "a KV cache of --memory";
  const what =
    bound < options.memoryBudget
      ? `--memory-budget is ${writtenSize(options.memoryBudget)}, of which there are ${writtenSize(bound)}`
      : `--memory-budget is ${writtenSize(bound)}`;
  return `${what}, and ${name} needs ${writtenSize(kept)} with ${pool}; raise it, lower --ctx, --parallel or --memory, or take --kv q8`;
}

/** A plan with these copies and a KV pool of so many bytes, 0: as many as all requests together need. */
function describe(
  { packed, name }: ResolvedModel,
  header: Uint8Array,
  options: LayoutOptions,
  copies: Copies,
  pool: number,
  programBytes: number,
  { bound, machine }: { bound: number; machine: number },
): MemoryPlan {
  const layout = engineLayout(packed.config, name, options, copies, pool);
  const engine = planEngineMemory(header, name, layout);
  const bytesOf = (wanted: (tensor: string) => boolean) =>
    packed.tensors.reduce((sum, tensor) => (wanted(tensor.name) ? sum + tensor.end - tensor.begin : sum), 0);
  const embedding = bytesOf((tensor) => tensor.startsWith("model.embed_tokens."));
  const head = bytesOf((tensor) => tensor.startsWith("lm_head."));
  const experts = bytesOf((tensor) => tensor.includes(".mlp.experts."));
  const { expertsUsed = 0, experts: expertCount = 1 } = packed.config;
  const unchosen = Math.round(experts * (1 - expertsUsed / expertCount));
  const { kv_bytes: kv, kv_blocks: kvBlocks } = engine;
  const parts: PlannedPart[] = [
    {
      name: "embedding",
      bytes: embedding,
      what: packed.config.tiedEmbeddings ? "weights: embedding, which is the head as well" : "weights: embedding",
    },
    { name: "head", bytes: head, what: "weights: head" },
    {
      name: "layers",
      bytes: packed.bytes - embedding - head - experts,
      what: "weights: layers, and the files of the tokenizer",
    },
    {
      name: "experts",
      bytes: experts,
      what: `weights: experts, of which a token has ${expertsUsed} of ${expertCount} in each layer`,
    },
    { name: "sketch", bytes: engine.sketch_bytes, what: "sketch of the head, a quarter of it from the first draw on" },
    { name: "columns", bytes: engine.column_bytes, what: "down projections by columns, where there is room for them" },
    {
      name: "kv",
      bytes: kv,
      what: `keys and values, when full: ${kvBlocks} blocks; --memory, --ctx, --parallel, --kv`,
    },
    { name: "buffers", bytes: engine.buffer_bytes, what: "what steps work with, about" },
    { name: "program", bytes: programBytes, what: "the program with the model's tokenizer" },
  ];
  const resident = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const requests = requestMemory(machine - resident - engine.grammar_bytes);
  const bytes = requests.bodies + requests.answers + engine.grammar_bytes;
  parts.push({ name: "requests", bytes, what: "requests, their answers and grammars, at most" });
  const planned = parts.filter((part) => part.bytes > 0);
  const most = resident + bytes;
  const hasSketch = engine.sketch_bytes > 0;
  const isTied = packed.config.tiedEmbeddings;
  const rows = (isTied && !hasSketch ? 0 : embedding) + (hasSketch ? head : 0);
  return { parts: planned, kept: resident - rows, unchosen, resident, most, bound, requests, layout, kvBlocks };
}

/** What requests may hold where so many bytes are left. */
function requestMemory(room: number): RequestMemory {
  const share = room / (BODIES_BYTES_MAX + ANSWER_BYTES_MAX);
  return {
    bodies: Math.min(BODIES_BYTES_MAX, Math.max(LEAST_REQUESTS.bodies, Math.floor(share * BODIES_BYTES_MAX))),
    answers: Math.min(ANSWER_BYTES_MAX, Math.max(LEAST_REQUESTS.answers, Math.floor(share * ANSWER_BYTES_MAX))),
  };
}

/** Whether a plan fits into the memory that there is. @param format writes a size. */
export function fitOf(
  { kept, unchosen, most }: MemoryPlan,
  { total, available, limit }: Memory,
  format: (bytes: number) => string,
): Fit {
  const bound = limit?.value ?? total;
  const whose = limit === undefined ? "this machine's" : `the limit of ${limit.file},`;
  const remedy = "lower --memory, --ctx or --parallel, or take --kv q8";
  if (kept > bound && kept - unchosen <= bound) {
    return {
      state: "tight",
      text: `${format(kept)} are more than ${whose} ${format(bound)}, without experts that a token has not chosen ${format(kept - unchosen)}: experts are read from the disk again and again, and answers wait for it`,
    };
  }
  if (kept > bound) {
    return { state: "exceeds", text: `${format(kept)} are more than ${whose} ${format(bound)}: ${remedy}` };
  }
  if (most > bound) {
    return {
      state: "tight",
      text: `${format(kept)} fit into ${whose} ${format(bound)}, but not with all that requests may hold: ${remedy}`,
    };
  }
  if (available !== undefined && kept > available) {
    return {
      state: "tight",
      text: `${format(kept)} fit into ${whose} ${format(bound)}, but only ${format(available)} are free now: end what else runs, or ${remedy}`,
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
