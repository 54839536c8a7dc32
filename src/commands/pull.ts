/** `wrinklefree pull`: brings a model from the hub into the store, ready to be served. */

import { UsageError } from "../errors.ts";
import { Hub } from "../hub/endpoint.ts";
import { formatHubName, parseHubName } from "../hub/hub_name.ts";
import { openStored, packedModelOf } from "../models/conversion.ts";
import { describePlan, planPull, pull, pulledRecords } from "../models/pull.ts";
import { rememberSource } from "../models/source_record.ts";
import { Store } from "../models/store.ts";
import { filledText } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notes, results } from "../terminal/output.ts";
import { declareCommand } from "./command.ts";
import { storeOption } from "./store_options.ts";

const pullOptions = {
  file: {
    group: "What is pulled",
    help: "the file of the repository to take",
    place: "line",
    placeholder: "NAME",
    kind: filledText("the name of a file"),
  },
  ...storeOption,
} as const satisfies Options;

export const command = declareCommand({
  name: "pull",
  summary: "bring a model from the hub into the store",
  synopsis: ["pull REPOSITORY[@REVISION] [--file NAME] [--store DIR]"],
  description: [
    "Brings a model from the Hugging Face hub, checks it against the hub's checksums, and packs it: serve, chat and the others " +
      "then take REPOSITORY as their MODEL. Of several forms of a model it takes the best ternary one, and says which. A pull that was " +
      "stopped goes on where it was. What the hub's own tools have in their cache is not loaded again. Pulling again brings the " +
      "newest revision.",
    "HF_TOKEN is the token for models that need one; it is sent to the hub alone. HF_ENDPOINT is another hub's address.",
  ],
  options: pullOptions,
  wordsMax: 1,
  words: ["model"],
  run,
});

async function run({ values, words }: Given<typeof pullOptions>): Promise<number> {
  const [repository] = words;
  if (repository === undefined) throw new UsageError("pull takes a REPOSITORY such as microsoft/bitnet-b1.58-2B-4T");
  const name = parseHubName(repository);
  if (name === null) throw new UsageError(`'${repository}' is no name on the hub: OWNER/NAME or OWNER/NAME@REVISION`);
  const store = Store.open(values.store);
  store.make();
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
