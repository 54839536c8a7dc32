/** Packed files of any size whose weights are random: what a model of that shape takes in memory, without its training. */

import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ALIGNMENT, FORMAT_VERSION } from "../../src/engine/symbols.ts";
import { packedLayout } from "../../src/model_file/layout.ts";
import { encodeModelConfig, type ModelConfig } from "../../src/model_file/model_config.ts";
import { encodeSafetensorsHeader } from "../../src/model_file/safetensors.ts";
import type { Shape } from "../../src/model_file/shapes.ts";
import { fixtures } from "./command_line.ts";

/** Bytes that are repeated to fill a tensor: no multiple of a row's, so that rows differ. */
const PATTERN_BYTES = (1 << 20) + 34;

/** Writes a model of a shape, with the tokenizer and the template of the demonstration model. */
export function writeRandomModel(path: string, shape: Shape): void {
  const config: ModelConfig = { ...shape, bosTokenId: 0, eosTokenIds: [2] };
  const names = ["tokenizer.json", "tokenizer_config.json"];
  const assets = new Map(names.map((name) => [name, readFileSync(join(fixtures, "tiny", name))]));
  const layout = packedLayout(config, new Map([...assets].map(([name, bytes]) => [name, bytes.length])));
  const metadata = {
    format: "wrinklefree",
    version: String(FORMAT_VERSION),
    source: "random",
    source_sha256: "0".repeat(64),
    config: encodeModelConfig(config),
  };
  const { bytes, tensors } = encodeSafetensorsHeader(metadata, layout, ALIGNMENT);
  const random = patterns();
  const file = openSync(path, "w");
  try {
    writeSync(file, bytes, 0, bytes.length, 0);
    for (const [index, { begin, end }] of tensors.entries()) {
      const { kind, name, source } = layout[index] as (typeof layout)[number];
      const size = end - begin;
      if (kind === "asset") {
        const asset = assets.get(name.slice("assets/".length)) as Buffer;
        writeSync(file, Buffer.concat([asset, Buffer.alloc(size - asset.length)]), 0, size, begin);
      } else if (kind === "norm" || kind === "scale") {
        const values = new Float32Array(size / 4);
        values.fill(kind === "norm" ? 1 : 0.03, 0, source?.columns ?? 0);
        writeSync(file, new Uint8Array(values.buffer), 0, size, begin);
      } else {
        const pattern = kind === "ternary" ? random.ternary : random.bf16;
        for (let at = 0; at < size; at += PATTERN_BYTES) {
          writeSync(file, pattern, 0, Math.min(PATTERN_BYTES, size - at), begin + at);
        }
      }
    }
  } finally {
    closeSync(file);
  }
}

/** Bytes of ternary codes, and of small numbers in bf16. */
function patterns(): { ternary: Uint8Array; bf16: Uint8Array } {
  const ternary = new Uint8Array(PATTERN_BYTES);
  const bf16 = new Uint8Array(PATTERN_BYTES);
  let state = 1;
  for (let i = 0; i < PATTERN_BYTES; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const codes = [state >>> 24, state >>> 16, state >>> 8, state >>> 4].map((bits) => (bits & 255) % 3);
    ternary[i] = codes.reduce((byte, code, place) => byte | (code << (2 * place)), 0);
    bf16[i] = i % 2 === 0 ? state >>> 24 : ((state >>> 24) & 0x80) | 0x3c;
  }
  return { ternary, bf16 };
}
