/** What the names of GGUF files say: which are parts of one model. */

import { basename, dirname, join } from "node:path";

/** The end of a part's name. */
const PART = /-(\d{5})-of-(\d{5})\.gguf$/;

/**
 * The files of a model, the first part first: the one, or all those whose names count up to the number in the given one's.
 *
 * @param path any of them
 */
export function ggufParts(path: string): string[] {
  const [suffix, , count] = PART.exec(basename(path)) ?? [];
  if (suffix === undefined) return [path];
  const prefix = basename(path).slice(0, -suffix.length);
  return Array.from({ length: Math.max(1, Number(count)) }, (_, index) => {
    const name = `${prefix}-${String(index + 1).padStart(5, "0")}-of-${count}.gguf`;
    return join(dirname(path), name);
  });
}

/** What a model is called by its file's name. */
export function ggufName(path: string): string {
  return basename(path)
    .replace(PART, "")
    .replace(/\.gguf$/, "");
}
