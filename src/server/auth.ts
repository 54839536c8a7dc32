/**
 * API keys: who may ask.
 *
 * Only hashes of the keys are kept. A given key is hashed and compared with every one of them, without stopping at a match, so that
 * the time it takes tells nothing about any key.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { ApiKey, KeyLimits } from "../serving/api_key.ts";
import { RequestError } from "../serving/request_error.ts";
import type { GivenKey } from "./key_file.ts";
import { isAsset } from "./page.ts";

/**
 * Paths that need no key, beside those of the page's assets: whoever watches over the process has none, and the page asks its reader
 * for one.
 */
const PUBLIC_PATHS = new Set(["/", "/health", "/ready"]);

/** Hexadecimal digits of a key's hash in the log: enough to tell keys apart. */
const LABEL_DIGITS = 8;

/** The keys of one server. */
export class ApiKeys {
  #known: readonly KnownKey[] = [];

  /**
   * From now on these are the keys. Requests that are under way go on.
   *
   * @param keys no keys at all let everybody in.
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

/** Of a key that is given twice, the first one counts. */
function knownKeys(keys: readonly GivenKey[], shared: KeyLimits): KnownKey[] {
  const byHash = new Map<string, GivenKey>();
  for (const key of keys) byHash.getOrInsert(key.hash, key);
  return [...byHash.values()].map(({ hash: hexadecimal, name, limits }) => {
    const label = name ?? hexadecimal.slice(0, LABEL_DIGITS);
    const key = { hash: hexadecimal, label, limits: { ...shared, ...limits } };
    return { digest: Buffer.from(hexadecimal, "hex"), key };
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

function hash(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function bearer(request: Request): string | undefined {
  return /^Bearer +(.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1]?.trim();
}
