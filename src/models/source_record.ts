/**
 * What the store remembers of where models come from: a small file of JSON for each directory or file that was converted, and for each
 * pull. One that is damaged counts as none: what it says can be found out again.
 */

import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FORMAT_VERSION } from "../engine/symbols.ts";
import { writeWholeFile } from "../whole_file.ts";
import { type FileRecord, fileIdentity } from "./fingerprint.ts";
import { listNames, type Store } from "./store.ts";

/** Something on this machine. */
export interface LocalOrigin {
  kind: "path";
  /** Without links. */
  path: string;
}

/** Something of the hub's. */
export interface HubOrigin {
  kind: "hub";
  /** OWNER/NAME. */
  repository: string;
  /** As it was asked for: a branch, a tag or a commit. */
  revision: string;
  commit: string;
  /** The file that was chosen; null for a whole checkpoint. */
  file: string | null;
}

/** A source of a packed model. */
export interface SourceRecord {
  origin: LocalOrigin | HubOrigin;
  /** The directory or file that is converted. */
  path: string;
  /** Its files, as they were when they were last read; empty when they were not yet. */
  files: FileRecord[];
  /** Paths of these. */
  paths: string[];
  /** Of the contents; null when they were not read yet. */
  key: string | null;
  /** The version of packed files that the key is for. */
  formatVersion: number;
  /** When it was made, in milliseconds since 1970. */
  time: number;
}

/** Every record of a store, the latest first. */
export function readSources(store: Store): SourceRecord[] {
  const records: SourceRecord[] = [];
  for (const name of listNames(store.sources)) {
    if (!/^[0-9a-f]{16}\.json$/.test(name)) continue;
    try {
      const record = JSON.parse(readFileSync(join(store.sources, name), "utf8"));
      if (isRecord(record) && `${recordId(record.origin)}.json` === name) records.push(record);
    } catch {
      // See above.
    }
  }
  return records.sort((a, b) => b.time - a.time);
}

/** Writes a record over the one of the same origin. Not being able to costs time later, and is no fault. */
export function rememberSource(store: Store, record: Omit<SourceRecord, "time" | "formatVersion">): void {
  const full: SourceRecord = { ...record, formatVersion: FORMAT_VERSION, time: Date.now() };
  const path = join(store.sources, `${recordId(record.origin)}.json`);
  try {
    mkdirSync(store.sources, { recursive: true, mode: 0o700 });
    writeWholeFile(path, `${JSON.stringify(full, null, 1)}\n`, 0o600);
  } catch {
    // See above.
  }
}

/** Removes the record of an origin. */
export function forgetSource(store: Store, origin: SourceRecord["origin"]): void {
  rmSync(join(store.sources, `${recordId(origin)}.json`), { force: true });
}

/** Hashes by identities, of all files that the store knows. */
export function knownHashes(records: SourceRecord[]): Map<string, string> {
  return new Map(records.flatMap(({ files }) => files.map(({ identity, hash }) => [identity, hash] as const)));
}

/** Whether a source's files are as they were when they were read. */
export function isUnchanged({ files, paths }: SourceRecord): boolean {
  return paths.every((path, index) => fileIdentity(path) === files[index]?.identity);
}

/** What a record's file is called. Pulls of the same revision follow one another; so do states of a directory. */
function recordId(origin: SourceRecord["origin"]): string {
  const identity =
    origin.kind === "path" ? `path\0${origin.path}` : `hub\0${origin.repository}\0${origin.revision}\0${origin.file}`;
  return new Bun.CryptoHasher("sha256").update(identity).digest("hex").slice(0, 16);
}

function isRecord(value: unknown): value is SourceRecord {
  const record = value as SourceRecord;
  const { origin } = record;
  const isOrigin =
    origin?.kind === "path"
      ? typeof origin.path === "string"
      : origin?.kind === "hub" &&
        [origin.repository, origin.revision, origin.commit].every((text) => typeof text === "string") &&
        (origin.file === null || typeof origin.file === "string");
  return (
    isOrigin &&
    typeof record.path === "string" &&
    typeof record.time === "number" &&
    typeof record.formatVersion === "number" &&
    (record.key === null || /^[0-9a-f]{16}$/.test(record.key)) &&
    Array.isArray(record.paths) &&
    record.paths.every((path) => typeof path === "string") &&
    Array.isArray(record.files) &&
    record.files.every(({ name, identity, hash }) => [name, identity, hash].every((text) => typeof text === "string"))
  );
}
