/**
 * The demonstration model, a few megabytes that are part of the program: build.ts packs it, and the executable carries it, so
 * that `wrinklefree chat` works with nothing else on the machine.
 */

import demoPath from "../../build/demo.wf" with { type: "file" };

/** The bytes of the packed demonstration model. */
export async function readDemoModel(): Promise<Uint8Array> {
  return await Bun.file(demoPath).bytes();
}
