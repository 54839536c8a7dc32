/** What a conversion would give, and what serving it would take, without making it. */

import { kvTokenBytes, planEngineMemory } from "../src/engine/engine.ts";
import type { PackedModel } from "../src/model_file/packed.ts";
import type { SourceOptions } from "./checkpoint.ts";
import { largestFile } from "./convert.ts";
import { openCheckpoint } from "./formats.ts";

/** Sizes in bytes. */
export interface ConversionPlan {
  /** What the source is, for people. */
  format: string;
  /** The packed file; neurons that turn out to be always zero will make it smaller. */
  packed: PackedModel;
  /** Its first bytes, up to the tensors. */
  header: Uint8Array;
  /** Of the head's sketch. */
  sketchBytes: number;
  /** Of the second copy of the down projections, which is made if there is room for it. */
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
    const { config, format, notices, assets, name } = checkpoint;
    const { header, tensors, total } = largestFile(checkpoint);
    const layout = { threads: 1, maxSequences: 1, context: 0, kvTokens: 0, batchTokens: 0, cpus: [] };
    const engine = planEngineMemory(header, source, layout);
    return {
      format,
      packed: { path: source, bytes: total, config, source: name, sourceSha256: "", tensors, assets },
      header,
      sketchBytes: engine.sketch_bytes,
      copyBytes: engine.column_bytes,
      kvTokenBytes: kvTokenBytes(config, "f32"),
      notices,
    };
  } finally {
    checkpoint.close();
  }
}
