/** What a server tells of itself: when it starts, when it answers, and when it has stopped. Programs are told more than people. */

import { cpuTier, describeCpuTier } from "../engine/library.ts";
import { KV_BLOCK } from "../engine/symbols.ts";
import type { Listening } from "../server/listening.ts";
import { logEvent } from "../server/log.ts";
import { describePlace, type Place } from "../server/places.ts";
import type { Fit } from "../serving/memory_plan.ts";
import type { Service } from "../serving/service.ts";
import type { ServerState } from "../serving/state.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { harmlessLine } from "../terminal/harmless.ts";
import { plural } from "../terminal/plural.ts";
import { shownEndpoint, type TracingSettings } from "../tracing/settings.ts";
import { version } from "../version.ts";

/** A server begins to listen and to load. People are told when it answers. */
export function reportStart(model: string | undefined, files: readonly string[], places: readonly Place[]): void {
  const facts = { version, pid: process.pid, settings_files: files, places: places.map(describePlace) };
  logEvent("start", `wrinklefree ${version} starts`, { ...facts, model: model ?? null }, { text: "" });
}

/** A server answers. */
export function reportReady(
  state: ServerState,
  service: Service,
  listening: Listening,
  keys: number,
  fit: Fit,
  traces: TracingSettings | undefined,
): void {
  const { threads, parallel, context, kvTokens, plan } = service;
  const facts = {
    model: state.modelName,
    aliases: state.aliases,
    pooling: service.config.pooling ?? null,
    urls: listening.urls,
    keys,
    kernels: cpuTier(),
    threads,
    parallel,
    context,
    kv_tokens: kvTokens,
    memory_bytes: Object.fromEntries(plan.parts.map(({ name, bytes }) => [name, bytes])),
    memory_fit: fit.state,
    traces: traces === undefined ? null : shownEndpoint(traces.url),
  };
  const text = startText(state, service, listening, keys > 0, fit, traces);
  logEvent("ready", `serving ${state.modelName}`, facts, { text });
}

/** A server has stopped. @param cutOff answers that could not be finished. */
export function reportStop({ metrics }: ServerState, cutOff: number): void {
  const requests = [...metrics.requests.values()].reduce((sum, count) => sum + count, 0);
  const facts = { requests, cut_off: cutOff, uptime_s: Math.round(process.uptime()) };
  const cut = cutOff === 0 ? "" : `, ${plural(cutOff, "answer")} cut off`;
  logEvent("stop", `stopped after ${plural(requests, "request")}${cut}`, facts);
}

/** What the user needs to know at the start. */
function startText(
  state: ServerState,
  service: Service,
  { urls }: Listening,
  needsKey: boolean,
  fit: Fit,
  traces: TracingSettings | undefined,
): string {
  const isEmbedding = service.config.pooling !== undefined;
  const [path, body] = isEmbedding
    ? ["embeddings", '{"input":"The capital of France"}']
    : ["chat/completions", '{"messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":50}'];
  const key = needsKey ? " -H 'Authorization: Bearer KEY'" : "";
  const [first = ""] = urls;
  const isUnix = first.startsWith("unix:");
  const target = isUnix ? `--unix-socket ${first.slice("unix:".length)} http://localhost` : first;
  const places = urls.map((url) => (url.startsWith("unix:") ? url : `${url}/v1`));
  return [
    `wrinklefree ${version}`,
    `model    ${harmlessLine(state.modelName)}: ${service.description}, ${formatBytes(service.bytes)}`,
    `kernels  ${describeCpuTier()}, ${plural(service.threads, "thread")}`,
    ...memoryPlan(service, fit),
    ...places.map((place, index) => `${index === 0 ? "serving" : "       "}  ${place}`),
    ...(isUnix ? [] : [isEmbedding ? `embed    POST ${first}/v1/embeddings` : `chat     ${first}/ in a browser`]),
    ...(traces === undefined ? [] : [`traces   to ${shownEndpoint(traces.url)}`]),
    "",
    `  curl ${target}/v1/${path}${key} -H 'Content-Type: application/json' -d '${body}'`,
    "",
    "",
  ].join("\n");
}

/** What the process will take at most, and what for. */
function memoryPlan({ bytes, kvBytes, kvBlocks, kvTokens, context, parallel, copyBytes }: Service, fit: Fit): string[] {
  const lines = [
    `memory   weights ${formatBytes(bytes)}, ${copyBytes > 0 ? `copies ${formatBytes(copyBytes)}, ` : ""}KV cache up to ${formatBytes(kvBytes)}: ${kvBlocks} blocks of ${KV_BLOCK} tokens`,
    `         ${kvTokens} tokens for ${plural(parallel, "request")} of up to ${context}, and for prompts seen before`,
  ];
  if (fit.state !== "fits") lines.push(`         ${fit.text}`);
  return lines;
}
