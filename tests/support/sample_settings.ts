/** A value for any setting, for tests that go through all of them. */

import type { Option } from "../../src/options/option.ts";

const CANDIDATES = [
  "2",
  "1",
  "0",
  "64",
  "512",
  "2026-11-26",
  "http://localhost:1",
  "/sample",
  "unix:/sample",
  "640",
  "unix",
];

/** A text that an option takes, not its default. */
export function sampleOf(option: Option): string {
  if (option.isSwitch) return "true";
  const { completion } = option.kind;
  const words = Array.isArray(completion) ? completion : [];
  const accepted = [...words, ...CANDIDATES].find((text) => {
    try {
      option.kind.read(text, "");
      return text !== option.default;
    } catch {
      return false;
    }
  });
  if (accepted === undefined) throw new Error(`${option.help}: no candidate is a value of this option; add one`);
  return accepted;
}
