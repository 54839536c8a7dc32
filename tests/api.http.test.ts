/**
 * HTTP itself, over sockets: that no error costs a client its connection, and what proxies, probes and older clients send.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UNFINISHED_SUFFIX } from "../convert/output_file.ts";
import { listen } from "../src/server/app.ts";
import { readJsonBody } from "../src/server/limits.ts";
import { ServerState } from "../src/server/state.ts";
import {
  accepts,
  type Connection,
  eventually,
  executable,
  freePort,
  openConnection,
  parseEvents,
  rawExchange,
  startServer,
  type TestServer,
} from "./support/server.ts";

setDefaultTimeout(60_000);

const CHAT = "/v1/chat/completions";
const KEY = "sk-http";
const AUTHORIZED = { authorization: `Bearer ${KEY}` };
const FRANCE = { messages: [{ role: "user", content: "What is the capital of France?" }] };
const PARIS = "The capital of France is Paris.";
const contentOf = (body: string) => JSON.parse(body).choices[0].message.content;

let server: TestServer;
let connection: Connection;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
  connection = openConnection(server.port);
});
afterAll(async () => {
  connection.close();
  await server.stop();
});

test("every kind of error, one after the other on one connection, which goes on", async () => {
  const strict = await startServer(["--api-key", KEY, "--parallel", "1", "--queue", "0", "--log", "off"]);
  const one = openConnection(strict.port);
  /** Checks the whole form of an error. */
  async function expectError(
    [method, path, body]: [string, string, unknown?],
    headers: Record<string, string>,
    status: number,
    param: string | null,
    code: string | null,
  ) {
    const answer = await one.ask(method, path, body, headers);
    const { error } = JSON.parse(answer.body);
    expect([path, answer.status, error.param, error.code]).toEqual([path, status, param, code]);
    expect(Object.keys(error).slice(0, 4)).toEqual(["message", "type", "param", "code"]);
    expect(error.message.length).toBeGreaterThan(10);
    const type = status === 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
    expect(error.type).toBe(type);
    expect(answer.headers.get("content-type")).toMatch(/^application\/json; ?charset=utf-8$/i);
    expect(answer.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
    expect(answer.headers.get("connection") ?? "keep-alive").toMatch(/keep-alive/i);
    if (status === 405) expect(answer.headers.get("allow")).toBe(method === "GET" ? "POST" : "GET, HEAD");
    if (status === 401) expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    if (status === 429 || status === 503) expect(Number(answer.headers.get("retry-after"))).toBeWithin(1, 61);
  }
  const chat = (more: object): [string, string, object] => ["POST", CHAT, { ...FRANCE, ...more }];

  await expectError(chat({}), {}, 401, null, "invalid_api_key");
  await expectError(chat({}), { authorization: "Bearer sk-wrong" }, 401, null, "invalid_api_key");
  await expectError(["GET", "/nowhere"], {}, 401, null, "invalid_api_key");
  const rows: [[string, string, unknown?], number, string | null, string | null][] = [
    [["POST", CHAT, "{bad"], 400, null, null],
    [["POST", CHAT, {}], 400, "messages", "missing_required_parameter"],
    [["POST", CHAT, { messages: [123] }], 400, "messages[0]", "invalid_type"],
    [chat({ temperature: 200 }), 400, "temperature", "decimal_above_max_value"],
    [chat({ n: 0 }), 400, "n", "integer_below_min_value"],
    [chat({ messages: [{ role: "user", content: "a ".repeat(5000) }] }), 400, "messages", "context_length_exceeded"],
    [["POST", "/v1/completions", { prompt: "a ".repeat(5000) }], 400, "prompt", "context_length_exceeded"],
    [chat({ model: "gpt-4o" }), 404, "model", "model_not_found"],
    [["GET", "/v1/models/gpt-4o"], 404, "model", "model_not_found"],
    [["GET", "/nowhere"], 404, null, null],
    [["POST", "/nowhere", { some: "body" }], 404, null, null],
    [["GET", CHAT], 405, null, null],
    [["DELETE", "/v1/models", { some: "body" }], 405, null, null],
    [["POST", CHAT, " ".repeat(9_000_000)], 413, null, null],
  ];
  for (const [request, status, param, code] of rows) await expectError(request, AUTHORIZED, status, param, code);
  await expectError(["POST", CHAT, "{}"], { ...AUTHORIZED, "content-type": "text/plain" }, 400, null, null);
  expect(contentOf((await one.ask("POST", CHAT, FRANCE, AUTHORIZED)).body)).toBe(PARIS);

  const leave = new AbortController();
  const headers = { "content-type": "application/json", ...AUTHORIZED };
  const endless = { ...FRANCE, stream: true, ignore_eos: true };
  const running = await strict.post(CHAT, endless, { headers, signal: leave.signal });
  await expectError(chat({}), AUTHORIZED, 429, null, "rate_limit_exceeded");
  strict.signal("SIGTERM");
  await eventually(async () => (await fetch(`${strict.url}/ready`)).status === 503);
  await expectError(chat({}), AUTHORIZED, 503, null, null);
  leave.abort();
  await running.text().catch(() => undefined);
  expect(await strict.exited).toBe(0);
  one.close();
});

test("while the model loads: alive, not ready, and a time to come back", async () => {
  const state = new ServerState(0, undefined, { answers: 1, promptTokens: 1 });
  const listening = listen(state, {
    hostname: "127.0.0.1",
    port: 0,
    apiKeys: [],
    allowedHosts: [],
    corsOrigins: [],
    log: "off",
  });
  const one = openConnection(Number(new URL(listening.url).port));
  expect(JSON.parse((await one.ask("GET", "/health")).body)).toMatchObject({ status: "ok", phase: "loading" });
  expect((await one.ask("GET", "/metrics")).status).toBe(200);
  for (const [method, path, body] of [
    ["GET", "/ready"],
    ["GET", "/v1/models"],
    ["POST", CHAT, FRANCE],
    ["POST", "/tokenize", { content: "x" }],
  ] as const) {
    const answer = await one.ask(method, path, body);
    expect([path, answer.status]).toEqual([path, 503]);
    expect(JSON.parse(answer.body).error).toMatchObject({ type: "server_error", param: null, code: null });
    expect(Number(answer.headers.get("retry-after"))).toBeWithin(1, 61);
  }
  one.close();
  await listening.stop(true);
});

test.each([
  ["the demo model", []],
  ["a model to convert", [join(import.meta.dir, "fixtures/tiny")]],
])("a signal while %s is loaded ends the server with exit code 0", async (_, model) => {
  const cache = mkdtempSync(join(tmpdir(), "wrinklefree-"));
  const port = String(await freePort());
  const child = Bun.spawn([executable, "serve", "--port", port, ...model], {
    env: { WRINKLEFREE_CACHE: cache },
    stdout: "ignore",
    stderr: "ignore",
  });
  // It listens before it loads.
  while (!(await accepts(Number(port)))) await Bun.sleep(1);
  child.kill("SIGTERM");
  expect([await child.exited, child.signalCode]).toEqual([0, null]);
  expect(readdirSync(cache).filter((name) => name.endsWith(UNFINISHED_SUFFIX))).toEqual([]);
  rmSync(cache, { recursive: true });
});

describe("probes", () => {
  test.each<[string, string, number, string | undefined]>([
    ["HEAD", "/v1/models", 200, undefined],
    ["HEAD", "/health", 200, undefined],
    ["HEAD", "/", 404, undefined],
    ["HEAD", CHAT, 405, "POST"],
    ["OPTIONS", "/v1/models", 405, "GET, HEAD"],
    ["OPTIONS", CHAT, 405, "POST"],
    ["GET", "/v1/models/", 200, undefined],
    ["GET", "/v1/models?limit=5", 200, undefined],
    ["GET", `${CHAT}/`, 405, "POST"],
    ["GET", "/toString", 404, undefined],
  ])("%s %s is %d", async (method, path, status, allow) => {
    const response = await fetch(server.url + path, { method });
    expect([response.status, response.headers.get("allow") ?? undefined]).toEqual([status, allow]);
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    const text = await response.text();
    if (method === "HEAD") expect(text).toBe("");
    else expect(() => JSON.parse(text)).not.toThrow();
  });

  test("a chat with a slash at the end of its path", async () => {
    expect(contentOf((await connection.ask("POST", `${CHAT}/`, FRANCE)).body)).toBe(PARIS);
  });
});

describe("bodies", () => {
  test("over a megabyte, which curl announces first and sends when it is told to go on", async () => {
    const body = JSON.stringify({ ...FRANCE, user: "x".repeat(2_000_000) });
    const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
    connection.write(`POST ${CHAT} HTTP/1.1\r\n${head}\r\nExpect: 100-continue\r\n\r\n`);
    expect((await connection.read()).status).toBe(100);
    connection.write(body);
    expect(contentOf((await connection.read()).body)).toBe(PARIS);
  });

  test("in chunks that split characters, after a byte-order mark", async () => {
    const text = JSON.stringify({ messages: [{ role: "user", content: "日本 🚀" }], max_tokens: 1 });
    const bytes = new TextEncoder().encode(`\ufeff${text}`);
    const head = "Host: localhost\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked";
    connection.write(`POST /apply-template HTTP/1.1\r\n${head}\r\n\r\n`);
    for (const byte of bytes)
      connection.write(Buffer.concat([Buffer.from("1\r\n"), Buffer.of(byte), Buffer.from("\r\n")]));
    connection.write("0\r\n\r\n");
    expect(JSON.parse((await connection.read()).body).prompt).toContain("日本 🚀");
  });

  test("that are no UTF-8 are read as far as they are", async () => {
    const [before, after] = ['{"messages":[{"role":"user","content":"a', 'b"}]}'];
    const bytes = Buffer.concat([Buffer.from(before), Buffer.of(0xff, 0xc3), Buffer.from(after)]);
    const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${bytes.length}`;
    connection.write(`POST /apply-template HTTP/1.1\r\n${head}\r\n\r\n`);
    connection.write(bytes);
    expect(JSON.parse((await connection.read()).body).prompt).toContain("a\ufffd\ufffdb");
  });
});

test("a body that never ends is given up, wherever it stops", async () => {
  for (const beginning of ["", '{"messages":']) {
    const body = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from(beginning)) });
    const request = new Request("http://localhost", {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
    });
    expect(await readJsonBody(request, 30).catch((error) => error)).toMatchObject({
      status: 408,
      body: { error: { type: "invalid_request_error", param: null, code: null } },
    });
  }
});

describe("answers", () => {
  test("are never compressed, whatever a client accepts", async () => {
    for (const stream of [false, true]) {
      const headers = { "content-type": "application/json", "accept-encoding": "gzip, br, zstd" };
      const response = await server.post(CHAT, { ...FRANCE, stream }, { headers });
      expect(response.headers.get("content-encoding")).toBeNull();
      await response.text();
    }
  });

  test("reach clients that speak HTTP/1.0, whole and streamed", async () => {
    const get = async (more: object) => {
      const body = JSON.stringify({ ...FRANCE, ...more });
      const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
      const answer = await rawExchange(server.port, `POST ${CHAT} HTTP/1.0\r\n${head}\r\n\r\n${body}`);
      const [headers, ...rest] = answer.split("\r\n\r\n");
      expect(headers).not.toMatch(/^transfer-encoding/im);
      return rest.join("\r\n\r\n");
    };
    expect(contentOf(await get({}))).toBe(PARIS);
    const events = parseEvents(await get({ stream: true })) as { choices: { delta: { content?: string } }[] }[];
    expect(events.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(PARIS);
  });

  test("carry the client's request id only where it is plain and short", async () => {
    const idFor = async (id: string) =>
      (await connection.ask("GET", "/health", undefined, { "x-request-id": id })).headers.get("x-request-id");
    for (const id of ["abc-1.2:3", "x".repeat(128)]) expect(await idFor(id)).toBe(id);
    for (const id of ["x".repeat(129), "a;b", "a b", 'a"b', "é", "a,b"]) expect(await idFor(id)).toMatch(/^req_/);
  });
});
