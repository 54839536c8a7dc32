/**
 * API keys: who may ask.
 *
 * Only hashes of the keys are kept. A given key is hashed and compared with every one of them, without stopping at a match, so that
 * the time it takes tells nothing about any key.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { describeSystemError, Failure } from "../errors.ts";
import type { ApiKey, KeyLimits } from "../serving/api_key.ts";
import { RequestError } from "../serving/request_error.ts";
import { isAsset } from "./page.ts";

/**
 * Paths that need no key, beside those of the page's assets: whoever watches over the process has none, and the page asks its reader
 * for one.
 */
const PUBLIC_PATHS = new Set(["/", "/health", "/ready"]);

/** Largest file of keys, in bytes. */
const KEY_FILE_BYTES_MAX = 1024 * 1024;

/** Hexadecimal digits of a key's hash in the log: enough to tell keys apart. */
const LABEL_DIGITS = 8;

/** The keys of one server. */
export class ApiKeys {
  #known: readonly KnownKey[] = [];

  /**
   * From now on these are the keys. Requests that are under way go on.
   *
   * @param keys none of them empty; no keys at all let everybody in.
   * @param shared limits of each key that has none of its own.
   */
  use(keys: readonly GivenKey[], shared: KeyLimits): void {
    this.#known = knownKeys(keys, shared);
  }

  /** How many there are. */
  get count(): number {
    return this.#known.length;
  }

  /**
   * Which key a request came with; undefined when it needs none.
   *
   * @param path the one by which the request is routed; undefined where it has none.
   * @throws RequestError 401 when there are keys and the request has none of them.
   */
  check(request: Request, path: string | undefined): ApiKey | undefined {
    if (this.count === 0 || (path !== undefined && isPublic(path))) return undefined;
    const given = [bearer(request), request.headers.get("x-api-key")].filter((key) => (key ?? "") !== "");
    let found: ApiKey | undefined;
    for (const text of given) {
      const digest = hash(text as string);
      for (const known of this.#known) {
        if (timingSafeEqual(known.digest, digest)) found = known.key;
      }
    }
    if (found !== undefined) return found;
    const message =
      given.length === 0
        ? "You didn't provide an API key. Send it in the header 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'."
        : "Incorrect API key provided.";
    throw new RequestError(401, message, { code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } });
  }
}

/** A key with its SHA-256. */
interface KnownKey {
  digest: Buffer;
  key: ApiKey;
}

function knownKeys(keys: readonly GivenKey[], shared: KeyLimits): KnownKey[] {
  const byText = new Map(keys.map((key) => [key.text, key]));
  return [...byText.values()].map(({ text, name, limits }) => {
    const digest = hash(text);
    const hexadecimal = digest.toString("hex");
    const label = name ?? hexadecimal.slice(0, LABEL_DIGITS);
    return { digest, key: { hash: hexadecimal, label, limits: { ...shared, ...limits } } };
  });
}

/** What is different among keys, by what the log calls them; one is changed that has another name, or limits of its own. */
export interface KeyChanges {
  added: string[];
  removed: string[];
  changed: string[];
}

/** How keys differ from those before. */
export function keyChanges(before: readonly GivenKey[], after: readonly GivenKey[]): KeyChanges {
  const byHash = (keys: readonly GivenKey[]) => new Map(knownKeys(keys, {}).map(({ key }) => [key.hash, key]));
  const [old, fresh] = [byHash(before), byHash(after)];
  const labels = (keys: Iterable<ApiKey>, isMeant: (key: ApiKey) => boolean) =>
    [...keys].filter(isMeant).map(({ label }) => label);
  const isOther = (key: ApiKey) => old.has(key.hash) && !Bun.deepEquals(old.get(key.hash), key);
  return {
    added: labels(fresh.values(), ({ hash }) => !old.has(hash)),
    removed: labels(old.values(), ({ hash }) => !fresh.has(hash)),
    changed: labels(fresh.values(), isOther),
  };
}

function isPublic(path: string): boolean {
  return PUBLIC_PATHS.has(path) || isAsset(path);
}

/** Whether a key can be sent: headers hold nothing but visible ASCII characters faithfully. */
export function isSendable(key: string): boolean {
  return /^[\x21-\x7e]+$/.test(key);
}

/** A key as it was given. */
export interface GivenKey {
  text: string;
  /** What the log calls it. */
  name?: string;
  /** Those that it has of its own. */
  limits?: KeyLimits;
}

/** What was read from files that can be read once only, by their paths. */
type ReadOnce = ReadonlyMap<string, readonly GivenKey[]>;

/** Keys, and how they can be read again. */
export interface KeySource {
  readonly keys: readonly GivenKey[];
  /** Reads files anew, and pipes that are new. @throws Failure. */
  again(known: readonly GivenKey[], files: readonly string[]): KeySource;
}

/** Whether a file can be read as often as one likes; what can't be found out shows when it is read. */
function isLasting(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return true;
  }
}

/** Adds the keys of files to those that are known. @throws Failure. */
export function readKeySource(
  known: readonly GivenKey[],
  files: readonly string[],
  before: ReadOnce = new Map(),
): KeySource {
  const readOnce = new Map(before);
  const read = (path: string) => {
    const keys = before.get(path) ?? readKeyFile(path);
    if (!isLasting(path)) readOnce.set(path, keys);
    return keys;
  };
  return {
    keys: [...known, ...files.flatMap(read)],
    again: (nowKnown, nowFiles) => readKeySource(nowKnown, nowFiles, readOnce),
  };
}

/**
 * Reads keys from a file, one a line, each with settings behind it if it has any; empty lines and those that begin with # are none.
 *
 * @throws Failure when the file can't be read, has none, or has one that nobody could send.
 */
function readKeyFile(path: string): GivenKey[] {
  let text: string;
  try {
    text = readText(path);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`can't read the keys in ${path}: ${describeSystemError(error)}`);
  }
  const keys: GivenKey[] = [];
  for (const [index, line] of text.split(/\r\n|\r|\n/).entries()) {
    const content = line.trim();
    if (content === "" || content.startsWith("#")) continue;
    const key = readKeyLine(content);
    if (key === undefined) {
      throw new Failure(
        `${path}: line ${index + 1} is no key; write visible ASCII characters without spaces, one key a line, and behind it what it has of name=NAME, requests=N, tokens=N and running=N`,
      );
    }
    keys.push(key);
  }
  if (keys.length === 0) throw new Failure(`${path} holds no key; write one a line`);
  return keys;
}

/** Reads "KEY name=alice requests=60 tokens=100000 running=4"; undefined for anything else. */
function readKeyLine(line: string): GivenKey | undefined {
  const [text = "", ...settings] = line.split(/\s+/);
  if (!isSendable(text)) return undefined;
  const limits: { requests?: number; tokens?: number; running?: number } = {};
  let name: string | undefined;
  for (const setting of settings) {
    const [, what, value = ""] = /^(name|requests|tokens|running)=([\w.@-]{1,64})$/.exec(setting) ?? [];
    const isCount = /^[1-9]\d{0,11}$/.test(value);
    if (what === "name") name = value;
    else if (isCount && (what === "requests" || what === "tokens" || what === "running")) limits[what] = Number(value);
    else return undefined;
  }
  return name === undefined ? { text, limits } : { text, name, limits };
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

function hash(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function bearer(request: Request): string | undefined {
  return /^Bearer +(.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1]?.trim();
}
