/**
 * `wrinklefree check`: whether a model's answers are the same however they are computed on this machine: from the prefix cache or
 * anew, alone or in a crowd, with one thread or all, with all weights or those that matter, with memory to spare or without. What the
 * cache and the crowd gain is measured on the way.
 */

import { checks } from "../check/checks.ts";
import { Difference, Subject } from "../check/subject.ts";
import { cpuCores, cpuTier } from "../engine/library.ts";
import { Model } from "../engine/model.ts";
import { THREADS_MAX } from "../engine/symbols.ts";
import { Failure } from "../errors.ts";
import { parameterCount } from "../model_file/model_config.ts";
import { type ResolvedModel, resolveModel } from "../models/resolve.ts";
import { results } from "../terminal/output.ts";
import type { Command } from "./command.ts";
import { parseOptions, wholeNumber } from "./options.ts";
import { modelUsage, readStoreOptions, storeOptions, storeOptionsUsage } from "./store_options.ts";

/** Context of the check unless --ctx says otherwise: large enough for several blocks, small enough for large models. */
const DEFAULT_CONTEXT = 512;

/** The smallest context in which every check has its blocks. */
const CONTEXT_MIN = 256;

export const command: Command = {
  name: "check",
  summary: "see whether a model's answers are the same however they are computed",
  usage: `usage: wrinklefree check [MODEL] [options]

Computes the same answers in different ways and compares them token by token: with and without the prefix cache, alone and
together, with one thread and all, with all weights and those that matter, with little memory, at the end of the context, after
cancelled requests. Prints a line for each, and the speed-up seen. The exit code is 0 when all is well, 1 when anything differs.

${modelUsage} Without it, the demo model is checked.

  --concurrent N     requests that are answered together (default: 4)
  --threads N        threads that compute (default: one for each core)
  --ctx N            tokens of the context to check, from ${CONTEXT_MIN} (default: ${DEFAULT_CONTEXT}, or the model's if that is less)
${storeOptionsUsage}
  --help             show this text
`,
  run: check,
};

async function check(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      concurrent: { type: "string", default: "4" },
      threads: { type: "string" },
      ctx: { type: "string" },
      ...storeOptions,
    },
    1,
  );
  const concurrent = wholeNumber(values.concurrent, "concurrent", 2, 64);
  const threads = values.threads === undefined ? cpuCores() : wholeNumber(values.threads, "threads", 1, THREADS_MAX);
  const wantedContext = values.ctx === undefined ? undefined : wholeNumber(values.ctx, "ctx", CONTEXT_MIN, 1 << 24);
  const resolved = await resolveModel(positionals[0], readStoreOptions(values));
  const { config } = resolved.packed;
  const context = wantedContext ?? Math.min(DEFAULT_CONTEXT, config.context);
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
      `${resolved.name}, ${size}: ${cpuTier()} kernels, ${threads} threads, ${context} tokens of context\n`,
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
