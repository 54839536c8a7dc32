/** What a server keeps in memory: copies of weights as far as there is room for them, and of its file only what they don't stand for. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Shape, shapes } from "../src/model_file/shapes.ts";
import { writeRandomModel } from "./support/random_model.ts";
import { eventually, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-memory-"));
const model = join(scratch, "random.wf");
afterAll(() => rmSync(scratch, { recursive: true }));

/** Copies of megabytes, which show beside what a process takes more or less. */
const shape: Shape = {
  ...(shapes.tiny as Shape),
  hiddenSize: 2048,
  intermediateSize: 8192,
  layers: 2,
  heads: 16,
  kvHeads: 4,
  headDim: 128,
  context: 512,
};

const HEAD_BYTES = shape.vocabSize * shape.hiddenSize * 2;
const DOWN_BYTES = (shape.layers * shape.hiddenSize * shape.intermediateSize) / 4;

beforeAll(() => writeRandomModel(model, shape));

/** Bytes of the model's file that a process has in memory. */
function residentBytes({ pid }: TestServer): number {
  const mappings = readFileSync(`/proc/${pid}/smaps`, "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const own = mappings.filter((mapping) => mapping.split("\n")[0]?.endsWith(model));
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
