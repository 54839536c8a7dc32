/** What the hub says of a repository: its commit and its files; and what its refusals mean. */

import { Failure } from "../errors.ts";
import { isObject } from "../json.ts";
import { printable } from "../model_file/config_fields.ts";
import { type Hub, PassingFault, Patience, retryAfter } from "./endpoint.ts";
import type { RepositoryFile } from "./file_choice.ts";
import { formatHubName, type HubName, isPlainPath } from "./hub_name.ts";
import { nearest } from "./nearest.ts";

/** Most bytes of an answer in JSON. */
const JSON_BYTES_MAX = 64 * 1024 * 1024;

/** A file on the hub. */
export interface HubFile extends RepositoryFile {
  /** What it is called in caches: the SHA-256 of a large file, git's hash of a small one. */
  blob: string;
}

/** A repository at one of its commits. */
export interface Repository {
  commit: string;
  files: HubFile[];
}

/**
 * Asks for a repository's files.
 *
 * @throws Failure when it is not there, closed, or the hub cannot be reached
 */
export async function readRepository(hub: Hub, name: HubName, signal: AbortSignal): Promise<Repository> {
  const path = `api/models/${name.repository}/revision/${encodeURIComponent(name.revision)}?blobs=true`;
  const answer = await readJson(hub, path, signal, (response) => explainRefusal(hub, name, response, signal));
  const { sha, siblings } = isObject(answer) ? answer : {};
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha) || !Array.isArray(siblings)) {
    throw new Failure(
      `${hub.endpoint.host} does not answer as a hub does: it names no commit and files of ${formatHubName(name)}`,
    );
  }
  return { commit: sha, files: siblings.flatMap(readFile) };
}

/** One file of the answer; none when it is not such that it can be fetched and kept under its name. */
function readFile(value: unknown): HubFile[] {
  const { rfilename: path, size, blobId, lfs } = isObject(value) ? value : {};
  const large = isObject(lfs) ? lfs : null;
  const blob = large === null ? blobId : large.sha256;
  const bytes = large?.size ?? size;
  const isWhole =
    typeof path === "string" &&
    isPlainPath(path) &&
    Number.isSafeInteger(bytes) &&
    (bytes as number) >= 0 &&
    typeof blob === "string" &&
    (large === null ? /^[0-9a-f]{40}$/ : /^[0-9a-f]{64}$/).test(blob);
  return isWhole ? [{ path, size: bytes as number, blob }] : [];
}

/** Fetches JSON, with patience. `refused` says what a status other than 200 means. */
async function readJson(
  hub: Hub,
  path: string,
  signal: AbortSignal,
  refused: (response: Response) => Promise<Error>,
): Promise<unknown> {
  return await hub.persist(async () => {
    const patience = new Patience(signal);
    try {
      const response = await hub.get(hub.url(path), { accept: "application/json" }, patience);
      if (response.status !== 200) throw await refused(response);
      return JSON.parse(await readText(response, patience));
    } catch (error) {
      if (error instanceof SyntaxError)
        throw new Failure(`${hub.endpoint.host} does not answer as a hub does: no JSON`);
      throw patience.explain(error, hub.endpoint.host);
    } finally {
      patience.close();
    }
  }, signal);
}

async function readText(response: Response, patience: Patience): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    patience.renew();
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > JSON_BYTES_MAX) throw new Failure("the hub's answer is longer than any that is needed");
  }
  return Buffer.concat(pieces).toString();
}

/**
 * What a status other than success means, for the repository or a file of it.
 *
 * @returns a PassingFault when it is worth asking again, a Failure otherwise
 */
export async function explainRefusal(hub: Hub, name: HubName, response: Response, signal: AbortSignal): Promise<Error> {
  const { status, headers } = response;
  const { host } = hub.endpoint;
  const code = headers.get("x-error-code");
  const words = printable(headers.get("x-error-message") ?? "");
  const written = formatHubName(name);
  await response.body?.cancel();
  if (status === 429) return new PassingFault(`${host} is asked too often (429)`, retryAfter(response));
  if (status >= 500) return new PassingFault(`${host} has a fault (${status})`, retryAfter(response));
  if (code === "GatedRepo" || (status === 403 && code === null)) {
    const page = hub.url(name.repository).href;
    const next = hub.hasToken
      ? "with the account that HF_TOKEN is of, and see that the token may read it"
      : "and set HF_TOKEN to a token of that account";
    return new Failure(`${name.repository} is gated: accept its conditions at ${page} ${next}`);
  }
  if (status === 401 && hub.hasToken && code !== "RepoNotFound") {
    return new Failure(`${host} does not accept the token in HF_TOKEN; unset it, or set it to one that is valid`);
  }
  if (code === "RevisionNotFound") {
    const near = nearest(name.revision, await revisions(hub, name.repository, signal));
    return new Failure(
      `${name.repository} has no revision ${name.revision}${near.length > 0 ? `; it has ${near.join(", ")}` : ""}`,
    );
  }
  if (status === 401 || status === 404) {
    const near = await similarNames(hub, name.repository, signal);
    const closed = hub.hasToken ? "the token in HF_TOKEN may not see it" : "it is private, which needs HF_TOKEN";
    const hint = near.length > 0 ? `; there is ${near.join(", ")}` : "";
    return new Failure(`${written}: there is no such model at ${host}, or ${closed}${hint}`);
  }
  return new Failure(`${written}: ${host} refuses it with status ${status}${words === "" ? "" : `: ${words}`}`);
}

/** Names like one that is not there: of the same owner, and others that the hub's search finds. */
async function similarNames(hub: Hub, repository: string, signal: AbortSignal): Promise<string[]> {
  const [owner = "", name = ""] = repository.split("/");
  const queries = [
    `api/models?author=${encodeURIComponent(owner)}&limit=500`,
    `api/models?search=${encodeURIComponent(name)}&limit=20`,
  ];
  const found: string[] = [];
  for (const query of queries) {
    const answer = await readHint(hub, query, signal);
    found.push(...plainNames(answer, "id"));
  }
  return nearest(repository, found);
}

/** Branches and tags. */
async function revisions(hub: Hub, repository: string, signal: AbortSignal): Promise<string[]> {
  const answer = await readHint(hub, `api/models/${repository}/refs`, signal);
  return isObject(answer) ? [...plainNames(answer.branches, "name"), ...plainNames(answer.tags, "name")] : [];
}

/** The values of a field of objects in a list, those that can be shown and asked for. */
function plainNames(list: unknown, field: string): string[] {
  const values = Array.isArray(list) ? list.map((value) => (isObject(value) ? value[field] : undefined)) : [];
  return values.filter((value): value is string => typeof value === "string" && isPlainPath(value));
}

/** Something that makes a message better; null when it cannot be had. */
async function readHint(hub: Hub, path: string, signal: AbortSignal): Promise<unknown> {
  const patience = new Patience(signal);
  try {
    const response = await hub.get(hub.url(path), { accept: "application/json" }, patience);
    return response.status === 200 ? JSON.parse(await readText(response, patience)) : null;
  } catch {
    return null;
  } finally {
    patience.close();
  }
}
