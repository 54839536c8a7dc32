/**
 * Runs every test: the library's own, plain and under each sanitizer, then those of bun:test against the executable that was just
 * built. The last line is "N passed, N failed"; a program of the library's tests counts as one. Before it stand the kernels' tiers: which
 * of them ran on this processor, which were emulated, and which did not run and why.
 */

import { existsSync, readdirSync, rmSync } from "node:fs";

const root = `${import.meta.dir}/..`;
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

/** The library's tests of one build; sanitizers end the program at the first fault. */
async function runLibraryTests(directory: string): Promise<void> {
  const tests = readdirSync(`${root}/build/${directory}`).filter((name) => name.endsWith("_test"));
  for (const test of tests.sort()) await runLibraryTest(`build/${directory}/${test}`);
}

/** The kernels of arm64, on an emulated processor where there is one. */
async function runArmTests(): Promise<void> {
  if (process.arch === "arm64") return;
  const test = "build/arm64/kernels_test";
  if (existsSync(`${root}/${test}`) && Bun.which("qemu-aarch64-static") !== null) {
    return await runLibraryTest(test, ["qemu-aarch64-static", "-cpu", "max"]);
  }
  const packages = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static";
  reportTier("arm64's", `not run; they can be emulated after: sudo apt-get install -y ${packages}`);
}

/** Every tier by name, on a line. */
function printTiers(): void {
  if (!existsSync(`${root}/build/native/kernels_emulated_test`)) {
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
  const code = await run(["bun", "test", "--timeout", "120000", ...reporting, ...files], environment);
  const text = existsSync(`${root}/${report}`) ? await Bun.file(`${root}/${report}`).text() : "";
  const count = (name: string) => Number(new RegExp(`<testsuites[^>]* ${name}="(\\d+)"`).exec(text)?.[1] ?? 0);
  const bad = count("failures");
  passed += count("tests") - bad - count("skipped");
  failed += bad === 0 && code !== 0 ? 1 : bad;
}

await mustSucceed(["bun", "build.ts", "executable"]);
await mustSucceed(["bun", "build.ts", "tests"]);
for (const directory of ["native", "address", "thread"]) await runLibraryTests(directory);
await runArmTests();
await runBunTests([], {});
// The goldens once more on the tier that is the specification.
await runBunTests(["tests/engine.test.ts"], { WRINKLEFREE_CPU: "scalar" });
printTiers();
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
