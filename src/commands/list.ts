/** `wrinklefree list`: what is in the store. */

import { UsageError } from "../errors.ts";
import {
  type Given,
  givenBy,
  type Inventory,
  type StoreEntry,
  takeInventory,
  unusedEntries,
} from "../models/inventory.ts";
import { Store } from "../models/store.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { results } from "../terminal/output.ts";
import { formatTable } from "../terminal/table.ts";
import { declareCommand } from "./command.ts";
import { storeOption } from "./store_options.ts";

export const command = declareCommand({
  name: "list",
  summary: "show what is in the store",
  synopsis: ["list [--json | --names] [--store DIR]"],
  description: [
    "Shows the models in the store: their names, sizes, whether they give text or embeddings, where they come from, their packed " +
      "files, and what nobody needs any more, which 'wrinklefree prune' removes.",
  ],
  options: {
    json: { group: "Output", help: "print JSON", place: "line", isSwitch: true },
    names: {
      group: "Output",
      help: "print the names that other commands take, one a line, and nothing else",
      place: "line",
      isSwitch: true,
    },
    ...storeOption,
  },
  wordsMax: 0,
  words: [],
  async run({ values }) {
    if (values.json && values.names) throw new UsageError("--json and --names can't be had together");
    const store = Store.open(values.store);
    const inventory = takeInventory(store);
    if (values.names) {
      results.write(inventory.entries.flatMap(({ name, model }) => (model === null ? [] : [`${name}\n`])).join(""));
      return 0;
    }
    const gives: Gives = new Map();
    for (const entry of inventory.entries) gives.set(entry, await givenBy(entry));
    const json = () => `${JSON.stringify(toJson(store, inventory, gives), null, 2)}\n`;
    results.write(values.json ? json() : toText(store, inventory, gives));
    return 0;
  },
});

/** What each model gives: text or embeddings; null where nobody knows. */
type Gives = Map<StoreEntry, Given | null>;

function toJson(store: Store, { entries, leftovers }: Inventory, gives: Gives): object {
  return {
    store: store.directory,
    exists: store.isThere,
    models: entries.map((entry) => ({
      name: entry.name,
      gives: gives.get(entry),
      from: entry.from,
      file: entry.model?.path ?? null,
      bytes: entry.bytes,
      in_use: entry.isInUse,
      unused: entry.unused,
      sources: entry.sources.map(({ origin }) => origin),
    })),
    unused: leftovers.map(({ what, bytes, paths }) => ({ what, bytes, files: paths })),
  };
}

function toText(store: Store, inventory: Inventory, gives: Gives): string {
  if (!store.isThere) return `${store.directory}: is not there yet; it is made when a model is pulled or converted\n`;
  const { entries, leftovers } = inventory;
  const rows = entries.map((entry) => {
    const { name, from, model, bytes, isInUse, unused } = entry;
    const state = isInUse
      ? "in use"
      : model === null
        ? "pulled, not converted"
        : unused === null
          ? ""
          : `unused: ${unused}`;
    return [name, formatBytes(bytes), gives.get(entry) ?? "-", from, model?.path ?? "-", state];
  });
  const sections: string[] = [];
  if (rows.length > 0) sections.push(formatTable([["NAME", "SIZE", "GIVES", "FROM", "FILE", "STATE"], ...rows]));
  if (leftovers.length > 0) {
    const lines = leftovers.map(({ what, bytes }) => [formatBytes(bytes), what]);
    sections.push(`unused:\n${formatTable(lines, "  ")}`);
  }
  const total = [...entries, ...leftovers].reduce((sum, { bytes }) => sum + bytes, 0);
  const given = [...unusedEntries(inventory), ...leftovers].reduce((sum, { bytes }) => sum + bytes, 0);
  const hint = given > 0 ? `; 'wrinklefree prune' gives ${formatBytes(given)} back` : "";
  sections.push(`${store.directory}: ${formatBytes(total)}${hint}`);
  return `${sections.join("\n\n")}\n`;
}
