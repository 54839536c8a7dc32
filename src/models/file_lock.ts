/**
 * Locks between processes, on files. The system takes them back from a process that dies, so that none is ever left behind.
 */

import { closeSync, fstatSync, openSync, rmSync, statSync } from "node:fs";
import { lockFile } from "../engine/library.ts";

/** How often a lock that another process has is asked for. */
const RETRY_MS = 100;

/** A lock that this process has. */
export interface FileLock {
  /** Gives it back. */
  release(): void;
}

/**
 * Takes a lock that one process at a time can have. Its file is there while somebody has it or waits for it.
 *
 * @param path the lock's file
 * @param onWait called once when another process has it
 * @param signal ends the waiting
 * @returns null when the signal came first
 * @throws the system's error when the file cannot be made
 */
export async function waitForLock(path: string, onWait: () => void, signal: AbortSignal): Promise<FileLock | null> {
  for (let isFirst = true; !signal.aborted; isFirst = false) {
    const lock = tryLock(path);
    if (lock !== null) return lock;
    if (isFirst) onWait();
    await Bun.sleep(RETRY_MS);
  }
  return null;
}

/**
 * The same without waiting.
 *
 * @returns null when another process has it
 * @throws the system's error when the file cannot be made
 */
export function tryLock(path: string): FileLock | null {
  for (;;) {
    const descriptor = openSync(path, "a", 0o600);
    if (!lockFile(descriptor, false)) {
      closeSync(descriptor);
      return null;
    }
    // Whoever had it before may have removed the file in the meantime; then a lock on it keeps nobody out.
    if (isAt(descriptor, path)) {
      return {
        release() {
          rmSync(path, { force: true });
          closeSync(descriptor);
        },
      };
    }
    closeSync(descriptor);
  }
}

/**
 * Marks a file as in use, together with others that use it, until this process ends.
 *
 * @returns false when it is gone, or about to be removed
 */
export async function holdFile(path: string): Promise<boolean> {
  // Whoever asks whether it is in use has it for a moment.
  for (let attempt = 0; attempt < 20; attempt++) {
    let descriptor: number;
    try {
      descriptor = openSync(path, "r");
    } catch {
      return false;
    }
    if (lockFile(descriptor, true)) {
      if (isAt(descriptor, path)) return true;
      closeSync(descriptor);
      return false;
    }
    closeSync(descriptor);
    await Bun.sleep(RETRY_MS);
  }
  return false;
}

/** Whether some process uses a file. */
export function isInUse(path: string): boolean {
  return !unlessInUse(path, () => undefined);
}

/**
 * Removes a file unless some process uses it.
 *
 * @returns whether it is gone
 * @throws the system's error
 */
export function removeUnlessInUse(path: string): boolean {
  return unlessInUse(path, () => rmSync(path, { force: true }));
}

function unlessInUse(path: string, action: () => void): boolean {
  const descriptor = openForLock(path);
  if (descriptor === undefined) return true;
  try {
    if (!lockFile(descriptor, false)) return false;
    action();
    return true;
  } finally {
    closeSync(descriptor);
  }
}

/** Some file systems lock only what is open for writing. */
function openForLock(path: string): number | undefined {
  for (const flags of ["r+", "r"]) {
    try {
      return openSync(path, flags);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      if (flags === "r") throw error;
    }
  }
  return undefined;
}

/** Whether an open file is the one of that name. */
function isAt(descriptor: number, path: string): boolean {
  const [here, there] = [fstatSync(descriptor), statSync(path, { throwIfNoEntry: false })];
  return there !== undefined && here.ino === there.ino && here.dev === there.dev;
}
