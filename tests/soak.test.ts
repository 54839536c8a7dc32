/** A short soak (tests/soak.ts): every path and dialect, crowds, departures, damaged requests, reloads and restarts, and nothing is wrong. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { soak, whatSoakNeeds } from "./soak/soak.ts";

setDefaultTimeout(300_000);

const needed = whatSoakNeeds();
if (needed !== undefined) console.log(`skipping the soak: ${needed}`);

test.skipIf(needed !== undefined)(
  "clients of every kind for a while: nothing is lost, wrong or left behind",
  async () => {
    const report = await soak({ seconds: 15, clients: 32, seed: 7, onProgress: console.log });
    expect(Object.values(report.faults).flatMap(({ told }) => told)).toEqual([]);
    expect(report.faultCount).toBe(0);
    // It did what it is for.
    expect(report.answers).toBeGreaterThan(100);
    const { text, embedding } = report.services;
    expect([text?.blocksUsed, embedding?.blocksUsed]).toEqual([0, 0]);
    expect(text?.pauses).toBeGreaterThan(0);
    expect(text?.cachedTokens).toBeGreaterThan(0);
    for (const what of [
      "reloads of keys",
      "reloads of the certificate",
      "reloads of wrong files",
      "restarts of the text service",
      "restarts of the embedding service",
      "damaged, refused",
      "left by their clients",
      "refused as they should",
    ]) {
      expect([what, (report.counts[what] ?? 0) > 0]).toEqual([what, true]);
    }
  },
);
