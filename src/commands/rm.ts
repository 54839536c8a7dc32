/** `wrinklefree rm`: removes models from the store. */

import { Failure, UsageError } from "../errors.ts";
import { findEntry, removeEntry, takeInventory } from "../models/inventory.ts";
import { Store } from "../models/store.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notes, results } from "../terminal/output.ts";
import { declareCommand } from "./command.ts";
import { storeOption } from "./store_options.ts";

export const command = declareCommand({
  name: "rm",
  summary: "remove models from the store",
  synopsis: ["rm NAME… [--store DIR]"],
  description: [
    "Removes models from the store, with what was pulled for them; files outside it are never touched. NAME is as 'wrinklefree list' " +
      "shows it, or the name of its packed file. A model that a process uses is left as it is.",
  ],
  options: storeOption,
  wordsMax: Number.POSITIVE_INFINITY,
  words: ["model"],
  async run({ values, words }) {
    if (words.length === 0) throw new UsageError("rm takes the NAME of a model; 'wrinklefree list' shows them");
    const store = Store.open(values.store);
    let exitCode = 0;
    for (const name of words) {
      try {
        const entry = findEntry(takeInventory(store), name);
        results.write(`${entry.name}: removed, ${formatBytes(removeEntry(store, entry))} given back\n`);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        notes.write(`wrinklefree: ${error.message}\n`);
        exitCode = 1;
      }
    }
    return exitCode;
  },
});
