/** Neurons that are always zero are left out of a packed file, and no bit of what the model computes changes. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { placeNeurons } from "../convert/unused_neurons.ts";
import { Model } from "../src/engine/model.ts";
import { type PackedModel, readPackedModel } from "../src/model_file/packed.ts";
import { fixtures } from "./support/command_line.ts";
import { answerAll, readModelGoldens } from "./support/model_goldens.ts";

const NEURONS = 768;
const HIDDEN = 256;

/** For each layer of the tiny model, which neurons become zero, and by which projection. */
const unused: { projection: "gate" | "up"; isUnused: (neuron: number) => boolean; kept: number }[] = [
  // Whole lanes' ends: 96 neurons less.
  { projection: "gate", isUnused: (neuron) => neuron < 96, kept: 672 },
  // Lane 5 keeps all of its 24 neurons, so nothing can be left out.
  { projection: "up", isUnused: (neuron) => neuron % 32 !== 5, kept: NEURONS },
  // Every third: of 24 neurons in a lane 16 stay.
  { projection: "up", isUnused: (neuron) => Math.floor(neuron / 32) % 3 === 1, kept: 512 },
  // One neuron is used.
  { projection: "gate", isUnused: (neuron) => neuron !== 517, kept: 32 },
  // Lanes of different lengths: the longest keeps 19 of 24.
  { projection: "gate", isUnused: (neuron) => Math.floor(neuron / 32) < 4 + (neuron % 3), kept: 608 },
];

let directory: string;
let lean: PackedModel;
let whole: PackedModel;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-neurons-"));
  const source = join(directory, "source");
  cpSync(join(fixtures, "tiny"), source, { recursive: true });
  const path = join(source, "model.safetensors");
  const bytes = readFileSync(path);
  const dataBegin = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, dataBegin).toString());
  for (const [layer, { projection, isUnused }] of unused.entries()) {
    const [begin] = header[`model.layers.${layer}.mlp.${projection}_proj.weight`].data_offsets;
    for (let neuron = 0; neuron < NEURONS; neuron++) {
      const row = dataBegin + begin + 2 * HIDDEN * neuron;
      if (isUnused(neuron)) bytes.fill(0, row, row + 2 * HIDDEN);
    }
  }
  writeFileSync(path, bytes);
  const convert = async (name: string, keepUnusedNeurons: boolean) => {
    await convertCheckpoint(source, join(directory, name), { keepUnusedNeurons });
    return await readPackedModel(join(directory, name));
  };
  lean = await convert("lean.wf", false);
  whole = await convert("whole.wf", true);
});

afterAll(() => rmSync(directory, { recursive: true }));

test("each layer keeps the neurons that are used, padded to the longest lane", () => {
  expect(whole.config.ffnNeurons).toBeUndefined();
  expect(lean.config.ffnNeurons).toEqual(unused.map(({ kept }) => kept));
  expect(lean.config.intermediateSize).toBe(NEURONS);
  expect(lean.bytes).toBeLessThan(whole.bytes);
});

test("all logits are the same, to the bit", async () => {
  const { logits } = await readModelGoldens(join(fixtures, "tiny"));
  const [one, other] = [await Model.open(lean.path), await Model.open(whole.path)];
  for (const { ids } of logits) {
    const tokens = Uint32Array.from(ids);
    expect(one.logits(tokens, 2, lean.config.vocabSize)).toEqual(other.logits(tokens, 2, whole.config.vocabSize));
  }
  one.close();
  other.close();
});

test("all answers are the same, with zeros skipped and batches shared", async () => {
  const goldens = await readModelGoldens(join(fixtures, "tiny"));
  const [one, other] = [await Model.open(lean.path), await Model.open(whole.path)];
  expect(await answerAll(one, goldens, 2)).toEqual(await answerAll(other, goldens, 2));
  one.close();
  other.close();
});

describe("placeNeurons", () => {
  test("a neuron that stays keeps its lane and its order in it", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const used = Array.from({ length: 300 }, (_, neuron) => Math.imul(neuron + 1, 2654435761 * seed) % 5 > 0);
      const kept = placeNeurons(used);
      if (kept === null) continue;
      const found = [...kept.entries()].filter(([, neuron]) => neuron >= 0);
      for (const [place, neuron] of found) expect(place % 32).toBe(neuron % 32);
      for (let lane = 0; lane < 32; lane++) {
        const neurons = found.filter(([place]) => place % 32 === lane).map(([, neuron]) => neuron);
        const expected = used.flatMap((isUsed, neuron) => (isUsed && neuron % 32 === lane ? [neuron] : []));
        expect(neurons).toEqual(expected);
      }
    }
  });

  test("where all are used nothing changes; where none is, one of each lane stays", () => {
    expect(placeNeurons(new Array(768).fill(true))).toBeNull();
    expect(placeNeurons(new Array(768).fill(false))).toEqual(new Int32Array(32).fill(-1));
    expect(placeNeurons(new Array(20).fill(false))).toBeNull();
  });
});
