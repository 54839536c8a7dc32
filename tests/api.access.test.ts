/**
 * Who may ask and what is told about it: API keys, origins of web pages, the access log, the metrics, and the scopes of the prefix
 * cache.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import OpenAI from "openai";
import { Scopes } from "../src/serving/scopes.ts";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import {
  eventually,
  executable,
  logLines,
  openConnection,
  rawExchange,
  runProgram,
  startServer,
  type TestServer,
} from "./support/server.ts";

setDefaultTimeout(60_000);

const ask = (content: string, more: object = {}) => ({ messages: [{ role: "user", content }], max_tokens: 3, ...more });
const JSON_TYPE = { "content-type": "application/json" };

describe("API keys", () => {
  const [first, second, third] = ["sk-first-secret", "sk-second-secret", "sk-third-secret"];
  let server: TestServer;
  let directory: string;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "wrinklefree-keys-"));
    const file = join(directory, "keys");
    writeFileSync(file, `# two keys\n${second}\n\n  ${third}\r\n`);
    server = await startServer(["--host", "0.0.0.0", "--api-key", first, "--api-key-file", file]);
  });
  afterAll(async () => {
    await server.stop();
    rmSync(directory, { recursive: true });
  });
  const url = () => `http://127.0.0.1:${server.port}`;
  const post = (headers: Record<string, string>) =>
    fetch(url() + CHAT, { method: "POST", body: JSON.stringify(ask("x")), headers: { ...JSON_TYPE, ...headers } });

  test.each<[string, Record<string, string>, number]>([
    ["none", {}, 401],
    ["an empty one", { authorization: "Bearer " }, 401],
    ["a wrong one", { authorization: "Bearer sk-wrong" }, 401],
    ["the beginning of one", { authorization: `Bearer ${first.slice(0, -1)}` }, 401],
    ["one and more", { authorization: `Bearer ${first}x` }, 401],
    ["another scheme", { authorization: `Basic ${first}` }, 401],
    ["the file's comment", { authorization: "Bearer # two keys" }, 401],
    ["the first one", { authorization: `Bearer ${first}` }, 200],
    ["a small bearer", { authorization: `bearer ${first}` }, 200],
    ["one of the file", { authorization: `Bearer ${second}` }, 200],
    ["the file's last one", { "x-api-key": third }, 200],
    ["one in X-Api-Key beside a placeholder", { authorization: "Bearer none", "x-api-key": first }, 200],
    ["a wrong one in X-Api-Key", { "x-api-key": "sk-wrong" }, 401],
  ])("%s", async (_, headers, status) => {
    const response = await post(headers);
    expect(response.status).toBe(status);
    const text = await response.text();
    if (status !== 401) return;
    expect(JSON.parse(text)).toMatchObject({
      error: { type: "invalid_request_error", param: null, code: "invalid_api_key" },
    });
    expect(response.headers.get("www-authenticate")).toBe("Bearer");
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    expect(text).not.toContain("sk-");
  });

  test("everything needs one but health, readiness and the page", async () => {
    for (const path of ["/health", "/ready"]) expect((await fetch(url() + path)).status).toBe(200);
    const page = await fetch(`${url()}/`, { headers: { accept: "text/html" } });
    expect(page.status).toBe(200);
    for (const [, asset] of (await page.text()).matchAll(/"(assets\/[^"]+)"/g)) {
      expect((await fetch(`${url()}/${asset}`)).status).toBe(200);
    }
    const others = [
      "/v1/models",
      "/metrics",
      "/nowhere",
      "/assets/x.js",
      "/assets/index.html",
      "/health/",
      "/v1/../health/x",
      "/HEALTH",
    ];
    for (const path of others) expect((await fetch(url() + path)).status).toBe(401);
    for (const path of ["/tokenize", "/v1/completions", "/health"]) {
      const status = (await fetch(url() + path, { method: "POST", body: "{}", headers: JSON_TYPE })).status;
      expect(status).toBe(path === "/health" ? 405 : 401);
    }
    expect((await fetch(`${url()}/metrics`, { headers: { "x-api-key": first } })).status).toBe(200);
  });

  // What a target is made of that somebody might get past a key check with.
  const part = fc.constantFrom(
    ...["/", "//", "/health", "/ready", CHAT, "/tokenize", "/metrics", "/v1/models", "/v1/models/x", "/nowhere"],
    ...[
      "?",
      "#",
      "%2f",
      "%3F",
      "%23",
      "%68ealth",
      "/..",
      "/.",
      ";",
      "\\",
      "@",
      ":",
      "%00",
      "%",
      "*",
      "é",
      "//a/health?",
      "http://a",
    ],
  );
  const target = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join(""));
  const host = fc.oneof(
    fc.constantFrom(
      "a",
      "ab",
      "localhost",
      "127.0.0.1:1",
      "[::1]",
      "",
      "[",
      "a, b",
      "a/health",
      "a/health?",
      "u:p@b",
      "a#",
      "é",
    ),
    fc.array(part, { maxLength: 2 }).map((parts) => parts.join("")),
    fc.string({ minLength: 1, maxLength: 12 }).map((text) => text.replaceAll(/[^\x21-\x7e]/g, "")),
  );

  test("there is no other way to spell a path past them", async () => {
    const body = { content: "x", prompt: "x", messages: [{ role: "user", content: "x" }], max_tokens: 1 };
    const property = fc.asyncProperty(
      fc.constantFrom("GET", "POST", "OPTIONS"),
      target,
      host,
      async (method, target, host) => {
        const connection = openConnection(server.port);
        const answer = await connection.ask(method, target, body, { host }).catch(() => undefined);
        connection.close();
        // Bun itself refuses what is no HTTP, without a body or an answer.
        if (answer === undefined || answer.status === 401 || (answer.status === 400 && answer.body === "")) return;
        const isHealth = answer.status === 200 && method === "GET" && /^{"status":"(ok|ready)"/.test(answer.body);
        const isWrongMethod = answer.status === 405 && / on \/(health|ready)?; /.test(answer.body);
        const isNoPage = answer.status === 404 && /a page for browsers only/.test(answer.body);
        expect([isHealth || isWrongMethod || isNoPage, answer]).toEqual([true, answer]);
      },
    );
    await fc.assert(property, {
      numRuns: 1500,
      examples: [
        ["POST", `/health?${CHAT}`, "a"],
        ["POST", `/ready?/tokenize`, "ab"],
        ["POST", `/health#${CHAT}`, "a"],
        ["GET", `/health?/v1/models`, "a"],
      ],
    });
  });

  test("a right one gets an answer whatever the host's name", async () => {
    for (const name of ["a", "ab", "localhost", "some.host.example:8080", "u:p@b", ""]) {
      const connection = openConnection(server.port);
      const headers = { host: name, "x-api-key": first };
      expect((await connection.ask("POST", `${CHAT}?a=/health`, ask("x"), headers)).status).toBe(200);
      connection.close();
    }
    const old = await rawExchange(server.port, `GET /v1/models HTTP/1.0\r\nX-Api-Key: ${first}\r\n\r\n`, 200);
    expect(old).toMatch(/^HTTP\/1.1 200 .*"object":"list"/s);
    const malformed = openConnection(server.port);
    expect((await malformed.ask("GET", "/v1/models", undefined, { host: "[", "x-api-key": first })).status).toBe(400);
    malformed.close();
  });

  test("the SDK sends it", async () => {
    const models = async (apiKey: string) => {
      const client = new OpenAI({ baseURL: `${url()}/v1`, apiKey, maxRetries: 0 });
      return (await client.models.list()).data.length;
    };
    expect(await models(first)).toBe(1);
    await expect(models("sk-wrong")).rejects.toThrow(OpenAI.AuthenticationError);
  });

  test("no key is ever logged", async () => {
    const headers = { authorization: `Bearer ${first}` };
    const paths = [`/v1/models?api_key=${first}`, `/${first}`, `/v1/models/${first}`, `/${CHAT}/${first}`];
    for (const path of paths) await (await fetch(url() + path, { headers })).text();
    // A key is known by the beginning of its hash.
    const label = createHash("sha256").update(first).digest("hex").slice(0, 8);
    const lines = (route: string) => server.log().match(new RegExp(` GET ${route} 404 .* key ${label} `, "g"))?.length;
    await eventually(() => lines("other") === 2);
    expect(lines("/v1/models/\\{model\\}")).toBe(1);
    for (const key of [first, second, third, "sk-wrong"]) expect(server.log()).not.toContain(key);
  });

  test("one key's prompts are not found by another's, nor under another salt", async () => {
    const cached = async (key: string, more: object = {}) => {
      const body = JSON.stringify(ask(`A prompt of some length. ${"word ".repeat(60)}`, more));
      const response = await fetch(url() + CHAT, { method: "POST", body, headers: { ...JSON_TYPE, "x-api-key": key } });
      const { usage } = (await response.json()) as { usage: { prompt_tokens_details: { cached_tokens: number } } };
      return usage.prompt_tokens_details.cached_tokens;
    };
    expect(await cached(first)).toBe(0);
    expect(await cached(first)).toBeGreaterThan(31);
    expect(await cached(second)).toBe(0);
    expect(await cached(first, { cache_salt: "a" })).toBe(0);
    expect(await cached(first, { cache_salt: "a" })).toBeGreaterThan(31);
    expect(await cached(second, { cache_salt: "a" })).toBe(0);
    expect(await cached(first, { cache_salt: "" })).toBe(0);
  });

  const HASH = createHash("sha256").update("sk-hashed").digest("hex");

  test.each<[string, string, string]>([
    [
      "words",
      "sk-good\nsk with space\n",
      "line 2: word 2 is none of name=NAME, requests=N, tokens=N and running=N, which may stand behind a key",
    ],
    ["another script", "# keys\r\n\r\nsk-ключ\r\n", "line 3: a key takes visible ASCII characters, and no space"],
    ["a setting that is none", "sk-a foo=1\n", "line 1: word 2 is none of name=NAME, "],
    ["a misspelt one", "sk-a name=x request=5\n", "line 1: word 3 is none of .*\\(did you mean 'requests'\\?\\)"],
    ["no number", "sk-a requests=abc\n", "line 1: requests= takes a whole number from 1 to "],
    ["0", "sk-a tokens=0\n", "line 1: tokens= takes a whole number from 1 to "],
    ["less than 0", "sk-a running=-1\n", "line 1: running= takes a whole number from 1 to "],
    ["a number without an end", "sk-a tokens=1e9\n", "line 1: tokens= takes a whole number from 1 to "],
    ["no name", "sk-a name=\n", "line 1: name= takes up to 64 letters and digits of ASCII, and "],
    ["a setting twice", "sk-a requests=1 requests=2\n", "line 1: requests= stands twice"],
    ["a key behind a key", "sk-a sk-b\n", "line 1: word 2 is none of "],
    [
      "a hash that is too short",
      `sha256:${HASH.slice(1)}\n`,
      "line 1: a key takes 64 hexadecimal digits behind sha256:",
    ],
    ["a hash of other characters", `sha256:g${HASH.slice(1)}\n`, "line 1: a key takes 64 hexadecimal digits behind "],
    ["a name of two keys", "sk-a name=x\n\nsk-b name=x\n", "line 3: x is the name of the key in line 1 of .* already"],
    ["a key twice", "sk-a name=x\nsk-a\n", "line 2: this key stands in line 1 of .* too, with other settings"],
    ["other limits", "sk-a running=1\nsk-a running=2\n", "line 2: this key stands in line 1 of .* too, with "],
    ["a key and its hash", `sk-hashed\nsha256:${HASH} name=x\n`, "line 2: this key stands in line 1 of .* too, with "],
  ])("a file with a fault stops the start, which says what it is and shows no key: %s", async (_, text, message) => {
    const file = join(directory, "wrong");
    writeFileSync(file, text);
    const { code, stderr } = await runProgram(["serve", "--port", "0", "--api-key-file", file]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(new RegExp(`^wrinklefree: ${file}: ${message}.*\\n$`))]);
    expect(stderr.replaceAll(file, "")).not.toMatch(/sk|foo|[0-9a-f]{20}/);
  });

  test("a name of keys in two files stops the start", async () => {
    const files = ["one", "two"].map((name) => join(directory, name));
    for (const [index, file] of files.entries()) writeFileSync(file, `sk-${index} name=x\n`);
    const args = files.flatMap((file) => ["--api-key-file", file]);
    const { code, stderr } = await runProgram(["serve", "--port", "0", ...args]);
    const wanted = `wrinklefree: ${files[1]}: line 1: x is the name of the key in line 1 of ${files[0]} already; give each key a name of its own\n`;
    expect([code, stderr]).toEqual([1, wanted]);
  });

  test("a key may be given as its SHA-256, which is no key itself; one may stand twice with the same settings", async () => {
    const file = join(directory, "hashed");
    const upper = createHash("sha256").update("sk-upper").digest("hex").toUpperCase();
    const capital = createHash("sha256").update("sk-capital").digest("hex");
    const lines = [
      `sha256:${HASH} name=h requests=1`,
      "sk-hashed requests=1 name=h",
      `sha256:${upper}`,
      `SHA256:${capital}`,
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    const other = await startServer(["--api-key-file", file, "--api-key", `sha256:${upper}`]);
    const ask = async (key: string) => {
      const init = { method: "POST", body: JSON.stringify({ ...FRANCE, max_tokens: 1 }) };
      return (await fetch(other.url + CHAT, { ...init, headers: { ...JSON_TYPE, "x-api-key": key } })).status;
    };
    expect([await ask("sk-hashed"), await ask("sk-hashed"), await ask("sk-upper")]).toEqual([200, 429, 200]);
    expect(await ask("sk-capital")).toBe(200);
    const hashes = [HASH, `sha256:${HASH}`, `sha256:${upper}`, `SHA256:${capital}`];
    expect(await Promise.all(hashes.map(ask))).toEqual([401, 401, 401, 401]);
    await eventually(() => other.log().includes(` key ${upper.slice(0, 8).toLowerCase()} `));
    expect(other.log()).toMatch(/ 200 .* key h /);
    await other.stop();
  });

  test("keys in a file may have any line ends and a byte-order mark, and any visible characters", async () => {
    const file = join(directory, "strange");
    const keys = ["first", `!"$%&'()*+,-./:;<=>?@[\\]^_\`{|}~`, "last"];
    writeFileSync(file, `\ufeff${keys[0]}\r${keys[1]}\r\n${keys[2]}`);
    const other = await startServer(["--api-key-file", file, "--log", "off"]);
    for (const key of keys) {
      for (const [name, value] of [
        ["authorization", `Bearer ${key}`],
        ["x-api-key", key],
      ] as const) {
        expect((await fetch(`${other.url}/v1/models`, { headers: { [name]: value } })).status).toBe(200);
      }
    }
    await other.stop();
  });

  test.each<[string, string[], RegExp]>([
    ["a key with a space", ["--api-key", "a b"], /^wrinklefree serve: --api-key takes/],
    ["an empty key", ["--api-key", ""], /^wrinklefree serve: --api-key takes/],
    [
      "a file that is missing",
      ["--api-key-file", "/nowhere/keys"],
      /^wrinklefree: can't read the keys in \/nowhere\/keys/,
    ],
    ["a file without keys", ["--api-key-file", "/dev/null"], /^wrinklefree: \/dev\/null holds no key/],
    [
      "a file of keys without an end",
      ["--api-key-file", "/dev/zero"],
      /^wrinklefree: \/dev\/zero is no file of keys: it has more than 1048576 bytes\n$/,
    ],
    ["a directory of keys", ["--api-key-file", "/"], /^wrinklefree: can't read the keys in \/: is a directory\n$/],
    [
      "a host that nobody knows",
      ["--host", "nowhere.invalid", "--insecure"],
      /^wrinklefree: can't listen on nowhere\.invalid:0: 'nowhere\.invalid' is no address of this machine; choose another --host\n$/,
    ],
    [
      "an address of another machine",
      ["--host", "192.0.2.1", "--insecure"],
      /^wrinklefree: can't listen on 192\.0\.2\.1:0: '192\.0\.2\.1' is no address of this machine/,
    ],
    ["an unknown log format", ["--log", "xml"], /^wrinklefree serve: --log takes text, json, off/],
    ["an origin that is none", ["--cors-origin", "app.example"], /^wrinklefree serve: --cors-origin takes/],
  ])("%s stops the start", async (_, args, wanted) => {
    const { code, stderr } = await runProgram(["serve", "--port", "0", ...args]);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(wanted);
    expect(stderr).not.toContain("a b");
  });
});

describe("a key on the command line", () => {
  const [argument, other, inFile] = ["sk-argument", "sk-other", "sk-file"];
  const status = async (server: TestServer, key: string) =>
    (await fetch(`${server.url}/v1/models`, { headers: { "x-api-key": key } })).status;
  const commandLine = (server: TestServer) => readFileSync(`/proc/${server.pid}/cmdline`, "utf8").split("\0");

  test("is moved to the environment, beside those of a pipe, and neither the list of processes nor a crash shows it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-pipe-"));
    const pipe = join(directory, "keys");
    spawnSync("mkfifo", [pipe]);
    const writing = writeFile(pipe, `${inFile}\n`);
    const keys = ["--api-key", argument, `--api-key=${other}`, "--api-key-file", pipe];
    const server = await startServer(["--parallel", "3", ...keys, "--log", "off"]);
    await writing;
    for (const key of [argument, other, inFile]) expect(await status(server, key)).toBe(200);
    // What the start says how to ask.
    expect(server.log()).toContain(" -H 'Authorization: Bearer KEY' ");
    expect(await status(server, "sk-wrong")).toBe(401);
    const wanted = ["serve", "--port", "0", "--parallel", "3", "--api-key-file", pipe, "--log", "off", ""];
    expect(commandLine(server).slice(1)).toEqual(wanted);
    server.signal("SIGSEGV");
    await server.exited;
    await eventually(() => /panic|crashed/.test(server.log()));
    for (const key of [argument, other, inFile]) expect(server.log()).not.toContain(key);
    rmSync(directory, { recursive: true });
  });

  test("stays there with a warning where the program can't start anew", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-gone-"));
    const copy = join(directory, "wrinklefree");
    copyFileSync(executable, copy);
    // Runs a file that is gone already.
    const wrapper = ["/bin/sh", "-c", 'exec 3<"$0" && rm "$0" && exec /proc/self/fd/3 "$@"'];
    const server = await startServer(["--api-key", argument], { wrapper, program: copy });
    expect(server.log()).toMatch(/^wrinklefree: warning: .*--api-key.*WRINKLEFREE_API_KEY or --api-key-file$/m);
    expect([await status(server, argument), await status(server, other)]).toEqual([200, 401]);
    await server.stop();
    rmSync(directory, { recursive: true });
  });

  test("stays there with a warning where the process has a pipe that would be closed", async () => {
    // What bash makes of --api-key-file <(echo KEY).
    const wrapper = ["/bin/sh", "-c", `exec 3<<END\n${inFile}\nEND\nexec "$0" "$@"`];
    const keys = ["--api-key", argument, "--api-key-file", "/dev/fd/3"];
    const server = await startServer(keys, { wrapper });
    expect(server.log()).toMatch(/^wrinklefree: warning: .*--api-key/m);
    for (const key of [argument, inFile]) expect(await status(server, key)).toBe(200);
    expect(await status(server, other)).toBe(401);
    await server.stop();
  });

  test.each([
    ["one", ` ${argument}\n`, [argument]],
    ["several", `${argument} ${other}`, [argument, other]],
  ])("may stand in WRINKLEFREE_API_KEY instead: %s", async (_, text, keys) => {
    const env = { PATH: "/usr/bin:/bin", WRINKLEFREE_API_KEY: text };
    const server = await startServer(["--host", "0.0.0.0", "--api-key", "sk-more"], { env });
    for (const key of [...keys, "sk-more"]) expect(await status(server, key)).toBe(200);
    expect(await status(server, "sk-wrong")).toBe(401);
    expect(server.log()).not.toContain("warning");
    await server.stop();
  });

  test.each([
    ["", /^wrinklefree: WRINKLEFREE_API_KEY holds no key; set one, or unset it/],
    ["sk-ключ", /^wrinklefree: WRINKLEFREE_API_KEY takes visible ASCII/],
  ])("WRINKLEFREE_API_KEY without one stops the start: '%s'", async (text, wanted) => {
    const { code, stderr } = await runProgram(["serve", "--port", "0"], { env: { WRINKLEFREE_API_KEY: text } });
    expect(code).toBe(1);
    expect(stderr).toMatch(wanted);
    expect(stderr).not.toContain("sk-");
  });
});

describe("scopes", () => {
  test("the same pair has the same number, two pairs never do, and the number of pairs is bounded", () => {
    const scopes = new Scopes();
    const pairs: [string | undefined, string | undefined][] = [
      [undefined, undefined],
      ["a", undefined],
      ["a", ""],
      ["a", "null"],
      ["a", "1"],
      ["b", "1"],
      ["b", '"'],
    ];
    const numbers = pairs.map(([key, salt]) => scopes.of(key, salt));
    expect(new Set(numbers).size).toBe(pairs.length);
    expect(pairs.map(([key, salt]) => scopes.of(key, salt))).toEqual(numbers);
    for (let i = 0; i < 20_000; i++) scopes.of("a", `salt ${i}`);
    const again = scopes.of("b", "1");
    expect(numbers).not.toContain(again);
    expect(scopes.of("b", "1")).toBe(again);
  });
});

describe("web pages", () => {
  const origin = "https://app.example";
  const preflight = (server: TestServer, from = origin) =>
    fetch(server.url + CHAT, {
      method: "OPTIONS",
      headers: {
        origin: from,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-os",
      },
    });

  test("of other origins may not use the API by default", async () => {
    const server = await startServer();
    const asked = await preflight(server);
    expect(asked.status).toBe(405);
    expect(asked.headers.get("access-control-allow-origin")).toBeNull();
    const got = await fetch(`${server.url}/v1/models`, { headers: { origin } });
    expect(got.headers.get("access-control-allow-origin")).toBeNull();
    await server.stop();
  });

  test("of an origin that was let in may, with a key", async () => {
    const server = await startServer(["--cors-origin", origin, "--api-key", "sk-1"]);
    const asked = await preflight(server);
    expect(asked.status).toBe(204);
    expect(asked.headers.get("access-control-allow-origin")).toBe(origin);
    expect(asked.headers.get("access-control-allow-headers")).toContain("authorization");
    expect(asked.headers.get("access-control-allow-methods")).toContain("POST");
    const headers = { ...JSON_TYPE, origin, authorization: "Bearer sk-1" };
    const streamed = await server.post(CHAT, ask("x", { stream: true }), { headers });
    expect(streamed.headers.get("access-control-allow-origin")).toBe(origin);
    expect(streamed.headers.get("access-control-expose-headers")).toContain("x-request-id");
    await streamed.text();
    const refused = await fetch(`${server.url}/v1/models`, { headers: { origin } });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, origin]);
    const other = await preflight(server, "https://evil.example");
    expect([other.status, other.headers.get("access-control-allow-origin")]).toEqual([401, null]);
    await server.stop();
  });

  test("of any origin may with *", async () => {
    const server = await startServer(["--cors-origin", "*"]);
    expect((await preflight(server, "null")).headers.get("access-control-allow-origin")).toBe("null");
    await server.stop();
  });
});

describe("the log", () => {
  const secret = "hunter2secret";

  test("as text: one line for each request, without what was said", async () => {
    const server = await startServer();
    const requests = [
      () => server.post(CHAT, ask(secret)),
      () => server.post(CHAT, ask(secret, { stream: true })),
      () => server.post(CHAT, { prompt: secret }),
      () => fetch(`${server.url}/${"x".repeat(300)}%0a`),
    ];
    const answers: Response[] = [];
    for (const request of requests) {
      const answer = await request();
      // A line is written when the answer is over, so each is read before the next one is asked for.
      await answer.text();
      answers.push(answer);
    }
    const lines = () =>
      server
        .log()
        .split("\n")
        .filter((line) => /^\d{4}-/.test(line));
    await eventually(() => lines().length === 4);
    expect(lines()[0]).toMatch(
      /^\S+Z 127\.0\.0\.1 POST \/v1\/chat\/completions 200 [\d.]+ ms \d+ prompt \(\d+ cached\) \+ 3 tokens req_\w+$/,
    );
    expect(lines()[1]).toMatch(/ 200 .* \+ 3 tokens req_\w+$/);
    expect(lines()[2]).toMatch(/ 400 [\d.]+ ms error missing_required_parameter req_\w+$/);
    expect(lines()[3]?.length).toBeLessThan(250);
    expect(answers.map((answer) => answer.headers.get("x-request-id"))).toEqual(
      lines().map((line) => line.split(" ").at(-1) as string),
    );
    expect(server.log()).not.toContain(secret);
    await server.stop();
  });

  describe("as JSON", () => {
    const requests = (server: TestServer) => logLines(server.log()).filter(({ event }) => event === "request");

    test("a line for each request: who, what, how it ended, what it cost, and nothing that was said", async () => {
      const directory = mkdtempSync(join(tmpdir(), "wrinklefree-audit-"));
      const keys = join(directory, "keys");
      writeFileSync(keys, "sk-audited name=alice\n");
      const args = ["--log", "json", "--api-key-file", keys, "--trusted-proxy", "127.0.0.1"];
      const server = await startServer([await deepModel(), ...args]);
      const headers = { ...JSON_TYPE, authorization: "Bearer sk-audited", "x-forwarded-for": "203.0.113.9" };
      const post = (body: object, more: RequestInit = {}) => server.post(CHAT, body, { headers, ...more });
      await (await post(ask(secret))).text();
      await (await post({ ...ask(secret), model: secret })).text();
      await (await server.post(CHAT, ask(secret))).text();
      const leave = new AbortController();
      const long = ask(secret, { ignore_eos: true, max_tokens: 2000, stream: true });
      await post(long, { signal: leave.signal });
      leave.abort();
      await eventually(() => requests(server).length === 4);
      const [answered, misnamed, unknown, left] = requests(server);
      expect(answered).toEqual({
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        level: "info",
        event: "request",
        request_id: expect.stringMatching(/^req_/),
        trace_id: null,
        span_id: null,
        client: "203.0.113.9",
        key: "alice",
        method: "POST",
        path: CHAT,
        model: "deep",
        status: 200,
        error_type: null,
        error_code: null,
        finish_reasons: ["length"],
        prompt_tokens: expect.any(Number),
        cached_tokens: 0,
        completion_tokens: 3,
        queue_ms: expect.any(Number),
        first_token_ms: expect.any(Number),
        duration_ms: expect.any(Number),
      });
      expect(misnamed).toMatchObject({ status: 404, model: null, error_code: "model_not_found", finish_reasons: [] });
      expect(unknown).toMatchObject({ status: 401, key: null, error_code: "invalid_api_key", client: "127.0.0.1" });
      expect(left).toMatchObject({ status: 499, error_type: null, finish_reasons: ["abort"], model: "deep" });
      expect(left?.prompt_tokens).toBe(answered?.prompt_tokens as number);
      for (const text of [secret, "sk-audited"]) expect(server.log()).not.toContain(text);
      await server.stop();
      rmSync(directory, { recursive: true });
    });

    test("what becomes of the server is told from its start to its end, and every line is JSON", async () => {
      // A setting that there is none of makes a warning before the server starts.
      const env = { PATH: process.env.PATH ?? "", WRINKLEFREE_NONE: "x" };
      const server = await startServer([await deepModel(), "--log", "json", "--drain-timeout", "1"], { env });
      await (await server.post(CHAT, ask("x"))).text();
      const endless = server.post(CHAT, ask("x", { ignore_eos: true, max_tokens: 2000, stream: true }));
      const received = endless.then((answer) => answer.text());
      await eventually(async () => (await server.requests()).running === 1);
      server.signal("SIGTERM");
      expect(await server.exited).toBe(0);
      expect(await received).toContain("The server shut down before the answer was complete.");
      const entries = logLines(server.log());
      const told = (event: string) => entries.find((entry) => entry.event === event);
      expect(entries.map(({ event }) => event)).toEqual([
        "note",
        "start",
        "ready",
        "request",
        "drain",
        "request",
        "stop",
      ]);
      expect(told("note")).toMatchObject({
        level: "warn",
        message: expect.stringMatching(/^the environment's WRINKLEFREE_NONE/),
      });
      expect(told("start")).toMatchObject({ version: expect.any(String), pid: server.pid });
      expect(told("ready")).toMatchObject({ model: "deep", urls: [server.url], keys: 0 });
      expect(told("drain")).toMatchObject({
        message: expect.stringMatching(/^finishing 1 answer, for 1 s at most;/),
        ...{ running: 1, waiting: 0, drain_timeout_s: 1 },
      });
      // The answer that was cut off had begun, so its status is that of the beginning.
      expect(entries[5]).toMatchObject({
        status: 200,
        level: "error",
        error_type: "server_error",
        finish_reasons: ["error"],
      });
      expect(told("stop")).toMatchObject({ requests: expect.any(Number), cut_off: 1 });
    });
  });

  test("off: nothing", async () => {
    const server = await startServer(["--log", "off"]);
    const before = server.log();
    await (await server.post(CHAT, ask("x"))).text();
    await Bun.sleep(50);
    expect(server.log()).toBe(before);
    await server.stop();
  });
});

describe("metrics", () => {
  /** The samples by name and labels; fails on what Prometheus would not read. */
  function parse(text: string): Map<string, number> {
    const samples = new Map<string, number>();
    const types = new Map<string, string>();
    for (const line of text.trimEnd().split("\n")) {
      const type = /^# TYPE (\S+) (gauge|counter|histogram)$/.exec(line);
      if (type !== null) types.set(type[1] as string, type[2] as string);
      if (line.startsWith("#")) {
        expect(line).toMatch(/^# (TYPE|HELP) wrinklefree_[a-z0-9_]+ \S/);
        continue;
      }
      const [, name, labels, value] = /^([a-z0-9_]+)\{([^{}]*)\} (\S+)$/.exec(line) as RegExpExecArray;
      expect(Number.isFinite(Number(value))).toBe(true);
      const family = (name as string).replace(/_(bucket|sum|count)$/, "");
      expect(types.has(name as string) || types.get(family) === "histogram").toBe(true);
      if (types.get(name as string) === "counter") expect(name).toEndWith("_total");
      expect(samples.has(`${name}{${labels}}`)).toBe(false);
      samples.set(`${name}{${labels}}`, Number(value));
    }
    return samples;
  }

  test("count what was done", async () => {
    const server = await startServer(["--log", "off", "--served-name", 'a "b"\\c']);
    const model = 'model_name="a \\"b\\"\\\\c"';
    const read = async () => {
      const response = await fetch(`${server.url}/metrics`);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      return parse(await response.text());
    };
    expect((await read()).get(`wrinklefree_time_to_first_token_seconds_count{${model}}`)).toBe(0);
    await server.chat(ask("What is the capital of France?", { max_tokens: 50 }));
    await server.stream(ask("Tell me a story.", { n: 2, max_tokens: 5 }));
    await (await server.post(CHAT, {})).text();
    await (await fetch(`${server.url}/somewhere/else`)).text();
    const leave = new AbortController();
    const long = ask("Tell me a story.", { ignore_eos: true, max_tokens: 2000, stream: true });
    await server.post(CHAT, long, { headers: JSON_TYPE, signal: leave.signal });
    leave.abort();
    await eventually(async () => (await server.requests()).running === 0);
    // The engine frees what it held for the client that left with its next step.
    await eventually(async () => (await read()).get(`wrinklefree_kv_cache_usage_perc{${model}}`) === 0);
    const samples = await read();
    const sample = (name: string, labels = "") => samples.get(`wrinklefree_${name}{${model}${labels}}`);
    expect(sample("request_success_total", ',finished_reason="stop"')).toBe(1);
    expect(sample("request_success_total", ',finished_reason="length"')).toBe(2);
    expect([...samples.keys()].filter((name) => name.startsWith("wrinklefree_request_success_total")).length).toBe(2);
    const outcomes = ["success", "abort", "error"].map((one) => sample("request_outcomes_total", `,outcome="${one}"`));
    expect(outcomes).toEqual([3, 1, 0]);
    for (const name of ["time_to_first_token_seconds", "request_queue_time_seconds", "e2e_request_latency_seconds"]) {
      expect(sample(`${name}_count`)).toBe(3);
      expect(sample(`${name}_bucket`, ',le="+Inf"')).toBe(3);
    }
    expect(sample("inter_token_latency_seconds_count")).toBeGreaterThanOrEqual(8 + 4 + 4);
    expect(sample("generation_tokens_total")).toBeGreaterThanOrEqual(9 + 10);
    expect(sample("prompt_tokens_total")).toBeGreaterThanOrEqual(14 + 12);
    expect(sample("prefix_cache_queries_total")).toBeGreaterThanOrEqual(sample("prefix_cache_hits_total") as number);
    expect([sample("num_requests_running"), sample("num_requests_waiting")]).toEqual([0, 0]);
    expect(sample("kv_cache_usage_perc")).toBe(0);
    const requests = (labels: string) => samples.get(`wrinklefree_http_requests_total{${labels}}`);
    expect(requests(`method="POST",path="${CHAT}",status="200"`)).toBe(2);
    expect(requests(`method="POST",path="${CHAT}",status="499"`)).toBe(1);
    expect(requests(`method="POST",path="${CHAT}",status="400"`)).toBe(1);
    expect(requests('method="GET",path="other",status="404"')).toBe(1);
    await server.stop();
  });
});
