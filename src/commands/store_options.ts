/** The options of every command that takes a model: where the store is, and whether a model may be pulled. */

import { UsageError } from "../errors.ts";
import type { ResolveOptions } from "../models/resolve.ts";
import { directory } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";

/** Where the store is. */
export const storeOption = {
  store: {
    group: "Store",
    help: "where what was pulled and converted is kept",
    place: "anywhere",
    variables: ["WRINKLEFREE_STORE", "WRINKLEFREE_CACHE"],
    placeholder: "DIR",
    kind: directory,
    otherwise: "wrinklefree in $XDG_CACHE_HOME or ~/.cache",
  },
} as const satisfies Options;

/** All of them. */
export const storeOptions = {
  ...storeOption,
  pull: {
    group: "Store",
    help: "pull a model that is not in the store without asking",
    place: "anywhere",
    isSwitch: true,
  },
  offline: { group: "Store", help: "never use the network", place: "anywhere", isSwitch: true },
} as const satisfies Options;

/** What MODEL can be, for the help of a command that converts nothing. */
export const modelNamesHelp =
  "MODEL is a packed file (.wf), a GGUF file, a Hugging Face directory, a name in the store, or one on the hub, OWNER/NAME or " +
  "OWNER/NAME@REVISION. What was not pulled is pulled, if you say so.";

/** The same for a command that runs the model. */
export const modelHelp = `${modelNamesHelp} What is in another format is converted once and kept in the store.`;

/** What the user allows. @throws UsageError. */
export function resolveOptions({ values, isOnLine }: Given<typeof storeOptions>): ResolveOptions {
  const { store, pull, offline } = values;
  const isRefused = pull && offline && isOnLine("pull") && isOnLine("offline");
  if (isRefused) throw new UsageError("--pull and --offline can't be had together");
  // Elsewhere the stricter one holds.
  return { store, pull: pull && !offline, offline };
}
