/**
 * Measures how long tokenizers of real vocabularies take to load, and how fast they are, in processor time: other programs hardly
 * disturb it.
 *
 *   bun tests/tools/tokenizer-speed.ts
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { vocabularies, vocabularyJson } from "../support/tokenizer_references.ts";

const root = join(import.meta.dir, "../..");
const files = ["ARCHITECTURE.md", "README.md", "csrc/engine/scheduler.c"];
const text = files
  .map((file) => readFileSync(join(root, file), "utf8"))
  .join("")
  .repeat(5);
const megabytes = Buffer.byteLength(text) / 1e6;

/** Milliseconds of processor time that a piece of work takes. */
function cost(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

for (const name of vocabularies) {
  const json = await vocabularyJson(name).bytes();
  const parsing = cost(() => JSON.parse(new TextDecoder().decode(json)));
  let tokenizer: Tokenizer | undefined;
  const loading = cost(() => {
    tokenizer = Tokenizer.fromAssets(new Map([["tokenizer.json", json]]), name, 2 ** 20);
  });
  let longest = 0;
  const encode = () => {
    const work = (tokenizer as Tokenizer).encodeInSlices(text, 1e9);
    for (let isDone = false; !isDone; ) {
      longest = Math.max(
        longest,
        cost(() => {
          isDone = work.next().done ?? false;
        }),
      );
    }
  };
  const first = cost(encode);
  longest = 0;
  const again = cost(encode);
  console.log(
    `${name}: loaded in ${loading.toFixed()} ms, of which JSON takes ${parsing.toFixed()}; ` +
      `${megabytes.toFixed(1)} MB at ${((megabytes / first) * 1e3).toFixed(1)} MB/s, again at ` +
      `${((megabytes / again) * 1e3).toFixed(1)} MB/s; longest slice ${longest.toFixed(1)} ms`,
  );
}
