/** What each API key may use: requests and tokens a minute, requests at once; what is beyond is refused as clients read it. */

import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApiKey, KeyLimits } from "../src/serving/api_key.ts";
import { KeyAccounts } from "../src/serving/key_limits.ts";
import type { RequestError } from "../src/serving/request_error.ts";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { engineHealth, eventually, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let directory: string;
let server: TestServer | undefined;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-limits-"));
});
afterEach(async () => {
  await server?.stop();
  server = undefined;
});
afterAll(() => rmSync(directory, { recursive: true }));

async function start(keys: string, ...args: string[]): Promise<string> {
  const file = join(directory, "keys");
  writeFileSync(file, keys);
  server = await startServer([...args, "--api-key-file", file]);
  return file;
}

const post = (key: string, path = CHAT, body: object = { ...FRANCE, max_tokens: 3 }, init: RequestInit = {}) =>
  fetch(`${server?.url}${path}`, {
    ...init,
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", "x-api-key": key },
  });

test("a key's requests a minute: the next one is refused in the shape of its dialect, other keys and what costs nothing are not", async () => {
  await start("sk-a requests=2\nsk-b\n", "--key-requests", "3");
  expect([(await post("sk-a")).status, (await post("sk-a")).status]).toEqual([200, 200]);
  for (const [path, body] of [
    [CHAT, FRANCE],
    ["/completion", { prompt: "x" }],
    ["/generate", { text: "x" }],
    ["/tokenize", { content: "x" }],
  ] as const) {
    const refused = await post("sk-a", path, body);
    expect(refused.status).toBe(429);
    // Half a minute brings the next one back.
    expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 31);
    expect(await refused.json()).toMatchObject({
      error: {
        type: "rate_limit_error",
        code: "rate_limit_exceeded",
        message: expect.stringMatching(
          /^This API key is at its limit of 2 requests a minute\. Please try again in \d+ s\.$/,
        ),
      },
    });
  }
  const models = await fetch(`${server?.url}/v1/models`, { headers: { "x-api-key": "sk-a" } });
  expect(models.status).toBe(200);
  const others = [];
  for (let i = 0; i < 4; i++) others.push((await post("sk-b")).status);
  expect(others).toEqual([200, 200, 200, 429]);
});

test("tokens a minute: prompts and answers count, those of clients who left as well", async () => {
  await start("sk-a tokens=30\n", await deepModel());
  const leave = new AbortController();
  const endless = { ...FRANCE, n: 16, stream: true, ignore_eos: true, max_tokens: 1900 };
  await post("sk-a", CHAT, endless, { signal: leave.signal });
  await eventually(async () => (await engineHealth(server as TestServer)).generated_tokens > 24);
  leave.abort();
  // The log has them too.
  await eventually(() => / 499 .* \d+ prompt \(\d+ cached\) \+ [1-9]\d* tokens /.test(server?.log() ?? ""));
  const refused = await post("sk-a");
  expect(refused.status).toBe(429);
  expect(((await refused.json()) as { error: { message: string } }).error.message).toContain("30 tokens a minute");
});

test("requests at once: one that is over makes room for the next", async () => {
  await start("sk-a running=1\n", await deepModel());
  const leave = new AbortController();
  await post("sk-a", CHAT, { ...FRANCE, stream: true, ignore_eos: true, max_tokens: 1900 }, { signal: leave.signal });
  const refused = await post("sk-a");
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
  leave.abort();
  await eventually(async () => (await post("sk-a")).status === 200);
  expect((await post("sk-a")).status).toBe(200);
});

test("what a key has used stays used when its file is read again, in whatever place and under whatever name", async () => {
  const file = await start("sk-a requests=1 name=alice\n");
  expect((await post("sk-a")).status).toBe(200);
  writeFileSync(file, "sk-b requests=1\nsk-a requests=1 name=bob\n");
  server?.signal("SIGHUP");
  await eventually(() => /^wrinklefree: reloaded: 2 API keys/m.test(server?.log() ?? ""));
  expect((await post("sk-a")).status).toBe(429);
  expect((await post("sk-b")).status).toBe(200);
  await eventually(() => / 429 .* key bob /.test(server?.log() ?? ""));
  expect(server?.log()).toMatch(/ 200 .* key alice /);
});

describe("an account", () => {
  let now = 0;
  const key = (limits: KeyLimits): ApiKey => ({ hash: "h", label: "l", limits });

  /** Seconds after which a refused request may try again; undefined: it is let in. */
  function refusedFor(accounts: KeyAccounts, limits: KeyLimits): number | undefined {
    try {
      accounts.begin(key(limits)).end();
      return undefined;
    } catch (error) {
      return Number((error as RequestError).details.headers?.["retry-after"]);
    }
  }

  test("comes back evenly, and never holds more than a minute's worth", () => {
    const accounts = new KeyAccounts(() => now);
    const limits = { requests: 4 };
    const begin = () => refusedFor(accounts, limits);
    expect(Array.from({ length: 5 }, begin)).toEqual([undefined, undefined, undefined, undefined, 15]);
    now += 14_999;
    expect(begin()).toBe(1);
    now += 1;
    expect([begin(), begin()]).toEqual([undefined, 15]);
    now += 3_600_000;
    expect(Array.from({ length: 5 }, begin)).toEqual([undefined, undefined, undefined, undefined, 15]);
  });

  test("that used more tokens than it had waits until that is made up for", () => {
    const accounts = new KeyAccounts(() => now);
    const limits = { tokens: 60 };
    const one = accounts.begin(key(limits));
    one.charge(60 + 120);
    one.end();
    // 120 tokens are missing, and one has to be there.
    expect(refusedFor(accounts, limits)).toBe(121);
    now += 121_000;
    expect(refusedFor(accounts, limits)).toBeUndefined();
  });

  test("whose limits have changed counts by the new ones, also what requests use that began before", () => {
    const accounts = new KeyAccounts(() => now);
    const rich = accounts.begin(key({ tokens: 60_000_000 }));
    const free = new KeyAccounts(() => now);
    const unlimited = free.begin(key({}));
    const limits = { tokens: 60 };
    for (const [account, before] of [
      [accounts, rich],
      [free, unlimited],
    ] as const) {
      expect(refusedFor(account, limits)).toBeUndefined();
      before.charge(60 + 120);
      now += 1000;
      before.charge(0);
      expect(refusedFor(account, limits)).toBe(120);
    }
  });

  test("that is refused has used nothing", () => {
    const accounts = new KeyAccounts(() => now);
    const limits = { requests: 2, running: 1 };
    const one = accounts.begin(key(limits));
    for (let i = 0; i < 9; i++) expect(refusedFor(accounts, limits)).toBe(1);
    one.end();
    expect([refusedFor(accounts, limits), refusedFor(accounts, limits)]).toEqual([undefined, 30]);
  });
});
