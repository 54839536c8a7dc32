/**
 * Keeps converted checkpoints, so that a directory is converted once and found again until it changes. A file's name in the cache
 * holds two hashes, one of the directory's path and one of its state; nothing else is recorded. Any number of processes may
 * convert the same directory at once: each writes under a name of its own, and the last one to finish wins with equal bytes.
 */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { sourceFiles } from "../../convert/formats.ts";
import { UNFINISHED_SUFFIX } from "../../convert/output_file.ts";
import { FORMAT_VERSION } from "../engine/symbols.ts";
import { describeSystemError, Failure } from "../errors.ts";
import { statusOf } from "../model_file/byte_source.ts";

/** An unfinished file that nobody has written to for so long was left by a process that was killed. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/**
 * The directory of the cache, made if it is not there.
 *
 * @throws Failure when it cannot be made, or belongs to somebody else
 */
export function openCacheDirectory(): string {
  const chosen = chooseCacheDirectory();
  const directory = chosen ?? join(tmpdir(), `wrinklefree-${process.getuid?.() ?? "user"}`);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // In the temporary directory every user may write: what another one made there could hold any model.
    if (chosen === null && statSync(directory).uid !== process.getuid?.()) {
      throw new Failure(`${directory}: belongs to another user; set WRINKLEFREE_CACHE to a directory of yours`);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(
      `${directory}: cannot be made for converted models: ${describeSystemError(error)}; set WRINKLEFREE_CACHE to another directory`,
    );
  }
  return directory;
}

/** The place that the environment gives; null when it gives none. */
function chooseCacheDirectory(): string | null {
  const { WRINKLEFREE_CACHE: own, XDG_CACHE_HOME: xdg, HOME: home } = process.env;
  if (own) return own;
  if (xdg) return join(xdg, "wrinklefree");
  if (home) return join(home, ".cache", "wrinklefree");
  return null;
}

/** Where a checkpoint's conversion belongs. */
export interface CachePlace {
  path: string;
  /** Removes conversions of earlier states of the same directory, and what killed processes left. Faults are of no account. */
  removeStale(): void;
}

/**
 * The place in the cache for the present state of a checkpoint: its files' names, sizes and times of change.
 *
 * @throws Failure when the checkpoint's directory cannot be read
 */
export function cachePlace(cache: string, directory: string): CachePlace {
  const real = realpathSync(directory);
  const state = createHash("sha256").update(`${FORMAT_VERSION}\n`);
  for (const path of sourceFiles(real)) {
    const { size, mtimeMs } = statusOf(path);
    state.update(`${basename(path)}\0${size}\0${mtimeMs}\n`);
  }
  const pathHash = createHash("sha256").update(real).digest("hex").slice(0, 16);
  const prefix = `${basename(real)}-${pathHash}-`;
  const fileName = `${prefix}${state.digest("hex").slice(0, 16)}.wf`;
  return {
    path: join(cache, fileName),
    removeStale() {
      try {
        for (const name of readdirSync(cache)) {
          const stale = name.startsWith(prefix) && name.endsWith(".wf") && name !== fileName;
          if (stale || (name.endsWith(UNFINISHED_SUFFIX) && isAbandoned(join(cache, name)))) {
            rmSync(join(cache, name), { force: true });
          }
        }
      } catch {
        // They take room, and nothing else.
      }
    },
  };
}

function isAbandoned(path: string): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  return status !== undefined && Date.now() - status.mtimeMs > ABANDONED_AFTER_MS;
}
