/** What a server keeps in memory: copies of weights as far as there is room for them, and of its file only what they don't stand for. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Shape, shapes } from "../src/model_file/shapes.ts";
import { makeControlGroup, type TestControlGroup } from "./support/control_group.ts";
import { writeRandomModel } from "./support/random_model.ts";
import { engineHealth, eventually, runProgram, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-memory-"));
const model = join(scratch, "random.wf");
afterAll(() => rmSync(scratch, { recursive: true }));

/** Copies of megabytes, which show beside what a process takes more or less. */
const shape: Shape = {
  ...(shapes.tiny as Shape),
  hiddenSize: 2048,
  intermediateSize: 16384,
  layers: 2,
  heads: 16,
  kvHeads: 4,
  headDim: 128,
  context: 512,
};

const HEAD_BYTES = shape.vocabSize * shape.hiddenSize * 2;
const DOWN_BYTES = (shape.layers * shape.hiddenSize * shape.intermediateSize) / 4;

beforeAll(() => writeRandomModel(model, shape));

interface Refusal {
  error?: { message: string };
}

/** Bytes of the model's file that a process has in memory. */
function residentBytes({ pid }: TestServer, file = model): number {
  const mappings = readFileSync(`/proc/${pid}/smaps`, "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const own = mappings.filter((mapping) => mapping.split("\n")[0]?.endsWith(file));
  return own.reduce((sum, mapping) => sum + 1024 * Number(/^Rss: +(\d+) kB/m.exec(mapping)?.[1] ?? 0), 0);
}

describe("the file", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer([model, "--log", "off"]);
  });
  afterAll(() => server.stop());

  /** All but the head and the down projections, of which few pages are needed. */
  const few = () => residentBytes(server) < statSync(model).size - HEAD_BYTES - DOWN_BYTES + 1_000_000;

  test("of what there are copies of, nothing is kept when they are made", async () => {
    await eventually(few);
  });

  test("what an answer took of it is given back when nothing runs", async () => {
    // A prompt of many tokens needs the down projections as they lie in the file, log-probabilities the whole head.
    const prompt = "The capital of France is Paris. ".repeat(20);
    const answer = await server.post("/v1/completions", { prompt, max_tokens: 2, logprobs: 1 });
    expect(answer.status).toBe(200);
    await eventually(few);
  });
});

interface Plan {
  kv_blocks: number;
  parts: Record<string, number>;
  kept: number;
  bound: number;
  memory: { total: number };
}

async function plan(args: string[], wrapper: string[] = []): Promise<Plan> {
  const { code, stdout, stderr } = await runProgram(["serve", model, "--dry-run", "--json", ...args], { wrapper });
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as Plan;
}

/** The program takes some megabytes more or less each time it is started. */
const LEEWAY = 6_000_000;

describe("--memory-budget", () => {
  const pool = ["--memory", "20M"];
  const budget = (bytes: number) => ["--memory-budget", String(Math.round(bytes))];

  test("without it, all that speeds up steps is there, and as many tokens as all requests can need", async () => {
    const { parts, kv_blocks, bound, memory } = await plan(["--parallel", "4"]);
    expect([parts.columns, bound]).toEqual([DOWN_BYTES, memory.total]);
    expect(parts.sketch).toBeGreaterThan(HEAD_BYTES / 2);
    expect(kv_blocks).toBe(4 * (shape.context / 32) + 4);
  });

  test("the copy that makes the least difference goes first, and what can't be done without is said", async () => {
    const { kept, parts } = await plan(pool);
    const all = await plan([...pool, ...budget(kept + LEEWAY)]);
    expect(all.parts).toMatchObject({ sketch: parts.sketch, columns: parts.columns });
    const less = await plan([...pool, ...budget(kept - DOWN_BYTES / 2)]);
    expect([less.parts.columns, less.parts.sketch]).toEqual([undefined, parts.sketch]);
    const small = [...pool, ...budget(kept - DOWN_BYTES - LEEWAY)];
    for (const dryRun of [["--dry-run"], []]) {
      const { code, stderr } = await runProgram(["serve", model, "--port", "0", ...dryRun, ...small]);
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/^wrinklefree: --memory-budget is \d+[KMG], and random needs \d+[KMG] /),
      ]);
    }
  });

  test("keys and values have what copies leave, one context at least", async () => {
    const whole = await plan(["--parallel", "16"]);
    const kv = whole.parts.kv as number;
    const { parts, kept } = await plan(["--parallel", "16", ...budget(whole.kept - kv / 2)]);
    expect(parts).toMatchObject({ sketch: whole.parts.sketch, columns: whole.parts.columns });
    expect(parts.kv).toBeWithin(kv / 2 - LEEWAY, kv / 2 + LEEWAY);
    expect(kept).toBeLessThanOrEqual(whole.kept - kv / 2);
    const least = await runProgram([
      "serve",
      model,
      "--dry-run",
      "--parallel",
      "16",
      ...budget(whole.kept - kv - DOWN_BYTES),
    ]);
    expect([least.code, least.stderr]).toEqual([1, expect.stringContaining("with one context of 512 tokens")]);
  });

  test("a server keeps to it", async () => {
    const { kept } = await plan(pool);
    const most = kept - DOWN_BYTES / 2;
    const server = await startServer([model, ...pool, ...budget(most), "--log", "off"]);
    try {
      const health = async () => (await (await fetch(`${server.url}/health`)).json()) as { memory: { copies: number } };
      expect((await health()).memory.copies).toBeWithin(HEAD_BYTES / 2, HEAD_BYTES);
      // Draws, so that all of the sketch is made, and more tokens than the cache holds.
      for (let index = 0; (await engineHealth(server)).blocks.cached < 50 && index < 10; index++) {
        const prompt = `${index} ${"The capital of France is Paris. ".repeat(30)}`;
        const answer = await server.post("/v1/completions", { prompt, max_tokens: 2, temperature: 1 });
        expect(answer.status).toBe(200);
      }
      await eventually(() => server.residentMegabytes() * 1024 * 1024 < most + 4 * LEEWAY);
    } finally {
      await server.stop();
    }
  });

  test.each(["0", "much", "-1"])("%p is no size", async (size) => {
    const { code, stderr } = await runProgram(["serve", `--memory-budget=${size}`]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("--memory-budget takes a number of bytes")]);
  });
});

test.each(["--head", "--zeros"])(
  "%s is no option of the server any more: copies follow from the memory",
  async (option) => {
    const { code, stderr } = await runProgram(["serve", option, "exact"]);
    expect([code, stderr]).toEqual([2, expect.stringContaining(option)]);
  },
);

describe("a control group", () => {
  test("leaves requests what there is: they are refused before it is full, and no answer is damaged", async () => {
    const group = makeControlGroup(250_000_000);
    if (group === undefined) {
      console.log("skipping a real control group: this user can't make one below its own");
      return;
    }
    const server = await startServer(["--log", "off"], { wrapper: group.wrapper });
    try {
      // Hundreds of megabytes, each body as large as may be.
      const large = JSON.stringify({ messages: [{ role: "user", content: "word ".repeat(1_500_000) }] });
      const statuses = Array.from(
        { length: 60 },
        async () => (await server.post("/v1/chat/completions", large)).status,
      );
      const question = { messages: [{ role: "user", content: "What is the capital of France?" }], max_tokens: 20 };
      const answers = Array.from({ length: 20 }, async () => (await server.chat(question)).choices[0]?.message.content);
      expect([...new Set(await Promise.all(answers))]).toEqual(["The capital of France is Paris."]);
      // Too long for the model, or too much at once.
      expect([...new Set(await Promise.all(statuses))].sort()).toEqual([400, 429]);
      const much = { prompt: "A", n: 16, max_tokens: 2000, logprobs: 5 };
      const { error } = (await (await server.post("/v1/completions", much)).json()) as Refusal;
      expect(error?.message).toContain("this server takes requests for up to 36 MB");
    } finally {
      await server.stop();
      group.remove();
    }
  });

  test("is a budget as well", async () => {
    const { kept } = await plan(["--memory", "20M"]);
    const group = makeControlGroup(Math.round(kept - DOWN_BYTES / 2));
    if (group === undefined) {
      console.log("skipping a real control group: this user can't make one below its own");
      return;
    }
    try {
      const { parts, bound } = await plan(["--memory", "20M"], group.wrapper);
      expect([parts.columns, bound < kept]).toEqual([undefined, true]);
    } finally {
      group.remove();
    }
  });
});

describe("a mixture of experts that is larger than memory", () => {
  const LIMIT = 300 * 2 ** 20;
  const group = makeControlGroup(LIMIT, "mixture");
  if (group === undefined) console.log("skipping a mixture larger than memory: this user can't make a control group");
  afterAll(() => group?.remove());
  const path = join(scratch, "mixture.wf");

  /** The likeliest tokens of some prompts, with what the model thinks of them. */
  async function answers(server: TestServer) {
    const all = [1, 2, 3, 4].map(async (index) => {
      const prompt = Array.from({ length: 40 * index }, (_, place) => (place * 37 * index) % 2000);
      const response = await server.post("/v1/completions", { prompt, max_tokens: 4, temperature: 0, logprobs: 2 });
      return ((await response.json()) as { choices: unknown }).choices;
    });
    return await Promise.all(all);
  }

  test.skipIf(group === undefined)("is served, and said to be read from the disk", async () => {
    writeRandomModel(path, {
      ...(shapes.tiny as Shape),
      ...{ hiddenSize: 512, intermediateSize: 1024, layers: 8, heads: 8, kvHeads: 2, context: 512 },
      ...{ activation: "silu", subNorms: false, experts: 128, expertsUsed: 2, normalisesShares: true },
    });
    expect(statSync(path).size).toBeGreaterThan(1.3 * LIMIT);
    const whole = await startServer([path]);
    const expected = await answers(whole);
    expect(whole.log()).not.toContain("from the disk");
    await whole.stop();
    // What others have read of the file would not count as the server's.
    Bun.spawnSync(["sync", path]);
    Bun.spawnSync(["dd", `if=${path}`, "iflag=nocache", "count=0"]);

    const { wrapper } = group as TestControlGroup;
    const planned = await runProgram(["serve", path, "--dry-run"], { wrapper });
    expect([planned.code, planned.stderr]).toEqual([0, ""]);
    expect(planned.stdout).toContain("weights: experts, of which a token has 2 of 128 in each layer");
    const server = await startServer([path], { wrapper });
    try {
      expect(await answers(server)).toEqual(expected);
      for (const text of [planned.stdout, server.log()]) {
        expect(text).toMatch(/ are more than the limit of .*: experts are read from the disk again and again/);
      }
      // The program's own pages count for whoever read them first.
      expect(residentBytes(server, path)).toBeLessThan(LIMIT);
    } finally {
      await server.stop();
    }
  });
});
