/**
 * Writes a model of any size with random weights, as a Hugging Face checkpoint or in another format that converts:
 * `bun tests/tools/random-checkpoint.ts DIRECTORY [options]`.
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
import { ggufTensorName, typeIds } from "../support/gguf_model.ts";
import { randomNumbers } from "../support/random_numbers.ts";
import { encodeGgufHeader, type GgufEntry, valueTypes } from "../support/small_gguf.ts";

/** Bytes of the block that is repeated. A prime number of bf16 values, so that no row of a matrix equals another. */
const BLOCK_BYTES = 2 * 4194301;

/** The standard deviation of the weights. */
const DEVIATION = 0.02;

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

/** bf16 values that are ternary already: −s, 0 and s. */
function ternaryBlock(): Uint8Array {
  const random = randomNumbers(3);
  const values = [0xbc00, 0, 0x3c00];
  const bits = Uint16Array.from({ length: BLOCK_BYTES / 2 }, () => values[Math.floor(3 * random())] as number);
  return new Uint8Array(bits.buffer);
}

/** Whole blocks of a type of GGUF, each with the same scale. */
function ggufBlock(type: GgufForm): Uint8Array {
  if (type === "I2_S") return codeBlock();
  if (type === "F16") return ternaryBlock();
  const random = randomNumbers(4);
  const size = type === "TQ1_0" ? 54 : 66;
  const codes = codeBlock();
  // A prime number of blocks.
  const bytes = new Uint8Array(size * 100003);
  for (let at = 0; at < bytes.length; at += size) {
    for (let index = 0; index < size - 2; index++) {
      bytes[at + index] = type === "TQ1_0" ? Math.floor(256 * random()) : (codes[at + index] as number);
    }
    bytes.set([0x1f, 0x25], at + size - 2);
  }
  return bytes;
}

/** What a tensor is filled with. */
type Filling = "random" | "ones" | "codes" | "scale";

function planTensors(config: ModelConfig, dtype: string): { plan: TensorPlan; filling: Filling }[] {
  const packed = dtype === "packed";
  const planned: { plan: TensorPlan; filling: Filling }[] = [];
  for (const { name, kind, source } of packedLayout(config, new Map())) {
    if (source === null || (kind === "scale" && !packed)) continue;
    const { rows, columns } = source;
    if (kind === "norm") planned.push({ plan: { name, dtype: "BF16", shape: [columns] }, filling: "ones" });
    else if (kind === "scale") planned.push({ plan: { name, dtype: "F32", shape: [1] }, filling: "scale" });
    else if (kind === "ternary" && packed) {
      planned.push({ plan: { name, dtype: "U8", shape: [rows / 4, columns] }, filling: "codes" });
    } else {
      const filling = kind === "ternary" && dtype === "values" ? "codes" : "random";
      planned.push({ plan: { name, dtype: "BF16", shape: [rows, columns] }, filling });
    }
  }
  return planned;
}

function writeTensors(path: string, config: ModelConfig, dtype: string): void {
  const planned = planTensors(config, dtype);
  const header = encodeSafetensorsHeader(
    { format: "pt" },
    planned.map((tensor) => tensor.plan),
    8,
  );
  const random = normalBlock();
  const codes = dtype === "packed" ? codeBlock() : ternaryBlock();
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
    else start = repeat(write, filling === "codes" ? codes : random, size, start);
  }
  closeSync(descriptor);
}

/** Writes `size` bytes of a block that is repeated, from a place in it on. Returns where the next tensor goes on. */
function repeat(write: (bytes: Uint8Array) => void, block: Uint8Array, size: number, start: number): number {
  let at = start;
  for (let left = size; left > 0; ) {
    const piece = block.subarray(at, Math.min(block.length, at + left));
    write(piece);
    left -= piece.length;
    at = (at + piece.length) % block.length;
  }
  return at;
}

/** The types of GGUF that ternary matrices can have here. */
const ggufForms = ["I2_S", "TQ1_0", "TQ2_0", "F16"] as const;
type GgufForm = (typeof ggufForms)[number];

/** Writes a model as one GGUF file, with embeddings of the type F16 and the demo's tokenizer left out. */
function writeGguf(path: string, config: ModelConfig, type: GgufForm): void {
  const architecture = config.activation === "relu2" ? "bitnet-b1.58" : config.subNorms ? "bitnet" : "llama";
  const number = (key: string, value: number, kind: number = valueTypes.u32): [string, GgufEntry] => [
    `${architecture}.${key}`,
    { type: kind, value },
  ];
  const metadata = new Map<string, GgufEntry>([
    ["general.architecture", { type: valueTypes.text, value: architecture }],
    number("context_length", config.context),
    number("embedding_length", config.hiddenSize),
    number("block_count", config.layers),
    number("feed_forward_length", config.intermediateSize),
    number("attention.head_count", config.heads),
    number("attention.head_count_kv", config.kvHeads),
    number("attention.key_length", config.headDim),
    number("attention.value_length", config.headDim),
    number("attention.layer_norm_rms_epsilon", config.rmsNormEps, valueTypes.f32),
    number("rope.freq_base", config.ropeTheta, valueTypes.f32),
  ]);
  const blockBytes = { I2_S: 32 / 128, TQ1_0: 54 / 256, TQ2_0: 66 / 256, F16: 2 }[type];
  const tensors = planTensors(config, "values").map(({ plan: { name, shape }, filling }) => {
    const weights = shape.reduce((product, size) => product * size, 1);
    const kind = filling === "codes" ? type : filling === "ones" ? "F32" : "F16";
    const size =
      kind === "F32" ? 4 * weights : kind === type ? weights * blockBytes + (type === "I2_S" ? 32 : 0) : 2 * weights;
    return { name: ggufTensorName(name), typeId: typeIds[kind], shape, size, filling };
  });
  const descriptor = openSync(path, "w");
  const write = (bytes: Uint8Array) => {
    for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written);
  };
  write(
    encodeGgufHeader(
      { metadata },
      tensors.map(({ name, ...tensor }) => [name, tensor]),
    ),
  );
  const [random, codes] = [normalBlock(), ggufBlock(type)];
  let [randomAt, codesAt] = [0, 0];
  for (const { size, filling } of tensors) {
    if (filling === "ones") write(new Uint8Array(new Float32Array(size / 4).fill(1).buffer));
    else if (filling === "random") randomAt = repeat(write, random, size, randomAt);
    else if (type === "I2_S") {
      codesAt = repeat(write, codes, size - 32, codesAt);
      write(new Uint8Array(new Float32Array(8).fill(DEVIATION).buffer));
    } else codesAt = repeat(write, codes, size, codesAt);
    write(new Uint8Array(-size & 31));
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

function writeConfig(directory: string, config: ModelConfig, dtype: string): void {
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
    quantization_config: { ...quantization, quantization_mode: dtype === "packed" ? "offline" : "online" },
  };
  writeFileSync(join(directory, "config.json"), `${JSON.stringify(text, null, 1)}\n`);
}

const forms = ["bf16", "values", "packed", ...ggufForms];
const usage = `usage: bun tests/tools/random-checkpoint.ts DIRECTORY [--shape ${Object.keys(shapes).join("|")}] [--dtype ${forms.join("|")}] [--layers N]`;
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
if (directory === undefined || shape === undefined || !layers || !forms.includes(values.dtype)) {
  console.error(usage);
  process.exit(2);
}
const config: ModelConfig = { ...shape, layers, bosTokenId: 2040, eosTokenIds: [2041, 2044] };
const ggufForm = ggufForms.find((form) => form === values.dtype);
mkdirSync(directory, { recursive: true });
if (ggufForm !== undefined) writeGguf(join(directory, "model.gguf"), config, ggufForm);
else {
  writeConfig(directory, config, values.dtype);
  writeTokenizer(directory, config.vocabSize);
  writeTensors(join(directory, "model.safetensors"), config, values.dtype);
}
