/**
 * Reverse proxies, the real ones from Debian: they pass on the host's name that the client asked for, and everything else has to go
 * through them as it does without.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import {
  accepts,
  eventually,
  freePort,
  openConnection,
  parseEvents,
  runProgram,
  startServer,
  type TestServer,
} from "./support/server.ts";

setDefaultTimeout(60_000);

const NAME = "llm.example";
const KEY = "sk-proxy";

/** Where a proxy listens, and for which server. */
interface Front {
  port: number;
  server: TestServer;
}

/** A proxy: its package, the configuration that people write, and how it is run in the foreground. */
interface Proxy {
  program: string;
  package: string;
  configuration(fronts: readonly Front[], directory: string): string;
  command(file: string, directory: string): string[];
}

const PROXIES: Proxy[] = [
  {
    program: "caddy",
    package: "caddy",
    configuration: (fronts) =>
      `{\n admin off\n auto_https off\n}\n${fronts
        .map(({ port, server }) => `http://:${port} {\n reverse_proxy 127.0.0.1:${server.port}\n}\n`)
        .join("")}`,
    command: (file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  },
  {
    program: "nginx",
    package: "nginx-light",
    configuration: (fronts, directory) =>
      `daemon off; pid ${directory}/pid; error_log stderr; events {}
      http { access_log off; ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory}/${name};`).join(" ")}
      ${fronts
        .map(
          ({ port, server }) =>
            `server { listen 127.0.0.1:${port}; location / { proxy_set_header Host $host; proxy_http_version 1.1; proxy_pass http://127.0.0.1:${server.port}; } }`,
        )
        .join("\n")} }`,
    command: (file, directory) => ["nginx", "-p", directory, "-e", "stderr", "-c", file],
  },
  {
    program: "haproxy",
    package: "haproxy",
    configuration: (fronts) =>
      `defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n option abortonclose\n${fronts
        .map(({ port, server }) => `listen f${port}\n bind 127.0.0.1:${port}\n server s 127.0.0.1:${server.port}\n`)
        .join("")}`,
    command: (file) => ["haproxy", "-db", "-f", file],
  },
];

let plain: TestServer;
let named: TestServer;
let keyed: TestServer;
beforeAll(async () => {
  [plain, named, keyed] = await Promise.all([
    startServer(["--log", "off"]),
    startServer([await deepModel(), "--log", "off", "--allowed-host", "other.example", "--allowed-host", NAME]),
    startServer(["--log", "off"], { env: { WRINKLEFREE_API_KEY: KEY } }),
  ]);
});
afterAll(async () => {
  for (const server of [plain, named, keyed]) await server.stop();
});

for (const proxy of PROXIES) {
  const path = Bun.which(proxy.program, { PATH: `${process.env.PATH}:/usr/sbin:/sbin` });
  if (path === null) console.log(`skipping ${proxy.program}: apt-get install ${proxy.package}`);

  describe.skipIf(path === null)(`behind ${proxy.program}`, () => {
    let directory: string;
    let process: Bun.Subprocess;
    let fronts: Front[];
    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), "wrinklefree-proxy-"));
      fronts = [];
      for (const server of [plain, named, keyed]) fronts.push({ port: await freePort(), server });
      const file = join(directory, "configuration");
      writeFileSync(file, proxy.configuration(fronts, directory));
      const [, ...rest] = proxy.command(file, directory);
      process = Bun.spawn([path as string, ...rest], {
        env: { PATH: "/usr/bin:/bin", HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
        stdout: "ignore",
        stderr: "ignore",
      });
      for (const { port } of fronts) await eventually(() => accepts(port));
    });
    afterAll(async () => {
      process.kill();
      await process.exited;
      rmSync(directory, { recursive: true });
    });
    const ask = (index: number, body: object, headers: Record<string, string> = {}) =>
      fetch(`http://127.0.0.1:${fronts[index]?.port}${CHAT}`, {
        method: "POST",
        body: JSON.stringify(body),
        headers: { "content-type": "application/json", host: NAME, ...headers },
      });

    test("a name that the server wasn't told of is refused, with the option that helps", async () => {
      const refused = await ask(0, FRANCE);
      expect(refused.status).toBe(403);
      const { error } = (await refused.json()) as { error: { message: string } };
      expect(error.message).toContain(`--allowed-host ${NAME}`);
    });

    // Before other requests to this server: Debian's Caddy now and then closes a connection to it that it takes up for a second one.
    test("a client that leaves ends its answer", async () => {
      const body = JSON.stringify({ ...FRANCE, stream: true, max_tokens: 2000, ignore_eos: true });
      const head = `Host: ${NAME}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
      const connection = openConnection(fronts[1]?.port as number);
      connection.write(`POST ${CHAT} HTTP/1.1\r\n${head}\r\n\r\n${body}`);
      expect((await connection.read()).status).toBe(200);
      await eventually(async () => (await named.requests()).running === 1);
      connection.close();
      await eventually(async () => (await named.requests()).running === 0);
    });

    test("one that it was told of is answered, whole and streamed, and so is the machine's own, but no other", async () => {
      expect(await (await ask(1, { ...FRANCE, max_tokens: 5 })).json()).toMatchObject({ choices: [{}] });
      const streamed = await ask(1, { ...FRANCE, stream: true, max_tokens: 5, ignore_eos: true });
      expect(parseEvents(await streamed.text()).length).toBeGreaterThan(2);
      const statuses = [];
      for (const host of ["LLM.example", `${NAME}:8080`, "other.example", "localhost", "evil.example"]) {
        statuses.push((await ask(1, { ...FRANCE, max_tokens: 1 }, { host })).status);
      }
      expect(statuses).toEqual([200, 200, 200, 200, 403]);
    });

    test("with a key any name will do, and without it none", async () => {
      const headers = { authorization: `Bearer ${KEY}`, host: "evil.example" };
      expect((await ask(2, { ...FRANCE, max_tokens: 1 }, headers)).status).toBe(200);
      expect((await ask(2, FRANCE)).status).toBe(401);
    });
  });
}

test("the names are checked wherever the server listens, and only names are taken", async () => {
  const open = await startServer(["--host", "0.0.0.0", "--insecure", "--allowed-host", "[::5]", "--log", "off"]);
  const connection = openConnection(open.port);
  const statuses = [];
  for (const host of ["[::5]:80", "localhost", "evil.example"]) {
    statuses.push((await connection.ask("GET", "/health", undefined, { host })).status);
  }
  expect(statuses).toEqual([200, 200, 403]);
  connection.close();
  await open.stop();
  for (const wrong of ["http://a.example", "a.example:80", "a/b", "", "a b", "*"]) {
    const { code, stderr } = await runProgram(["serve", "--port", "0", "--allowed-host", wrong]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^wrinklefree serve: --allowed-host takes a name/)]);
  }
});
