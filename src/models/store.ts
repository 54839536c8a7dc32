/**
 * The store: a directory with everything that this program keeps of models.
 *
 *   models/NAME-KEY.wf                 packed models, made from files of other formats; KEY tells contents apart
 *   sources/ID.json                    what they were made from, and what was pulled (source_record.ts)
 *   hub/models--OWNER--NAME/           what was pulled, in the layout of the hub's own cache (src/hub/snapshot.ts)
 *   locks/                             held while something is made
 *
 * All of it can be made or pulled again, so it lies where caches lie.
 */

import { accessSync, constants, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { UNFINISHED_SUFFIX } from "../../convert/output_file.ts";
import { describeSystemError, Failure } from "../errors.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes } from "../terminal/output.ts";
import { type FileLock, tryLock, waitForLock } from "./file_lock.ts";

/** The longest name of a model in that of its file, in bytes: with key and endings, file systems take 255. */
const NAME_BYTES_MAX = 160;

/** Hexadecimal digits of a key. */
export const KEY_DIGITS = 16;

/** What to do about one that is of no use. */
const OTHERWISE = "name another directory with --store or WRINKLEFREE_STORE";

/** A packed model in the store. */
export interface StoredModel {
  /** Of the contents that it was made from. */
  key: string;
  /** The name in front of the key. */
  name: string;
  path: string;
  bytes: number;
}

/** Where the store is unless the user says otherwise; null when the environment has no place for caches. */
function chooseDirectory(): string | null {
  const { XDG_CACHE_HOME: xdg, HOME: home } = process.env;
  if (xdg) return join(xdg, "wrinklefree");
  if (home) return join(home, ".cache", "wrinklefree");
  return null;
}

/** The store on the disk. */
export class Store {
  private constructor(
    /** Its directory. */
    readonly directory: string,
  ) {}

  /**
   * Opens the store. Its directory may be one that cannot be written to, or that is not there yet: it is made when something comes.
   *
   * @param chosen the directory that the user named
   * @throws Failure when it is no directory, or belongs to somebody else
   */
  static open(chosen?: string): Store {
    const named = chosen ?? chooseDirectory();
    const store = new Store(named ?? join(tmpdir(), `wrinklefree-${process.getuid?.() ?? "user"}`));
    // In the temporary directory every user may write: what another one made there could hold any model.
    if (named === null) {
      store.make();
      if (statSync(store.directory).uid !== process.getuid?.()) {
        throw new Failure(`${store.directory}: belongs to another user; set WRINKLEFREE_STORE to a directory of yours`);
      }
    }
    try {
      store.existingDirectory();
    } catch (error) {
      throw new Failure(`${store.directory}: is no place for models: ${describeSystemError(error)}; ${OTHERWISE}`);
    }
    return store;
  }

  /** Whether its directory is there. */
  get isThere(): boolean {
    return existsSync(this.directory);
  }

  /** What to call it in messages. */
  get title(): string {
    return this.isThere ? this.directory : `${this.directory}, which is not there yet`;
  }

  /** Its directory, or the nearest one above it that is there. @throws the system's error, when that is a file for one. */
  existingDirectory(): string {
    for (let place = this.directory; ; place = dirname(place)) {
      const status = statSync(place, { throwIfNoEntry: false });
      if (status?.isDirectory()) return place;
      if (status !== undefined)
        throw new Failure(place === this.directory ? "it is no directory" : `${place} is no directory`);
    }
  }

  /** Makes its directory, unless it is there. @throws Failure when that cannot be. */
  make(): void {
    try {
      mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new Failure(`${this.directory}: cannot be made for models: ${describeSystemError(error)}; ${OTHERWISE}`);
    }
  }

  get models(): string {
    return join(this.directory, "models");
  }

  get sources(): string {
    return join(this.directory, "sources");
  }

  get hub(): string {
    return join(this.directory, "hub");
  }

  get locks(): string {
    return join(this.directory, "locks");
  }

  /** The packed models, by name. */
  list(): StoredModel[] {
    const found: StoredModel[] = [];
    for (const file of listNames(this.models).sort()) {
      const [, name, key] = /^(.+)-([0-9a-f]{16})\.wf$/.exec(file) ?? [];
      if (name === undefined || key === undefined) continue;
      const path = join(this.models, file);
      const status = statSync(path, { throwIfNoEntry: false });
      if (status?.isFile()) found.push({ key, name, path, bytes: status.size });
    }
    return found;
  }

  /** The packed model that was made from some contents. */
  find(key: string): StoredModel | undefined {
    return this.list().find((model) => model.key === key);
  }

  /** Where a new packed model belongs. */
  placeFor(name: string, key: string): string {
    return join(this.models, `${plainName(name)}-${key}.wf`);
  }

  /**
   * Makes a folder of the store, which is about to be written to.
   *
   * @throws Failure when it cannot be written to
   */
  prepare(folder: string): void {
    this.make();
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      accessSync(folder, constants.W_OK);
    } catch (error) {
      throw this.failure(error);
    }
  }

  /**
   * Does work that one process at a time may do.
   *
   * @param name of the work, fit for a file name
   * @param what what the other process does, for the line that says that it is waited for
   * @param work gets a signal that comes when the user wants it to end
   * @throws Failure when the store cannot be written to, or the user gave up waiting
   */
  async exclusively<Result>(
    name: string,
    what: string,
    work: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    this.prepare(this.locks);
    return await interruptible(async (signal) => {
      const onWait = () => notes.write(`waiting for another process that ${what}\n`);
      const lock = await waitForLock(join(this.locks, name), onWait, signal).catch((error: unknown) => {
        throw this.failure(error);
      });
      if (lock === null) throw new Failure("interrupted");
      try {
        return await work(signal);
      } finally {
        lock.release();
      }
    });
  }

  /** The lock of some work; null when another process does it. @throws Failure when the store cannot be written to. */
  tryLock(name: string): FileLock | null {
    this.prepare(this.locks);
    try {
      return tryLock(join(this.locks, name));
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** What to say of a store that cannot be written to. */
  failure(error: unknown): Failure {
    if (error instanceof Failure) return error;
    return new Failure(`the store ${this.directory} cannot be written to: ${describeSystemError(error)}; ${OTHERWISE}`);
  }
}

/** A name of something outside as that of a model in the store: fit for a file's name, and for every command. */
export function plainName(name: string): string {
  const plain = name.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]+|[/\\$`]/gu, "-").replace(/^[-.~ ]+/, "");
  let bytes = 0;
  const kept = [...plain].filter((character) => {
    bytes += Buffer.byteLength(character);
    return bytes <= NAME_BYTES_MAX;
  });
  return kept.join("").trimEnd() || "model";
}

/** The name of the lock that is held while the packed model of a key is made. */
export function modelLock(key: string): string {
  return `model-${key}`;
}

/** The unfinished files of packed models, with the keys of those models. */
export function unfinishedModels(store: Store): { key: string; path: string }[] {
  const found: { key: string; path: string }[] = [];
  for (const file of listNames(store.models)) {
    const [, key] = /-([0-9a-f]{16})\.wf\.[0-9a-f]+\.\w+$/.exec(file) ?? [];
    if (key !== undefined && file.endsWith(UNFINISHED_SUFFIX)) found.push({ key, path: join(store.models, file) });
  }
  return found;
}

/** The names in a directory; none when it is not there or cannot be read. */
export function listNames(directory: string): string[] {
  try {
    return existsSync(directory) ? readdirSync(directory) : [];
  } catch {
    return [];
  }
}
