/** Opens a GGUF file with its parts: the metadata of the first, and the tensors of all. */

import { existsSync } from "node:fs";
import { basename } from "node:path";
import { Failure } from "../src/errors.ts";
import { type ByteSource, openByteSource } from "../src/model_file/byte_source.ts";
import { type GgufTensor, type GgufValue, readGgufHeader } from "../src/model_file/gguf.ts";
import { ggufParts } from "../src/model_file/gguf_names.ts";
import { describeGgufType } from "../src/model_file/gguf_types.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import type { SourceTensor, SourceTensors } from "./source_tensor.ts";

/** What the files of one model hold. */
export interface GgufFiles extends SourceTensors {
  metadata: Map<string, GgufValue>;
}

/**
 * Opens a model's files.
 *
 * @param path any of them
 * @param check looks at the metadata, before what the tensors' types are is judged
 * @throws Failure naming the file, the tensor and the fault
 */
export function openGgufFiles(path: string, check: (metadata: Map<string, GgufValue>) => void): GgufFiles {
  const paths = ggufParts(path);
  const files: ByteSource[] = [];
  const close = () => {
    for (const file of files) file.close();
  };
  const tensors = new Map<string, SourceTensor>();
  let first = new Map<string, GgufValue>();
  try {
    for (const [index, part] of paths.entries()) {
      if (!existsSync(part)) throw new Failure(`${path}: the part ${basename(part)} is not beside it`);
      const file = openByteSource(part);
      files.push(file);
      const header = readGgufHeader(file);
      checkPart(file, header.metadata, index, paths.length);
      if (index === 0) {
        first = header.metadata;
        check(first);
      }
      for (const entry of header.tensors) {
        if (tensors.has(entry.name)) throw tensorFailure(file, entry.name, "it is in another part too");
        tensors.set(entry.name, sourceTensor(file, entry));
      }
    }
  } catch (error) {
    close();
    throw error;
  }
  return { listing: path, metadata: first, tensors, close };
}

/** A part says which it is; parts that were renamed would be taken for others. */
function checkPart(file: ByteSource, metadata: Map<string, GgufValue>, index: number, count: number): void {
  const [foundIndex, foundCount] = [metadata.get("split.no") ?? 0, metadata.get("split.count") ?? 1];
  // A count of 0 stands in files that were never split.
  if (foundIndex === index && (foundCount === count || (foundCount === 0 && count === 1))) return;
  const [part, parts] = [Number(foundIndex) + 1, Number(foundCount)];
  throw new Failure(
    parts > 1
      ? `${file.name}: it is part ${part} of ${parts}; its name has to end in -${String(part).padStart(5, "0")}-of-${String(parts).padStart(5, "0")}.gguf`
      : `${file.name}: by its name it is part ${index + 1} of ${count}, by its contents it is no part`,
  );
}

function sourceTensor(file: ByteSource, { name, type, typeId, shape, begin, end }: GgufTensor): SourceTensor {
  if (type === undefined) {
    throw tensorFailure(file, name, `it is ${describeGgufType(typeId)}, which is not supported`);
  }
  const read = (position: number, target: Uint8Array) => file.read(begin + position, target);
  return { name, file: file.name, dtype: type, shape, bytes: end - begin, read };
}
