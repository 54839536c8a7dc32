/** The tensors of a checkpoint, as any reader of files can give them. */

import type { Dtype } from "../src/model_file/safetensors.ts";

/** A tensor of a checkpoint. */
export interface SourceTensor {
  /** The name that the checkpoint gives it. */
  name: string;
  /** The file that holds it, for messages. */
  file: string;
  dtype: Dtype;
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
