/**
 * Descriptions of families that are wrong, or that speak of what is not supported: a model that would be computed otherwise than it was
 * trained is refused, by the name of the key or the tensor. Each is a sound checkpoint in which one thing was changed.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "../convert/formats.ts";
import { openByteSource } from "../src/model_file/byte_source.ts";
import { readGgufHeader } from "../src/model_file/gguf.ts";
import { smallArcee } from "./support/arcee_reference.ts";
import { unpackFixtures } from "./support/archive.ts";
import { writeHuggingFaceWeights } from "./support/gguf_as_hugging_face.ts";
import { floatList, type TypeName, typeIds } from "./support/gguf_model.ts";
import { smallMaple } from "./support/maple_reference.ts";
import { type LooseJson, writeCheckpoint } from "./support/small_checkpoint.ts";
import {
  encodeGguf,
  type GgufEntry,
  type MemoryGguf,
  type MemoryGgufTensor,
  valueTypes,
} from "./support/small_gguf.ts";

let directory: string;

/** The fixtures, each with the file that has its weights. */
const files: Record<string, string> = {
  mixtral: "mixtral.Q2_0-g128.gguf",
  qwen3moe: "qwen3moe.Q2_0-g128.gguf",
  minicpm: "minicpm.TQ2_0.gguf",
  "bonsai-g128": "bonsai.PQ2_0.gguf",
  "embedding-qwen3": "embedding-qwen3.I2_S.gguf",
  "embedding-gemma3": "embedding-gemma3.I2_S.gguf",
};

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wrinklefree-hostile-families-"));
  for (const archive of ["mixtures", "minicpm", "bonsai", "embeddings"]) await unpackFixtures(archive, directory);
  for (const [name, file] of Object.entries(files)) {
    writeHuggingFaceWeights(join(directory, file), join(directory, name));
  }
  writeCheckpoint(join(directory, "maple"), smallMaple().checkpoint);
  writeCheckpoint(join(directory, "arcee"), smallArcee().checkpoint);
});

afterAll(() => rmSync(directory, { recursive: true }));

function expectRefusal(path: string, message: string): void {
  let found = "it was taken";
  try {
    openCheckpoint(path).close();
  } catch (error) {
    found = (error as Error).message;
  }
  expect(found).toStartWith(path);
  expect(found).toContain(message);
  expect(found).not.toContain("\n");
}

const factors = (value: number, count = 32) => new Array(count).fill(value);
const longRope = (change: object) => ({
  rope_scaling: {
    ...{ rope_type: "longrope", short_factor: factors(1), long_factor: factors(2) },
    original_max_position_embeddings: 64,
    ...change,
  },
});

test.each<[string, LooseJson, string]>([
  ["mixtral", { num_local_experts: 0 }, "num_local_experts is 0"],
  ["mixtral", { num_local_experts: undefined }, "it lacks num_local_experts"],
  ["mixtral", { num_local_experts: 1e9 }, "num_local_experts is 1000000000"],
  ["mixtral", { num_local_experts: 7 }, "block_sparse_moe.gate.weight': its shape is [6, 256]"],
  ["mixtral", { num_experts_per_tok: 7 }, "num_experts_per_tok is 7; a whole number from 1 to 6"],
  ["mixtral", { num_experts_per_tok: 0 }, "num_experts_per_tok is 0"],
  ["mixtral", { n_shared_experts: 1 }, "n_shared_experts is set"],
  ["mixtral", { intermediate_size: 100 }, "experts.0.w1.weight': its shape is [384, 256]"],
  ["mixtral", { sliding_window: 128 }, "sliding_window is set"],
  ["qwen3moe", { decoder_sparse_step: 2 }, "demands layers without experts"],
  ["qwen3moe", { mlp_only_layers: [0] }, "demands layers without experts"],
  ["qwen3moe", { mlp_only_layers: "0" }, "demands layers without experts"],
  ["qwen3moe", { norm_topk_prob: "yes" }, 'norm_topk_prob is "yes"'],
  ["qwen3moe", { moe_intermediate_size: 101 }, "intermediate_size is 101; an even number"],
  ["qwen3moe", { scoring_func: "sigmoid" }, 'scoring_func is "sigmoid"'],
  ["qwen3moe", { routed_scaling_factor: 2.5 }, "routed_scaling_factor is 2.5"],
  ["qwen3moe", { n_group: 4 }, "n_group is 4"],
  ["minicpm", { scale_emb: 0 }, "scale_emb is 0"],
  ["minicpm", { scale_depth: -1 }, "scale_depth is -1"],
  ["minicpm", { dim_model_base: "x" }, 'dim_model_base is "x"'],
  ["minicpm", { sparse_config: { kernel_size: 32 } }, "sparse_config is set"],
  ["minicpm", { rope_scaling: { rope_type: "dynamic", factor: 4 } }, 'the type "dynamic" is not supported'],
  ["minicpm", longRope({ long_factor: factors(2, 31) }), "long_factor has 31 numbers; 32 are needed"],
  ["minicpm", longRope({ long_factor: factors(0) }), "long_factor holds 0"],
  ["minicpm", longRope({ long_factor: undefined }), "lacks long_factor"],
  ["minicpm", longRope({ original_max_position_embeddings: 0 }), "original_max_position_embeddings is 0"],
  ["minicpm", longRope({ long_mscale: 1.2 }), "long_mscale is set"],
  ["bonsai-g128", { rope_scaling: { rope_type: "yarn" } }, "lacks factor"],
  ["bonsai-g128", { vocab_size: 2052 }, "model.embed_tokens.weight': its shape is [2051, 256]"],
  ["bonsai-g128", { head_dim: 128 }, "q_proj.weight': its shape is [384, 256]"],
  ["bonsai-g128", { architectures: ["LlamaForCausalLM"] }, "q_norm.weight': is no part of a LlamaForCausalLM"],
  ["embedding-qwen3", { num_hidden_layers: 3 }, "layers.2.input_layernorm.weight': missing"],
  ["embedding-qwen3", { num_hidden_layers: 1 }, "is no part of a Qwen3Model of 1 layer"],
  ["embedding-qwen3", { use_sliding_window: true, sliding_window: 64 }, "sliding_window is set"],
  ["embedding-gemma3", { attn_logit_softcapping: 50 }, "attn_logit_softcapping is set"],
  ["embedding-gemma3", { sliding_window: 0 }, "sliding_window is 0"],
  ["embedding-gemma3", { query_pre_attn_scalar: 0 }, "query_pre_attn_scalar is 0"],
  ["embedding-gemma3", { hidden_activation: "gelu" }, 'hidden_activation is "gelu"'],
  ["embedding-gemma3", { layer_types: "sliding_attention" }, "layer_types is no list"],
  ["embedding-gemma3", { rope_local_base_freq: -1 }, "rope_local_base_freq is -1"],
  ["maple", { partial_rotary_factor: 0.3 }, "0.3 of a head's 16 dimensions are no even number"],
  ["maple", { partial_rotary_factor: 1.5 }, "partial_rotary_factor is 1.5"],
  ["maple", { swiglu_limit: 0 }, "swiglu_limit is 0"],
  ["maple", { sliding_window: -1 }, "sliding_window is -1"],
  ["arcee", { mlp_bias: true }, "mlp_bias is true"],
  ["arcee", { hidden_act: "gelu" }, 'hidden_act is "gelu"'],
  ["arcee", { architectures: ["LlamaForCausalLM"] }, "mlp.gate_proj.weight': missing"],
])("%s with %j", (name, change, message) => {
  const path = join(directory, Bun.randomUUIDv7());
  cpSync(join(directory, name), path, { recursive: true });
  const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
  writeFileSync(join(path, "config.json"), JSON.stringify({ ...config, ...change }));
  expectRefusal(path, message);
});

describe("GGUF", () => {
  /** A file in memory, without its tokenizer. */
  function load(name: string): MemoryGguf {
    const file = openByteSource(join(directory, name));
    const header = readGgufHeader(file);
    const entryOf = (value: unknown): GgufEntry => {
      if (typeof value === "string") return { type: valueTypes.text, value };
      if (typeof value === "boolean") return { type: valueTypes.bool, value };
      const isCount = typeof value === "bigint" || Number.isInteger(value);
      return { type: isCount ? valueTypes.u32 : valueTypes.f32, value: value as number };
    };
    const own = [...header.metadata].filter(([key]) => !key.startsWith("tokenizer."));
    const tensors = header.tensors.map((tensor): [string, MemoryGgufTensor] => {
      const bytes = new Uint8Array(tensor.end - tensor.begin);
      file.read(tensor.begin, bytes);
      return [tensor.name, { typeId: typeIds[tensor.type as TypeName], shape: [...tensor.shape], bytes }];
    });
    file.close();
    return { metadata: new Map(own.map(([key, value]) => [key, entryOf(value)])), tensors: new Map(tensors) };
  }

  const whole = (value: number): GgufEntry => ({ type: valueTypes.u32, value });
  const float = (value: number): GgufEntry => ({ type: valueTypes.f32, value });
  const floats = (...values: number[]) => floatList(values);
  const set = (key: string, entry: GgufEntry) => (model: MemoryGguf) => void model.metadata.set(key, entry);
  const add = (name: string, tensor: MemoryGgufTensor) => (model: MemoryGguf) => void model.tensors.set(name, tensor);
  const drop = (name: string) => (model: MemoryGguf) => void model.tensors.delete(name);

  test.each(Object.values(files))("%s is sound", (file) => {
    const path = join(directory, `${Bun.randomUUIDv7()}.gguf`);
    writeFileSync(path, encodeGguf(load(file)));
    openCheckpoint(path).close();
  });

  test.each<[string, string, (model: MemoryGguf) => void, string]>([
    ["qwen3moe", "sigmoids", set("qwen3moe.expert_gating_func", whole(2)), "expert_gating_func is 2"],
    ["qwen3moe", "scaled shares", set("qwen3moe.expert_weights_scale", float(2)), "expert_weights_scale is 2"],
    ["qwen3moe", "more than there are", set("qwen3moe.expert_used_count", whole(9)), "expert_used_count is 9"],
    [
      "qwen3moe",
      "other experts",
      set("qwen3moe.expert_count", whole(5)),
      "ffn_gate_inp.weight': its shape is [6, 256]",
    ],
    ["qwen3moe", "no experts", set("qwen3moe.expert_count", whole(0)), "blk.0.ffn_gate.weight': missing"],
    ["qwen3moe", "biases", add("blk.0.exp_probs_b.bias", floats(1, 1, 1, 1, 1, 1)), "exp_probs_b.bias': is no part of"],
    ["qwen3moe", "shared experts", set("qwen3moe.expert_shared_count", whole(1)), "expert_shared_count is 1"],
    ["qwen3moe", "dense layers", set("qwen3moe.leading_dense_block_count", whole(1)), "leading_dense_block_count is 1"],
    ["qwen3moe", "no router", drop("blk.1.ffn_gate_inp.weight"), "blk.1.ffn_gate_inp.weight': missing"],
    ["qwen3moe", "part of a head", set("qwen3moe.rope.dimension_count", whole(32)), "rope.dimension_count is 32"],
    ["bonsai-g128", "a rotated basis", set("prism.hadamard.seed", whole(1)), "weights in a rotated basis"],
    [
      "bonsai-g128",
      "values of another size",
      set("qwen3.attention.value_length", whole(32)),
      "attention.value_length 32",
    ],
    ["bonsai-g128", "a window", set("qwen3.attention.sliding_window", whole(64)), "attention.sliding_window is 64"],
    ["bonsai-g128", "half of YaRN", set("qwen3.rope.scaling.yarn_ext_factor", float(0.5)), "yarn_ext_factor is 0.5"],
    [
      "bonsai-g128",
      "another magnitude",
      set("qwen3.rope.scaling.yarn_log_multiplier", float(0.5)),
      "yarn_log_multiplier is 0.5",
    ],
    ["minicpm", "a scale of zero", set("minicpm.embedding_scale", float(0)), "embedding_scale is 0"],
    ["minicpm", "a scale that is none", set("minicpm.logit_scale", float(Number.NaN)), "logit_scale is"],
    [
      "minicpm",
      "long divisors alone",
      add("rope_factors_long.weight", floats(...factors(2))),
      "it has rope_factors_long.weight without rope_factors_short.weight",
    ],
    [
      "minicpm",
      "divisors of zero",
      add("rope_factors_short.weight", floats(...factors(0))),
      "rope_factors_short.weight is 0",
    ],
    ["minicpm", "too few divisors", add("rope_factors_short.weight", floats(1, 2)), "it is F32 [2], not F32 [32]"],
    ["embedding-gemma3", "soft caps", set("gemma3.attn_logit_softcapping", float(50)), "attn_logit_softcapping is 50"],
    [
      "embedding-gemma3",
      "a norm too few",
      drop("blk.3.ffn_up_norm_in.weight"),
      "blk.3.ffn_up_norm_in.weight': missing",
    ],
    [
      "embedding-gemma3",
      "norms without the first",
      drop("blk.0.attn_q_norm_in.weight"),
      "norm_in.weight': is no part of",
    ],
    ["embedding-qwen3", "a layer behind it", add("dense_2.weight", floats(1, 2)), "dense_2.weight': is no part of"],
  ])("%s: %s", (name, _, change, message) => {
    const model = load(files[name] as string);
    change(model);
    const path = join(directory, `${Bun.randomUUIDv7()}.gguf`);
    writeFileSync(path, encodeGguf(model));
    expectRefusal(path, message);
  });
});
