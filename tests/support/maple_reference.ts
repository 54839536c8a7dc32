/**
 * Maple by its own words, in double precision and with activations that are not rounded: a small model, its weights and its logits. It shares
 * nothing with the engine or the converter.
 */

import { drawing } from "./gguf_model.ts";
import { encodeFloats, type MemoryCheckpoint, type MemoryTensor } from "./small_checkpoint.ts";

const shape = {
  vocabulary: 67,
  hidden: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  layers: 4,
  experts: 5,
  used: 2,
  neurons: 32,
};
const WINDOW = 6;
const LIMIT = 0.8;
const EPSILON = 1e-6;

type Matrix = number[][];

/** A model that was never trained, and what computes its logits: one row for each position. */
export function smallMaple(): { checkpoint: MemoryCheckpoint; logits: (ids: readonly number[]) => number[][] } {
  const random = drawing(11);
  const tensors = new Map<string, MemoryTensor>();
  const matrices = new Map<string, Matrix>();
  const { vocabulary, hidden, heads, kvHeads, headDim, layers, experts, neurons } = shape;
  /** Values that F32 holds; ternary ones are remembered as they will be. */
  const add = (name: string, rows: number, columns: number, isTernary = false) => {
    const values = Float32Array.from({ length: rows * columns }, () => random() + random() + random() - 1.5);
    tensors.set(name, {
      dtype: "F32",
      shape: rows === 0 ? [columns] : [rows, columns],
      bytes: encodeFloats(values, "F32"),
    });
    const all = Array.from({ length: rows }, (_, row) => [...values.subarray(row * columns, (row + 1) * columns)]);
    matrices.set(name, isTernary ? all.map(ternary) : all);
  };
  const norm = (name: string, size: number) => {
    const values = Float32Array.from({ length: size }, () => 0.75 + random() / 2);
    tensors.set(name, { dtype: "F32", shape: [size], bytes: encodeFloats(values, "F32") });
    matrices.set(name, [[...values]]);
  };
  add("model.word_embeddings.weight", vocabulary, hidden);
  add("lm_head.weight", vocabulary, hidden);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    norm(`${prefix}.input_layernorm.weight`, hidden);
    norm(`${prefix}.post_attention_layernorm.weight`, hidden);
    norm(`${prefix}.self_attn.q_norm.weight`, headDim);
    norm(`${prefix}.self_attn.k_norm.weight`, headDim);
    add(`${prefix}.self_attn.q_proj.weight`, heads * headDim, hidden, true);
    add(`${prefix}.self_attn.k_proj.weight`, kvHeads * headDim, hidden, true);
    add(`${prefix}.self_attn.v_proj.weight`, kvHeads * headDim, hidden, true);
    add(`${prefix}.self_attn.o_proj.weight`, hidden, heads * headDim, true);
    add(`${prefix}.mlp.gate.weight`, experts, hidden);
    for (let expert = 0; expert < experts; expert++) {
      const place = `${prefix}.mlp.experts.${expert}`;
      add(`${place}.gate_proj.weight`, neurons, hidden, true);
      add(`${place}.up_proj.weight`, neurons, hidden, true);
      add(`${place}.down_proj.weight`, hidden, neurons, true);
    }
  }
  norm("model.norm.weight", hidden);
  const config = {
    architectures: ["MapleForCausalLM"],
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: neurons,
    moe_intermediate_size: neurons,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    max_position_embeddings: 64,
    rms_norm_eps: EPSILON,
    num_experts: experts,
    num_experts_per_tok: shape.used,
    sliding_window: WINDOW,
    swiglu_limit: LIMIT,
    tie_word_embeddings: false,
    eos_token_id: 2,
  };
  return { checkpoint: { config, tensors, files: new Map() }, logits: (ids) => compute(matrices, ids) };
}

/** A row's weights beyond 0.7 of their mean magnitude, as the mean magnitude of these. */
function ternary(row: number[]): number[] {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
  const threshold = 0.7 * mean(row);
  const scale = mean(row.filter((value) => Math.abs(value) > threshold));
  return row.map((value) => (Math.abs(value) > threshold ? Math.sign(value) * scale : 0));
}

function compute(matrices: Map<string, Matrix>, ids: readonly number[]): number[][] {
  const { heads, kvHeads, headDim, layers, experts, used } = shape;
  const of = (name: string) => matrices.get(name) as Matrix;
  const normed = (x: number[], name: string) => {
    const [weight] = of(name) as [number[]];
    const root = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + EPSILON);
    return x.map((value, index) => (value / root) * (weight[index] as number));
  };
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, index) => sum + value * (b[index] as number), 0);
  const times = (name: string, x: number[]) => of(name).map((row) => dot(row, x));
  const split = (x: number[]) =>
    Array.from({ length: x.length / headDim }, (_, head) => x.slice(head * headDim, (head + 1) * headDim));
  /** Turns the first half of a head, its dimensions in pairs a quarter of the head apart. */
  const rotated = (head: number[], position: number) => {
    const pairs = headDim / 4;
    return head.map((value, index) => {
      if (index >= 2 * pairs) return value;
      const angle = position * 10000 ** (-(index % pairs) / pairs);
      const other = head[(index + pairs) % (2 * pairs)] as number;
      return value * Math.cos(angle) + (index < pairs ? -other : other) * Math.sin(angle);
    });
  };
  let states = ids.map((id) => [...(of("model.word_embeddings.weight")[id] as number[])]);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const isSliding = layer % 4 !== 3;
    const turn = (head: number[], position: number) => (isSliding ? rotated(head, position) : head);
    const inputs = states.map((state) => normed(state, `${prefix}.input_layernorm.weight`));
    const project = (name: string) => inputs.map((x) => split(times(`${prefix}.self_attn.${name}_proj.weight`, x)));
    const queries = project("q").map((all, at) =>
      all.map((head) => turn(normed(head, `${prefix}.self_attn.q_norm.weight`), at)),
    );
    const keys = project("k").map((all, at) =>
      all.map((head) => turn(normed(head, `${prefix}.self_attn.k_norm.weight`), at)),
    );
    const values = project("v");
    const attended = queries.map((all, at) =>
      all.flatMap((query, head) => {
        const shared = Math.floor(head / (heads / kvHeads));
        const first = isSliding ? Math.max(0, at - WINDOW) : 0;
        const seen = Array.from({ length: at - first + 1 }, (_, index) => first + index);
        const weights = seen.map((other) =>
          Math.exp(dot(query, keys[other]?.[shared] as number[]) / Math.sqrt(headDim)),
        );
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        return Array.from({ length: headDim }, (_, d) =>
          seen.reduce(
            (sum, other, index) =>
              sum + ((weights[index] as number) / total) * (values[other]?.[shared]?.[d] as number),
            0,
          ),
        );
      }),
    );
    const added = (one: number[], other: number[]) => one.map((value, index) => value + (other[index] as number));
    states = states.map((state, at) =>
      added(state, times(`${prefix}.self_attn.o_proj.weight`, attended[at] as number[])),
    );
    states = states.map((state) => {
      const x = normed(state, `${prefix}.post_attention_layernorm.weight`);
      const shares = times(`${prefix}.mlp.gate.weight`, x).map(Math.exp);
      const chosen = shares.map((_, expert) => expert).sort((a, b) => (shares[b] as number) - (shares[a] as number));
      const total = chosen.slice(0, used).reduce((sum, expert) => sum + (shares[expert] as number), 0);
      return chosen.slice(0, used).reduce((sum, expert) => {
        const place = `${prefix}.mlp.experts.${expert}`;
        const up = times(`${place}.up_proj.weight`, x);
        const neurons = times(`${place}.gate_proj.weight`, x).map((value, index) => {
          const gate = Math.min(value, LIMIT);
          return (gate / (1 + Math.exp(-gate))) * Math.min(LIMIT, Math.max(-LIMIT, up[index] as number));
        });
        const share = (shares[expert] as number) / total;
        return added(
          sum,
          times(`${place}.down_proj.weight`, neurons).map((value) => value * share),
        );
      }, state);
    });
  }
  if (experts < used) throw new Error("there are too few experts");
  return states.map((state) => times("lm_head.weight", normed(state, "model.norm.weight")));
}
