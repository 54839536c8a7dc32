/** The files in which the system describes itself. */

import { readFileSync } from "node:fs";

/** The text of such a file without the line's end behind it; undefined where there is none that can be read. */
export function readSystemFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch {
    return undefined;
  }
}
