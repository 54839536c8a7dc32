/** The files that a model's source consists of: those whose contents decide what is made of it. */

import { basename, relative } from "node:path";
import { sourceFiles as filesOf } from "../../convert/formats.ts";
import { statusOf } from "../model_file/byte_source.ts";
import { assetNames } from "../model_file/layout.ts";
import type { SourceFile } from "./fingerprint.ts";

const assets: ReadonlySet<string> = new Set(assetNames);

/**
 * A directory's files by their names in it; a file with its parts by their numbers, and what lies beside it by its name.
 *
 * @throws Failure when there is no such file or directory, or it cannot be listed
 */
export function sourceFiles(path: string): SourceFile[] {
  const isDirectory = statusOf(path).isDirectory();
  return filesOf(path).map((file, index) => {
    const own = basename(file);
    return { name: isDirectory ? relative(path, file) : assets.has(own) ? own : String(index + 1), path: file };
  });
}
