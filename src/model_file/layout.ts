/**
 * The tensors of a packed file, in their order: the one place in TypeScript that knows which tensors a configuration demands and
 * what shape each has. The converter writes this list, the reader of packed files demands it, and the inspector prints it.
 *
 * Every tensor's size is a multiple of 64 bytes, so that each begins at a multiple of 64 with no gap in between: norms are padded
 * with zeros to a multiple of 16 elements, assets with NUL bytes, embeddings with rows of zeros, as are the last panels of matrices
 * that are scaled by groups.
 */

import { ALIGNMENT, BLOCK_BYTES, BLOCK_WEIGHTS, PANEL_ROWS } from "../engine/symbols.ts";
import { type ModelConfig, scaleGroup, vocabularyGroup } from "./model_config.ts";
import type { Dtype } from "./safetensors.ts";

/** The files of a checkpoint that travel inside the packed file as `assets/<name>`, in this order. */
export const assetNames = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "chat_template.jinja",
  "additional_chat_templates/tool_use.jinja",
  "chat_template.json",
  "config.json",
] as const;

/** What a model that was trained to fill in masks says of them, and what sentence-transformers says of a model that gives embeddings. */
export const MASK_NAME = "dlm_config.json";
export const MODULES_NAME = "modules.json";
export const POOLING_NAME = "1_Pooling/config.json";

/** Small files that decide what is made of a checkpoint, but do not travel inside its packed file: their paths in its directory. */
export const descriptionNames: readonly string[] = [MASK_NAME, MODULES_NAME, POOLING_NAME];

/** Parts of a router's weights: each is the sum of so many bf16. */
export const ROUTER_PARTS = 3;

/** Most bytes of one of them: a tokenizer.json of a vocabulary of 256 thousand tokens has about 20 MB. */
export const ASSET_BYTES_MAX = 256 * 1024 * 1024;

/** One tensor of the packed file and what it holds. */
export interface LayoutEntry {
  name: string;
  dtype: Dtype;
  shape: number[];
  /** What the source has under the same name: rows × columns, or one row for a norm; null for assets. */
  source: { rows: number; columns: number } | null;
  kind: "embedding" | "router" | "norm" | "ternary" | "scale" | "asset";
  /** How many matrices of equal size lie behind each other, their rows counted together: those of all experts. */
  experts?: number;
  /** Inputs that share a scale, where rows lie in panels. */
  group?: number;
}

/** Bytes of one packed row. */
export function packedRowBytes(columns: number): number {
  return Math.ceil(columns / BLOCK_WEIGHTS) * BLOCK_BYTES;
}

/** Bytes of one packed row with the scales of its groups: a half for each of its whole blocks', padded to an even number. */
export function groupedRowBytes(columns: number, group: number): number {
  return packedRowBytes(columns) + 2 * roundUp(roundUp(columns, BLOCK_WEIGHTS) / group, 2);
}

/** Rows of a matrix whose weights are scaled by groups, with those that fill up its last panel. */
export function panelRows(rows: number): number {
  return roundUp(rows, PANEL_ROWS);
}

/**
 * The tensors of a packed file.
 *
 * @param assets the size in bytes of each asset, before padding
 */
export function packedLayout(config: ModelConfig, assets: Map<string, number>): LayoutEntry[] {
  const { vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const entries: LayoutEntry[] = [];
  const group = scaleGroup(config);
  const embedding = (name: string, isTernary = false) => {
    if (isTernary) {
      const [rows, columns] = [vocabSize, hiddenSize];
      const rowBytes = groupedRowBytes(columns, vocabularyGroup(config));
      const shape = [panelRows(rows), rowBytes];
      entries.push({
        name,
        dtype: "U8",
        shape,
        source: { rows, columns },
        kind: "ternary",
        group: vocabularyGroup(config),
      });
      return;
    }
    const shape = [paddedRows(vocabSize, hiddenSize * 2), hiddenSize];
    entries.push({ name, dtype: "BF16", shape, source: { rows: vocabSize, columns: hiddenSize }, kind: "embedding" });
  };
  const norm = (name: string, size: number) => {
    entries.push({ name, dtype: "F32", shape: [roundUp(size, 16)], source: { rows: 1, columns: size }, kind: "norm" });
  };
  const linear = (name: string, rowsOfOne: number, columns: number, experts?: number) => {
    const rows = rowsOfOne * (experts ?? 1);
    const shape =
      group === undefined
        ? [rows, packedRowBytes(columns)]
        : [panelRows(rowsOfOne) * (experts ?? 1), groupedRowBytes(columns, group)];
    const source = { rows, columns };
    entries.push({
      ...{ name: `${name}.weight`, dtype: "U8", shape, source, kind: "ternary" },
      ...(group === undefined ? {} : { group }),
      ...(experts === undefined ? {} : { experts }),
    });
    const [scales, count] = config.scales === "row" ? ["row_scales", rows] : ["weight_scale", experts ?? 1];
    entries.push({
      name: `${name}.${scales}`,
      dtype: "F32",
      shape: [roundUp(count, 16)],
      source: { rows: 1, columns: count },
      kind: "scale",
    });
    if (config.inputNorms) norm(`${name}.norm.weight`, columns);
  };

  embedding("model.embed_tokens.weight", config.ternaryEmbedding);
  if (!config.tiedEmbeddings) embedding("lm_head.weight", config.ternaryHead);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    norm(`${prefix}.input_layernorm.weight`, hiddenSize);
    linear(`${prefix}.self_attn.q_proj`, heads * headDim, hiddenSize);
    linear(`${prefix}.self_attn.k_proj`, kvHeads * headDim, hiddenSize);
    linear(`${prefix}.self_attn.v_proj`, kvHeads * headDim, hiddenSize);
    if (config.qkNorms) for (const name of ["q_norm", "k_norm"]) norm(`${prefix}.self_attn.${name}.weight`, headDim);
    if (config.subNorms) norm(`${prefix}.self_attn.attn_sub_norm.weight`, heads * headDim);
    linear(`${prefix}.self_attn.o_proj`, hiddenSize, heads * headDim);
    if (config.postNorms) norm(`${prefix}.attention_post_norm.weight`, hiddenSize);
    const neurons = config.ffnNeurons?.[layer] ?? intermediateSize;
    norm(`${prefix}.post_attention_layernorm.weight`, hiddenSize);
    const { experts } = config;
    if (experts !== undefined) {
      if (config.router !== "identity") {
        // A float is the sum of three bf16.
        entries.push({
          name: `${prefix}.mlp.router.weight`,
          dtype: "BF16",
          shape: [paddedRows(ROUTER_PARTS * experts, hiddenSize * 2), hiddenSize],
          source: { rows: experts, columns: hiddenSize },
          kind: "router",
        });
      }
      linear(`${prefix}.mlp.experts.gate_proj`, intermediateSize, hiddenSize, experts);
      linear(`${prefix}.mlp.experts.up_proj`, intermediateSize, hiddenSize, experts);
      linear(`${prefix}.mlp.experts.down_proj`, hiddenSize, intermediateSize, experts);
      if (config.postNorms) norm(`${prefix}.ffn_post_norm.weight`, hiddenSize);
      continue;
    }
    if (config.gated !== false) linear(`${prefix}.mlp.gate_proj`, neurons, hiddenSize);
    linear(`${prefix}.mlp.up_proj`, neurons, hiddenSize);
    if (config.subNorms) norm(`${prefix}.mlp.ffn_sub_norm.weight`, neurons);
    linear(`${prefix}.mlp.down_proj`, hiddenSize, neurons);
    if (config.postNorms) norm(`${prefix}.ffn_post_norm.weight`, hiddenSize);
  }
  norm("model.norm.weight", hiddenSize);
  for (const name of assetNames) {
    const size = assets.get(name);
    if (size === undefined || size === 0) continue;
    entries.push({
      name: `assets/${name}`,
      dtype: "U8",
      shape: [roundUp(size, ALIGNMENT)],
      source: null,
      kind: "asset",
    });
  }
  return entries;
}

/** The least number of rows, at least `rows`, whose bytes together are a multiple of the alignment. */
function paddedRows(rows: number, rowBytes: number): number {
  let padded = rows;
  while ((padded * rowBytes) % ALIGNMENT !== 0) padded++;
  return padded;
}

/** The least multiple of `unit` that is not below `size`. */
function roundUp(size: number, unit: number): number {
  return Math.ceil(size / unit) * unit;
}
