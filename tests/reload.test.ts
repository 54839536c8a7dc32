/** SIGHUP: which settings a running server takes over from its files, what it says of the others, and what faults in a file do. */

import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command as serve } from "../src/commands/serve.ts";
import { isSetting, reloadableNames } from "../src/options/option.ts";
import { canMakeCertificates, makeCertificate } from "./support/certificates.ts";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { sampleOf } from "./support/sample_settings.ts";
import { eventually, logLines, openConnection, runProgram, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-reload-"));
const config = join(scratch, "config.toml");
afterAll(() => rmSync(scratch, { recursive: true }));

const README = readFileSync(join(import.meta.dir, "../README.md"), "utf8");

let server: TestServer;
afterEach(() => server?.stop());

/** Starts a server with a configuration. */
async function start(text: string, args: string[] = [], env: Record<string, string> = {}): Promise<void> {
  writeFileSync(config, text);
  const options = { env: { PATH: process.env.PATH ?? "/usr/bin:/bin", ...env } };
  server = await startServer(["--config", config, ...args], options);
}

/** Sends SIGHUP and gives what the server says of it. */
async function hangUp(): Promise<string> {
  const before = server.log().length;
  server.signal("SIGHUP");
  const said = () => server.log().slice(before);
  await eventually(() => /^wrinklefree: reloaded\b.*\n/m.test(said()));
  return said();
}

/** The same with another configuration. */
async function reload(text: string): Promise<string> {
  writeFileSync(config, text);
  return await hangUp();
}

const JSON_TYPE = { "content-type": "application/json" };

const models = async (init: RequestInit = {}) => await fetch(`${server.url}/v1/models`, init);

describe("what can change", () => {
  test("does for new requests, while an answer under way goes on as it began", async () => {
    await start('served-name = "first"\nlog = "text"\n', [await deepModel()]);
    const begun = server.stream({ ...FRANCE, max_tokens: 300, ignore_eos: true });
    await eventually(async () => (await server.requests()).running === 1);
    const said = await reload(
      'served-name = "second"\nalias = ["other"]\nlog = "json"\ntemperature = 1.5\ncors-origin = "https://app.example"\n' +
        'allowed-host = "llm.example"\nbase-path = "/llm"\nqueue = 0\nqueue-tokens = 40\ntrusted-proxy = "127.0.0.1"\nkeep-alive = 1\n',
    );
    expect(said).toContain(`wrinklefree: served-name is now second, after first (${config}:1)\n`);
    const chunks = await begun;
    expect([chunks.at(0)?.model, chunks.at(-1)?.model]).toEqual(["first", "first"]);
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("length");
    // The log is, for whoever reads it: that of the answer too that began before.
    await eventually(() => /^\{.*"path":"\/v1\/chat\/completions","model":"first","status":200,/m.test(server.log()));
    expect(server.log()).not.toMatch(/^\d{4}-\S+ 127\.0\.0\.1 POST /m);
    const headers = { host: "llm.example", origin: "https://app.example", "x-forwarded-for": "10.1.2.3" };
    const connection = openConnection(server.port);
    const answer = await connection.ask("POST", `/llm${CHAT}`, { ...FRANCE, model: "other", max_tokens: 1 }, headers);
    expect([answer.status, (JSON.parse(answer.body) as { model: string }).model]).toEqual([200, "second"]);
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example");
    await eventually(() => /^\{.*"client":"10\.1\.2\.3".*"status":200/m.test(server.log()));
    const health = (await (await fetch(`${server.url}/health`)).json()) as { default_temperature: number };
    expect(health.default_temperature).toBe(1.5);
    // One more than can be computed at once, and a prompt that is too long to wait.
    expect((await server.post(CHAT, { ...FRANCE, n: 5 })).status).toBe(400);
    expect((await server.post("/v1/completions", { prompt: "word ".repeat(60) })).status).toBe(400);
    await eventually(() => connection.isClosed());
  });

  test("keys and their limits; one on the command line stays, one that a file holds no more is out", async () => {
    await start('api-key = "sk-filed"\n[serve]\nkey-requests = 1\n', ["--api-key", "sk-line"]);
    const ask = async (key: string) =>
      (await server.post(CHAT, { ...FRANCE, max_tokens: 1 }, { headers: { ...JSON_TYPE, "x-api-key": key } })).status;
    expect([await ask("sk-filed"), await ask("sk-filed"), await ask("sk-line")]).toEqual([200, 429, 200]);
    const said = await reload('api-key = "sk-other"\n[serve]\nkey-requests = 1000000\n');
    expect(said).toMatch(/^wrinklefree: reloaded: 2 API keys\n/);
    expect(said).not.toContain("sk-");
    await eventually(async () => (await ask("sk-line")) === 200);
    expect([await ask("sk-filed"), await ask("sk-other"), await ask("sk-other")]).toEqual([401, 200, 200]);
  });

  test("as JSON the log says which keys came and went, and which settings changed, and what is wrong with a file", async () => {
    const keys = join(scratch, "audited");
    writeFileSync(keys, "sk-a name=alice requests=5\nsk-b name=bob\n");
    const held = `api-key-file = ${JSON.stringify(keys)}\nlog = "json"\n`;
    await start(held);
    const reloads = () => logLines(server.log()).filter(({ event }) => event === "reload");
    writeFileSync(keys, "sk-a name=alice requests=6\nsk-c name=carol\n");
    writeFileSync(config, `${held}queue = 7\nparallel = 2\n`);
    server.signal("SIGHUP");
    await eventually(() => reloads().length === 1);
    expect(reloads()[0]).toMatchObject({
      level: "info",
      message: "reloaded: 2 API keys",
      is_reloaded: true,
      keys_added: ["carol"],
      keys_removed: ["bob"],
      keys_changed: ["alice"],
      is_certificate_new: false,
      settings_changed: [{ name: "queue", was: "1024 less --parallel", is: "7", source: `${config}:3` }],
      settings_waiting: [{ name: "parallel", was: "4", is: "2", source: `${config}:4` }],
      start_fault: null,
    });
    writeFileSync(config, "queue = -1\n");
    writeFileSync(keys, "sk-a name=alice requests=6\n");
    server.signal("SIGHUP");
    await eventually(() => reloads().length === 2);
    const fault = `${config}:1: queue takes a whole number from 0 to 65536, not '-1'`;
    expect(reloads()[1]).toMatchObject({
      level: "error",
      message: `reloaded in part: 1 API key; the configuration stays as it was: ${fault}`,
      is_reloaded: false,
      refused: [{ part: "configuration", message: fault }],
      keys_removed: ["carol"],
      settings_changed: [],
      settings_waiting: [],
    });
    expect(server.log()).not.toContain("sk-");
  });

  test("what would keep the server from starting again is said, while it goes on as it began", async () => {
    const nowhere = join(scratch, "nowhere.wf");
    await start("");
    const fault = (said: string) =>
      /^wrinklefree: with these settings it could not start again: (.*)$/m.exec(said)?.[1];
    expect(fault(await reload('host = "0.0.0.0"\n'))).toStartWith("refusing to listen on 0.0.0.0, where anyone");
    expect(fault(await reload("ctx = 99999\n"))).toStartWith("--ctx 99999 is more than tiny was made for");
    expect(fault(await reload(`model = "${nowhere}"\n`))).toBe(`${nowhere}: no such file or directory`);
    expect(fault(await reload('tls-cert = "nowhere.pem"\n'))).toStartWith("--tls-cert needs --tls-key");
    expect(fault(await reload('host = "0.0.0.0"\ninsecure = true\nctx = 512\n'))).toBeUndefined();
    expect((await models()).status).toBe(200);
  });

  test("no keys go with a file with which the server could not start without them", async () => {
    writeFileSync(join(scratch, "held"), "sk-held\n");
    await start('api-key-file = "held"\n');
    expect((await models()).status).toBe(401);
    const said = await reload('host = "0.0.0.0"\n');
    expect(said).toContain("the configuration stays as it was: refusing to listen on 0.0.0.0, where anyone");
    expect((await models()).status).toBe(401);
    expect((await models({ headers: { authorization: "Bearer sk-held" } })).status).toBe(200);
    // Where nobody else listens, a file without keys is taken at its word.
    await reload("");
    expect((await models()).status).toBe(200);
  });

  test("how prompts are made of messages", async () => {
    await start("");
    const messages = [{ role: "user", content: "<|eot_id|>" }];
    const tokens = async () => {
      const answer = await server.chat({ messages, max_tokens: 1 });
      return answer.usage.prompt_tokens;
    };
    const literal = await tokens();
    await reload("parse-special-in-messages = true\n");
    expect(await tokens()).toBeLessThan(literal);
  });

  test("is what the table of options says, and all else is said to need a restart", async () => {
    const keys = join(scratch, "keys");
    writeFileSync(keys, "sk-a\n");
    const special: Record<string, string> = { "api-key": "sk-b", "api-key-file": keys, "base-path": "/base" };
    const settings = Object.entries(serve.options).filter(([, option]) => isSetting(option));
    await start("");
    const lines = settings.map(([name, option]) => {
      const sample = special[name] ?? sampleOf(option);
      return `${name} = ${option.isSwitch ? sample : JSON.stringify(sample)}`;
    });
    const said = (await reload(lines.join("\n"))).split("\n");
    const named = (pattern: RegExp) => said.flatMap((line) => pattern.exec(line)?.[1] ?? []).sort();
    const reloadable = reloadableNames(serve.options);
    // The port is on the command line.
    const others = settings.map(([name]) => name).filter((name) => !reloadable.includes(name) && name !== "port");
    expect(named(/^wrinklefree: (\S+) is now /)).toEqual(reloadable);
    expect(named(/^wrinklefree: (\S+) stays /)).toEqual(others.sort());
    const line = lines.findIndex((text) => text.startsWith("parallel")) + 1;
    expect(said).toContain(`wrinklefree: parallel stays 4, and is 2 (${config}:${line}) only after a restart`);
    expect(said.join("\n")).not.toContain("sk-");
    const { stdout } = await runProgram(["serve", "--help"]);
    expect(stdout.replaceAll(/\s+/g, " ")).toContain(`change without a restart: ${reloadable.join(", ")}.`);
    const [, listed = ""] = /^These settings change without a restart,[^:]*: ([^.]*)\./m.exec(README) ?? [];
    expect(listed.split(/,\s+/)).toEqual(reloadable.map((name) => `\`${name}\``));
  });
});

test("options and the environment still come before a file, and a model on the command line before that of a file", async () => {
  await start("", [await deepModel(), "--served-name", "line"], { WRINKLEFREE_ALIAS: "environment" });
  const said = await reload('served-name = "filed"\nalias = "filed"\nmodel = "/nowhere"\n');
  expect(said).toBe("wrinklefree: reloaded: 0 API keys\n");
  const { data } = (await (await models()).json()) as { data: object[] };
  expect(data[0]).toMatchObject({ id: "line", meta: { aliases: ["environment"] } });
});

test("neither a collector's password nor what moves a cursor is written on stderr", async () => {
  await start('served-name = "a\\nb\\u001b[31m"\n');
  expect(server.log()).toContain("\nmodel    a\\nb^[[31m: ");
  const said = await reload('otlp-endpoint = "http://user:hunter2@collector.example:4318/below?token=hunter2"\n');
  expect(said).toContain(" and is http://collector.example:4318/below (");
  expect(await reload('otlp-endpoint = "user:hunter2@collector.example"\n')).toContain(
    `${config}:1: otlp-endpoint takes an address such as http://localhost:4318, not 'collector.example'`,
  );
  for (const text of ["hunter2", "\u001b"]) expect(server.log()).not.toContain(text);
});

test("a setting that is gone has its default again", async () => {
  await start('served-name = "first"\n');
  expect(await reload("")).toContain("served-name is now its own name, after first (default)");
  expect(((await (await models()).json()) as { data: { id: string }[] }).data[0]?.id).toBe("tiny");
});

test("a configuration that came through a pipe stays", async () => {
  const program = 'exec "$0" "$@" --config <(echo \'served-name = "piped"\')';
  server = await startServer([], { wrapper: ["bash", "-c", program] });
  expect(await hangUp()).toBe("wrinklefree: reloaded: 0 API keys\n");
  expect(((await (await models()).json()) as { data: { id: string }[] }).data[0]?.id).toBe("piped");
});

describe("of a configuration with a fault nothing is taken over", () => {
  const good = 'served-name = "second"\n';
  test.each<[string, string, string]>([
    ["no TOML", `${good}alias = [`, `${config}:2: `],
    ["a name that is no setting", `${good}[serve]\nparalel = 3\n`, `${config}:3: paralel is no setting of serve`],
    ["a setting of another command that is none", `${good}[chat]\nfoo = 1\n`, `${config}:3: foo is no setting of chat`],
    ["a value that is none", `${good}log = "loud"\n`, `${config}:2: log takes text, json, off, not 'loud'`],
    ["a file of keys that is not there", `${good}api-key-file = "nokeys"\n`, "can't read the keys in "],
  ])("%s", async (_, text, message) => {
    await start('served-name = "first"\n');
    const said = await reload(text);
    expect(said).toStartWith(
      "wrinklefree: reloaded in part: 0 API keys\nwrinklefree: the configuration stays as it was: ",
    );
    expect([said.includes(message), said.match(/\n/g)?.length]).toEqual([true, 2]);
    expect(((await (await models()).json()) as { data: { id: string }[] }).data[0]?.id).toBe("first");
    const measured = async () =>
      /^wrinklefree_config_last_reload_successful\{.*\} (\d)$/m.exec(
        await (await fetch(`${server.url}/metrics`)).text(),
      )?.[1];
    expect(await measured()).toBe("0");
    // And when it is mended, it is.
    expect(await reload(good)).toContain("served-name is now second, after first");
    expect(await measured()).toBe("1");
  });

  test("the file is gone", async () => {
    await start('api-key = "sk-a"\n');
    rmSync(config);
    expect(await hangUp()).toContain(`the configuration stays as it was: ${config}: `);
    expect((await models()).status).toBe(401);
  });

  test("the last key is gone of a server that others can reach", async () => {
    await start('api-key = "sk-a"\n', ["--host", "0.0.0.0"]);
    expect(await reload('log = "off"\n')).toContain("refusing to listen on 0.0.0.0");
    expect((await models()).status).toBe(401);
    expect(await reload("insecure = true\n")).toContain("reloaded: 0 API keys");
    expect((await models()).status).toBe(200);
  });
});

describe.skipIf(!canMakeCertificates())("a key taken out of its file is out, whatever is wrong elsewhere:", () => {
  const files = { keys: join(scratch, "some"), others: join(scratch, "others"), cert: join(scratch, "cert.pem") };
  const write = (path: string, text: string) => writeFileSync(path, text);

  test.each<[string, () => void, string]>([
    ["the configuration", () => write(config, "alias = ["), "the configuration stays as it was"],
    [
      "a configuration that names a file of keys which is not there",
      () => write(config, `api-key-file = ["${files.keys}", "nokeys"]\n`),
      "the configuration stays as it was",
    ],
    ["another file of keys", () => write(files.others, "sk c\n"), "the keys of a file stay as they were"],
    ["another file of keys, which is gone", () => rmSync(files.others), "the keys of a file stay as they were"],
    [
      "another file of keys, with the name of a key of this one",
      () => write(files.others, "sk-d name=alice\n"),
      "the keys of a file stay as they were",
    ],
    ["the certificate", () => write(files.cert, "junk"), "the certificate stays as it was"],
  ])("%s", async (_, spoil, said) => {
    const made = makeCertificate(scratch, "first");
    copyFileSync(made.certificate, files.cert);
    write(files.keys, "sk-a name=alice\nsk-b\n");
    write(files.others, "sk-c\n");
    await start(`api-key-file = ["${files.keys}", "${files.others}"]\n`, [
      "--tls-cert",
      files.cert,
      "--tls-key",
      made.key,
    ]);
    const statuses = async () => {
      const ask = (key: string) =>
        fetch(`${server.url}/v1/models`, { headers: { "x-api-key": key }, tls: { rejectUnauthorized: false } });
      return (await Promise.all(["sk-a", "sk-b", "sk-c", "sk-d"].map(ask))).map(({ status }) => status);
    };
    expect(await statuses()).toEqual([200, 200, 200, 401]);
    write(files.keys, "sk-a name=alice\n");
    spoil();
    const log = await hangUp();
    expect(log).toStartWith("wrinklefree: reloaded in part: 2 API keys");
    expect(log).toContain(`\nwrinklefree: ${said}: `);
    expect(await statuses()).toEqual([200, 401, 200, 401]);
  });
});

test("without its last key a server answers under this machine's names only", async () => {
  await start('api-key = "sk-a"\n');
  const named = async () => {
    const connection = openConnection(server.port);
    const { status } = await connection.ask("GET", "/v1/models", undefined, {
      host: "evil.example",
      "x-api-key": "sk-a",
    });
    connection.close();
    return status;
  };
  expect(await named()).toBe(200);
  await reload("");
  expect(await named()).toBe(403);
});
