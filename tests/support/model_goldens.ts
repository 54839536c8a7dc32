/** What an independent implementation says of a checkpoint, and how far a model is from it. */

import { join } from "node:path";
import { Engine } from "../../src/engine/engine.ts";
import type { Model } from "../../src/engine/model.ts";
import { defaultSampling } from "../../src/engine/sampling.ts";

/** What goldens.json holds. */
export interface ModelGoldens {
  chat?: { prompt_ids: number[]; greedy_ids: number[]; finish_reason: "stop" | "length" }[];
  logits: {
    ids: number[];
    /** Standard deviation of the logits: the unit in which differences are bounded. */
    logit_std: number;
    positions: { position: number; top_ids: number[]; top_logits: number[] }[];
  }[];
}

/** Reads the goldens.json of a directory. */
export async function readModelGoldens(directory: string): Promise<ModelGoldens> {
  return (await Bun.file(join(directory, "goldens.json")).json()) as ModelGoldens;
}

/** |logit − golden| / logit_std of the 16 likeliest tokens of each position, by position over all prompts. */
export function differences(model: Model, vocabulary: number, goldens: ModelGoldens): number[][] {
  return goldens.logits.flatMap(({ ids, logit_std, positions }) => {
    const logits = model.logits(Uint32Array.from(ids), 2, vocabulary);
    return positions.map(({ position, top_ids, top_logits }) =>
      top_ids.map(
        (id, i) => Math.abs((logits[position * vocabulary + id] as number) - (top_logits[i] as number)) / logit_std,
      ),
    );
  });
}

export function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] as number;
}

/** An answer's tokens and why it ended. */
export interface GoldenAnswer {
  ids: number[];
  reason: string;
}

/** The answers that a model should give to the goldens' prompts. */
export function expectedAnswers(goldens: ModelGoldens): GoldenAnswer[] {
  return (goldens.chat ?? []).map(({ greedy_ids, finish_reason }) => ({ ids: greedy_ids, reason: finish_reason }));
}

/** The answers that it gives, to all prompts at once, so that they also share batches. */
export async function answerAll(model: Model, goldens: ModelGoldens, threads: number): Promise<GoldenAnswer[]> {
  const engine = await Engine.create(model, {
    threads,
    maxSequences: 4,
    context: 0,
    kvTokens: 0,
    batchTokens: 0,
    cpus: [],
  });
  const answers = (goldens.chat ?? []).map(async ({ prompt_ids, greedy_ids }) => {
    const ids: number[] = [];
    for await (const event of engine.generate(Uint32Array.from(prompt_ids), defaultSampling(greedy_ids.length))) {
      if (event.kind === "done") return { ids, reason: event.reason };
      if (event.kind === "token") ids.push(event.token);
    }
    return { ids, reason: "nothing" };
  });
  const results = await Promise.all(answers);
  await engine.close();
  return results;
}
