/** Reads the tensors of a checkpoint from safetensors files. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../src/errors.ts";
import { type ByteSource, openByteSource, readSmallFile } from "../src/model_file/byte_source.ts";
import { ConfigFields, Fault, naming, parseJson, printable } from "../src/model_file/config_fields.ts";
import { ASSET_BYTES_MAX } from "../src/model_file/layout.ts";
import { readSafetensorsHeader, type TensorEntry, tensorFailure } from "../src/model_file/safetensors.ts";
import { listDirectory, otherContents } from "./checkpoint_directory.ts";
import type { SourceTensor, SourceTensors } from "./source_tensor.ts";

export const INDEX_NAME = "model.safetensors.index.json";
const SINGLE_NAME = "model.safetensors";

/**
 * Opens the safetensors files of a directory: the one, or those that the index names.
 *
 * @throws Failure naming the file, or the tensor, and the fault
 */
export function openSafetensors(directory: string): SourceTensors {
  const files: ByteSource[] = [];
  const close = () => {
    for (const file of files) file.close();
  };
  const open = (name: string): SourceTensor[] => {
    const file = openByteSource(join(directory, name));
    files.push(file);
    return readSafetensorsHeader(file).tensors.map((entry) => sourceTensor(file, entry));
  };
  const single = join(directory, SINGLE_NAME);
  const index = join(directory, INDEX_NAME);
  try {
    if (existsSync(single)) {
      const tensors = new Map(open(SINGLE_NAME).map((tensor) => [tensor.name, tensor]));
      return { listing: single, tensors, close };
    }
    if (existsSync(index)) return { listing: index, tensors: openShards(index, open), close };
    const names = listDirectory(directory);
    const isPickled = names.some((name) => /^pytorch_model.*\.bin$/.test(name));
    const advice = isPickled ? ": pickled weights are not read; save it as safetensors, or take a GGUF file of it" : "";
    throw new Failure(
      `${directory}: has neither ${SINGLE_NAME} nor ${INDEX_NAME}${otherContents(new Set(names))}${advice}`,
    );
  } catch (error) {
    close();
    throw error;
  }
}

function openShards(index: string, open: (name: string) => SourceTensor[]): Map<string, SourceTensor> {
  const weightMap = naming(index, () => {
    const parsed = new ConfigFields(parseJson(readSmallFile(index, ASSET_BYTES_MAX)), "it");
    if (!parsed.has("weight_map")) throw new Fault("it has no weight_map");
    const map = parsed.raw("weight_map");
    if (typeof map !== "object" || map === null || Array.isArray(map))
      throw new Fault("weight_map is not a JSON object");
    return Object.entries(map);
  });
  const shards = new Map<string, Map<string, SourceTensor>>();
  const tensors = new Map<string, SourceTensor>();
  for (const [name, shard] of weightMap) {
    if (typeof shard !== "string" || !/^[^/\\\p{Cc}]+\.safetensors$/u.test(shard)) {
      throw tensorFailure(
        index,
        name,
        `its shard ${printable(JSON.stringify(shard))} is not the plain name of a safetensors file`,
      );
    }
    let contents = shards.get(shard);
    if (contents === undefined) {
      contents = new Map(open(shard).map((tensor) => [tensor.name, tensor]));
      shards.set(shard, contents);
    }
    const tensor = contents.get(name);
    if (tensor === undefined) throw tensorFailure(index, name, `missing from ${shard}, where the index says it is`);
    tensors.set(name, tensor);
  }
  return tensors;
}

function sourceTensor(file: ByteSource, { name, dtype, shape, begin, end }: TensorEntry): SourceTensor {
  const read = (position: number, target: Uint8Array) => file.read(begin + position, target);
  return { name, file: file.name, dtype, shape, bytes: end - begin, read };
}
