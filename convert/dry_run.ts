/** What a conversion would give, and what serving it would take, without making it. */

import { kvTokenBytes } from "../src/engine/engine.ts";
import { packedRowBytes } from "../src/model_file/layout.ts";
import type { ModelConfig } from "../src/model_file/model_config.ts";
import type { SourceOptions } from "./checkpoint.ts";
import { largestFile } from "./convert.ts";
import { openCheckpoint } from "./formats.ts";

/** Sizes in bytes. */
export interface ConversionPlan {
  /** What the source is, for people. */
  format: string;
  config: ModelConfig;
  /** Of the packed file; neurons that turn out to be always zero will make it smaller. */
  fileBytes: number;
  /** Of the head's sketch, which `--head exact` does without. */
  sketchBytes: number;
  /** Of the second copy of the down projections, which `--zeros multiply` does without. */
  copyBytes: number;
  /** Of a token's keys and values in fp32. */
  kvTokenBytes: number;
  notices: string[];
}

/**
 * Plans a conversion: the source is checked like by one, but for its weights' values.
 *
 * @throws Failure as openCheckpoint
 */
export function planConversion(source: string, options: SourceOptions): ConversionPlan {
  const checkpoint = openCheckpoint(source, options);
  try {
    const { config, format, notices } = checkpoint;
    const columnBytes = packedRowBytes(config.hiddenSize);
    return {
      format,
      config,
      fileBytes: largestFile(checkpoint).total,
      sketchBytes: (config.tiedEmbeddings ? config.ternaryEmbedding : config.ternaryHead)
        ? 0
        : config.vocabSize * config.hiddenSize,
      copyBytes:
        config.activation === "relu2" && config.scales === undefined
          ? config.layers * config.intermediateSize * columnBytes
          : 0,
      kvTokenBytes: kvTokenBytes(config, "f32"),
      notices,
    };
  } finally {
    checkpoint.close();
  }
}
