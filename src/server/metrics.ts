/**
 * GET /metrics: what a monitoring system wants to know, in Prometheus' text format. Names are vLLM's where it has one for the same
 * thing, with this program's name in front.
 */

import { cpuTier } from "../engine/library.ts";
import { type Histogram, LATENCY_BUCKETS } from "../serving/metrics.ts";
import type { ServerState } from "../serving/state.ts";
import { version } from "../version.ts";

/** The content type of what `exposeMetrics` makes. */
export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Everything that is known of a server, as Prometheus reads it. */
export function exposeMetrics(state: ServerState): string {
  const { metrics } = state;
  const model = `model_name="${escapeLabel(state.modelName)}"`;
  const lines: string[] = [];
  const family = (name: string, type: string, help: string, samples: (fullName: string) => string[]) => {
    const fullName = `wrinklefree_${name}`;
    lines.push(`# HELP ${fullName} ${help}`, `# TYPE ${fullName} ${type}`, ...samples(fullName));
  };
  const single = (name: string, type: "gauge" | "counter", help: string, value: number) =>
    family(name, type, help, (fullName) => [`${fullName}{${model}} ${value}`]);
  const histogram = (name: string, help: string, values: Histogram) =>
    family(name, "histogram", help, (fullName) => histogramLines(values, fullName, model));

  family("build_info", "gauge", "Always 1; the labels say what runs.", (name) => [
    `${name}{version="${escapeLabel(version)}",kernels="${escapeLabel(cpuTier())}"} 1`,
  ]);
  single(
    "config_last_reload_successful",
    "gauge",
    "0 when a file that was read again had a fault.",
    Number(metrics.isReloaded),
  );
  const { running, waiting } = state.jobs;
  single("num_requests_running", "gauge", "Answers being written.", running);
  single("num_requests_waiting", "gauge", "Answers that wait for their first token.", waiting);
  const stats = state.loaded?.engine.stats();
  if (stats !== undefined) {
    const { blocks, blocks_used, blocks_cached } = stats;
    single(
      "kv_cache_usage_perc",
      "gauge",
      "Share of the KV cache that running answers hold, 0 to 1.",
      blocks_used / blocks,
    );
    single(
      "kv_cache_reusable_perc",
      "gauge",
      "Share of the KV cache that holds prompts seen before, 0 to 1.",
      blocks_cached / blocks,
    );
    single(
      "prefix_cache_queries_total",
      "counter",
      "Prompt tokens that were looked up in the prefix cache.",
      stats.prompt_tokens,
    );
    single("prefix_cache_hits_total", "counter", "Prompt tokens that were found there.", stats.cached_tokens);
    single("prompt_tokens_total", "counter", "Prompt tokens of admitted answers.", stats.prompt_tokens);
    single("generation_tokens_total", "counter", "Tokens generated.", stats.generated_tokens);
    single("num_preemptions_total", "counter", "Answers put aside because the KV cache was full.", stats.pauses);
    single("engine_steps_total", "counter", "Batches computed.", stats.steps);
    single("engine_busy_seconds_total", "counter", "Time spent computing them.", stats.busy_ms / 1000);
  }
  const { stop, length, abort, error } = metrics.answers;
  family("request_success_total", "counter", "Whole answers, by the reason for their end.", (name) =>
    Object.entries({ stop, length }).map(([reason, count]) => `${name}{${model},finished_reason="${reason}"} ${count}`),
  );
  const outcomes = { success: stop + length, abort, error };
  family("request_outcomes_total", "counter", "Answers that ended, whole or not.", (name) =>
    Object.entries(outcomes).map(([outcome, count]) => `${name}{${model},outcome="${outcome}"} ${count}`),
  );
  family("http_requests_total", "counter", "Requests answered, by status.", (name) =>
    [...metrics.requests].map(([labels, count]) => `${name}{${labels}} ${count}`),
  );
  histogram("request_queue_time_seconds", "Until the engine takes a tokenized request up.", metrics.queueTime);
  histogram(
    "time_to_first_token_seconds",
    "From a tokenized request, waiting included, to its first token.",
    metrics.timeToFirstToken,
  );
  histogram("inter_token_latency_seconds", "From one token of an answer to the next.", metrics.interTokenLatency);
  histogram(
    "e2e_request_latency_seconds",
    "From a tokenized request, waiting included, to its last token or vector.",
    metrics.totalTime,
  );
  return `${lines.join("\n")}\n`;
}

/** The lines of a histogram's samples. */
function histogramLines({ counts, sum }: Histogram, name: string, labels: string): string[] {
  let total = 0;
  const buckets = counts.map((inBucket, index) => {
    total += inBucket;
    return `${name}_bucket{${labels},le="${LATENCY_BUCKETS[index] ?? "+Inf"}"} ${total}`;
  });
  return [...buckets, `${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${total}`];
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
