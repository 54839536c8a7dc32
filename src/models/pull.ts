/** Brings a model from the hub into the store. */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { readArchitecture } from "../../convert/checkpoint_config.ts";
import { bytesLacking, download, type Wanted } from "../hub/download.ts";
import type { Hub } from "../hub/endpoint.ts";
import { chooseFiles, describe, type FileChoice } from "../hub/file_choice.ts";
import { formatHubName, type HubName } from "../hub/hub_name.ts";
import { type HubFile, readRepository } from "../hub/repository.ts";
import {
  blobPath,
  cachedSnapshot,
  findBlob,
  hubCache,
  linkFile,
  repositoryFolder,
  snapshotFolder,
} from "../hub/snapshot.ts";
import { readSmallFile } from "../model_file/byte_source.ts";
import { ConfigFields, naming, parseJson } from "../model_file/config_fields.ts";
import { ASSET_BYTES_MAX } from "../model_file/layout.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import type { Source } from "./conversion.ts";
import { sourceFiles } from "./source_files.ts";
import { type HubOrigin, readSources, rememberSource, type SourceRecord } from "./source_record.ts";
import type { Store } from "./store.ts";

const CONFIG = "config.json";

/** What a pull would do. */
export interface PullPlan {
  name: HubName;
  commit: string;
  choice: FileChoice<HubFile>;
  /** Bytes that are not on this machine yet. */
  bytes: number;
}

/**
 * Asks the hub what a model consists of.
 *
 * @param file the file that the user named
 * @throws Failure when there is none, or the hub cannot be reached
 */
export async function planPull(store: Store, hub: Hub, name: HubName, file?: string): Promise<PullPlan> {
  const { commit, files } = await interruptible((signal) => readRepository(hub, name, signal));
  const choice = chooseFiles(formatHubName(name), files, file);
  return { name, commit, choice, bytes: bytesLacking(missing(store, name, choice.files)) };
}

/** A plan in words: what is taken, and what else there is. */
export function describePlan({ name, choice, bytes }: PullPlan): string {
  const size = choice.files.reduce((sum, { size: count }) => sum + count, 0);
  const left = bytes === size ? "" : `, ${formatBytes(bytes)} of it still to come`;
  const others = choice.others.length > 0 ? `; also there, with --file NAME: ${choice.others.join(", ")}` : "";
  return `${formatHubName(name)}: ${describe({ file: choice.file, bytes: size })}${left}${others}`;
}

/**
 * Fetches what a plan lacks and puts it into the store.
 *
 * @returns what is to be converted
 * @throws Failure. What came is kept for the next time.
 */
export async function pull(store: Store, hub: Hub, plan: PullPlan): Promise<Source> {
  const { name, commit, choice } = plan;
  const folder = repositoryFolder(store.hub, name.repository);
  const snapshot = snapshotFolder(folder, commit);
  await store.exclusively(pullLock(name.repository), `pulls ${name.repository}`, async (signal) => {
    store.prepare(join(folder, "blobs"));
    // Another process may have fetched it while it was waited for.
    const wanted = missing(store, name, choice.files);
    const config = choice.file === null ? choice.files.find(({ path }) => path === CONFIG) : undefined;
    if (wanted.length > 0) {
      // Gigabytes of what can't be served need not come.
      const first = wanted.filter(({ file }) => file === config);
      if (first.length > 0) await fetchWanted(hub, plan, first, signal);
      if (config !== undefined) requireArchitecture(name, findBlob(blobFolders(store, name), config.blob, config.size));
      await fetchWanted(hub, plan, missing(store, name, choice.files), signal);
    }
    try {
      for (const { path, blob, size } of choice.files) {
        linkFile(snapshot, path, findBlob(blobFolders(store, name), blob, size) ?? blobPath(folder, blob));
      }
    } catch (error) {
      throw store.failure(error);
    }
  });
  const origin: HubOrigin = { kind: "hub", ...name, commit, file: choice.file };
  const source = sourceOf(origin, join(snapshot, choice.file ?? ""));
  // What was packed of an earlier commit serves until this one is packed as well.
  if (pulledRecords(store, name).every(({ key }) => key === null)) {
    rememberSource(store, { origin, path: source.path, files: [], paths: [], key: null });
  }
  return source;
}

/** Refuses a checkpoint of an architecture that nothing here reads. */
function requireArchitecture(name: HubName, path: string | undefined): void {
  if (path === undefined) return;
  const bytes = readSmallFile(path, ASSET_BYTES_MAX);
  naming(`${formatHubName(name)}: ${CONFIG}`, () => readArchitecture(new ConfigFields(parseJson(bytes), "it")));
}

/** The name of the lock that is held while something is pulled. */
export function pullLock(repository: string): string {
  return `pull-${repository.replace("/", "--")}`;
}

async function fetchWanted(hub: Hub, { name, commit }: PullPlan, wanted: Wanted[], signal: AbortSignal): Promise<void> {
  const loading = showProgress("pulling", notes);
  let checking: ReturnType<typeof showProgress> | undefined;
  try {
    await download(hub, name, commit, wanted, {
      onProgress: loading.update,
      onCheck: (progress) => {
        if (checking === undefined) loading.finish();
        checking ??= showProgress("comparing checksums", notes);
        checking.update(progress);
      },
      say: loading.say,
      signal,
    });
  } catch (error) {
    // The process ends by the signal, and says nothing more.
    if (signal.aborted) loading.say((error as Error).message);
    throw error;
  } finally {
    (checking ?? loading).finish();
  }
}

/** Where contents of a repository may be on this machine. */
function blobFolders(store: Store, { repository }: HubName): string[] {
  return [store.hub, hubCache()].map((root) => repositoryFolder(root, repository));
}

/** The contents that are not on this machine, each once. */
function missing(store: Store, name: HubName, files: HubFile[]): Wanted[] {
  const folder = repositoryFolder(store.hub, name.repository);
  const lacking = files.filter(({ blob, size }) => findBlob(blobFolders(store, name), blob, size) === undefined);
  return [...new Map(lacking.map((file) => [file.blob, { file, target: blobPath(folder, file.blob) }])).values()];
}

function sourceOf(origin: HubOrigin, path: string): Source {
  return { origin, path, name: origin.repository, given: formatHubName(origin) };
}

/** What was pulled under a name, the latest first. */
export function pulledRecords(
  store: Store,
  { repository, revision }: HubName,
): (SourceRecord & { origin: HubOrigin })[] {
  return readSources(store).filter(
    (record): record is SourceRecord & { origin: HubOrigin } =>
      record.origin.kind === "hub" &&
      record.origin.repository === repository &&
      (record.origin.revision === revision || record.origin.commit === revision),
  );
}

/** Whether what was pulled is there, with all that its links lead to. */
function isWhole(path: string): boolean {
  const isThere = (file: string) => statSync(file, { throwIfNoEntry: false }) !== undefined;
  if (!isThere(path)) return false;
  if (!statSync(path).isDirectory()) return sourceFiles(path).every((file) => isThere(file.path));
  return readdirSync(path).every((name) => isThere(join(path, name)));
}

/** What is on this machine under a name and can be converted: what was pulled, or what the hub's own tools loaded. */
export function localSource(store: Store, name: HubName): Source | null {
  for (const { origin, path } of pulledRecords(store, name)) {
    if (isWhole(path)) return sourceOf(origin, path);
  }
  const cached = cachedSnapshot(hubCache(), name);
  if (cached === null) return null;
  try {
    const { file } = chooseFiles(formatHubName(name), cached.files);
    return sourceOf({ kind: "hub", ...name, commit: cached.commit, file }, join(cached.folder, file ?? ""));
  } catch {
    return null;
  }
}
