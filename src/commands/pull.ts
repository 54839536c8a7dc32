/** `wrinklefree pull`: brings a model from the hub into the store, ready to be served. */

import { UsageError } from "../errors.ts";
import { Hub } from "../hub/endpoint.ts";
import { formatHubName, parseHubName } from "../hub/hub_name.ts";
import { openStored, packedModelOf } from "../models/conversion.ts";
import { describePlan, planPull, pull, pulledRecords } from "../models/pull.ts";
import { rememberSource } from "../models/source_record.ts";
import { Store } from "../models/store.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notes, results } from "../terminal/output.ts";
import type { Command } from "./command.ts";
import { parseOptions } from "./options.ts";
import { readStoreOptions } from "./store_options.ts";

export const command: Command = {
  name: "pull",
  summary: "bring a model from the hub into the store",
  usage: `usage: wrinklefree pull REPOSITORY[@REVISION] [--file NAME] [--store DIR]

Brings a model from the Hugging Face hub, checks it against the hub's checksums, and packs it: serve, chat and the others
then take REPOSITORY as their MODEL. Of several forms of a model it takes the best ternary one, and says which. A pull that was
stopped goes on where it was. What the hub's own tools have in their cache is not loaded again. Pulling again brings the
newest revision.

  --file NAME        the file of the repository to take
  --store DIR        where to keep it (default: $WRINKLEFREE_STORE, else wrinklefree in $XDG_CACHE_HOME or ~/.cache)
  --help             show this text

HF_TOKEN is the token for models that need one; it is sent to the hub alone. HF_ENDPOINT is another hub's address.
`,
  run,
};

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, { file: { type: "string" }, store: { type: "string" } }, 1);
  const { store: directory } = readStoreOptions(values);
  const [text] = positionals;
  if (text === undefined) throw new UsageError("pull takes a REPOSITORY such as microsoft/bitnet-b1.58-2B-4T");
  const name = parseHubName(text);
  if (name === null) throw new UsageError(`'${text}' is no name on the hub: OWNER/NAME or OWNER/NAME@REVISION`);
  const store = Store.open(directory);
  const hub = Hub.fromEnvironment();
  const plan = await planPull(store, hub, name, values.file);
  notes.write(`${describePlan(plan)}\n`);
  const before = pulledRecords(store, name).find(
    ({ origin, key }) => key !== null && origin.commit === plan.commit && origin.file === plan.choice.file,
  );
  const ready = before?.key ? await openStored(store, before.key) : null;
  // Of several files of a repository, the one that was asked for last is served by its name.
  if (ready !== null && before !== undefined) rememberSource(store, before);
  const packed = ready ?? (await packedModelOf(store, await pull(store, hub, plan)));
  const state = ready === null ? "" : " (it was there already)";
  results.write(`${formatHubName(name)}: ${packed.path}, ${formatBytes(packed.bytes)}${state}\n`);
  return 0;
}
