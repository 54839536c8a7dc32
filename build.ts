/**
 * Builds everything that is not TypeScript run as it is:
 *
 *   bun build.ts library             build/native/libwrinklefree.so and build/demo.wf, the embedded demonstration model
 *   bun build.ts page                build/client.page, the chat page; `library` and `executable` make it too
 *   bun build.ts executable          dist/wrinklefree, on top of those
 *   bun build.ts symbols [--check]   src/engine/symbols.ts from csrc/wrinklefree.h, or whether it is up to date
 *   bun build.ts tests [plain]       the library's own tests, in build/native, with sanitizers in build/address and build/thread,
 *                                    and where there is a compiler for arm64, its kernels' in build/arm64. With SIMDe those in
 *                                    build/native have one for all of x86-64's kernels. With `plain` only those in build/native
 */

import { existsSync, mkdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { Failure, UsageError } from "./src/errors.ts";
import { bundlePage } from "./tools/bundle_page.ts";
import { generateSymbols } from "./tools/generate_symbols.ts";

const root = import.meta.dir;
const demoSource = `${root}/tests/fixtures/tiny`;
const demoModel = `${root}/build/demo.wf`;
const symbolsFile = `${root}/src/engine/symbols.ts`;

/** Builds use at most this many jobs, fewer on a smaller machine. */
const JOBS_MAX = 4;

/** Runs a program in the project's root; its output is shown when it fails. */
async function run(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { cwd: root, stdout: "pipe", stderr: "pipe" });
  const [out, error, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) {
    process.stderr.write(out + error);
    throw new Failure(`'${command.join(" ")}' failed`);
  }
}

/** Names what the machine lacks, with the command that installs it. */
function checkTools(): void {
  const missing = [
    { tool: "cmake", found: Bun.which("cmake") },
    { tool: "a C compiler", found: Bun.which("cc") ?? Bun.which("gcc") ?? Bun.which("clang") },
    { tool: "make", found: Bun.which("make") ?? Bun.which("ninja") },
  ].filter(({ found }) => found === null);
  if (missing.length === 0) return;
  const install =
    process.platform === "darwin"
      ? "xcode-select --install; brew install cmake"
      : "sudo apt-get install -y build-essential cmake";
  throw new Failure(`building needs ${missing.map(({ tool }) => tool).join(" and ")}; install with: ${install}`);
}

/** Configures and builds one CMake target in a directory of its own. */
async function cmake(directory: string, target: string, options: string[] = []): Promise<void> {
  checkTools();
  const jobs = String(Math.min(JOBS_MAX, availableParallelism()));
  await run(["cmake", "-S", "csrc", "-B", directory, ...options]);
  await run(["cmake", "--build", directory, "--target", target, "--parallel", jobs]);
}

/** Whether the packed demonstration model is there and newer than all that it is made of. */
function demoIsFresh(): boolean {
  if (!existsSync(demoModel)) return false;
  const made = statSync(demoModel).mtimeMs;
  const sources = [
    ...new Bun.Glob(`${demoSource}/*`).scanSync({ absolute: true }),
    ...new Bun.Glob(`${root}/convert/*.ts`).scanSync({ absolute: true }),
    ...new Bun.Glob(`${root}/src/model_file/*.ts`).scanSync({ absolute: true }),
    `${root}/csrc/model/pack.c`,
  ];
  return sources.every((source) => statSync(source).mtimeMs < made);
}

async function buildPage(): Promise<void> {
  await Bun.write(`${root}/build/client.page`, await bundlePage(`${root}/client`));
}

async function buildLibrary(): Promise<void> {
  if (!existsSync(demoModel)) {
    process.stderr.write("building the library for the first time, which takes a minute or two\n");
  }
  await cmake("build/native", "wrinklefree");
  await buildPage();
  if (demoIsFresh()) return;
  // Imported only now: the converter opens the library that was just built.
  const { convertCheckpoint } = await import("./convert/convert.ts");
  await convertCheckpoint(demoSource, demoModel, { replace: true });
}

async function buildTests(isPlain: boolean): Promise<void> {
  await cmake("build/native", "all");
  if (isPlain) return;
  await cmake("build/address", "all", ["-DSANITIZE=address,undefined"]);
  await cmake("build/thread", "all", ["-DSANITIZE=thread"]);
  // The arm64 kernels, where they can be compiled elsewhere: Debian's gcc-aarch64-linux-gnu (and qemu-user-static to run them).
  if (process.arch !== "arm64" && Bun.which("aarch64-linux-gnu-gcc") !== null) {
    await cmake("build/arm64", "kernels_test", [
      "-DCMAKE_SYSTEM_NAME=Linux",
      "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
      "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
      "-DCMAKE_EXE_LINKER_FLAGS=-static",
    ]);
  }
}

async function buildExecutable(): Promise<void> {
  await buildPage();
  mkdirSync(`${root}/dist`, { recursive: true });
  const result = await Bun.build({
    entrypoints: [`${root}/src/main.ts`],
    // Names stay: Elysia reads those of its handlers' parameters.
    minify: { whitespace: true, syntax: true, identifiers: false },
    // What a command does not import is not read when it starts.
    splitting: true,
    compile: {
      outfile: `${root}/dist/wrinklefree`,
      // The executable must mean the same in every directory.
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  });
  if (!result.success) throw new Failure(result.logs.map(String).join("; "));
}

async function generatedSymbols(): Promise<string> {
  const text = generateSymbols(await Bun.file(`${root}/csrc/wrinklefree.h`).text());
  const biome = Bun.spawn(["bunx", "biome", "format", "--stdin-file-path=src/engine/symbols.ts"], {
    cwd: root,
    stdin: new Blob([text]),
    stdout: "pipe",
  });
  const [formatted, code] = await Promise.all([biome.stdout.text(), biome.exited]);
  if (code !== 0) throw new Failure("biome could not format symbols.ts; run 'bun install'");
  return formatted;
}

async function main(args: string[]): Promise<void> {
  const [what, option] = args;
  switch (what) {
    case "library":
      return await buildLibrary();
    case "page":
      return await buildPage();
    case "executable":
      return await buildExecutable();
    case "symbols":
      if (option !== "--check") return void (await Bun.write(symbolsFile, await generatedSymbols()));
      if ((await Bun.file(symbolsFile).text()) !== (await generatedSymbols())) {
        throw new Failure("src/engine/symbols.ts differs from csrc/wrinklefree.h; run 'bun build.ts symbols'");
      }
      return;
    case "tests":
      return await buildTests(option === "plain");
    default:
      throw new UsageError("usage: bun build.ts library | page | executable | symbols [--check] | tests [plain]");
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Failure || error instanceof UsageError)) throw error;
  console.error(`build: ${error.message}`);
  process.exit(error instanceof UsageError ? 2 : 1);
}
