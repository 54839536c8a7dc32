/**
 * The measurements: prompts through an engine, and tokens or embeddings out of it. Tokens are timed by the engine's own clock, embeddings
 * until all are there. What is timed is what a server's users get, scheduler, sampling and event delivery included.
 */

import { Engine, type EngineOptions, type KvKind } from "../engine/engine.ts";
import type { EngineEvent } from "../engine/events.ts";
import type { Model } from "../engine/model.ts";
import { randomTokens } from "../engine/random_tokens.ts";
import { greedySampling } from "../engine/sampling.ts";
import { Failure } from "../errors.ts";
import type { ModelConfig } from "../model_file/model_config.ts";
import { plural } from "../terminal/plural.ts";
import type { Costs } from "./costs.ts";

/** Tokens that one step of the engine computes at most. */
const BATCH_TOKENS = 512;

/** Steps of a decode run that pass before it is timed. */
const WARM_UP_STEPS = 2;

/**
 * Tokens that a sequence of a decode run may write beyond those that are counted on: small models write many before all requests
 * are submitted, and between the last token that is timed and the end of the run.
 */
const SURPLUS_TOKENS = 1024;

/** Prompt tokens that an engine computes before a prefill run is timed. */
const WARM_UP_TOKENS = 32;

/** Requests that a latency run's engine answers together, as `serve` does unless told otherwise. */
const SERVED_TOGETHER = 4;

/** A latency run's conversation: tokens of its first prompt, of the answer, and of what is said next. */
const FIRST_TURN_TOKENS = 256;
const ANSWER_TOKENS = 32;
const NEXT_TOKENS = 32;
const SECOND_TURN_TOKENS = FIRST_TURN_TOKENS + ANSWER_TOKENS + NEXT_TOKENS;

/** One measurement to make. */
export interface Plan {
  kind: "prefill" | "decode" | "latency" | "embed";
  threads: number;
  /**
   * Decode: sequences that decode together. Embed: texts that are embedded together. Prefill: 1. Latency: 2, the short request and the one
   * whose prompt is long.
   */
  parallel: number;
  /**
   * Prefill: tokens of the prompt. Decode: tokens of each sequence in one repetition. Latency: tokens of the short prompt. Embed: tokens of
   * each text.
   */
  tokens: number;
  /** Decode: tokens of each sequence's prompt, which is not timed. Latency: tokens of the long prompt. */
  context: number;
  /** Share of the FFN's gates that are not to be positive in random weights. */
  zeros: number;
  /** Decode: the temperature that tokens are drawn with; 0: the likeliest are taken. */
  temperature: number;
  kvKind: KvKind;
  /** How often it is measured. */
  repetitions: number;
}

/** The median of the repetitions, the least and the most. */
export interface Spread {
  median: number;
  least: number;
  most: number;
}

/** How much a run got done. */
export interface Throughput {
  /** Tokens a second of all sequences or texts together. */
  tokensPerSecond: Spread;
  /** Bytes that a step has to read: ternary weights, the head when tokens come out, keys and values. */
  bytesPerStep: number;
  /** Steps a second at the median. */
  stepsPerSecond: number;
  /** Share of the down projections' inputs that were zero, where a step looked for them; null where none did. */
  zerosFound: number | null;
}

/** What a measurement gave; what its kind doesn't measure is null. */
export interface Run extends Plan {
  /** All but latency. */
  throughput: Throughput | null;
  /** Prefill: milliseconds until the prompt's first token. Latency: until the short request's, which came during the long prompt. */
  firstTokenMs: Spread | null;
  /** Latency: tokens of the prompt of a chat's second turn, and how many of them had to be computed. */
  secondTurn: { tokens: number; computed: number } | null;
}

/** Tokens that each sequence of a run must have room for, at least. */
export function contextOf(plan: Plan): number {
  if (plan.kind === "embed") return plan.tokens;
  if (plan.kind === "prefill") return plan.tokens + 1;
  if (plan.kind === "latency") return Math.max(plan.context, plan.tokens, SECOND_TURN_TOKENS) + 1;
  return promptTokens(plan) + stepsUntilAllDecode(plan) + decodeSteps(plan) + 1;
}

/**
 * Makes one measurement.
 *
 * @param config of the model
 * @throws Failure when memory or threads are lacking
 */
export async function measure(model: Model, config: ModelConfig, costs: Costs, plan: Plan): Promise<Run> {
  const engine = await Engine.create(model, engineOptions(config, plan));
  await engine.copiesMade();
  try {
    switch (plan.kind) {
      case "prefill":
        return await measurePrefill(engine, config.vocabSize, costs, plan);
      case "decode":
        return await measureDecode(engine, config.vocabSize, costs, plan);
      case "latency":
        return await measureLatency(engine, config.vocabSize, plan);
      case "embed":
        return await measureEmbed(engine, config, costs, plan);
    }
  } finally {
    await engine.close();
  }
}

/**
 * A latency run is about waiting for others, and an embed run about what /v1/embeddings does, so their engines are like the server's; the
 * others are about the most that can be had.
 */
function engineOptions(config: ModelConfig, plan: Plan): EngineOptions {
  const isServed = plan.kind === "latency" || plan.kind === "embed";
  return {
    threads: plan.threads,
    maxSequences: plan.kind === "latency" ? SERVED_TOGETHER : plan.parallel,
    context: Math.min(contextOf(plan) + (isServed ? 0 : SURPLUS_TOKENS), config.context),
    kvTokens: 0,
    batchTokens: isServed ? 0 : BATCH_TOKENS,
    cpus: [],
    kvKind: plan.kvKind,
  };
}

async function measurePrefill(engine: Engine, vocabSize: number, costs: Costs, plan: Plan): Promise<Run> {
  const draw = randomTokens(vocabSize, 1);
  const firstTokenMs = async (tokens: number) => {
    const [elapsed] = await tokenTimes(engine.generate(draw(tokens), greedySampling(1)));
    return elapsed as number;
  };
  await firstTokenMs(Math.min(plan.tokens, WARM_UP_TOKENS));
  const before = engine.stats();
  const times: number[] = [];
  // Each repetition has a prompt of its own: one that was seen before would not be computed again.
  for (let repetition = 0; repetition < plan.repetitions; repetition++) {
    times.push(await firstTokenMs(plan.tokens));
  }
  const steps = Math.ceil(plan.tokens / BATCH_TOKENS);
  const headBytes = (engine.stats().head_bytes - before.head_bytes) / plan.repetitions;
  let bytes = steps * costs.ternaryBytes + headBytes;
  for (let step = 1; step <= steps; step++) {
    bytes += costs.attendedBytes(Math.min(step * BATCH_TOKENS, plan.tokens), BATCH_TOKENS);
  }
  const tokensPerSecond = summary(times.map((ms) => (plan.tokens / ms) * 1000));
  return {
    ...plan,
    throughput: {
      tokensPerSecond,
      bytesPerStep: bytes / steps,
      stepsPerSecond: (tokensPerSecond.median / plan.tokens) * steps,
      zerosFound: null,
    },
    firstTokenMs: summary(times),
    secondTurn: null,
  };
}

/**
 * All sequences decode in every step that is timed. Prompts are computed side by side, the oldest slightly ahead, so the last one
 * submitted is the last to begin, and its tokens are the steps' clock. Repetitions follow one another in the same sequences, so that a long context
 * is computed only once.
 */
async function measureDecode(engine: Engine, vocabSize: number, costs: Costs, plan: Plan): Promise<Run> {
  const draw = randomTokens(vocabSize, 1);
  const steps = decodeSteps(plan);
  const [lastPrompt, ...prompts] = Array.from({ length: plan.parallel }, () => draw(promptTokens(plan)));
  const drawn = (tokens: number) => ({ ...greedySampling(tokens), temperature: plan.temperature });
  await tokenTimes(engine.generate(draw(1), drawn(1)));
  // The first token that is drawn has a copy made that speeds up the others.
  await engine.copiesMade();

  const leaving = new AbortController();
  const before = engine.stats();
  let isTimed = true;
  let endedEarly = false;
  const follow = async (events: AsyncIterable<EngineEvent>) => {
    for await (const event of events) endedEarly ||= event.kind === "done" && isTimed;
  };
  const requests = prompts.map((prompt) => engine.generate(prompt, drawn(MANY_TOKENS), leaving.signal));
  const last = engine.generate(lastPrompt as Uint32Array, drawn(steps + 1));
  const others = requests.map(follow);
  const times = await tokenTimes(last);
  isTimed = false;
  leaving.abort();
  await Promise.all(others);
  if (endedEarly) {
    throw new Failure(
      `the context ended before ${plural(plan.parallel, "sequence")} had written ${plural(plan.tokens, "token")} together ${plural(plan.repetitions, "time")}; lower --ctx-at, --decode or --repetitions`,
    );
  }

  const rates: number[] = [];
  for (let start = WARM_UP_STEPS; start < steps; start += plan.tokens) {
    const milliseconds = (times[start + plan.tokens] as number) - (times[start] as number);
    rates.push(((plan.parallel * plan.tokens) / milliseconds) * 1000);
  }
  const tokensPerSecond = summary(rates);
  const after = engine.stats();
  const inputs = after.ffn_inputs - before.ffn_inputs;
  // Those of the prompts are among them: one step, as a rule, of very many.
  const readBytes = after.head_bytes - before.head_bytes - (after.skipped_bytes - before.skipped_bytes);
  const visible = promptTokens(plan) + WARM_UP_STEPS + (plan.tokens * plan.repetitions + 1) / 2;
  return {
    ...plan,
    throughput: {
      tokensPerSecond,
      bytesPerStep:
        costs.ternaryBytes + readBytes / (after.steps - before.steps) + plan.parallel * costs.attendedBytes(visible, 1),
      stepsPerSecond: tokensPerSecond.median / plan.parallel,
      zerosFound: inputs === 0 ? null : (after.ffn_zeros - before.ffn_zeros) / inputs,
    },
    firstTokenMs: null,
    secondTurn: null,
  };
}

/** How long a short request waits that arrives while a long prompt is computed, and what a chat's second turn computes. */
async function measureLatency(engine: Engine, vocabSize: number, plan: Plan): Promise<Run> {
  const draw = randomTokens(vocabSize, 1);
  await tokenTimes(engine.generate(draw(WARM_UP_TOKENS), greedySampling(1)));
  const times: number[] = [];
  for (let repetition = 0; repetition < plan.repetitions; repetition++) {
    times.push(await firstTokenBesidePrompt(engine, () => draw(plan.context), draw(plan.tokens)));
  }
  return {
    ...plan,
    throughput: null,
    firstTokenMs: summary(times),
    secondTurn: await secondTurn(engine, draw(FIRST_TURN_TOKENS), draw(NEXT_TOKENS)),
  };
}

/**
 * Submits a short prompt when the first piece of a long one is computed. Resolves to the milliseconds until the short one's token;
 * the long one is then cancelled. Where a small model is done with the long prompt before, another one takes its place.
 */
async function firstTokenBesidePrompt(
  engine: Engine,
  drawLong: () => Uint32Array,
  short: Uint32Array,
): Promise<number> {
  const leaving = new AbortController();
  let elapsed: number | undefined;
  let pending: Promise<void> | undefined;
  while (elapsed === undefined) {
    for await (const event of engine.generate(drawLong(), greedySampling(1), leaving.signal)) {
      if (event.kind === "progress" && event.computed === 0) continue;
      pending ??= tokenTimes(engine.generate(short, greedySampling(1))).then(([first]) => {
        elapsed = first;
        leaving.abort();
      });
    }
  }
  await pending;
  return elapsed;
}

/** Has a conversation of two turns. */
async function secondTurn(engine: Engine, first: Uint32Array, next: Uint32Array) {
  const answer: number[] = [];
  for await (const event of engine.generate(first, greedySampling(ANSWER_TOKENS))) {
    if (event.kind === "token") answer.push(event.token);
  }
  const prompt = Uint32Array.from([...first, ...answer, ...next]);
  let cached = 0;
  for await (const event of engine.generate(prompt, greedySampling(1))) {
    if (event.kind === "progress") cached = event.cached;
  }
  return { tokens: prompt.length, computed: prompt.length - cached };
}

/**
 * Texts are embedded together, again and again. The engine finds out with the first ones how many tokens a step has time for: these are not
 * timed.
 */
async function measureEmbed(engine: Engine, config: ModelConfig, costs: Costs, plan: Plan): Promise<Run> {
  const draw = randomTokens(config.vocabSize, 1);
  const embedTogether = async (count: number, tokens: number) => {
    const texts = Array.from({ length: count }, () => draw(tokens));
    const begun = performance.now();
    await Promise.all(texts.map((text) => engine.embed(text, config.hiddenSize)));
    return performance.now() - begun;
  };
  const warmUpTokens = Math.min(plan.tokens, BATCH_TOKENS);
  await embedTogether(Math.ceil(BATCH_TOKENS / warmUpTokens), warmUpTokens);
  const before = engine.stats();
  const times: number[] = [];
  for (let repetition = 0; repetition < plan.repetitions; repetition++) {
    times.push(await embedTogether(plan.parallel, plan.tokens));
  }
  const steps = (engine.stats().steps - before.steps) / plan.repetitions;
  const tokens = plan.parallel * plan.tokens;
  const tokensPerSecond = summary(times.map((ms) => (tokens / ms) * 1000));
  // Texts are computed side by side, so each step sees an even part more of all of them.
  const [visible, rows] = [(plan.tokens * (steps + 1)) / (2 * steps), plan.tokens / steps];
  return {
    ...plan,
    throughput: {
      tokensPerSecond,
      bytesPerStep: costs.ternaryBytes + plan.parallel * costs.attendedBytes(visible, rows),
      stepsPerSecond: (tokensPerSecond.median / tokens) * steps,
      zerosFound: null,
    },
    firstTokenMs: null,
    secondTurn: null,
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

/**
 * Tokens that the first sequence may have generated, at most, when the last one's prompt is computed. Prompts are computed side by
 * side, so the first is ahead of the others by one batch, which it may have had to itself; once it answers, prompts get a quarter
 * of a batch in each step.
 */
function stepsUntilAllDecode(plan: Plan): number {
  const behind = plan.parallel * Math.min(promptTokens(plan), BATCH_TOKENS);
  return Math.ceil(behind / (BATCH_TOKENS / 4)) + plan.parallel;
}

/** More tokens than any context has: the request goes on until it is cancelled. */
const MANY_TOKENS = 2 ** 31 - 1;

/** When each token of a request came, in milliseconds since it was submitted. */
async function tokenTimes(events: AsyncIterable<EngineEvent>): Promise<number[]> {
  const times: number[] = [];
  for await (const event of events) {
    if (event.kind === "token") times.push(event.elapsedMs);
  }
  return times;
}

function summary(values: number[]): Spread {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length / 2;
  const median = ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2;
  return { median, least: sorted[0] as number, most: sorted.at(-1) as number };
}
