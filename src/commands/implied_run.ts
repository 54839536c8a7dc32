/** `wrinklefree MODEL`: what a command line means that begins with a model instead of a command. */

import { existsSync } from "node:fs";
import { Failure } from "../errors.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { entriesNamed, type Inventory, takeInventory } from "../models/inventory.ts";
import { looksLikePath } from "../models/resolve.ts";
import { Store } from "../models/store.ts";
import { readOptions } from "../options/settings.ts";
import { type CommandTable, optionTable } from "./command.ts";
import { storeOption } from "./store_options.ts";

/** What the store holds that `run` would look into; nothing if there is none that can be read. @throws Failure for settings that are none. */
export async function storedModels(table: CommandTable): Promise<Inventory> {
  const { values } = await readOptions("chat", [], storeOption, 0, () => optionTable(table));
  try {
    return takeInventory(Store.open(values.store));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { store: "", entries: [], leftovers: [] };
  }
}

/** Whether a word is a model rather than a misspelt command: a file, something that looks like one, a name on the hub or in the store. */
export function isModel(word: string, stored: Inventory): boolean {
  return (
    existsSync(word) || looksLikePath(word) || parseHubName(word) !== null || entriesNamed(stored, word).length > 0
  );
}
