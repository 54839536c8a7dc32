/**
 * Where a server listens and what can change while it does: TLS, unix sockets, several places at once, files that SIGHUP has read
 * again, and whose word on a client's address is taken.
 */

import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  setSystemTime,
  spyOn,
  test,
} from "bun:test";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { readCertificate } from "../src/server/certificate.ts";
import { isProxyRange, TrustedProxies } from "../src/server/client_address.ts";
import { reloadAtHangup } from "../src/server/hangup.ts";
import { canMakeCertificates, makeCertificate, type TestCertificate } from "./support/certificates.ts";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { eventually, executable, openConnection, runProgram, startServer, type TestServer } from "./support/server.ts";
import { TestTerminal } from "./support/terminal.ts";

setDefaultTimeout(60_000);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-listening-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

let server: TestServer | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

/** How many times SIGHUP has been answered, well or not. */
const reloads = (running: TestServer) => running.log().match(/^wrinklefree: reloaded\b/gm)?.length ?? 0;

async function reload(running: TestServer): Promise<void> {
  const before = reloads(running);
  running.signal("SIGHUP");
  await eventually(() => reloads(running) > before);
}

describe.skipIf(!canMakeCertificates())("TLS", () => {
  let [first, second]: TestCertificate[] = [];
  let files: { certificate: string; key: string };
  beforeAll(() => {
    [first, second] = ["first", "second"].map((name) => makeCertificate(directory, name));
    files = { certificate: join(directory, "served.pem"), key: join(directory, "served-key.pem") };
  });
  const serve = (certificate: TestCertificate) => {
    copyFileSync(certificate.certificate, files.certificate);
    copyFileSync(certificate.key, files.key);
  };
  const tls = () => ["--tls-cert", files.certificate, "--tls-key", files.key];

  /** Whose certificate new connections get. */
  const subject = (port: number) =>
    new Promise<unknown>((resolve, reject) => {
      const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().subject.CN);
        socket.destroy();
      });
      socket.on("error", reject);
    });

  test("clients that know the certificate are answered, whole and streamed, others see who it is", async () => {
    serve(first as TestCertificate);
    server = await startServer(tls());
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const known = { ca: first?.text };
    for (const stream of [false, true]) {
      const answer = await server.post(CHAT, { ...FRANCE, stream }, { tls: known } as RequestInit);
      expect([answer.status, (await answer.text()).includes("Paris")]).toEqual([200, true]);
    }
    await expect(fetch(`${server.url}/health`)).rejects.toThrow(/self.signed|certificate/i);
    expect(await subject(server.port)).toBe("first");
  });

  test("a new certificate is used from SIGHUP on, and neither an answer under way nor a connection is lost", async () => {
    serve(first as TestCertificate);
    server = await startServer([await deepModel(), ...tls()]);
    const { port } = server;
    const insecure = { tls: { rejectUnauthorized: false } } as RequestInit;
    const long = server.post(CHAT, { ...FRANCE, max_tokens: 400, ignore_eos: true }, insecure);
    await eventually(async () => {
      const health = await (await fetch(`${server?.url}/health`, insecure)).json();
      return (health as { requests: { running: number } }).requests.running === 1;
    });
    // Connected before, asked with afterwards.
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    await new Promise((resolve) => socket.once("secureConnect", resolve));
    serve(second as TestCertificate);
    await reload(server);
    expect(await subject(port)).toBe("second");
    socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const answered = String(await new Promise((resolve) => socket.once("data", resolve)));
    expect(answered).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\nconnection: close\r\n/i);
    expect((await (await long).json()) as object).toMatchObject({ usage: { completion_tokens: 400 } });
    // And back again: nothing is used up by it.
    serve(first as TestCertificate);
    await reload(server);
    expect(await subject(port)).toBe("first");
  });

  test("a key that came through a pipe stays, and what is no pipe is read again", async () => {
    serve(first as TestCertificate);
    const pipe = join(directory, "pipe");
    expect(spawnSync("mkfifo", [pipe]).status).toBe(0);
    const writer = Bun.spawn(["cp", (first as TestCertificate).key, pipe]);
    server = await startServer(["--tls-cert", files.certificate, "--tls-key", pipe]);
    await writer.exited;
    await reload(server);
    expect(server.log()).toMatch(/^wrinklefree: reloaded: 0 API keys, certificate of /m);
    expect(await subject(server.port)).toBe("first");
    copyFileSync((second as TestCertificate).certificate, files.certificate);
    await reload(server);
    expect(server.log()).toMatch(/^wrinklefree: the certificate stays as it was: .* belongs to another certificate/m);
  });

  test("a certificate that can't be served changes nothing", async () => {
    serve(first as TestCertificate);
    server = await startServer(tls());
    copyFileSync((second as TestCertificate).certificate, files.certificate);
    await reload(server);
    expect(server.log()).toMatch(
      /^wrinklefree: the certificate stays as it was: the key in .* belongs to another certificate/m,
    );
    expect(await subject(server.port)).toBe("first");
  });

  test.each<[string, () => string[], RegExp]>([
    [
      "a certificate without a key",
      () => ["--tls-cert", files.certificate],
      /^wrinklefree serve: --tls-cert needs --tls-key/,
    ],
    ["a key without a certificate", () => ["--tls-key", files.key], /^wrinklefree serve: --tls-key needs --tls-cert/],
    [
      "a missing file",
      () => ["--tls-cert", "/nowhere/c", "--tls-key", files.key],
      /can't read the certificate \/nowhere\/c: /,
    ],
    [
      "a key for a certificate",
      () => ["--tls-cert", files.key, "--tls-key", files.key],
      /served-key.pem holds no certificate/,
    ],
    [
      "a certificate for a key",
      () => ["--tls-cert", files.certificate, "--tls-key", files.certificate],
      /served.pem holds no private key/,
    ],
    [
      "another one's key",
      () => ["--tls-cert", files.certificate, "--tls-key", second?.key ?? ""],
      /belongs to another certificate/,
    ],
    [
      "an encrypted key",
      () => ["--tls-cert", files.certificate, "--tls-key", encrypted()],
      /is encrypted; write it without/,
    ],
    [
      "a damaged certificate",
      () => ["--tls-cert", damaged(), "--tls-key", files.key],
      /certificate 1 in .*damaged.pem is damaged/,
    ],
  ])("%s stops the start", async (_, args, wanted) => {
    serve(first as TestCertificate);
    const { code, stderr } = await runProgram(["serve", "--port", "0", ...args()]);
    expect(stderr).toMatch(wanted);
    expect(code).toBeGreaterThan(0);
  });

  function encrypted(): string {
    const path = join(directory, "encrypted.pem");
    spawnSync("openssl", ["pkey", "-in", files.key, "-aes256", "-passout", "pass:secret", "-out", path]);
    return path;
  }

  function damaged(): string {
    const path = join(directory, "damaged.pem");
    writeFileSync(path, (first as TestCertificate).text.replace(/\nMII..../, "\nAAAAAAAA"));
    return path;
  }

  test("one that has expired, or is not valid yet, is served with a warning", () => {
    serve(first as TestCertificate);
    try {
      setSystemTime(new Date("2120-01-01"));
      expect(readCertificate(files).warning).toMatch(/certificate 1 in .*served\.pem expired at 20/);
      setSystemTime(new Date("2020-01-01"));
      expect(readCertificate(files).warning).toMatch(/certificate 1 in .*served\.pem is valid from 20/);
    } finally {
      setSystemTime();
    }
    expect(readCertificate(files).warning).toBeUndefined();
  });

  test.each([
    [1024, /certificate 1 in .*rsa\.pem has an RSA key of 1024 bits; clients will refuse fewer than 2048$/],
    [2048, undefined],
  ])("one with an RSA key of %d bits", (bits, warning) => {
    const rsa = { certificate: join(directory, "rsa.pem"), key: join(directory, "rsa-key.pem") };
    const where = ["-keyout", rsa.key, "-out", rsa.certificate, "-days", "30"];
    spawnSync("openssl", ["req", "-x509", "-newkey", `rsa:${bits}`, "-nodes", "-subj", "/CN=rsa", ...where]);
    if (warning === undefined) expect(readCertificate(rsa).warning).toBeUndefined();
    else expect(readCertificate(rsa).warning).toMatch(warning);
  });
});

describe("unix sockets", () => {
  const path = (name: string) => join(directory, name);
  const ask = (socket: string, init: RequestInit = {}) => fetch("http://localhost/health", { ...init, unix: socket });

  test("one beside an address: both answer, and its file is there for its owner and group alone until the end", async () => {
    const socket = path("both.sock");
    server = await startServer(["--listen", `unix:${socket}`]);
    for (const answer of [await ask(socket), await fetch(`${server.url}/health`)]) expect(answer.status).toBe(200);
    expect((lstatSync(socket).mode & 0o777).toString(8)).toBe("660");
    expect(server.log()).toMatch(new RegExp(`^ +unix:${socket}$`, "m"));
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(existsSync(socket)).toBe(false);
    expect(existsSync(`${socket}.lock`)).toBe(false);
  });

  test("permissions are those that were asked for, and a page of the host's name needs none of them", async () => {
    const socket = path("mode.sock");
    server = await startServer(["--listen", `unix:${socket}`, "--socket-mode", "600"]);
    expect((lstatSync(socket).mode & 0o777).toString(8)).toBe("600");
    // No stranger's page reaches a unix socket, so the name by which a proxy asks does not matter.
    expect((await ask(socket, { headers: { host: "llm.example" } })).status).toBe(200);
    expect((await fetch(`${server.url}/health`, { headers: { host: "llm.example" } })).status).toBe(403);
  });

  test("a file that a killed server left is replaced; one that is in use, or is no socket, is not touched", async () => {
    const socket = path("stale.sock");
    server = await startServer(["--listen", `unix:${socket}`]);
    await server.stop();
    expect(existsSync(socket)).toBe(true);
    server = await startServer(["--listen", `unix:${socket}`]);
    expect((await ask(socket)).status).toBe(200);
    const again = await runProgram(["serve", "--listen", `unix:${socket}`]);
    expect([again.code, again.stderr]).toEqual([
      1,
      `wrinklefree: unix:${socket} is already in use; stop the other server or choose another path\n`,
    ]);
    expect((await ask(socket)).status).toBe(200);
    const file = path("file");
    writeFileSync(file, "text");
    const wrong = await runProgram(["serve", "--listen", `unix:${file}`]);
    expect([wrong.code, wrong.stderr]).toEqual([
      1,
      `wrinklefree: can't listen on unix:${file}: there is something else than a socket; choose another path\n`,
    ]);
  });

  test("idle connections are closed there too", async () => {
    const socket = path("idle.sock");
    server = await startServer(["--listen", `unix:${socket}`, "--keep-alive", "1"]);
    await new Promise<void>((resolve, reject) => {
      Bun.connect({
        unix: socket,
        socket: {
          open: (opened) => void opened.write("GET /health HTTP/1.1\r\nHost: a\r\n\r\n"),
          data() {},
          close: () => resolve(),
          error: (_, error) => reject(error),
        },
      }).catch(reject);
    });
  });

  test.each<[string, string[], RegExp]>([
    ["a place without a port", ["--listen", "127.0.0.1"], /^wrinklefree serve: --listen takes HOST:PORT, /],
    ["an address of IPv6 without brackets", ["--listen", "::1:80"], /^wrinklefree serve: --listen takes /],
    ["a relative path", ["--listen", "unix:here.sock"], /^wrinklefree serve: --listen takes /],
    ["a port that is none", ["--listen", "127.0.0.1:70000"], /^wrinklefree serve: --listen takes /],
    [
      "permissions that are none",
      ["--socket-mode", "rw"],
      /^wrinklefree serve: --socket-mode takes permissions such as 660/,
    ],
    ["an address that others reach", ["--listen", "0.0.0.0:0"], /^wrinklefree: refusing to listen on 0\.0\.0\.0, /],
    [
      "a directory that is missing",
      ["--listen", "unix:/nowhere/a.sock"],
      /^wrinklefree: can't listen on unix:\/nowhere\/a\.sock: /,
    ],
    [
      "a path that is too long",
      ["--listen", `unix:/tmp/${"x".repeat(120)}`],
      /^wrinklefree: can't listen on unix:\/tmp\/x+: .*too long/,
    ],
    [
      "a proxy that is none",
      ["--trusted-proxy", "10.0.0.0/40"],
      /^wrinklefree serve: --trusted-proxy takes an address/,
    ],
  ])("%s stops the start", async (_, args, wanted) => {
    const { code, stderr } = await runProgram(["serve", "--port", "0", ...args]);
    expect(stderr).toMatch(wanted);
    expect(code).toBeGreaterThan(0);
  });

  test("of several places, one that is taken stops the start and leaves nothing behind", async () => {
    const taken = createServer();
    const port = await new Promise<number>((resolve) =>
      taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port)),
    );
    const socket = path("unused.sock");
    const result = await runProgram(["serve", "--listen", `unix:${socket}`, "--listen", `127.0.0.1:${port}`]);
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(`127.0.0.1:${port} is already in use`) });
    expect(existsSync(socket)).toBe(false);
    taken.close();
  });
});

describe("keys", () => {
  const cached = async (key: string) => {
    const messages = [{ role: "user", content: `A prompt of some length. ${"word ".repeat(60)}` }];
    const body = JSON.stringify({ messages, max_tokens: 1 });
    const headers = { "content-type": "application/json", "x-api-key": key };
    const response = await fetch(`${server?.url}${CHAT}`, { method: "POST", body, headers });
    if (response.status !== 200) return response.status;
    const { usage } = (await response.json()) as { usage: { prompt_tokens_details: { cached_tokens: number } } };
    return usage.prompt_tokens_details.cached_tokens;
  };

  test("SIGHUP has their file read again: new ones are let in, old ones out, and each keeps what was computed for it", async () => {
    const file = join(directory, "keys");
    writeFileSync(file, "sk-a\nsk-b\n");
    server = await startServer(["--api-key-file", file]);
    expect([await cached("sk-a"), await cached("sk-b"), await cached("sk-c")]).toEqual([0, 0, 401]);
    // In other places than before: what another key computed is still not found.
    writeFileSync(file, "sk-c\nsk-a\n");
    await reload(server);
    expect(await cached("sk-c")).toBe(0);
    expect(await cached("sk-b")).toBe(401);
    expect(await cached("sk-a")).toBeGreaterThan(31);
  });

  test("a file that went wrong changes nothing: nobody is let in, nobody out", async () => {
    const file = join(directory, "keys-2");
    writeFileSync(file, "sk-a\n");
    server = await startServer(["--api-key-file", file]);
    for (const text of ["", "# none\n", "sk a\n"]) {
      writeFileSync(file, text);
      await reload(server);
      const statuses = ["sk-a", "sk", ""].map(
        async (key) => (await fetch(`${server?.url}/v1/models`, { headers: { "x-api-key": key } })).status,
      );
      expect(await Promise.all(statuses)).toEqual([200, 401, 401]);
    }
    rmSync(file);
    await reload(server);
    expect((await fetch(`${server.url}/v1/models`, { headers: { "x-api-key": "sk-a" } })).status).toBe(200);
    expect(server.log().match(/^wrinklefree: the keys of a file stay as they were: /gm)?.length).toBe(4);
  });
});

test("a server whose terminal goes ends; one that is sent SIGHUP while it is there does not", async () => {
  const terminal = new TestTerminal([executable, "serve", "--port", "0"]);
  await eventually(() => terminal.raw.includes("/v1/chat/completions"));
  process.kill(terminal.pid, "SIGHUP");
  const reloads = () => terminal.raw.split("wrinklefree: reloaded").length - 1;
  await eventually(() => reloads() === 1);
  // Without a descriptor that is free nobody can look whether the terminal is there.
  const limit = (soft: string) => spawnSync("prlimit", ["--pid", String(terminal.pid), `--nofile=${soft}:`]).status;
  expect(limit("3")).toBe(0);
  process.kill(terminal.pid, "SIGHUP");
  await eventually(() => reloads() === 2);
  expect(limit("1024")).toBe(0);
  terminal.hangUp();
  expect(await terminal.exited).toBe(0);
});

test("a fault of the server's own when files are read again ends neither it nor the next reading", async () => {
  const stderr = spyOn(process.stderr, "write").mockReturnValue(true);
  const before = process.listeners("SIGHUP");
  let count = 0;
  try {
    reloadAtHangup(
      async () => {
        if (++count === 1) throw new Error("a bug");
      },
      { receive: () => undefined },
    );
    process.emit("SIGHUP", "SIGHUP");
    process.emit("SIGHUP", "SIGHUP");
    await eventually(() => count === 2);
    expect(stderr.mock.calls.map(([text]) => text)).toEqual([
      expect.stringMatching(/^wrinklefree: internal error while files were read again: Error: a bug\n/),
    ]);
  } finally {
    stderr.mockRestore();
    for (const listener of process.listeners("SIGHUP")) {
      if (!before.includes(listener)) process.off("SIGHUP", listener);
    }
  }
});

describe("the client's address", () => {
  test("is taken from X-Forwarded-For as far as those who wrote it are trusted", async () => {
    server = await startServer(["--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8"]);
    const connection = openConnection(server.port);
    await connection.ask("GET", "/v1/models", undefined, {
      "x-forwarded-for": "198.51.100.1, 203.0.113.9, 10.1.2.3",
      "x-request-id": "forwarded",
    });
    connection.close();
    await eventually(() => server?.log().includes(" forwarded\n") === true);
    expect(server.log()).toMatch(/Z 203\.0\.113\.9 GET \/v1\/models 200 .* forwarded$/m);
  });

  const proxies = new TrustedProxies(["10.0.0.0/8", "192.0.2.1", "fd00::/8", "unix"]);
  test.each<[string, string | undefined, string | null, string]>([
    ["no proxy", "198.51.100.7", null, "198.51.100.7"],
    ["one that is not trusted says nothing", "198.51.100.7", "203.0.113.1", "198.51.100.7"],
    ["a trusted one without the header is the client", "10.0.0.1", null, "10.0.0.1"],
    ["a chain of trusted ones", "10.0.0.1", "203.0.113.1, fd00::1, 192.0.2.1", "203.0.113.1"],
    ["what a client put in front", "10.0.0.1", "1.1.1.1, 203.0.113.1", "203.0.113.1"],
    ["what is no address ends the chain", "10.0.0.1", "203.0.113.1, secret, 10.0.0.2", "10.0.0.2"],
    ["nothing between commas", "10.0.0.1", "203.0.113.1,,", "10.0.0.1"],
    ["ports", "10.0.0.1", "203.0.113.1:4711", "203.0.113.1"],
    ["IPv6 with brackets, port and capitals", "10.0.0.1", "[2001:DB8::1]:443", "2001:db8::1"],
    ["IPv4 written as IPv6", "::ffff:10.0.0.1", "::ffff:203.0.113.1", "203.0.113.1"],
    ["a unix socket that is trusted", undefined, "203.0.113.1", "203.0.113.1"],
    ["the name of an interface", "10.0.0.1", "fe80::1%eth0", "10.0.0.1"],
    ["only trusted ones: the first of them", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
  ])("%s", (_, peer, forwarded, client) => {
    expect(proxies.clientOf(peer, forwarded)).toBe(client);
  });

  test("a unix socket is not trusted unasked", () => {
    expect(new TrustedProxies([]).clientOf(undefined, "203.0.113.1")).toBe("unix");
  });

  test.each(["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0", "unix"])("%s is a range", (text) => {
    expect(isProxyRange(text)).toBe(true);
  });

  test.each([
    "",
    "10.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/8/8",
    "::/129",
    "host",
    "fe80::1%eth0",
    "10.0.0.0/-1",
  ])("'%s' is none", (text) => {
    expect(isProxyRange(text)).toBe(false);
  });
});
