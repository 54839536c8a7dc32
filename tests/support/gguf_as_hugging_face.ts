/**
 * The Hugging Face directory that a GGUF file of ternary weights was made from: each weight is its code times its scale, in half precision
 * or, where scales are floats, in single. So the fixtures hold each model once, and both of its forms are read.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toFloat32 } from "../../convert/floats.ts";
import { codesOfBlocks, valuesOfBlocks } from "../../convert/plain_codes.ts";
import type { Encoding } from "../../convert/source_tensor.ts";
import { openByteSource } from "../../src/model_file/byte_source.ts";
import { type GgufTensor, readGgufHeader } from "../../src/model_file/gguf.ts";
import { encodeSafetensorsHeader } from "../../src/model_file/safetensors.ts";

/** Names: in the GGUF file, then in the directory. Patterns, the first that fits. */
const names: [RegExp, string][] = [
  [/^token_embd/, "model.embed_tokens"],
  [/^output_norm/, "model.norm"],
  [/^output\./, "lm_head."],
  [/^blk\.(\d+)\.attn_(q|k|v)_norm_in/, "model.layers.$1.self_attn.$2_proj.norm"],
  [/^blk\.(\d+)\.attn_output_norm_in/, "model.layers.$1.self_attn.o_proj.norm"],
  [/^blk\.(\d+)\.ffn_(gate|up|down)_norm_in/, "model.layers.$1.mlp.$2_proj.norm"],
  [/^blk\.(\d+)\.attn_(q|k)_norm/, "model.layers.$1.self_attn.$2_norm"],
  [/^blk\.(\d+)\.attn_(q|k|v)\./, "model.layers.$1.self_attn.$2_proj."],
  [/^blk\.(\d+)\.attn_output/, "model.layers.$1.self_attn.o_proj"],
  [/^blk\.(\d+)\.attn_norm/, "model.layers.$1.input_layernorm"],
  [/^blk\.(\d+)\.post_attention_norm/, "model.layers.$1.post_attention_layernorm"],
  [/^blk\.(\d+)\.post_ffw_norm/, "model.layers.$1.post_feedforward_layernorm"],
  [/^blk\.(\d+)\.ffn_norm/, "model.layers.$1.post_attention_layernorm"],
  [/^blk\.(\d+)\.ffn_gate_inp/, "model.layers.$1.mlp.gate"],
  [/^blk\.(\d+)\.ffn_(gate|up|down)_exps/, "model.layers.$1.mlp.experts.EXPERT.$2_proj"],
  [/^blk\.(\d+)\.ffn_(gate|up|down)/, "model.layers.$1.mlp.$2_proj"],
];

/** What Mixtral calls parts of an expert, and Gemma the norm before its feed-forward. */
const mixtral: [RegExp, string][] = [
  [/mlp\.(gate\.|experts)/, "block_sparse_moe.$1"],
  [/(block_sparse_moe.*)gate_proj/, "$1w1"],
  [/(block_sparse_moe.*)down_proj/, "$1w2"],
  [/(block_sparse_moe.*)up_proj/, "$1w3"],
];

/**
 * Writes the weights.
 *
 * @param gguf the file.
 * @param directory has config.json and the tokenizer.
 */
export function writeHuggingFaceWeights(gguf: string, directory: string): void {
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  const file = openByteSource(gguf);
  const { metadata, tensors } = readGgufHeader(file);
  const architecture = metadata.get("general.architecture") as string;
  const isInterleaved = architecture === "llama" || architecture === "minicpm";
  const headDim = metadata.get(`${architecture}.attention.key_length`) as number;
  const entries: { name: string; dtype: "F16" | "F32"; shape: number[]; bytes: Uint8Array }[] = [];
  for (const tensor of tensors) {
    const stored = new Uint8Array(tensor.end - tensor.begin);
    file.read(tensor.begin, stored);
    let values = valuesOf(tensor, stored);
    const columns = tensor.shape.at(-1) as number;
    if (isInterleaved && /attn_[qk]\.weight/.test(tensor.name)) values = halvesOfHeads(values, columns, headDim);
    // Gemma's own norms hold what is above 1.
    if (architecture === "gemma3" && /norm\./.test(tensor.name)) values = values.map((value) => value - 1);
    let name = huggingFaceName(tensor.name);
    if (architecture === "gemma3" && /ffn_norm/.test(tensor.name))
      name = name.replace("post_attention", "pre_feedforward");
    if (config.architectures[0] === "MixtralForCausalLM")
      for (const [from, to] of mixtral) name = name.replace(from, to);
    if (/Model$/.test(config.architectures[0])) name = name.replace("model.", "");
    const parts = tensor.shape.length === 3 ? (tensor.shape[0] as number) : 1;
    const size = values.length / parts;
    for (let part = 0; part < parts; part++) {
      const one = values.subarray(part * size, (part + 1) * size);
      const shape = parts === 1 ? tensor.shape : tensor.shape.slice(1);
      const dtype = tensor.type === "I2_S" || architecture === "gemma3" ? "F32" : "F16";
      const typed = dtype === "F32" ? Float32Array.from(one) : Float16Array.from(one);
      const bytes = new Uint8Array(typed.buffer);
      entries.push({ name: name.replace("EXPERT", String(part)), dtype, shape, bytes });
    }
  }
  file.close();
  const header = encodeSafetensorsHeader({ format: "pt" }, entries, 8);
  writeFileSync(
    join(directory, "model.safetensors"),
    Buffer.concat([header.bytes, ...entries.map(({ bytes }) => bytes)]),
  );
}

/** A tensor's name in a Hugging Face directory, from that in a GGUF file. */
export function huggingFaceName(theirs: string): string {
  for (const [pattern, ours] of names) if (pattern.test(theirs)) return theirs.replace(pattern, ours);
  throw new Error(`the tensor ${theirs} has no name in a Hugging Face directory`);
}

function valuesOf({ type, shape }: GgufTensor, stored: Uint8Array): Float32Array {
  const count = shape.reduce((product, size) => product * size, 1);
  if (type === "F32" || type === "F16") return toFloat32(stored, type).slice();
  if (type !== "I2_S") return valuesOfBlocks(stored, type as Encoding, count);
  const scale = new DataView(stored.buffer).getFloat32(count / 4, true);
  return Float32Array.from(codesOfBlocks(stored, "I2_S", count), (code) => (code - 1) * scale);
}

/** Rows of heads in which those that are rotated together are half a head apart, from rows in which they are neighbours. */
function halvesOfHeads(values: Float32Array, columns: number, headDim: number): Float32Array {
  const ordered = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const within = row % headDim;
    const place = row - within + (within % 2) * (headDim / 2) + Math.floor(within / 2);
    ordered.set(values.subarray(row * columns, (row + 1) * columns), place * columns);
  }
  return ordered;
}
