/**
 * The server as a service: what it tells the service manager that started it, and the sockets that it gets from there. The manager is
 * a small one that speaks as systemd does (tests/support/service_manager.py).
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { Progress } from "../src/server/service_manager.ts";
import { canMakeCertificates, makeCertificate } from "./support/certificates.ts";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { eventually, openConnection, runProgram } from "./support/server.ts";
import { hasServiceManager, startManager, type TestManager } from "./support/service_manager.ts";

setDefaultTimeout(60_000);

const ENDLESS = { ...FRANCE, ignore_eos: true };

let manager: TestManager;
afterEach(() => manager?.stop());

const states = () => manager.notified().filter((text) => !/^(STATUS|WATCHDOG|EXTEND_TIMEOUT_USEC)=/.test(text));
const isSaid = (text: string) => eventually(() => manager.notified().includes(text));

/** Posts a chat request over a connection of its own. */
function post(port: number, body: object): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return fetch(`http://127.0.0.1:${port}${CHAT}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers,
    keepalive: false,
  });
}

/** The port on which the last server that was started listens. */
async function ownPort(): Promise<number> {
  await isSaid("READY=1");
  return Number(/^serving +http:\/\/127\.0\.0\.1:(\d+)\/v1$/m.exec(manager.log())?.[1]);
}

describe.skipIf(!hasServiceManager())("the service manager", () => {
  test("is told of the start, the loading, each reload and the end, and what is going on", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-service-"));
    const keys = join(directory, "keys");
    writeFileSync(keys, "sk-a\n");
    manager = await startManager("none");
    const pid = await manager.start("serve", "--port", "0", "--api-key-file", keys);
    await isSaid("READY=1");
    expect(manager.notified()[0]).toBe("STATUS=loading");
    expect(manager.notified()).toContain("EXTEND_TIMEOUT_USEC=300000000");
    await isSaid("STATUS=serving tiny: 0 answers running, 0 waiting");
    process.kill(pid, "SIGHUP");
    await eventually(() => states().length === 3);
    // It goes on being ready where something could not be reloaded, and says so.
    writeFileSync(keys, "");
    process.kill(pid, "SIGHUP");
    await eventually(() => states().length === 5);
    await isSaid("STATUS=serving tiny: 0 answers running, 0 waiting; not reloaded, see the log: keys");
    process.kill(pid, "SIGTERM");
    expect(await manager.ended(pid)).toBe(0);
    await eventually(() => states().length === 6);
    expect(states()).toEqual(["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]);
    // By default the end may take 30 s, whatever the unit says.
    expect(manager.notified()).toContain("EXTEND_TIMEOUT_USEC=45000000");
    // Without a watchdog nobody is told that the server goes on.
    expect(manager.notified()).not.toContain("WATCHDOG=1");
    rmSync(directory, { recursive: true });
  });

  test("hears one thing at a time, whatever the model is called", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-service-"));
    const config = join(directory, "config.toml");
    writeFileSync(config, 'served-name = "a\\nWATCHDOG=trigger"\n');
    manager = await startManager("none");
    await manager.start("serve", "--port", "0", "--config", config);
    await isSaid("STATUS=serving a\\nWATCHDOG=trigger: 0 answers running, 0 waiting");
    rmSync(directory, { recursive: true });
  });

  test("the watchdog hears of an engine that computes, and no more of one that is stuck", async () => {
    manager = await startManager("none", { watchdogSeconds: 0.4 });
    const pid = await manager.start("serve", await deepModel(), "--port", "0", "--threads", "1", "--parallel", "1");
    const port = await ownPort();
    const heard = () => manager.notified().filter((text) => text === "WATCHDOG=1").length;
    await eventually(() => heard() > 3);
    const answer = post(port, { ...ENDLESS, n: 16, max_tokens: 1900 }).catch(() => undefined);
    const health = async () => (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as Health;
    await eventually(async () => ((await health()).engine?.generated_tokens ?? 0) > 20);
    const busy = heard();
    await eventually(() => heard() > busy + 3);
    if (!(await manager.wedge(pid))) return console.log("skipping a stuck engine: this process may not trace others");
    // What was said before may still be on its way.
    await Bun.sleep(1000);
    const stuck = heard();
    await Bun.sleep(2000);
    expect(heard()).toBe(stuck);
    process.kill(pid, "SIGKILL");
    await answer;
  });
});

interface Health {
  engine?: { generated_tokens: number };
  requests: { running: number };
}

test("an engine goes on when it begins something or has nothing to do", () => {
  const progress = new Progress();
  const seen = [
    [0, 0, 7],
    [0, 0, 7],
    [1, 0, 7],
    [1, 0, 8],
    [0, 1, 8],
    [1, 1, 0],
  ].map(([running = 0, waiting = 0, phases = 0]) => progress.goesOn({ running, waiting, phases }));
  expect(seen).toEqual([true, true, false, true, false, true]);
});

describe.skipIf(!hasServiceManager())("sockets that were passed to the process", () => {
  test.each([
    ["its file names them", (port: number) => `host = "localhost"\nport = ${port}\n`],
    ["its file names other ones", () => "port = 1\n"],
  ])("a service listens nowhere but at the sockets of its units: %s", async (_, text) => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-service-"));
    const config = join(directory, "config.toml");
    manager = await startManager("tcp");
    writeFileSync(config, `[serve]\n${text(manager.port)}`);
    const args = ["systemd", "print", "--user", "--config", config, "--port", String(manager.port)];
    const { stdout } = await runProgram(args);
    expect(stdout).toMatch(new RegExp(`^ListenStream=127\\.0\\.0\\.1:${manager.port}$`, "m"));
    await manager.start(...(/^ExecStart=\S+ (.*)$/m.exec(stdout)?.[1] ?? "").split(" "));
    await isSaid("READY=1");
    expect(manager.log().match(/^(serving| {7}) {2}\S+\/v1$/gm)).toEqual([
      `serving  http://127.0.0.1:${manager.port}/v1`,
    ]);
    rmSync(directory, { recursive: true });
  });

  test("connections wait there until the model is loaded, and through a restart: no answer is lost", async () => {
    manager = await startManager("tcp");
    const { port } = manager;
    // Nobody is there yet.
    const early = post(port, { ...FRANCE, max_tokens: 9 });
    const first = await manager.start("serve", await deepModel());
    expect((await (await early).json()) as object).toMatchObject({ usage: { completion_tokens: expect.any(Number) } });
    expect(manager.log()).toContain(`\nserving  http://127.0.0.1:${port}/v1\n`);
    const long = post(port, { ...ENDLESS, max_tokens: 300 });
    // Connected before the end; asked with after it began.
    const open = openConnection(port);
    expect((await open.ask("GET", "/health")).status).toBe(200);
    await eventually(async () => {
      const health = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as Health;
      return health.requests.running === 1;
    });
    process.kill(first, "SIGTERM");
    await isSaid("STOPPING=1");
    const last = await open.ask("POST", CHAT, { ...FRANCE, max_tokens: 3 });
    expect([last.status, last.headers.get("connection")]).toEqual([200, "close"]);
    const late = Array.from({ length: 8 }, () => post(port, { ...FRANCE, max_tokens: 3 }));
    expect(await (await long).json()).toMatchObject({ usage: { completion_tokens: 300 } });
    expect(await manager.ended(first)).toBe(0);
    await manager.start("serve");
    for (const answer of await Promise.all(late)) {
      expect([answer.status, ((await answer.json()) as { model: string }).model]).toEqual([200, "tiny"]);
    }
  });

  test.skipIf(!canMakeCertificates())(
    "a certificate that comes when the server ends is for the next one, to whom new connections go",
    async () => {
      const directory = mkdtempSync(join(tmpdir(), "wrinklefree-service-"));
      const files = { certificate: join(directory, "served.pem"), key: join(directory, "served-key.pem") };
      const use = (name: string) => {
        const { certificate, key } = makeCertificate(directory, name);
        copyFileSync(certificate, files.certificate);
        copyFileSync(key, files.key);
      };
      use("first");
      manager = await startManager("tcp");
      const words = ["serve", await deepModel(), "--tls-cert", files.certificate, "--tls-key", files.key];
      const pid = await manager.start(...words);
      const url = `https://127.0.0.1:${manager.port}`;
      const tls = { rejectUnauthorized: false };
      const long = fetch(`${url}${CHAT}`, {
        method: "POST",
        body: JSON.stringify({ ...ENDLESS, max_tokens: 300 }),
        headers: { "content-type": "application/json" },
        tls,
      });
      await eventually(async () => {
        const health = (await (await fetch(`${url}/health`, { tls })).json()) as Health;
        return health.requests.running === 1;
      });
      process.kill(pid, "SIGTERM");
      await isSaid("STOPPING=1");
      use("second");
      process.kill(pid, "SIGHUP");
      await eventually(() => /^wrinklefree: .*reloaded\b/m.test(manager.log()));
      const happened: string[] = [];
      const late = new Promise<void>((resolve, reject) => {
        const socket = connectTls({ port: manager.port, host: "127.0.0.1", ...tls }, () => {
          happened.push(`connected to ${socket.getPeerCertificate().subject.CN}`);
          socket.destroy();
          resolve();
        });
        socket.on("error", reject);
      });
      expect((await (await long).json()) as object).toMatchObject({ usage: { completion_tokens: 300 } });
      expect(await manager.ended(pid)).toBe(0);
      happened.push("ended");
      await manager.start(...words);
      await late;
      expect(happened).toEqual(["ended", "connected to second"]);
      rmSync(directory, { recursive: true });
    },
  );

  test("stay where they are though a key is given on the command line", async () => {
    manager = await startManager("tcp");
    const { port } = manager;
    await manager.start("serve", "--api-key", "sk-argument");
    const headers = { "x-api-key": "sk-argument" };
    expect((await fetch(`http://127.0.0.1:${port}/v1/models`, { headers })).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${port}/v1/models`)).status).toBe(401);
  });

  test("a unix socket and an address together; the socket's file stays when the server ends", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-service-"));
    const path = join(directory, "socket");
    manager = await startManager(`unix:${path},tcp`);
    const pid = await manager.start("serve");
    for (const init of [{ unix: path }, {}]) {
      expect((await fetch(`http://localhost:${manager.port}/ready`, init)).status).toBe(200);
    }
    expect(manager.log()).toContain(`\n         unix:${path}\n`);
    process.kill(pid, "SIGTERM");
    expect(await manager.ended(pid)).toBe(0);
    expect(existsSync(path)).toBe(true);
    rmSync(directory, { recursive: true });
  });

  test("beside an address that was asked for", async () => {
    manager = await startManager("tcp");
    await manager.start("serve", "--port", "0");
    await isSaid("READY=1");
    const places = () => [...manager.log().matchAll(/http:\/\/127\.0\.0\.1:(\d+)\/v1$/gm)];
    // The manager may be told before its log has been read.
    await eventually(() => places().length === 2);
    const ports = places().map(([, port]) => Number(port));
    expect(ports).toContain(manager.port);
    for (const port of ports) expect((await fetch(`http://127.0.0.1:${port}/ready`)).status).toBe(200);
  });
});
