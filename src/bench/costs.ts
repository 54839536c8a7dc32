/** What a step of a model costs, counted from its configuration: bytes that must come from memory, and 8-bit multiply-adds. */

import { type KvKind, kvTokenBytes } from "../engine/engine.ts";
import { screenedRowBytes } from "../engine/library.ts";
import { BLOCK_WEIGHTS } from "../engine/symbols.ts";
import { groupedRowBytes, type LayoutEntry, packedLayout } from "../model_file/layout.ts";
import { type ModelConfig, vocabularyGroup } from "../model_file/model_config.ts";
import { tensorBytes } from "../model_file/safetensors.ts";

/** The costs of a model, whatever the batch. */
export interface Costs {
  /** Bytes of all ternary rows, with the scales of their groups: every step reads them once; of experts those of one token. */
  ternaryBytes: number;
  /**
   * Bytes of the head's sketch, or of a ternary head: a step that gives greedy tokens reads them once, and of a head with a sketch a few
   * rows. 0 for a model that gives embeddings, no tokens.
   */
  headBytes: number;
  /** Bytes of keys and values for one position that a token sees. */
  positionBytes: number;
  /** 8-bit multiply-adds of one token, the padding of rows included. The head and attention compute with floats. */
  multiplyAdds: number;
}

/** Counts them. */
export function modelCosts(config: ModelConfig, kvKind: KvKind): Costs {
  const layout = packedLayout(config, new Map());
  const matrices = layout.filter(({ kind, name }) => kind === "ternary" && name.startsWith("model.layers."));
  const weights = matrices.map(({ source }) => {
    const { rows, columns } = source as { rows: number; columns: number };
    return rows * Math.ceil(columns / BLOCK_WEIGHTS) * BLOCK_WEIGHTS;
  });
  // Of experts, a token has a part.
  const share = ({ experts }: LayoutEntry) => (experts === undefined ? 1 : (config.expertsUsed as number) / experts);
  const isTernaryHead = config.tiedEmbeddings ? config.ternaryEmbedding : config.ternaryHead;
  const headRowBytes = isTernaryHead
    ? groupedRowBytes(config.hiddenSize, vocabularyGroup(config))
    : screenedRowBytes(config.hiddenSize);
  return {
    ternaryBytes: matrices.reduce((sum, tensor) => sum + tensorBytes(tensor) * share(tensor), 0),
    headBytes: config.pooling === undefined ? config.vocabSize * headRowBytes : 0,
    positionBytes: kvTokenBytes(config, kvKind),
    multiplyAdds: matrices.reduce((sum, tensor, index) => sum + (weights[index] as number) * share(tensor), 0),
  };
}
