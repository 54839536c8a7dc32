/** `wrinklefree bench` through its command line: what it prints, in which form. How fast anything is, is nothing for a test. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { modelCosts } from "../src/bench/costs.ts";
import { randomSubject } from "../src/bench/subject.ts";
import { packedLayout } from "../src/model_file/layout.ts";
import { decodeModelConfig, encodeModelConfig } from "../src/model_file/model_config.ts";
import { type Shape, shapes } from "../src/model_file/shapes.ts";
import { unpackFixtures } from "./support/archive.ts";
import { fixtures, runCommandLine } from "./support/command_line.ts";

setDefaultTimeout(120_000);

/** As little as can be measured. */
const SHORT = ["--prompt", "16", "--decode", "3", "--latency", "900", "--repetitions", "2", "--threads", "1,2"];

const machineKeys = ["cpu", "tier", "threads", "read_gb_s", "multiply_add_g_s", "float_multiply_add_g_s", "phase_us"];
const runKeys = [
  "kind",
  "threads",
  "parallel",
  "tokens",
  "context",
  "temperature",
  "repetitions",
  "tok_s",
  "tok_s_min",
  "tok_s_max",
  "zeros",
  "bytes_per_step",
  "share_of_read",
  "share_of_multiply_add",
  "first_token_ms",
  "first_token_ms_min",
  "first_token_ms_max",
  "second_turn_tokens",
  "second_turn_computed",
];

/** The keys that have figures in a run of each kind; the others are null. */
const measured: Record<string, string[]> = {
  prefill: runKeys.slice(7, 17).filter((key) => key !== "zeros"),
  decode: runKeys.slice(7, 14),
  latency: runKeys.slice(14),
  embed: runKeys.slice(7, 14).filter((key) => key !== "zeros"),
};

describe("a shape without a file", () => {
  test("JSON has the machine and every run, all figures positive", () => {
    const result = runCommandLine([
      "bench",
      "--shape",
      "tiny",
      ...SHORT,
      "--parallel",
      "1,3",
      "--ctx-at",
      "0,40",
      "--json",
    ]);
    expect(result.stderr).not.toContain("wrinklefree");
    expect(result.exitCode).toBe(0);
    const { machine, model, runs } = JSON.parse(result.stdout);
    expect(Object.keys(machine)).toEqual(machineKeys);
    for (const values of [machine.read_gb_s, machine.multiply_add_g_s]) {
      expect(Object.keys(values)).toEqual(["1", "2"]);
      for (const value of Object.values(values)) expect(value).toBeGreaterThan(0);
    }
    expect(model).toMatchObject({ name: "tiny", random: true });
    const wanted = [1, 2].flatMap((threads) => [
      { kind: "prefill", threads, parallel: 1, tokens: 16, context: 0, temperature: null },
      ...[0, 40].flatMap((context) =>
        [1, 3].map((parallel) => ({ kind: "decode", threads, parallel, tokens: 3, context, temperature: 0 })),
      ),
      { kind: "latency", threads, parallel: 2, tokens: 32, context: 900 },
    ]);
    expect(runs).toMatchObject(wanted);
    for (const run of runs) {
      expect(Object.keys(run)).toEqual(runKeys);
      for (const key of runKeys.slice(7)) {
        if (measured[run.kind]?.includes(key)) expect(run[key]).toBeGreaterThan(0);
        else expect(run[key]).toBeNull();
      }
      if (run.kind === "latency") {
        expect(run.first_token_ms).toBeWithin(run.first_token_ms_min, run.first_token_ms_max + Number.EPSILON);
        // 256 and 32 tokens of the first turn, 32 new ones; whole blocks of 32 are found, and the answer's last token was not computed.
        expect([run.second_turn_tokens, run.second_turn_computed]).toEqual([320, 64]);
      } else {
        expect(run.tok_s).toBeWithin(run.tok_s_min, run.tok_s_max + Number.EPSILON);
        expect(run.bytes_per_step).toBeGreaterThan(model.ternary_bytes);
      }
    }
  });

  test("CSV has the same number of cells in every line", () => {
    const { exitCode, stdout } = runCommandLine(["bench", "--shape", "tiny", ...SHORT, "--parallel", "2", "--csv"]);
    expect(exitCode).toBe(0);
    const lines = stdout.trimEnd().split("\n").map(cells);
    expect(lines).toHaveLength(1 + 2 * 3);
    expect(lines[0]).toEqual(["cpu", "tier", "cores", "read_gb_s", "multiply_add_g_s", "model", ...runKeys]);
    for (const line of lines) expect(line).toHaveLength(lines[0]?.length ?? 0);
  });

  test("the machine's line says why no better kernels are used", () => {
    const args = [
      "bench",
      "--shape=tiny",
      "--prompt=16",
      "--decode=1",
      "--latency=0",
      "--repetitions=1",
      "--threads=1",
    ];
    const { exitCode, stdout } = runCommandLine(args, { WRINKLEFREE_CPU: "scalar" });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^machine .*, scalar \(WRINKLEFREE_CPU asks for it\) kernels\n/);
  });

  test("a table for people, the progress apart from it", () => {
    const { exitCode, stdout, stderr } = runCommandLine(["bench", "--shape=tiny", ...SHORT, "--parallel=2"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^machine .* kernels\nmodel +tiny, random weights/);
    expect(stdout.match(/^(prefill|decode ) +\d/gm)).toHaveLength(4);
    expect(stdout.match(/^latency +\d .* 64 of 320$/gm)).toHaveLength(2);
    expect(stderr).toMatch(/^measuring: the machine, 1 thread \(1 of 8\)\n/);
    expect(stderr.trimEnd().split("\n")).toHaveLength(8);
  });
});

test("the kernels by themselves", () => {
  const { exitCode, stdout } = runCommandLine(["bench", "kernels", "--threads=2", "--tokens=16", "--tiers", "--json"]);
  expect(exitCode).toBe(0);
  const { machine, kernels } = JSON.parse(stdout);
  expect(Object.keys(machine)).toEqual(machineKeys);
  const names = ["ternary", "sketch", "attention_f32", "attention_f16", "attention_q8"];
  const inUse = kernels.filter(({ tier }: { tier: string }) => tier === machine.tier);
  expect(inUse.map(({ kernel, tokens }: { kernel: string; tokens: number }) => [kernel, tokens])).toEqual(
    names.map((kernel) => [kernel, 16]),
  );
  const tiers = new Set(kernels.map(({ tier }: { tier: string }) => tier));
  expect(tiers).toContain("scalar");
  expect(kernels).toHaveLength(5 * tiers.size);
  expect(kernels.filter(({ is_best }: { is_best: boolean }) => is_best)).toHaveLength(5);
  for (const run of kernels)
    for (const share of [run.share_of_read, run.share_of_multiply_add]) expect(share).toBeGreaterThan(0);
});

test("more zeros are found where more are asked for, and fewer bytes read", () => {
  const args = ["--prompt=0", "--decode=3", "--latency=0", "--threads=1", "--parallel=1", "--repetitions=1", "--json"];
  const { exitCode, stdout } = runCommandLine(["bench", "--shape=tiny", "--zeros=0.5,0.9", ...args]);
  expect(exitCode).toBe(0);
  const [half, most] = JSON.parse(stdout).runs;
  expect(half.zeros).toBeWithin(0.5, 0.8);
  expect(most.zeros).toBeWithin(0.85, 1);
  expect(most.bytes_per_step).toBeLessThan(half.bytes_per_step);
});

test("tokens drawn from a flat distribution need more of the head than the likeliest", () => {
  const args = ["--prompt=0", "--decode=8", "--latency=0", "--threads=1", "--parallel=1", "--repetitions=1", "--json"];
  const { exitCode, stdout } = runCommandLine(["bench", "--shape=tiny", "--temperature=0,2", ...args]);
  expect(exitCode).toBe(0);
  const [likeliest, drawn] = JSON.parse(stdout).runs;
  expect([likeliest.temperature, drawn.temperature]).toEqual([0, 2]);
  expect(drawn.bytes_per_step).toBeGreaterThan(likeliest.bytes_per_step);
});

test("a model from a directory of a checkpoint, decoding only", () => {
  const tiny = join(fixtures, "tiny");
  const cache = { WRINKLEFREE_CACHE: mkdtempSync(join(tmpdir(), "wrinklefree-bench-")) };
  const { exitCode, stdout } = runCommandLine(
    ["bench", tiny, "--prompt=0", "--decode=2", "--latency=0", "--threads=1", "--json"],
    cache,
  );
  expect(exitCode).toBe(0);
  rmSync(cache.WRINKLEFREE_CACHE, { recursive: true });
  const { model, runs } = JSON.parse(stdout);
  expect(model).toMatchObject({ name: "tiny", random: false, head_bytes: 2048 * (192 + 12) });
  expect(runs.map(({ kind }: { kind: string }) => kind)).toEqual(["decode", "decode"]);
});

test("an embedding model: texts of each length, alone and together, in every form", async () => {
  const directory = mkdtempSync(join(tmpdir(), "wrinklefree-bench-"));
  await unpackFixtures("embeddings", directory);
  const svg = join(directory, "embeddings.svg");
  const command = ["bench", join(directory, "embedding-qwen3.I2_S.gguf"), "--threads=1", "--repetitions=2"];
  const cache = { WRINKLEFREE_CACHE: directory };
  const json = runCommandLine([...command, "--embed", "--prompt=9,40", "--json", `--svg=${svg}`], cache);
  const table = runCommandLine([...command, "--prompt=9", "--parallel=3"], cache);
  const picture = await Bun.file(svg).text();
  rmSync(directory, { recursive: true });
  expect({
    exitCode: json.exitCode,
    lines: [...(json.stderr.match(/^measuring: embed, 1 thread, .* tokens/gm) ?? [])],
  }).toEqual({
    exitCode: 0,
    lines: [9, 40].flatMap((tokens) =>
      ["1 text", "4 texts"].map((texts) => `measuring: embed, 1 thread, ${texts} of ${tokens} tokens`),
    ),
  });
  const { model, runs } = JSON.parse(json.stdout);
  expect(model).toMatchObject({ random: false, head_bytes: 0 });
  expect(runs).toMatchObject(
    [9, 40].flatMap((tokens) =>
      [1, 4].map((parallel) => ({ kind: "embed", threads: 1, parallel, tokens, context: 0 })),
    ),
  );
  for (const run of runs) {
    expect(Object.keys(run)).toEqual(runKeys);
    for (const key of runKeys.slice(7)) {
      if (measured.embed?.includes(key)) expect(run[key]).toBeGreaterThan(0);
      else expect(run[key]).toBeNull();
    }
    expect(picture).toContain(
      `${run.parallel === 1 ? "1 text" : "4 texts"} of ${run.tokens} tokens: ${run.tok_s} tok/s`,
    );
  }
  expect(table.stdout).toMatch(/^embed +1 +3 +0 +9 +[\d.]+ /m);
});

test.each([
  // The tensors in the published GGUF files: I2_S and the others.
  ["bitnet-embedding-0.6b", 196, 310],
  ["bitnet-embedding-270m", 126, 236],
])("the shape %s has as many tensors as the published file", (name, ternary, others) => {
  const config = { ...(shapes[name] as (typeof shapes)[string]), bosTokenId: null, eosTokenIds: [] };
  const kinds = packedLayout(config, new Map()).map(({ kind }) => kind);
  const count = kinds.filter((kind) => kind === "ternary").length;
  expect([count, kinds.filter((kind) => kind !== "scale").length - count]).toEqual([ternary, others]);
});

test.each([
  [["--shape", "tiny", "--embed"], "tiny answers with text and has no embeddings"],
  [["--shape", "bitnet-embedding-270m", "--decode", "3"], "--decode is for models that answer"],
  [["--embed", "--prompt", "128,0"], "no text to embed"],
  [["--embed", "--prompt", "32769"], "--prompt 32769 needs a context of 32769 tokens; bitnet-embedding-0.6b has 32768"],
  [["--shape", "giant"], "--shape is one of tiny, "],
  [["--shape", "tiny", "some.wf"], "either a MODEL or a --shape"],
  [["--threads", "0"], "--threads"],
  [["--threads", "1,,2"], "--threads"],
  [["--parallel", "257"], "--parallel"],
  [["--ctx-at", "-1"], "--ctx-at"],
  [["--decode", "many"], "--decode"],
  [["--repetitions", "0"], "--repetitions"],
  [["--shape", "tiny", "--prompt", "0", "--decode", "0", "--latency", "0"], "nothing to measure"],
  [["--latency", "x"], "--latency"],
  [["--shape", "tiny", "--latency", "2048"], "--latency 2048 needs a context of 2049 tokens"],
  [["--shape", "tiny", "--ctx-at", "2048"], "needs a context of"],
  [["--shape", "tiny", "--prompt", "2048"], "needs a context of 2049 tokens; tiny has 2048"],
  [["--json", "--csv"], "--json and --csv"],
  [["--zeros", "0.4"], "--zeros takes a number from 0.5 to 1"],
  [["--zeros", "0.5", "some.wf"], "--zeros is for random weights"],
  [["--zero"], "--zero"],
])("%p is a usage error", (args, message) => {
  const { exitCode, stdout, stderr } = runCommandLine(["bench", ...args]);
  expect({ exitCode, stdout, lines: stderr.trimEnd().split("\n").length }).toEqual({
    exitCode: 2,
    stdout: "",
    lines: 1,
  });
  expect(stderr).toContain(message);
});

test("a model that isn't there is a failure", () => {
  const { exitCode, stderr } = runCommandLine(["bench", "/nowhere/model.wf"]);
  expect({ exitCode, stderr }).toEqual({
    exitCode: 1,
    stderr: "wrinklefree: /nowhere/model.wf: no such file or directory\n",
  });
});

test("every shape is a valid configuration", () => {
  for (const shape of Object.values(shapes)) {
    const config = { ...shape, bosTokenId: null, eosTokenIds: [] };
    expect(decodeModelConfig(encodeModelConfig(config))).toEqual(config);
    expect(modelCosts(config, "f32").multiplyAdds).toBeGreaterThan(0);
  }
});

test("layers with a window read no more keys and values than it holds, and those that tokens of the same step see besides", () => {
  const costs = (name: string) => modelCosts({ ...(shapes[name] as Shape), bosTokenId: null, eosTokenIds: [] }, "f32");
  const [maple, bonsai] = [costs("maple-20b-a1b"), costs("bonsai-1.7b")];
  // 18 of 24 layers see 513 positions.
  const layer = maple.positionBytes / 24;
  expect(maple.attendedBytes(500, 1)).toBe(500 * 24 * layer);
  expect(maple.attendedBytes(10000, 1)).toBe((6 * 10000 + 18 * 513) * layer);
  expect(maple.attendedBytes(10000, 101)).toBe((6 * 10000 + 18 * 613) * layer);
  expect(bonsai.attendedBytes(10000, 512)).toBe(10000 * bonsai.positionBytes);
});

test("of tokens that are nothing but context, the last layer's keys and values are counted", () => {
  const shape = shapes["bitnet-embedding-0.6b"] as Shape;
  const costs = (pooling: "last" | "mean") =>
    modelCosts({ ...shape, pooling, bosTokenId: null, eosTokenIds: [] }, "f32");
  const leftOut = 16 * 128 * 1024 + 3 * 1024 * 3072;
  expect(costs("last").multiplyAdds - costs("last").contextMultiplyAdds).toBe(leftOut);
  expect(costs("mean").contextMultiplyAdds).toBe(costs("last").multiplyAdds);
});

test.each(["tiny", "large"])("the random weights of %s keep logits finite and alive", async (name) => {
  const subject = randomSubject(name, shapes[name] as (typeof shapes)[string]);
  const model = await subject.open(0.5);
  const logits = model.logits(Uint32Array.of(1, 2, 3, 4), 2, subject.config.vocabSize);
  model.close();
  expect(logits.every(Number.isFinite)).toBe(true);
  expect(Math.max(...logits)).toBeWithin(0.1, 100);
  // Not the same for every position: the layers in between did something.
  expect(logits[0]).not.toBe(logits[subject.config.vocabSize]);
});

/** Splits a line of CSV. */
function cells(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}
