/** `wrinklefree bench`: how fast a model runs on this machine, and how much of what the machine can do that is. */

import { existsSync } from "node:fs";
import { modelCosts } from "../bench/costs.ts";
import { KERNEL_TOKENS, KernelBench, type KernelRun, kernelPlans } from "../bench/kernels.ts";
import { type Machine, measureLimits, thisMachine } from "../bench/machine.ts";
import { PictureWriter } from "../bench/picture.ts";
import { BenchProgress } from "../bench/progress.ts";
import { type Form, kernelsWriter, type ReportWriter, runsWriter, together } from "../bench/report.ts";
import { kernelsPicture } from "../bench/roofline.ts";
import { contextOf, measure, type Plan, type Run } from "../bench/runs.ts";
import { speedPicture } from "../bench/speed_charts.ts";
import { givenSubject, randomSubject, type Subject } from "../bench/subject.ts";
import { KV_KINDS, type KvKind } from "../engine/engine.ts";
import { cpuCores, cpuTiers } from "../engine/library.ts";
import { SEQUENCES_MAX, THREADS_MAX } from "../engine/symbols.ts";
import { UsageError } from "../errors.ts";
import type { ModelConfig } from "../model_file/model_config.ts";
import { shapes } from "../model_file/shapes.ts";
import { type ResolveOptions, resolveModel } from "../models/resolve.ts";
import { decimalNumber, file, listOf, oneOf, text, wholeNumber } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { suggestion } from "../options/suggestion.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { plural } from "../terminal/plural.ts";
import { declareCommand } from "./command.ts";
import { modelHelp, resolveOptions, storeOptions } from "./store_options.ts";

const DEFAULT_SHAPE = "2b-4t";
const DEFAULT_EMBEDDING_SHAPE = "bitnet-embedding-0.6b";

/** Tokens of prompts, and of texts to embed, unless --prompt says otherwise. */
const PROMPTS = [128];
const TEXTS = [128, 4096];

/** What is measured of models that answer, and of them alone. */
const ANSWER_OPTIONS = ["decode", "latency", "ctx-at", "zeros", "temperature"] as const;

/** Tokens of a latency run's long prompt unless --latency says otherwise, and of the short one that arrives meanwhile. */
const LATENCY_PROMPT = 2000;
const SHORT_PROMPT = 32;

/** Half of the gates of random weights are negative, whatever is asked for. */
const ZEROS_MIN = 0.5;

const benchOptions = {
  shape: {
    group: "Runs",
    help: "a model of this shape with random weights",
    place: "line",
    placeholder: "NAME",
    kind: { ...text, completion: Object.keys(shapes) },
    otherwise: `${DEFAULT_SHAPE}; with --embed ${DEFAULT_EMBEDDING_SHAPE}`,
  },
  embed: {
    group: "Runs",
    help: "measure how fast texts are embedded, as is done with any embedding model; a model that answers is refused",
    place: "line",
    isSwitch: true,
  },
  prompt: {
    group: "Runs",
    help: "tokens of the prompt of a prefill run, 0 for none, or of the texts that are embedded",
    place: "line",
    placeholder: "LIST",
    kind: listOf(wholeNumber(0, 1 << 24)),
    otherwise: `${PROMPTS}; of texts to embed ${TEXTS}`,
  },
  decode: {
    group: "Runs",
    help: "tokens that each sequence writes in a decode run, 0 for none",
    place: "line",
    placeholder: "N",
    kind: wholeNumber(0, 1 << 24),
    default: "64",
  },
  latency: {
    group: "Runs",
    help: "tokens of the long prompt of a latency run, 0 for none",
    place: "line",
    placeholder: "N",
    kind: wholeNumber(0, 1 << 24),
    otherwise: `${LATENCY_PROMPT}, or what fits`,
  },
  parallel: {
    group: "Runs",
    help: "sequences that decode, or texts that are embedded, together; their tokens are counted together",
    place: "line",
    placeholder: "LIST",
    kind: listOf(wholeNumber(1, SEQUENCES_MAX)),
    default: "1,4",
  },
  threads: {
    group: "Runs",
    help: "threads that compute",
    place: "line",
    placeholder: "LIST",
    kind: listOf(wholeNumber(1, THREADS_MAX)),
    otherwise: "1 and all cores",
  },
  "ctx-at": {
    group: "Runs",
    help: "tokens in front of those that a decode run writes",
    place: "line",
    placeholder: "LIST",
    kind: listOf(wholeNumber(0, 1 << 24)),
    default: "0",
  },
  zeros: {
    group: "Runs",
    help:
      "shares of the gates in the FFN of random weights that are not positive, from 0.5: what relu² makes zeros of, whose weights a " +
      'decode run need not read; "zeros" is what was found',
    place: "line",
    placeholder: "LIST",
    kind: listOf(decimalNumber(ZEROS_MIN, 1)),
    otherwise: String(ZEROS_MIN),
  },
  temperature: {
    group: "Runs",
    help: "what a decode run draws its tokens with; 0: the likeliest are taken",
    place: "line",
    placeholder: "LIST",
    kind: listOf(decimalNumber(0, 2)),
    default: "0",
  },
  kv: {
    group: "Runs",
    help: "how keys and values are kept",
    place: "line",
    placeholder: "KIND",
    kind: oneOf(KV_KINDS),
    default: "f32",
  },
  tokens: {
    group: "Runs",
    help: "tokens that kernels are measured with",
    place: "line",
    placeholder: "LIST",
    kind: listOf(wholeNumber(1, 1024)),
    otherwise: KERNEL_TOKENS.join(","),
  },
  tiers: {
    group: "Runs",
    help: "measure kernels with all tiers that this processor has, side by side; * marks the best",
    place: "line",
    isSwitch: true,
  },
  repetitions: {
    group: "Runs",
    help: "how often each is measured; given are the median, the least and the most",
    place: "line",
    placeholder: "N",
    kind: wholeNumber(1, 1000),
    default: "3",
  },
  json: {
    group: "Output",
    help: 'print JSON instead of tables, as it is measured; a bench that is interrupted ends its JSON with "complete": false',
    place: "line",
    isSwitch: true,
  },
  csv: { group: "Output", help: "print CSV instead of tables", place: "line", isSwitch: true },
  svg: {
    group: "Output",
    help:
      "draw what was measured into this file as well: tokens a second by sequences and by threads; of kernels, each under the " +
      "machine's limits",
    place: "line",
    placeholder: "FILE",
    kind: file,
  },
  ...storeOptions,
} as const satisfies Options;

export const command = declareCommand({
  name: "bench",
  summary: "measure a model's speed and what the machine allows",
  synopsis: [
    "bench [MODEL | --shape NAME] [options]",
    "bench kernels [--threads LIST] [--tokens LIST] [--tiers] [--json | --csv] [--svg FILE]",
  ],
  description: [
    "Measures how fast prompts are read (prefill) and tokens are written (decode), and how long a request waits for its first token " +
      "that arrives while a long prompt is read (latency); of an embedding model, how fast texts are embedded (embed). A shape needs " +
      "no file: it is a model of that size with random weights in memory, to see what this machine would do. The machine is measured " +
      "too, in the same process: how fast memory can be read, and how many 8-bit multiply-adds the kernels' instructions can do. " +
      '"kernels" measures the products and attention by themselves. "of reads" and "of multiply-adds" are the shares of these that a ' +
      "run reached.",
    modelHelp,
  ],
  options: benchOptions,
  wordsMax: 1,
  words: ["model"],
  examples: [
    ["wrinklefree bench --shape 2b-4t --parallel 1,4,16", "what this machine would do with a model of that size"],
  ],
  run: bench,
});

async function bench(given: Given<typeof benchOptions>): Promise<number> {
  const { values } = given;
  const [word] = given.words;
  if (values.json && values.csv) throw new UsageError("--json and --csv can't be had together");
  const threadCounts = values.threads ?? [...new Set([1, cpuCores()])];
  const output = { form: values.json ? "json" : values.csv ? "csv" : "text", svg: values.svg } as const;
  if (word === "kernels" && values.shape === undefined) {
    await measureKernels(threadCounts, values.tokens ?? KERNEL_TOKENS, values.tiers, output);
    return 0;
  }
  if (values.tokens !== undefined || values.tiers) {
    throw new UsageError("--tokens and --tiers are for 'bench kernels'");
  }
  const wishes = {
    prompts: values.prompt,
    decode: values.decode,
    latency: values.latency,
    parallel: values.parallel,
    threads: threadCounts,
    contexts: values["ctx-at"],
    zeros: values.zeros ?? [ZEROS_MIN],
    temperatures: values.temperature,
    kvKind: values.kv,
    repetitions: values.repetitions,
  };
  if (word !== undefined && values.zeros !== undefined) {
    throw new UsageError("--zeros is for random weights; a MODEL has the zeros that it has");
  }
  const subject = await findSubject(word, values, resolveOptions(given));
  const isEmbedding = subject.config.pooling !== undefined;
  if (values.embed && !isEmbedding) {
    throw new UsageError(
      `--embed is for embedding models, such as --shape ${DEFAULT_EMBEDDING_SHAPE}; ${subject.name} answers with text and has no embeddings`,
    );
  }
  const needless = isEmbedding && ANSWER_OPTIONS.find(given.isOnLine);
  if (needless)
    throw new UsageError(`--${needless} is for models that answer; ${subject.name} gives embeddings, no text`);
  const plans = isEmbedding ? embedPlans(wishes, subject.config) : answerPlans(wishes, subject.config);
  checkContexts(plans, subject);
  await measureModel(subject, threadCounts, plans, wishes.kvKind, output);
  return 0;
}

/** Where results go. */
interface Output {
  /** Of what is printed. */
  form: Form;
  /** The file of a picture. */
  svg: string | undefined;
}

interface Wishes {
  /** Undefined: the default. */
  prompts: number[] | undefined;
  decode: number;
  /** Undefined: the default. */
  latency: number | undefined;
  parallel: number[];
  threads: number[];
  contexts: number[];
  zeros: number[];
  temperatures: number[];
  kvKind: KvKind;
  repetitions: number;
}

/** What all plans have in common. */
function commonOf({ zeros, kvKind, repetitions }: Wishes) {
  return { zeros: zeros[0] as number, temperature: 0, kvKind, repetitions };
}

/** All combinations for a model that gives embeddings. Without --prompt, a text that is longer than the model's context is as long as that. */
function embedPlans(wishes: Wishes, { context: most }: ModelConfig): Plan[] {
  const lengths = wishes.prompts ?? [...new Set(TEXTS.map((tokens) => Math.min(tokens, most)))];
  if (lengths.includes(0)) throw new UsageError("with --prompt 0 there is no text to embed");
  const embed = { ...commonOf(wishes), kind: "embed", context: 0 } as const;
  return wishes.threads.flatMap((threads) =>
    lengths.flatMap((tokens) => wishes.parallel.map((parallel) => ({ ...embed, threads, parallel, tokens }))),
  );
}

/** All combinations for a model that answers. A prefill run has one prompt: several together are cut into the same batches. */
function answerPlans(wishes: Wishes, config: ModelConfig): Plan[] {
  const { decode, parallel, threads, contexts } = wishes;
  const prompts = (wishes.prompts ?? PROMPTS).filter((tokens) => tokens > 0);
  const common = commonOf(wishes);
  const latency = wishes.latency ?? Math.min(LATENCY_PROMPT, config.context - 1);
  const plans: Plan[] = [];
  for (const count of threads) {
    for (const tokens of prompts) {
      plans.push({ kind: "prefill", threads: count, parallel: 1, tokens, context: 0, ...common });
    }
    for (const context of decode > 0 ? contexts : []) {
      for (const sequences of parallel) {
        const plan: Plan = { ...common, kind: "decode", threads: count, parallel: sequences, tokens: decode, context };
        plans.push(...wishes.temperatures.map((temperature) => ({ ...plan, temperature })));
      }
    }
    if (latency > 0)
      plans.push({
        kind: "latency",
        threads: count,
        parallel: 2,
        tokens: SHORT_PROMPT,
        context: latency,
        ...common,
      });
  }
  const decodes = plans.filter(({ kind }) => kind === "decode");
  for (const more of wishes.zeros.slice(1)) plans.push(...decodes.map((plan) => ({ ...plan, zeros: more })));
  if (plans.length === 0) {
    throw new UsageError("with --prompt 0, --decode 0 and --latency 0 there is nothing to measure");
  }
  return plans;
}

/** The model that was asked for. @throws UsageError, or Failure when there is no such model. */
async function findSubject(
  model: string | undefined,
  { shape: shapeName, embed }: { shape: string | undefined; embed: boolean },
  options: ResolveOptions,
): Promise<Subject> {
  if (model !== undefined && shapeName !== undefined)
    throw new UsageError("either a MODEL or a --shape can be measured");
  if (model !== undefined) {
    const hint = existsSync(model) || model.includes("/") ? "" : suggestion(model, ["kernels"]);
    if (hint !== "") throw new UsageError(`there is no model '${model}'${hint}`);
    return givenSubject(await resolveModel(model, options));
  }
  const name = shapeName ?? (embed ? DEFAULT_EMBEDDING_SHAPE : DEFAULT_SHAPE);
  const shape = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
  if (shape === undefined) {
    const names = Object.keys(shapes);
    throw new UsageError(`--shape is one of ${names.join(", ")}, not '${name}'${suggestion(name, names)}`);
  }
  return randomSubject(name, shape);
}

/** @throws UsageError when a run needs a longer context than the model has. */
function checkContexts(plans: Plan[], { name, config }: Subject): void {
  for (const plan of plans) {
    const needed = contextOf(plan);
    if (needed <= config.context) continue;
    const what = {
      prefill: `--prompt ${plan.tokens}`,
      embed: `--prompt ${plan.tokens}`,
      decode: `--ctx-at ${plan.context} with --decode ${plan.tokens}`,
      latency: `--latency ${plan.context}`,
    }[plan.kind];
    throw new UsageError(`${what} needs a context of ${needed} tokens; ${name} has ${config.context}`);
  }
}

async function measureModel(
  subject: Subject,
  threadCounts: number[],
  plans: Plan[],
  kvKind: KvKind,
  { form, svg }: Output,
): Promise<void> {
  const machine = thisMachine();
  const costs = modelCosts(subject.config, kvKind);
  const report = { machine, subject, costs };
  const pictures =
    svg === undefined ? [] : [new PictureWriter<Run>(svg, machine, (runs) => speedPicture(report, runs))];
  const writer = together([runsWriter(form, report, plans), ...pictures]);
  const progress = new BenchProgress(threadCounts.length + plans.length);
  await writing(writer, progress, async () => {
    await measureMachine(machine, threadCounts, writer, progress);
    for (const zeros of new Set(plans.map((plan) => plan.zeros))) {
      const model = await subject.open(zeros);
      try {
        for (const plan of ordered(plans, zeros, form)) {
          progress.begin(describe(plan));
          const run = await measure(model, subject.config, costs, plan);
          progress.clear();
          writer.add(run);
        }
      } finally {
        model.close();
      }
    }
  });
}

async function measureKernels(
  threadCounts: number[],
  tokenCounts: number[],
  allTiers: boolean,
  { form, svg }: Output,
): Promise<void> {
  const machine = thisMachine();
  const pictures = svg === undefined ? [] : [new PictureWriter<KernelRun>(svg, machine, kernelsPicture)];
  const writer = together([kernelsWriter(form, machine), ...pictures]);
  const plans = kernelPlans(threadCounts, tokenCounts);
  const tiers = allTiers ? cpuTiers() : [machine.tier];
  const progress = new BenchProgress(threadCounts.length + plans.length);
  await writing(writer, progress, async () => {
    await measureMachine(machine, threadCounts, writer, progress);
    const kernels = new KernelBench(machine);
    for (const plan of plans) {
      await step(progress, `${plan.kernel}, ${plural(plan.threads, "thread")}, ${plural(plan.tokens, "token")}`);
      const runs = kernels.measure(plan, tiers);
      progress.clear();
      for (const run of runs) writer.add(run);
    }
  });
}

/**
 * Measures and ends what is written, whether all was measured or not. A signal doesn't wait for the measurement under way: what was
 * written is ended, and the process dies of the signal.
 */
async function writing<Result>(
  writer: ReportWriter<Result>,
  progress: BenchProgress,
  measureAll: () => Promise<void>,
): Promise<void> {
  await interruptible(async (signal) => {
    const interrupted = new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve());
    });
    let isComplete = false;
    try {
      await Promise.race([measureAll(), interrupted]);
      isComplete = !signal.aborted;
    } finally {
      progress.clear();
      writer.end(isComplete);
    }
  });
}

async function measureMachine<Result>(
  machine: Machine,
  threadCounts: number[],
  writer: ReportWriter<Result>,
  progress: BenchProgress,
): Promise<void> {
  for (const threads of threadCounts) {
    await step(progress, `the machine, ${plural(threads, "thread")}`);
    measureLimits(machine, threads);
    progress.clear();
    writer.addLimits(threads);
  }
}

/** Begins a measurement that holds the event loop; a signal that came during the one before is heard first. */
async function step(progress: BenchProgress, what: string): Promise<void> {
  await new Promise(setImmediate);
  progress.begin(what);
}

/** The plans for one kind of random weights. For people, latency comes last: it has a table of its own. */
function ordered(plans: Plan[], zeros: number, form: Form): Plan[] {
  const chosen = plans.filter((plan) => plan.zeros === zeros);
  if (form !== "text") return chosen;
  const isLatency = ({ kind }: Plan) => kind === "latency";
  return [...chosen.filter((plan) => !isLatency(plan)), ...chosen.filter(isLatency)];
}

function describe({ kind, threads, parallel, tokens, context }: Plan): string {
  const size = {
    prefill: plural(tokens, "token"),
    embed: `${plural(parallel, "text")} of ${plural(tokens, "token")}`,
    decode: `${plural(parallel, "sequence")} at context ${context}`,
    latency: `${plural(tokens, "token")} beside a prompt of ${context}`,
  }[kind];
  return `${kind}, ${plural(threads, "thread")}, ${size}`;
}
