/** A short soak (tests/soak.ts): every path and dialect, crowds, departures, damaged requests, reloads and restarts, and nothing is wrong. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Ledger } from "./soak/ledger.ts";
import { fitLine } from "./soak/processes.ts";
import { ServerLog } from "./soak/server_log.ts";
import { soak, whatSoakNeeds } from "./soak/soak.ts";
import { Tally } from "./soak/tally.ts";

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
    expect(text?.cachedTokens).toBeGreaterThan(0);
    for (const what of [
      "reloads of keys",
      "reloads of the certificate",
      "reloads of the configuration",
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

describe("a soak notices", () => {
  /** What is wrong with a log, of which clients saw these answers. */
  function faultsOf(lines: (object | string)[], answers: Record<string, number> = {}): string[] {
    const tally = new Tally();
    const ledger = new Ledger("log", (text) => tally.fault("faults of logs and traces", text));
    const log = new ServerLog(tally, ledger);
    for (const [id, status] of Object.entries(answers)) ledger.answered(id, status);
    for (const line of lines) log.add(typeof line === "string" ? line : JSON.stringify(line));
    return [...tally.faults["faults of logs and traces"].told, ...ledger.missing];
  }
  const request = (status: number, more: object = {}) => ({
    event: "request",
    level: "info",
    request_id: "soak-1",
    status,
    error_type: null,
    ...more,
  });

  test.each<[string, (object | string)[], Record<string, number>, string]>([
    ["an answer without a line in the log", [], { "soak-1": 200 }, "soak-1 (200)"],
    ["one with two", [request(200), request(200)], {}, "soak-1 is twice in the log"],
    ["another status there", [request(500)], { "soak-1": 200 }, "soak-1 has 500 in the log, its client saw 200"],
    ["an error in the midst of an answer", [request(200, { error_type: "server_error" })], {}, "ended with an error"],
    ["answers that are cut off at the end", [{ event: "stop", level: "info", cut_off: 1 }], {}, "were cut off"],
    ["a warning", [{ event: "note", level: "warning", message: "hm" }], {}, "hm"],
    ["a line that is no JSON", ["panic"], {}, "a line that is no JSON: panic"],
  ])("%s", (_, lines, answers, wanted) => {
    expect(faultsOf(lines, answers)).toEqual([expect.stringContaining(wanted)]);
  });

  test("nothing in a log as it should be", () => {
    expect(
      faultsOf([request(200), { event: "reload", level: "error", is_reloaded: false }], { "soak-1": 200 }),
    ).toEqual([]);
  });
});

test("a line through points has their slope, and its error", () => {
  expect(
    fitLine([
      [0, 1],
      [1, 3],
    ]),
  ).toBeUndefined();
  expect(
    fitLine([
      [0, 1],
      [1, 3],
      [2, 5],
      [3, 7],
    ]),
  ).toEqual({ slope: 2, error: 0 });
  const { slope, error } = fitLine([
    [0, 0],
    [1, 1],
    [2, 0],
    [3, 1],
  ]) as { slope: number; error: number };
  expect(slope).toBeCloseTo(0.2, 12);
  // Residuals of ±0.2 and ±0.6, of which the squares sum up to 0.8, over two degrees of freedom and a square of 5.
  expect(error).toBeCloseTo(Math.sqrt(0.8 / 2 / 5), 12);
});
