/**
 * `wrinklefree check`: whether a model's answers are the same however they are computed on this machine: from the prefix cache or
 * anew, alone or in a crowd, with one thread or all, with all weights or those that matter, with memory to spare or without. What the
 * cache and the crowd gain is measured on the way.
 */

import { checks } from "../check/checks.ts";
import { Difference, Subject } from "../check/subject.ts";
import { cpuCores, cpuTier } from "../engine/library.ts";
import { Model } from "../engine/model.ts";
import { Failure } from "../errors.ts";
import { defaultContext, parameterCount } from "../model_file/model_config.ts";
import { type ResolvedModel, requireAnswers, resolveModel } from "../models/resolve.ts";
import { wholeNumber } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { results } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import { declareCommand } from "./command.ts";
import { chosenModel, modelChoice, threadOptions } from "./model_options.ts";
import { modelHelp, resolveOptions, storeOptions } from "./store_options.ts";

/** Context of the check unless --ctx says otherwise: large enough for several blocks, small enough for large models. */
const DEFAULT_CONTEXT = 512;

/** The smallest context in which every check has its blocks. */
const CONTEXT_MIN = 256;

const checkOptions = {
  concurrent: {
    group: "What is checked",
    help: "requests that are answered together",
    place: "line",
    placeholder: "N",
    kind: wholeNumber(2, 64),
    default: "4",
  },
  ctx: {
    group: "What is checked",
    help: `tokens of the context to check, from ${CONTEXT_MIN}`,
    place: "line",
    placeholder: "N",
    kind: wholeNumber(CONTEXT_MIN, 1 << 24),
    otherwise: `${DEFAULT_CONTEXT}, or the model's if that is less`,
  },
  ...modelChoice,
  threads: threadOptions.threads,
  ...storeOptions,
} as const satisfies Options;

export const command = declareCommand({
  name: "check",
  summary: "see whether a model's answers are the same however they are computed",
  synopsis: ["check [MODEL] [options]"],
  description: [
    "Computes the same answers in different ways and compares them token by token: with and without the prefix cache, alone and " +
      "together, with one thread and all, with all weights and those that matter, with little memory, at the end of the context, after " +
      "cancelled requests. Prints a line for each, and the speed-up seen. The exit code is 0 when all is well, 1 when anything differs.",
    `${modelHelp} Without it, the demo model is checked.`,
  ],
  options: checkOptions,
  wordsMax: 1,
  words: ["model"],
  run: check,
});

async function check(given: Given<typeof checkOptions>): Promise<number> {
  const { concurrent, threads = cpuCores(), ctx: wantedContext } = given.values;
  const resolved = await resolveModel(chosenModel(given), resolveOptions(given));
  requireAnswers(resolved);
  const { config } = resolved.packed;
  const context = wantedContext ?? Math.min(DEFAULT_CONTEXT, defaultContext(config));
  if (context > config.context || context < CONTEXT_MIN) {
    throw new Failure(
      `${resolved.name} has a context of ${config.context} tokens; the check takes ${CONTEXT_MIN} to that many, not ${context}`,
    );
  }
  const size = `${(parameterCount(config) / 1e6).toFixed(0)} million parameters`;
  const model = await openModel(resolved);
  try {
    const subject = new Subject(model, resolved, { threads, context, concurrent });
    results.write(
      `${resolved.name}, ${size}: ${cpuTier()} kernels, ${plural(threads, "thread")}, ${context} tokens of context\n`,
    );
    return (await runChecks(subject)) ? 0 : 1;
  } finally {
    model.close();
  }
}

async function openModel({ packed, path, bytes, name }: ResolvedModel): Promise<Model> {
  return bytes === undefined ? Model.open(path ?? packed.path) : Model.fromBytes(bytes, name);
}

/** Runs all checks, printing a line for each. Returns whether all passed. */
async function runChecks(subject: Subject): Promise<boolean> {
  let failures = 0;
  for (const [name, run] of checks) {
    const started = performance.now();
    let line: string;
    try {
      line = `pass  ${name}: ${await run(subject)}`;
    } catch (error) {
      if (!(error instanceof Difference || error instanceof Failure)) throw error;
      failures++;
      line = `FAIL  ${name}: ${error.message}`;
    }
    results.write(`${line} (${((performance.now() - started) / 1000).toFixed(1)} s)\n`);
  }
  results.write(failures === 0 ? "all is well\n" : `${failures} of ${checks.length} checks failed\n`);
  return failures === 0;
}
