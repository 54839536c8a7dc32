/**
 * A server that speaks the hub's protocol as far as a client sees it: /api/models/… with a repository's commit and files, /resolve/…,
 * which redirects to a second server for large files, ranges, refusals with their headers. A test can put its own answer in the place of any.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A repository of the server's. */
export interface TestRepository {
  files: Map<string, Uint8Array>;
  /** The commit of each revision. */
  revisions: Map<string, string>;
  /** Whether its files are refused to all but the token. */
  isGated?: boolean;
}

/** A request as it came. */
export interface SeenRequest {
  /** Whether it went to the server of large files. */
  isStorage: boolean;
  /** With the query. */
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** Answers in place of the server; false lets it answer. */
export type Intercept = (
  seen: SeenRequest,
  response: ServerResponse,
  request: IncomingMessage,
) => boolean | Promise<boolean>;

/** The server. */
export interface TestHub {
  url: string;
  storageUrl: string;
  repositories: Map<string, TestRepository>;
  /** All requests so far. */
  seen: SeenRequest[];
  /** Bytes of file contents that were sent so far. */
  sentBytes: number;
  intercept: Intercept;
  stop(): void;
}

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const TOKEN = "hf_testtoken";

/** Files at least this large are in the other server, as git's large files are. */
const LARGE_BYTES = 100_000;

/** What is sent at a time. */
const CHUNK_BYTES = 65_536;

/** Starts both servers. */
export async function startHub(): Promise<TestHub> {
  const hub: TestHub = {
    url: "",
    storageUrl: "",
    repositories: new Map(),
    seen: [],
    sentBytes: 0,
    intercept: () => false,
    stop() {
      for (const server of [api, storage]) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
  const serve = (isStorage: boolean, answer: typeof answerApi) =>
    createServer(async (request, response) => {
      const { range, authorization } = request.headers;
      const seen = { isStorage, path: request.url ?? "", range, authorization };
      hub.seen.push(seen);
      response.on("error", () => undefined);
      if (!(await hub.intercept(seen, response, request))) answer(hub, seen, response);
    });
  const api = serve(false, answerApi);
  const storage = serve(true, answerStorage);
  [hub.url, hub.storageUrl] = await Promise.all([listen(api), listen(storage)]);
  return hub;
}

/** Adds a repository at one commit. */
export function addRepository(hub: TestHub, name: string, files: Record<string, Uint8Array | string>): TestRepository {
  const encoder = new TextEncoder();
  const contents = Object.entries(files).map(
    ([path, data]) => [path, typeof data === "string" ? encoder.encode(data) : data] as const,
  );
  const repository = { files: new Map(contents), revisions: new Map([["main", COMMIT]]) };
  hub.repositories.set(name, repository);
  return repository;
}

/** The SHA-256 of a large file, git's hash of a small one. */
export function blobName(bytes: Uint8Array): string {
  if (bytes.length >= LARGE_BYTES) return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  return new Bun.CryptoHasher("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** Sends contents, or the part of them that was asked for, up to `limit` bytes; then the connection is cut. */
export function sendContents(
  hub: TestHub,
  bytes: Uint8Array,
  range: string | undefined,
  response: ServerResponse,
  limit = Number.POSITIVE_INFINITY,
): void {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
  const begin = Number(first ?? 0);
  const end = last === undefined ? bytes.length : Math.min(Number(last) + 1, bytes.length);
  response.writeHead(first === undefined ? 200 : 206, {
    "content-length": String(end - begin),
    ...(first === undefined ? {} : { "content-range": `bytes ${begin}-${end - 1}/${bytes.length}` }),
  });
  let position = begin;
  const send = () => {
    while (position < end && position - begin < limit) {
      const piece = bytes.subarray(position, Math.min(end, position + CHUNK_BYTES, begin + limit));
      position += piece.length;
      hub.sentBytes += piece.length;
      if (!response.write(piece)) return void response.once("drain", send);
    }
    if (position === end) response.end();
    else setTimeout(() => response.destroy(), 50);
  };
  send();
}

/** Answers with a status, and the headers that the hub explains it with. */
export function refuse(
  response: ServerResponse,
  status: number,
  code?: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { ...(code === undefined ? {} : { "x-error-code": code }), ...headers });
  response.end(JSON.stringify({ error: "refused" }));
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function answerApi(hub: TestHub, { path, authorization, range }: SeenRequest, response: ServerResponse): unknown {
  const url = new URL(path, hub.url);
  const json = (value: unknown) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  if (url.pathname === "/api/models") {
    const author = url.searchParams.get("author");
    const search = url.searchParams.get("search") ?? "";
    const names = [...hub.repositories.keys()];
    return json(
      names
        .filter((name) => (author === null ? name.includes(search) : name.startsWith(`${author}/`)))
        .map((id) => ({ id })),
    );
  }
  const [, refs] = /^\/api\/models\/([^/]+\/[^/]+)\/refs$/.exec(url.pathname) ?? [];
  if (refs !== undefined) {
    const revisions = [...(hub.repositories.get(refs)?.revisions.keys() ?? [])];
    return json({ branches: revisions.map((name) => ({ name })), tags: [] });
  }
  const [, asked, revision] = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^/]+)$/.exec(url.pathname) ?? [];
  if (asked !== undefined && revision !== undefined) {
    const repository = hub.repositories.get(asked);
    if (repository === undefined) return refuse(response, authorization === undefined ? 401 : 404, "RepoNotFound");
    const wanted = decodeURIComponent(revision);
    const sha =
      repository.revisions.get(wanted) ?? [...repository.revisions.values()].find((commit) => commit === wanted);
    if (sha === undefined) return refuse(response, 404, "RevisionNotFound");
    return json({
      id: asked,
      sha,
      siblings: [...repository.files].map(([rfilename, bytes]) => ({
        rfilename,
        size: bytes.length,
        blobId: blobName(bytes.subarray(0, 10)),
        ...(bytes.length >= LARGE_BYTES
          ? { lfs: { sha256: blobName(bytes), size: bytes.length, pointerSize: 134 } }
          : { blobId: blobName(bytes) }),
      })),
    });
  }
  const [, name, commit, file] = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname) ?? [];
  const repository = hub.repositories.get(name ?? "");
  const bytes = repository?.files.get(decodeURIComponent(file ?? ""));
  if (repository === undefined || bytes === undefined) return refuse(response, 404, "EntryNotFound");
  if (repository.isGated && authorization !== `Bearer ${TOKEN}`) {
    return refuse(response, authorization === undefined ? 401 : 403, "GatedRepo");
  }
  const headers = { "x-repo-commit": commit as string, etag: `"${blobName(bytes)}"` };
  if (bytes.length < LARGE_BYTES) {
    for (const [key, value] of Object.entries(headers)) response.setHeader(key, value);
    return sendContents(hub, bytes, range, response);
  }
  response.writeHead(302, { ...headers, location: `${hub.storageUrl}/${name}/${file}?signature=secret` });
  response.end();
}

function answerStorage(hub: TestHub, { path, range }: SeenRequest, response: ServerResponse): unknown {
  const url = new URL(path, hub.storageUrl);
  const [, name, file] = /^\/([^/]+\/[^/]+)\/(.+)$/.exec(url.pathname) ?? [];
  const bytes = hub.repositories.get(name ?? "")?.files.get(decodeURIComponent(file ?? ""));
  if (bytes === undefined || url.searchParams.get("signature") !== "secret") return refuse(response, 403);
  sendContents(hub, bytes, range, response);
}
