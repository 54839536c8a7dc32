/** `wrinklefree prune`: removes what nobody needs from the store. */

import { Failure } from "../errors.ts";
import { removeEntry, removeLeftover, takeInventory, unusedEntries } from "../models/inventory.ts";
import { Store } from "../models/store.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notes, results } from "../terminal/output.ts";
import { declareCommand } from "./command.ts";
import { storeOption } from "./store_options.ts";

export const command = declareCommand({
  name: "prune",
  summary: "remove what nobody needs from the store",
  synopsis: ["prune [--dry-run] [--store DIR]"],
  description: [
    "Removes what nobody needs: models whose source is gone, has changed or is unknown, what was pulled and is packed by now, what " +
      "killed processes left, and what earlier versions kept. Models that a process uses are left as they are.",
  ],
  options: {
    "dry-run": { group: "Removal", help: "show what would be removed", place: "line", isSwitch: true },
    ...storeOption,
  },
  wordsMax: 0,
  words: [],
  async run({ values }) {
    const store = Store.open(values.store);
    const inventory = takeInventory(store);
    const work = [
      ...unusedEntries(inventory).map((entry) => ({
        line: `${entry.name}: ${entry.unused}`,
        bytes: entry.bytes,
        remove: () => removeEntry(store, entry),
      })),
      ...inventory.leftovers.map((leftover) => ({
        line: leftover.what,
        bytes: leftover.bytes,
        remove: () => removeLeftover(store, leftover),
      })),
    ];
    let exitCode = 0;
    let total = 0;
    for (const { line, bytes, remove } of work) {
      try {
        const given = values["dry-run"] ? bytes : remove();
        total += given;
        results.write(`${formatBytes(given)}  ${line}\n`);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        notes.write(`wrinklefree: ${error.message}\n`);
        exitCode = 1;
      }
    }
    results.write(
      `${store.title}: ${formatBytes(total)} ${values["dry-run"] ? "could be given back" : "given back"}\n`,
    );
    return exitCode;
  },
});
