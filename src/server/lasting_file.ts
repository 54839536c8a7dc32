/** Files and what only looks like them: whoever reads a pipe a second time waits for good, or finds nothing. */

import { statSync } from "node:fs";

/** Whether a file can be read as often as one likes; what can't be found out shows when it is read. */
export function isLasting(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return true;
  }
}
