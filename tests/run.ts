/**
 * Runs every test: the library's own, plain and under each sanitizer, then those of bun:test against the executable that was just
 * built. The last line is "N passed, N failed"; a program of the library's tests counts as one.
 */

import { existsSync, readdirSync, rmSync } from "node:fs";

const root = `${import.meta.dir}/..`;
let passed = 0;
let failed = 0;

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

/** The library's tests of one build; sanitizers end the program at the first fault. */
async function runLibraryTests(directory: string): Promise<void> {
  const tests = readdirSync(`${root}/build/${directory}`).filter((name) => name.endsWith("_test"));
  for (const test of tests.sort()) {
    if ((await run([`build/${directory}/${test}`])) === 0) passed++;
    else failed++;
  }
}

/** The kernels of arm64, on an emulated processor where there is one. */
async function runArmTests(): Promise<void> {
  const test = "build/arm64/kernels_test";
  if (!existsSync(`${root}/${test}`) || Bun.which("qemu-aarch64-static") === null) {
    console.log("\nskipping the arm64 kernels: needs gcc-aarch64-linux-gnu and qemu-user-static");
    return;
  }
  if ((await run(["qemu-aarch64-static", "-cpu", "max", test])) === 0) passed++;
  else failed++;
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
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
