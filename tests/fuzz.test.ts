/**
 * Readers of strangers' files on damaged ones, a few thousand of each kind: refused in one line or sound, in memory that has little to do
 * with the numbers in them. `bun tests/fuzz.ts` does more of them; csrc/tests/model_test.c is the same for the library's reader.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type FuzzReport, targetNames } from "./fuzz.ts";

setDefaultTimeout(120_000); // ends what hangs

const COUNT = 4000;

/** Several times what Bun takes by itself; a single table for an id of 2^24 would take half as much. */
const MEGABYTES_MAX = 300;

test.each(targetNames)("damaged files: %s", async (name) => {
  // A process of its own, whose memory is that of the readers.
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "fuzz.ts"), name, "--count", `${COUNT}`], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([code, stderr]).toEqual([0, ""]);
  const { refused, taken, peakMegabytes } = JSON.parse(stdout) as FuzzReport;
  expect(refused + taken).toBe(COUNT);
  expect(taken).toBeWithin(COUNT / 100, COUNT);
  expect(peakMegabytes).toBeLessThan(MEGABYTES_MAX);
});
