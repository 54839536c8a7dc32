/** Who reads which format: a further one has its own opener here. */

import { basename, dirname, join, resolve } from "node:path";
import { Failure } from "../src/errors.ts";
import { openByteSource, statusOf } from "../src/model_file/byte_source.ts";
import { isGguf } from "../src/model_file/gguf.ts";
import { ggufName, ggufParts } from "../src/model_file/gguf_names.ts";
import { assetNames, descriptionNames } from "../src/model_file/layout.ts";
import type { Checkpoint, SourceOptions } from "./checkpoint.ts";
import { openGgufCheckpoint } from "./gguf_checkpoint.ts";
import { checkpointFiles, openHuggingFace } from "./hugging_face.ts";
import { isSglbitnt, openSglbitnt, sglbitntName } from "./sglbitnt.ts";

/** The formats that are single files. */
const fileFormats = [
  { begins: isGguf, open: openGgufCheckpoint, files: ggufParts, name: ggufName },
  { begins: isSglbitnt, open: openSglbitnt, files: withFilesBeside, name: sglbitntName },
];

/**
 * Opens what a model can be made from, a Hugging Face directory, a GGUF file or a file of the original system, and checks all of it but
 * the weights' values.
 *
 * @throws Failure, one line that names the file, the tensor or key, and the fault
 */
export function openCheckpoint(path: string, options: SourceOptions = {}): Checkpoint {
  const open = fileFormat(path)?.open ?? openHuggingFace;
  if (options.pre !== undefined && open !== openGgufCheckpoint) {
    throw new Failure(`${path}: how its texts are cut stands in its tokenizer.json; only a GGUF file can be told`);
  }
  return open(path, options);
}

/**
 * Whether a model has to be made from this first: a directory, or a file of another format than the packed one.
 *
 * @throws Failure when there is no such file or directory
 */
export function isCheckpoint(path: string): boolean {
  return statusOf(path).isDirectory() || fileFormat(path) !== undefined;
}

/**
 * What a checkpoint is called: by the name of its directory or file.
 *
 * @throws Failure when there is no such file or directory
 */
export function checkpointName(path: string): string {
  return fileFormat(path)?.name(path) ?? basename(resolve(path));
}

/**
 * All files that a checkpoint is made of, those that change its conversion when they change.
 *
 * @throws Failure when it cannot be read
 */
export function sourceFiles(path: string): string[] {
  if (statusOf(path).isDirectory()) return checkpointFiles(path).map((name) => join(path, name));
  return fileFormat(path)?.files(path) ?? [path];
}

function fileFormat(path: string) {
  if (statusOf(path).isDirectory()) return undefined;
  const file = openByteSource(path);
  try {
    const head = new Uint8Array(Math.min(file.size, 8));
    file.read(0, head);
    return fileFormats.find(({ begins }) => begins(head));
  } finally {
    file.close();
  }
}

/** A file and what belongs to it beside it: the tokenizer's files, and what says what is made of it. */
function withFilesBeside(path: string): string[] {
  const beside = new Set<string>([...assetNames, ...descriptionNames]);
  const directory = dirname(path);
  return [
    path,
    ...checkpointFiles(directory)
      .filter((name) => beside.has(name))
      .map((name) => join(directory, name)),
  ];
}
