/**
 * A model that takes its time: the demonstration model with further layers that add nothing. It says what the demonstration model
 * says, token for token, at a fraction of its speed, so that a test can act while an answer is being computed on any machine.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { memoryByteSource } from "../../src/model_file/byte_source.ts";
import { readSafetensorsHeader } from "../../src/model_file/safetensors.ts";
import { fixtures, root } from "./command_line.ts";
import { runProgram } from "./server.ts";
import { type MemoryTensor, writeCheckpoint } from "./small_checkpoint.ts";

/** Layers that add nothing. A token takes some milliseconds with them. */
const IDLE_LAYERS = 100;

/** A byte of four packed weights that are zero. */
const ZEROS = 0b01010101;

let made: Promise<string> | undefined;

/** The path of the model, which is made once. */
export function deepModel(): Promise<string> {
  made ??= makeDeepModel();
  return made;
}

async function makeDeepModel(): Promise<string> {
  const source = join(fixtures, "tiny-packed");
  const bytes = new Uint8Array(readFileSync(join(source, "model.safetensors")));
  const tensors = new Map<string, MemoryTensor>();
  for (const { name, dtype, shape, begin, end } of readSafetensorsHeader(memoryByteSource(bytes, source)).tensors) {
    tensors.set(name, { dtype, shape, bytes: bytes.subarray(begin, end) });
  }
  const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
  const layers: number = config.num_hidden_layers;
  const first = "model.layers.0.";
  for (const [name, tensor] of [...tensors].filter(([name]) => name.startsWith(first))) {
    // What a layer adds to its input comes out of these two.
    const isOutput = /(o_proj|down_proj)\.weight$/.test(name);
    const idle = isOutput ? { ...tensor, bytes: new Uint8Array(tensor.bytes.length).fill(ZEROS) } : tensor;
    for (let layer = layers; layer < layers + IDLE_LAYERS; layer++) {
      tensors.set(`model.layers.${layer}.${name.slice(first.length)}`, idle);
    }
  }
  const texts = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"];
  const directory = join(root, "build", "deep");
  writeCheckpoint(directory, {
    config: { ...config, num_hidden_layers: layers + IDLE_LAYERS },
    tensors,
    files: new Map(texts.map((name) => [name, readFileSync(join(source, name), "utf8")])),
  });
  const model = join(root, "build", "deep.wf");
  const { code, stderr } = await runProgram(["convert", directory, model, "--force"]);
  if (code !== 0) throw new Error(stderr);
  return model;
}
