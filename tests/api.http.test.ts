/**
 * HTTP itself, over sockets: that no error costs a client its connection, and what proxies, probes and older clients send.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { UNFINISHED_SUFFIX } from "../convert/output_file.ts";
import { PARTS_MAX } from "../src/api/json_bounds.ts";
import { openAi } from "../src/api/openai/dialect.ts";
import { BODY_BYTES_MAX, readJsonBody } from "../src/server/request_body.ts";
import { BODIES_BYTES_MAX, BodyBudget } from "../src/serving/body_budget.ts";
import { ServerState } from "../src/serving/state.ts";
import { CHAT, FRANCE, PARIS } from "./support/chat.ts";
import { listenWith } from "./support/listening_state.ts";
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

const KEY = "sk-http";
const AUTHORIZED = { authorization: `Bearer ${KEY}` };
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
    [["GET", "/nowhere"], 404, null, "unknown_url"],
    [["POST", "/nowhere", { some: "body" }], 404, null, "unknown_url"],
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
  const state = new ServerState({ temperature: 0, names: {}, limits: { answers: 1, promptTokens: 1 } });
  const listening = await listenWith(state);
  const one = openConnection(Number(new URL(listening.urls[0] as string).port));
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

  test.each([
    ["bytes that begin no character", [0xff, 0xc3]],
    ["half a character", [0xe6, 0x97]],
    ["a surrogate", [0xed, 0xa0, 0x80]],
    ["a character spelled too long", [0xc0, 0xaf]],
  ])("that are no UTF-8 are refused: %s", async (_, wrong) => {
    const [before, after] = ['{"messages":[{"role":"user","content":"a', 'b"}]}'];
    const bytes = Buffer.concat([Buffer.from(before), Buffer.from(wrong), Buffer.from(after)]);
    const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${bytes.length}`;
    connection.write(`POST /apply-template HTTP/1.1\r\n${head}\r\n\r\n`);
    connection.write(bytes);
    const answer = await connection.read();
    expect([answer.status, JSON.parse(answer.body).error.message]).toEqual([400, expect.stringContaining("UTF-8")]);
  });
});

test("a length that is given twice is that length", async () => {
  const body = '{"content":"The capital of France"}';
  const head = "Host: localhost\r\nContent-Type: application/json";
  const lengths = `Content-Length: ${body.length}\r\n`.repeat(2);
  connection.write(`POST /tokenize HTTP/1.1\r\n${head}\r\n${lengths}\r\n${body}`);
  const answer = await connection.read();
  expect([answer.status, JSON.parse(answer.body).count]).toEqual([200, 5]);
});

describe("bodies that say little in many words", () => {
  const list = (count: number, element: (i: number) => string) => Array.from({ length: count }, (_, i) => element(i));

  test.each<[string, string]>([
    ["empty objects", `[${list(PARTS_MAX, () => "{}")}]`],
    ["empty lists", `[${list(PARTS_MAX, () => "[]")}]`],
    ["strings", `[${list(PARTS_MAX, (i) => `"${i}"`)}]`],
    ["members", `{${list(PARTS_MAX, (i) => `"${i}":1`)}}`],
    ["objects of all shapes", `[${list(PARTS_MAX / 2, (i) => `{"${i}":1}`)}]`],
  ])("are refused before they are read: %s", async (_, value) => {
    for (const path of ["/detokenize", CHAT]) {
      const refused = await server.post(path, `{"metadata":${value}}`);
      const { error } = (await refused.json()) as { error: { message: string } };
      expect([refused.status, error.message]).toEqual([400, expect.stringContaining(`${PARTS_MAX} strings`)]);
    }
  });

  test("numbers are as many as fit, and what is read is counted with the bodies under way", async () => {
    const budget = new BodyBudget();
    const read = (body: string) =>
      readJsonBody(
        new Request("http://localhost/", { method: "POST", body, headers: { "content-type": "application/json" } }),
        budget.share(),
      );
    expect(await read(`{"tokens":[${list(1_000_000, () => "1")}]}`)).toMatchObject({ tokens: { length: 1_000_000 } });
    const empty = `{"metadata":[${list(200_000, () => "{}")}]}`;
    const before = budget.bytes;
    await read(empty);
    expect(budget.bytes - before).toBeGreaterThan(empty.length + 200_000 * 64);
  });
});

describe("compressed bodies", () => {
  const json = Buffer.from(JSON.stringify(FRANCE));
  const tooLarge = Buffer.alloc(BODY_BYTES_MAX + 1, " ");
  const send = (path: string, encoding: string, body: Uint8Array<ArrayBuffer>) =>
    server.post(path, "", { body, headers: { "content-type": "application/json", "content-encoding": encoding } });
  const messageOf = async (response: Response) =>
    ((await response.json()) as { error: { message: string } }).error.message;

  test.each<[string, (bytes: Uint8Array) => Buffer]>([
    ["gzip", gzipSync],
    ["x-gzip", gzipSync],
    ["GZIP", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
    ["zstd", zstdCompressSync],
    ["identity", Buffer.from],
  ])("%s is decoded, up to what a body may have", async (encoding, compress) => {
    const answer = await send(CHAT, encoding, new Uint8Array(compress(json)));
    expect(contentOf(await answer.text())).toBe(PARIS);
    const bomb = await send(CHAT, encoding, new Uint8Array(compress(tooLarge)));
    expect([bomb.status, await messageOf(bomb)]).toEqual([413, expect.stringContaining(`${BODY_BYTES_MAX} bytes`)]);
    if (encoding === "identity") return;
    const compressed = compress(json);
    for (const bytes of [compressed.subarray(0, -9), json, Buffer.alloc(0)]) {
      const wrong = await send(CHAT, encoding, new Uint8Array(bytes));
      expect(wrong.status).toBe(400);
      if (bytes.length > 0)
        expect(await messageOf(wrong)).toContain(`Content-Encoding says: ${encoding.toLowerCase()}`);
    }
  });

  test("many at once take no more memory than bodies may take", async () => {
    const other = await startServer(["--log", "off"]);
    const most = new Uint8Array(brotliCompressSync(Buffer.from(`{"content":"${" ".repeat(BODY_BYTES_MAX - 20)}"}`)));
    expect(most.length).toBeLessThan(100);
    const headers = { "content-type": "application/json", "content-encoding": "br" };
    const ask = async () => (await other.post("/detokenize", "", { body: most, headers })).status;
    const statuses = await Promise.all(Array.from({ length: 150 }, ask));
    expect(statuses.filter((status) => status !== 400 && status !== 429)).toEqual([]);
    const peak = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${other.pid}/status`, "utf8"))?.[1]) / 1024;
    // All of them would be 1200 MB, and more than that on the way.
    expect(peak).toBeLessThan(1100);
    await other.stop();
  });

  test.each(["compress", "gzip, br", "aws-chunked", "toString", "*"])("%s is not taken", async (encoding) => {
    const refused = await send(CHAT, encoding, new Uint8Array(json));
    expect([refused.status, refused.headers.get("accept-encoding")]).toEqual([415, "gzip, deflate, br, zstd"]);
    expect(await messageOf(refused)).toContain("Content-Encoding");
  });
});

test("bodies under way are bounded in sum; small ones go on, and what was given up is given back", async () => {
  const other = await startServer(["--log", "off"]);
  const size = 8_000_000;
  const head = (length: string) =>
    `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${length}\r\n\r\n`;
  const held: Connection[] = [];
  // Each sends all of its body but the end; how many get so far is up to the server.
  const refused = await (async () => {
    for (let i = 0; i < 40; i++) {
      const connection = openConnection(other.port);
      held.push(connection);
      connection.write(head(`Content-Length: ${size}`));
      connection.write(Buffer.alloc(size - 1, " "));
      const early = await Promise.race([connection.read().catch(() => undefined), Bun.sleep(i < 8 ? 0 : 100)]);
      if (early !== undefined) return early;
    }
    throw new Error("nothing was refused");
  })();
  expect([refused.status, Number(refused.headers.get("retry-after"))]).toEqual([429, 5]);
  expect(JSON.parse(refused.body).error).toMatchObject({ type: "rate_limit_error", code: "rate_limit_exceeded" });
  expect((held.length - 1) * size).toBeWithin(BODIES_BYTES_MAX / 2, BODIES_BYTES_MAX);
  expect(await other.chat(FRANCE)).toMatchObject({ choices: [{ message: { content: PARIS } }] });

  // Without a length it is refused as soon as it grows too large.
  const chunked = openConnection(other.port);
  chunked.write(`${head("Transfer-Encoding: chunked")}${(7_900_000).toString(16)}\r\n`);
  chunked.write(Buffer.alloc(7_900_000, " "));
  expect((await chunked.read()).status).toBe(429);
  chunked.close();

  for (const connection of held) connection.close();
  const large = { ...FRANCE, user: "x".repeat(size - 1000) };
  await eventually(async () => (await other.post(CHAT, large)).status === 200);
  await other.stop();
});

test("every request is logged and counted once, whenever its client leaves", async () => {
  const other = await startServer(["--queue", "1000"]);
  const ask = (stream: boolean, isGzip: boolean, more: object, onSent?: (socket: Socket) => void) => {
    const text = Buffer.from(JSON.stringify({ ...FRANCE, stream, ...more }));
    // Decoding takes a turn of the event loop, in which the departure is seen before there is an answer.
    const body = isGzip ? gzipSync(text) : text;
    const fields = `Content-Length: ${body.length}\r\n${isGzip ? "Content-Encoding: gzip\r\n" : ""}`;
    const head = `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${fields}\r\n`;
    const socket = connect(other.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.write(Buffer.concat([Buffer.from(head), body]), () => onSent?.(socket));
  };
  const each = 10;
  for (let i = 0; i < each; i++) {
    for (const stream of [false, true]) {
      for (const isGzip of [false, true]) {
        ask(stream, isGzip, { max_tokens: 1900, ignore_eos: true }, (socket) => {
          if (i % 2 === 0) socket.destroy();
          else setTimeout(() => socket.destroy(), i);
        });
      }
      ask(stream, true, { max_tokens: 1 });
    }
  }
  const statuses = () => [...other.log().matchAll(/ POST \/v1\/chat\/completions (\d+) /g)].map(([, status]) => status);
  await eventually(() => statuses().length >= 6 * each);
  await eventually(async () => (await other.requests()).running + (await other.requests()).waiting === 0);
  expect(statuses().filter((status) => status === "499").length).toBe(4 * each);
  expect(statuses().length).toBe(6 * each);
  const metrics = await (await fetch(`${other.url}/metrics`)).text();
  const counted = (status: number) =>
    Number(new RegExp(`^wrinklefree_http_requests_total.*status="${status}"} (\\d+)$`, "m").exec(metrics)?.[1]);
  expect(counted(499)).toBe(4 * each);
  await other.stop();
});

test("a body that never ends is given up, wherever it stops", async () => {
  for (const beginning of ["", '{"messages":']) {
    const body = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from(beginning)) });
    const request = new Request("http://localhost", {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
    });
    const error = await readJsonBody(request, new BodyBudget().share(), 30).catch((reason) => reason);
    expect(error.status).toBe(408);
    expect(openAi.errorBody(error)).toMatchObject({
      error: { type: "invalid_request_error", param: null, code: null },
    });
  }
});

describe("answers", () => {
  test("have no ends of lines in their events but those of the event", async () => {
    // The last event holds the prompt.
    const prompt = "a\u2028b\u2029c\u0085d";
    const response = await server.post("/completion", { prompt, n_predict: 1, stream: true });
    const text = await response.text();
    // Python's splitlines cuts there.
    expect(text).not.toMatch(/[\u0085\u2028\u2029]/);
    const lines = text.split("\n").filter((line) => line !== "");
    expect(lines.every((line) => line.startsWith("data: {") && line.endsWith("}"))).toBe(true);
    expect(JSON.parse((lines.at(-1) as string).slice(6)).prompt).toEndWith(prompt);
  });

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
