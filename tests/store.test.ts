/** What can be given as a model, and the store of what was made of it: kept once, locked, listed, and given back. */

import { afterAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { unpackFixtures } from "./support/archive.ts";
import { tinyDirectory } from "./support/goldens.ts";
import { mounting, smallDisk } from "./support/mounts.ts";
import { executable, runProgram, startServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const ASK = ["-p", "What is the capital of France?"];
const PARIS = "The capital of France is Paris.\n";
const PATH = process.env.PATH ?? "/usr/bin:/bin";

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-store-"));
chmodSync(scratch, 0o755);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let place: string;
let store: string;
let checkpoint: string;
let env: Record<string, string>;

beforeEach(() => {
  place = join(scratch, Bun.randomUUIDv7());
  store = join(place, "store");
  checkpoint = join(place, "small");
  cpSync(tinyDirectory, checkpoint, { recursive: true });
  // Files that have just changed are not remembered.
  for (const name of readdirSync(checkpoint)) utimesSync(join(checkpoint, name), new Date(0), new Date(0));
  env = { PATH, HOME: place, WRINKLEFREE_STORE: store };
});

const run = (args: string[], more: Record<string, string> = {}) => runProgram(args, { env: { ...env, ...more } });
const chat = (model: string, ...more: string[]) => run(["chat", model, ...ASK, ...more]);

/** The packed models, with what tells one making from another. */
function models(): string[] {
  const folder = join(store, "models");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => `${name} ${statSync(join(folder, name)).ino}`);
}

const nameOf = (model: string) => model.split(" ")[0];
const onlyModel = () => join(store, "models", nameOf(models()[0] as string) as string);

interface Listing {
  store: string;
  models: {
    name: string;
    gives: string | null;
    file: string | null;
    bytes: number;
    in_use: boolean;
    unused: string | null;
  }[];
  unused: { what: string; bytes: number; files: string[] }[];
}

async function list(): Promise<Listing> {
  return JSON.parse((await run(["list", "--json"])).stdout) as Listing;
}

/** Changes a value of the checkpoint that its answers don't depend on. */
function changeCheckpoint(): void {
  const path = join(checkpoint, "generation_config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), remark: Bun.randomUUIDv7() }));
}

describe("a directory", () => {
  test("is converted once, and found again by any of its names", async () => {
    const first = await chat(checkpoint);
    expect([first.code, first.stdout]).toEqual([0, PARIS]);
    expect(first.stderr).toMatch(/^converting \S+ to \S+\/models\/small-[0-9a-f]{16}\.wf, once$/m);
    const made = models();
    for (const name of [`${checkpoint}/`, "small", basename(onlyModel(), ".wf"), onlyModel()]) {
      const again = await chat(name);
      expect([name, again.stdout, again.stderr.includes("converting")]).toEqual([name, PARIS, false]);
    }
    expect(models()).toEqual(made);
  });

  test("with the contents of another is not converted again: the key is of the contents", async () => {
    await chat(checkpoint);
    const made = models();
    cpSync(checkpoint, join(place, "other"), { recursive: true });
    utimesSync(join(checkpoint, "config.json"), new Date(), new Date());
    for (const path of [checkpoint, join(place, "other")]) expect((await chat(path)).stdout).toBe(PARIS);
    expect(models()).toEqual(made);
  });

  test("that changed is converted again, and what was made of it before is removed", async () => {
    await chat(checkpoint);
    const [old] = models();
    changeCheckpoint();
    expect((await chat(checkpoint)).stdout).toBe(PARIS);
    expect(models()).not.toContain(old as string);
    expect(models().length).toBe(1);
  });

  test("that did not change is not read again; one that was touched is", async () => {
    // What changed a moment ago is not remembered.
    await Bun.sleep(2100);
    await chat(checkpoint);
    const [made] = models();
    const record = join(store, "sources", readdirSync(join(store, "sources"))[0] as string);
    const text = readFileSync(record, "utf8");
    const { files } = JSON.parse(text) as { files: { name: string; hash: string }[] };
    const { hash } = files.find(({ name }) => name === "model.safetensors") as { hash: string };
    writeFileSync(record, text.replace(hash, "0".repeat(32)));
    await chat(checkpoint);
    expect(models().map(nameOf)).not.toEqual([nameOf(made as string)]);
    utimesSync(join(checkpoint, "model.safetensors"), new Date(1), new Date(1));
    await chat(checkpoint);
    expect(models().map(nameOf)).toEqual([nameOf(made as string)]);
  });
});

describe("a packed model in the store", () => {
  test.each([
    ["cut short", (path: string) => truncateSync(path, 5000)],
    ["empty", (path: string) => truncateSync(path, 0)],
    ["of something else", (path: string) => writeFileSync(path, "something else")],
  ])("that is %s is made again, with a word", async (_, damage) => {
    await chat(checkpoint);
    damage(onlyModel());
    const { code, stdout, stderr } = await chat(checkpoint);
    expect([code, stdout]).toEqual([0, PARIS]);
    expect(stderr.match(/it is made again/g)?.length).toBe(1);
    expect((await chat(checkpoint)).stderr).not.toContain("made again");
    damage(onlyModel());
    expect((await chat("small")).stdout).toBe(PARIS);
    damage(onlyModel());
    rmSync(checkpoint, { recursive: true });
    const gone = await chat("small");
    expect(gone.code).toBe(1);
    expect(gone.stderr).toStartWith(`wrinklefree: ${onlyModel()}: `);
    expect(gone.stderr).not.toContain("made again");
  });

  test("is not removed while it is served, and is afterwards", async () => {
    const server = await startServer([checkpoint], { env });
    const [entry] = (await list()).models;
    expect(entry).toMatchObject({ name: "small", in_use: true });
    rmSync(checkpoint, { recursive: true });
    const refused = await run(["rm", "small"]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("small is in use by a process")]);
    await run(["prune"]);
    expect(models().length).toBe(1);
    await server.stop();
    const removed = await run(["rm", "small"]);
    expect([removed.code, removed.stdout]).toEqual([0, expect.stringContaining("small: removed, 2.13 MB given back")]);
    expect(models()).toEqual([]);
  });

  test("that changed beneath a server stays until that ends", async () => {
    const server = await startServer([checkpoint], { env });
    changeCheckpoint();
    expect((await chat(checkpoint)).stdout).toBe(PARIS);
    expect(models().length).toBe(2);
    await server.stop();
    const pruned = await run(["prune"]);
    expect([pruned.code, pruned.stdout]).toEqual([0, expect.stringContaining("nothing is known to need it")]);
    expect(models().length).toBe(1);
  });
});

describe("a conversion", () => {
  test("of the same directory by several processes at once happens once", async () => {
    const all = await Promise.all([1, 2, 3].map(() => chat(checkpoint)));
    expect(all.map(({ code, stdout }) => [code, stdout])).toEqual(Array(3).fill([0, PARIS]));
    expect(all.filter(({ stderr }) => stderr.includes("converting")).length).toBe(1);
    expect(models().length).toBe(1);
    expect(readdirSync(join(store, "locks"))).toEqual([]);
  });

  test("that was killed leaves nothing that is served, and the next one cleans up", async () => {
    // Large enough that it can be caught in the middle.
    const weights = join(checkpoint, "model.safetensors");
    const folder = join(store, "models");
    let isCaught = false;
    for (let attempt = 0; attempt < 20 && !isCaught; attempt++) {
      const child = Bun.spawn([executable, "chat", checkpoint, ...ASK], {
        env,
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      });
      const isUnfinished = () => existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(".unfinished"));
      while (!isUnfinished() && child.exitCode === null) await Bun.sleep(1);
      child.kill("SIGKILL");
      await child.exited;
      isCaught = isUnfinished();
      if (!isCaught) rmSync(store, { recursive: true, force: true });
    }
    expect([isCaught, existsSync(weights)]).toEqual([true, true]);
    expect(models().some((name) => /\.wf \d+$/.test(name) && !name.startsWith("."))).toBe(false);
    expect((await list()).unused.map(({ what }) => what)).toEqual(["an unfinished conversion"]);
    const { code, stdout } = await chat(checkpoint);
    expect([code, stdout]).toEqual([0, PARIS]);
    expect(readdirSync(folder).length).toBe(1);
  });

  test("that cannot write to the store says so; what is there is used all the same", async () => {
    await chat(checkpoint);
    const wrapper = readOnly(store);
    if (wrapper === undefined) return console.log("skipped: mounting is not allowed here");
    const used = await runProgram(["chat", checkpoint, ...ASK], { env, wrapper });
    expect([used.code, used.stdout]).toEqual([0, PARIS]);
    changeCheckpoint();
    const refused = await runProgram(["chat", checkpoint, ...ASK], { env, wrapper });
    expect([refused.code, refused.stdout]).toEqual([1, ""]);
    expect(refused.stderr).toContain(`the store ${store} cannot be written to: the file system is read-only`);
    expect(refused.stderr).toContain("--store");
    const elsewhere = await runProgram(["chat", checkpoint, ...ASK, "--store", join(place, "elsewhere")], {
      env,
      wrapper,
    });
    expect(elsewhere.stdout).toBe(PARIS);
  });

  test("on a full disk is a failure, and nothing is left of it", async () => {
    const wrapper = smallDisk(store, "1m", `ls -A ${store}/models`);
    if (wrapper === undefined) return console.log("skipped: mounting is not allowed here");
    const { code, stdout, stderr } = await runProgram(["chat", checkpoint, ...ASK], { env, wrapper });
    expect(stderr).toMatch(/no space/);
    expect([code, stdout]).toEqual([1, ""]);
  });
});

function readOnly(directory: string): string[] | undefined {
  return mounting(`mount --bind ${directory} ${directory} && mount -o remount,ro,bind ${directory}`);
}

describe("list, rm and prune", () => {
  test("of an empty store", async () => {
    mkdirSync(store, { recursive: true });
    expect(await run(["list"])).toEqual({ code: 0, stdout: `${store}: 0 bytes\n`, stderr: "" });
    expect(await run(["prune"])).toEqual({ code: 0, stdout: `${store}: 0 bytes given back\n`, stderr: "" });
    const missing = await run(["rm", "nothing"]);
    expect([missing.code, missing.stderr]).toEqual([
      1,
      expect.stringContaining(`no model 'nothing' in the store ${store};`),
    ]);
  });

  test("of a store that is not there say so, and make none", async () => {
    expect(await run(["list"])).toEqual({
      code: 0,
      stdout: `${store}: is not there yet; it is made when a model is pulled or converted\n`,
      stderr: "",
    });
    expect(JSON.parse((await run(["list", "--json"])).stdout)).toMatchObject({ store, exists: false, models: [] });
    expect((await run(["prune"])).stdout).toBe(`${store}, which is not there yet: 0 bytes given back\n`);
    for (const args of [
      ["rm", "small"],
      ["run", "small", "Hello"],
    ]) {
      expect((await run(args)).stderr).toContain(`in the store ${store}, which is not there yet;`);
    }
    expect(existsSync(store)).toBe(false);
  });

  test("show names, sizes, origins and files", async () => {
    await chat(checkpoint);
    const { stdout } = await run(["list"]);
    const [head, row] = stdout.split("\n");
    expect(head).toMatch(/^NAME +SIZE +GIVES +FROM +FILE +STATE$/);
    expect(row).toMatch(/^small +2\.13 MB +text +\S+\/small +\S+\/models\/small-[0-9a-f]{16}\.wf$/);
    expect(stdout).toEndWith(`\n${store}: 2.13 MB\n`);
    const inspected = await run(["inspect", "small"]);
    for (const part of [checkpoint, onlyModel(), "BitNetForCausalLM"]) expect(inspected.stdout).toContain(part);
  });

  test("say which give embeddings, and nothing of what can't be read", async () => {
    await chat(checkpoint);
    mkdirSync(join(checkpoint, "1_Pooling"));
    writeFileSync(join(checkpoint, "1_Pooling", "config.json"), JSON.stringify({ pooling_mode: "mean" }));
    const other = join(place, "embedding");
    renameSync(checkpoint, other);
    expect((await run(["serve", other, "--dry-run"])).code).toBe(0);
    const gives = async () =>
      Object.fromEntries((await list()).models.map(({ name, gives }) => [name, gives] as const));
    expect(await gives()).toEqual({ small: "text", embedding: "embeddings" });
    for (const model of models()) truncateSync(join(store, "models", nameOf(model) as string), 5000);
    expect(await gives()).toEqual({ small: null, embedding: null });
    expect((await run(["list"])).stdout).toMatch(/^embedding +\S+ \S+ +- /m);
  });

  test("of a name that several have ask for more", async () => {
    await chat(checkpoint);
    const other = join(place, "elsewhere", "small");
    cpSync(checkpoint, other, { recursive: true });
    checkpoint = other;
    changeCheckpoint();
    await chat(other);
    const { code, stderr } = await run(["rm", "small"]);
    expect([code, models().length]).toEqual([1, 2]);
    expect(stderr).toMatch(/several models in the store: small-[0-9a-f]{16}, small-[0-9a-f]{16}/);
    const names = (await list()).models.map(({ name }) => name);
    expect(names).toEqual(
      models()
        .map((model) => basename(nameOf(model) as string, ".wf"))
        .sort(),
    );
    for (const name of names) expect([name, (await chat(name)).stdout]).toEqual([name, PARIS]);
    expect((await chat("small")).stderr).toContain(
      `several models in the store have this name: give one of ${names[0]}, `,
    );
    expect((await run(["rm", names[0] as string])).code).toBe(0);
    expect((await run(["list", "--names"])).stdout).toBe("small\n");
  });

  test.each(["m é", "模型: 1.58", "it's (new)", "a$(b)`c`", "~a\\b\u0007"])(
    "call what was made of the directory %p as its answers do, and take that name",
    async (name) => {
      const directory = join(place, name);
      renameSync(checkpoint, directory);
      const server = await startServer([directory], { env });
      const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
      await server.stop();
      const id = data[0]?.id as string;
      expect(id).toBe(name.replace(/[$`]/g, "-").replace("~a\\b\u0007", "a-b-"));
      expect((await run(["list", "--names"])).stdout).toBe(`${id}\n`);
      expect((await chat(id)).stdout).toBe(PARIS);
    },
  );

  test.each(["small.gguf", "small.wf", "small.bin", "small.safetensors"])(
    "know what was made of %s by that name, and so does what runs a model",
    async (name) => {
      const directory = join(place, name);
      renameSync(checkpoint, directory);
      expect((await chat(directory)).stdout).toBe(PARIS);
      expect((await run(["list", "--names"])).stdout).toBe(`${name}\n`);
      expect((await chat(name)).stdout).toBe(PARIS);
      expect((await run(["inspect", name])).stdout).toContain(onlyModel());
      expect((await run(["serve", name, "--dry-run", "--json"])).stdout).toContain(`"file": "${onlyModel()}"`);
      expect((await run(["rm", name])).code).toBe(0);
      expect((await chat(name)).stderr).toContain(`${name}: no such file or directory`);
    },
  );

  test("call what was made of a GGUF file as its answers do, and know the file's name as well", async () => {
    await unpackFixtures("formats", place);
    const server = await startServer([join(place, "tiny.TQ2_0.gguf")], { env });
    const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
    await server.stop();
    expect((await run(["list", "--names"])).stdout).toBe(`${data[0]?.id}\n`);
    for (const name of [data[0]?.id as string, "tiny.TQ2_0.gguf"]) {
      expect([name, (await chat(name)).stdout]).toEqual([name, PARIS]);
    }
  });

  test("name what is unused and why, and prune gives it back", async () => {
    await chat(checkpoint);
    rmSync(checkpoint, { recursive: true });
    expect((await list()).models[0]?.unused).toBe("its source is gone");
    expect((await run(["prune", "--dry-run"])).stdout).toContain("2.13 MB could be given back");
    expect(models().length).toBe(1);
    const { stdout } = await run(["prune"]);
    expect(stdout).toContain("small: its source is gone");
    expect(models()).toEqual([]);
    expect(readdirSync(join(store, "sources"))).toEqual([]);
  });

  test("know what earlier versions kept, and nothing else", async () => {
    mkdirSync(store, { recursive: true });
    const old = [
      "tiny-0123456789abcdef-fedcba9876543210.wf",
      ".tiny-0123456789abcdef-fedcba9876543210.wf.0123456789ab.unfinished",
    ];
    const own = ["notes.txt", "my-model.wf"];
    for (const name of [...old, ...own]) {
      writeFileSync(join(store, name), "12345");
      utimesSync(join(store, name), new Date(0), new Date(0));
    }
    expect((await list()).unused.map(({ what, bytes }) => [what, bytes])).toEqual(
      Array(2).fill(["of an earlier version's cache", 5]),
    );
    expect((await run(["prune"])).code).toBe(0);
    expect(
      readdirSync(store)
        .filter((name) => statSync(join(store, name)).isFile())
        .sort(),
    ).toEqual(own.sort());
  });

  test("of records that are damaged go on", async () => {
    await chat(checkpoint);
    const sources = join(store, "sources");
    const [record] = readdirSync(sources);
    for (const text of ["", "{", "null", "[]", '{"origin":{"kind":"path","path":"/"}}', '{"origin":null}']) {
      writeFileSync(join(sources, record as string), text);
      expect((await run(["list"])).code).toBe(0);
      expect((await chat(checkpoint)).stdout).toBe(PARIS);
    }
  });
});

describe("the store's place", () => {
  test.each([
    ["--store", ["--store", "given"], {}, "given"],
    ["WRINKLEFREE_STORE", [], { WRINKLEFREE_STORE: "own", WRINKLEFREE_CACHE: "alias", XDG_CACHE_HOME: "xdg" }, "own"],
    ["its alias WRINKLEFREE_CACHE", [], { WRINKLEFREE_CACHE: "alias", XDG_CACHE_HOME: "xdg" }, "alias"],
    ["XDG_CACHE_HOME", [], { XDG_CACHE_HOME: "xdg" }, "xdg/wrinklefree"],
    ["the home directory", [], {}, ".cache/wrinklefree"],
  ] as [string, string[], Record<string, string>, string][])(
    "is what %s says",
    async (_, args, variables, expected) => {
      const inPlace = ([name, value]: [string, string]) => [name, join(place, value)];
      const environment = { PATH, HOME: place, ...Object.fromEntries(Object.entries(variables).map(inPlace)) };
      const { stdout, code } = await runProgram(["list", ...args], { env: environment, cwd: place });
      const directory = args.length > 0 ? expected : join(place, expected);
      expect([code, stdout.split("; ")[0]]).toEqual([0, `${directory}: is not there yet`]);
    },
  );

  test("is made for its user alone", async () => {
    await chat(checkpoint);
    expect(statSync(store).mode & 0o777).toBe(0o700);
  });

  test.each([
    ["config.json", "it is no directory"],
    ["config.json/store", "a part of the path is not a directory"],
  ])("that is no directory is named, with what to do: %s", async (place, fault) => {
    const bad = join(checkpoint, place);
    for (const args of [["list"], ["chat", checkpoint, ...ASK], ["serve", "small", "--dry-run"]]) {
      const { code, stderr } = await run([...args, "--store", bad]);
      expect([code, stderr]).toEqual([
        1,
        `wrinklefree: ${bad}: is no place for models: ${fault}; name another directory with --store or WRINKLEFREE_STORE\n`,
      ]);
    }
  });

  test.skipIf(process.getuid?.() !== 0 || Bun.which("setpriv") === null)("that cannot be made", async () => {
    const bad = join("/", "wrinklefree-store");
    const wrapper = ["setpriv", "--reuid=65534", "--clear-groups"];
    const { code, stderr } = await runProgram(["chat", checkpoint, ...ASK, "--store", bad], { env, wrapper });
    expect([code, stderr]).toEqual([
      1,
      `wrinklefree: ${bad}: cannot be made for models: permission denied; name another directory with --store or WRINKLEFREE_STORE\n`,
    ]);
  });
});

describe("what is no model", () => {
  test("is named", async () => {
    const locked = join(place, "locked.wf");
    writeFileSync(locked, "");
    const text = join(place, "README.md");
    writeFileSync(text, "A text that somebody took for a model.\n");
    const circle = join(place, "circle.wf");
    symlinkSync(circle, circle);
    const cases: [string, string][] = [
      [circle, "too many levels of symbolic links"],
      [join(checkpoint, "config.json", "model.wf"), "a part of the path is not a directory"],
      [join(place, "x".repeat(300)), "the file name is too long"],
      [join(place, "nowhere"), "no such file or directory"],
      ["nowhere.gguf", "no such file or directory"],
      [place, "has no config.json"],
      [join(checkpoint, "config.json"), "this is a JSON text"],
      [join(checkpoint, "model.safetensors"), "a safetensors file, but not a packed model"],
      [locked, "an empty file"],
      [
        text,
        "a file of a kind that is unknown here; a model is a packed file (.wf), a GGUF file or the directory of a",
      ],
    ];
    for (const [path, fault] of cases) {
      const { code, stdout, stderr } = await chat(path);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toStartWith(`wrinklefree: ${path}: `);
      expect(stderr).toContain(fault);
    }
    expect(models()).toEqual([]);
  });

  test("can't be pulled and not be pulled", async () => {
    const { code, stderr } = await chat("acme/model", "--pull", "--offline");
    expect([code, stderr]).toEqual([2, expect.stringContaining("--pull and --offline can't be had together")]);
    // What one of them takes back of a file leaves the other one.
    for (const args of [
      ["--pull", "--no-offline"],
      ["--no-pull", "--offline"],
    ]) {
      expect((await runProgram(["serve", "--dry-run", ...args])).code).toBe(0);
    }
  });

  test("as a word is looked for in the store, and those like it are named", async () => {
    await chat(checkpoint);
    const { code, stderr } = await chat("smal");
    expect(code).toBe(1);
    expect(stderr).toBe(
      `wrinklefree: smal: no such file or directory, and no model in the store ${store} (it has small); a name on the hub is OWNER/NAME\n`,
    );
  });
});
