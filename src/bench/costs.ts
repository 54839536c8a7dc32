/** What a step of a model costs, counted from its configuration: bytes that must come from memory, and 8-bit multiply-adds. */

import { type KvKind, kvTokenBytes } from "../engine/engine.ts";
import { screenedRowBytes } from "../engine/library.ts";
import { BLOCK_BYTES, BLOCK_WEIGHTS } from "../engine/symbols.ts";
import { packedLayout } from "../model_file/layout.ts";
import type { ModelConfig } from "../model_file/model_config.ts";
import { tensorBytes } from "../model_file/safetensors.ts";

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
  return {
    ternaryBytes,
    headBytes: config.vocabSize * screenedRowBytes(config.hiddenSize),
    positionBytes: kvTokenBytes(config, kvKind),
    multiplyAdds: (ternaryBytes / BLOCK_BYTES) * BLOCK_WEIGHTS,
  };
}
