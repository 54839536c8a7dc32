/** Model, kernels and state of the server in the page's header. It opens the live panel. */

import { model } from "../api/model.ts";
import { health, isWatched, state } from "../api/status.ts";
import { formatBytes } from "../text/format.ts";

const WORDS = {
  connecting: "connecting",
  loading: "loading the model",
  ready: "ready",
  draining: "shutting down",
  gone: "not reachable",
};

export function Badge() {
  const name = model.value?.name ?? health.value?.model ?? "wrinklefree";
  const kernels = health.value?.kernels;
  const loading = state.value === "loading" ? health.value?.loading : undefined;
  const share = loading && loading.total > 0 ? Math.floor((100 * loading.done) / loading.total) : undefined;
  return (
    <button
      type="button"
      class={`badge ${state.value}`}
      aria-expanded={isWatched.value}
      aria-controls="live"
      title="What the server is doing"
      onClick={() => {
        isWatched.value = !isWatched.value;
      }}
    >
      <span class="dot" aria-hidden="true" />
      <span class="badge-model">{name}</span>
      {kernels !== undefined && <span class="badge-kernels">{kernels}</span>}
      <span class="badge-state" role="status">
        {loading && share !== undefined
          ? `${loading.what}: ${share} % of ${formatBytes(loading.total)}`
          : WORDS[state.value]}
      </span>
    </button>
  );
}
