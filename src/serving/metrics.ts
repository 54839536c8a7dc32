/** What a server counts and measures about its answers, from its start on. */

import type { Counts } from "../text/generation.ts";

/** Why an answer ended, as operators are told: by its own end, at its length, because its client left, or because something went wrong. */
export type EndReason = "stop" | "length" | "abort" | "error";

/** Upper bounds of a histogram's buckets, in seconds. */
export const LATENCY_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 640, 2560,
];

/** Counts durations by size. */
export class Histogram {
  /** Values in each bucket of LATENCY_BUCKETS, and at the end those over all of them. */
  readonly counts: number[] = Array(LATENCY_BUCKETS.length + 1).fill(0);
  /** Seconds. */
  sum = 0;

  observe(seconds: number): void {
    const bucket = LATENCY_BUCKETS.findIndex((bound) => seconds <= bound);
    const index = bucket < 0 ? LATENCY_BUCKETS.length : bucket;
    this.counts[index] = (this.counts[index] as number) + 1;
    this.sum += seconds;
  }
}

/** What was counted since the start. */
export class Metrics {
  readonly queueTime = new Histogram();
  readonly timeToFirstToken = new Histogram();
  readonly interTokenLatency = new Histogram();
  readonly totalTime = new Histogram();
  /** Answers that ended, of those that the engine was asked for. */
  readonly answers: Record<EndReason, number> = { stop: 0, length: 0, abort: 0, error: 0 };
  /** Requests by method, route and status, as their labels. */
  readonly requests = new Map<string, number>();
  /** Whether everything was taken over when files were read again the last time; true before. */
  isReloaded = true;

  /** An answer that the engine was asked for ended. @param counts what it cost. */
  answered(reason: EndReason, counts: Counts): void {
    this.answers[reason]++;
    // The times of others say when they were given up.
    if (reason !== "stop" && reason !== "length") return;
    this.queueTime.observe(counts.queueMs / 1000);
    if (counts.completionTokens > 0) this.timeToFirstToken.observe(counts.firstTokenMs / 1000);
    this.totalTime.observe(counts.totalMs / 1000);
  }

  /** A token came this long after the one before it. */
  tokenGap(ms: number): void {
    this.interTokenLatency.observe(ms / 1000);
  }

  /** A request was answered. @param route one of a fixed set, never what a client made up. */
  requested(method: string, route: string, status: number): void {
    const labels = `method="${method}",path="${route}",status="${status}"`;
    this.requests.set(labels, (this.requests.get(labels) ?? 0) + 1);
  }
}
