/** `convert --verify` finds whatever differs between a packed file and its source; `--dry-run` says what a conversion would give. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { verifyConversion } from "../convert/verify.ts";
import { readPackedModel } from "../src/model_file/packed.ts";
import { unpackFixtures } from "./support/archive.ts";
import { fixtures, runCommandLine } from "./support/command_line.ts";
import { ggufModel, type TypeName } from "./support/gguf_model.ts";
import { encodeGguf } from "./support/small_gguf.ts";

let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-verify-"));
  await unpackFixtures("checkpoints", directory);
});

afterAll(() => rmSync(directory, { recursive: true }));

/** A GGUF whose FFN has neurons that are always zero. */
function ggufWithUnused(architecture: string, type: TypeName): string {
  const model = ggufModel(architecture, type);
  const gate = model.tensors.get("blk.0.ffn_gate.weight");
  if (gate === undefined) throw new Error("no gate");
  // I2_S: rows of two blocks. The first 100 rows are zero.
  gate.bytes.fill(0x55, 0, 100 * 64);
  const path = join(directory, `${architecture}.${type}.gguf`);
  writeFileSync(path, encodeGguf(model));
  return path;
}

const sources: [string, () => string][] = [
  ["master weights", () => join(fixtures, "tiny")],
  ["packed weights, multiplied", () => join(fixtures, "tiny-packed")],
  ["packed weights, divided", () => join(directory, "llama-packed")],
  ["rows that are padded", () => join(directory, "older-bitnet")],
  ["neurons that were left out", () => ggufWithUnused("bitnet-b1.58", "I2_S")],
  ["rows that change places", () => ggufWithUnused("llama", "I2_S")],
];

test.each(sources)("%s: what was converted is what the source says", async (_, source) => {
  const output = join(directory, "sound.wf");
  await convertCheckpoint(source(), output, { replace: true });
  const { config, tensors } = await readPackedModel(output);
  const found = await verifyConversion(source(), output);
  expect(found.scales).toBe(7 * config.layers);
  const ternary = tensors.filter(({ dtype, name }) => dtype === "U8" && !name.startsWith("assets/"));
  // Rows are padded to whole blocks.
  expect(found.codes).toBeLessThanOrEqual(ternary.reduce((sum, { begin, end }) => sum + 4 * (end - begin), 0));
  expect(found.codes).toBeGreaterThan(0);
});

describe("a packed file that differs in one value is found out", () => {
  test.each([
    ["a code of q", "model.layers.0.self_attn.q_proj.weight", 5000],
    ["a code of a kept neuron", "model.layers.0.mlp.up_proj.weight", 700],
    ["a code of the down projection", "model.layers.0.mlp.down_proj.weight", 12345],
    ["a scale", "model.layers.0.mlp.gate_proj.weight_scale", 2],
    ["a norm", "model.layers.0.mlp.ffn_sub_norm.weight", 2],
    ["an embedding", "model.embed_tokens.weight", 4321],
  ])("%s", async (_, name, offset) => {
    const source = ggufWithUnused("bitnet-b1.58", "I2_S");
    const output = join(directory, "damaged.wf");
    await convertCheckpoint(source, output, { replace: true });
    const { tensors } = await readPackedModel(output);
    const bytes = readFileSync(output);
    const at = (tensors.find((tensor) => tensor.name === name)?.begin as number) + offset;
    // One code for another one, or a small change of a number.
    const byte = bytes[at] as number;
    bytes[at] = name.endsWith("_proj.weight") ? (byte & ~3) | ((byte & 3) === 0 ? 1 : 0) : byte ^ 1;
    writeFileSync(output, bytes);
    expect(verifyConversion(source, output)).rejects.toThrow(`damaged.wf: tensor '${name.replace("_scale", "")}': `);
  });

  test("a model of other neurons", async () => {
    const [source, other] = [ggufWithUnused("bitnet-b1.58", "I2_S"), join(directory, "all.gguf")];
    writeFileSync(other, encodeGguf(ggufModel("bitnet-b1.58", "I2_S")));
    const output = join(directory, "other.wf");
    await convertCheckpoint(source, output);
    expect(verifyConversion(other, output)).rejects.toThrow("gate_proj.weight': it has 416 rows, not 512");
  });
});

test("convert --verify says how much it compared", () => {
  const output = join(directory, "tiny.wf");
  const { exitCode, stdout } = runCommandLine(["convert", join(fixtures, "tiny"), output, "--verify"]);
  expect(exitCode).toBe(0);
  expect(stdout).toContain("verified: 3932160 codes, 35 scales and 532224 other values are those of the source\n");
});

test("convert --dry-run says sizes and writes nothing", async () => {
  const source = join(fixtures, "tiny");
  const { exitCode, stdout } = runCommandLine(["convert", source, "--dry-run"]);
  expect(exitCode).toBe(0);
  expect(stdout).toContain("architecture          BitNetForCausalLM\n");
  const { bytes } = await readPackedModel(join(directory, "tiny.wf"));
  expect(stdout).toContain(`packed file           at most ${(bytes / 1e6).toFixed(2)} MB\n`);
  const output = join(directory, "none.wf");
  expect(runCommandLine(["convert", source, output, "--dry-run"]).stdout).toBe(stdout);
  expect(existsSync(output)).toBe(false);
});
