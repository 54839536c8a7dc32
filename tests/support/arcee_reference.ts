/**
 * Arcee by its own words, in double precision and with activations that are not rounded: a small model whose feed-forward has no gate, its
 * weights, ternary already, and its logits. It shares nothing with the engine or the converter.
 */

import { drawing } from "./gguf_model.ts";
import { encodeFloats, type MemoryCheckpoint, type MemoryTensor } from "./small_checkpoint.ts";

const shape = { vocabulary: 67, hidden: 64, heads: 4, kvHeads: 2, headDim: 16, layers: 3, neurons: 96 };
const EPSILON = 1e-5;

/** A model that was never trained, and what computes its logits: one row for each position. */
export function smallArcee(): { checkpoint: MemoryCheckpoint; logits: (ids: readonly number[]) => number[][] } {
  const random = drawing(13);
  const tensors = new Map<string, MemoryTensor>();
  const matrices = new Map<string, number[][]>();
  const { vocabulary, hidden, heads, kvHeads, headDim, layers, neurons } = shape;
  const add = (name: string, rows: number, columns: number, draw: () => number) => {
    const values = Float32Array.from({ length: rows * columns }, draw);
    const dimensions = name.includes("norm") ? [columns] : [rows, columns];
    tensors.set(name, { dtype: "F32", shape: dimensions, bytes: encodeFloats(values, "F32") });
    const row = (_: unknown, index: number) => [...values.subarray(index * columns, (index + 1) * columns)];
    matrices.set(name, Array.from({ length: rows }, row));
  };
  const ternary = (name: string, rows: number, columns: number) => {
    const scale = (0.5 + random()) / Math.sqrt(columns);
    add(name, rows, columns, () => (Math.floor(3 * random()) - 1) * scale);
  };
  const norm = (name: string) => add(name, 1, hidden, () => 0.75 + random() / 2);
  const plain = (name: string) => add(name, vocabulary, hidden, () => random() + random() + random() - 1.5);
  plain("model.embed_tokens.weight");
  plain("lm_head.weight");
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    norm(`${prefix}.input_layernorm.weight`);
    norm(`${prefix}.post_attention_layernorm.weight`);
    ternary(`${prefix}.self_attn.q_proj.weight`, heads * headDim, hidden);
    ternary(`${prefix}.self_attn.k_proj.weight`, kvHeads * headDim, hidden);
    ternary(`${prefix}.self_attn.v_proj.weight`, kvHeads * headDim, hidden);
    ternary(`${prefix}.self_attn.o_proj.weight`, hidden, heads * headDim);
    ternary(`${prefix}.mlp.up_proj.weight`, neurons, hidden);
    ternary(`${prefix}.mlp.down_proj.weight`, hidden, neurons);
  }
  norm("model.norm.weight");
  const config = {
    architectures: ["ArceeForCausalLM"],
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: neurons,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    hidden_act: "relu2",
    max_position_embeddings: 64,
    rms_norm_eps: EPSILON,
    rope_theta: 10000,
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
    eos_token_id: 2,
  };
  return { checkpoint: { config, tensors, files: new Map() }, logits: (ids) => compute(matrices, ids) };
}

function compute(matrices: Map<string, number[][]>, ids: readonly number[]): number[][] {
  const { heads, kvHeads, headDim, layers } = shape;
  const of = (name: string) => matrices.get(name) as number[][];
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, index) => sum + value * (b[index] as number), 0);
  const times = (name: string, x: number[]) => of(name).map((row) => dot(row, x));
  const added = (a: number[], b: number[]) => a.map((value, index) => value + (b[index] as number));
  const normed = (x: number[], name: string) => {
    const root = Math.sqrt(dot(x, x) / x.length + EPSILON);
    return x.map((value, index) => (value / root) * (of(name)[0]?.[index] as number));
  };
  /** The heads of a projection, each turned by its token's position. */
  const headsOf = (x: number[], position: number, isTurned: boolean) =>
    Array.from({ length: x.length / headDim }, (_, index) => {
      const head = x.slice(index * headDim, (index + 1) * headDim);
      if (!isTurned) return head;
      const half = headDim / 2;
      return head.map((value, d) => {
        const angle = position * 10000 ** (-(d % half) / half);
        const other = head[(d + half) % headDim] as number;
        return value * Math.cos(angle) + (d < half ? -other : other) * Math.sin(angle);
      });
    });
  let states = ids.map((id) => [...(of("model.embed_tokens.weight")[id] as number[])]);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const inputs = states.map((state) => normed(state, `${prefix}.input_layernorm.weight`));
    const project = (name: string, isTurned: boolean) =>
      inputs.map((x, at) => headsOf(times(`${prefix}.self_attn.${name}_proj.weight`, x), at, isTurned));
    const [queries, keys, values] = [project("q", true), project("k", true), project("v", false)];
    states = states.map((state, at) => {
      const attended = (queries[at] as number[][]).flatMap((query, head) => {
        const shared = Math.floor(head / (heads / kvHeads));
        const weights = keys
          .slice(0, at + 1)
          .map((key) => Math.exp(dot(query, key[shared] as number[]) / Math.sqrt(headDim)));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const sum = (d: number) =>
          weights.reduce((all, weight, other) => all + weight * (values[other]?.[shared]?.[d] as number), 0);
        return Array.from({ length: headDim }, (_, d) => sum(d) / total);
      });
      return added(state, times(`${prefix}.self_attn.o_proj.weight`, attended));
    });
    states = states.map((state) => {
      const x = normed(state, `${prefix}.post_attention_layernorm.weight`);
      const neurons = times(`${prefix}.mlp.up_proj.weight`, x).map((value) => Math.max(0, value) ** 2);
      return added(state, times(`${prefix}.mlp.down_proj.weight`, neurons));
    });
  }
  return states.map((state) => times("lm_head.weight", normed(state, "model.norm.weight")));
}
