/** `wrinklefree systemd`: units that systemd itself finds right and safe. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tinyDirectory } from "./support/goldens.ts";
import { mounting } from "./support/mounts.ts";
import { executable, runProgram } from "./support/server.ts";
import { encodeSglbitnt } from "./support/small_sglbitnt.ts";

setDefaultTimeout(60_000);

const directory = realpathSync(mkdtempSync(join(tmpdir(), "wrinklefree-systemd-")));
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs the command, which has to succeed, and gives the lines of its units. */
async function print(...args: string[]): Promise<string[]> {
  const { code, stdout } = await runProgram(["systemd", "print", ...args]);
  expect(code).toBe(0);
  return stdout.split("\n");
}

/** Makes a packed file. */
async function convertTiny(path: string): Promise<void> {
  expect((await runProgram(["convert", tinyDirectory, path])).code).toBe(0);
}

const withName = (lines: readonly string[], name: string) => lines.filter((line) => line.startsWith(`${name}=`));

/** The lines of what is shown to a service, but for the program's, which is there if the tests lie below a home or /tmp. */
const shown = (lines: readonly string[]) =>
  withName(lines, "BindReadOnlyPaths")
    .filter((line) => line !== `BindReadOnlyPaths=${executable}`)
    .toSorted();

describe("units", () => {
  test("the socket listens where the server would, and the server is told the rest", async () => {
    const model = join(directory, "a model%.wf");
    await convertTiny(model);
    const places = ["--host", "::1", "--port", "8080", "--listen", "unix:/run/llm.sock", "--socket-mode", "666"];
    const rest = [
      "--alias",
      'a "b" $c',
      "--parallel",
      "8",
      "--any-model",
      "--drain-timeout",
      "60",
      "--memory-max",
      "2G",
    ];
    const lines = await print(model, ...places, ...rest);
    expect(withName(lines, "ListenStream")).toEqual(["ListenStream=[::1]:8080", "ListenStream=/run/llm.sock"]);
    expect(withName(lines, "SocketMode")).toEqual(["SocketMode=0666"]);
    const [command] = withName(lines, "ExecStart");
    expect(command).toStartWith(`ExecStart=${executable} serve "${model.replace("%", "%%")}" `);
    expect(command).toContain(' --alias "a \\"b\\" $$c"');
    expect(command).toContain(" --parallel 8");
    expect(command).toContain(" --any-model");
    expect(command).not.toMatch(/--(host|port|listen|socket-mode|memory-max)/);
    expect(withName(lines, "TimeoutStopSec")).toEqual(["TimeoutStopSec=75"]);
    expect(withName(lines, "MemoryMax")).toEqual([`MemoryMax=${2 ** 31}`]);
    // A service sees another /tmp than others, so its model is shown to it there.
    expect(lines).toContain(`BindReadOnlyPaths="${model.replace("%", "%%")}"`);
  });

  test("nobody listens at one place twice, however it is written", async () => {
    const lines = await print("--port", "8080", "--listen", "localhost:8080", "--listen", "127.0.0.1:8080");
    expect(withName(lines, "ListenStream")).toEqual(["ListenStream=127.0.0.1:8080"]);
  });

  test("a link to a model stays one, and both ends are shown to the service", async () => {
    const [model, link] = ["linked.wf", "current.wf"].map((name) => join(directory, name)) as [string, string];
    await convertTiny(model);
    symlinkSync(model, link);
    const lines = await print(link);
    expect(withName(lines, "ExecStart")).toEqual([`ExecStart=${executable} serve ${link}`]);
    expect(shown(lines)).toEqual([link, model].map((path) => `BindReadOnlyPaths=${path}`));
  });

  test("a link to a directory, whose files may be found from there only, is followed, also where a file names it", async () => {
    const [place, link, config] = ["led-to", "lead", "lead.toml"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    cpSync(tinyDirectory, place, { recursive: true });
    symlinkSync(place, link);
    writeFileSync(config, 'model = "./lead"\n');
    for (const [args, rest] of [
      [[link], ""],
      [["--config", config], ` --config ${config}`],
    ] as const) {
      const lines = await print(...args);
      expect(withName(lines, "ExecStart")).toEqual([`ExecStart=${executable} serve ${place}${rest}`]);
      expect(withName(lines, "BindReadOnlyPaths")).toContain(`BindReadOnlyPaths=${place}`);
    }
  });

  test("what lies beside a model and is a part of it is shown to the service, and what links lead to", async () => {
    const [place, linked, blobs] = ["beside", "snapshot", "blobs"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    for (const path of [place, blobs]) mkdirSync(path);
    const files = ["model.bin", "tokenizer.json", "notes.txt"].map((name) => join(place, name));
    writeFileSync(files[0] as string, encodeSglbitnt());
    for (const path of files.slice(1)) writeFileSync(path, "{}");
    // It can't be served; its units are printed all the same.
    const { stdout } = await runProgram(["systemd", "print", files[0] as string]);
    expect(shown(stdout.split("\n"))).toEqual(files.slice(0, 2).map((path) => `BindReadOnlyPaths=${path}`));
    cpSync(tinyDirectory, linked, { recursive: true });
    mkdirSync(join(linked, "1_Pooling"));
    writeFileSync(join(blobs, "pooling"), '{"pooling_mode_mean_tokens": true}');
    symlinkSync("../../blobs/pooling", join(linked, "1_Pooling", "config.json"));
    const own = await runProgram(["systemd", "print", linked]);
    expect(shown(own.stdout.split("\n"))).toEqual(
      [join(blobs, "pooling"), linked].map((path) => `BindReadOnlyPaths=${path}`),
    );
  });

  test("by default the demo is served on this machine alone", async () => {
    const lines = await print();
    expect(withName(lines, "ListenStream")).toEqual(["ListenStream=127.0.0.1:30000"]);
    expect(withName(await print("--host", "[::1]"), "ListenStream")).toEqual(["ListenStream=[::1]:30000"]);
    expect(withName(lines, "ExecStart")).toEqual([`ExecStart=${executable} serve`]);
    // At most what the plan says and a tenth, rounded up.
    const plan = JSON.parse((await runProgram(["serve", "--dry-run", "--json"])).stdout) as { most: number };
    const limit = Number(withName(lines, "MemoryMax")[0]?.split("=")[1]);
    expect(limit / plan.most).toBeWithin(1.08, 1.2);
  });

  test("a file that only root may read is handed over, one that a group may read is read by its leave", async () => {
    const [secret, shared, config] = ["secret", "shared", "shared.toml"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    for (const path of [secret, shared]) writeFileSync(path, "sk-a\n");
    writeFileSync(config, "[serve]\nctx = 512\n");
    chmodSync(secret, 0o600);
    const groups = [shared, config].map((path, index) => {
      chmodSync(path, 0o640);
      // Root's group is none of a service's.
      if (process.getuid?.() === 0) chownSync(path, 0, 4001 + index);
      return `SupplementaryGroups=${statSync(path).gid}`;
    });
    const lines = await print("--api-key-file", secret, "--api-key-file", shared);
    expect(withName(lines, "LoadCredential")).toEqual([`LoadCredential=api-key-file:${secret}`]);
    expect(withName(lines, "SupplementaryGroups")).toEqual([groups[0] as string]);
    expect(withName(await print("--config", config), "SupplementaryGroups")).toEqual([groups[1] as string]);
    expect(withName(lines, "ExecStart")[0]).toEndWith(`--api-key-file %d/api-key-file --api-key-file ${shared}`);
    const own = await print("--user", "--api-key-file", secret);
    expect(withName(own, "LoadCredential")).toEqual([]);
    expect(withName(own, "ExecStart")[0]).toEndWith(`--api-key-file ${secret}`);
  });

  test("what the service's own file says holds for its units as well, and stays in the file", async () => {
    const [model, keys, config] = ["filed.wf", "filed-keys", "filed.toml"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await convertTiny(model);
    writeFileSync(keys, "sk-a\n");
    chmodSync(keys, 0o600);
    writeFileSync(
      config,
      `port = 1\n[serve]\nmodel = "./filed.wf"\nhost = "0.0.0.0"\nport = 31201\nlisten = "unix:/run/llm.sock"\n` +
        'socket-mode = "600"\napi-key-file = "filed-keys"\ndrain-timeout = 60\nctx = 512\nparallel = 1\n',
    );
    const lines = await print("--config", config);
    expect(withName(lines, "Description")).toEqual([
      `Description=Sockets of wrinklefree: ${model}`,
      `Description=wrinklefree: ${model}`,
    ]);
    expect(withName(lines, "ListenStream")).toEqual(["ListenStream=0.0.0.0:31201", "ListenStream=/run/llm.sock"]);
    expect(withName(lines, "SocketMode")).toEqual(["SocketMode=0600"]);
    expect(withName(lines, "TimeoutStopSec")).toEqual(["TimeoutStopSec=75"]);
    // Only root may read the keys, so they are handed over; the rest of the file is read by the service.
    expect(withName(lines, "LoadCredential")).toEqual([`LoadCredential=api-key-file:${keys}`]);
    expect(withName(lines, "ExecStart")).toEqual([
      `ExecStart=${executable} serve --api-key-file %d/api-key-file --config ${config}`,
    ]);
    expect(shown(lines)).toEqual([config, model].map((path) => `BindReadOnlyPaths=${path}`));
    const given = ["--host", "0.0.0.0", "--api-key-file", keys, "--ctx", "512", "--parallel", "1"];
    expect(withName(lines, "MemoryMax")).toEqual(withName(await print(model, ...given), "MemoryMax"));
    // Another place than the file's is told to the service, which would listen there as well.
    const other = await print("--config", config, "--port", "8080");
    expect(withName(other, "ListenStream")[0]).toBe("ListenStream=0.0.0.0:8080");
    expect(withName(other, "ExecStart")[0]).toContain(" --port 8080");
  });

  test("a user's own file holds for a service of the user's, and not for one of the system's", async () => {
    const home = join(directory, "configured");
    const config = join(home, ".config", "wrinklefree", "config.toml");
    mkdirSync(join(home, ".config", "wrinklefree"), { recursive: true });
    writeFileSync(config, "[serve]\nport = 31202\n");
    const env = { PATH: "/usr/bin:/bin", HOME: home };
    const own = await runProgram(["systemd", "print", "--user"], { env });
    expect([own.stdout.match(/^ListenStream=.*$/m)?.[0], own.stderr]).toEqual(["ListenStream=127.0.0.1:31202", ""]);
    const { code, stdout, stderr } = await runProgram(["systemd", "print"], { env });
    expect([code, stdout.match(/^ListenStream=.*$/m)?.[0]]).toEqual([0, "ListenStream=127.0.0.1:30000"]);
    expect(stderr).toBe(
      `wrinklefree: the service does not read ${config}; give it as --config, or have its settings in /etc/wrinklefree/config.toml\n`,
    );
  });

  const machineFile = join(directory, "machine.toml");
  const withMachineFile = (mode: string) =>
    mounting(
      `mount -t tmpfs tmpfs /etc && mkdir /etc/wrinklefree && install -m ${mode} ${machineFile} /etc/wrinklefree/config.toml`,
    );
  writeFileSync(machineFile, '[serve]\nhost = "::"\nport = 31203\napi-key = "sk-filed"\n');
  if (withMachineFile("644") === undefined) console.log("skipping a file of the machine: this process may not mount");

  test.skipIf(withMachineFile("644") === undefined)("the machine's file holds, if its user can read it", async () => {
    const env = { PATH: "/usr/bin:/bin", HOME: directory };
    const [open, closed] = await Promise.all(
      ["644", "600"].map((mode) =>
        runProgram(["systemd", "print"], { env, wrapper: withMachineFile(mode) as string[] }),
      ),
    );
    expect([open?.code, open?.stderr]).toEqual([0, ""]);
    expect(open?.stdout).toContain("ListenStream=[::]:31203\n");
    expect(open?.stdout).toContain(`ExecStart=${executable} serve\n`);
    const fault =
      "the service's user can't read /etc/wrinklefree/config.toml; let all read it, and keep keys in a file of their own";
    expect([closed?.code, closed?.stderr]).toEqual([1, `wrinklefree: the service could not serve: ${fault}\n`]);
  });

  test("of variables, --pull yields to --offline, as it does for serve", async () => {
    const env = { PATH: "/usr/bin:/bin", HOME: directory, WRINKLEFREE_PULL: "true" };
    const { code, stdout } = await runProgram(["systemd", "print", "--offline"], { env });
    expect([code, stdout.match(/^ExecStart=.*$/m)?.[0]]).toEqual([0, `ExecStart=${executable} serve --offline`]);
  });

  test("variables go along as options; those that stay are named", async () => {
    const config = join(directory, "variable.toml");
    writeFileSync(config, "any-model = true\nqueue = 9\n");
    const env = {
      PATH: "/usr/bin:/bin",
      HOME: directory,
      WRINKLEFREE_CONFIG: config,
      WRINKLEFREE_CTX: "512",
      WRINKLEFREE_THREADS: "1",
      WRINKLEFREE_PORT: "8080",
      WRINKLEFREE_ALIAS: "a b",
      WRINKLEFREE_ANY_MODEL: "false",
      WRINKLEFREE_API_KEY: "sk-secret",
      WRINKLEFREE_INSECURE: "true",
      WRINKLEFREE_OTLP_ENDPOINT: "http://me:secret@localhost:4318",
      WRINKLEFREE_CPU: "scalar",
      HF_TOKEN: "hf_secret",
      OTEL_SERVICE_NAME: "llm",
    };
    const { code, stdout, stderr } = await runProgram(["systemd", "print"], { env });
    expect(code).toBe(0);
    expect(stdout).toContain("ListenStream=127.0.0.1:8080\n");
    expect(stdout).toContain(
      `ExecStart=${executable} serve --threads 1 --ctx 512 --alias a --alias b --no-any-model --config ${config}\n`,
    );
    expect(stdout + stderr).not.toContain("secret");
    expect(stderr.split("\n")).toEqual([
      expect.stringMatching(/^wrinklefree: WRINKLEFREE_API_KEY does not hold for the service: .*--api-key-file$/),
      expect.stringMatching(/^wrinklefree: WRINKLEFREE_INSECURE does not hold for the service: add --insecure /),
      expect.stringMatching(/^wrinklefree: WRINKLEFREE_OTLP_ENDPOINT does not hold for the service: .* password/),
      expect.stringMatching(/^wrinklefree: the units have no WRINKLEFREE_CPU; 'systemctl edit wrinklefree\.service' /),
      "",
    ]);
    const more = await runProgram(["systemd", "print", "acme/model", "--pull", "--traces"], { env });
    expect(more.stderr).toContain("the units have no HF_TOKEN, OTEL_SERVICE_NAME, WRINKLEFREE_CPU; ");
  });

  test("a model of a variable is no option of the service, however it is called", async () => {
    const env = { PATH: "/usr/bin:/bin", HOME: directory, WRINKLEFREE_MODEL: "--any-model" };
    const { code, stdout, stderr } = await runProgram(["systemd", "print"], { env });
    expect(stdout).toContain(`ExecStart=${executable} serve --model=--any-model\n`);
    expect([code, stderr]).toEqual([1, expect.stringContaining("there is no --any-model in the service's store")]);
  });

  test.each<[string, string[], RegExp]>([
    ["no word", ["systemd"], /^wrinklefree systemd: systemd takes what to do, print or install/],
    ["another word", ["systemd", "remove"], /print or install, not 'remove'/],
    ["a key", ["systemd", "print", "--api-key", "sk-a"], /^wrinklefree systemd: --api-key would stand in a unit/],
    [
      "a password",
      ["systemd", "print", "--otlp-endpoint", "http://me:secret@localhost:4318"],
      /^wrinklefree systemd: --otlp-endpoint may hold a password here and would stand in a unit/,
    ],
    ["any port", ["systemd", "print", "--port", "0"], /^wrinklefree: a socket unit listens on a port that is known/],
    ["a name", ["systemd", "print", "--host", "llm.example"], /^wrinklefree: a socket unit listens on addresses/],
    ["a path as a name", ["systemd", "print", "--name", "../a"], /^wrinklefree systemd: --name takes a plain name/],
    ["what only serve can do", ["systemd", "print", "--dry-run"], /unknown option '--dry-run'/],
    ["a name that directories can't have", ["systemd", "print", "--name", "a:b"], /--name takes a plain name/],
    ["a name that leads upwards", ["systemd", "print", "--name", ".."], /--name takes a plain name/],
    ["what contradicts itself", ["systemd", "print", "--pull", "--offline"], /can't be had together/],
    [
      "a socket's path that is too long",
      ["systemd", "print", "--listen", `unix:/run/${"a".repeat(103)}`],
      /no socket can have a path of more than 107 bytes/,
    ],
    ["half of TLS", ["systemd", "print", "--tls-cert", "/a"], /--tls-cert needs --tls-key/],
    ["a path of several lines", ["systemd", "print", "--listen", "unix:/run/a\nUser=root"], /a unit can't name "/],
  ])("%s is refused", async (_, args, wanted) => {
    const { code, stderr } = await runProgram(args);
    expect(stderr).toMatch(wanted);
    expect(code).toBeGreaterThan(0);
  });
});

describe("what the service would fail by is said, and the exit code is 1", () => {
  const store = join(directory, "own-store");
  const model = join(directory, "checked.wf");
  const env = { PATH: "/usr/bin:/bin", HOME: directory };
  const withStore = { ...env, WRINKLEFREE_STORE: store };
  const file = (name: string, text: string, mode = 0o644) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };

  beforeAll(async () => {
    await convertTiny(model);
    cpSync(model, join(directory, "closed.wf"));
    chmodSync(join(directory, "closed.wf"), 0o600);
    expect((await runProgram(["serve", tinyDirectory, "--dry-run"], { env: withStore })).code).toBe(0);
    for (const name of ["closed-store", "closed-models"]) {
      cpSync(store, join(directory, name), { recursive: true });
    }
    chmodSync(join(directory, "closed-models"), 0o755);
    expect(Bun.spawnSync(["chmod", "-R", "a+rX", store]).exitCode).toBe(0);
    file("notes.txt", "A text that somebody took for a model.\n");
    writeFileSync(join(directory, "mute.bin"), encodeSglbitnt());
    expect((await runProgram(["convert", join(directory, "mute.bin"), join(directory, "mute.wf")])).code).toBe(0);
    cpSync(tinyDirectory, join(directory, "half-closed"), { recursive: true });
    chmodSync(join(directory, "half-closed", "config.json"), 0o600);
    cpSync(tinyDirectory, join(directory, "beside-store"), { recursive: true });
    mkdirSync(join(directory, "parts"));
    cpSync(join(directory, "mute.bin"), join(directory, "parts", "model.bin"));
    file("parts/config.json", "{}", 0o600);
    file("open.toml", '[serve]\nhost = "0.0.0.0"\napi-key-file = "nowhere-keys"\n');
    file("insecure.toml", 'host = "0.0.0.0"\ninsecure = true\n');
    file("wrong.toml", '[serve]\nctx = "abc"\n');
    file("no.pem", "no certificate\n");
    file("no-keys", "two words\n");
    file("keys", "sk-a\n");
    file("root-keys", "sk-a\n", 0o600);
    file("half.toml", 'tls-cert = "nowhere.pem"\ntls-key = "nowhere.key"\n');
  });

  const inDirectory = (arg: string) => arg.replace("@", `${directory}/`);

  test.each<[string, string, RegExp]>([
    [
      "an address for others without keys",
      "--host 0.0.0.0",
      /anyone who can reach 0\.0\.0\.0 could use it without a key/,
    ],
    ["one of several", "--listen unix:/run/a.sock --listen 10.1.2.3:80", /anyone who can reach 10\.1\.2\.3 could/],
    ["a path where nothing is", "/srv/no/model.wf", /: \/srv\/no\/model\.wf: no such file or directory$/],
    ["a file's name", "nowhere.wf", /\/nowhere\.wf: no such file or directory$/],
    ["what is no model", "@notes.txt", /notes\.txt: a file of a kind that is unknown here/],
    [
      "a model that its user can't read",
      "@closed.wf",
      /the service's user can't read \S+\/closed\.wf; let all read it/,
    ],
    [
      "one of the model's files that its user can't read",
      "@half-closed",
      /the service's user can't read \S+\/half-closed\/config\.json; let all read it/,
    ],
    ["a model without a tokenizer", "@mute.wf", /\/mute\.wf: no tokenizer\.json inside; convert the checkpoint again/],
    [
      "one that has to be converted",
      "@mute.bin",
      /\/mute\.bin: no tokenizer\.json inside; convert the checkpoint again/,
    ],
    ["a file's keys that are not there", "--config @open.toml", /\/nowhere-keys: no such file or directory$/],
    [
      "what the command line takes back of a file",
      "--config @insecure.toml --no-insecure",
      /anyone who can reach 0\.0\.0\.0 could/,
    ],
    ["a store that is not there", "--store @none", /\/none: no such directory; make it, /],
    [
      "a name that is in no store",
      "tiny --store @none",
      /there is no tiny in the service's store \S+\/none, which is not there/,
    ],
    [
      "a store that its user can't read",
      "tiny --store @closed-store",
      /the service's user can't read \S+\/closed-store; let all read it/,
    ],
    [
      "one whose models its user can't read",
      "tiny --store @closed-models",
      /the service's user can't read \S+\/closed-models\/models; let all read it/,
    ],
    [
      "a store in which its user can't keep what is pulled",
      "acme/model --pull --store @own-store",
      /the service's user can't write to \S+\/own-store, where it would keep the model; leave --store out/,
    ],
    [
      "a store in which its user can't keep what is converted",
      "@beside-store --store @own-store",
      /the service's user can't write to \S+\/own-store/,
    ],
    [
      "what lies beside a model and is a part of it, which its user can't read",
      "@parts/model.bin",
      /the service's user can't read \S+\/parts\/config\.json; let all read it/,
    ],
    ["a name on the hub", "acme/model", /no acme\/model in the service's store .*; add --pull, or/],
    [
      "a name on the hub, without the network",
      "acme/model --offline",
      /no acme\/model in the service's store .*; add --no-offline --pull, or/,
    ],
    [
      "a certificate that is not there",
      "--tls-cert @a.pem --tls-key @a.key",
      /\/a\.pem: no such file or directory\n.*\/a\.key: no such file/,
    ],
    ["what is no certificate", "--tls-cert @no.pem --tls-key @no.pem", /no\.pem holds no certificate/],
    ["keys that are not there", "--api-key-file @nowhere", /\/nowhere: no such file or directory$/],
    ["what are no keys", "--api-key-file @no-keys", /no-keys/],
    ["keys that come through a pipe", "--api-key-file /dev/stdin", /\/dev\/stdin is no regular file$/],
    ["too little memory", "@checked.wf --memory-max 1M", /MB are more than the limit of --memory-max, 1\.05 MB/],
    ["a budget that is too small", "@checked.wf --memory-budget 1M", /--memory-budget is /],
    [
      "a file's setting that leads nowhere",
      "--config @half.toml",
      /nowhere\.pem: no such file or directory\n.*nowhere\.key: no such file/,
    ],
  ])("%s", async (_, line, fault) => {
    const args = line.split(" ").map(inDirectory);
    const printed = await runProgram(["systemd", "print", ...args], { env });
    expect([printed.code, printed.stdout.split("\n")[0]]).toEqual([1, "# /etc/systemd/system/wrinklefree.socket"]);
    expect(printed.stderr).toStartWith("wrinklefree: the service could not serve: ");
    expect(printed.stderr.trimEnd()).toMatch(fault);
  });

  test("what a variable switches off is off for the service, whatever its file says", async () => {
    const args = ["systemd", "print", "--config", join(directory, "insecure.toml")];
    const { code, stderr } = await runProgram(args, { env: { ...env, WRINKLEFREE_INSECURE: "false" } });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/anyone who can reach 0\.0\.0\.0 could .*\n$/)]);
  });

  test("a file with a fault", async () => {
    const config = join(directory, "wrong.toml");
    const { code, stdout, stderr } = await runProgram(["systemd", "print", "--config", config], { env });
    const fault = `wrinklefree: ${config}:2: ctx takes a whole number from 16 to `;
    expect([code, stdout, stderr]).toEqual([1, "", expect.stringContaining(fault)]);
  });

  test("and nothing is installed", async () => {
    const place = join(directory, "faulty");
    const args = ["systemd", "install", "--directory", place, "--host", "0.0.0.0"];
    const { code, stdout, stderr } = await runProgram(args, { env });
    expect([code, stdout, existsSync(place)]).toEqual([1, "", false]);
    expect(stderr).toEndWith("\nwrinklefree: nothing is installed\n");
  });

  test.each<[string, string]>([
    ["keys for those who come", "--host 0.0.0.0 --api-key-file @keys"],
    ["nobody needs a key, by its operator's will", "--host 0.0.0.0 --insecure"],
    ["a unix socket alone", "--listen unix:/run/a.sock"],
    ["a name that is pulled", "acme/model --pull"],
    ["a name of the store that it is given", "tiny --store @own-store"],
    ["for a user, files of the user's alone", "@closed.wf --user --api-key-file @root-keys"],
    ["what has to be converted", tinyDirectory],
  ])("nothing is said of what is well: %s", async (_, line) => {
    const { code, stderr } = await runProgram(["systemd", "print", ...line.split(" ").map(inDirectory)], { env });
    expect([code, stderr]).toEqual([0, ""]);
  });

  test("a name of the store of whoever makes the units", async () => {
    const printed = await runProgram(["systemd", "print", "tiny"], { env: withStore });
    expect([printed.code, printed.stderr.split("\n")]).toEqual([
      1,
      [
        expect.stringMatching(
          /there is no tiny in the service's store \/var\/cache\/wrinklefree\S*.*such as \S+\/tiny-/,
        ),
        expect.stringMatching(/^wrinklefree: WRINKLEFREE_STORE does not hold for the service: .*; add --store /),
        "",
      ],
    ]);
    // A user's own service has it.
    const own = await runProgram(["systemd", "print", "tiny", "--user"], { env: withStore });
    expect([own.code, own.stderr]).toEqual([0, ""]);
    expect(own.stdout).toContain(`ExecStart=${executable} serve tiny --store ${store}\n`);
  });

  test("what has to be converted has the limit of the packed file", async () => {
    const limits = await Promise.all(
      [model, tinyDirectory].map(async (path) => {
        const { stdout } = await runProgram(["systemd", "print", path], { env });
        return Number(/^MemoryMax=(\d+)$/m.exec(stdout)?.[1]);
      }),
    );
    expect((limits[1] as number) / (limits[0] as number)).toBeWithin(0.9, 1.1);
  });

  test("memory that is not enough for all that requests may hold is no fault", async () => {
    const { code, stderr } = await runProgram(["systemd", "print", model, "--memory-max", "300M"], { env });
    expect(stderr).toMatch(/fit into the limit of --memory-max, 314\.6 MB, but not with all that requests may hold/);
    expect(code).toBe(0);
  });
});

describe("install", () => {
  test("writes them, says what to do next, and replaces nothing that differs unless it is told to", async () => {
    const home = join(directory, "home");
    mkdirSync(home);
    const env = { PATH: "/usr/bin:/bin", HOME: home };
    const install = (...args: string[]) => runProgram(["systemd", "install", "--user", ...args], { env });
    const first = await install();
    const place = join(home, ".config/systemd/user");
    expect([first.code, first.stdout]).toEqual([0, `${place}/wrinklefree.socket\n${place}/wrinklefree.service\n`]);
    expect(first.stderr).toContain("systemctl --user enable --now wrinklefree.socket wrinklefree.service\n");
    expect((await install()).code).toBe(0);
    const other = await install("--parallel", "2");
    const file = join(place, "wrinklefree.service");
    const inFile = await install("--directory", file);
    expect(inFile).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/can't write units to \S+: file already exists; use /),
    });
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("says something else; add --force") });
    expect((await install("--parallel", "2", "--force")).code).toBe(0);
    expect(readFileSync(join(place, "wrinklefree.service"), "utf8")).toContain(" serve --parallel 2\n");
  });
});

const analyze = Bun.which("systemd-analyze");
if (analyze === null) console.log("skipping systemd-analyze: apt-get install systemd");

describe.skipIf(analyze === null)("systemd-analyze", () => {
  const run = async (more: Record<string, string>, ...args: string[]) => {
    const child = Bun.spawn([analyze as string, ...args], {
      stdout: "pipe",
      stderr: "pipe",
      // The user's manager has its directory there.
      env: { ...process.env, XDG_RUNTIME_DIR: directory, ...more },
    });
    const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { stdout, stderr, code };
  };

  test.each([["--user"], ["--system"]])("verifies them: %s", async (whose) => {
    const place = join(directory, whose);
    const options = whose === "--user" ? ["--user"] : ["--api-key-file", "/etc/hostname"];
    const args = [
      "systemd",
      "install",
      "--directory",
      place,
      "--listen",
      "unix:/run/a.sock",
      "--port",
      "80",
      ...options,
    ];
    expect((await runProgram(args)).code).toBe(0);
    const files = ["socket", "service"].map((kind) => join(place, `wrinklefree.${kind}`));
    const { stdout, stderr, code } = await run({}, "verify", whose, ...files);
    // What it says of units of the machine itself is not about these.
    const ours = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("wrinklefree"));
    expect({ code, ours, stderr }).toMatchObject({ code: 0, ours: [] });
  });

  test("reads every path and word as it is meant", async () => {
    const place = join(directory, "words");
    const odd = join(directory, `o'dd "d" a:b $x %h \\z`);
    mkdirSync(odd);
    const model = join(odd, "a:b $x.wf");
    await convertTiny(model);
    const program = join(directory, "a $program:%h");
    copyFileSync(executable, program);
    const words = [`it's "b" $c \${d} %n \\ ;`, ";", "-e", "two\nlines"];
    const args = [...words.map((word) => `--alias=${word}`), "--store", odd, "--listen", "unix:/run/a b%h.sock"];
    const child = Bun.spawnSync([program, "systemd", "install", "--directory", place, model, ...args]);
    expect([child.exitCode, child.stderr.toString()]).toEqual([0, expect.stringMatching(/^now run\n/)]);
    const files = ["socket", "service"].map((kind) => join(place, `wrinklefree.${kind}`));
    const { stdout } = await run({ SYSTEMD_LOG_LEVEL: "debug" }, "verify", "--system", ...files);
    // What systemd understood of the unit, as it shows it.
    const understood = (name: string) =>
      [...stdout.matchAll(new RegExp(`^\\s*${name}: (.*)$`, "gm"))].map(([, one]) => one);
    expect(understood("BindReadOnlyPaths")).toEqual([program, model].map((path) => `${path}:${path}:rbind`));
    expect(understood("BindPaths")).toEqual([`${odd}:${odd}:rbind`]);
    expect(understood("ListenStream")).toEqual(["/run/a b%h.sock"]);
    const aliases = words.flatMap((word) => (word.startsWith("-") ? [`--alias=${word}`] : ["--alias", word]));
    // It shows words as a shell takes them, and variables are looked for behind the program later.
    const [first, ...behind] = [...(understood("Command Line")[0] ?? "").matchAll(/"((?:\\.|[^"\\])*)"|\S+/g)].map(
      ([word, quoted]) =>
        quoted === undefined ? word : quoted.replace(/\\(.)/g, (_, one: string) => (one === "n" ? "\n" : one)),
    );
    expect(first).toBe(program);
    expect(behind.map((word) => word.replaceAll("$$", () => "$"))).toEqual([
      "serve",
      model,
      ...aliases,
      "--store",
      odd,
    ]);
  });

  test("finds the service exposed to at most 3 of 10", async () => {
    const place = join(directory, "security");
    const args = ["systemd", "install", "--directory", place, "--host", "0.0.0.0", "--insecure"];
    expect((await runProgram(args)).code).toBe(0);
    const { stdout } = await run(
      {},
      "security",
      "--offline=true",
      "--threshold=30",
      join(place, "wrinklefree.service"),
    );
    const exposure = Number(/Overall exposure level for wrinklefree\.service: ([\d.]+)/.exec(stdout)?.[1]);
    expect(exposure).toBeLessThanOrEqual(3);
  });
});
