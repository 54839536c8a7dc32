/** One service that is soaked: under a service manager that has its sockets, with keys, a certificate and a configuration that change. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { writeWholeFile } from "../../src/whole_file.ts";
import { startManager, type TestManager } from "../support/service_manager.ts";
import { Connection, type Place } from "./connection.ts";
import { Ledger } from "./ledger.ts";
import { type Sample, sampleProcess } from "./processes.ts";
import { type LogEntry, ServerLog } from "./server_log.ts";
import type { Tally } from "./tally.ts";

/** How the service manager watches over it. */
const WATCHDOG_SECONDS = 60;

const SIGTERM = 15;

/** How long a restart or a reload may take, answers under way included: only what hangs takes longer. */
const PATIENCE_MS = 240_000;

/** Seconds after which idle connections are closed, and those of a certificate that was replaced. */
const KEEP_ALIVE_SECONDS = 5;

/** The key whose requests are few, and how it stands in a file of keys. */
export const LIMITED_KEY = "sk-limited";
export const LIMITED_LINE = `${LIMITED_KEY} requests=60 name=limited`;

/** How a service is started. */
export interface ServiceOptions {
  name: string;
  /** Its own, for its files. */
  directory: string;
  /** Variables, beside PATH. */
  env: Record<string, string>;
  /** Its command line behind `serve`. */
  words: string[];
  /** What its traces say of requests, if it has any. */
  traced?: Ledger;
  /** Certificates that clients believe, as PEM: it speaks TLS, and has a unix socket beside. Absent: neither. */
  ca?: string[];
  keys: string[];
}

/** The parts of /health that a soak looks at. */
export interface Health {
  requests: { running: number; waiting: number; waiting_prompt_tokens: number };
  engine: { running: number; waiting: number; blocks: { used: number }; pauses: number; cached_tokens: number };
}

export class Service {
  readonly name: string;
  readonly log: ServerLog;
  /** What it says of requests, in its log and in traces. */
  readonly ledgers: readonly Ledger[];
  /** Where it is reached, in the ways in which it is. */
  readonly places: Place[];
  /** Keys that are always right. */
  readonly keys: readonly string[];
  readonly #options: ServiceOptions;
  readonly #manager: TestManager;
  readonly #tally: Tally;
  /** Whether more requests may come than can wait, which are then told to come back. */
  hasShortQueue = false;
  #pid = 0;
  /** Whether its process may be none, because it is started or ended. */
  #isChanging = true;
  #heard = 0;

  private constructor(
    options: ServiceOptions,
    manager: TestManager,
    log: ServerLog,
    ledgers: readonly Ledger[],
    tally: Tally,
  ) {
    this.name = options.name;
    this.keys = options.keys;
    this.log = log;
    this.ledgers = ledgers;
    this.#options = options;
    this.#manager = manager;
    this.#tally = tally;
    const { ca } = options;
    const { port } = manager;
    this.places = [ca === undefined ? { kind: "tcp", port } : { kind: "tls", port, ca }];
    if (ca !== undefined) this.places.push({ kind: "unix", path: this.socket });
  }

  /** Starts it and waits until it is ready. The files that its command line names have to be there. */
  static async start(options: ServiceOptions, tally: Tally): Promise<Service> {
    const fault = (text: string) => tally.fault("faults of logs and traces", `${options.name}: ${text}`);
    const logged = new Ledger("log", fault);
    const ledgers = options.traced === undefined ? [logged] : [logged, options.traced];
    const log = new ServerLog(tally, logged);
    const sockets = options.ca !== undefined ? `unix:${join(options.directory, "socket")},tcp` : "tcp";
    const manager = await startManager(sockets, {
      watchdogSeconds: WATCHDOG_SECONDS,
      env: options.env,
      onLog: (line) => log.add(line),
    });
    const service = new Service(options, manager, log, ledgers, tally);
    service.writeKeys([...options.keys, LIMITED_LINE]);
    service.writeConfiguration("guest-0");
    await service.#begin();
    return service;
  }

  get socket(): string {
    return join(this.#options.directory, "socket");
  }

  get #keyFile(): string {
    return join(this.#options.directory, "keys");
  }

  get #configuration(): string {
    return join(this.#options.directory, "config.toml");
  }

  get pid(): number {
    return this.#pid;
  }

  /** Writes the file of keys. */
  writeKeys(lines: readonly string[]): void {
    writeLines(this.#keyFile, lines);
  }

  /** Writes the configuration, with a name by which requests may call the model. */
  writeConfiguration(alias: string, ...more: string[]): void {
    writeLines(this.#configuration, [
      `alias = "${alias}"`,
      `keep-alive = ${KEEP_ALIVE_SECONDS}`,
      'log = "json"',
      ...more,
    ]);
  }

  /** Starts a process and waits until it is ready. @throws Error when it ends before. */
  async #begin(): Promise<void> {
    let isReady = false;
    this.log.next("ready").then(() => {
      isReady = true;
    });
    await this.#launch();
    const deadline = performance.now() + PATIENCE_MS;
    while (!isReady) {
      await Bun.sleep(20);
      const isThere = existsSync(`/proc/${this.#pid}`);
      if (!isThere || performance.now() > deadline) throw new Error(`${this.name} does not start:\n${this.log}`);
    }
    this.#heard = performance.now();
    this.#isChanging = false;
  }

  async #launch(): Promise<void> {
    const { directory, words, ca } = this.#options;
    const [certificate, key] = [join(directory, "served.pem"), join(directory, "served-key.pem")];
    const tls = ca === undefined ? [] : ["--tls-cert", certificate, "--tls-key", key];
    const common = ["--config", this.#configuration, "--api-key-file", this.#keyFile, "--drain-timeout", "120"];
    this.#pid = await this.#manager.start("serve", ...words, ...tls, ...common);
  }

  /**
   * Ends it as a service manager does, while whoever comes waits in its sockets, and starts it again.
   *
   * @param whileEnding is done to it meanwhile.
   */
  async restart(whileEnding?: () => Promise<unknown>): Promise<void> {
    await this.#end(whileEnding);
    await this.#begin();
  }

  /** The same with one more in between, that is told to end when it has hardly begun. */
  async restartTwice(milliseconds: number): Promise<void> {
    await this.#end();
    await this.#launch();
    await Bun.sleep(milliseconds);
    process.kill(this.#pid, "SIGTERM");
    // It may not have been listening to signals yet.
    await this.#hasEnded([0, -SIGTERM]);
    await this.#begin();
  }

  async #end(whileEnding?: () => Promise<unknown>): Promise<void> {
    this.#isChanging = true;
    const drain = this.log.next("drain");
    process.kill(this.#pid, "SIGTERM");
    await within(drain, `${this.name} does not end:\n${this.log}`);
    await whileEnding?.();
    await this.#hasEnded([0]);
  }

  /** What its process holds; undefined while there is none. One that has ended by itself is a fault, and is started anew. */
  async sample(): Promise<Sample | undefined> {
    if (this.#isChanging) return undefined;
    try {
      return sampleProcess(this.#pid);
    } catch {
      // It has ended.
    }
    this.#isChanging = true;
    const code = await this.#manager.ended(this.#pid);
    this.#tally.fault("faults of starts, ends and reloads", `${this.name} ended by itself with ${code}: ${this.log}`);
    try {
      await this.#begin();
    } catch (error) {
      // Its files may be wrong just now; it is tried again, as a service manager would.
      this.#tally.fault("faults of starts, ends and reloads", String(error));
      this.#isChanging = false;
    }
    return undefined;
  }

  /** Waits until its process has ended, with one of these codes. */
  async #hasEnded(codes: readonly number[]): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (existsSync(`/proc/${this.#pid}`) && performance.now() < deadline) await Bun.sleep(20);
    const code = await this.#manager.ended(this.#pid);
    if (codes.includes(code)) return;
    this.#tally.fault("faults of starts, ends and reloads", `${this.name} ended with ${code}: ${this.log}`);
  }

  /** A client has read an answer to its end. */
  answered(id: string, status: number): void {
    for (const ledger of this.ledgers) ledger.answered(id, status);
  }

  /** A client has left, or will never know what became of its request. */
  left(id: string): void {
    for (const ledger of this.ledgers) ledger.left(id);
  }

  /** Sends SIGHUP. @returns the line of the log that says what came of it; an end, where it comes first. */
  async reload(): Promise<LogEntry> {
    const entry = Promise.race([this.log.next("reload"), this.log.next("stop")]);
    process.kill(this.#pid, "SIGHUP");
    return await within(entry, `${this.name} was not reloaded:\n${this.log}`);
  }

  /** Whether the watchdog would have waited in vain since this was asked last, while the service is neither started nor ended. */
  checkWatchdog(): void {
    const last = this.#manager.lastWatchdog();
    if (last !== undefined) this.#heard = Math.max(this.#heard, last);
    const silence = (performance.now() - this.#heard) / 1000;
    if (silence < WATCHDOG_SECONDS) return;
    this.#tally.fault("faults at rest", `${this.name} said nothing to the watchdog for ${silence.toFixed(0)} s`);
    this.#heard = performance.now();
  }

  /** What /health says. */
  async health(): Promise<Health> {
    const connection = await Connection.open(this.places.at(-1) as Place);
    const answer = await connection.ask({ method: "GET", path: "/health", headers: {} });
    connection.close();
    return JSON.parse(String(answer?.body)) as Health;
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    try {
      await this.#end();
    } finally {
      await this.#manager.stop();
    }
  }

  /** Ends everything at once. */
  async kill(): Promise<void> {
    await this.#manager.stop();
  }
}

/** Writes lines to a file that is whole at any moment. */
function writeLines(path: string, lines: readonly string[]): void {
  writeWholeFile(path, lines.map((line) => `${line}\n`).join(""));
}

async function within<T>(promise: Promise<T>, otherwise: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
