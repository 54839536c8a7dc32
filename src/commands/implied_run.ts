/** `wrinklefree MODEL`: what a command line means that begins with a model instead of a command. */

import { existsSync } from "node:fs";
import { Failure } from "../errors.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { entriesNamed, type Inventory, takeInventory } from "../models/inventory.ts";
import { isName } from "../models/resolve.ts";
import { Store } from "../models/store.ts";

/** What the store holds; nothing if there is none that can be read. */
export function storedModels(): Inventory {
  try {
    return takeInventory(Store.open());
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { entries: [], leftovers: [] };
  }
}

/** Whether a word is a model rather than a misspelt command: a file, something that looks like one, a name on the hub or in the store. */
export function isModel(word: string, stored: Inventory): boolean {
  return existsSync(word) || !isName(word) || parseHubName(word) !== null || entriesNamed(stored, word).length > 0;
}
