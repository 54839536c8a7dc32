/**
 * The chat page of client/ and its assets, for browsers. Everything is made at build time, compressed too (tools/bundle_page.ts).
 * An asset's name holds a hash of its contents, so browsers keep it; the page itself they ask for again each time.
 *
 * The page may load nothing from elsewhere and run nothing that stands in it: what a model writes is shown there.
 */

import { readFileSync } from "node:fs";
import bundlePath from "../../build/client.page" with { type: "file" };
import { RequestError } from "../serving/request_error.ts";

/** Where the assets are. */
export const ASSETS_PATH = "/assets/";

/** The bundle's name for the page itself. */
const PAGE = "index.html";

/** A file of the bundle. */
interface BundledFile {
  type: string;
  bytes: Record<Encoding, Uint8Array<ArrayBuffer>>;
}

/** How files are kept, the one that browsers load soonest first. */
const ENCODINGS = ["zstd", "gzip"] as const;
type Encoding = (typeof ENCODINGS)[number];

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Whether a path is that of an asset. */
export function isAsset(path: string): boolean {
  return path.startsWith(ASSETS_PATH) && bundle().has(path.slice(ASSETS_PATH.length)) && !path.endsWith(PAGE);
}

/** GET /: the page, for those who ask for one. @throws RequestError 404 for programs, which look for an API. */
export function page(request: Request): Response {
  if (!/\btext\/html\b/i.test(request.headers.get("accept") ?? "")) {
    throw new RequestError(
      404,
      "Unknown request URL: GET /. Here is a page for browsers only; the API begins at /v1, and /openapi.json describes it.",
      { code: "unknown_url", headers: { vary: "accept" } },
    );
  }
  // What the page refers to stands below it, so its own path has to end with a slash.
  const last = new URL(request.url, "http://localhost").pathname.split("/").at(-1) as string;
  if (last !== "") return new Response(null, { status: 308, headers: { location: `${last}/`, vary: "accept" } });
  const file = bundle().get(PAGE) as BundledFile;
  // It changes with each of its assets, whose names stand in it.
  const tag = `"${Bun.hash(file.bytes.gzip).toString(16)}"`;
  const headers = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    etag: tag,
    "referrer-policy": "no-referrer",
    vary: "accept, accept-encoding",
  };
  const known = request.headers.get("if-none-match");
  if (known !== null && known.replaceAll("W/", "") === tag) return new Response(null, { status: 304, headers });
  return respond(file, request, headers);
}

/** GET /assets/NAME. @throws RequestError 404. */
export function asset(name: string, request: Request): Response {
  const file = isAsset(ASSETS_PATH + name) ? bundle().get(name) : undefined;
  if (file === undefined)
    throw new RequestError(404, "Unknown request URL: the page has no such asset; reload it.", { code: "unknown_url" });
  return respond(file, request, { "cache-control": "public, max-age=31536000, immutable", vary: "accept-encoding" });
}

function respond({ type, bytes }: BundledFile, request: Request, headers: Record<string, string>): Response {
  const encoding = acceptedEncoding(request.headers.get("accept-encoding") ?? "");
  const body = encoding === undefined ? Bun.gunzipSync(bytes.gzip) : bytes[encoding];
  return new Response(body, {
    headers: {
      ...headers,
      "content-type": type,
      "x-content-type-options": "nosniff",
      ...(encoding === undefined ? {} : { "content-encoding": encoding }),
    },
  });
}

/** The encoding to send, by the header Accept-Encoding; undefined: none. */
function acceptedEncoding(header: string): Encoding | undefined {
  const accepted = new Map<string, number>();
  for (const part of header.toLowerCase().split(",")) {
    const [name = "", ...parameters] = part.split(";").map((text) => text.trim());
    const quality = parameters.find((parameter) => parameter.startsWith("q="));
    accepted.set(name, quality === undefined ? 1 : Number(quality.slice(2)));
  }
  return ENCODINGS.find((encoding) => (accepted.get(encoding) ?? accepted.get("*") ?? 0) > 0);
}

let files: ReadonlyMap<string, BundledFile> | undefined;

/** The files by name, read when somebody first asks for one. */
function bundle(): ReadonlyMap<string, BundledFile> {
  files ??= readBundle();
  return files;
}

function readBundle(): ReadonlyMap<string, BundledFile> {
  const written = JSON.parse(readFileSync(bundlePath, "utf8")) as Record<
    string,
    { type: string } & Record<Encoding, string>
  >;
  const read = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
  return new Map(
    Object.entries(written).map(([name, { type, zstd, gzip }]) => [
      name,
      { type, bytes: { zstd: read(zstd), gzip: read(gzip) } },
    ]),
  );
}
