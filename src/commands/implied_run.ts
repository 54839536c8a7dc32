/** `wrinklefree MODEL`: what a command line means that begins with a model instead of a command. */

import { existsSync } from "node:fs";
import { Failure } from "../errors.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { takeInventory } from "../models/inventory.ts";
import { isName } from "../models/resolve.ts";
import { Store } from "../models/store.ts";

/** The names of the models in the store; none if there is no store that can be read. */
export function storedNames(): string[] {
  try {
    return takeInventory(Store.open()).entries.map(({ name }) => name);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [];
  }
}

/** Whether a word is a model rather than a misspelt command: a file, something that looks like one, a name on the hub or in the store. */
export function isModel(word: string, stored: readonly string[]): boolean {
  return existsSync(word) || !isName(word) || parseHubName(word) !== null || stored.includes(word);
}
