/**
 * Two services for minutes or hours, one of text and one of embeddings, as operators run them and clients use them: every path and
 * dialect, streamed and whole, slow readers, clients that leave at any moment, damaged requests; and meanwhile keys and certificates are
 * changed and the services restarted. Every answer is compared with the right one. At the end nothing may be left of all that.
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../../convert/convert.ts";
import { unpackFixtures } from "../support/archive.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import { eventually } from "../support/server.ts";
import { Client, type Field, type KnownCase, readAnswer } from "./client.ts";
import { Connection, type Place } from "./connection.ts";
import { Ledger } from "./ledger.ts";
import { bodyOf, type Case, canBeStreamed, type EmbeddingGoldens, fixedCases } from "./mix.ts";
import { Operator, useCertificate } from "./operator.ts";
import { describeDescriptors, fitLine, type Line, type Sample, sampleProcess } from "./processes.ts";
import { Service, type ServiceOptions } from "./service.ts";
import { type Fault, Tally } from "./tally.ts";
import { collectTraces, type TraceCollector } from "./traces.ts";

/** What a soak is to do. */
export interface SoakOptions {
  seconds: number;
  clients: number;
  /** Of the random choices. */
  seed: number;
  /** Ends it before its time. */
  signal?: AbortSignal;
  /** Takes a line of progress each minute. */
  onProgress?: (line: string) => void;
}

/** What became of a service. */
export interface ServiceReport {
  /** When it had just been started and had answered each request once, and when everybody had left. */
  fresh: Sample;
  rest: Sample;
  /** Of its memory through the second half, in megabytes an hour; undefined: too few samples. */
  growth: Line | undefined;
  /** Of the KV cache that nobody gave back. */
  blocksUsed: number;
  pauses: number;
  cachedTokens: number;
}

/** What came of it. */
export interface SoakReport {
  options: { seconds: number; clients: number; seed: number };
  /** Answers that were read to their end and compared. */
  answers: number;
  counts: Record<string, number>;
  faults: Record<Fault, { count: number; told: string[] }>;
  /** Of all kinds. */
  faultCount: number;
  services: Record<string, ServiceReport>;
  /** Milliseconds that /health took while all this went on, restarts included. */
  healthMs: { median: number; p99: number; most: number };
  /** Temporary files that were not there before. */
  leftFiles: string[];
}

/** Programs that a soak needs, with Debian's packages. */
const NEEDED = { python3: "python3", openssl: "openssl" };

/** What to do so that there can be a soak; undefined: it can be run. */
export function whatSoakNeeds(): string | undefined {
  const missing = Object.entries(NEEDED).filter(([program]) => Bun.which(program) === null);
  return missing.length === 0 ? undefined : `apt-get install ${missing.map(([, name]) => name).join(" ")}`;
}

/** Growth is only judged where it was watched for so long: until then memory is filled for the first time. */
const GROWTH_WATCHED_HOURS = 0.1;

/** Into how many parts the time is divided in which growth is watched. What happens within one is not about growth. */
const GROWTH_PARTS = 15;

/** Threads more than at the start that say nothing: some of Bun's come and go. */
const THREADS_ALLOWED = 4;

/** Growth in that time that is none, in megabytes: heaps and caches have their sizes, which they reach by and by. */
const GROWTH_ALLOWED = 10;

/** The text service is small enough that requests wait, share blocks, take blocks from each other and are put aside. */
const TEXT = ["--parallel", "8", "--ctx", "1440", "--memory", "9M"];

/** A name, in every chunk of a stream, that is so long that slow readers fill their sockets. */
const LONG_NAME = "m".repeat(1000);

/** Runs one. @throws Error when it can't go on. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  const directory = mkdtempSync(join(tmpdir(), "wrinklefree-soak-"));
  const tally = new Tally();
  const running: Service[] = [];
  const traces = collectTraces(
    new Ledger("traces", (text) => tally.fault("faults of logs and traces", `text: ${text}`)),
  );
  try {
    const { temporary, certificates, embeddingModel, goldens } = await prepare(directory);
    const start = async (options: Pick<ServiceOptions, "name" | "words" | "traced" | "ca">) => {
      const service = await Service.start(
        {
          ...options,
          directory: join(directory, options.name),
          env: { TMPDIR: temporary, OTEL_BSP_SCHEDULE_DELAY: "1000" },
          keys: ["sk-alice", "sk-bob", "sk-carol"],
        },
        tally,
      );
      running.push(service);
      return service;
    };
    const words = [...TEXT, "--served-name", LONG_NAME, "--otlp-endpoint", traces.url];
    const ca = certificates.map(({ text }) => text);
    const services = {
      text: await start({ name: "text", words, traced: traces.ledger, ca }),
      embedding: await start({ name: "embedding", words: [embeddingModel, "--parallel", "4"] }),
    };
    const secured = { service: services.text, directory: join(directory, "text"), certificates };
    const soaking = new Soak(options, services, goldens, traces, tally);
    const report = await soaking.run((isOver) =>
      new Operator(running, secured, options.seed, tally).run(options.seconds * 1000, isOver),
    );
    for (const service of running.splice(0)) {
      await service.stop().catch((error) => tally.fault("faults of starts, ends and reloads", String(error)));
    }
    return { ...report, ...finish(tally, temporary) };
  } finally {
    for (const service of running) await service.kill();
    await traces.stop();
    rmSync(directory, { recursive: true });
  }
}

/** Files that services need. */
async function prepare(directory: string) {
  const temporary = join(directory, "temporary");
  for (const name of ["temporary", "text", "embedding"]) mkdirSync(join(directory, name));
  const certificates = ["first", "second"].map((name) => makeCertificate(directory, name)) as TestCertificate[];
  useCertificate(join(directory, "text"), certificates[0] as TestCertificate);
  await unpackFixtures("embeddings", directory);
  const embeddingModel = join(directory, "embedding.wf");
  await convertCheckpoint(join(directory, "embedding-qwen3.I2_S.gguf"), embeddingModel);
  const goldens = (await Bun.file(join(directory, "embedding-qwen3", "goldens.json")).json()) as EmbeddingGoldens;
  return { temporary, certificates, embeddingModel, goldens };
}

/** What is known once the services have ended. */
function finish(tally: Tally, temporary: string): Pick<SoakReport, "faults" | "faultCount" | "leftFiles"> {
  // The library, which Bun unpacks there under a name that follows from its contents, once for all processes.
  const leftFiles = readdirSync(temporary).filter((name) => !/^\.bun-.*\.so$/.test(name));
  if (leftFiles.length > 0) tally.fault("faults at rest", `temporary files: ${leftFiles.join(", ")}`);
  return { faults: tally.faults, faultCount: tally.faultCount, leftFiles };
}

type Services = Field["services"];

/** Clients at work. */
class Soak {
  readonly #options: SoakOptions;
  readonly #services: Services;
  readonly #goldens: EmbeddingGoldens;
  readonly #traces: TraceCollector;
  readonly #tally: Tally;
  /** Of each service, with the hours since the start. */
  readonly #samples = new Map<Service, (Sample & { hours: number })[]>();
  #started = 0;

  constructor(
    options: SoakOptions,
    services: Services,
    goldens: EmbeddingGoldens,
    traces: TraceCollector,
    tally: Tally,
  ) {
    this.#options = options;
    this.#services = services;
    this.#goldens = goldens;
    this.#traces = traces;
    this.#tally = tally;
  }

  get #all(): Service[] {
    return Object.values(this.#services);
  }

  async run(
    operate: (isOver: () => boolean) => Promise<void>,
  ): Promise<Omit<SoakReport, "faults" | "faultCount" | "leftFiles">> {
    const { clients, seed } = this.#options;
    const cases = await this.#learn(fixedCases(this.#goldens));
    const fresh = new Map(this.#all.map((service) => [service, sampleProcess(service.pid)]));
    const field: Field = { services: this.#services, cases, tally: this.#tally, isOver: false };
    const probe = Bun.spawn([process.execPath, join(import.meta.dir, "probe.ts"), this.#services.text.socket], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#started = performance.now();
    const work = Array.from({ length: clients }, (_, number) => new Client(number, seed, field).run());
    const operating = operate(() => field.isOver);
    await Promise.race([this.#watch(this.#options.seconds * 1000), ...work]);
    const seconds = Math.round((performance.now() - this.#started) / 1000);
    field.isOver = true;
    await operating;
    await probe.stdin.end();
    const latencies = JSON.parse(await probe.stdout.text()) as number[];
    await Promise.all(work);
    await this.#askAgain(cases);
    const services = await Promise.all(
      this.#all.map(
        async (service) => [service.name, await this.#rest(service, fresh.get(service) as Sample)] as const,
      ),
    );
    const counts = Object.fromEntries([...this.#tally.counts].sort());
    return {
      options: { seconds, clients, seed },
      answers: this.#answers,
      counts,
      services: Object.fromEntries(services),
      healthMs: summary(latencies),
    };
  }

  get #answers(): number {
    return [...this.#tally.counts].reduce(
      (sum, [what, count]) => (/^(streams|whole) /.test(what) ? sum + count : sum),
      0,
    );
  }

  /** Asks each request when nobody else does, whole and streamed, and keeps what comes as right. @throws Error where nothing comes. */
  async #learn(cases: readonly Case[]): Promise<KnownCase[]> {
    const known: KnownCase[] = [];
    for (const one of cases) {
      const right = await this.#askAlone(one, false);
      this.#compareAlone({ ...one, right }, right);
      if (canBeStreamed(one)) this.#compareAlone({ ...one, right }, await this.#askAlone(one, true));
      known.push({ ...one, right });
    }
    return known;
  }

  /** Asks each request once more, when everybody has left. */
  async #askAgain(cases: readonly KnownCase[]): Promise<void> {
    for (const one of cases) {
      try {
        this.#compareAlone(one, await this.#askAlone(one, canBeStreamed(one)));
      } catch (error) {
        this.#tally.fault("wrong answers", `at the end, ${error}`);
      }
    }
  }

  /** The answer to a request. @throws Error when it is none. */
  async #askAlone(one: Case, isStreamed: boolean): Promise<unknown> {
    const service = this.#services[one.service];
    const body = bodyOf(one, isStreamed);
    const connection = await Connection.open(service.places[0] as Place);
    const answer = await connection.ask({
      method: one.method,
      path: one.path,
      headers: { authorization: `Bearer ${service.keys[0]}`, "content-type": "application/json", ...one.headers },
      ...(body === undefined ? {} : { body: new TextEncoder().encode(JSON.stringify(body)) }),
    });
    connection.close();
    if (answer === undefined || answer.status !== 200) throw new Error(`${one.path}: ${answer?.body}`);
    return readAnswer(answer, one.dialect, isStreamed);
  }

  #compareAlone(one: KnownCase, answer: unknown): void {
    const fault = one.fault?.(answer);
    if (fault !== undefined) this.#tally.fault("wrong answers", `alone, ${one.path}: ${fault}`);
    if (one.varies || Bun.deepEquals(answer, one.right)) return;
    const [found, wanted] = [answer, one.right].map((value) => JSON.stringify(value).slice(0, 500));
    this.#tally.fault("wrong answers", `alone, ${one.path}: ${found}, not ${wanted}`);
  }

  /** Looks at the processes again and again, and tells each minute how it goes. */
  async #watch(milliseconds: number): Promise<void> {
    const tellEvery = Math.min(60_000, milliseconds / 4);
    const sampleEvery = Math.min(5_000, milliseconds / 40);
    let told = 0;
    const passed = () => performance.now() - this.#started;
    while (passed() < milliseconds && this.#options.signal?.aborted !== true) {
      await Bun.sleep(sampleEvery);
      this.#traces.take();
      for (const service of this.#all) {
        service.checkWatchdog();
        const samples = this.#samples.get(service) ?? [];
        this.#samples.set(service, samples);
        const sample = await service.sample();
        if (sample !== undefined) samples.push({ ...sample, hours: passed() / 3_600_000 });
      }
      if (passed() < told + tellEvery) continue;
      told = passed();
      this.#tell(told);
    }
  }

  #tell(milliseconds: number): void {
    const hours = Math.floor(milliseconds / 3_600_000);
    const time = `${hours}:${new Date(milliseconds).toISOString().slice(14, 19)}`;
    const perSecond = (this.#answers / milliseconds) * 1000;
    const services = this.#all.map((service) => {
      const last = this.#samples.get(service)?.at(-1);
      return last === undefined
        ? ""
        : `; ${service.name} ${last.residentMegabytes.toFixed(0)} MB, ${last.descriptors} descriptors, ${last.threads} threads`;
    });
    const left = this.#tally.of("left by their clients");
    const found = `${this.#answers} answers, ${perSecond.toFixed(0)} a second, ${left} left, ${this.#tally.faultCount} faults`;
    this.#options.onProgress?.(`${time}  ${found}${services.join("")}`);
  }

  /** What is left of it all when everybody has gone. */
  async #rest(service: Service, fresh: Sample): Promise<ServiceReport> {
    const fault = (text: string) => this.#tally.fault("faults at rest", `${service.name}: ${text}`);
    await eventuallyOr(
      async () => {
        const { requests, engine } = await service.health();
        const jobs = requests.running + requests.waiting + requests.waiting_prompt_tokens;
        return jobs + engine.running + engine.waiting + engine.blocks.used === 0;
      },
      async () => fault(`it is not idle: ${JSON.stringify(await service.health())}`),
    );
    // Connections that were idle, and those of replaced certificates, are closed by and by.
    await eventuallyOr(
      () => sampleProcess(service.pid).descriptors <= fresh.descriptors,
      () => fault(`more descriptors than the ${fresh.descriptors} of the start: ${describeDescriptors(service.pid)}`),
    );
    const missing = () => service.ledgers.flatMap((ledger) => ledger.missing);
    await eventuallyOr(
      () => {
        this.#traces.take();
        return missing().length === 0;
      },
      () =>
        this.#tally.fault(
          "faults of logs and traces",
          `nothing is said of ${missing().length}: ${missing().slice(0, 9)}`,
        ),
    );
    const rest = sampleProcess(service.pid);
    if (rest.threads > fresh.threads + THREADS_ALLOWED) fault(`${rest.threads} threads, after ${fresh.threads}`);
    const { blocks, pauses, cached_tokens } = (await service.health()).engine;
    const growth = this.#growth(service);
    const hours = this.#options.seconds / 3600 / 2;
    if (
      growth !== undefined &&
      hours > GROWTH_WATCHED_HOURS &&
      (growth.slope - 2 * growth.error) * hours > GROWTH_ALLOWED
    ) {
      fault(`its memory grows by ${growth.slope.toFixed(1)} ± ${growth.error.toFixed(1)} MB an hour`);
    }
    return { fresh, rest, growth, blocksUsed: blocks.used, pauses, cachedTokens: cached_tokens };
  }

  /** A straight line through the resident memory of the second half, part by part. */
  #growth(service: Service): Line | undefined {
    const half = this.#options.seconds / 3600 / 2;
    const parts: number[][] = [];
    for (const { hours, residentMegabytes } of this.#samples.get(service) ?? []) {
      const part = Math.floor(((hours - half) / half) * GROWTH_PARTS);
      if (part < 0) continue;
      parts[part] ??= [];
      parts[part].push(residentMegabytes);
    }
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const middle = (part: number) => half + ((part + 0.5) / GROWTH_PARTS) * half;
    // Not a map: a part without samples is left out.
    return fitLine(parts.flatMap((values, part) => [[middle(part), mean(values)] as const]));
  }
}

/** Waits for a condition, and does something where it never comes true. */
async function eventuallyOr(condition: () => Promise<boolean> | boolean, otherwise: () => unknown): Promise<void> {
  try {
    await eventually(condition);
  } catch {
    await otherwise();
  }
}

function summary(values: number[]): { median: number; p99: number; most: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99), most: at(1) };
}
