/**
 * Stopping well. The first SIGTERM or SIGINT turns new requests away and lets the answers under way finish, for a while; the
 * second one stops at once. If another process will have the sockets, nobody is turned away: new connections wait for it. Answers that are cut off end with an error that says so. While the model is being loaded there is
 * nothing to finish: the process ends as soon as it learns of the signal. Whoever asks the server to stop gets exit code 0.
 */

import type { ServerState } from "../serving/state.ts";
import { plural } from "../terminal/plural.ts";
import type { Tracing } from "../tracing/tracing.ts";
import type { Listening } from "./listening.ts";
import { logEvent } from "./log.ts";

/** How long the last bytes, and then the last traces, may take to reach their readers once every answer is finished. */
const FLUSH_MS = 2_000;

/** How long a request may be under way to a server that no new connection reaches any more. */
const LAST_REQUESTS_MS = 250;

/** SIGTERM and SIGINT from the time on at which this is made; they don't end the process by themselves any more. */
export class StopSignals {
  /** Whether one has come. */
  hasCome = false;
  readonly #first = Promise.withResolvers<void>();
  readonly #second = Promise.withResolvers<void>();

  constructor() {
    for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => this.receive());
  }

  get first(): Promise<void> {
    return this.#first.promise;
  }

  get second(): Promise<void> {
    return this.#second.promise;
  }

  /** One has come, or what is as good as one. */
  receive(): void {
    (this.hasCome ? this.#second : this.#first).resolve();
    this.hasCome = true;
  }
}

/**
 * Stops a server for which a signal has come. Resolves once it has stopped.
 *
 * @param deadlineSeconds how long answers under way may take to finish.
 * @returns how many were cut off.
 */
export async function stopOrderly(
  state: ServerState,
  listening: Listening,
  signals: StopSignals,
  deadlineSeconds: number,
): Promise<number> {
  const newcomersWait = listening.leavePassed();
  state.drain(newcomersWait);
  const { running, waiting } = state.jobs;
  const message = `finishing ${plural(running + waiting, "answer")}, for ${deadlineSeconds} s at most; signal again to stop at once`;
  const facts = { running, waiting, drain_timeout_s: deadlineSeconds };
  logEvent("drain", message, facts, running + waiting > 0 ? {} : { text: "" });
  const isIdle = await Promise.race([
    idle(state, newcomersWait).then(() => true),
    delay(deadlineSeconds * 1000).then(() => false),
    signals.second.then(() => false),
  ]);
  let cutOff = 0;
  if (!isIdle) {
    cutOff = state.jobs.running + state.jobs.waiting;
    state.jobs.abortAll();
    await Promise.race([state.jobs.idle(), delay(FLUSH_MS)]);
  }
  await Promise.race([listening.stop(false), delay(FLUSH_MS)]);
  await listening.stop(true);
  return cutOff;
}

/** Sends the traces that wait, unless that takes long or somebody wants the server to stop at once. */
export async function sendTraces(tracing: Tracing | undefined, signals: StopSignals): Promise<void> {
  await tracing?.stop(Promise.race([delay(FLUSH_MS), signals.second]));
}

/** Resolves once no answer is under way, nor a request that still has one coming. */
async function idle({ jobs }: ServerState, newcomersWait: boolean): Promise<void> {
  await jobs.idle();
  // What was sent over a connection just before it would have had to wait is still taken.
  while (newcomersWait) {
    await delay(LAST_REQUESTS_MS);
    if (jobs.running + jobs.waiting === 0) return;
    await jobs.idle();
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
