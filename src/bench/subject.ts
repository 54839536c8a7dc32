/** The model that is measured: a real one, or one of a known shape with random weights, which needs no file. */

import { Model } from "../engine/model.ts";
import { ALIGNMENT, FORMAT_VERSION } from "../engine/symbols.ts";
import { packedLayout } from "../model_file/layout.ts";
import { encodeModelConfig, type ModelConfig } from "../model_file/model_config.ts";
import { encodeSafetensorsHeader } from "../model_file/safetensors.ts";
import type { Shape } from "../model_file/shapes.ts";
import type { ResolvedModel } from "../models/resolve.ts";

/** A model to measure, not open yet: its weights would be in the way while the machine is measured. */
export interface Subject {
  name: string;
  config: ModelConfig;
  /** Whether its weights are random. */
  isRandom: boolean;
  /**
   * Maps the weights, or makes them.
   *
   * @param zeros share of the FFN's gates that are not to be positive in random weights.
   * @throws Failure.
   */
  open(zeros: number): Promise<Model>;
}

/** A model of this shape that was never trained. */
export function randomSubject(name: string, shape: Shape): Subject {
  const config: ModelConfig = { ...shape, bosTokenId: null, eosTokenIds: [] };
  return {
    name,
    config,
    isRandom: true,
    async open(zeros) {
      const metadata = {
        format: "wrinklefree",
        version: String(FORMAT_VERSION),
        source: name,
        source_sha256: "0".repeat(64),
        config: encodeModelConfig(config),
      };
      const { bytes, tensors } = encodeSafetensorsHeader(metadata, packedLayout(config, new Map()), ALIGNMENT);
      return Model.random(bytes, tensors.at(-1)?.end ?? bytes.length, zeros, name);
    },
  };
}

/** A model that the user named. */
export function givenSubject({ packed, path, name }: ResolvedModel): Subject {
  return { name, config: packed.config, isRandom: false, open: () => Model.open(path ?? packed.path) };
}
