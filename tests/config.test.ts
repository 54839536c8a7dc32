/** Settings: from options, the environment and files, in this order; what is wrong with one is said with its place. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allCommands } from "../src/commands/registry.ts";
import { isSetting, type Option, variablesOf } from "../src/options/option.ts";
import { sampleOf } from "./support/sample_settings.ts";
import { runProgram, startServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-config-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const PATH = process.env.PATH ?? "/usr/bin:/bin";
const home = join(scratch, "home");
const own = join(home, ".config", "wrinklefree", "config.toml");
mkdirSync(join(home, ".config", "wrinklefree"), { recursive: true });
const commands = await allCommands();

interface Printed {
  files: string[];
  settings: Record<
    string,
    { value: unknown; from: { place: string; file?: string; line?: number; variable?: string }[] }
  >;
}

/** Runs `config print --json`. */
async function print(args: string[], env: Record<string, string> = {}): Promise<Printed> {
  const { code, stdout, stderr } = await runProgram(["config", "print", ...args, "--json"], { env: { PATH, ...env } });
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as Printed;
}

/** Writes a file of settings and gives its path. */
function write(text: string, path = join(scratch, "config.toml")): string {
  writeFileSync(path, text);
  return path;
}

function settingsOf({ options }: (typeof commands)[number]): [string, Option][] {
  return Object.entries(options).filter(([, option]) => isSetting(option));
}

describe("every setting of every command", () => {
  const configured = commands.filter((command) => command.settingsOf === undefined && settingsOf(command).length > 0);

  test.each(configured.map(({ name }) => [name]))("%s: from a file", async (name) => {
    const settings = settingsOf(commands.find((command) => command.name === name) as (typeof commands)[number]);
    const lines = settings.map(([key, option]) => {
      const text = option.isSwitch ? sampleOf(option) : JSON.stringify(sampleOf(option));
      return `${key} = ${text}`;
    });
    const path = write(`[${name}]\n${lines.join("\n")}\n`);
    const printed = await print([name, "--config", path]);
    expect(Object.keys(printed.settings)).toEqual(settings.map(([key]) => key));
    const from = settings.map((_, index) => [{ place: "file", file: path, line: index + 2 }]);
    expect(Object.values(printed.settings).map((one) => one.from)).toEqual(from);
  });

  test.each(configured.map(({ name }) => [name]))("%s: from the environment", async (name) => {
    const settings = settingsOf(commands.find((command) => command.name === name) as (typeof commands)[number]);
    const env = Object.fromEntries(settings.map(([key, option]) => [variablesOf(key, option)[0], sampleOf(option)]));
    const printed = await print([name], env as Record<string, string>);
    const from = settings.map(([key, option]) => [{ place: "environment", variable: variablesOf(key, option)[0] }]);
    expect(Object.values(printed.settings).map((one) => one.from)).toEqual(from as never);
  });

  test("one name is one kind of value, whichever command takes it", () => {
    const kinds = new Map<string, string>();
    for (const command of configured) {
      for (const [name, option] of settingsOf(command)) {
        const described = JSON.stringify([
          option.isSwitch ?? option.isList,
          variablesOf(name, option),
          sampleOf(option),
        ]);
        expect([name, kinds.get(name) ?? described]).toEqual([name, described]);
        kinds.set(name, described);
      }
    }
  });
});

describe("what comes before what", () => {
  test("options, then the environment, the table of a command, the top of the file; the user's file before the machine's", async () => {
    write(
      'parallel = 1\nqueue = 1\nkeep-alive = 1\nalias = ["a", "b"]\n[serve]\nparallel = 2\nqueue = 2\nport = 2\n',
      own,
    );
    const env = { HOME: home, WRINKLEFREE_PORT: "3", WRINKLEFREE_QUEUE: "3", WRINKLEFREE_LOG: "" };
    const { settings, files } = await print(["--queue", "4", "--alias", "c"], env);
    expect(files[0]).toBe(own);
    const values = ["queue", "port", "parallel", "keep-alive", "alias", "log"].map((name) => settings[name]);
    expect(values).toEqual([
      { value: 4, from: [{ place: "option" }] },
      { value: 3, from: [{ place: "environment", variable: "WRINKLEFREE_PORT" }] },
      { value: 2, from: [{ place: "file", file: own, line: 6 }] },
      { value: 1, from: [{ place: "file", file: own, line: 3 }] },
      { value: ["c"], from: [{ place: "option" }] },
      { value: "text", from: [{ place: "default" }] },
    ]);
    const named = write("parallel = 7\n");
    const ways: [string[], Record<string, string>][] = [
      [["--config", named], {}],
      [[], { WRINKLEFREE_CONFIG: named }],
    ];
    for (const [args, variable] of ways) {
      const other = await print(args, { HOME: home, ...variable });
      expect([other.files, other.settings.parallel?.value, other.settings.port?.value]).toEqual([[named], 7, null]);
    }
  });

  test("a switch that a file sets is taken back by --no-… and by the environment", async () => {
    const path = write("insecure = true\nany-model = true\noffline = true\n");
    const { settings } = await print(["--config", path, "--no-insecure"], { WRINKLEFREE_ANY_MODEL: "false" });
    expect(["insecure", "any-model", "offline"].map((name) => settings[name]?.value)).toEqual([false, false, true]);
  });

  test("keys of all places add up, and none is shown", async () => {
    const path = write('api-key = "sk-filed"\n');
    const { settings } = await print(["--config", path], { WRINKLEFREE_API_KEY: "sk-one sk-two" });
    expect(settings["api-key"]?.value).toEqual(["hidden", "hidden", "hidden"]);
    const shown = await runProgram(["config", "print", "--config", path, "--api-key", "sk-given"], { env: { PATH } });
    expect([shown.code, shown.stdout.match(/sk-/)]).toEqual([0, null]);
    expect(shown.stdout).toMatch(/^api-key +2 hidden +.*config\.toml:1, the command line$/m);
  });

  test("of a collector's address nothing is shown that may be a password", async () => {
    const args = ["--otlp-endpoint", "http://user:hunter2@collector.example:4318/below?token=hunter2"];
    expect((await print(args)).settings["otlp-endpoint"]?.value).toBe("http://collector.example:4318/below");
    const { stdout } = await runProgram(["config", "print", ...args], { env: { PATH } });
    expect(stdout).toMatch(/^otlp-endpoint +http:\/\/collector\.example:4318\/below +the command line$/m);
  });

  test("what a command is asked for this time only may be given too, and is no setting", async () => {
    const line = ["serve", "model.wf", "--dry-run", "--ctx", "512"];
    const { settings } = await print(line);
    expect([settings.model?.value, settings.ctx?.value, settings["dry-run"]]).toEqual(["model.wf", 512, undefined]);
    expect((await print(["chat", "-p", "Hello", "--ctx", "512"])).settings.ctx?.value).toBe(512);
  });

  test("of the words of eval the second one is the model", async () => {
    const { settings } = await print(["eval", "perplexity", "one.wf"]);
    expect(settings.model?.value).toBe("one.wf");
    expect((await print(["eval", "perplexity", "--model", "other.wf"])).settings.model?.value).toBe("other.wf");
  });

  test("paths are seen from their file; ~ is the home directory", async () => {
    const path = write('store = "models"\nmodel = "./tiny.wf"\napi-key-file = ["~/keys", "/etc/keys"]\n');
    const { settings } = await print(["--config", path], { HOME: home });
    expect(["store", "model", "api-key-file"].map((name) => settings[name]?.value)).toEqual([
      join(scratch, "models"),
      join(scratch, "tiny.wf"),
      [join(home, "keys"), "/etc/keys"],
    ]);
    expect((await print(["--config", write('model = "owner/name"\n')])).settings.model?.value).toBe("owner/name");
  });

  test("what Kubernetes tells about a service of this name is nothing that was set", async () => {
    const env = {
      WRINKLEFREE_PORT: "tcp://10.0.0.1:30000",
      WRINKLEFREE_PORT_30000_TCP_ADDR: "10.0.0.1",
      WRINKLEFREE_SERVICE_HOST: "10.0.0.1",
      WRINKLEFREE_SERVICE_PORT_HTTP: "30000",
    };
    expect((await print([], env)).settings.port).toEqual({ value: null, from: [{ place: "default" }] });
  });
});

describe("a server", () => {
  test("takes its settings from a file and the environment", async () => {
    const path = write('served-name = "filed"\n[serve]\nlog = "json"\napi-key = "sk-filed"\nalias = "other"\n');
    const env = { PATH, WRINKLEFREE_CONFIG: path, WRINKLEFREE_CTX: "512" };
    const server = await startServer([], { env });
    try {
      const ask = (key: string) => fetch(`${server.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
      expect((await ask("sk-other")).status).toBe(401);
      const body = (await (await ask("sk-filed")).json()) as { data: object[] };
      expect(body.data[0]).toMatchObject({ id: "filed", max_model_len: 512 });
      expect(server.log()).toMatch(/^\{.*"status":401/m);
    } finally {
      await server.stop();
    }
  });

  test("the settings of chat are those of run", async () => {
    const path = write('[chat]\nmodel = "/nowhere/filed.wf"\n');
    const { code, stderr } = await runProgram(["run", "-p", "Hello", "--config", path], { env: { PATH } });
    expect([code, stderr]).toEqual([1, expect.stringContaining("/nowhere/filed.wf: no such file")]);
  });

  test("a model that a file names is served, and one on the command line instead of it", async () => {
    const path = write('model = "/nowhere/filed.wf"\n');
    const { code, stderr } = await runProgram(["serve", "--port", "0", "--config", path]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("/nowhere/filed.wf")]);
    const given = await runProgram(["serve", "/nowhere/given.wf", "--port", "0", "--config", path]);
    expect([given.code, given.stderr]).toEqual([1, expect.stringContaining("/nowhere/given.wf")]);
    const twice = await runProgram(["serve", "a.wf", "--model", "b.wf"]);
    expect([twice.code, twice.stderr]).toEqual([
      2,
      expect.stringContaining("the model is named twice: 'a.wf' and --model b.wf"),
    ]);
  });
});

describe("faults are one line with file, line and key, and exit code 1", () => {
  test.each([
    ["port = 1 2", "1: each key-value declaration must be followed by an end-of-line"],
    ["\n[serve]\nprot = 1", "3: prot is no setting of serve (did you mean 'port'?)"],
    ["# c\nprot = 1", "2: prot is no setting (did you mean 'port'?)"],
    ["[sevre]\na = 1", "1: [sevre] is no command that has settings (did you mean 'serve'?)"],
    ["[chat]\nport = 3", "2: port is no setting of chat"],
    ["[run]\nctx = 512", "1: run has the settings of chat; write [chat]"],
    ["[systemd]\nport = 3", "1: systemd has the settings of serve; write [serve]"],
    ["port = 1\nport = 2", "2: trying to redefine an already defined"],
    ["json = true", "1: json is no setting: --json stands on the command line only"],
    ["__proto__ = 1", "1: __proto__ is no setting"],
    ["serve = 1", "1: serve is no setting"],
    ["[serve.port]\na = 1", "1: port takes a number or a text, not a table"],
    ["alias = [\n'a',\n'b']\nport = 70000", "4: port takes a whole number from 0 to 65535, not '70000'"],
    ["\n# port = 1\n\nalias = '''\n# a\n\nb'''\n  # c\nport = 70000", "9: port takes a whole number"],
    ["[serve]\nlog = 'jsn'", "2: log takes text, json, off, not 'jsn' (did you mean 'json'?)"],
    ["any-model = 'yes'", "1: any-model takes true or false, not 'yes'"],
    ["alias = ['a', 3]", "1: alias takes a text in quotes, or several in [], not the number 3"],
    ["alias = [['a']]", "1: alias takes a text in quotes, or several in [], not a list"],
    ["kv = 5", "1: kv takes a text in quotes, not the number 5"],
    ["port = [1, 2]", "1: port takes a number or a text, not a list"],
    ["template-date = 2026-11-26T00:00:00Z", "1: template-date takes a text in quotes, not a time"],
    ["store = ''", "1: store takes a directory"],
    ["[serve]\nserved-name = ' '", "2: served-name takes a name, not ' '"],
    ["alias = ['a', '']", "1: alias takes a name, not ''"],
    ["api-key = 'sk secret'", "1: api-key takes visible ASCII characters"],
    ["api-key = 271828", "1: api-key takes a text in quotes, or several in [], not what stands there"],
  ])("%p", async (text, message) => {
    const path = write(`${text}\n`);
    const { code, stdout, stderr } = await runProgram(["config", "print", "--config", path]);
    expect(stderr).toStartWith(`wrinklefree: ${path}:${message}`);
    expect([code, stdout, stderr.match(/\n/g)?.length]).toEqual([1, "", 1]);
    expect(stderr).not.toContain("secret");
  });

  test.each([
    ["--config", "/nowhere/config.toml", "/nowhere/config.toml: there is no such configuration file"],
    ["--config", "/", "can't read the configuration in /: is a directory"],
    ["--config", "/proc/kallsyms", ""],
  ])("%s %s", async (option, path, message) => {
    const { code, stderr } = await runProgram(["list", option, path]);
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
  });

  test.each([
    ["WRINKLEFREE_PORT", "x", "WRINKLEFREE_PORT takes a whole number from 0 to 65535, not 'x'"],
    ["WRINKLEFREE_INSECURE", "maybe", "WRINKLEFREE_INSECURE takes true or false, not 'maybe'"],
    ["WRINKLEFREE_CONFIG", "/nowhere", "/nowhere: there is no such configuration file"],
  ])("%s=%s", async (variable, value, message) => {
    const { code, stderr } = await runProgram(["serve"], { env: { PATH, [variable]: value } });
    expect([code, stderr]).toEqual([1, `wrinklefree: ${message}\n`]);
  });

  test("a variable that is no setting is told, and nothing worse", async () => {
    const env = { PATH, HOME: home, XDG_CONFIG_HOME: scratch, WRINKLEFREE_PRT: "1", WRINKLEFREE_CPU: "scalar" };
    const { code, stderr } = await runProgram(["list"], { env });
    const warning = "the environment's WRINKLEFREE_PRT is no setting (did you mean 'WRINKLEFREE_PORT'?)";
    expect([code, stderr]).toEqual([0, `wrinklefree: warning: ${warning}\n`]);
  });

  test.each([
    ["config", "config takes what to do: print;"],
    ["config prnt", "config takes what to do: print, not 'prnt'"],
    ["config print srve", "there is no command 'srve' that has settings (did you mean 'serve'?)"],
    ["config print --prot 1", "unknown option '--prot' (did you mean '--port'?)"],
    ["config print convert", "config: convert has no settings;"],
    ["config print --json chat", "'chat' stands behind options: COMMAND comes right behind print"],
    ["config print chat one --model other", "the model is named twice: 'one' and --model other"],
    ["config print doctor", "config: doctor has the settings of serve: config print serve;"],
    ["serve --no-port", "unknown option '--no-port'"],
    ["serve --no-insecure=1", "--no-insecure takes no value"],
  ])("%s is a command line that makes no sense", async (line, message) => {
    const { code, stderr } = await runProgram(line.split(" "));
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});
