/** A clock of the day that a test sets as it likes, by libfaketime, which is put in front of the system's for one program. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
  .map((machine) => `/usr/lib/${machine}/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));

/** Whether there can be one; says what is missing where there can't. */
export function hasFalseClock(): boolean {
  if (library !== undefined) return true;
  console.log("skipping clocks that jump: apt-get install faketime");
  return false;
}

export interface FalseClock {
  /** The environment of the programs that see it. Their monotonic clocks are the system's. */
  env: Record<string, string>;
  /** Sets it, seconds from the true time. */
  set(offset: number): void;
  remove(): void;
}

/** A clock that is right until it is set. */
export function makeFalseClock(): FalseClock {
  const directory = mkdtempSync(join(tmpdir(), "wrinklefree-clock-"));
  const file = join(directory, "offset");
  const set = (offset: number) => writeFileSync(file, `${offset < 0 ? "-" : "+"}${Math.abs(offset)}s\n`);
  set(0);
  return {
    env: {
      LD_PRELOAD: library as string,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
      // Times of files are what the disk has.
      NO_FAKE_STAT: "1",
    },
    set,
    remove: () => rmSync(directory, { recursive: true }),
  };
}
