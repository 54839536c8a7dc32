/**
 * Many clients at once for minutes, of every kind: streamed and whole, greedy and seeded, short and long prompts, several answers,
 * slow readers, clients that leave at any moment. Every text is compared with what the same request gives alone. By hand:
 *
 *   bun tests/soak.ts --minutes 2 [--clients 64] [--seed 1]
 *
 * tests/batching.test.ts runs a short version.
 */

import { connect } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { goldens } from "./support/goldens.ts";
import {
  type ChatAnswer,
  type ChatChunk,
  type EngineHealth,
  engineHealth,
  eventually,
  executable,
  parseEvents,
  startServer,
  streamedText,
  type TestServer,
} from "./support/server.ts";

/** What a soak is to do. */
export interface SoakOptions {
  seconds: number;
  clients: number;
  /** Of the random choices. */
  seed: number;
}

/** What came of it. */
export interface SoakReport {
  /** Answers that were read to their end. */
  answers: number;
  /** Requests that their client left. */
  left: number;
  /** Answers with another text than alone, the first few in words. */
  wrong: string[];
  /** Connections that ended or answers that failed without the client's doing. */
  broken: string[];
  /** Milliseconds that /health took, while all this went on. */
  healthMs: { median: number; p99: number; most: number };
  /** Resident memory in megabytes: after a quarter of the time, and at the end. */
  residentMegabytes: { warm: number; end: number };
  /** Of /health, when everyone had left. */
  engine: EngineHealth;
}

/** A request of the mix, and the texts of its answers when nobody else is served. */
interface Case {
  body: { [parameter: string]: unknown; messages: { role: string; content: string }[]; n: number };
  texts: string[];
}

/**
 * The server is small enough that requests wait, share blocks, take blocks from each other and are put aside. Its name, which is in
 * every chunk, is so long that slow readers fill their sockets.
 */
const SERVER_ARGUMENTS = ["--parallel", "8", "--ctx", "1440", "--memory", "9M", "--served-name", "m".repeat(1000)];

/** Runs clients against a server of its own and reports. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  const cases = await answersAlone();
  const server = await startServer(SERVER_ARGUMENTS);
  try {
    return await new Soak(server, cases, options).run();
  } finally {
    await server.stop();
  }
}

/** The mix, with the texts that a server without company gives. */
async function answersAlone(): Promise<Case[]> {
  const server = await startServer(["--parallel", "1"]);
  const cases: Case[] = [];
  for (const body of bodies()) {
    // Answer i of a request has the seed of the request plus i.
    const texts: string[] = [];
    for (let i = 0; i < body.n; i++) {
      const answer = await server.chat({ ...body, n: 1, seed: Number(body.seed ?? 0) + i });
      texts.push(answer.choices[0]?.message.content as string);
    }
    cases.push({ body, texts });
  }
  await server.stop();
  return cases;
}

function bodies(): Case["body"][] {
  const user = (content: string) => ({ role: "user", content });
  const rules = Array.from({ length: 40 }, (_, i) => `Rule ${i}: never say the number ${i * 37} twice.`).join(" ");
  const system = { role: "system", content: rules };
  const sampled = { temperature: 1.2, top_p: 0.95 };
  const france = user("What is the capital of France?");
  return [
    ...goldens.chat.map(({ messages, greedy_ids }) => ({ messages, n: 1, max_tokens: greedy_ids.length })),
    { messages: [user("Tell me a story.")], n: 1, seed: 5, max_tokens: 120, ...sampled },
    { messages: [user("Tell me a story.")], n: 1, max_tokens: 300, ignore_eos: true },
    { messages: [user("Tell me a story.")], n: 4, seed: 9, max_tokens: 60, ...sampled },
    { messages: [system, user("Tell me a story.")], n: 1, max_tokens: 30 },
    { messages: [system, france], n: 1, seed: 3, max_tokens: 30, temperature: 0.9, frequency_penalty: 0.5 },
    { messages: [system, user("Say hello in Japanese.")], n: 3, seed: 1, max_tokens: 24, ...sampled },
    { messages: [france, { role: "assistant", content: "Paris." }, user("And of Spain?")], n: 1, max_tokens: 40 },
    { messages: [user(`${rules} ${rules}`)], n: 1, max_tokens: 12, ignore_eos: true },
    { messages: [user("Count from 3 to 12.")], n: 1, max_tokens: 80, stop: ["10", "x"] },
  ];
}

/** The request that slow readers make: more text than a socket's buffers take. Nobody reads it to the end. */
const FLOOD = {
  messages: [{ role: "user", content: "Tell me a story." }],
  n: 4,
  min_tokens: 1200,
  max_tokens: 1200,
  stream: true,
};

/** Clients at work. */
class Soak {
  readonly #server: TestServer;
  readonly #cases: Case[];
  readonly #options: SoakOptions;
  #isOver = false;
  #answers = 0;
  #left = 0;
  readonly #wrong: string[] = [];
  readonly #broken: string[] = [];

  constructor(server: TestServer, cases: Case[], options: SoakOptions) {
    this.#server = server;
    this.#cases = cases;
    this.#options = options;
  }

  async run(): Promise<SoakReport> {
    const { seconds, clients, seed } = this.#options;
    const probe = Bun.spawn([process.execPath, join(import.meta.dir, "soak_probe.ts"), this.#server.url], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    const work = Array.from({ length: clients }, (_, i) => this.#client(i, new Chance(seed * 1000 + i)));
    await Bun.sleep(seconds * 250);
    const warm = this.#server.residentMegabytes();
    await Bun.sleep(seconds * 750);
    this.#isOver = true;
    await probe.stdin.end();
    const latencies = JSON.parse(await probe.stdout.text()) as number[];
    await Promise.all(work);
    await eventually(async () => {
      const { running, waiting } = await engineHealth(this.#server);
      return running + waiting === 0;
    });
    return {
      answers: this.#answers,
      left: this.#left,
      wrong: this.#wrong,
      broken: this.#broken,
      healthMs: summary(latencies),
      residentMegabytes: { warm, end: this.#server.residentMegabytes() },
      engine: await engineHealth(this.#server),
    };
  }

  /** One client: a request after the other, every third of them left at a random moment. */
  async #client(number: number, chance: Chance): Promise<void> {
    const isSlow = number % 8 === 0;
    while (!this.#isOver) {
      const one = chance.of(this.#cases);
      const leavesAfterMs = chance.below(3) === 0 ? chance.below(400) : undefined;
      try {
        if (isSlow && chance.below(4) === 0) await this.#read(FLOOD, 200 + chance.below(2000));
        else if (isSlow) await this.#slowClient(one, leavesAfterMs);
        else await this.#plainClient(one, chance.below(2) === 0, leavesAfterMs);
      } catch (error) {
        this.#broken.push(String(error));
      }
    }
  }

  async #plainClient({ body, texts }: Case, isStreamed: boolean, leavesAfterMs: number | undefined): Promise<void> {
    const leave = new AbortController();
    const timer = leavesAfterMs === undefined ? undefined : setTimeout(() => leave.abort(), leavesAfterMs);
    try {
      const response = await this.#server.post(
        "/v1/chat/completions",
        { ...body, stream: isStreamed },
        { signal: leave.signal },
      );
      const text = await response.text();
      if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
      this.#compare(body, isStreamed ? textsOfStream(text) : textsOfAnswer(text), texts);
    } catch (error) {
      if (!leave.signal.aborted) throw error;
      this.#left++;
    } finally {
      clearTimeout(timer);
    }
  }

  async #slowClient({ body, texts }: Case, leavesAfterMs: number | undefined): Promise<void> {
    const text = await this.#read({ ...body, stream: true }, leavesAfterMs);
    if (text !== undefined) this.#compare(body, textsOfStream(text), texts);
  }

  /** Reads an answer through a plain socket, a little at a time. Undefined when it left before the end. */
  async #read(body: object, leavesAfterMs: number | undefined): Promise<string | undefined> {
    const bytes = await readSlowly(this.#server.port, "/v1/chat/completions", body, leavesAfterMs);
    if (bytes === undefined) {
      this.#left++;
      return undefined;
    }
    return dechunked(bytes);
  }

  #compare(body: object, found: string[], expected: string[]): void {
    this.#answers++;
    if (JSON.stringify(found) === JSON.stringify(expected)) return;
    this.#wrong.push(`${JSON.stringify(body).slice(-200)}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
  }
}

function textsOfAnswer(text: string): string[] {
  return (JSON.parse(text) as ChatAnswer).choices.map((choice) => choice.message.content);
}

function textsOfStream(text: string): string[] {
  const chunks = parseEvents(text) as ChatChunk[];
  const count = Math.max(...chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.index))) + 1;
  return Array.from({ length: count }, (_, i) => streamedText(chunks, i));
}

/** How much a slow reader takes, and how long it then sleeps. */
const SIP_BYTES = 2048;
const SIP_INTERVAL_MS = 10;

/** Posts a request through a plain socket and reads the answer slowly. Undefined when it left before the end. */
export function readSlowly(
  port: number,
  path: string,
  body: object,
  leavesAfterMs?: number,
): Promise<Buffer | undefined> {
  const json = JSON.stringify(body);
  const head = [
    `POST ${path} HTTP/1.1`,
    "host: 127.0.0.1",
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(json)}`,
    "connection: close",
  ];
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => socket.write(`${head.join("\r\n")}\r\n\r\n${json}`));
    let isLeaving = false;
    const timer =
      leavesAfterMs === undefined
        ? undefined
        : setTimeout(() => {
            isLeaving = true;
            socket.destroy();
          }, leavesAfterMs);
    socket.on("data", (part) => {
      parts.push(Buffer.from(part));
      socket.pause();
      setTimeout(() => socket.resume(), (SIP_INTERVAL_MS * part.length) / SIP_BYTES);
    });
    socket.on("error", (error) => (isLeaving ? undefined : reject(error)));
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(isLeaving ? undefined : Buffer.concat(parts));
    });
  });
}

/** The body of a raw answer with the status 200 and chunked encoding. @throws Error when it is not whole. */
export function dechunked(raw: Buffer): string {
  const start = raw.indexOf("\r\n\r\n");
  const head = raw.subarray(0, Math.max(start, 0)).toString();
  if (!/^HTTP\/1\.1 200 /.test(head)) throw new Error(`not an answer: ${raw.subarray(0, 200)}`);
  const parts: Buffer[] = [];
  for (let at = start + 4; ; ) {
    const lineEnd = raw.indexOf("\r\n", at);
    const size = Number.parseInt(raw.subarray(at, lineEnd).toString(), 16);
    if (lineEnd < 0 || Number.isNaN(size)) throw new Error("the connection ended within an answer");
    if (size === 0) return Buffer.concat(parts).toString();
    parts.push(raw.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

/** Random choices that a seed repeats. */
class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number from 0 to limit − 1. */
  below(limit: number): number {
    // A linear congruential generator with the constants of Numerical Recipes; its upper bits are random enough.
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

function summary(values: number[]): { median: number; p99: number; most: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99), most: at(1) };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "2" },
      clients: { type: "string", default: "64" },
      seed: { type: "string", default: "1" },
    },
  });
  console.log(`${values.clients} clients for ${values.minutes} minutes against ${executable}`);
  const report = await soak({
    seconds: Number(values.minutes) * 60,
    clients: Number(values.clients),
    seed: Number(values.seed),
  });
  console.log(JSON.stringify({ ...report, wrong: report.wrong.length, broken: report.broken.length }, null, 1));
  for (const line of [...report.wrong, ...report.broken].slice(0, 10)) console.log(line);
  const { blocks, running, waiting } = report.engine;
  const isWell = report.wrong.length + report.broken.length + blocks.used + running + waiting === 0;
  console.log(isWell ? "passed" : "failed");
  process.exit(isWell ? 0 : 1);
}
