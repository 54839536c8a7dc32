/** Makes packed models of what is in other formats, once for the same contents, and finds them again. */

import { rmSync } from "node:fs";
import { constants, copyFile, rename } from "node:fs/promises";
import { convertCheckpoint } from "../../convert/convert.ts";
import { isCheckpoint } from "../../convert/formats.ts";
import { unfinishedPath } from "../../convert/output_file.ts";
import { describeSystemError, Failure } from "../errors.ts";
import { type PackedModel, readPackedModel } from "../model_file/packed.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes, notice } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import { holdFile, removeUnlessInUse } from "./file_lock.ts";
import { type Fingerprint, fileIdentity, fingerprint } from "./fingerprint.ts";
import { sourceFiles } from "./source_files.ts";
import { knownHashes, readSources, rememberSource, type SourceRecord } from "./source_record.ts";
import { modelLock, type Store, unfinishedModels } from "./store.ts";

/** What is to be converted. */
export interface Source {
  origin: SourceRecord["origin"];
  /** The directory or file. */
  path: string;
  /** What the model is called. */
  name: string;
  /** What to call it in messages. */
  given: string;
}

/**
 * The packed model of a source, made now unless the store has it. It is in use then, by this process, until that ends.
 *
 * @throws Failure, one line, when the source cannot be used or the store cannot be written to
 */
export async function packedModelOf(store: Store, source: Source): Promise<PackedModel> {
  // Before gigabytes are read.
  store.make();
  const records = readSources(store);
  const files = sourceFiles(source.path);
  const paths = files.map(({ path }) => path);
  const reading = showProgress("reading", notes);
  let print: Fingerprint;
  try {
    print = await interruptible((signal) =>
      fingerprint(files, { known: knownHashes(records), onProgress: reading.update, signal }),
    );
  } finally {
    reading.finish();
  }
  const { key } = print;
  const packed = (await openStored(store, key)) ?? (await make(store, source, print, paths));
  const { origin, path } = source;
  const old = records.find((record) => sameOrigin(record.origin, origin));
  const isKnown = old?.key === key && old.path === path && Bun.deepEquals(old.origin, origin);
  // Files that changed a moment ago are read again the next time.
  if (!isKnown || (print.isSettled && !isRemembered(old, print))) {
    rememberSource(store, { origin, path, ...(print.isSettled ? { files: print.files, paths } : nothing), key });
  }
  if (old !== undefined && old.key !== null && old.key !== key) removeSuperseded(store, old.key);
  return packed;
}

/** What is remembered of files that are read again. */
const nothing = { files: [], paths: [] };

/** Whether a record's files are those of a fingerprint. */
function isRemembered(record: SourceRecord, { files }: Fingerprint): boolean {
  return record.files.length > 0 && Bun.deepEquals(record.files, files);
}

/**
 * Opens a packed model of the store and marks it as in use.
 *
 * @returns null when there is none, or it is damaged, which is said
 */
export async function openStored(store: Store, key: string): Promise<PackedModel | null> {
  const stored = store.find(key);
  if (stored === undefined || !(await holdFile(stored.path))) return null;
  try {
    return await readPackedModel(stored.path);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    notice(stored.path, `${error.message.replace(`${stored.path}: `, "")}; it is made again`);
    return null;
  }
}

/** Converts a source, unless another process does; then that one's work is waited for and used. */
async function make(store: Store, source: Source, print: Fingerprint, paths: string[]): Promise<PackedModel> {
  const { key } = print;
  const packed = await store.exclusively(modelLock(key), `converts ${source.given}`, async (signal) => {
    const made = await openStored(store, key);
    if (made !== null) return made;
    store.prepare(store.models);
    // Whoever wrote these had the lock and is dead.
    for (const unfinished of unfinishedModels(store)) if (unfinished.key === key) rmSync(unfinished.path);
    const path = store.find(key)?.path ?? store.placeFor(source.name, key);
    await convert(source, path, signal);
    if (paths.some((name, index) => fileIdentity(name) !== print.files[index]?.identity)) {
      rmSync(path, { force: true });
      throw new Failure(`${source.given}: changed while it was converted; try again`);
    }
    return await openStored(store, key);
  });
  if (packed === null) throw new Failure(`${source.given}: what was made of it was removed at once; try again`);
  return packed;
}

/** Makes the packed file. */
async function convert(source: Source, path: string, signal: AbortSignal): Promise<void> {
  if (!isCheckpoint(source.path)) return await copyPacked(source.path, path);
  let isAnnounced = false;
  const progress = showProgress("converting", notes);
  try {
    await convertCheckpoint(source.path, path, {
      name: source.name,
      replace: true,
      signal,
      onProgress: (state) => {
        if (!isAnnounced) notes.write(`converting ${source.given} to ${path}, once\n`);
        isAnnounced = true;
        progress.update(state);
      },
      onNotice: (text) => notice(source.given, text),
    });
  } finally {
    progress.finish();
  }
}

/** A packed file that was pulled is kept as it is. */
async function copyPacked(from: string, path: string): Promise<void> {
  await readPackedModel(from);
  const temporary = unfinishedPath(path);
  try {
    await copyFile(from, temporary, constants.COPYFILE_FICLONE);
    await rename(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new Failure(`${path}: cannot be written: ${describeSystemError(error)}`);
  }
}

/** Removes what was made of an earlier state of a source, unless another source has the same contents, or it is in use. */
function removeSuperseded(store: Store, key: string): void {
  if (readSources(store).some((record) => record.key === key)) return;
  const stored = store.find(key);
  try {
    if (stored !== undefined) removeUnlessInUse(stored.path);
  } catch {
    // It stays, and `prune` tries again.
  }
}

function sameOrigin(a: SourceRecord["origin"], b: SourceRecord["origin"]): boolean {
  if (a.kind === "path") return b.kind === "path" && a.path === b.path;
  return b.kind === "hub" && a.repository === b.repository && a.revision === b.revision && a.file === b.file;
}
