/**
 * The clock of the day is set, by hours and in either direction, while a server runs. What is measured and waited for goes by another
 * clock, which nobody sets; what says when something was goes by the clock of the day.
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { type FalseClock, hasFalseClock, makeFalseClock } from "./support/false_clock.ts";
import { type ChatAnswer, eventually, openConnection, startServer, type TestServer } from "./support/server.ts";
import { hasServiceManager, startManager } from "./support/service_manager.ts";

setDefaultTimeout(60_000);

const PATH = process.env.PATH ?? "/usr/bin:/bin";
const DAY = 86_400;

describe.skipIf(!hasFalseClock())("a clock that is set", () => {
  let clock: FalseClock;
  let server: TestServer | undefined;
  afterEach(async () => {
    await server?.stop();
    server = undefined;
    clock.remove();
  });

  async function start(args: string[]): Promise<TestServer> {
    clock = makeFalseClock();
    server = await startServer(args, { env: { PATH, ...clock.env } });
    return server;
  }

  test.each([[DAY], [-DAY]])("by %d s neither gives a key more than it may have, nor less", async (offset) => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-clock-keys-"));
    const keys = join(directory, "keys");
    writeFileSync(keys, "sk-a requests=1\nsk-b requests=600\n");
    const { post } = await start(["--api-key-file", keys]);
    rmSync(directory, { recursive: true });
    const ask = (key: string) =>
      post(CHAT, { ...FRANCE, max_tokens: 1 }, { headers: { "content-type": "application/json", "x-api-key": key } });
    const first = (await (await ask("sk-a")).json()) as ChatAnswer;
    expect((await ask("sk-b")).status).toBe(200);
    clock.set(offset);
    const refused = await ask("sk-a");
    expect([refused.status, Number(refused.headers.get("retry-after"))]).toEqual([429, expect.any(Number)]);
    expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 61);
    const later = await ask("sk-b");
    expect(later.status).toBe(200);
    // The clock was set indeed.
    const { created } = (await later.json()) as ChatAnswer;
    expect(created - first.created).toBeWithin(offset - 1, offset + 600);
  });

  test.each([[DAY], [-DAY]])("by %d s changes no duration that is told", async (offset) => {
    const running = await start([await deepModel(), "--log", "json"]);
    const began = performance.now();
    const answer = running.chat({ ...FRANCE, max_tokens: 100, ignore_eos: true });
    await eventually(async () => (await running.requests()).running === 1);
    clock.set(offset);
    const { timings } = await answer;
    const most = performance.now() - began;
    expect(timings.predicted_ms).toBeWithin(1, most);
    await eventually(() => running.log().includes('"status":200'));
    const [, duration] = /"status":200.*"duration_ms":([\d.-]+)/.exec(running.log()) ?? [];
    expect(Number(duration)).toBeWithin(1, most);
    const metrics = await (await fetch(`${running.url}/metrics`)).text();
    const sums = [...metrics.matchAll(/^wrinklefree_\w+_seconds_(?:sum|total)\{.*\} (\S+)$/gm)].map(([, sum]) =>
      Number(sum),
    );
    expect(sums.length).toBeGreaterThan(3);
    for (const sum of sums) expect(sum).toBeWithin(0, most);
  });

  test("closes no connection that is in use, and leaves none open that is idle", async () => {
    const running = await start(["--keep-alive", "2", "--log", "off"]);
    const connection = openConnection(running.port);
    for (const offset of [DAY, -DAY, 0]) {
      expect((await connection.ask("GET", "/health")).status).toBe(200);
      clock.set(offset);
    }
    await eventually(() => connection.isClosed());
  });

  test.skipIf(!hasServiceManager())("leaves the watchdog told that the server goes on", async () => {
    clock = makeFalseClock();
    const manager = await startManager("none", { watchdogSeconds: 0.4, env: clock.env });
    try {
      await manager.start("serve", "--port", "0");
      const heard = () => manager.notified().filter((text) => text === "WATCHDOG=1").length;
      for (const offset of [0, DAY, -DAY]) {
        clock.set(offset);
        const before = heard();
        await eventually(() => heard() > before + 3);
      }
    } finally {
      await manager.stop();
    }
  });
});
