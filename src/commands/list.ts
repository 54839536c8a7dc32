/** `wrinklefree list`: what is in the store. */

import { type Inventory, takeInventory } from "../models/inventory.ts";
import { Store } from "../models/store.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { results } from "../terminal/output.ts";
import { formatTable } from "../terminal/table.ts";
import type { Command } from "./command.ts";
import { parseOptions } from "./options.ts";
import { readStoreOptions } from "./store_options.ts";

export const command: Command = {
  name: "list",
  summary: "show what is in the store",
  usage: `usage: wrinklefree list [--json] [--store DIR]

Shows the models in the store: their names, sizes, where they come from, their packed files, and what nobody needs any more,
which 'wrinklefree prune' removes.

  --json         print JSON
  --store DIR    the store (default: $WRINKLEFREE_STORE, else wrinklefree in $XDG_CACHE_HOME or ~/.cache)
  --help         show this text
`,
  async run(args) {
    const { values } = parseOptions(args, { json: { type: "boolean", default: false }, store: { type: "string" } }, 0);
    const store = Store.open(readStoreOptions(values).store);
    const inventory = takeInventory(store);
    results.write(values.json ? `${JSON.stringify(toJson(store, inventory), null, 2)}\n` : toText(store, inventory));
    return 0;
  },
};

function toJson(store: Store, { entries, leftovers }: Inventory): object {
  return {
    store: store.directory,
    models: entries.map(({ name, from, model, bytes, isInUse, unused, sources }) => ({
      name,
      from,
      file: model?.path ?? null,
      bytes,
      in_use: isInUse,
      unused,
      sources: sources.map(({ origin }) => origin),
    })),
    unused: leftovers.map(({ what, bytes, paths }) => ({ what, bytes, files: paths })),
  };
}

function toText(store: Store, { entries, leftovers }: Inventory): string {
  const rows = entries.map(({ name, from, model, bytes, isInUse, unused }) => {
    const state = isInUse
      ? "in use"
      : model === null
        ? "pulled, not converted"
        : unused === null
          ? ""
          : `unused: ${unused}`;
    return [name, formatBytes(bytes), from, model?.path ?? "-", state];
  });
  const sections: string[] = [];
  if (rows.length > 0) sections.push(formatTable([["NAME", "SIZE", "FROM", "FILE", "STATE"], ...rows]));
  if (leftovers.length > 0) {
    const lines = leftovers.map(({ what, bytes }) => [formatBytes(bytes), what]);
    sections.push(`unused:\n${formatTable(lines, "  ")}`);
  }
  const total = [...entries, ...leftovers].reduce((sum, { bytes }) => sum + bytes, 0);
  const unused = [...entries.filter((entry) => entry.unused !== null && !entry.isInUse), ...leftovers];
  const given = unused.reduce((sum, { bytes }) => sum + bytes, 0);
  const hint = given > 0 ? `; 'wrinklefree prune' gives ${formatBytes(given)} back` : "";
  sections.push(`${store.directory}: ${formatBytes(total)}${hint}`);
  return `${sections.join("\n\n")}\n`;
}
