/** Starts the compiled executable as a server, talks to it, and stops it. */

import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

/** The compiled program; the test command builds it. */
export const executable = join(import.meta.dir, "../../dist/wrinklefree");

if (!existsSync(executable))
  throw new Error(`${executable} is missing: run the tests with 'bun run test', which builds it`);

/** How a program is started. */
export interface ProcessOptions {
  cwd?: string;
  /** The whole environment; default: PATH only, so that nothing of the tester's own gets in. */
  env?: Record<string, string>;
  /** Words before the program's own command line: `setpriv --reuid=65534 …`. */
  wrapper?: string[];
  /** Another copy of the executable. */
  program?: string;
}

/** A server that runs. */
export interface TestServer {
  url: string;
  port: number;
  pid: number;
  /** What it wrote to stderr so far. */
  log(): string;
  signal(name: "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGSEGV"): void;
  /** Its exit code, once it has ended. */
  exited: Promise<number>;
  /** Ends it and waits. */
  stop(): Promise<void>;
  /** Posts JSON; a string is sent as it is. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** Posts a chat request and parses the answer. */
  chat(body: object): Promise<ChatAnswer>;
  /** Posts a streamed chat request and collects its chunks. */
  stream(body: object): Promise<ChatChunk[]>;
  /** The counters of /health. */
  requests(): Promise<{ running: number; waiting: number }>;
  /** Resident memory in megabytes. */
  residentMegabytes(): number;
}

/** What the engine does and has done, of /health. */
export interface EngineHealth {
  running: number;
  waiting: number;
  blocks: { used: number; cached: number; total: number };
  prompt_tokens: number;
  cached_tokens: number;
  generated_tokens: number;
  pauses: number;
}

/** Reads the engine's part of /health. */
export async function engineHealth(server: TestServer): Promise<EngineHealth> {
  return ((await (await fetch(`${server.url}/health`)).json()) as { engine: EngineHealth }).engine;
}

/** The parts of OpenAI's answer that tests look at. */
export interface ChatAnswer {
  id: string;
  object: string;
  created: number;
  model: string;
  choices: {
    index: number;
    message: { role: string; content: string; refusal: null };
    logprobs: null;
    finish_reason: string;
  }[];
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
  timings: Record<string, number>;
}

/** One chunk of a stream. */
export interface ChatChunk {
  id: string;
  object: string;
  created: number;
  model: string;
  choices: { index: number; delta: { role?: string; content?: string }; finish_reason: string | null }[];
  usage?: ChatAnswer["usage"] | null;
  timings?: Record<string, number>;
}

/** Runs the program to its end. */
export async function runProgram(args: string[], options: ProcessOptions = {}) {
  const child = spawn(args, options);
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { stdout, stderr, code };
}

function spawn(args: string[], options: ProcessOptions) {
  return Bun.spawn([...(options.wrapper ?? []), options.program ?? executable, ...args], {
    cwd: options.cwd ?? "/",
    env: options.env ?? { PATH: process.env.PATH ?? "/usr/bin:/bin" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

/** Starts `wrinklefree serve` on a free port and waits until it is ready. */
export async function startServer(args: string[] = [], options: ProcessOptions = {}): Promise<TestServer> {
  const child = spawn(["serve", "--port", "0", ...args], options);
  let log = "";
  const url = await new Promise<string>((resolve, reject) => {
    (async () => {
      const decoder = new TextDecoder();
      for await (const bytes of child.stderr) {
        log += decoder.decode(bytes, { stream: true });
        const found = (/^serving +(\S+)\/v1$/m.exec(log) ?? /"event":"ready",.*"urls":\["([^"]+)"/.exec(log))?.[1];
        if (found !== undefined) resolve(found);
      }
      reject(new Error(`the server ended with code ${await child.exited}: ${log}`));
    })();
  });
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(url + path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "content-type": "application/json" },
      ...init,
    });
  return {
    url,
    port: Number(new URL(url).port),
    pid: child.pid,
    log: () => log,
    signal: (name) => child.kill(name),
    exited: child.exited,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
    post,
    async chat(body) {
      const response = await post("/v1/chat/completions", body);
      if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
      return (await response.json()) as ChatAnswer;
    },
    async stream(body) {
      const response = await post("/v1/chat/completions", { ...body, stream: true });
      const text = await response.text();
      if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
      return parseEvents(text) as ChatChunk[];
    },
    async requests() {
      const health = (await (await fetch(`${url}/health`)).json()) as {
        requests: { running: number; waiting: number };
      };
      return health.requests;
    },
    residentMegabytes: () =>
      Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024,
  };
}

/** An entry of a log that is JSON. */
export type LogLine = Record<string, unknown> & { event: string };

/** The entries of a log of which every line has to be JSON. */
export function logLines(log: string): LogLine[] {
  return log
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine);
}

/** Posts a request that is refused. @returns the status, and the parameter and the code that the error names; null in what is no error. */
export async function refusal(server: TestServer, path: string, body: object): Promise<(number | string | null)[]> {
  const response = await server.post(path, body);
  const { error = { param: null, code: null } } = (await response.json()) as {
    error?: { param: string | null; code: string | null };
  };
  return [response.status, error.param, error.code];
}

/** The objects of a stream, which has to end with [DONE]. */
export function parseEvents(text: string): unknown[] {
  const lines = text.split("\n\n").filter((line) => line !== "" && !line.startsWith(":"));
  if (lines.pop() !== "data: [DONE]") throw new Error(`the stream does not end with [DONE]: ${text.slice(-200)}`);
  return lines.map((line) => {
    if (!line.startsWith("data: ")) throw new Error(`no event: ${line}`);
    return JSON.parse(line.slice("data: ".length));
  });
}

/** The text of one choice of a stream. */
export function streamedText(chunks: readonly ChatChunk[], index = 0): string {
  return chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta.content ?? "")
    .join("");
}

/** Sends bytes as they are and collects what comes back until the server closes or is silent for `quietMs`. */
export function rawExchange(port: number, request: string, quietMs = 500): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(request));
    const parts: Buffer[] = [];
    socket.setTimeout(quietMs, () => socket.destroy());
    socket.on("data", (part) => parts.push(Buffer.from(part)));
    socket.on("close", () => resolve(Buffer.concat(parts).toString()));
    socket.on("error", reject);
  });
}

/** An answer as it came over a socket. */
export interface RawAnswer {
  status: number;
  /** By names in small letters. */
  headers: Map<string, string>;
  body: string;
}

/** One connection, over which requests go one after the other. */
export interface Connection {
  /** Sends bytes as they are. */
  write(bytes: string | Uint8Array): void;
  /** The next answer, whose length its headers say; 100 Continue is one without a body. @throws when the server closes. */
  read(): Promise<RawAnswer>;
  /** Sends a request, with a body of JSON or of a text as it is, and reads the answer. */
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<RawAnswer>;
  close(): void;
  /** Whether it is closed, by either side. */
  isClosed(): boolean;
}

/** Opens a connection. */
export function openConnection(port: number): Connection {
  const socket = connect(port, "127.0.0.1");
  let received: Buffer = Buffer.alloc(0);
  let isClosed = false;
  let wake: (() => void) | undefined;
  socket.on("data", (part) => {
    received = Buffer.concat([received, Buffer.from(part)]);
    wake?.();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    isClosed = true;
    wake?.();
  });

  async function take(length: () => number): Promise<string> {
    while (length() < 0 || received.length < length()) {
      if (isClosed) throw new Error(`the server closed the connection after: ${received.toString().slice(0, 200)}`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const end = length();
    const taken = received.subarray(0, end).toString();
    received = received.subarray(end);
    return taken;
  }

  async function read(): Promise<RawAnswer> {
    const mark = "\r\n\r\n";
    const head = await take(() => (received.includes(mark) ? received.indexOf(mark) + mark.length : -1));
    const [first, ...lines] = head.trim().split("\r\n");
    const fields = lines.map((line) => line.split(/: ?(.*)/s));
    const headers = new Map(fields.map(([name, value]) => [(name as string).toLowerCase(), value as string]));
    const length = Number(headers.get("content-length") ?? 0);
    return { status: Number(first?.split(" ")[1]), headers, body: await take(() => length) };
  }

  return {
    write: (bytes) => socket.write(bytes),
    read,
    ask(method, path, body, headers = {}) {
      const text = typeof body === "string" ? body : body === undefined ? "" : JSON.stringify(body);
      const all = {
        host: "localhost",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        "content-length": String(Buffer.byteLength(text)),
        ...headers,
      };
      const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`${method} ${path} HTTP/1.1\r\n${head.join("")}\r\n${text}`);
      return read();
    },
    close: () => socket.destroy(),
    isClosed: () => isClosed,
  };
}

/** A port on which nothing listens. */
export async function freePort(): Promise<number> {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  await server.stop();
  return port as number;
}

/** Whether something listens on a port. */
export async function accepts(port: number): Promise<boolean> {
  const socket = { open: (opened: { end(): void }) => opened.end(), data: () => undefined };
  return Bun.connect({ hostname: "127.0.0.1", port, socket }).then(
    () => true,
    () => false,
  );
}

/** How long to wait for what must come: longer than any machine takes, so that only what hangs is given up. */
const PATIENCE_MS = 60_000;

/** Waits until a condition holds. */
export async function eventually(condition: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`did not become true within ${PATIENCE_MS} ms: ${condition}`);
    await Bun.sleep(20);
  }
}

/** Waits until no answer runs, waits or is still to be read. */
export async function untilIdle(server: TestServer): Promise<void> {
  await eventually(async () => {
    const { running, waiting } = await server.requests();
    return running + waiting === 0;
  });
}

/** Waits until the engine has nothing to do. */
export async function untilEngineIdle(server: TestServer): Promise<void> {
  await eventually(async () => {
    const { running, waiting } = await engineHealth(server);
    return running + waiting === 0;
  });
}
