/** What the server is doing: asked every few seconds, and more often while the reader looks at the live panel. */

import { computed, signal } from "@preact/signals";

/** The part of GET /health that the page shows. */
interface Health {
  phase: "loading" | "ready" | "draining";
  version: string;
  model: string | null;
  kernels: string;
  kernels_reason: string | null;
  threads: number | null;
  context: number | null;
  requests: { running: number; waiting: number };
  engine: {
    blocks: { used: number; cached: number; total: number };
    prompt_tokens: number;
    cached_tokens: number;
    generated_tokens: number;
  } | null;
  memory?: { resident: number; weights: number | null; kv_cache: number | null };
  loading?: { what: string; done: number; total: number } | null;
  default_temperature?: number;
}

/** One look at the server. */
export interface Sample {
  /** Milliseconds, by performance.now(). */
  time: number;
  health: Health;
  tokensPerSecond: number;
}

/** Milliseconds between two questions. */
const IDLE_MS = 5000;
const WATCHED_MS = 1000;
/** While there is no server, or none that answers. */
const WAITING_MS = 1000;

/** How long an answer may take until the server counts as gone. */
const PATIENCE_MS = 8000;

/** Looks that are kept for the live panel. */
const SAMPLES_MAX = 90;

/** The last look; undefined before the first. */
export const health = signal<Health | undefined>(undefined);
/** Whether the last question had no answer. */
const isGone = signal(false);
export const samples = signal<readonly Sample[]>([]);
/** Whether the live panel is open. */
export const isWatched = signal(false);

/** What the server is doing. */
export const state = computed<"connecting" | "loading" | "ready" | "draining" | "gone">(() =>
  isGone.value ? "gone" : (health.value?.phase ?? "connecting"),
);

let timer: ReturnType<typeof setTimeout> | undefined;
let isAsking = false;

/** Begins to ask. */
export function watchServer(): void {
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) lookNow();
  });
  isWatched.subscribe(() => lookNow());
}

/** Asks at once; a page in the background asks no more until it is seen. */
async function lookNow(): Promise<void> {
  if (isAsking) return;
  isAsking = true;
  clearTimeout(timer);
  try {
    const response = await fetch(new URL("health", document.baseURI), {
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw new Error(String(response.status));
    note((await response.json()) as Health);
    isGone.value = false;
  } catch {
    isGone.value = true;
  }
  isAsking = false;
  if (document.hidden && waiting.size === 0) return;
  const interval = state.value !== "ready" ? WAITING_MS : isWatched.value ? WATCHED_MS : IDLE_MS;
  timer = setTimeout(lookNow, interval);
}

function note(looked: Health): void {
  const time = performance.now();
  const last = samples.value.at(-1);
  const generated = (looked.engine?.generated_tokens ?? 0) - (last?.health.engine?.generated_tokens ?? 0);
  const seconds = last === undefined ? 0 : (time - last.time) / 1000;
  // A server that was started again counts from zero.
  const tokensPerSecond = last === undefined || generated < 0 ? 0 : generated / seconds;
  samples.value = [...samples.value, { time, health: looked, tokensPerSecond }].slice(-SAMPLES_MAX);
  health.value = looked;
}

const waiting = new Set<AbortSignal>();

/** Waits until the server is ready. @throws the signal's reason. */
export async function untilReady(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  waiting.add(signal);
  // What was seen last may be old: the server went away since.
  isGone.value = true;
  lookNow();
  const done = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => done.reject(signal.reason), { once: true });
  const leave = state.subscribe((now) => {
    if (now === "ready") done.resolve();
  });
  try {
    await done.promise;
  } finally {
    leave();
    waiting.delete(signal);
  }
}
