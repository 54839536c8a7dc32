/**
 * Stopping well. The first SIGTERM or SIGINT turns new requests away and lets the answers under way finish, for a while; the
 * second one stops at once. Answers that are cut off end with an error that says so.
 */

import type { Listening } from "./app.ts";
import type { ServerState } from "./state.ts";

/** How long answers under way may take to finish. */
const DEADLINE_MS = 30_000;

/** How long the last bytes may take to reach their readers once every answer is finished. */
const FLUSH_MS = 2_000;

/** Resolves once a signal has come and the server has stopped. */
export async function untilStopped(state: ServerState, listening: Listening): Promise<void> {
  await nextSignal();
  state.drain();
  const { running, waiting } = state.jobs;
  if (running + waiting > 0) {
    process.stderr.write(
      `wrinklefree: finishing ${running + waiting} answers, for ${DEADLINE_MS / 1000} s at most; signal again to stop at once\n`,
    );
  }
  const isIdle = await Promise.race([
    state.jobs.idle().then(() => true),
    delay(DEADLINE_MS).then(() => false),
    nextSignal().then(() => false),
  ]);
  if (!isIdle) {
    state.jobs.abortAll();
    await Promise.race([state.jobs.idle(), delay(FLUSH_MS)]);
  }
  await Promise.race([listening.stop(false), delay(FLUSH_MS)]);
  await listening.stop(true);
}

function nextSignal(): Promise<void> {
  return new Promise((resolve) => {
    const onSignal = () => {
      process.off("SIGTERM", onSignal);
      process.off("SIGINT", onSignal);
      resolve();
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  });
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
