/**
 * LongRoPE: a model has divisors of the rotary frequencies for contexts up to the one that it was first made for, and others for longer ones.
 * Transformers takes those of a text's length. An engine cannot: keys in its cache are rotated already. So its context decides, once and for
 * all requests. Both lists are compared here with scalings whose results are known: none, and linear ones.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { openCheckpoint } from "../convert/formats.ts";
import { Model } from "../src/engine/model.ts";
import { unpackFixtures } from "./support/archive.ts";
import { writeHuggingFaceWeights } from "./support/gguf_as_hugging_face.ts";
import { floatList, ggufModel } from "./support/gguf_model.ts";
import { runProgram, startServer } from "./support/server.ts";
import type { LooseJson } from "./support/small_checkpoint.ts";
import { encodeGguf, valueTypes } from "./support/small_gguf.ts";

let directory: string;

/** Tokens before it was stretched, and after. */
const [ORIGINAL, CONTEXT] = [128, 512];

const longRope: LooseJson = {
  rope_type: "longrope",
  short_factor: new Array(32).fill(1),
  long_factor: new Array(32).fill(4),
  original_max_position_embeddings: ORIGINAL,
  attention_factor: 1,
};

/** Packed models of the same weights: stretched by LongRoPE, by nothing, and as LongRoPE does for long contexts. */
const packed: Record<"longrope" | "plain" | "linear", string> = { longrope: "", plain: "", linear: "" };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-longrope-"));
  await unpackFixtures("minicpm", directory);
  writeHuggingFaceWeights(join(directory, "minicpm.TQ2_0.gguf"), join(directory, "minicpm"));
  packed.longrope = await pack("longrope", longRope);
  packed.plain = await pack("plain", undefined);
  packed.linear = await pack("linear", { rope_type: "linear", factor: 4 });
});

afterAll(() => rmSync(directory, { recursive: true }));

function source(name: string, scaling: LooseJson | undefined): string {
  const path = join(directory, name);
  cpSync(join(directory, "minicpm"), path, { recursive: true });
  const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
  writeFileSync(
    join(path, "config.json"),
    JSON.stringify({ ...config, max_position_embeddings: CONTEXT, rope_scaling: scaling }),
  );
  return path;
}

async function pack(name: string, scaling: LooseJson | undefined): Promise<string> {
  const path = source(name, scaling);
  await convertCheckpoint(path, `${path}.wf`);
  return `${path}.wf`;
}

const ids = (count: number) => Array.from({ length: count }, (_, index) => (index * 37 + 11) % 2000);

async function logits(path: string, count: number): Promise<Float32Array> {
  const model = await Model.open(path);
  const found = model.logits(Uint32Array.from(ids(count)), 2, 2048);
  model.close();
  return found;
}

test("a text's length decides where it is all there is: bit for bit that of the scaling which its list amounts to", async () => {
  expect(await logits(packed.longrope, ORIGINAL)).toEqual(await logits(packed.plain, ORIGINAL));
  const long = await logits(packed.longrope, ORIGINAL + 1);
  expect(long).toEqual(await logits(packed.linear, ORIGINAL + 1));
  expect(long).not.toEqual(await logits(packed.plain, ORIGINAL + 1));
});

test("the factor of keys and queries is √(1 + ln(stretch) / ln(original context)), unless it is stated", () => {
  const magnitude = (scaling: LooseJson) => {
    const checkpoint = openCheckpoint(source(Bun.randomUUIDv7(), scaling));
    checkpoint.close();
    return checkpoint.config.ropeMagnitude;
  };
  expect(magnitude({ ...longRope, attention_factor: undefined })).toBeCloseTo(
    Math.sqrt(1 + Math.log(4) / Math.log(128)),
    12,
  );
  expect(magnitude({ ...longRope, attention_factor: 1.5 })).toBe(1.5);
});

describe("a server", () => {
  /** What the likeliest tokens are given behind prompts of a few tokens and of many, twice over, so that the second time they are found in the cache. */
  async function answers(path: string, ...options: string[]) {
    const server = await startServer([path, ...options]);
    try {
      const models = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: [{ max_model_len: number }] };
      const answer = async (count: number) => {
        const body = { prompt: ids(count), max_tokens: 4, temperature: 0, ignore_eos: true, logprobs: 1 };
        const response = await server.post("/v1/completions", body);
        if (!response.ok) return response.status;
        const { choices } = (await response.json()) as { choices: [{ logprobs: { token_logprobs: number[] } }] };
        return choices[0].logprobs.token_logprobs;
      };
      const both = async () => [await answer(40), await answer(200)];
      const first = await both();
      expect(await both()).toEqual(first);
      return { context: models.data[0].max_model_len, answers: first, log: server.log() };
    } finally {
      await server.stop();
    }
  }

  test("has the first context as long as no other is asked for, and all positions of the longer one otherwise", async () => {
    const short = await answers(packed.longrope);
    const plain = await answers(packed.plain);
    expect([short.context, plain.context]).toEqual([ORIGINAL, CONTEXT]);
    expect(short.answers).toEqual([plain.answers[0] as number[], 400]);
    expect(short.log).not.toContain("rotary positions");

    const long = await answers(packed.longrope, "--ctx", "300");
    const linear = await answers(packed.linear);
    expect(long.context).toBe(300);
    expect(long.answers).toEqual(linear.answers);
    expect(long.answers[0]).not.toEqual(plain.answers[0] as number[]);
    expect(long.log).toContain("longer than 128, so all requests have the rotary positions of long texts");
  });

  test("takes no more than the model was stretched to", async () => {
    const { code, stderr } = await runProgram(["serve", packed.longrope, "--ctx", "513", "--port", "0"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("whose context has 512 tokens")]);
  });
});

test("the conversion says so in a line", async () => {
  const { code, stderr } = await runProgram(["convert", source("told", longRope), join(directory, "told.wf")]);
  expect([code, stderr]).toEqual([0, expect.stringContaining("up to 128 tokens of context its rotary positions are")]);
});

test("lists that are alike, or an original context that is no shorter, leave nothing to choose", () => {
  const configOf = (scaling: LooseJson) => {
    const checkpoint = openCheckpoint(source(Bun.randomUUIDv7(), scaling));
    checkpoint.close();
    return checkpoint.config;
  };
  for (const scaling of [
    { ...longRope, long_factor: longRope.short_factor },
    { ...longRope, original_max_position_embeddings: CONTEXT },
  ]) {
    expect(configOf(scaling)).toMatchObject({ context: CONTEXT, ropeDivisors: longRope.short_factor });
    expect(configOf(scaling).originalContext).toBeUndefined();
  }
});

test("a GGUF file has the lists as tensors", () => {
  const model = ggufModel("minicpm", "TQ2_0");
  for (const name of ["attn_sub_norm", "ffn_sub_norm"]) model.tensors.delete(`blk.0.${name}.weight`);
  model.tensors.set("rope_factors_short.weight", floatList(longRope.short_factor));
  model.tensors.set("rope_factors_long.weight", floatList(longRope.long_factor));
  model.metadata.set("minicpm.rope.scaling.type", { type: valueTypes.text, value: "longrope" });
  model.metadata.set("minicpm.rope.scaling.original_context_length", { type: valueTypes.u32, value: 32 });
  const path = join(directory, "long.gguf");
  writeFileSync(path, encodeGguf(model));
  const checkpoint = openCheckpoint(path);
  checkpoint.close();
  expect(checkpoint.config).toMatchObject({
    context: 128,
    originalContext: 32,
    ropeDivisors: longRope.short_factor,
    ropeLongDivisors: longRope.long_factor,
  });
  expect(checkpoint.notices.join()).toContain("up to 32 tokens of context");
});
