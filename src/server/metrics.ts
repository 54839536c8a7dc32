/**
 * GET /metrics: what a monitoring system wants to know, in Prometheus' text format. Names are vLLM's where it has one for the same
 * thing, with this program's name in front.
 */

import { version } from "../api/openai/usage.ts";
import type { FinishReason } from "../engine/engine.ts";
import { cpuTier } from "../engine/library.ts";
import type { ServerState } from "../serving/state.ts";
import type { Counts } from "../text/generation.ts";

/** The content type of what `expose` makes. */
export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Upper bounds of a histogram's buckets, in seconds. */
const LATENCY_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 640, 2560,
];

/** Counts values by size. */
class Histogram {
  /** Values in each bucket, the last one without an upper bound. */
  readonly #counts: number[] = Array(LATENCY_BUCKETS.length + 1).fill(0);
  #sum = 0;

  observe(seconds: number): void {
    const bucket = LATENCY_BUCKETS.findIndex((bound) => seconds <= bound);
    const index = bucket < 0 ? LATENCY_BUCKETS.length : bucket;
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#sum += seconds;
  }

  /** The lines of its samples. */
  lines(name: string, labels: string): string[] {
    let count = 0;
    const buckets = this.#counts.map((inBucket, index) => {
      count += inBucket;
      return `${name}_bucket{${labels},le="${LATENCY_BUCKETS[index] ?? "+Inf"}"} ${count}`;
    });
    return [...buckets, `${name}_sum{${labels}} ${this.#sum}`, `${name}_count{${labels}} ${count}`];
  }
}

/** What was counted since the start. */
export class Metrics {
  readonly #queueTime = new Histogram();
  readonly #timeToFirstToken = new Histogram();
  readonly #interTokenLatency = new Histogram();
  readonly #totalTime = new Histogram();
  /** Answers that ended, by the engine's reason. */
  readonly #answers: Record<FinishReason, number> = { stop: 0, length: 0, cancelled: 0, grammar: 0 };
  /** Requests by method, route and status, as their labels. */
  readonly #requests = new Map<string, number>();

  /** An answer ended. @param counts what it cost; undefined when it did not come so far. */
  answered(reason: FinishReason, counts?: Counts): void {
    this.#answers[reason]++;
    if (counts === undefined || reason === "cancelled") return;
    this.#queueTime.observe(counts.queueMs / 1000);
    if (counts.completionTokens > 0) this.#timeToFirstToken.observe(counts.firstTokenMs / 1000);
    this.#totalTime.observe(counts.totalMs / 1000);
  }

  /** A token came this long after the one before it. */
  tokenGap(ms: number): void {
    this.#interTokenLatency.observe(ms / 1000);
  }

  /** A request was answered. @param route one of a fixed set, never what a client made up. */
  requested(method: string, route: string, status: number): void {
    const labels = `method="${method}",path="${route}",status="${status}"`;
    this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1);
  }

  /** Everything, as Prometheus reads it. */
  expose(state: ServerState): string {
    const model = `model_name="${escapeLabel(state.modelName)}"`;
    const lines: string[] = [];
    const family = (name: string, type: string, help: string, samples: (fullName: string) => string[]) => {
      const fullName = `wrinklefree_${name}`;
      lines.push(`# HELP ${fullName} ${help}`, `# TYPE ${fullName} ${type}`, ...samples(fullName));
    };
    const single = (name: string, type: "gauge" | "counter", help: string, value: number) =>
      family(name, type, help, (fullName) => [`${fullName}{${model}} ${value}`]);
    const histogram = (name: string, help: string, values: Histogram) =>
      family(name, "histogram", help, (fullName) => values.lines(fullName, model));

    family("build_info", "gauge", "Always 1; the labels say what runs.", (name) => [
      `${name}{version="${escapeLabel(version)}",kernels="${escapeLabel(cpuTier())}"} 1`,
    ]);
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
    const { stop, length, cancelled, grammar } = this.#answers;
    family("request_success_total", "counter", "Whole answers, by the reason for their end.", (name) =>
      Object.entries({ stop, length }).map(
        ([reason, count]) => `${name}{${model},finished_reason="${reason}"} ${count}`,
      ),
    );
    const outcomes = { success: stop + length, abort: cancelled, error: grammar };
    family("request_outcomes_total", "counter", "Answers that ended, whole or not.", (name) =>
      Object.entries(outcomes).map(([outcome, count]) => `${name}{${model},outcome="${outcome}"} ${count}`),
    );
    family("http_requests_total", "counter", "Requests answered, by status.", (name) =>
      [...this.#requests].map(([labels, count]) => `${name}{${labels}} ${count}`),
    );
    histogram("request_queue_time_seconds", "Until the engine takes a tokenized request up.", this.#queueTime);
    histogram(
      "time_to_first_token_seconds",
      "From a tokenized request, waiting included, to its first token.",
      this.#timeToFirstToken,
    );
    histogram("inter_token_latency_seconds", "From one token of an answer to the next.", this.#interTokenLatency);
    histogram(
      "e2e_request_latency_seconds",
      "From a tokenized request, waiting included, to its last token.",
      this.#totalTime,
    );
    return `${lines.join("\n")}\n`;
  }
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
