/** The service manager of service_manager.py, driven by a test. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { eventually, executable } from "./server.ts";

const python = Bun.which("python3");

/** Whether there can be one; says what is missing where there can't. */
export function hasServiceManager(): boolean {
  if (python !== null) return true;
  console.log("skipping the service manager: apt-get install python3");
  return false;
}

/** Something that happened. */
interface Happening {
  port?: number;
  started?: number;
  notified?: string;
  log?: string;
  ended?: number;
  pid?: number;
  wedged?: number;
}

/** A service manager with the sockets of one service. */
export interface TestManager {
  /** Of its TCP socket; 0: it has none. */
  port: number;
  /** What services said of themselves so far, in order. */
  notified(): string[];
  /** When the watchdog was told that the service goes on, in milliseconds of `performance.now`; undefined: never. */
  lastWatchdog(): number | undefined;
  /** What they wrote to stderr so far, unless it went to `onLog`. */
  log(): string;
  /** Starts the service and gives its process. */
  start(...words: string[]): Promise<number>;
  /** Stops the thread of a process that computes. @returns whether that is allowed here. */
  wedge(pid: number): Promise<boolean>;
  /** The exit code of a process, once it has ended; negative: the signal that ended it. */
  ended(pid: number): Promise<number>;
  /** Ends everything. */
  stop(): Promise<void>;
}

/** How services are watched over. */
export interface ManagerOptions {
  /** How long the watchdog waits; 0: there is none. */
  watchdogSeconds?: number;
  /** What services have in their environment beside PATH. */
  env?: Record<string, string>;
  /** Takes the lines that services write to stderr, which are not kept then. */
  onLog?: (line: string) => void;
}

/** @param sockets as the script takes them. */
export async function startManager(sockets: string, options: ManagerOptions = {}): Promise<TestManager> {
  const { watchdogSeconds = 0, env: more = {}, onLog } = options;
  const script = join(import.meta.dir, "service_manager.py");
  const words = [python as string, script, String(watchdogSeconds), sockets, executable];
  const env = { ...process.env, SERVICE_ENVIRONMENT: JSON.stringify(more) };
  const child = Bun.spawn(words, { stdin: "pipe", stdout: "pipe", stderr: "inherit", env });
  let lastWatchdog: number | undefined;
  const happened: Happening[] = [];
  (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const bytes of child.stdout) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) {
        const happening = JSON.parse(line) as Happening;
        if (happening.notified === "WATCHDOG=1") lastWatchdog = performance.now();
        if (happening.log !== undefined && onLog !== undefined) onLog(happening.log);
        else happened.push(happening);
      }
    }
  })();

  async function next<Found>(find: (happening: Happening) => Found | undefined, from = 0): Promise<Found> {
    const found = () =>
      happened
        .slice(from)
        .map(find)
        .find((one) => one !== undefined);
    await eventually(() => found() !== undefined);
    return found() as Found;
  }

  const command = (line: string) => {
    const from = happened.length;
    child.stdin.write(`${line}\n`);
    child.stdin.flush();
    return from;
  };
  const pids = () => happened.flatMap(({ started }) => started ?? []);
  const port = await next((one) => one.port);
  return {
    port,
    notified: () => happened.flatMap(({ notified }) => notified ?? []),
    lastWatchdog: () => lastWatchdog,
    log: () => happened.flatMap(({ log }) => log ?? []).join("\n"),
    start: (...more) => next((one) => one.started, command(`start ${more.join(" ")}`)),
    wedge: async (pid) => (await next((one) => one.wedged, command(`wedge ${pid}`))) > 0,
    ended: (pid) => next((one) => (one.pid === pid ? one.ended : undefined)),
    async stop() {
      const alive = pids().filter((pid) => existsSync(`/proc/${pid}`));
      for (const pid of alive) process.kill(pid, "SIGKILL");
      child.kill();
      await child.exited;
    },
  };
}
