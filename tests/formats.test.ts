/** Every format that a model comes in: the same weights give the same answers, whichever file they are read from. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { Model } from "../src/engine/model.ts";
import { type PackedModel, readPackedModel } from "../src/model_file/packed.ts";
import { unpackFixtures } from "./support/archive.ts";
import { fixtures } from "./support/command_line.ts";
import { answerAll, differences, expectedAnswers, median, readModelGoldens } from "./support/model_goldens.ts";

let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-formats-"));
  await unpackFixtures("formats", directory);
  // The original system keeps the tokenizer beside its file.
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
    cpSync(join(fixtures, "tiny", name), join(directory, name));
  }
});

afterAll(() => rmSync(directory, { recursive: true }));

/** The packed form of a source, which is a path or one of the archive's names. */
async function convert(source: string): Promise<PackedModel> {
  const path = join(directory, `${Bun.randomUUIDv7()}.wf`);
  await convertCheckpoint(resolve(directory, source), path);
  return await readPackedModel(path);
}

/** The bytes of a packed model's tensor. */
function tensorOf({ path, tensors }: PackedModel, name: string): Buffer {
  const entry = tensors.find((tensor) => tensor.name === name);
  if (entry === undefined) throw new Error(`no tensor ${name}`);
  return readFileSync(path).subarray(entry.begin, entry.end);
}

describe.each(["tiny.I2_S.gguf", "tiny.TQ1_0.gguf", "tiny.TQ2_0.gguf", "tiny.sglbitnt.bin"])("%s", (source) => {
  test("gives the goldens' answers, token for token", async () => {
    const goldens = await readModelGoldens(join(fixtures, "tiny"));
    const model = await Model.open((await convert(source)).path);
    expect(await answerAll(model, goldens, 2)).toEqual(expectedAnswers(goldens));
    model.close();
  });

  test("has the logits of the goldens, within its scales' precision", async () => {
    const goldens = await readModelGoldens(join(fixtures, "tiny"));
    const { path, config } = await convert(source);
    const model = await Model.open(path);
    const all = differences(model, config.vocabSize, goldens).flat();
    // The scales of TQ1_0 and TQ2_0 are halves.
    expect(median(all)).toBeLessThan(source.includes("TQ") ? 5e-3 : 1e-3);
    expect(Math.max(...all)).toBeLessThan(0.2);
    model.close();
  });

  test("has the codes of the master weights, every one", async () => {
    const [found, expected] = [await convert(source), await convert(join(fixtures, "tiny"))];
    const ternary = expected.tensors.filter(({ dtype, name }) => dtype === "U8" && !name.startsWith("assets/"));
    expect(ternary.length).toBe(35);
    for (const { name } of ternary) expect(tensorOf(found, name).equals(tensorOf(expected, name))).toBe(true);
  });
});

describe("rotary positions that are stretched", () => {
  test.each([
    ["rope-llama3", "rope-llama3"],
    ["rope-llama3.TQ1_0.gguf", "rope-llama3"],
    ["rope-linear", "rope-linear"],
    ["rope-linear.I2_S.gguf", "rope-linear"],
  ])("%s: right beyond the first window", async (source, goldensOf) => {
    const goldens = await readModelGoldens(join(directory, goldensOf));
    const { path, config } = await convert(source);
    const model = await Model.open(path);
    const positions = differences(model, config.vocabSize, goldens);
    expect(positions.length).toBeGreaterThan(64);
    expect(median(positions.flat())).toBeLessThan(2e-2);
    expect(Math.max(...positions.flat())).toBeLessThan(0.15);
    model.close();
  });

  test.each([
    ["rope-llama3", "rope-llama3.TQ1_0.gguf"],
    ["rope-linear", "rope-linear.I2_S.gguf"],
  ])("%s: its GGUF, with q and k in another order, becomes the same tensors", async (directoryName, file) => {
    const [one, other] = [await convert(directoryName), await convert(file)];
    for (const { name } of one.tensors) {
      if (!name.startsWith("assets/")) expect(tensorOf(other, name).equals(tensorOf(one, name))).toBe(true);
    }
  });
});
