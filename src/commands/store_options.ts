/** The options of every command that takes a model: where the store is, and whether a model may be pulled. */

import { UsageError } from "../errors.ts";
import type { ResolveOptions } from "../models/resolve.ts";

/** For parseOptions. */
export const storeOptions = {
  store: { type: "string" },
  pull: { type: "boolean", default: false },
  offline: { type: "boolean", default: false },
} as const;

/** Their lines of a --help text. */
export const storeOptionsUsage = `  --store DIR        where what was pulled and converted is kept (default: $WRINKLEFREE_STORE, else wrinklefree in
                     $XDG_CACHE_HOME or ~/.cache)
  --pull             pull a model that is not in the store without asking
  --offline          never use the network`;

/** What MODEL can be, for a --help text of a command that converts nothing. */
export const modelNamesUsage = `MODEL is a packed file (.wf), a GGUF file, a Hugging Face directory, a name in the store, or one on the hub, OWNER/NAME
or OWNER/NAME@REVISION. What was not pulled is pulled, if you say so.`;

/** The same for a command that runs the model. */
export const modelUsage = `${modelNamesUsage} What is in another format is converted
once and kept in the store.`;

/** Reads them. @throws UsageError. */
export function readStoreOptions(values: { store?: string; pull?: boolean; offline?: boolean }): ResolveOptions {
  const { store, pull, offline } = values;
  if (store === "") throw new UsageError("--store takes a directory");
  if (pull && offline) throw new UsageError("--pull and --offline can't be had together");
  return { store, pull, offline };
}
