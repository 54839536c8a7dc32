/** `wrinklefree doctor`: machines that are as they should be, and each thing that is not, arranged for real. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { serverOptions } from "../src/commands/serve_options.ts";
import { judgeSpeeds, type Speeds } from "../src/doctor/speed.ts";
import { canMakeCertificates, makeCertificate } from "./support/certificates.ts";
import { tinyDirectory } from "./support/goldens.ts";
import { runProgram, startServer } from "./support/server.ts";
import { encodeSglbitnt } from "./support/small_sglbitnt.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-doctor-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const PATH = process.env.PATH ?? "/usr/bin:/bin";
const store = join(scratch, "store");

interface Finding {
  name: string;
  state: string;
  text: string;
  remedy?: string;
}

interface Wishes {
  env?: Record<string, string>;
  wrapper?: string[];
  code?: number;
}

/** Runs the doctor, without the measurement, and gives its findings by name. */
async function examine(args: string[], { env = {}, wrapper = [], code = 0 }: Wishes = {}) {
  const free = args.includes("--listen") ? [] : ["--port", "0"];
  const all = { PATH, WRINKLEFREE_STORE: store, ...env };
  const run = await runProgram(["doctor", "--json", "--no-speed", ...free, ...args], { env: all, wrapper });
  const { ok, findings } = JSON.parse(run.stdout) as { ok: boolean; findings: Finding[] };
  expect([run.stderr, run.code, ok]).toEqual(["", code, code === 0]);
  return (name: string) => findings.find((finding) => finding.name === name) as Finding;
}

describe("the doctor", () => {
  test("looks at everything, in words and with a measurement", async () => {
    const { code, stdout } = await runProgram(["doctor", "--port", "0"], { env: { PATH, WRINKLEFREE_STORE: store } });
    expect(code).toBe(0);
    const names = [...stdout.matchAll(/^(?:ok|warn) +([a-z- ]+): ./gm)].map(([, name]) => name);
    expect(names).toEqual([
      "kernels",
      "cores",
      "cpu limit",
      "memory",
      "huge pages",
      "numa",
      "clock",
      "temporary directory",
      "store",
      "port",
      "access",
      "descriptors",
      "read bandwidth",
      "multiply-adds",
      "products",
    ]);
    expect(stdout).toMatch(/ read bandwidth: [\d.]+ GB\/s with \d+ threads?\n/);
    expect(stdout).toMatch(/ products: [\d.]+ G\/s where one answer is written, \d+ % of what the (memory|processor) /);
    // Whatever is not well comes with something to do.
    expect(stdout.match(/^(warn|fail).*\n(?! {6}-> .)/gm)).toBeNull();
  });

  test("figures are held against others of the same run", () => {
    const speeds: Speeds = {
      tier: "avx2",
      threads: 4,
      cores: 4,
      reads: 20,
      multiplyAdds: 390,
      multiplyAddsOfOne: 100,
      product: 70,
    };
    const states = (change: Partial<Speeds>) => judgeSpeeds({ ...speeds, ...change }).map(({ state }) => state);
    expect(judgeSpeeds(speeds).map(({ text }) => text)).toEqual([
      "20 GB/s with 4 threads",
      "390 G/s with avx2 and 4 threads, 3.9 times what one does alone; for 4 cores it should be 4",
      "70 G/s where one answer is written, 88 % of what the memory lets through",
    ]);
    expect(states({})).toEqual(["ok", "ok", "ok"]);
    // Two threads of each core, or half of the cores' time: no more can be had.
    expect(states({ multiplyAdds: 210 })).toEqual(["ok", "warn", "ok"]);
    expect(states({ multiplyAdds: 210, cores: 2 })).toEqual(["ok", "ok", "ok"]);
    expect(states({ multiplyAdds: 140, cores: 1.5 })).toEqual(["ok", "ok", "ok"]);
    expect(states({ threads: 1, cores: 1, multiplyAdds: 100 })).toEqual(["ok", "ok", "ok"]);
    expect(states({ product: 30 })).toEqual(["ok", "ok", "warn"]);
    // Slow kernels are held against the processor.
    const [, , scalar] = judgeSpeeds({ ...speeds, multiplyAdds: 8, multiplyAddsOfOne: 2, product: 7 });
    expect(scalar).toMatchObject({ state: "ok", text: expect.stringContaining("88 % of what the processor can do") });
  });

  test.skipIf(Bun.which("taskset") === null)("threads that have to share a core are not said to be slow", async () => {
    const env = { PATH, WRINKLEFREE_STORE: store };
    const wrapper = ["taskset", "-c", "0"];
    const { stdout } = await runProgram(["doctor", "--port", "0", "--threads", "2"], { env, wrapper });
    expect(stdout).toMatch(/ multiply-adds: .* and 2 threads, .*; for 1 core it should be 1\n/);
  });

  test("kernels that were forced", async () => {
    const finding = (await examine([], { env: { WRINKLEFREE_CPU: "scalar" } }))("kernels");
    expect(finding).toMatchObject({
      state: "warn",
      text: expect.stringContaining("scalar"),
      remedy: expect.stringContaining("unset"),
    });
    const none = (await examine([], { env: { WRINKLEFREE_CPU: "nonsense" }, code: 1 }))("kernels");
    expect(none).toMatchObject({
      state: "fail",
      text: expect.stringMatching(
        /^WRINKLEFREE_CPU=nonsense names no kernels that this processor can run, which are (\w+, )*scalar$/,
      ),
    });
  });

  test.skipIf(Bun.which("taskset") === null || cpus().length < 2)(
    "a process that is pinned to fewer cores",
    async () => {
      const found = await examine([], { wrapper: ["taskset", "-c", "0"] });
      expect(found("cores")).toMatchObject({
        state: "warn",
        text: expect.stringMatching(/^1 of \d+ may be used; 1 thread$/),
      });
      const many = await examine(["--threads", "200"]);
      expect(many("cores")).toMatchObject({ state: "warn", remedy: expect.stringMatching(/^lower --threads to \d+$/) });
    },
  );

  test("a limit of addresses, with which a server ends in the middle of answers, or does not begin", async () => {
    const limited = (limit: string) => ["bash", "-c", `ulimit ${limit}; exec "$@"`, "bash"];
    const found = await examine([], { wrapper: limited("-v 20000000") });
    expect(found("memory")).toMatchObject({
      state: "warn",
      text: expect.stringContaining("; ulimit -v allows 20.5 GB of addresses"),
      remedy: expect.stringContaining("MemoryMax="),
    });
    const none = await examine([], { wrapper: limited("-v 1000000"), code: 1 });
    expect(none("engine")).toMatchObject({ state: "fail", remedy: expect.stringContaining("lift 'ulimit -v'") });
    expect(none("memory").state).toBe("warn");
  });

  test("few descriptors", async () => {
    const wrapper = ["bash", "-c", 'ulimit -n 100; exec "$@"', "bash"];
    expect((await examine([], { wrapper }))("descriptors")).toMatchObject({
      state: "warn",
      text: "100 files and connections",
    });
  });

  test("a port that another program has, one that a server of ours has, and one that is free", async () => {
    const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("no") });
    const place = `127.0.0.1:${other.port}`;
    const choice = ["--port", String(other.port)];
    const taken = await examine(choice, { code: 1 });
    expect(taken("port")).toMatchObject({
      state: "fail",
      text: `${place}: another program listens there`,
    });
    await other.stop(true);
    expect((await examine(choice))("port").text).toBe(`${place} is free`);
    const server = await startServer(["--log", "off"]);
    try {
      const own = await examine(["--port", String(server.port)]);
      expect(own("port").text).toBe(`127.0.0.1:${server.port}: a wrinklefree server runs there`);
    } finally {
      await server.stop();
    }
    const sockets = await examine(["--listen", `unix:${scratch}/llm.sock`]);
    expect(sockets("port")).toMatchObject({
      state: "ok",
      text: `unix:${scratch}/llm.sock: its directory can be written to`,
    });
    const nowhere = await examine(["--listen", "unix:/nowhere/llm.sock"], { code: 1 });
    expect(nowhere("port")).toMatchObject({ state: "fail", text: expect.stringContaining("/nowhere: no such file") });
    const strange = await examine(["--host", "192.0.2.1"], { code: 1 });
    expect(strange("port").state).toBe("fail");
  });

  test("a temporary directory that is missing: the rest is looked at all the same", async () => {
    const found = await examine([], { env: { BUN_TMPDIR: join(scratch, "missing") }, code: 1 });
    expect(found("temporary directory")).toMatchObject({ state: "fail", text: expect.stringContaining("missing") });
    expect(found("descriptors").state).toBe("ok");
  });

  const asRoot = process.getuid?.() === 0;
  const mounts = asRoot && Bun.spawnSync(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", scratch]).exitCode === 0;
  if (!mounts) console.log("skipping a directory without programs: it takes root, and leave to mount");

  test.skipIf(!mounts)("a temporary directory where no program may run", async () => {
    const place = join(scratch, "noexec");
    mkdirSync(place);
    const line = `mount -t tmpfs -o noexec tmpfs ${place} && BUN_TMPDIR=${place} exec "$@"`;
    const found = await examine([], { wrapper: ["unshare", "-m", "sh", "-c", line, "sh"], code: 1 });
    expect(found("temporary directory")).toMatchObject({
      state: "fail",
      text: expect.stringContaining("mounted noexec"),
      remedy: "set BUN_TMPDIR to a directory where programs may run",
    });
  });

  // In many containers everybody may have every port.
  const isFree = Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8")) <= 7;
  test.skipIf(!asRoot || isFree || Bun.which("setpriv") === null)("a port that this user may not have", async () => {
    const wrapper = ["setpriv", "--reuid=65534", "--clear-groups"];
    const copy = join(scratch, "unprivileged");
    const found = await examine(["--port", "7"], { wrapper, env: { WRINKLEFREE_STORE: copy }, code: 1 });
    expect(found("port")).toMatchObject({ state: "fail", text: "127.0.0.1:7: permission denied" });
    expect(found("store")).toMatchObject({ state: "fail", remedy: expect.stringContaining("--store") });
  });

  test("takes the settings of serve, from its table in a file", async () => {
    const config = join(scratch, "config.toml");
    writeFileSync(config, "[serve]\nparallel = 2\nthreads = 200\n");
    expect((await examine(["--config", config]))("cores").text).toContain("200 threads");
    writeFileSync(config, "[doctor]\nthreads = 1\n");
    const { code, stderr } = await runProgram(["doctor", "--config", config]);
    expect([code, stderr]).toEqual([1, `wrinklefree: ${config}:1: doctor has the settings of serve; write [serve]\n`]);
  });
});

describe("the command line of a service", () => {
  test("is taken as a whole", async () => {
    const all = Object.entries(serverOptions).flatMap(([name, option]) =>
      "isSwitch" in option ? [`--${name}`] : [`--${name}`, "1"],
    );
    const { stderr } = await runProgram(["doctor", ...all, "--no-such-option"], { env: { PATH } });
    expect(stderr).toStartWith("wrinklefree doctor: unknown option '--no-such-option'; ");
  });

  test("is refused by what serve is refused by", async () => {
    const open = await examine(["--host", "0.0.0.0"], { code: 1 });
    expect(open("access")).toEqual({
      name: "access",
      state: "fail",
      text: "refusing to listen on 0.0.0.0, where anyone who can reach it could use the server",
      remedy: "set WRINKLEFREE_API_KEY or --api-key-file, or add --insecure if that is wanted",
    });
    const nowhere = await examine(["--api-key-file", "/no/keys"], { code: 1 });
    expect(nowhere("access").text).toContain("/no/keys: no such file or directory");
    const half = join(scratch, "half.pem");
    writeFileSync(half, "no certificate\n");
    const damaged = await examine(["--tls-cert", half, "--tls-key", half], { code: 1 });
    expect(damaged("certificate").text).toBe(`${half} holds no certificate`);
    const traced = await examine(["--traces"], { env: { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, code: 1 });
    expect(traced("traces").text).toContain("OTEL_EXPORTER_OTLP_PROTOCOL");
  });

  test("is well with keys, on this machine alone, and with a word where everybody may come", async () => {
    const keys = join(scratch, "keys");
    // One that stands twice is one.
    writeFileSync(keys, "sk-a\nsk-b\nsk-a\n");
    const found = await examine(["--host", "0.0.0.0", "--api-key-file", keys, "--api-key", "sk-c", "--traces"]);
    expect(found("access")).toEqual({ name: "access", state: "ok", text: "3 keys" });
    expect(found("traces").text).toBe("to http://localhost:4318/v1/traces");
    expect((await examine([]))("access")).toMatchObject({
      state: "ok",
      text: expect.stringContaining("this machine alone"),
    });
    const all = await examine(["--host", "0.0.0.0", "--insecure"]);
    expect(all("access")).toMatchObject({ state: "warn", text: "without a key, for anyone who can reach 0.0.0.0" });
  });

  test.skipIf(!canMakeCertificates())("names its certificate", async () => {
    const { certificate, key } = makeCertificate(scratch, "doctor");
    const found = await examine(["--tls-cert", certificate, "--tls-key", key]);
    expect(found("certificate")).toMatchObject({
      state: "ok",
      text: expect.stringMatching(/^DNS:localhost.*valid until/),
    });
  });
});

describe("models", () => {
  const full = join(scratch, "full");
  const env = { WRINKLEFREE_STORE: full };

  test("each of the store is held against the memory, and so is the one that is to be served", async () => {
    const packed = await runProgram(["chat", tinyDirectory, "-p", "x", "--max-tokens", "1"], { env: { PATH, ...env } });
    expect(packed.code).toBe(0);
    expect((await examine([], { env }))("model tiny")).toMatchObject({
      state: expect.stringMatching(/ok|warn/),
      text: expect.stringContaining(" fit into "),
    });
    const large = {
      state: "warn",
      text: expect.stringContaining(" are more than "),
      remedy: expect.stringContaining("--dry-run"),
    };
    expect((await examine(["--memory", "100T"], { env }))("model tiny")).toMatchObject(large);
    const served = await examine(["tiny", "--memory", "100T"], { env, code: 1 });
    expect(served("model tiny")).toMatchObject({ ...large, state: "fail" });
    const missing = await examine(["/nowhere/model.wf"], { env, code: 1 });
    expect(missing("model /nowhere/model.wf")).toMatchObject({
      state: "fail",
      text: expect.stringContaining("no such file"),
    });
  });

  test("one that has no tokenizer, which serve could not be given, in the store or outside of it", async () => {
    const source = join(scratch, "mute.bin");
    writeFileSync(source, encodeSglbitnt());
    const model = join(scratch, "mute.wf");
    expect((await runProgram(["convert", source, model])).code).toBe(0);
    expect((await runProgram(["serve", model, "--dry-run"])).code).toBe(1);
    expect((await examine([model], { env, code: 1 }))("model mute")).toEqual({
      name: "model mute",
      state: "fail",
      text: `${model}: no tokenizer.json inside`,
      remedy: "convert the checkpoint again from a directory that has one",
    });
    const own = { WRINKLEFREE_STORE: join(scratch, "mute") };
    // It is converted for that, and kept.
    expect((await runProgram(["serve", source, "--dry-run"], { env: { PATH, ...own } })).code).toBe(1);
    const listed = JSON.parse((await runProgram(["list", "--json"], { env: { PATH, ...own } })).stdout);
    expect(listed.models[0]).toMatchObject({ name: "mute", gives: null });
    expect((await examine([], { env: own }))("model mute")).toEqual({
      name: "model mute",
      state: "warn",
      text: "has no tokenizer, so it can't be served",
      remedy: "pull or convert it from a source that has one",
    });
  });

  test("one of the hub that is not here: nothing is pulled to look at it", async () => {
    const name = "model acme/tiny";
    const remedy = "'wrinklefree pull acme/tiny' brings it";
    // No hub is asked: there is none at this address.
    const hub = { ...env, HF_ENDPOINT: "http://127.0.0.1:1" };
    expect((await examine(["acme/tiny", "--pull"], { env: hub }))(name)).toEqual({
      name,
      state: "warn",
      text: "is not here to be looked at: the server pulls it when it starts",
      remedy,
    });
    expect((await examine(["acme/tiny"], { env: hub, code: 1 }))(name)).toEqual({
      name,
      state: "fail",
      text: "is not pulled yet",
      remedy: `${remedy}, or let the server do so with --pull`,
    });
  });

  test("with settings that it was not made for; those of the store have them as far as they were", async () => {
    // What is wrong and what to do are said once.
    const long = await examine([tinyDirectory, "--ctx", "99999"], { env, code: 1 });
    expect(long("model tiny")).toEqual({
      name: "model tiny",
      state: "fail",
      text: "--ctx 99999 is more than tiny was made for, whose context has 2048 tokens",
      remedy: "lower --ctx, or leave it out",
    });
    expect((await examine(["--ctx", "99999"], { env }))("model tiny")).toMatchObject({
      text: expect.stringContaining(" fit into "),
    });
  });

  test("one that is damaged", async () => {
    const damaged = join(scratch, "damaged");
    mkdirSync(damaged);
    cpSync(full, damaged, { recursive: true });
    const [file = ""] = readdirSync(join(damaged, "models")).filter((name) => name.endsWith(".wf"));
    truncateSync(join(damaged, "models", file), 1000);
    const found = await examine([], { env: { WRINKLEFREE_STORE: damaged } });
    expect(found("model tiny")).toMatchObject({ state: "warn", remedy: expect.stringContaining("wrinklefree rm") });
  });
});
