/**
 * Writes a Hugging Face checkpoint of any size with random weights: `bun tests/tools/random-checkpoint.ts DIRECTORY [options]`.
 * It is for measuring time and memory at the sizes of real models, so it is fast rather than random: one block of numbers is
 * drawn and repeated, from another place for each tensor. The tokenizer is that of the tiny fixture, filled up with words that
 * no text contains.
 */

import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packedLayout } from "../../src/model_file/layout.ts";
import type { ModelConfig } from "../../src/model_file/model_config.ts";
import { encodeSafetensorsHeader, type TensorPlan, tensorBytes } from "../../src/model_file/safetensors.ts";
import { shapes } from "../../src/model_file/shapes.ts";

/** Bytes of the block that is repeated. A prime number of bf16 values, so that no row of a matrix equals another. */
const BLOCK_BYTES = 2 * 4194301;

/** The standard deviation of the weights. */
const DEVIATION = 0.02;

/** A generator whose numbers are the same on every machine: mulberry32. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Normally distributed bf16 values. */
function normalBlock(): Uint8Array {
  const random = randomNumbers(1);
  const values = new Float32Array(BLOCK_BYTES / 2);
  for (let index = 0; index < values.length; index++) {
    const radius = DEVIATION * Math.sqrt(-2 * Math.log(1 - random()));
    values[index] = radius * Math.cos(2 * Math.PI * random());
  }
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);
}

/** Bytes of four codes from 0 to 2 each. */
function codeBlock(): Uint8Array {
  const random = randomNumbers(2);
  const code = () => Math.floor(3 * random());
  return Uint8Array.from({ length: BLOCK_BYTES }, () => code() | (code() << 2) | (code() << 4) | (code() << 6));
}

/** What a tensor is filled with. */
type Filling = "random" | "ones" | "codes" | "scale";

function planTensors(config: ModelConfig, packed: boolean): { plan: TensorPlan; filling: Filling }[] {
  const planned: { plan: TensorPlan; filling: Filling }[] = [];
  for (const { name, kind, source } of packedLayout(config, new Map())) {
    if (source === null || (kind === "scale" && !packed)) continue;
    const { rows, columns } = source;
    if (kind === "norm") planned.push({ plan: { name, dtype: "BF16", shape: [columns] }, filling: "ones" });
    else if (kind === "scale") planned.push({ plan: { name, dtype: "F32", shape: [1] }, filling: "scale" });
    else if (kind === "ternary" && packed) {
      planned.push({ plan: { name, dtype: "U8", shape: [rows / 4, columns] }, filling: "codes" });
    } else planned.push({ plan: { name, dtype: "BF16", shape: [rows, columns] }, filling: "random" });
  }
  return planned;
}

function writeTensors(path: string, config: ModelConfig, packed: boolean): void {
  const planned = planTensors(config, packed);
  const header = encodeSafetensorsHeader(
    { format: "pt" },
    planned.map((tensor) => tensor.plan),
    8,
  );
  const random = normalBlock();
  const codes = packed ? codeBlock() : new Uint8Array();
  const descriptor = openSync(path, "w");
  const write = (bytes: Uint8Array) => {
    for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written);
  };
  write(header.bytes);
  let start = 0;
  for (const { plan, filling } of planned) {
    const size = tensorBytes(plan);
    if (filling === "ones") write(new Uint8Array(new Uint16Array(size / 2).fill(0x3f80).buffer));
    else if (filling === "scale") write(new Uint8Array(Float32Array.of(DEVIATION).buffer));
    else {
      const block = filling === "codes" ? codes : random;
      for (let left = size; left > 0; ) {
        const piece = block.subarray(start, Math.min(block.length, start + left));
        write(piece);
        left -= piece.length;
        start = (start + piece.length) % block.length;
      }
    }
  }
  closeSync(descriptor);
}

function writeTokenizer(directory: string, vocabSize: number): void {
  const fixture = join(import.meta.dir, "..", "fixtures", "tiny");
  for (const name of ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]) {
    writeFileSync(join(directory, name), readFileSync(join(fixture, name)));
  }
  const tokenizer = JSON.parse(readFileSync(join(fixture, "tokenizer.json"), "utf8"));
  for (let id = 2048; id < vocabSize; id++) tokenizer.model.vocab[`<filler ${id}>`] = id;
  writeFileSync(join(directory, "tokenizer.json"), JSON.stringify(tokenizer));
}

function writeConfig(directory: string, config: ModelConfig, packed: boolean): void {
  const multiply = config.architecture === "BitNetForCausalLM";
  const quantization = { quant_method: "bitnet", linear_class: multiply ? "autobitlinear" : "bitlinear" };
  const text = {
    architectures: [config.architecture],
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    hidden_act: config.activation,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    max_position_embeddings: config.context,
    tie_word_embeddings: config.tiedEmbeddings,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenIds,
    quantization_config: { ...quantization, quantization_mode: packed ? "offline" : "online" },
  };
  writeFileSync(join(directory, "config.json"), `${JSON.stringify(text, null, 1)}\n`);
}

const usage = `usage: bun tests/tools/random-checkpoint.ts DIRECTORY [--shape ${Object.keys(shapes).join("|")}] [--dtype bf16|packed] [--layers N]`;
const { values, positionals } = parseArgs({
  options: {
    shape: { type: "string", default: "2b-4t" },
    dtype: { type: "string", default: "bf16" },
    layers: { type: "string" },
  },
  allowPositionals: true,
});
const [directory] = positionals;
const shape = shapes[values.shape];
const layers = values.layers === undefined ? shape?.layers : Number(values.layers);
if (directory === undefined || shape === undefined || !layers || !["bf16", "packed"].includes(values.dtype)) {
  console.error(usage);
  process.exit(2);
}
const config: ModelConfig = { ...shape, layers, bosTokenId: 2040, eosTokenIds: [2041, 2044] };
const packed = values.dtype === "packed";
mkdirSync(directory, { recursive: true });
writeConfig(directory, config, packed);
writeTokenizer(directory, config.vocabSize);
writeTensors(join(directory, "model.safetensors"), config, packed);
