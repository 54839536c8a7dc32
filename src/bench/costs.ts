/** What a step of a model costs, counted from its configuration: bytes that must come from memory, and 8-bit multiply-adds. */

import { type KvKind, kvTokenBytes } from "../engine/engine.ts";
import { packedLayout } from "../model_file/layout.ts";
import type { ModelConfig } from "../model_file/model_config.ts";
import { tensorBytes } from "../model_file/safetensors.ts";

/** Weights in one byte of a ternary row. */
const WEIGHTS_PER_BYTE = 4;

/** A row of the head's sketch, as far as a greedy choice reads it: six bits a weight in blocks, and three floats. See csrc/layers/sketch.h. */
const SKETCH_BLOCK_WEIGHTS = 128;
const SKETCH_BLOCK_BYTES = 96;
const SKETCH_ROW_FLOATS_BYTES = 12;

/** The costs of a model, whatever the batch. */
export interface Costs {
  /** Bytes of all ternary rows: every step reads them once. */
  ternaryBytes: number;
  /** Bytes of the head's sketch: a step that gives greedy tokens reads them once, and a few of the head's own rows. */
  headBytes: number;
  /** Bytes of keys and values for one position that a token sees. */
  positionBytes: number;
  /** 8-bit multiply-adds of one token, the padding of rows included. The head and attention compute with floats. */
  multiplyAdds: number;
}

/** Counts them. */
export function modelCosts(config: ModelConfig, kvKind: KvKind): Costs {
  const ternaryBytes = packedLayout(config, new Map())
    .filter(({ kind }) => kind === "ternary")
    .reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  const sketchRowBytes = Math.ceil(config.hiddenSize / SKETCH_BLOCK_WEIGHTS) * SKETCH_BLOCK_BYTES;
  return {
    ternaryBytes,
    headBytes: config.vocabSize * (sketchRowBytes + SKETCH_ROW_FLOATS_BYTES),
    positionBytes: kvTokenBytes(config, kvKind),
    multiplyAdds: ternaryBytes * WEIGHTS_PER_BYTE,
  };
}
