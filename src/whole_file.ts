/** Small files that are there whole or as they were: a disk that is full, or a process that ends, leaves none in half. */

import { randomBytes } from "node:crypto";
import { chmodSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";

/**
 * Writes a file, in the place of another if there is one. What is no file, such as a pipe or /dev/stdout, takes the text as it comes.
 *
 * @param mode its permissions, where it is new.
 * @throws what the system says; then nothing has changed.
 */
export function writeWholeFile(path: string, text: string | Uint8Array, mode = 0o644): void {
  const before = statSync(path, { throwIfNoEntry: false });
  if (before !== undefined && !before.isFile()) {
    writeFileSync(path, text);
    return;
  }
  // A link goes on leading to the file.
  const target = before === undefined ? path : realpathSync(path);
  const temporary = `${target}.${randomBytes(6).toString("hex")}`;
  try {
    writeFileSync(temporary, text, { flag: "wx", mode });
    if (before !== undefined) chmodSync(temporary, before.mode & 0o777);
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
