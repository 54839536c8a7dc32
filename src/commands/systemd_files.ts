/** Who may read the files that a service is given: a service of the system has a user of its own. */

import { readdirSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { describeSystemError } from "../errors.ts";

/** Where a service of the system sees something else than others do, so that what it needs there has to be shown to it. */
const HIDDEN = ["/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"];

const [OTHERS_READ, OTHERS_WRITE, OTHERS_SEARCH, GROUP_READS] = [0o004, 0o002, 0o001, 0o040];

/** Whether a path has to be shown to a service. */
export function isHidden(path: string): boolean {
  return HIDDEN.some((directory) => path.startsWith(directory));
}

/** Why a path is no file that a service can be given; undefined where it is one, or where that can't be found out. */
export function fileFault(path: string): string | undefined {
  try {
    return statSync(path).isFile() ? undefined : `${path} is no regular file`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "EACCES" ? undefined : `${path}: ${describeSystemError(error)}`;
  }
}

/** Whether no group of the service's could read a file. */
export function isForRootAlone(path: string): boolean {
  const found = statusOf(path);
  return (
    found === undefined ||
    !isReachable(path) ||
    !isReachable(realpathSync(path)) ||
    (!mayOthersRead(found) && readersGroup(path) === undefined)
  );
}

/** The group, other than root's, that may read a file which others may not. */
export function readersGroup(path: string): number | undefined {
  const found = statusOf(path);
  if (found === undefined || mayOthersRead(found) || (found.mode & GROUP_READS) === 0 || found.gid === 0) {
    return undefined;
  }
  return found.gid;
}

/**
 * The first path that not every user can read: a file or a directory itself, or what it holds; undefined: all can be read.
 *
 * @param path without links.
 * @param seen directories that were looked at.
 */
export function unreadablePath(path: string, seen = new Set<string>()): string | undefined {
  if (isClosed(path)) return path;
  if (!isDirectory(path) || seen.has(path)) return undefined;
  seen.add(path);
  // No model has hidden files; a link that leads nowhere is none of its files either.
  const names = readdirSync(path).filter((name) => !name.startsWith("."));
  for (const one of names.map((name) => join(path, name)).filter((inside) => statusOf(inside) !== undefined)) {
    const unreadable = unreadablePath(realpathSync(one), seen);
    if (unreadable !== undefined) return unreadable;
  }
  return undefined;
}

/** Whether not every user can read a file, or what stands in a directory. */
export function isClosed(path: string): boolean {
  const found = statusOf(path);
  if (found === undefined || !isReachable(path) || !mayOthersRead(found)) return true;
  return found.isDirectory() && (found.mode & OTHERS_SEARCH) === 0;
}

/** Whether every user can make files in a directory. */
export function mayOthersWrite(path: string): boolean {
  return !isClosed(path) && ((statusOf(path)?.mode ?? 0) & OTHERS_WRITE) !== 0;
}

/** Whether there is a directory. */
export function isDirectory(path: string): boolean {
  return statusOf(path)?.isDirectory() === true;
}

function mayOthersRead({ mode }: Stats): boolean {
  return (mode & OTHERS_READ) !== 0;
}

/** Whether any user gets to a path. What is shown to the service is reached in any case. */
function isReachable(path: string): boolean {
  if (isHidden(path)) return true;
  const above = dirname(path);
  const found = statusOf(above);
  return above === path || (found !== undefined && (found.mode & OTHERS_SEARCH) !== 0 && isReachable(above));
}

function statusOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
