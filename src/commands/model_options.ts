/**
 * The options of every command that runs a model: how many cores, how much memory.
 */

import { readFileSync } from "node:fs";
import { HEAD_KINDS, KV_KINDS, ZEROS_KINDS } from "../engine/engine.ts";
import { BATCH_TOKENS_MAX, CONTEXT_MAX, THREADS_MAX } from "../engine/symbols.ts";
import { UsageError } from "../errors.ts";
import type { ServiceOptions } from "../serving/service.ts";
import { oneOf, wholeNumber } from "./options.ts";

/** For parseOptions. */
export const modelOptions = {
  threads: { type: "string" },
  cpus: { type: "string" },
  ctx: { type: "string" },
  memory: { type: "string" },
  "batch-tokens": { type: "string" },
  kv: { type: "string" },
  head: { type: "string" },
  zeros: { type: "string" },
  "parse-special-in-messages": { type: "boolean" },
  "template-date": { type: "string" },
} as const;

/** Their lines of a --help text. */
export const modelOptionsUsage = `  --threads N        threads that compute (default: one for each core)
  --cpus LIST        pin the threads to these cores, as in 0-3,6
  --ctx N            tokens that one request may hold, prompt and answer (default, and most: what the model was made for)
  --memory SIZE      bytes for keys and values, as in 2G or 512M; one context at least (default: what all requests
                     that are answered together can need)
  --batch-tokens N   prompt tokens that one step computes at most (default: as many as take a moment, 64 to 512)
  --kv KIND          how keys and values are kept: f32; f16 and q8 take half and a quarter of the memory and change
                     answers slightly (default: f32)
  --head KIND        screened: a sketch finds the tokens that can matter; exact: all are computed, which takes less
                     memory and more time for the same answers (default: screened)
  --zeros KIND       skip: weights that only meet zeros are not read; multiply: all are, which takes less memory and
                     more time for the same answers (default: skip)
  --parse-special-in-messages
                     control tokens such as <|eot_id|> that messages spell act as such; without it they are only
                     characters there, and nobody can end a turn but the chat template
  --template-date D  the date that chat templates write into prompts, as in 2026-11-26 (default: that of each request,
                     by UTC)`;

/** What stands on the command line. */
type ModelOptionValues = {
  [Name in keyof typeof modelOptions]?: (typeof modelOptions)[Name]["type"] extends "boolean" ? boolean : string;
};

/** Reads them. @throws UsageError. */
export function readModelOptions(values: ModelOptionValues, parallel: number): ServiceOptions {
  return {
    threads: values.threads === undefined ? 0 : wholeNumber(values.threads, "threads", 1, THREADS_MAX),
    cpus: values.cpus === undefined ? [] : readCpuList(values.cpus),
    context: values.ctx === undefined ? 0 : wholeNumber(values.ctx, "ctx", 16, CONTEXT_MAX),
    parallel,
    batchTokens:
      values["batch-tokens"] === undefined
        ? 0
        : wholeNumber(values["batch-tokens"], "batch-tokens", 1, BATCH_TOKENS_MAX),
    memory: values.memory === undefined ? 0 : readSize(values.memory, "memory"),
    kvKind: oneOf(values.kv ?? "f32", "kv", KV_KINDS),
    head: oneOf(values.head ?? "screened", "head", HEAD_KINDS),
    zeros: oneOf(values.zeros ?? "skip", "zeros", ZEROS_KINDS),
    parseSpecialInMessages: values["parse-special-in-messages"] ?? false,
    templateDate: values["template-date"] === undefined ? undefined : readDate(values["template-date"]),
  };
}

/** Reads a number of bytes, with K, M, G or T behind it for powers of 1024. */
function readSize(text: string, option: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(digits) * 1024 ** " KMGT".indexOf((unit || " ").toUpperCase()));
  if (!(bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER)) {
    throw new UsageError(`--${option} takes a number of bytes such as 2G or 512M, not '${text}'`);
  }
  return bytes;
}

/** Reads a day: its beginning, by UTC. */
function readDate(text: string): Date {
  const date = new Date(`${text}T00:00:00Z`);
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(date.getTime());
  if (!isDay || date.toISOString().slice(0, 10) !== text) {
    throw new UsageError(`--template-date takes a date such as 2026-11-26, not '${text}'`);
  }
  return date;
}

/** Reads the cores to pin to. */
function readCpuList(text: string): number[] {
  const cpus = parseCpuList(text);
  if (cpus === undefined) throw new UsageError(`--cpus takes a list such as 0-3,6, not '${text}'`);
  const allowed = allowedCpus();
  const stranger = cpus.find((cpu) => allowed !== undefined && !allowed.includes(cpu));
  if (stranger !== undefined) {
    throw new UsageError(`--cpus names core ${stranger}; this process may run on ${allowed?.join(", ")}`);
  }
  if (new Set(cpus).size !== cpus.length) throw new UsageError(`--cpus names a core twice: '${text}'`);
  return cpus;
}

/** Parses a list of cores in the kernel's notation, "0-3,6"; undefined when it is none. */
function parseCpuList(text: string): number[] | undefined {
  const cpus: number[] = [];
  for (const part of text.split(",")) {
    const [, first, last] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()) ?? [];
    const [low, high] = [Number(first), Number(last ?? first)];
    if (first === undefined || high < low) return undefined;
    for (let cpu = low; cpu <= high; cpu++) cpus.push(cpu);
  }
  return cpus;
}

/** The cores that this process may run on; undefined where the system doesn't say. */
function allowedCpus(): number[] | undefined {
  try {
    const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return list === undefined ? undefined : parseCpuList(list);
  } catch {
    return undefined;
  }
}
