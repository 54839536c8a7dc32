/**
 * Turns what a person gave as a model into a packed model: nothing means the demonstration model inside the program, a .wf file is
 * itself, what is in another format is converted once and then found in the store, and a name is that of something in the store, or on
 * the hub. A path that exists beats a name.
 */

import { existsSync, realpathSync } from "node:fs";
import { basename, resolve } from "node:path";
import { checkpointName, isCheckpoint } from "../../convert/formats.ts";
import { Failure } from "../errors.ts";
import { Hub } from "../hub/endpoint.ts";
import { formatHubName, type HubName, parseHubName } from "../hub/hub_name.ts";
import { nearest } from "../hub/nearest.ts";
import { type PackedModel, readPackedModel } from "../model_file/packed.ts";
import { notes } from "../terminal/output.ts";
import { askYes, canAsk } from "../terminal/question.ts";
import { openStored, packedModelOf } from "./conversion.ts";
import { readDemoModel } from "./demo.ts";
import { holdFile } from "./file_lock.ts";
import { entriesNamed, type StoreEntry, takeInventory } from "./inventory.ts";
import { describePlan, localSource, planPull, pull, pulledRecords } from "./pull.ts";
import type { HubOrigin } from "./source_record.ts";
import { plainName, Store } from "./store.ts";

/** A model that can be opened: by its path, or for the demonstration model from its bytes. */
export interface ResolvedModel {
  packed: PackedModel;
  path?: string;
  bytes?: Uint8Array;
  /** What to call it: the file's or the directory's name, or the one on the hub. */
  name: string;
  /** What to call it in messages: what the user named, as it was written. */
  given: string;
}

/** @throws Failure when a model gives nothing but embeddings, for a command that needs one that answers. */
export function requireAnswers({ packed, given }: ResolvedModel): void {
  if (packed.config.pooling === undefined) return;
  throw new Failure(`${given}: this model gives embeddings, no text: serve it, and POST to /v1/embeddings`);
}

/** What the user allows. */
export interface ResolveOptions {
  /** The store's directory; what the environment says when absent. */
  store?: string;
  /** Whether a model may be pulled without asking. */
  pull?: boolean;
  /** Whether the network must not be used. */
  offline?: boolean;
}

/**
 * Finds, makes or pulls the packed model. Its file is in use then, by this process, until that ends.
 *
 * @param argument a path, a name, or undefined for the demonstration model
 * @throws Failure, one line, when there is no such model or it cannot be used
 */
export async function resolveModel(argument: string | undefined, options: ResolveOptions = {}): Promise<ResolvedModel> {
  if (argument === undefined) {
    const bytes = await readDemoModel();
    const given = "the built-in model";
    const packed = await readPackedModel(bytes, given);
    return { packed, bytes, name: packed.source, given };
  }
  if (isName(argument, options.store)) return await resolveName(argument, options);
  if (isCheckpoint(argument)) {
    const name = modelName(argument);
    const path = realpathSync(argument);
    const source = { origin: { kind: "path", path } as const, path, name, given: argument };
    const packed = await packedModelOf(Store.open(options.store), source);
    return { packed, path: packed.path, name, given: argument };
  }
  const packed = await readPackedModel(argument);
  await holdFile(argument);
  return { packed, path: argument, name: basename(argument).replace(/\.wf$/, ""), given: argument };
}

/** @throws Failure when a text is meant as a path and leads nowhere. What a name stands for is found out when it is needed. */
export function requireModel(argument: string | undefined, store: string | undefined): void {
  if (argument === undefined || existsSync(argument) || isName(argument, store)) return;
  throw new Failure(`${argument}: no such file or directory`);
}

/** What the model of a directory or file in another format is called, by the store and by its answers. */
export function modelName(path: string): string {
  return plainName(checkpointName(path));
}

/** Whether a text looks like a path, whatever is there. */
export function looksLikePath(text: string): boolean {
  return isPath(text) || /\.(wf|gguf|bin|safetensors)$/.test(text);
}

/**
 * Whether a text is meant as a name: there is no such path, and the text does not look like one, or names something in the store all
 * the same, as `model.gguf` does.
 *
 * @param store the store's directory; undefined: what the environment says
 * @param directory from where paths are seen
 */
export function isName(text: string, store: string | undefined, directory = "."): boolean {
  if (existsSync(resolve(directory, text)) || isPath(text)) return false;
  return !looksLikePath(text) || entriesNamed(takeInventory(Store.open(store)), text).length > 0;
}

function isPath(text: string): boolean {
  return /^[./~]|\\/.test(text) || text.split("/").length > 2;
}

/**
 * Whether a text is a name on the hub of which nothing is here yet.
 *
 * @param directory the store's; undefined: what the environment says
 */
export function isToBePulled(text: string, directory: string | undefined): boolean {
  const name = isName(text, directory) ? parseHubName(text) : null;
  if (name === null) return false;
  const store = Store.open(directory);
  return pulledRecords(store, name).every(({ key }) => key === null) && localSource(store, name) === null;
}

async function resolveName(text: string, options: ResolveOptions): Promise<ResolvedModel> {
  const hubName = parseHubName(text);
  const store = Store.open(options.store);
  if (hubName !== null) {
    const packed = await packedOfHubName(store, hubName, options);
    return { packed, path: packed.path, name: hubName.repository, given: text };
  }
  const inventory = takeInventory(store);
  const found = entriesNamed(inventory, text);
  if (found.length > 1) {
    const names = found.map(({ name }) => name).join(", ");
    throw new Failure(`${text}: several models in the store have this name: give one of ${names}`);
  }
  const [entry] = found;
  if (entry !== undefined) {
    const packed = await packedOfEntry(store, entry, text, options);
    return { packed, path: packed.path, name: entry.name, given: text };
  }
  const near = nearest(
    text,
    inventory.entries.map(({ name }) => name),
  );
  throw new Failure(
    `${text}: no such file or directory, and no model in the store ${store.title}${near.length > 0 ? ` (it has ${near.join(", ")})` : ""}; a name on the hub is OWNER/NAME`,
  );
}

/** The packed model of an entry. One that is damaged is made again, if what it was made from is there. */
async function packedOfEntry(
  store: Store,
  { model, sources }: StoreEntry,
  given: string,
  options: ResolveOptions,
): Promise<PackedModel> {
  const origin = sources.map((source) => source.origin).find((one) => one.kind === "hub" || existsSync(one.path));
  if (origin === undefined && model !== null) {
    await holdFile(model.path);
    return await readPackedModel(model.path);
  }
  const packed = model === null ? null : await openStored(store, model.key);
  if (packed !== null) return packed;
  if (origin?.kind === "path") {
    return await packedModelOf(store, {
      origin,
      path: origin.path,
      name: modelName(origin.path),
      given,
    });
  }
  // What is not packed was pulled.
  return await packedOfHubName(store, origin as HubOrigin, options);
}

async function packedOfHubName(store: Store, name: HubName, options: ResolveOptions): Promise<PackedModel> {
  for (const { key } of pulledRecords(store, name)) {
    const packed = key === null ? null : await openStored(store, key);
    if (packed !== null) return packed;
  }
  const local = localSource(store, name);
  if (local !== null) return await packedModelOf(store, local);
  const written = formatHubName(name);
  if (options.offline) {
    throw new Failure(
      `${written}: no such file or directory, not pulled yet, and --offline keeps it from being pulled; 'wrinklefree pull ${written}' brings it`,
    );
  }
  if (!options.pull && !canAsk()) {
    throw new Failure(
      `${written}: no such file or directory, and not pulled yet; 'wrinklefree pull ${written}' brings it from the hub, or add --pull`,
    );
  }
  const hub = Hub.fromEnvironment();
  notes.write(`${written} is not in the store ${store.title}; asking ${hub.endpoint.host} for it\n`);
  const plan = await planPull(store, hub, name);
  notes.write(`${describePlan(plan)}\n`);
  if (!options.pull && !(await askYes(`Pull it into ${store.directory} now?`))) {
    throw new Failure(`${written}: not pulled`);
  }
  return await packedModelOf(store, await pull(store, hub, plan));
}
