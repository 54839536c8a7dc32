/**
 * What the server tells systemd, or another service manager that speaks the same way: a line for people (STATUS), when it is ready,
 * that it reads its files again, that it stops, and that it goes on. It says so in datagrams to $NOTIFY_SOCKET; see sd_notify(3).
 *
 * It goes on as long as the engine does: as long as there is nothing to compute, or parts of steps are begun. So an engine that is stuck
 * is restarted, and one that computes a long prompt is not.
 */

import { sendDatagram } from "../engine/sockets.ts";
import { Failure } from "../errors.ts";
import type { ServerState } from "../serving/state.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { harmlessLine } from "../terminal/harmless.ts";
import { notes } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";

/** How often the status is looked at, in milliseconds, if nothing asks for more. */
const TICK_MS = 5_000;

/** How many times the watchdog is told in the time that it waits. */
const TICKS_PER_WATCHDOG = 4;

/** How long loading may take from one piece of progress to the next, in microseconds. */
const LOADING_PATIENCE_US = 300_000_000;

/** How much longer than its answers a server may take to stop, in seconds. */
export const STOP_MARGIN_S = 15;

/** Whether an engine does something about what it has to do. */
export class Progress {
  #phases = -1;

  /** Whether it did since the last call, or has nothing to do. */
  goesOn({ running, waiting, phases }: { running: number; waiting: number; phases: number }): boolean {
    const hasMoved = phases !== this.#phases;
    this.#phases = phases;
    return hasMoved || running + waiting === 0;
  }
}

/** The one who started this process and watches over it; nobody where $NOTIFY_SOCKET is not set. */
export class ServiceManager {
  readonly #socket: string | undefined;
  /** How long the watchdog waits, in milliseconds; undefined: there is none. */
  readonly #watchdogMs: number | undefined;
  readonly #progress = new Progress();
  #state: ServerState | undefined;
  /** What of its files the server could not take over. */
  #refused: readonly string[] = [];
  /** Whether the server answers, and is to go on doing so. */
  #isReady = false;
  #told = "";
  #loaded = "";
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param environment what was said of the socket and the watchdog, which is no business of other processes and is taken out of it. */
  constructor(environment: NodeJS.ProcessEnv) {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = environment;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete environment[name];
    this.#socket = NOTIFY_SOCKET === "" ? undefined : NOTIFY_SOCKET;
    const isOurs = WATCHDOG_PID === undefined || WATCHDOG_PID === String(process.pid);
    const microseconds = Number(WATCHDOG_USEC);
    if (isOurs && microseconds > 0) this.#watchdogMs = microseconds / 1000;
  }

  /** From now on the manager is told what becomes of the server. */
  watch(state: ServerState): void {
    if (this.#socket === undefined) return;
    this.#state = state;
    const tick = Math.min(TICK_MS, (this.#watchdogMs ?? Number.POSITIVE_INFINITY) / TICKS_PER_WATCHDOG);
    this.#timer = setInterval(() => this.#tell(), tick);
    this.#timer.unref();
    this.#tell();
  }

  /** The server answers. */
  ready(): void {
    this.#isReady = true;
    this.#send("READY=1");
    this.#tell();
  }

  /** Files are read again, for as long as the action takes, which gives what of them could not be taken over. */
  async reloading(action: () => Promise<readonly string[]>): Promise<void> {
    if (this.#isReady) this.#send("RELOADING=1");
    try {
      this.#refused = [...new Set(await action())];
    } finally {
      if (this.#isReady) this.#send("READY=1");
      this.#tell();
    }
  }

  /** The server ends, which takes as long as its answers may take, and no longer than it takes to send the last of them. */
  stopping(drainSeconds: number): void {
    this.#isReady = false;
    this.#send("STOPPING=1");
    this.#send(`EXTEND_TIMEOUT_USEC=${(drainSeconds + STOP_MARGIN_S) * 1_000_000}`);
    this.#tell();
  }

  /** The engine is about to end: there is nothing more to tell. */
  leave(): void {
    clearInterval(this.#timer);
  }

  #tell(): void {
    const state = this.#state;
    if (state === undefined) return;
    const status = harmlessLine(describe(state, this.#refused));
    if (status !== this.#told) this.#send(`STATUS=${status}`);
    this.#told = status;
    const service = state.loaded;
    if (service === undefined) {
      const loading = JSON.stringify(state.loading);
      if (loading !== this.#loaded) this.#send(`EXTEND_TIMEOUT_USEC=${LOADING_PATIENCE_US}`);
      this.#loaded = loading;
    }
    if (this.#watchdogMs === undefined) return;
    if (service === undefined || this.#progress.goesOn(service.engine.stats())) this.#send("WATCHDOG=1");
  }

  #send(text: string): void {
    if (this.#socket === undefined) return;
    try {
      sendDatagram(this.#socket, text);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      notes.warnLater(`the service manager is not told ${text}: ${error.message}`);
    }
  }
}

/** What the server does, in a line, and what was refused of its files when they were read the last time. */
function describe(state: ServerState, refused: readonly string[]): string {
  const { running, waiting } = state.jobs;
  if (state.phase === "draining") return `finishing ${plural(running + waiting, "answer")}`;
  if (state.phase === "ready") {
    const fault = refused.length === 0 ? "" : `; not reloaded, see the log: ${refused.join(", ")}`;
    return `serving ${state.modelName}: ${plural(running, "answer")} running, ${waiting} waiting${fault}`;
  }
  if (state.loading === undefined) return "loading";
  const { what, done, total } = state.loading;
  return total > 0 ? `${what}: ${formatBytes(done)} of ${formatBytes(total)}` : what;
}
