/** The order of the folders, as `bun run check` holds to it. */

import { expect, test } from "bun:test";
import { arrowFaults } from "../tools/arrows.ts";

const faultsOf = (files: Record<string, string>) => arrowFaults(new Map(Object.entries(files)));

test("imports from folders below, and from the same one, are no fault", () => {
  const files = {
    "src/errors.ts": "export class Failure {}",
    "src/server/app.ts": 'import { listen } from "./path.ts";\nimport { Failure } from "../errors.ts";',
    "src/server/path.ts": "export function listen() {}",
  };
  expect(faultsOf(files)).toEqual([]);
});

test.each([
  ["an import", 'import { listen } from "../server/app.ts";'],
  ["an import of types", 'import type { Listening } from "../server/app.ts";'],
  ["an export", 'export { listen } from "../server/app.ts";'],
  ["an import when it is needed", 'const { listen } = await import("../server/app.ts");'],
])("%s from a folder above is a fault", (_, text) => {
  const faults = faultsOf({ "src/server/app.ts": "", "src/text/turns.ts": `\n${text}` });
  expect(faults).toEqual([
    expect.stringContaining("src/text/turns.ts:2: imports src/server/app.ts, but src/server stands above src/text"),
  ]);
});

test("folders in one line of the order don't know each other", () => {
  const [fault] = faultsOf({
    "src/api/sglang/generate.ts": 'import { bias } from "../llama_cpp/logit_bias.ts";',
    "src/api/llama_cpp/logit_bias.ts": "",
  });
  expect(fault).toContain("src/api/llama_cpp stands beside src/api/sglang");
});

test("files of one folder that import each other are a fault", () => {
  const files = { "src/text/a.ts": 'import "./b.ts";', "src/text/b.ts": 'import "./a.ts";' };
  expect(faultsOf(files)).toEqual([expect.stringContaining("src/text/a.ts -> src/text/b.ts -> src/text/a.ts")]);
});

test("a package that one folder has to itself is a fault elsewhere", () => {
  const [fault] = faultsOf({ "src/text/turns.ts": 'import { dlopen } from "bun:ffi";' });
  expect(fault).toContain("src/text/turns.ts:1: imports bun:ffi, which only src/engine/library.ts may");
});

test("a folder without a place in the order is a fault", () => {
  expect(faultsOf({ "src/guests/page.ts": "" })).toEqual([expect.stringContaining("src/guests/page.ts")]);
});

test("every file has its line in ARCHITECTURE.md", async () => {
  const text = await Bun.file(`${import.meta.dir}/../ARCHITECTURE.md`).text();
  const files = ["src", "convert", "client", "tools"].flatMap((folder) => [
    ...new Bun.Glob(`${folder}/**/*.{ts,tsx,css,html,svg}`).scanSync({ cwd: `${import.meta.dir}/..` }),
  ]);
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((file) => !isNamed(text, file))).toEqual([]);
});

/** Whether a file stands in the table by its path, or by its name below its folder's line. */
function isNamed(text: string, file: string): boolean {
  if (text.includes(`\`${file}\``)) return true;
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  const [, rows = ""] = text.split(`| **\`${folder}\`**`);
  const [own = ""] = rows.split("\n| **");
  return own.includes(`\`${file.slice(folder.length)}\``);
}
