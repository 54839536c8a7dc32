/**
 * A file that is either written whole or not there at all: it grows under a temporary name beside its place, and only when all
 * bytes are on the disk it gets its own name. Whatever ends the writing early (a fault, Ctrl-C, a full disk, process.exit)
 * removes the temporary file.
 */

import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describeSystemError, Failure } from "../src/errors.ts";

/** The end of the names of unfinished files. */
export const UNFINISHED_SUFFIX = ".unfinished";

/** A name that a file may have until it is whole, beside its place. */
export function unfinishedPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}${UNFINISHED_SUFFIX}`);
}

/** A file being written at any position. Exactly one of commit and discard ends it; discard after commit does nothing. */
export class OutputFile {
  private readonly temporary: string;
  private readonly descriptor: number;
  private open = true;

  /**
   * Starts the file.
   *
   * @param path where it will be
   * @param size bytes that it will have, to refuse at once what the disk cannot hold
   * @param replace whether a file that is already there may be replaced
   * @throws Failure naming the path
   */
  constructor(
    private readonly path: string,
    size: number,
    private readonly replace: boolean,
  ) {
    this.refuseExisting();
    const directory = dirname(path);
    this.temporary = unfinishedPath(path);
    try {
      const { bavail, bsize } = statfsSync(directory);
      if (bavail * bsize < size) {
        throw new Failure(`${path}: no space: ${size} bytes are needed, ${bavail * bsize} are free in ${directory}`);
      }
      this.descriptor = openSync(this.temporary, "wx", 0o644);
    } catch (error) {
      throw this.failure(error);
    }
    process.once("exit", this.discard);
  }

  /**
   * Writes bytes at a position.
   *
   * @throws Failure naming the path, when the disk is full for one
   */
  write(position: number, bytes: Uint8Array): void {
    let written = 0;
    try {
      while (written < bytes.length) {
        written += writeSync(this.descriptor, bytes, written, bytes.length - written, position + written);
      }
    } catch (error) {
      throw this.failure(error);
    }
  }

  /**
   * Puts everything on the disk and gives the file its name.
   *
   * @throws Failure naming the path
   */
  commit(): void {
    try {
      fsyncSync(this.descriptor);
      this.refuseExisting();
      renameSync(this.temporary, this.path);
      this.end();
      syncDirectory(dirname(this.path));
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** Removes what was written, unless it was committed. */
  readonly discard = (): void => {
    if (!this.open) return;
    this.end();
    rmSync(this.temporary, { force: true });
  };

  private end(): void {
    this.open = false;
    process.off("exit", this.discard);
    closeSync(this.descriptor);
  }

  private refuseExisting(): void {
    if (!this.replace) refuseExisting(this.path);
  }

  private failure(error: unknown): Failure {
    if (error instanceof Failure) return error;
    return new Failure(`${this.path}: cannot be written: ${describeSystemError(error)}`);
  }
}

/** Makes a rename in a directory last through a power cut. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** @throws Failure when something is there that an output would replace. */
export function refuseExisting(path: string): void {
  if (existsSync(path)) throw new Failure(`${path}: already exists; --force replaces it`);
}
