/**
 * The path that a request asks for. It is read here and nowhere else: what routes, checks keys, counts and logs has to mean the same
 * path, since a request that two of them read differently gets past the key check.
 */

/** Where requests are told apart by nothing but their path. */
const ORIGIN = "http://localhost";

/** OpenAI's paths as clients ask for them whose base URL lacks the /v1. */
const UNPREFIXED = /^\/(?:chat\/completions|completions|embeddings|models)(?=\/|$)/;

/**
 * The path of a request, normalised as in URLs, and with OpenAI's /v1 where it is missing; undefined where Host and target together make
 * no URL.
 *
 * @param basePath what stands before every path where a proxy passes it on: "/llm". Proxies that take it off are served too.
 */
export function readPath(request: Request, basePath: string): string | undefined {
  // Bun gives the bare target when a request has no Host header, or one that is no name.
  const url = request.url.startsWith("/") ? ORIGIN + request.url : request.url;
  const path = URL.parse(url)?.pathname;
  if (path === undefined) return undefined;
  return withVersion(withoutBase(path, basePath));
}

/** The path with OpenAI's /v1 where it is missing. */
export function withVersion(path: string): string {
  return path.replace(UNPREFIXED, "/v1$&");
}

function withoutBase(path: string, basePath: string): string {
  if (basePath === "") return path;
  if (path === basePath) return "/";
  return path.startsWith(`${basePath}/`) ? path.slice(basePath.length) : path;
}

/** Whether a text can be put before paths. */
export function isBasePath(text: string): boolean {
  return /^(?:\/[\w.~-]+)+$/.test(text) && URL.parse(ORIGIN + text)?.pathname === text;
}

/** A request for a path with nothing else in it that a router could read otherwise: no host of the client's, no query, no body. */
export function routingRequest(method: string, path: string): Request {
  return new Request(ORIGIN + path, { method });
}
