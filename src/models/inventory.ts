/** What lies in the store, what of it nobody needs, and how it is given back. */

import { existsSync, lstatSync, readdirSync, realpathSync, rmdirSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { UNFINISHED_SUFFIX } from "../../convert/output_file.ts";
import { FORMAT_VERSION } from "../engine/symbols.ts";
import { describeSystemError, Failure } from "../errors.ts";
import { INCOMPLETE_SUFFIX } from "../hub/download.ts";
import { formatHubName, parseHubName } from "../hub/hub_name.ts";
import { nearest } from "../hub/nearest.ts";
import { repositoryFolder, repositoryOf } from "../hub/snapshot.ts";
import { ggufName } from "../model_file/gguf_names.ts";
import { readPackedModel } from "../model_file/packed.ts";
import { hasTokenizer } from "../text/model_text.ts";
import { isInUse, removeUnlessInUse } from "./file_lock.ts";
import { pullLock } from "./pull.ts";
import { sourceFiles } from "./source_files.ts";
import { forgetSource, isUnchanged, readSources, type SourceRecord } from "./source_record.ts";
import { listNames, modelLock, type Store, type StoredModel, unfinishedModels } from "./store.ts";

/** A packed file nobody has written to for so long was left by a process that was killed. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/** A model of the store. */
export interface StoreEntry {
  /** What `serve` and `rm` know it by. */
  name: string;
  /** Where it comes from, in words. */
  from: string;
  /** Its packed file; null while it is pulled but not converted. */
  model: StoredModel | null;
  /** Of the packed file, and of what was pulled and is still there. */
  bytes: number;
  sources: SourceRecord[];
  isInUse: boolean;
  /** Why nobody needs it; null when somebody may. */
  unused: string | null;
}

/** Something else in the store that nobody needs. */
export interface Leftover {
  what: string;
  paths: string[];
  bytes: number;
  /** The repository that it was pulled from, where it was. */
  repository: string | null;
}

/** All that a store holds. */
export interface Inventory {
  /** What to call the store in messages. */
  store: string;
  entries: StoreEntry[];
  leftovers: Leftover[];
}

/** Looks through a store. */
export function takeInventory(store: Store): Inventory {
  const records = readSources(store);
  const entries: StoreEntry[] = [];
  for (const model of store.list()) {
    const sources = records.filter(({ key }) => key === model.key);
    entries.push({
      name: sources.length === 0 ? fileName(model) : nameOf(sources, model),
      from: originOf(sources),
      model,
      bytes: model.bytes,
      sources,
      isInUse: isInUse(model.path),
      unused: whyUnused(sources),
    });
  }
  for (const record of records) {
    if (record.origin.kind !== "hub" || entries.some(({ sources }) => sources.includes(record))) continue;
    const bytes = pulledFiles(store, record).reduce((sum, path) => sum + sizeOf(path), 0);
    if (bytes === 0) continue;
    const sources = [record];
    entries.push({
      name: nameOf(sources, null),
      from: originOf(sources),
      model: null,
      bytes,
      sources,
      isInUse: false,
      unused: null,
    });
  }
  tellApart(entries);
  const leftovers = [...unneededDownloads(store, records), ...unfinishedConversions(store), ...oldCache(store)];
  return { store: store.title, entries, leftovers };
}

/** Gives those that share a name the names of their files. What is served by a name of the hub's, what was pulled last, keeps it. */
function tellApart(entries: StoreEntry[]): void {
  const packed = entries.filter((entry): entry is StoreEntry & { model: StoredModel } => entry.model !== null);
  for (const same of Map.groupBy(packed, ({ name }) => name).values()) {
    if (same.length === 1) continue;
    const pulledAt = ({ name, sources }: StoreEntry) =>
      Math.max(0, ...sources.filter(({ origin }) => hubNameOf(origin) === name).map(({ time }) => time));
    const last = Math.max(...same.map(pulledAt));
    for (const entry of same) if (last === 0 || pulledAt(entry) < last) entry.name = fileName(entry.model);
  }
}

/**
 * The entry of a name: a hub's name, that of its packed file with or without the key, or the path that it was made from.
 *
 * @throws Failure when there is none, or several
 */
export function findEntry(inventory: Inventory, text: string): StoreEntry {
  const found = entriesNamed(inventory, text);
  if (found.length === 1) return found[0] as StoreEntry;
  if (found.length > 1) {
    const names = found.map(({ model, name }) => (model === null ? name : fileName(model)));
    throw new Failure(`'${text}' is the name of several models in the store: ${names.join(", ")}`);
  }
  const near = nearest(
    text,
    inventory.entries.map(({ name }) => name),
  );
  throw new Failure(
    `there is no model '${text}' in the store ${inventory.store}${near.length > 0 ? `; there is ${near.join(", ")}` : ""}; 'wrinklefree list' shows all`,
  );
}

/** All entries of a name. */
export function entriesNamed({ entries }: Inventory, text: string): StoreEntry[] {
  const exact = entries.filter(({ name }) => name === text);
  if (exact.length > 0) return exact;
  const hubName = parseHubName(text);
  return entries.filter(({ model, sources }) => {
    const isFile = model !== null && [model.path, basename(model.path), fileName(model), model.name].includes(text);
    return isFile || sources.some(({ origin }) => isOf(origin, text, hubName));
  });
}

function isOf(origin: SourceRecord["origin"], text: string, hubName: ReturnType<typeof parseHubName>): boolean {
  if (origin.kind === "path") {
    return existsSync(text)
      ? realpathSync(text) === origin.path
      : [origin.path, basename(origin.path), ggufName(origin.path)].includes(text);
  }
  if (hubName === null || origin.repository !== hubName.repository) return false;
  return origin.revision === hubName.revision || origin.commit === hubName.revision;
}

/** What a model gives. */
export type Given = "text" | "embeddings";

/** What an entry's model gives; null while it is not packed, where its packed file is damaged, and where it has no tokenizer. */
export async function givenBy({ model }: StoreEntry): Promise<Given | null> {
  if (model === null) return null;
  try {
    const packed = await readPackedModel(model.path);
    if (!hasTokenizer(packed)) return null;
    return packed.config.pooling === undefined ? "text" : "embeddings";
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return null;
  }
}

/** The entries that nobody needs and no process uses. */
export function unusedEntries({ entries }: Inventory): StoreEntry[] {
  return entries.filter(({ unused, isInUse }) => unused !== null && !isInUse);
}

/**
 * Removes an entry, with what was pulled for it.
 *
 * @returns bytes given back
 * @throws Failure when it is in use or cannot be removed
 */
export function removeEntry(store: Store, entry: StoreEntry): number {
  let bytes = 0;
  removing(() => {
    if (entry.model !== null) {
      if (!removeUnlessInUse(entry.model.path)) {
        throw new Failure(`${entry.name} is in use by a process of wrinklefree; end that first`);
      }
      bytes += entry.model.bytes;
    }
    for (const { origin } of entry.sources) forgetSource(store, origin);
  });
  const repositories = entry.sources.flatMap(({ origin }) => (origin.kind === "hub" ? [origin.repository] : []));
  for (const leftover of unneededDownloads(store, readSources(store))) {
    const isIts = leftover.repository !== null && repositories.includes(leftover.repository);
    if (isIts) bytes += removeLeftover(store, leftover);
  }
  return bytes;
}

/**
 * Removes something that nobody needs.
 *
 * @returns bytes given back: 0 when another process has come to need it
 * @throws Failure when it cannot be removed
 */
export function removeLeftover(store: Store, { paths, bytes, repository }: Leftover): number {
  return removing(() => {
    if (repository === null) {
      for (const path of paths) rmSync(path, { force: true });
      return bytes;
    }
    const lock = store.tryLock(pullLock(repository));
    if (lock === null) return 0;
    try {
      for (const path of paths) rmSync(path, { force: true });
      removeBrokenSnapshots(store, repository);
    } finally {
      lock.release();
    }
    return bytes;
  });
}

function removing<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${(error as NodeJS.ErrnoException).path ?? "the store"}: ${describeSystemError(error)}`);
  }
}

/** A name on the hub, or else that of the packed file, which the model's answers have as well. */
function nameOf(sources: SourceRecord[], model: StoredModel | null): string {
  const names = sources.map(({ origin }) => hubNameOf(origin)).filter((name) => name !== undefined);
  return names[0] ?? model?.name ?? "";
}

function hubNameOf(origin: SourceRecord["origin"]): string | undefined {
  return origin.kind === "hub" ? formatHubName(origin) : undefined;
}

/** The name that no other model has. */
function fileName({ path }: StoredModel): string {
  return basename(path, ".wf");
}

function originOf(sources: SourceRecord[]): string {
  const words = sources.map(({ origin }) =>
    origin.kind === "path"
      ? origin.path
      : `the hub, ${origin.commit.slice(0, 8)}${origin.file === null ? "" : `, ${origin.file}`}`,
  );
  return words.length === 0 ? "-" : words.join("; ");
}

/** Why no source leads to a packed model any more. */
function whyUnused(sources: SourceRecord[]): string | null {
  const reasons = sources.map((record) => {
    if (record.formatVersion !== FORMAT_VERSION) return "of another version's format";
    if (record.origin.kind === "hub") return null;
    if (!existsSync(record.origin.path)) return "its source is gone";
    return record.files.length > 0 && !isUnchanged(record) ? "its source has changed" : null;
  });
  if (reasons.length === 0) return "nothing is known to need it";
  return reasons.every((reason) => reason !== null) ? (reasons[0] as string) : null;
}

/** The contents in the store that a pull brought. */
function pulledFiles(store: Store, { path }: SourceRecord): string[] {
  try {
    return sourceFiles(path)
      .map((file) => realpathSync(file.path))
      .filter((file) => file.startsWith(`${realpathSync(store.hub)}/`));
  } catch {
    return [];
  }
}

/** What was pulled and is packed by now, belongs to a revision that was replaced, or never came to its end. */
function unneededDownloads(store: Store, records: SourceRecord[]): Leftover[] {
  const hub = existsSync(store.hub) ? realpathSync(store.hub) : store.hub;
  const keys = new Set<string | null>(store.list().map(({ key }) => key));
  const isPacked = ({ key }: SourceRecord) => keys.has(key);
  const files = (wanted: (record: SourceRecord) => boolean) =>
    new Set(
      records
        .filter((record) => record.origin.kind === "hub" && wanted(record))
        .flatMap((record) => pulledFiles(store, record)),
    );
  const needed = files((record) => !isPacked(record));
  const packed = files(isPacked);
  const found: Leftover[] = [];
  for (const folder of listNames(hub)) {
    const repository = repositoryOf(folder);
    if (repository === undefined) continue;
    if (isPulling(store, repository)) continue;
    const blobs = join(hub, folder, "blobs");
    const groups = new Map<string, string[]>();
    for (const name of listNames(blobs)) {
      const path = join(blobs, name);
      if (needed.has(path)) continue;
      const what = name.includes(INCOMPLETE_SUFFIX)
        ? `an unfinished pull of ${repository}`
        : packed.has(path)
          ? `what was pulled of ${repository}, which is packed now`
          : `of a revision of ${repository} that was replaced`;
      groups.set(what, [...(groups.get(what) ?? []), path]);
    }
    for (const [what, paths] of groups) {
      found.push({ what, paths, bytes: paths.reduce((sum, path) => sum + sizeOf(path), 0), repository });
    }
  }
  return found;
}

/** Whether a process pulls a repository now. */
function isPulling(store: Store, repository: string): boolean {
  // The lock's file is there while one does.
  if (!existsSync(join(store.locks, pullLock(repository)))) return false;
  try {
    const lock = store.tryLock(pullLock(repository));
    lock?.release();
    return lock === null;
  } catch {
    return false;
  }
}

/** Removes snapshots whose contents are gone, and a repository's folder when nothing is left in it. */
function removeBrokenSnapshots(store: Store, repository: string): void {
  const folder = repositoryFolder(store.hub, repository);
  const snapshots = join(folder, "snapshots");
  for (const commit of listNames(snapshots)) {
    const snapshot = join(snapshots, commit);
    const isBroken = readdirSync(snapshot, { recursive: true, encoding: "utf8" }).some(
      (path) => !existsSync(join(snapshot, path)),
    );
    if (isBroken) rmSync(snapshot, { recursive: true });
  }
  for (const directory of [snapshots, join(folder, "blobs"), folder]) {
    if (existsSync(directory) && listNames(directory).length === 0) rmdirSync(directory);
  }
}

/** What killed conversions left. */
function unfinishedConversions(store: Store): Leftover[] {
  return unfinishedModels(store).flatMap(({ key, path }) => {
    try {
      const lock = store.tryLock(modelLock(key));
      if (lock === null) return [];
      lock.release();
    } catch {
      // A store that cannot be written to has no conversions.
    }
    return [{ what: "an unfinished conversion", paths: [path], bytes: sizeOf(path), repository: null }];
  });
}

/** Earlier versions kept packed models in the directory itself, with hashes of a path and of times in their names. */
function oldCache(store: Store): Leftover[] {
  return listNames(store.directory).flatMap((name) => {
    const path = join(store.directory, name);
    const isModel = /^.+-[0-9a-f]{16}-[0-9a-f]{16}\.wf$/.test(name);
    const isUnfinished = /^\..+\.wf\.[0-9a-f]+\./.test(name) && name.endsWith(UNFINISHED_SUFFIX);
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (!status?.isFile() || (!isModel && !isUnfinished)) return [];
    if (isModel ? isInUse(path) : Date.now() - status.mtimeMs < ABANDONED_AFTER_MS) return [];
    return [{ what: "of an earlier version's cache", paths: [path], bytes: status.size, repository: null }];
  });
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
