/**
 * GET /health and GET /ready: whether the process is alive, and whether it takes requests.
 */

import { cpuTier, cpuTierReason } from "../engine/library.ts";
import type { Service } from "../serving/service.ts";
import type { ServerState } from "../serving/state.ts";
import { version } from "../version.ts";

/** Liveness: answered as long as the process can serve, while it loads and while it drains too. */
export function health(state: ServerState): object {
  const service = state.loaded;
  return {
    status: "ok",
    phase: state.phase,
    version,
    model: service === undefined ? null : state.modelName,
    kernels: cpuTier(),
    kernels_reason: cpuTierReason(),
    threads: service?.threads ?? null,
    context: service?.context ?? null,
    parallel: service?.parallel ?? null,
    requests: {
      running: state.jobs.running,
      waiting: state.jobs.waiting,
      waiting_prompt_tokens: state.jobs.waitingTokens,
    },
    engine: service === undefined ? null : engineHealth(service),
    default_temperature: state.defaultTemperature,
    memory: {
      resident: process.memoryUsage.rss(),
      weights: service?.bytes ?? null,
      kv_cache: service?.kvBytes ?? null,
      copies: service?.copyBytes ?? null,
    },
    loading: state.loading ?? null,
  };
}

/** What the engine is doing, and what it did since the start. */
function engineHealth({ engine }: Service): object {
  const stats = engine.stats();
  return {
    running: stats.running,
    waiting: stats.waiting,
    blocks: { used: stats.blocks_used, cached: stats.blocks_cached, total: stats.blocks },
    prompt_tokens: stats.prompt_tokens,
    cached_tokens: stats.cached_tokens,
    generated_tokens: stats.generated_tokens,
    steps: stats.steps,
    pauses: stats.pauses,
  };
}

/** Readiness, for load balancers. @throws RequestError 503 while loading or draining. */
export function ready(state: ServerState): object {
  state.requireReady();
  return { status: "ready" };
}
