/**
 * What a model is made from, whatever its format: one description, with every tensor that the packed file needs under its name there.
 * Nothing after this knows the architecture's spelling, nor which files held what.
 */

import type { ModelConfig } from "../src/model_file/model_config.ts";
import type { CheckpointTensor } from "./source_tensor.ts";

/** What a person may say of a source that does not say it itself, or says it wrongly. */
export interface SourceOptions {
  /** How a byte-level vocabulary cuts texts, by its name in GGUF files: in the place of `tokenizer.ggml.pre`. */
  pre?: string;
}

/** A checkpoint that was found to be whole. */
export interface Checkpoint {
  /** The directory or file as it was given. */
  path: string;
  /** Its own name. */
  name: string;
  /** What kind of file or directory it is, for people. */
  format: string;
  config: ModelConfig;
  /** By their names in the packed file. Every tensor that the layout demands is here, with the right shape. */
  tensors: Map<string, CheckpointTensor>;
  /** Bytes of the tokenizer's and other small files, by name, in the layout's order. */
  assets: Map<string, Uint8Array>;
  /** What a person should know although the conversion goes on; one line each. */
  notices: string[];
  /** Closes the checkpoint's files. */
  close(): void;
}
