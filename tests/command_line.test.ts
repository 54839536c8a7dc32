/** The executable as a program among programs: what it says to whom, what its exit codes mean, and what becomes of lost output. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../package.json";
import { commands } from "../src/commands/registry.ts";
import { tinyDirectory } from "./support/goldens.ts";
import { eventually, executable, freePort, runProgram } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-command-line-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", WRINKLEFREE_CACHE: join(scratch, "cache") };
const demo = join(import.meta.dir, "../build/demo.wf");
const QUESTION = "What is the capital of France?";
const PARIS = "The capital of France is Paris.\n";
const SHORT_BENCH = ["--shape=tiny", "--threads=1", "--prompt=16", "--decode=0", "--latency=0", "--repetitions=1"];

/** Runs the program behind a line of shell that arranges its stdout or stderr; `"$@"` stands for the program's command line. */
function runBehind(line: string, args: string[]) {
  return runProgram(args, { wrapper: ["bash", "-c", line, "bash"], env });
}

/** A pipe that nobody reads any more, from the program's first byte on. */
const CLOSED_PIPE = 'exec 3> >(exec true); wait $!; exec "$@"';

/** Commands that write results, in every way in which they do. */
const writers: string[][] = [
  ["--help"],
  ["help", "serve"],
  ["serve", "--help"],
  ["version"],
  ["inspect", demo],
  ["inspect", demo, "--json"],
  ["chat", "-p", QUESTION],
  ["check"],
  ["bench", ...SHORT_BENCH],
  ["bench", ...SHORT_BENCH, "--csv"],
  ["bench", ...SHORT_BENCH, "--json"],
  ["bench", "kernels", "--threads=1"],
];

describe("results that can't be written", () => {
  test.each(writers.map((args) => [args]))("%p to a full disk is one line and exit code 1", async (args) => {
    const { code, stderr } = await runBehind('exec "$@" > /dev/full', args);
    expect(stderr).toEndWith("wrinklefree: can't write the results to stdout: no space left on the device\n");
    expect(stderr.match(/^wrinklefree: |^ +at /gm)).toEqual(["wrinklefree: "]);
    expect(code).toBe(1);
  });

  test.each(writers.map((args) => [args]))("%p to a pipe that is closed ends quietly", async (args) => {
    const { code, stderr } = await runBehind(`${CLOSED_PIPE} >&3`, args);
    expect(stderr).not.toMatch(/EPIPE|wrinklefree: |^ +at /m);
    // As a shell reports those that die of SIGPIPE.
    expect(code).toBe(141);
  });

  test("a conversion is not undone by it", async () => {
    const output = join(scratch, "kept.wf");
    const { code, stderr } = await runBehind('exec "$@" > /dev/full', ["convert", tinyDirectory, output]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^wrinklefree: can't write the results[^\n]*\n$/)]);
    expect((await runProgram(["inspect", output])).code).toBe(0);
  });
});

describe("a stderr that is full or closed", () => {
  const ways: [string, string][] = [
    ["full", 'exec "$@" 2> /dev/full'],
    ["closed", 'exec "$@" 2>&-'],
    ["a closed pipe", `${CLOSED_PIPE} 2>&3`],
  ];

  test.each(ways)("%s: the answer and the exit code are as ever", async (_, line) => {
    const answered = await runBehind(line, ["chat", "-p", QUESTION]);
    expect([answered.code, answered.stdout]).toEqual([0, PARIS]);
    expect((await runBehind(line, ["serve", "--nonsense"])).code).toBe(2);
    expect((await runBehind(line, ["inspect", "/no/such/model.wf"])).code).toBe(1);
    expect((await runBehind(line, ["bench", ...SHORT_BENCH, "--csv"])).stdout).toMatch(/^cpu,.*\n.*,prefill,.*\n$/);
  });

  test.each(ways)("%s: a conversation goes on, line by line", async (_, line) => {
    const child = Bun.spawn(["bash", "-c", line, "bash", executable, "chat", "--lines"], {
      env,
      stdin: new Blob([`${QUESTION}\n${"a".repeat(30_000)}\n/clear\n${QUESTION}\n`]),
      stdout: "pipe",
      stderr: "ignore",
    });
    const [stdout, code] = await Promise.all([child.stdout.text(), child.exited]);
    expect([code, stdout]).toEqual([0, PARIS + PARIS]);
  });

  test.each(ways)("%s: the server serves", async (_, line) => {
    const port = await freePort();
    const child = Bun.spawn(["bash", "-c", line, "bash", executable, "serve", "--port", String(port)], {
      env,
      stdout: "ignore",
      stderr: "ignore",
    });
    const ready = () =>
      fetch(`http://127.0.0.1:${port}/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    await eventually(ready);
    for (let request = 0; request < 5; request++) {
      const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ messages: [{ role: "user", content: QUESTION }] }),
      });
      expect(await answer.json()).toMatchObject({ choices: [{ message: { content: PARIS.trimEnd() } }] });
    }
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });
});

describe("command lines that make no sense are one line that helps, and exit code 2", () => {
  test.each([
    ["srve", "there is no command 'srve' (did you mean 'serve'?); 'wrinklefree --help' lists the commands"],
    ["INSPECT x.wf", "there is no command 'INSPECT' (did you mean 'inspect'?)"],
    ["toString", "there is no command 'toString', and no model of that name here or in the store; "],
    ["help toString", "there is no command 'toString'; "],
    ["help srve", "there is no command 'srve' (did you mean 'serve'?)"],
    ["bench kernel", "there is no model 'kernel' (did you mean 'kernels'?)"],
    ["bench --shape 2b4t", "not '2b4t' (did you mean '2b-4t'?)"],
    ["--versoin", "unknown option '--versoin' in front of a command (did you mean '--version'?)"],
    ["--port 1 serve", "unknown option '--port' in front of a command; "],
    [
      "serve --prot 1",
      "unknown option '--prot' (did you mean '--port'?); 'wrinklefree serve --help' shows the options",
    ],
    ["serve --temp 1", "unknown option '--temp' (did you mean '--temperature'?)"],
    ["serve --hepl", "unknown option '--hepl' (did you mean '--help'?)"],
    ["serve --toString", "unknown option '--toString'; "],
    ["serve -z", "unknown option '-z'; "],
    ["chat --max-token=5", "unknown option '--max-token' (did you mean '--max-tokens'?)"],
    ["bench --jsn", "unknown option '--jsn' (did you mean '--json'?)"],
    ["convert a b --forse", "unknown option '--forse' (did you mean '--force'?)"],
    ["serve --port", "--port needs a value; "],
    ["chat -p", "-p needs a value; "],
    ["serve --host --port 1", "--host needs a value before '--port' (or write --host=--port if that is the value)"],
    ["serve --insecure=yes", "--insecure takes no value, so not 'yes'"],
    ["serve --log jsn", "--log takes text, json, off, not 'jsn' (did you mean 'json'?)"],
    ["serve ", "MODEL takes a model, not ''"],
    ["serve --served-name=", "--served-name takes a name, not ''"],
    ["serve --alias=", "--alias takes a name, not ''"],
    ["serve --host=", "--host takes an address or a host name, not ''"],
    ["serve --host fe80::1%eth0", "--host takes an address or a host name, not 'fe80::1%eth0'"],
    ["serve --host http://localhost", "--host takes an address or a host name, not 'http://localhost'"],
    ["serve --model=", "--model takes a model, not ''"],
    ["pull a/b --file=", "--file takes the name of a file, not ''"],
    ["completions tcsh", "completions takes bash, zsh or fish, not 'tcsh'; "],
    ["serve --port -5", "--port takes a whole number from 0 to 65535, not '-5'"],
    ["inspect a b", "unexpected argument 'b'"],
    ["inspect", "inspect takes a MODEL"],
    ["convert a", "convert takes a SOURCE and an OUTPUT.wf"],
    ["convert a b --dry-run", "the output 'b' must end in .wf"],
    ["convert --dry-run", "convert --dry-run takes a SOURCE"],
  ])("%s", async (line, message) => {
    const { code, stdout, stderr } = await runProgram(line.split(" "));
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^wrinklefree[^\n]*: [^\n]+; 'wrinklefree[^\n]* --help' [^\n]+\n$/);
    expect([code, stdout]).toEqual([2, ""]);
  });

  test("no command at all shows what there is", async () => {
    const { code, stdout, stderr } = await runProgram([]);
    expect([code, stdout, stderr]).toEqual([2, "", (await runProgram(["help"])).stdout]);
  });
});

describe("help and version", () => {
  test.each([
    [["serve", "--help"]],
    [["serve", "-h"]],
    [["serve", "help"]],
    [["help", "serve"]],
    [["--help", "serve"]],
    [["serve", "x.wf", "--port", "1", "--help"]],
  ])("%p describes the command", async (args) => {
    const { code, stdout, stderr } = await runProgram(args);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toStartWith("usage: wrinklefree serve [MODEL] [options]\n");
  });

  test.each([[["help"]], [["--help"]], [["-h"]]])("%p names every command, help and version too", async (args) => {
    const { code, stdout } = await runProgram(args);
    expect(code).toBe(0);
    const names = [...stdout.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name);
    expect(names).toEqual([...Object.keys(commands), "help", "version"]);
    expect(stdout).toContain("--version");
  });

  test.each([[["version"]], [["--version"]], [["-v"]], [["-V"]]])("%p", async (args) => {
    expect(await runProgram(args)).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  test("a model that is called help is a model", async () => {
    writeFileSync(join(scratch, "help"), "GGUF\u0003\0\0\0");
    const { code, stderr } = await runProgram(["inspect", "help"], { cwd: scratch });
    expect([code, stderr]).toEqual([1, expect.stringContaining("help: a truncated or damaged GGUF file")]);
  });
});

describe("values", () => {
  test("a negative number is a value, not an option", async () => {
    const ask = (seed: string[]) =>
      runProgram(["chat", "-p", "Tell me a story.", "--max-tokens=20", "--temperature=2", ...seed]);
    const [apart, joined] = [await ask(["--seed", "-5"]), await ask(["--seed=-5"])];
    expect([apart.code, apart.stdout]).toEqual([0, joined.stdout]);
  });

  test("a prompt that looks like an option, joined to it", async () => {
    const { code, stdout } = await runProgram(["chat", "--prompt=--port", "--max-tokens=1"]);
    expect([code, stdout.length > 1]).toEqual([0, true]);
  });

  test.each([
    ["serve", ["--port", "0"]],
    ["chat", ["-p", QUESTION]],
    ["check", []],
  ])("%s --ctx beyond what the model was made for names the model's limit", async (command, args) => {
    const { code, stdout, stderr } = await runProgram([command, ...args, "--ctx", "999999"]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^wrinklefree: [^\n]*999999[^\n]*\n$|^wrinklefree: [^\n]*2048 tokens[^\n]*999999\n$/);
    expect(stderr).toContain("2048 tokens");
  });

  test("--ctx of exactly what the model was made for is taken", async () => {
    const { code, stdout } = await runProgram(["chat", "-p", QUESTION, "--ctx", "2048"]);
    expect([code, stdout]).toEqual([0, PARIS]);
  });
});

describe("convert says what a file is that is no directory of a checkpoint", () => {
  test.each([
    ["model.bin", "PK\u0003\u0004", "a PyTorch or zip file, which is not supported: use a checkpoint in safetensors"],
    ["empty", "", "an empty file"],
    [
      "notes.txt",
      "Some notes on the model.",
      "a file of a kind that is unknown here: give a GGUF file or the directory",
    ],
  ])("%s", async (name, contents, what) => {
    const path = join(scratch, name);
    writeFileSync(path, contents);
    const { code, stderr } = await runProgram(["convert", path, join(scratch, "out.wf")]);
    expect(stderr).toMatch(/^wrinklefree: [^\n]+\n$/);
    expect(stderr).toContain(`${path}: is not a directory but ${what}`);
    expect(code).toBe(1);
  });

  test.each([
    [demo, "a packed model: it is converted already"],
    [join(tinyDirectory, "model.safetensors"), "a safetensors file: give the directory that it is in"],
  ])("%s", async (path, what) => {
    const { code, stderr } = await runProgram(["convert", path, join(scratch, "out.wf")]);
    expect(stderr).toContain(`${path}: is not a directory but ${what}`);
    expect(code).toBe(1);
  });
});

test("convert --dry-run takes the whole command line, says what stands in its way, and writes nothing", async () => {
  const output = join(scratch, "planned.wf");
  const args = ["convert", tinyDirectory, output, "--dry-run"];
  const planned = await runProgram(args);
  expect([planned.code, planned.stdout]).toEqual([0, expect.stringContaining("packed file")]);
  expect(existsSync(output)).toBe(false);
  writeFileSync(output, "mine");
  expect(await runProgram(args)).toMatchObject({
    code: 1,
    stderr: `wrinklefree: ${output}: already exists; --force replaces it\n`,
  });
  expect((await runProgram([...args, "--force"])).code).toBe(0);
  expect(readFileSync(output, "utf8")).toBe("mine");
});

describe("bench", () => {
  /** Many runs, of which a few are measured before the signal comes. */
  const MANY = ["--shape=tiny", "--threads=1", "--prompt=0", "--latency=0", "--decode=32"];
  const parallel = `--parallel=${Array.from({ length: 64 }, (_, i) => i + 1)}`;

  /** Interrupts a bench when its output matches; what it has written until its end. */
  async function interruptWhen(found: RegExp, args: string[]) {
    const child = Bun.spawn([executable, "bench", ...args], { env, stdout: "pipe", stderr: "ignore" });
    let output = "";
    const decoder = new TextDecoder();
    for await (const bytes of child.stdout) {
      const wasFound = found.test(output);
      output += decoder.decode(bytes, { stream: true });
      if (!wasFound && found.test(output)) child.kill("SIGINT");
    }
    await child.exited;
    return { output, signal: child.signalCode };
  }

  test("rows of a table come as they are measured, and stay when it is interrupted", async () => {
    const { output, signal } = await interruptWhen(/^decode +1 +2 /m, [...MANY, parallel]);
    expect(signal).toBe("SIGINT");
    const rows = output.match(/^decode .*% +[\d.]+ %$/gm)?.length;
    expect(rows).toBeWithin(2, 64);
    expect(output).toEndWith("\n");
  });

  test("JSON is written by whole lines, so that progress on the same terminal is no part of one", async () => {
    const { stdout } = await runBehind('exec "$@" 2>&1', ["bench", ...SHORT_BENCH, "--parallel=1,2", "--json"]);
    const progress = stdout.split("\n").filter((line) => line.includes("measuring: "));
    expect(progress.length).toBeGreaterThan(1);
    expect(progress.filter((line) => !line.startsWith("measuring: "))).toEqual([]);
    expect(JSON.parse(stdout.replace(/^measuring: .*$/gm, "")).complete).toBe(true);
  });

  test("lines of CSV too", async () => {
    const { output, signal } = await interruptWhen(/\n.*,decode,.*\n/, [...MANY, parallel, "--csv"]);
    expect(signal).toBe("SIGINT");
    const lines = output.trimEnd().split("\n");
    expect(lines.length).toBeWithin(2, 65);
    for (const line of lines) expect(line.split(",")).toHaveLength(lines[0]?.split(",").length as number);
  });

  test.each([
    ["runs", [...MANY, parallel, "--json"], 64],
    ["kernels", ["kernels", "--threads=1", "--json"], 16],
  ])("JSON of %s is one valid document when it is interrupted", async (list, args, all) => {
    const { output, signal } = await interruptWhen(/^ {2}\}/m, args);
    expect(signal).toBe("SIGINT");
    const document = JSON.parse(output);
    expect(document[list].length).toBeWithin(1, all);
    expect(document.complete).toBe(false);
    expect(document.machine.read_gb_s["1"]).toBeGreaterThan(0);
  });

  test("JSON of a bench that was interrupted before its first result, and of one that was not", async () => {
    const child = Bun.spawn([executable, "bench", ...MANY, "--json"], { env, stdout: "pipe", stderr: "pipe" });
    for await (const _ of child.stderr) {
      child.kill("SIGTERM");
      break;
    }
    const { runs, complete } = JSON.parse(await child.stdout.text());
    expect([runs, complete]).toEqual([[], false]);
    await child.exited;
    expect(child.signalCode).toBe("SIGTERM");
    const whole = JSON.parse((await runProgram(["bench", ...SHORT_BENCH, "--json"])).stdout);
    expect([whole.runs.length, whole.complete]).toEqual([1, true]);
  });
});
