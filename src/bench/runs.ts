/**
 * The measurements: prompts through an engine and tokens out of it, timed by the engine's own clock. What is timed is what a
 * server's users get, scheduler, sampling and event delivery included.
 */

import type { ModelConfig } from "../../convert/model_config.ts";
import { defaultSampling, Engine, type EngineEvent, type Model } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import type { Costs } from "./costs.ts";

/** Tokens that one step of the engine computes at most. */
const BATCH_TOKENS = 256;

/** Steps of a decode run that pass before it is timed. */
const WARM_UP_STEPS = 2;

/**
 * Tokens that a sequence of a decode run may write beyond those that are counted on: small models write many before all requests
 * are submitted, and between the last token that is timed and the end of the run.
 */
const SURPLUS_TOKENS = 1024;

/** Prompt tokens that an engine computes before a prefill run is timed. */
const WARM_UP_TOKENS = 32;

/** One measurement to make. */
export interface Plan {
  kind: "prefill" | "decode";
  threads: number;
  /** Sequences that decode together; 1 for prefill. */
  parallel: number;
  /** Prefill: tokens of the prompt. Decode: tokens of each sequence in one repetition. */
  tokens: number;
  /** Decode: tokens of each sequence's prompt, which is not timed. */
  context: number;
  /** How often it is measured. */
  repetitions: number;
}

/** What a measurement gave. */
export interface Run extends Plan {
  /** Tokens a second of all sequences together: the median of the repetitions, the least and the most. */
  tokensPerSecond: { median: number; least: number; most: number };
  /** Bytes that a step has to read: ternary weights, the head when tokens come out, keys and values. */
  bytesPerStep: number;
  /** Steps a second at the median. */
  stepsPerSecond: number;
}

/** Tokens that each sequence of a run must have room for, at least. */
export function contextOf(plan: Plan): number {
  if (plan.kind === "prefill") return plan.tokens + 1;
  return promptTokens(plan) + stepsUntilAllDecode(plan) + decodeSteps(plan) + 1;
}

/**
 * Makes one measurement.
 *
 * @param config of the model
 * @throws Failure when memory or threads are lacking
 */
export async function measure(model: Model, config: ModelConfig, costs: Costs, plan: Plan): Promise<Run> {
  const engine = Engine.create(model, {
    threads: plan.threads,
    maxSequences: plan.parallel,
    context: Math.min(contextOf(plan) + SURPLUS_TOKENS, config.context),
    kvTokens: 0,
    batchTokens: BATCH_TOKENS,
    cpus: [],
  });
  try {
    return plan.kind === "prefill"
      ? await measurePrefill(engine, config.vocabSize, costs, plan)
      : await measureDecode(engine, config.vocabSize, costs, plan);
  } finally {
    await engine.close();
  }
}

async function measurePrefill(engine: Engine, vocabSize: number, costs: Costs, plan: Plan): Promise<Run> {
  const draw = promptDrawer(vocabSize);
  const firstTokenMs = async (tokens: number) => {
    const [elapsed] = await tokenTimes(engine.generate(draw(tokens), sampling(1)));
    return elapsed as number;
  };
  await firstTokenMs(Math.min(plan.tokens, WARM_UP_TOKENS));
  const rates: number[] = [];
  // Each repetition has a prompt of its own: one that was seen before would not be computed again.
  for (let repetition = 0; repetition < plan.repetitions; repetition++) {
    rates.push((plan.tokens / (await firstTokenMs(plan.tokens))) * 1000);
  }
  const steps = Math.ceil(plan.tokens / BATCH_TOKENS);
  let bytes = steps * costs.ternaryBytes + costs.headBytes;
  for (let step = 1; step <= steps; step++) {
    bytes += Math.min(step * BATCH_TOKENS, plan.tokens) * costs.positionBytes;
  }
  const tokensPerSecond = summary(rates);
  return {
    ...plan,
    tokensPerSecond,
    bytesPerStep: bytes / steps,
    stepsPerSecond: (tokensPerSecond.median / plan.tokens) * steps,
  };
}

/**
 * All sequences decode in every step that is timed. Requests are computed first come first served, so the last one submitted is the
 * last to begin, and its tokens are the steps' clock. Repetitions follow one another in the same sequences, so that a long context
 * is computed only once.
 */
async function measureDecode(engine: Engine, vocabSize: number, costs: Costs, plan: Plan): Promise<Run> {
  const draw = promptDrawer(vocabSize);
  const steps = decodeSteps(plan);
  const [lastPrompt, ...prompts] = Array.from({ length: plan.parallel }, () => draw(promptTokens(plan)));
  await tokenTimes(engine.generate(draw(1), sampling(1)));

  const leaving = new AbortController();
  let isTimed = true;
  let endedEarly = false;
  const follow = async (events: AsyncIterable<EngineEvent>) => {
    for await (const event of events) endedEarly ||= event.kind === "done" && isTimed;
  };
  const requests = prompts.map((prompt) => engine.generate(prompt, sampling(MANY_TOKENS), leaving.signal));
  const last = engine.generate(lastPrompt as Uint32Array, sampling(steps + 1));
  const others = requests.map(follow);
  const times = await tokenTimes(last);
  isTimed = false;
  leaving.abort();
  await Promise.all(others);
  if (endedEarly) {
    throw new Failure(
      `the context ended before ${plan.parallel} sequences had written ${plan.tokens} tokens together ${plan.repetitions} times; lower --ctx-at, --decode or --repetitions`,
    );
  }

  const rates: number[] = [];
  for (let start = WARM_UP_STEPS; start < steps; start += plan.tokens) {
    const milliseconds = (times[start + plan.tokens] as number) - (times[start] as number);
    rates.push(((plan.parallel * plan.tokens) / milliseconds) * 1000);
  }
  const tokensPerSecond = summary(rates);
  const visible = promptTokens(plan) + WARM_UP_STEPS + (plan.tokens * plan.repetitions + 1) / 2;
  return {
    ...plan,
    tokensPerSecond,
    bytesPerStep: costs.ternaryBytes + costs.headBytes + plan.parallel * visible * costs.positionBytes,
    stepsPerSecond: tokensPerSecond.median / plan.parallel,
  };
}

/** A sequence needs one token to begin with, whatever the context. */
function promptTokens(plan: Plan): number {
  return Math.max(plan.context, 1);
}

/** Steps of a decode run in which all sequences take part. */
function decodeSteps(plan: Plan): number {
  return WARM_UP_STEPS + plan.tokens * plan.repetitions;
}

/** Tokens that the first sequence may have generated, at most, when the last one's prompt is computed. */
function stepsUntilAllDecode(plan: Plan): number {
  const room = Math.max(BATCH_TOKENS - plan.parallel, 1);
  return Math.ceil((plan.parallel * promptTokens(plan)) / room) + plan.parallel;
}

/** More tokens than any context has: the request goes on until it is cancelled. */
const MANY_TOKENS = 2 ** 31 - 1;

/** Greedy, to this many tokens or the end of the context. */
function sampling(tokens: number) {
  return { ...defaultSampling(tokens), ignoreEos: true };
}

/** When each token of a request came, in milliseconds since it was submitted. */
async function tokenTimes(events: AsyncIterable<EngineEvent>): Promise<number[]> {
  const times: number[] = [];
  for await (const event of events) {
    if (event.kind === "token") times.push(event.elapsedMs);
  }
  return times;
}

/** Makes prompts of random tokens, no two alike, the same in every run of the program. */
function promptDrawer(vocabSize: number): (tokens: number) => Uint32Array {
  let state = 1;
  // A linear congruential generator with the constants of Numerical Recipes; its upper bits are random enough.
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabSize);
  };
  return (tokens) => Uint32Array.from({ length: tokens }, next);
}

function summary(values: number[]): { median: number; least: number; most: number } {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length / 2;
  const median = ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2;
  return { median, least: sorted[0] as number, most: sorted.at(-1) as number };
}
