/**
 * Which folder may use which: `bun tools/arrows.ts` reads what every file imports or includes and names each import that goes the
 * wrong way. A folder that lies deeper than all that uses it can be read, tested and replaced without them.
 */

import { posix } from "node:path";

/**
 * The order of the folders. A file imports from its own folder and from those in lines above its own; folders in one line don't know
 * each other. The longest name that a path begins with counts, so one file can stand elsewhere than the rest of its folder.
 */
const ORDERS: readonly (readonly (readonly string[])[])[] = [
  // TypeScript.
  [
    ["src/errors.ts", "src/json.ts", "src/version.ts", "src/whole_file.ts", "src/engine/symbols.ts"],
    ["src/terminal", "src/machine", "src/options"],
    ["src/model_file"],
    ["src/engine", "src/grammar"],
    ["src/text/jinja"],
    ["src/text"],
    ["convert", "src/hub"],
    ["src/models"],
    ["src/serving", "src/bench", "src/check", "src/eval"],
    ["src/api"],
    ["src/api/openai"],
    ["src/api/llama_cpp", "src/api/sglang"],
    ["src/tracing"],
    ["src/server", "src/chat"],
    ["src/doctor"],
    ["src/commands"],
    ["src/main.ts"],
    ["tools"],
    ["tests", "build.ts"],
  ],
  // The page: what it is made of is a program of its own, in the browser.
  [
    ["client/model"],
    ["client/text", "client/storage"],
    ["client/api"],
    ["client/chat"],
    ["client/view"],
    ["client/main.tsx"],
  ],
  // C.
  [
    ["csrc/wrinklefree.h"],
    ["csrc/base"],
    ["csrc/kernels", "csrc/grammar"],
    ["csrc/model"],
    ["csrc/layers"],
    ["csrc/engine", "csrc/bench"],
    ["csrc/tests"],
  ],
];

/** Packages, or modules of Bun's, that one folder or file has to itself. */
const OWNERS: Readonly<Record<string, string>> = {
  "bun:ffi": "src/engine/library.ts",
  elysia: "src/server",
  "smol-toml": "src/options",
  "@opentelemetry/api": "src/tracing",
  "@opentelemetry/core": "src/tracing",
  "@opentelemetry/exporter-trace-otlp-http": "src/tracing",
  "@opentelemetry/exporter-trace-otlp-proto": "src/tracing",
  "@opentelemetry/resources": "src/tracing",
  "@opentelemetry/sdk-trace": "src/tracing",
  "@huggingface/tokenizers": "src/text",
};

/** An import and where it stands. */
interface Import {
  line: number;
  /** As it is written. */
  target: string;
}

/**
 * What is wrong with the imports of some files.
 *
 * @param files texts by path from the project's root, with slashes. An import of a file that is not among them is of no folder.
 * @returns a line for each fault: file, import and rule.
 */
export function arrowFaults(files: ReadonlyMap<string, string>): string[] {
  const faults: string[] = [];
  const uses = new Map<string, Set<string>>();
  for (const [path, text] of files) {
    const used = uses.getOrInsertComputed(moduleOf(path), () => new Set());
    const place = placeOf(path);
    if (place === undefined) {
      faults.push(`${path}: its folder has no place in the order of tools/arrows.ts; give it one`);
      continue;
    }
    for (const { line, target } of importsOf(path, text)) {
      const owner = OWNERS[target];
      if (owner !== undefined && !isIn(path, owner) && !isIn(path, "tests")) {
        faults.push(`${path}:${line}: imports ${target}, which only ${owner} may`);
      }
      const imported = resolved(path, target, files);
      if (imported !== undefined) used.add(moduleOf(imported));
      const other = imported === undefined ? undefined : placeOf(imported);
      if (other === undefined || other.order !== place.order || other.name === place.name) continue;
      if (other.rank < place.rank) continue;
      const relation = other.rank === place.rank ? "stands beside" : "stands above";
      faults.push(
        `${path}:${line}: imports ${imported}, but ${other.name} ${relation} ${place.name} in the order of tools/arrows.ts; ` +
          "move what is needed to a folder below both",
      );
    }
  }
  for (const circle of circles(uses)) faults.push(`${circle.join(" -> ")}: these files import each other in a circle`);
  return faults;
}

/** What stands for a file among those that may form circles: in C, a source and its header are one. */
function moduleOf(path: string): string {
  return path.replace(/\.[ch]$/, "");
}

/** Circles among modules, each once, from its first module back to it. */
function circles(uses: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (module: string) => {
    if (done.has(module)) return;
    const start = way.indexOf(module);
    if (start >= 0) {
      found.push([...way.slice(start), module]);
      return;
    }
    way.push(module);
    for (const used of uses.get(module) ?? []) if (used !== module) visit(used);
    way.pop();
    done.add(module);
  };
  for (const module of uses.keys()) visit(module);
  return found;
}

/** The entry of the order that a path belongs to. */
function placeOf(path: string): { order: number; rank: number; name: string } | undefined {
  let found: { order: number; rank: number; name: string } | undefined;
  for (const [order, lines] of ORDERS.entries()) {
    for (const [rank, names] of lines.entries()) {
      for (const name of names) {
        if (isIn(path, name) && name.length > (found?.name.length ?? 0)) found = { order, rank, name };
      }
    }
  }
  return found;
}

function isIn(path: string, name: string): boolean {
  return path === name || path.startsWith(`${name}/`);
}

function importsOf(path: string, text: string): Import[] {
  const pattern = /\.[ch]$/.test(path)
    ? /^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/gm
    : /(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g;
  return [...text.matchAll(pattern)].map((match) => ({
    line: text.slice(0, match.index).split("\n").length,
    target: match[1] as string,
  }));
}

/** The file that an import means: beside the one that names it, or for C from csrc/ on. */
function resolved(path: string, target: string, files: ReadonlyMap<string, string>): string | undefined {
  const beside = posix.join(posix.dirname(path), target);
  return [beside, posix.join("csrc", target)].find((candidate) => files.has(candidate));
}

if (import.meta.main) {
  const root = posix.join(import.meta.dir, "..");
  const files = new Map<string, string>();
  const folders = ["src", "convert", "tests", "tools"].map((folder) => `${folder}/**/*.ts`);
  folders.push("client/**/*.ts", "client/**/*.tsx", "csrc/**/*.c", "csrc/**/*.h");
  for (const pattern of ["*.ts", ...folders]) {
    for (const path of new Bun.Glob(pattern).scanSync({ cwd: root })) {
      files.set(path, await Bun.file(posix.join(root, path)).text());
    }
  }
  const faults = arrowFaults(files);
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exit(1);
  console.log(`The imports of ${files.size} files go one way.`);
}
