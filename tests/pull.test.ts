/** Models by their names on the hub: `pull`, and the commands that take a name, against a server that speaks the hub's protocol. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unpackFixtures } from "./support/archive.ts";
import { tinyDirectory } from "./support/goldens.ts";
import {
  addRepository,
  blobName,
  COMMIT,
  refuse,
  sendContents,
  startHub,
  type TestHub,
  TOKEN,
} from "./support/hub_server.ts";
import { smallDisk } from "./support/mounts.ts";
import { eventually, executable, runProgram, startServer } from "./support/server.ts";
import { TestTerminal } from "./support/terminal.ts";

setDefaultTimeout(60_000);

const NAME = "acme/tiny-ternary";
const ASK = ["-p", "What is the capital of France?"];
const PARIS = "The capital of France is Paris.\n";
const WEIGHTS = new Uint8Array(readFileSync(join(tinyDirectory, "model.safetensors")));
const CHECKPOINT: Record<string, Uint8Array> = Object.fromEntries(
  ["config.json", "generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"].map(
    (name) => [name, new Uint8Array(readFileSync(join(tinyDirectory, name)))],
  ),
);
CHECKPOINT["model.safetensors"] = WEIGHTS;

let scratch: string;
let hub: TestHub;
let store: string;
let env: Record<string, string>;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "wrinklefree-pull-"));
});

beforeEach(async () => {
  hub = await startHub();
  addRepository(hub, NAME, { ...CHECKPOINT, "README.md": "# Tiny", "pytorch_model.bin": new Uint8Array(200_000) });
  const place = join(scratch, Bun.randomUUIDv7());
  store = join(place, "store");
  env = {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: place,
    WRINKLEFREE_STORE: store,
    HF_ENDPOINT: hub.url,
    HF_HOME: join(place, "hf"),
  };
});

afterEach(() => hub.stop());

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const run = (args: string[], more: Record<string, string> = {}) => runProgram(args, { env: { ...env, ...more } });
const pull = (args: string[] = [NAME], more: Record<string, string> = {}) => run(["pull", ...args], more);
const contentRequests = () => hub.seen.filter(({ isStorage }) => isStorage);
const models = () => (existsSync(join(store, "models")) ? readdirSync(join(store, "models")) : []);
const blobs = (repository = NAME) => {
  const folder = join(store, "hub", `models--${repository.replace("/", "--")}`, "blobs");
  return existsSync(folder) ? readdirSync(folder) : [];
};

/** The program must have failed with one line. */
function expectFailure({ code, stdout, stderr }: Awaited<ReturnType<typeof run>>, ...words: string[]): void {
  const lines = stderr.trimEnd().split("\n");
  expect([code, stdout]).toEqual([1, ""]);
  expect(lines.at(-1)).toStartWith("wrinklefree: ");
  for (const word of words) expect(lines.at(-1)).toContain(word);
  expect(models()).toEqual([]);
}

describe("a pull", () => {
  test("brings what is needed, and the model is served by its name without the network", async () => {
    const { code, stdout, stderr } = await pull([NAME], { HF_TOKEN: TOKEN });
    expect(stderr).toContain(`${NAME}: the safetensors checkpoint (8.99 MB)`);
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^acme\/tiny-ternary: \S+\/models\/acme-tiny-ternary-[0-9a-f]{16}\.wf, /),
    ]);
    const fetched = hub.seen.flatMap(({ path }) => /\/resolve\/[^/]+\/(.*)$/.exec(path)?.[1] ?? []);
    expect([...new Set(fetched)].sort()).toEqual(Object.keys(CHECKPOINT).sort());
    hub.stop();
    const answer = await run(["chat", NAME, ...ASK, "--offline"]);
    expect([answer.code, answer.stdout]).toEqual([0, PARIS]);
    const server = await startServer([NAME, "--offline"], { env });
    const served = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
    await server.stop();
    expect(served.data[0]?.id).toBe(NAME);
  });

  test("sends the token to the hub and to no other host", async () => {
    await pull([NAME], { HF_TOKEN: TOKEN });
    expect(contentRequests().length).toBeGreaterThan(0);
    for (const { isStorage, authorization } of hub.seen) {
      expect(authorization).toBe(isStorage ? undefined : `Bearer ${TOKEN}`);
    }
  });

  test("asks for large files in pieces, from where the hub led it", async () => {
    await pull();
    const ranges = contentRequests().map(({ range }) => range);
    expect(ranges.sort()).toEqual(["bytes=0-8388607", `bytes=8388608-${WEIGHTS.length - 1}`]);
  });

  test("of what is there already loads nothing", async () => {
    await pull();
    const before = hub.seen.length;
    const { code, stdout } = await pull();
    expect([code, stdout]).toEqual([0, expect.stringContaining("(it was there already)")]);
    expect(hub.seen.slice(before).map(({ path }) => path.startsWith("/api/"))).toEqual([true]);
  });

  test("of a newer commit replaces the older, whose space prune gives back", async () => {
    await pull();
    const [old] = models();
    const config = JSON.parse(Buffer.from(CHECKPOINT["generation_config.json"] as Uint8Array).toString());
    const repository = addRepository(hub, NAME, {
      ...CHECKPOINT,
      "generation_config.json": JSON.stringify({ ...config, x: 1 }),
    });
    repository.revisions.set("main", COMMIT.replace("0", "f"));
    const before = contentRequests().length;
    await pull();
    expect(contentRequests().length).toBe(before);
    expect(models()).not.toContain(old as string);
    expect(models().length).toBe(1);
    const listed = await run(["list"]);
    expect(listed.stdout).toContain("of a revision of acme/tiny-ternary that was replaced");
    const pruned = await run(["prune"]);
    expect([pruned.code, blobs()]).toEqual([0, []]);
    expect((await run(["chat", NAME, ...ASK])).stdout).toBe(PARIS);
  });

  test("of a revision is another model than that of main", async () => {
    hub.repositories.get(NAME)?.revisions.set("v1", COMMIT.replace("0", "e"));
    expect((await pull([`${NAME}@v1`])).code).toBe(0);
    expectFailureOfName(await run(["chat", NAME, ...ASK]), `wrinklefree pull ${NAME}`);
    expect((await run(["chat", `${NAME}@v1`, ...ASK])).stdout).toBe(PARIS);
  });

  test("takes what the hub's own tools have in their cache", async () => {
    const folder = join(env.HF_HOME as string, "hub", "models--acme--tiny-ternary");
    mkdirSync(join(folder, "blobs"), { recursive: true });
    writeFileSync(join(folder, "blobs", blobName(WEIGHTS)), WEIGHTS);
    expect((await pull()).code).toBe(0);
    expect(contentRequests()).toEqual([]);
    expect(blobs()).not.toContain(blobName(WEIGHTS));
    expect((await run(["chat", NAME, ...ASK])).stdout).toBe(PARIS);
  });
});

/** A name that could not be used. */
function expectFailureOfName({ code, stdout, stderr }: Awaited<ReturnType<typeof run>>, word: string): void {
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toContain(word);
}

describe("a name", () => {
  test("that the hub's own tools loaded is used without the network", async () => {
    const folder = join(env.HF_HOME as string, "hub", "models--acme--tiny-ternary");
    for (const [name, bytes] of Object.entries(CHECKPOINT)) {
      const blob = join(folder, "blobs", blobName(bytes));
      const link = join(folder, "snapshots", COMMIT, name);
      mkdirSync(join(blob, ".."), { recursive: true });
      mkdirSync(join(link, ".."), { recursive: true });
      writeFileSync(blob, bytes);
      symlinkSync(`../../blobs/${blobName(bytes)}`, link);
    }
    mkdirSync(join(folder, "refs"));
    writeFileSync(join(folder, "refs", "main"), COMMIT);
    const { code, stdout } = await run(["chat", NAME, ...ASK, "--offline"]);
    expect([code, stdout, hub.seen.length]).toEqual([0, PARIS, 0]);
  });

  test("of nothing that was pulled is a failure that says how to pull it; no request is made", async () => {
    for (const args of [[], ["--offline"]]) {
      expectFailureOfName(await run(["chat", NAME, ...ASK, ...args]), `'wrinklefree pull ${NAME}'`);
    }
    expect(hub.seen).toEqual([]);
  });

  test("with --pull is pulled and used", async () => {
    const { code, stdout } = await run(["chat", NAME, ...ASK, "--pull"]);
    expect([code, stdout]).toEqual([0, PARIS]);
  });

  test("is less than a path that exists", async () => {
    const place = join(scratch, Bun.randomUUIDv7());
    mkdirSync(join(place, "acme"), { recursive: true });
    symlinkSync(tinyDirectory, join(place, NAME));
    const { code, stdout } = await runProgram(["chat", NAME, ...ASK], { env, cwd: place });
    expect([code, stdout, hub.seen.length]).toEqual([0, PARIS, 0]);
  });

  test("on a terminal is asked about: no does not pull it, yes does, and a chat begins", async () => {
    const asks = async () => {
      const terminal = new TestTerminal([executable, NAME], { env: { ...env, XDG_STATE_HOME: scratch }, columns: 200 });
      await terminal.until(() => terminal.rows.at(-1)?.endsWith("[Y/n]") ?? false);
      // Before the network is used.
      expect(terminal.rows[0]).toStartWith(
        `${NAME} is not in the store ${store}, which is not there yet; asking 127.0.0.1`,
      );
      return terminal;
    };
    const no = await asks();
    no.type("n\r");
    expect(await no.exited).toBe(1);
    await no.until(() => no.rows.at(-1) === `wrinklefree: ${NAME}: not pulled`);
    expect(models()).toEqual([]);
    await no.close();
    const yes = await asks();
    yes.type("y\r");
    await yes.until(() => yes.rows.at(-1) === ">");
    expect(yes.raw).toMatch(/\rpulling: \d+ %, \S+ \S+ of 8\.9\d MB[^\r]* \[#* *\]/);
    yes.type(`${ASK[1]}\r`);
    await yes.until(() => yes.rows.at(-2) === PARIS.trim());
    yes.type("\u0004");
    expect(await yes.exited).toBe(0);
    await yes.close();
  });

  test.each([
    "acme/../etc",
    "../acme",
    "acme/tiny@../../x",
    "acme/tiny@-x",
    "acme/tiny@v 1",
    "acme",
    "acme/a--b",
    "a/b/c",
  ])("%p is none that can be pulled", async (name) => {
    const { code, stderr } = await pull([name]);
    expect([code, hub.seen]).toEqual([2, []]);
    expect(stderr).toContain("is no name on the hub");
  });
});

describe("a connection", () => {
  test("that is cut in the middle goes on from there", async () => {
    let cuts = 0;
    hub.intercept = ({ isStorage, range }, response) => {
      if (!isStorage || cuts >= 3) return false;
      cuts++;
      sendContents(hub, WEIGHTS, range, response, 300_000);
      return true;
    };
    const { code, stderr } = await pull();
    expect([code, cuts]).toEqual([0, 3]);
    expect(stderr).toMatch(/going on in \S+ s/);
    const small = Object.values(CHECKPOINT).reduce((sum, { length }) => sum + length, 0) - WEIGHTS.length;
    expect(hub.sentBytes).toBe(WEIGHTS.length + small);
    expect((await run(["chat", NAME, ...ASK])).stdout).toBe(PARIS);
  });

  test("that knows no ranges brings the whole file", async () => {
    hub.intercept = ({ isStorage }, response) => {
      if (isStorage) sendContents(hub, WEIGHTS, undefined, response);
      return isStorage;
    };
    expect((await pull()).code).toBe(0);
    expect((await run(["chat", NAME, ...ASK])).stdout).toBe(PARIS);
  });

  test.each(["some", "all"])(
    "to an address that is no longer good asks the hub for another: %s pieces",
    async (which) => {
      const refused = new Set<string | undefined>();
      hub.intercept = ({ isStorage, range }, response) => {
        if (!isStorage || refused.has(range) || (which === "some" && range?.startsWith("bytes=0-") === true))
          return false;
        refused.add(range);
        refuse(response, 403);
        return true;
      };
      expect((await pull()).code).toBe(0);
      expect(refused.size).toBe(which === "some" ? 1 : 2);
    },
  );

  test.each(["SIGINT", "SIGKILL"] as const)("of a process that %p ended is resumed by the next", async (signal) => {
    let isStalled = false;
    hub.intercept = ({ isStorage, range }, response) => {
      if (!isStorage || range?.startsWith("bytes=0-") !== true || isStalled) return false;
      // 2 MB come, then some more each second, and the rest never.
      response.writeHead(206, { "content-range": `bytes 0-8388607/${WEIGHTS.length}`, "content-length": "8388608" });
      response.write(WEIGHTS.subarray(0, 2_000_000));
      let position = 2_000_000;
      const timer = setInterval(() => {
        response.write(WEIGHTS.subarray(position, position + 1000));
        position += 1000;
        isStalled = position > 2_005_000;
      }, 300);
      response.on("close", () => clearInterval(timer));
      return true;
    };
    const child = Bun.spawn([executable, "pull", NAME], { env, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    await eventually(() => isStalled);
    child.kill(signal);
    await child.exited;
    expect(child.signalCode).toBe(signal);
    if (signal === "SIGINT")
      expect(await child.stderr.text()).toContain("the next 'wrinklefree pull' goes on from there");
    expect(models()).toEqual([]);
    expectFailureOfName(await run(["chat", NAME, ...ASK, "--offline"]), "not pulled yet");
    const before = hub.seen.length;
    const { code } = await pull();
    expect(code).toBe(0);
    const ranges = hub.seen
      .slice(before)
      .flatMap(({ range }) => (range === undefined ? [] : [Number(range.match(/\d+/)?.[0])]));
    expect(ranges.length).toBeGreaterThan(0);
    expect(Math.min(...ranges)).toBeGreaterThanOrEqual(2_000_000);
    expect((await run(["chat", NAME, ...ASK])).stdout).toBe(PARIS);
  });

  test("of two processes at once brings everything once", async () => {
    const [one, two] = await Promise.all([pull(), pull()]);
    expect([one.code, two.code]).toEqual([0, 0]);
    expect(contentRequests().length).toBe(2);
    expect(models().length).toBe(1);
  });
});

describe("a checksum", () => {
  const spoiled = WEIGHTS.slice();
  spoiled[5_000_000] = (spoiled[5_000_000] as number) ^ 1;

  test("that is wrong once has the file fetched once more", async () => {
    let requests = 0;
    hub.intercept = ({ isStorage, range }, response) => {
      if (!isStorage || ++requests > 2) return false;
      sendContents(hub, spoiled, range, response);
      return true;
    };
    const { code, stderr } = await pull();
    expect(stderr).toContain("model.safetensors came with a wrong checksum; it is fetched once more");
    expect([code, requests]).toEqual([0, 4]);
    expect((await run(["chat", NAME, ...ASK])).stdout).toBe(PARIS);
  });

  test("that stays wrong is a failure, of which nothing is kept", async () => {
    hub.intercept = ({ isStorage, range }, response) => {
      if (isStorage) sendContents(hub, spoiled, range, response);
      return isStorage;
    };
    expectFailure(await pull(), "model.safetensors does not have the checksum", blobName(WEIGHTS));
    expect(blobs().filter((name) => name.includes(blobName(WEIGHTS)))).toEqual([]);
  });

  test("of a small file is git's", async () => {
    hub.intercept = ({ path }, response) => {
      if (!path.endsWith("/config.json")) return false;
      sendContents(hub, new Uint8Array((CHECKPOINT["config.json"] as Uint8Array).length), undefined, response);
      return true;
    };
    expectFailure(await pull(), "config.json does not have the checksum");
  });
});

describe("a refusal", () => {
  test("of a gated model says where to accept its conditions", async () => {
    const repository = hub.repositories.get(NAME);
    if (repository !== undefined) repository.isGated = true;
    expectFailure(await pull(), "is gated", `${hub.url}/${NAME}`, "HF_TOKEN");
    expectFailure(await pull([NAME], { HF_TOKEN: "hf_other" }), "is gated", "the account that HF_TOKEN is of");
    expect((await pull([NAME], { HF_TOKEN: TOKEN })).code).toBe(0);
  });

  test("of a name that is not there names those that are like it", async () => {
    expectFailure(await pull(["acme/tiny-ternry"]), "there is no such model", "HF_TOKEN", NAME);
    expectFailure(await pull(["acme/tiny-ternry"], { HF_TOKEN: TOKEN }), "the token in HF_TOKEN may not see it", NAME);
  });

  test("of a revision that is not there names those that are like it", async () => {
    hub.repositories.get(NAME)?.revisions.set("v1.5", COMMIT);
    expectFailure(await pull([`${NAME}@v1.6`]), "has no revision v1.6", "v1.5");
  });

  test("of a token that is not valid", async () => {
    hub.intercept = (_, response) => {
      refuse(response, 401);
      return true;
    };
    expectFailure(await pull([NAME], { HF_TOKEN: "hf_old" }), "does not accept the token in HF_TOKEN");
  });

  test("for the time being is obeyed: it is asked again when Retry-After has passed", async () => {
    let refusals = 0;
    const times: number[] = [];
    hub.intercept = ({ path }, response) => {
      if (!path.startsWith("/api/")) return false;
      times.push(performance.now());
      if (refusals++ > 0) return false;
      refuse(response, 429, undefined, { "retry-after": "2" });
      return true;
    };
    const { code, stderr } = await pull();
    expect([code, times.length]).toEqual([0, 2]);
    expect(stderr).toContain("asked too often (429); going on in 2 s");
    expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(1900);
  });

  test("for longer than anybody waits is a failure that says for how long", async () => {
    hub.intercept = (_, response) => {
      refuse(response, 429, undefined, { "retry-after": "86400" });
      return true;
    };
    expectFailure(await pull(), "429", "86400 s");
  });

  test("by what is no hub", async () => {
    hub.intercept = (_, response) => {
      response.end("<html>Welcome</html>");
      return true;
    };
    expectFailure(await pull(), "does not answer as a hub does");
    expectFailure(await pull([NAME], { HF_ENDPOINT: "huggingface.co" }), "HF_ENDPOINT");
    expectFailure(await pull([NAME], { HF_ENDPOINT: "file:///etc" }), "HF_ENDPOINT");
  });
});

describe("a redirect", () => {
  const redirectTo = (location: string) => {
    hub.intercept = ({ path, isStorage }, response) => {
      if (isStorage || !path.includes("/resolve/")) return false;
      response.writeHead(302, { location });
      response.end();
      return true;
    };
  };

  test.each(["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"])(
    "to %s is refused",
    async (location) => {
      redirectTo(location);
      expectFailure(await pull(), "is not https: refused");
    },
  );

  test("in a circle ends", async () => {
    redirectTo("");
    expectFailure(await pull(), "redirects again and again");
  });

  // The endpoint has to be on the open internet, so the test's server is the proxy to it.
  test.each([
    "127.0.0.1",
    "169.254.169.254",
    "10.1.2.3",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[fd00::1]",
    "0x7f.1",
    "2130706433",
    "localhost",
  ])("from the open internet to %s is refused", async (host) => {
    const { port } = new URL(hub.storageUrl);
    hub.intercept = ({ path, isStorage }, response) => {
      if (isStorage || !path.includes("/resolve/")) return false;
      response.writeHead(302, { location: `http://${host}:${port}/x` });
      response.end();
      return true;
    };
    const proxy = { HF_ENDPOINT: "http://hub.test", HTTP_PROXY: hub.url, http_proxy: hub.url, HF_TOKEN: TOKEN };
    expectFailure(await pull([NAME], proxy), "in a private network: refused");
    expect(contentRequests()).toEqual([]);
  });
});

describe("the file of a repository", () => {
  const format = (name: string) => new Uint8Array(readFileSync(join(scratch, "formats", name)));

  beforeAll(() => unpackFixtures("formats", join(scratch, "formats")));

  test("that is chosen is said, with the others, and served by the repository's name", async () => {
    addRepository(hub, "acme/tiny-gguf", {
      "README.md": "",
      "tiny-f16.gguf": new Uint8Array(9_000_000),
      "tiny.TQ1_0.gguf": new Uint8Array(300_000),
      "tiny-i2_s.gguf": format("tiny.I2_S.gguf"),
    });
    const { code, stderr } = await pull(["acme/tiny-gguf"]);
    expect(stderr).toContain("acme/tiny-gguf: tiny-i2_s.gguf (");
    expect(stderr).toContain("also there, with --file NAME: tiny-f16.gguf (9.00 MB), tiny.TQ1_0.gguf (300.0 kB)");
    expect(code).toBe(0);
    expect(hub.seen.some(({ path }) => /f16|TQ1/.test(path))).toBe(false);
    expect((await run(["chat", "acme/tiny-gguf", ...ASK, "--offline"])).stdout).toBe(PARIS);
    const [entry] = JSON.parse((await run(["list", "--json"])).stdout).models;
    expect(entry).toMatchObject({ name: "acme/tiny-gguf", sources: [{ commit: COMMIT, file: "tiny-i2_s.gguf" }] });
  });

  test("that was asked for is taken, a packed one as it is", async () => {
    const wf = join(scratch, "other.wf");
    await run(["convert", tinyDirectory, wf]);
    addRepository(hub, NAME, {
      ...CHECKPOINT,
      "packed/other.wf": new Uint8Array(readFileSync(wf)),
      "tiny-i2_s.gguf": format("tiny.I2_S.gguf"),
      "old.bin": format("tiny.sglbitnt.bin"),
    });
    for (const name of ["other.wf", "old.bin", "tiny-i2_s.gguf", "model.safetensors"]) {
      const { code, stderr } = await pull([NAME, "--file", name]);
      expect([code, stderr]).toEqual([
        0,
        expect.stringContaining(name.replace("model.safetensors", "the safetensors checkpoint")),
      ]);
      expect((await run(["chat", NAME, ...ASK, "--offline"])).stdout).toBe(PARIS);
    }
    // The name means the one that was asked for last, also when it was there.
    const again = await pull([NAME, "--file", "old.bin"]);
    const path = /: (\S+), /.exec(again.stdout)?.[1] as string;
    expect((await run(["inspect", NAME])).stdout).toContain(path);
    // The others have the names of their files.
    const names = (await run(["list", "--names"])).stdout.trim().split("\n");
    expect([names.length, new Set(names).size, names.includes(NAME)]).toEqual([models().length, models().length, true]);
    for (const name of names) expect((await run(["chat", name, ...ASK, "--offline"])).stdout).toBe(PARIS);
  });

  test("is no longer kept when it is packed: prune and rm give its space back", async () => {
    await pull();
    const size = Object.values(CHECKPOINT).reduce((sum, { length }) => sum + length, 0);
    const { unused } = JSON.parse((await run(["list", "--json"])).stdout);
    expect(unused).toMatchObject([{ what: "what was pulled of acme/tiny-ternary, which is packed now", bytes: size }]);
    expect((await run(["prune"])).code).toBe(0);
    expect([blobs(), models().length]).toEqual([[], 1]);
    expect(readdirSync(join(store, "hub"))).toEqual([]);
    const { code } = await pull();
    expect([code, contentRequests().length]).toEqual([0, 2]);
    const removed = await run(["rm", NAME]);
    expect([removed.code, models(), readdirSync(join(store, "sources"))]).toEqual([0, [], []]);
    expectFailureOfName(await run(["chat", NAME, ...ASK]), "not pulled yet");
  });

  test("whose packed form is damaged is packed again from what was pulled", async () => {
    await pull();
    writeFileSync(join(store, "models", models()[0] as string), "x");
    const { code, stdout, stderr } = await run(["chat", NAME, ...ASK, "--offline"]);
    expect([code, stdout]).toEqual([0, PARIS]);
    expect(stderr).toContain("it is made again");
  });
});

describe("a full disk", () => {
  test("is seen before anything is fetched", async () => {
    const wrapper = smallDisk(store, "4m");
    if (wrapper === undefined) return console.log("skipped: mounting is not allowed here");
    expectFailure(await runProgram(["pull", NAME], { env, wrapper }), "no space: 8.99 MB are still to come");
    expect(contentRequests()).toEqual([]);
  });

  test("that others fill meanwhile is a failure; what came is kept", async () => {
    const wrapper = smallDisk(store, "10m");
    if (wrapper === undefined) return console.log("skipped: mounting is not allowed here");
    // Another program takes the room when the first bytes are asked for.
    let pid = 0;
    hub.intercept = ({ isStorage }) => {
      if (isStorage && pid > 0) writeFileSync(`/proc/${pid}/root${store}/other`, new Uint8Array(5_000_000));
      return false;
    };
    const child = Bun.spawn([...wrapper, executable, "pull", NAME], { env, stdout: "pipe", stderr: "pipe" });
    pid = child.pid;
    const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expectFailure({ code, stdout, stderr }, "no space left on the device", "what came is kept");
  });
});

describe("a repository", () => {
  test("whose files have names of other places keeps to its own", async () => {
    const evil = ["../../../evil.safetensors", "/tmp/evil.safetensors", "a/../../evil", "..\\evil"];
    addRepository(hub, NAME, { ...CHECKPOINT, ...Object.fromEntries(evil.map((path) => [path, "evil"])) });
    expect((await pull()).code).toBe(0);
    expect(hub.seen.some(({ path }) => path.includes("evil"))).toBe(false);
  });

  test("with no model that can be read says what it has", async () => {
    addRepository(hub, "acme/other", { "model-Q4_K_M.gguf": "x", "README.md": "" });
    expectFailure(await pull(["acme/other"]), "no ternary model that can be read here", "model-Q4_K_M.gguf");
  });

  test("without the file that was asked for names those like it", async () => {
    expectFailure(
      await pull([NAME, "--file", "model.safetensor"]),
      "has no file model.safetensor",
      "model.safetensors",
    );
  });

  test("of an architecture that is not served is refused before its weights come", async () => {
    addRepository(hub, "acme/other", { ...CHECKPOINT, "config.json": '{"architectures":["GPT2LMHeadModel"]}' });
    expectFailure(await pull(["acme/other"]), "acme/other: config.json: ", "GPT2LMHeadModel");
    expect(contentRequests()).toEqual([]);
  });
});
