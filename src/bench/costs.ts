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
  /** Bytes of keys and values of one position, in all layers. */
  positionBytes: number;
  /** Bytes of keys and values that `rows` tokens behind each other read, the last of which has so many positions, its own included. */
  attendedBytes(positions: number, rows: number): number;
  /** 8-bit multiply-adds of one token, the padding of rows included. The head and attention compute with floats. */
  multiplyAdds: number;
  /** Those of a token of a prompt or text that only others see: of the last layer, its key and value are all that is needed. */
  contextMultiplyAdds: number;
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
  const multiplyAddsOf = (wanted: (name: string) => boolean) =>
    matrices.reduce(
      (sum, tensor, index) => (wanted(tensor.name) ? sum + (weights[index] as number) * share(tensor) : sum),
      0,
    );
  const last = `model.layers.${config.layers - 1}.`;
  const isLeftOut = (name: string) => name.startsWith(last) && !/self_attn\.[qkv]_proj/.test(name);
  // Of a text whose mean is taken, every token counts.
  const isContext = config.pooling !== "mean";
  const positionBytes = kvTokenBytes(config, kvKind);
  const windows = config.slidingLayers?.filter((isSliding) => isSliding === 1).length ?? 0;
  return {
    ternaryBytes: matrices.reduce((sum, tensor) => sum + tensorBytes(tensor) * share(tensor), 0),
    headBytes: config.pooling === undefined ? config.vocabSize * headRowBytes : 0,
    positionBytes,
    attendedBytes(positions, rows) {
      // Layers with a window read no more than what these tokens see.
      const seen = Math.min(positions, (config.slidingWindow ?? 0) + rows - 1);
      return (positionBytes / config.layers) * ((config.layers - windows) * positions + windows * seen);
    },
    multiplyAdds: multiplyAddsOf(() => true),
    contextMultiplyAdds: multiplyAddsOf((name) => !(isContext && isLeftOut(name))),
  };
}
