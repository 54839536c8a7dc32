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
  /** What they wrote to stderr so far. */
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

/** @param sockets as the script takes them. */
export async function startManager(sockets: string, watchdogSeconds = 0): Promise<TestManager> {
  const script = join(import.meta.dir, "service_manager.py");
  const words = [python as string, script, String(watchdogSeconds), sockets, executable];
  const child = Bun.spawn(words, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const happened: Happening[] = [];
  (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const bytes of child.stdout) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() as string;
      happened.push(...lines.map((line) => JSON.parse(line) as Happening));
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
