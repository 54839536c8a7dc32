/** Every format that a model comes in: the same weights give the same answers, whichever file they are read from. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { verifyConversion } from "../convert/verify.ts";
import { Model } from "../src/engine/model.ts";
import { type PackedModel, readPackedModel } from "../src/model_file/packed.ts";
import { unpackFixtures } from "./support/archive.ts";
import { fixtures, runCommandLine } from "./support/command_line.ts";
import { answerAll, differences, expectedAnswers, median, readModelGoldens } from "./support/model_goldens.ts";
import { smallCheckpoint, writeCheckpoint } from "./support/small_checkpoint.ts";

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

test("inspect writes numbers in single precision with the digits that they have there", () => {
  const { stdout } = runCommandLine(["inspect", join(directory, "tiny.TQ2_0.gguf")]);
  expect(stdout).toMatch(/^ {2}norm epsilon +0\.00001$/m);
  expect(stdout).toMatch(/^ {2}rope theta +500000$/m);
});

test.each(["tiny.TQ1_0.gguf", "tiny.sglbitnt.bin"])("chat takes %s as it is", (source) => {
  const { exitCode, stdout } = runCommandLine(
    ["chat", join(directory, source), "-p", "What is the capital of France?", "--max-tokens", "30"],
    { WRINKLEFREE_STORE: join(directory, "store") },
  );
  expect([exitCode, stdout]).toEqual([0, "The capital of France is Paris.\n"]);
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

describe("weights that are ternary already, in floating point", () => {
  /** A directory of small master weights, in which `change` may put others. */
  function checkpoint(change: (name: string, values: Float32Array) => void): string {
    const small = smallCheckpoint("F32");
    for (const [name, tensor] of small.tensors) {
      if (!name.endsWith("_proj.weight")) continue;
      const values = new Float32Array(tensor.bytes.slice().buffer);
      for (const [index, value] of values.entries()) values[index] = value > 1 ? 0.375 : value < -1 ? -0.375 : 0;
      change(name, values);
      tensor.bytes = new Uint8Array(values.buffer);
    }
    const path = join(directory, Bun.randomUUIDv7());
    writeCheckpoint(path, small);
    return path;
  }

  test("keep their scale, which their mean magnitude is not", async () => {
    const packed = await convert(checkpoint(() => {}));
    const scales = packed.tensors.filter(({ name }) => name.endsWith("_scale"));
    expect(scales.length).toBe(14);
    for (const { name } of scales) expect(tensorOf(packed, name).readFloatLE(0)).toBe(0.375);
  });

  test("one that has a third magnitude is refused by name", async () => {
    const odd = "model.layers.1.mlp.down_proj.weight";
    const path = checkpoint((name, values) => {
      if (name === odd) values[values.length - 1] = 0.25;
    });
    expect(convert(path)).rejects.toThrow(`tensor '${odd}': its weights are not ternary`);
  });

  test("a scale for each group of inputs is kept, the widest groups that all matrices have", async () => {
    const path = checkpoint((name, values) => {
      const columns = name.includes("down_proj") ? 52 : name.includes("o_proj") ? 40 : 36;
      const group = name.includes("v_proj") ? 32 : 128;
      for (const index of values.keys()) {
        values[index] = (values[index] as number) * (1 + (Math.floor((index % columns) / group) % 2));
      }
    });
    const packed = await convert(path);
    expect(packed.config.scales).toBe("32");
    const matrix = tensorOf(packed, "model.layers.0.self_attn.v_proj.weight");
    // Rows lie in panels of 16, with 32 bytes of codes each, and behind those their scales: 36 inputs are a group and a part of one.
    const scales = [16 * 32, 16 * 34].map((place) =>
      new DataView(matrix.buffer, matrix.byteOffset).getFloat16(place, true),
    );
    expect(scales).toEqual([0.375, 0.75]);
    const { codes } = await verifyConversion(path, packed.path);
    expect(codes).toBeGreaterThan(10_000);
  });
});
