/**
 * Runs the tests: `bun tests/run.ts` all of them, the library's own, plain and under each sanitizer, then those of bun:test against the
 * executable that was just built; `bun tests/run.ts quick` those for the work in between, which CONTRIBUTING.md names. The last line is
 * "N passed, N failed"; a program of the library's tests counts as one. Before it stand the kernels' tiers: which of them ran on this
 * processor, which were emulated, and which did not run and why.
 */

import { existsSync, rmSync } from "node:fs";
import { basename, relative } from "node:path";

const root = `${import.meta.dir}/..`;

/** The program that runs all of x86-64's kernels on any processor; built where SIMDe is. */
const EMULATED = "kernels_emulated_test";

/** What a quick run leaves out: it takes long, or starts programs by the dozen. */
const LONG_LIBRARY_TESTS = [EMULATED, "machine_test"];
const LONG_TESTS = [
  "api.connections",
  "api.schemas",
  "api.structured",
  "batching",
  "bench",
  "bench.picture",
  "chat.session",
  "chat.signals",
  "chat.terminal",
  "command_line",
  "completions",
  "config",
  "doctor",
  "e2e",
  "grammar",
  "hostile-checkpoints",
  "hostile-tokenizers",
  "page",
  "page.connection",
  "page.states",
  "schemas_fuzz",
  "soak",
  "tokenizer_references",
  "tokenizing",
];

let passed = 0;
let failed = 0;

/** How each tier of the kernels was run, and why one was not. */
const tiers = new Map<string, Set<string>>();

function reportTier(tier: string, how: string): void {
  tiers.set(tier, (tiers.get(tier) ?? new Set()).add(how));
}

/** Runs a program to its end, its output on ours. */
async function run(command: string[], environment: Record<string, string> = {}): Promise<number> {
  console.log(`\n$ ${command.join(" ")}`);
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...environment },
    stdout: "inherit",
    stderr: "inherit",
  });
  return await child.exited;
}

async function mustSucceed(command: string[]): Promise<void> {
  if ((await run(command)) === 0) return;
  console.log(`\n'${command.join(" ")}' failed\n${passed} passed, ${failed + 1} failed`);
  process.exit(1);
}

/** Runs a program of the library's tests. Its lines "tier NAME: HOW" are kept; with an emulator before it, "native" is what that is. */
async function runLibraryTest(test: string, emulator: string[] = []): Promise<void> {
  const command = [...emulator, test];
  console.log(`\n$ ${command.join(" ")}`);
  const child = Bun.spawn(command, { cwd: root, stdout: "pipe", stderr: "inherit" });
  const text = await child.stdout.text();
  console.log(text.trimEnd());
  for (const [, tier, how] of text.matchAll(/^tier (\w+): (.*)$/gm)) {
    if (tier !== undefined && how !== undefined) {
      reportTier(tier, how === "native" && emulator[0] !== undefined ? `emulated by ${emulator[0]}` : how);
    }
  }
  if ((await child.exited) === 0) passed++;
  else failed++;
}

/** The programs of the library's tests that a build has, by what CMake says: others may lie beside them from earlier ones. */
async function libraryTests(directory: string): Promise<string[]> {
  const asked = Bun.spawn(["ctest", "--test-dir", directory, "--show-only=json-v1"], { cwd: root, stdout: "pipe" });
  const { tests } = (await asked.stdout.json()) as { tests: { command: string[] }[] };
  return tests.map(({ command }) => relative(root, command[0] as string)).sort();
}

/** The library's tests of one build; sanitizers end the program at the first fault. */
async function runLibraryTests(directory: string, isWanted: (name: string) => boolean = () => true): Promise<void> {
  for (const test of await libraryTests(`build/${directory}`)) if (isWanted(basename(test))) await runLibraryTest(test);
}

/** The kernels of arm64, on an emulated processor where there is one. */
async function runArmTests(): Promise<void> {
  if (process.arch === "arm64") return;
  if (Bun.which("aarch64-linux-gnu-gcc") !== null && Bun.which("qemu-aarch64-static") !== null) {
    return await runLibraryTest("build/arm64/kernels_test", ["qemu-aarch64-static", "-cpu", "max"]);
  }
  const packages = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static";
  reportTier("arm64's", `not run; they can be emulated after: sudo apt-get install -y ${packages}`);
}

/** Every tier by name, on a line. */
async function printTiers(): Promise<void> {
  if (!(await libraryTests("build/native")).some((test) => basename(test) === EMULATED)) {
    reportTier("x86-64's", "not emulated; they can be after: sudo apt-get install -y libsimde-dev");
  }
  console.log("\nkernels:");
  for (const [tier, how] of tiers) console.log(`  ${tier}: ${[...how].join("; ")}`);
}

/** The tests of bun:test, counted from the report that it writes. */
async function runBunTests(files: string[], environment: Record<string, string>): Promise<void> {
  const report = "build/test-report.xml";
  const reporting = ["--reporter=junit", `--reporter-outfile=${report}`];
  rmSync(`${root}/${report}`, { force: true });
  const code = await run(["bun", "test", "--timeout", "600000", ...reporting, ...files], environment);
  const text = existsSync(`${root}/${report}`) ? await Bun.file(`${root}/${report}`).text() : "";
  const count = (name: string) => Number(new RegExp(`<testsuites[^>]* ${name}="(\\d+)"`).exec(text)?.[1] ?? 0);
  const bad = count("failures");
  passed += count("tests") - bad - count("skipped");
  failed += bad === 0 && code !== 0 ? 1 : bad;
}

async function runAll(): Promise<void> {
  await mustSucceed(["bun", "build.ts", "tests"]);
  for (const directory of ["native", "address", "thread"]) await runLibraryTests(directory);
  await runArmTests();
  await runBunTests([], {});
  // The goldens once more on the tier that is the specification.
  await runBunTests(["tests/engine.test.ts"], { WRINKLEFREE_CPU: "scalar" });
  await printTiers();
}

async function runQuick(): Promise<void> {
  await mustSucceed(["bun", "build.ts", "tests", "plain"]);
  await runLibraryTests("native", (name) => !LONG_LIBRARY_TESTS.includes(name));
  const files = [...new Bun.Glob("*.test.ts").scanSync(import.meta.dir)].sort();
  await runBunTests(
    files.filter((file) => !LONG_TESTS.includes(file.replace(".test.ts", ""))).map((file) => `tests/${file}`),
    {},
  );
}

const what = process.argv[2];
if (what !== undefined && what !== "quick") {
  console.error("usage: bun tests/run.ts [quick]");
  process.exit(2);
}
await mustSucceed(["bun", "build.ts", "executable"]);
await (what === "quick" ? runQuick() : runAll());
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
