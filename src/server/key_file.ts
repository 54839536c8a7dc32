/**
 * API keys as they are given: in files, one a line, with settings behind it if it has any, and elsewhere by themselves. A key is given
 * as clients send it, or as its SHA-256, so that whoever reads the file can't use it.
 */

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { describeSystemError, Failure } from "../errors.ts";
import { suggestion } from "../options/suggestion.ts";
import type { KeyLimits } from "../serving/api_key.ts";
import { isLasting } from "./lasting_file.ts";

/** Largest file of keys, in bytes. */
const KEY_FILE_BYTES_MAX = 1024 * 1024;

/** What stands before a key's SHA-256. */
const HASHED = "sha256:";

/** What may stand behind a key, with what each takes. */
const SETTINGS = ["name", "requests", "tokens", "running"] as const;
const SETTINGS_TEXT = "name=NAME, requests=N, tokens=N and running=N";

/** A key as it was given. */
export interface GivenKey {
  /** Its SHA-256 in hexadecimal; the key itself is kept nowhere. */
  readonly hash: string;
  /** What the log calls it. */
  readonly name: string | undefined;
  /** Those that it has of its own. */
  readonly limits: KeyLimits;
  /** Where it was given, for people. */
  readonly place: string;
}

/** What is wrong with a key, as the end of a sentence that says what it takes; undefined: nothing. */
export function keyFault(text: string): string | undefined {
  if (isHashed(text)) {
    return /^[0-9a-f]{64}$/i.test(text.slice(HASHED.length))
      ? undefined
      : `64 hexadecimal digits behind ${HASHED}, which 'printf %s KEY | sha256sum' gives`;
  }
  // Headers hold nothing else faithfully.
  return /^[\x21-\x7e]+$/.test(text) ? undefined : "visible ASCII characters, and no space in a key";
}

/** Whether it is not the key that clients send. */
export function isHashed(text: string): boolean {
  return text.slice(0, HASHED.length).toLowerCase() === HASHED;
}

/** The SHA-256 of a key without a fault, in hexadecimal. */
export function keyHash(text: string): string {
  if (isHashed(text)) return text.slice(HASHED.length).toLowerCase();
  return createHash("sha256").update(text).digest("hex");
}

/** What a file was found to hold. */
interface KeyFile {
  keys: readonly GivenKey[];
  /** Whether it can be read again: a pipe can't. */
  isLasting: boolean;
}

/** The keys of a server, which can be read again. */
export class KeySource {
  /** One may stand in several places, with the same settings. */
  readonly keys: readonly GivenKey[];
  /** Why files whose keys stay as they were could not be read again. */
  readonly refusals: readonly string[];
  readonly #files: ReadonlyMap<string, KeyFile>;

  private constructor(known: readonly GivenKey[], paths: readonly string[], before: ReadonlyMap<string, KeyFile>) {
    const keys = [...known];
    const refusals: string[] = [];
    const files = new Map([...before].filter(([, { isLasting }]) => !isLasting));
    for (const path of new Set(paths)) {
      const file = files.get(path) ?? readAgain(path, keys, before.get(path), refusals);
      files.set(path, file);
      keys.push(...file.keys);
    }
    this.keys = keys;
    this.refusals = refusals;
    this.#files = files;
  }

  /** How many different ones there are. */
  get count(): number {
    return new Set(this.keys.map(({ hash }) => hash)).size;
  }

  /** Adds the keys of files to those that are known. @throws Failure. */
  static read(known: readonly GivenKey[], paths: readonly string[]): KeySource {
    return new KeySource(known, paths, new Map());
  }

  /**
   * Reads files anew. Each stands for itself: one with a fault keeps the keys that it had, and the others are read all the same, so that
   * a key that is taken out of them is out.
   *
   * @throws Failure for a file with a fault that was not read before.
   */
  again(known: readonly GivenKey[], paths: readonly string[]): KeySource {
    return new KeySource(known, paths, this.#files);
  }
}

/** Reads a file; where that fails, it is what it was before, if there was one. */
function readAgain(
  path: string,
  others: readonly GivenKey[],
  before: KeyFile | undefined,
  refusals: string[],
): KeyFile {
  try {
    const keys = readKeyFile(path, others);
    return { keys, isLasting: isLasting(path) };
  } catch (error) {
    if (before === undefined || !(error instanceof Failure)) throw error;
    refusals.push(error.message);
    return before;
  }
}

/**
 * Reads the keys of a file; empty lines and those that begin with # are none.
 *
 * @param others keys of other places, which must not say something else of the same key, or call another one by the same name.
 * @throws Failure when the file can't be read, has no key, or has a line with a fault.
 */
function readKeyFile(path: string, others: readonly GivenKey[]): GivenKey[] {
  let text: string;
  try {
    text = readText(path);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`can't read the keys in ${path}: ${describeSystemError(error)}`);
  }
  const keys: GivenKey[] = [];
  const agreement = new Agreement(others);
  for (const [index, line] of text.split(/\r\n|\r|\n/).entries()) {
    const content = line.trim();
    if (content === "" || content.startsWith("#")) continue;
    const fail = (fault: string): never => {
      throw new Failure(`${path}: line ${index + 1}: ${fault}`);
    };
    const key = readLine(content, `line ${index + 1} of ${path}`, fail);
    const clash = agreement.add(key);
    if (clash !== undefined) fail(clash);
    keys.push(key);
  }
  if (keys.length === 0) throw new Failure(`${path} holds no key; write one a line`);
  return keys;
}

/**
 * Reads "KEY name=alice requests=60 tokens=100000 running=4".
 *
 * @param fail says what is wrong, in words that show nothing of what might be a key.
 */
function readLine(line: string, place: string, fail: (fault: string) => never): GivenKey {
  const [text = "", ...words] = line.split(/\s+/);
  const fault = keyFault(text);
  if (fault !== undefined) fail(`a key takes ${fault}`);
  const values = new Map<string, string>();
  for (const [index, word] of words.entries()) {
    const [, what = "", value = ""] = /^([A-Za-z_-]*)=(.*)$/.exec(word) ?? [];
    if (!(SETTINGS as readonly string[]).includes(what)) {
      fail(`word ${index + 2} is none of ${SETTINGS_TEXT}, which may stand behind a key${suggestion(what, SETTINGS)}`);
    }
    if (values.has(what)) fail(`${what}= stands twice`);
    values.set(what, value);
  }
  const count = (what: (typeof SETTINGS)[number]) => {
    const value = values.get(what);
    if (value !== undefined && !/^[1-9]\d{0,11}$/.test(value)) {
      fail(`${what}= takes a whole number from 1 to 999999999999; leave it out for no limit of the key's own`);
    }
    return value === undefined ? {} : { [what]: Number(value) };
  };
  const name = values.get("name");
  if (name !== undefined && !/^[\w.@-]{1,64}$/.test(name)) {
    fail("name= takes up to 64 letters and digits of ASCII, and . _ - @");
  }
  return {
    hash: keyHash(text),
    name,
    limits: { ...count("requests"), ...count("tokens"), ...count("running") },
    place,
  };
}

/** Keys of which none says something else than another one. */
class Agreement {
  readonly #byHash = new Map<string, GivenKey>();
  readonly #byName = new Map<string, GivenKey>();

  constructor(keys: readonly GivenKey[]) {
    for (const key of keys) this.add(key);
  }

  /** Adds a key. The same one with the same settings may stand beside it; anything else is said, and the key is not added. */
  add(key: GivenKey): string | undefined {
    const { hash, name, limits } = key;
    const same = this.#byHash.getOrInsert(hash, key);
    if (same.name !== name || !Bun.deepEquals(same.limits, limits)) {
      return `this key stands in ${same.place} too, with other settings; leave one of the two`;
    }
    const namesake = name === undefined ? key : this.#byName.getOrInsert(name, key);
    if (namesake.hash !== hash) {
      return `${name} is the name of the key in ${namesake.place} already; give each key a name of its own`;
    }
    return undefined;
  }
}

/** Reads a file whose size nobody may know: a pipe has none, and a device no end. */
function readText(path: string): string {
  const bytes = Buffer.alloc(KEY_FILE_BYTES_MAX + 1);
  const descriptor = openSync(path, "r");
  let size = 0;
  try {
    for (let count = -1; count !== 0 && size < bytes.length; size += count)
      count = readSync(descriptor, bytes, size, bytes.length - size, null);
  } finally {
    closeSync(descriptor);
  }
  if (size > KEY_FILE_BYTES_MAX)
    throw new Failure(`${path} is no file of keys: it has more than ${KEY_FILE_BYTES_MAX} bytes`);
  return bytes.toString("utf8", 0, size);
}
