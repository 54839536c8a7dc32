/**
 * GET /health and GET /ready: whether the process is alive, and whether it takes requests.
 */

import { version } from "../api/usage.ts";
import { cpuTier } from "../engine/library.ts";
import type { ServerState } from "./state.ts";

/** Liveness: answered as long as the process can serve, while it loads and while it drains too. */
export function health(state: ServerState): object {
  const service = state.loaded;
  return {
    status: "ok",
    phase: state.phase,
    version,
    model: service === undefined ? null : state.modelName,
    kernels: cpuTier(),
    threads: service?.threads ?? null,
    context: service?.context ?? null,
    parallel: service?.parallel ?? null,
    requests: { running: state.jobs.running, waiting: state.jobs.waiting },
  };
}

/** Readiness, for load balancers. @throws ApiError 503 while loading or draining. */
export function ready(state: ServerState): object {
  state.requireService();
  return { status: "ready" };
}
