/** What can be given as a model, and the cache of converted checkpoints. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../src/errors.ts";
import { openCacheDirectory } from "../src/models/cache.ts";
import { resolveModel } from "../src/models/resolve.ts";
import { fixtures, root } from "./support/command_line.ts";
import { runProgram } from "./support/server.ts";
import { smallCheckpoint, writeCheckpoint } from "./support/small_checkpoint.ts";

const variables = ["WRINKLEFREE_CACHE", "XDG_CACHE_HOME", "HOME"] as const;
const environment = variables.map((name) => process.env[name]);
let scratch: string;
let cache: string;
let checkpoint: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "wrinklefree-resolve-"));
});

beforeEach(() => {
  cache = join(scratch, Bun.randomUUIDv7());
  checkpoint = join(scratch, Bun.randomUUIDv7(), "small");
  writeCheckpoint(checkpoint, smallCheckpoint());
  process.env.WRINKLEFREE_CACHE = cache;
});

afterEach(() => {
  for (const [index, name] of variables.entries()) setVariable(name, environment[index]);
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function setVariable(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

/** What tells one conversion from another: the file and when it was made. */
function cached(): string[] {
  return readdirSync(cache).map((name) => `${name} ${statSync(join(cache, name)).ino}`);
}

test("nothing means the demonstration model", async () => {
  const { packed, bytes, path, name } = await resolveModel(undefined);
  expect(path).toBeUndefined();
  expect(bytes?.length).toBe(packed.bytes);
  expect(name).toBe("tiny");
  expect(packed.assets.has("tokenizer.json")).toBe(true);
});

test("a directory is converted once", async () => {
  const first = await resolveModel(checkpoint);
  expect(first.name).toBe("small");
  expect(first.path).toStartWith(join(cache, "small-"));
  const files = cached();
  expect(files.length).toBe(1);
  expect((await resolveModel(`${checkpoint}/`)).path).toBe(first.path as string);
  expect(cached()).toEqual(files);
});

test("a packed file is itself", async () => {
  const { path } = await resolveModel(checkpoint);
  const packed = await resolveModel(path);
  expect(packed.path).toBe(path as string);
  expect(packed.name).toStartWith("small-");
  expect(packed.name).not.toEndWith(".wf");
});

test("a directory that changed is converted again, and its old conversion removed", async () => {
  const first = await resolveModel(checkpoint);
  const other = await resolveModel(join(fixtures, "tiny"));
  utimesSync(join(checkpoint, "config.json"), new Date(), new Date(Date.now() + 5000));
  const second = await resolveModel(checkpoint);
  expect(second.path).not.toBe(first.path as string);
  expect(readdirSync(cache).length).toBe(2);
  expect(existsSync(other.path as string)).toBe(true);
});

test("a damaged conversion is made again", async () => {
  const { path, packed } = await resolveModel(checkpoint);
  writeFileSync(path as string, readFileSync(path as string).subarray(0, 5000));
  const again = await resolveModel(checkpoint);
  expect(again.path).toBe(path as string);
  expect(again.packed).toEqual(packed);
});

test("what killed processes left is removed, what is being written is not", async () => {
  mkdirSync(cache);
  const [old, fresh] = [join(cache, ".a.wf.0123.unfinished"), join(cache, ".b.wf.0123.unfinished")];
  for (const path of [old, fresh]) writeFileSync(path, "");
  utimesSync(old, new Date(0), new Date(0));
  await resolveModel(checkpoint);
  expect(existsSync(old)).toBe(false);
  expect(existsSync(fresh)).toBe(true);
});

test("two processes that convert the same directory at once both end well", async () => {
  const script = join(scratch, "resolve.ts");
  writeFileSync(
    script,
    `import { resolveModel } from ${JSON.stringify(join(root, "src/models/resolve.ts"))};
     const { path } = await resolveModel(${JSON.stringify(join(fixtures, "tiny"))});
     console.log(path);`,
  );
  const children = [1, 2].map(() => {
    return Bun.spawn([process.execPath, script], { cwd: root, env: process.env, stdout: "pipe", stderr: "ignore" });
  });
  const paths = await Promise.all(children.map((child) => child.stdout.text()));
  expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0]);
  expect(paths[0]).toBe(paths[1] as string);
  expect(readdirSync(cache)).toEqual([(paths[0] as string).trim().slice(cache.length + 1)]);
});

test("the cache's place follows the environment", () => {
  expect(openCacheDirectory()).toBe(cache);
  expect(statSync(cache).mode & 0o777).toBe(0o700);
  setVariable("WRINKLEFREE_CACHE", undefined);
  setVariable("XDG_CACHE_HOME", join(scratch, "xdg"));
  expect(openCacheDirectory()).toBe(join(scratch, "xdg", "wrinklefree"));
  setVariable("XDG_CACHE_HOME", undefined);
  setVariable("HOME", join(scratch, "home"));
  expect(openCacheDirectory()).toBe(join(scratch, "home", ".cache", "wrinklefree"));
  setVariable("HOME", undefined);
  const lastResort = join(tmpdir(), `wrinklefree-${process.getuid?.()}`);
  const wasThere = existsSync(lastResort);
  expect(openCacheDirectory()).toBe(lastResort);
  if (!wasThere) rmSync(lastResort, { recursive: true });
});

test("a cache that cannot be made is named, with what to do", async () => {
  process.env.WRINKLEFREE_CACHE = join(checkpoint, "config.json", "cache");
  await expect(resolveModel(checkpoint)).rejects.toThrow(
    `${process.env.WRINKLEFREE_CACHE}: cannot be made for converted models: a part of the path is not a directory; set WRINKLEFREE_CACHE to another directory`,
  );
});

test("faults of what was given", async () => {
  const nowhere = join(scratch, "nowhere");
  await expect(resolveModel(nowhere)).rejects.toThrow(`${nowhere}: no such file or directory`);
  await expect(resolveModel(scratch)).rejects.toThrow(`${scratch}: has no config.json`);
  const config = join(checkpoint, "config.json");
  await expect(resolveModel(config)).rejects.toThrow(`${config}: this is a JSON text`);
  const tensors = join(checkpoint, "model.safetensors");
  await expect(resolveModel(tensors)).rejects.toThrow(`${tensors}: a safetensors file, but not a packed model`);
  const circle = join(scratch, "circle.wf");
  symlinkSync(circle, circle);
  const beyond = join(tensors, "model.wf");
  for (const [path, fault] of [
    [circle, "too many levels of symbolic links"],
    [beyond, "a part of the path is not a directory"],
    [join(scratch, "x".repeat(300)), "the file name is too long"],
  ] as const) {
    await expect(resolveModel(path)).rejects.toThrow(new Failure(`${path}: ${fault}`));
    expect(await runProgram(["inspect", path])).toEqual({
      stdout: "",
      stderr: `wrinklefree: ${path}: ${fault}\n`,
      code: 1,
    });
  }
  const locked = join(scratch, "locked.wf");
  writeFileSync(locked, "");
  chmodSync(locked, 0);
  await expect(resolveModel(locked)).rejects.toThrow(locked);
});
