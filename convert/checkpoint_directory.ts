/** The directory of a checkpoint: what lies in it, and what was given in its place. */

import { readdirSync, statSync } from "node:fs";
import { describeSystemError, Failure } from "../src/errors.ts";
import { openByteSource } from "../src/model_file/byte_source.ts";
import { printable } from "../src/model_file/config_fields.ts";
import { recogniseForeignFile } from "../src/model_file/foreign.ts";
import { readSafetensorsHeader } from "../src/model_file/safetensors.ts";

/**
 * The names of what a directory holds.
 *
 * @throws Failure when it is none, or cannot be listed
 */
export function listDirectory(directory: string): string[] {
  try {
    const status = statSync(directory);
    if (!status.isDirectory()) {
      throw new Failure(`${directory}: is not a directory${status.isFile() ? ` but ${describeFile(directory)}` : ""}`);
    }
    return readdirSync(directory);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${directory}: ${describeSystemError(error)}`);
  }
}

/** What a file is that was given in place of a checkpoint's directory, and what to do. */
function describeFile(path: string): string {
  const file = openByteSource(path);
  try {
    const head = new Uint8Array(Math.min(file.size, 64));
    file.read(0, head);
    const foreign = recogniseForeignFile(head);
    if (foreign !== null) return foreign;
    const { metadata } = readSafetensorsHeader(file);
    return metadata.get("format") === "wrinklefree"
      ? "a packed model: it is converted already"
      : "a safetensors file: give the directory that it is in, with config.json and the tokenizer";
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return "a file of a kind that is unknown here: give a GGUF file or the directory of a Hugging Face checkpoint";
  } finally {
    file.close();
  }
}

/** Names a file that shows what else the directory might be. */
export function otherContents(names: Set<string>): string {
  const other = [...names].sort().find((name) => /\.(wf|gguf|safetensors|bin)$/.test(name));
  return other === undefined ? "" : ` (it has ${printable(other)})`;
}
