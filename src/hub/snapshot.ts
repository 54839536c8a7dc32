/**
 * The layout of the hub's own cache, which the store's folder for pulled files has as well:
 *
 *   models--OWNER--NAME/blobs/HASH               contents; HASH.incomplete while they come
 *   models--OWNER--NAME/snapshots/COMMIT/PATH    links to them
 *   models--OWNER--NAME/refs/REVISION            the commit of a revision
 */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import type { RepositoryFile } from "./file_choice.ts";
import type { HubName } from "./hub_name.ts";

/** Where the hub's own tools keep what they load. */
export function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = process.env;
  if (HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE) return (HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE) as string;
  return join(HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"), "hub");
}

/** The folder of a repository. */
export function repositoryFolder(root: string, repository: string): string {
  return join(root, `models--${repository.replace("/", "--")}`);
}

/** The repository that a folder is of; undefined for anything else. */
export function repositoryOf(folderName: string): string | undefined {
  return /^models--([^/]+?)--([^/]+)$/.exec(folderName)?.slice(1).join("/");
}

/** Where the files of a commit lie. */
export function snapshotFolder(folder: string, commit: string): string {
  return join(folder, "snapshots", commit);
}

/** Where contents lie. */
export function blobPath(folder: string, blob: string): string {
  return join(folder, "blobs", blob);
}

/** Contents that are there already, in the first of some folders; undefined when in none. */
export function findBlob(folders: string[], blob: string, size: number): string | undefined {
  return folders
    .map((folder) => blobPath(folder, blob))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.size === size);
}

/** Puts a name for contents into a snapshot. @throws the system's error. */
export function linkFile(snapshot: string, path: string, blob: string): void {
  const link = join(snapshot, path);
  mkdirSync(dirname(link), { recursive: true, mode: 0o700 });
  // Within the store links stay right when it moves.
  const isOwn = dirname(dirname(blob)) === dirname(dirname(snapshot));
  const target = isOwn ? relative(dirname(link), blob) : realpathSync(blob);
  // At no time is there none: another process may read it.
  const fresh = `${link}.new`;
  rmSync(fresh, { force: true });
  symlinkSync(target, fresh);
  renameSync(fresh, link);
}

/** A snapshot that the hub's own tools loaded: its folder, and the files that are there. */
export function cachedSnapshot(
  root: string,
  { repository, revision }: HubName,
): { commit: string; folder: string; files: RepositoryFile[] } | null {
  const folder = repositoryFolder(root, repository);
  const ref = join(folder, "refs", revision);
  try {
    const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : readFileSync(ref, "utf8").trim();
    if (!/^[0-9a-f]{40}$/.test(commit)) return null;
    const snapshot = snapshotFolder(folder, commit);
    if (!existsSync(snapshot)) return null;
    const files: RepositoryFile[] = [];
    for (const path of readdirSync(snapshot, { recursive: true, encoding: "utf8" })) {
      const status = statSync(join(snapshot, path), { throwIfNoEntry: false });
      if (status?.isFile()) files.push({ path, size: status.size });
    }
    return { commit, folder: snapshot, files };
  } catch {
    return null;
  }
}
