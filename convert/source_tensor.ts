/** The tensors of a checkpoint, as any reader of files can give them. */

import type { GgufType, TERNARY_BLOCKS } from "../src/model_file/gguf_types.ts";
import type { Dtype } from "../src/model_file/safetensors.ts";

/** How a tensor's values are stored. */
export type Encoding = Dtype | GgufType;

/** A tensor of a checkpoint. */
export interface SourceTensor {
  /** The name that the checkpoint gives it. */
  name: string;
  /** The file that holds it, for messages. */
  file: string;
  dtype: Encoding;
  /** Outermost first, [rows, columns] for a matrix. */
  shape: number[];
  /** Size in bytes. */
  bytes: number;
  /**
   * Fills `target` with the tensor's bytes from `position` on.
   *
   * @throws Failure when they are not all there
   */
  read(position: number, target: Uint8Array): void;
}

/** All tensors of a checkpoint. */
export interface SourceTensors {
  /** The file that lists them, for messages. */
  listing: string;
  /** By the names that the checkpoint gives them. */
  tensors: Map<string, SourceTensor>;
  close(): void;
}

/** How a matrix of ternary weights is stored, and where its scale is. */
export type TernaryForm =
  /** Weights in floating point that are quantised: the scale is their mean magnitude. */
  | { kind: "master" }
  /** Such weights, row by row: those beyond 0.7 of the row's mean magnitude count, and the scale is the mean magnitude of these. */
  | { kind: "thresholds" }
  /** Weights in floating point that are −s, 0 and s, with one s or several: it times `factor` is the scale. */
  | { kind: "values"; factor: number }
  /** Byte c of row r holds weight c of rows r, r + out/4, r + out/2 and r + 3·out/4. */
  | { kind: "quarters"; scale: number }
  /** Blocks of 128 weights over all rows. */
  | { kind: "I2_S"; scale: number }
  /** Blocks of weights of a row, each with an s, which may be the same for all: it times `factor` is the scale. */
  | { kind: (typeof TERNARY_BLOCKS)[number]; factor: number };

/** A tensor that a model needs, with all that its conversion depends on. */
export interface CheckpointTensor extends SourceTensor {
  /** Null for what is not ternary. */
  ternary: TernaryForm | null;
  /**
   * In projections whose rows stand as neighbours for the rotary positions, the rows of one head, else 1. There, rows 2i and 2i + 1 of a
   * head belong at i and i + rows/2.
   */
  interleavedRows: number;
  /** What is added to a norm's values: 1 where a checkpoint keeps only what is above it. */
  addend: number;
}
