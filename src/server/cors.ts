/**
 * Which web pages may use the API. Browsers let a page read answers of another origin only where the server says so; by default it
 * never does, so only pages that the server itself serves can.
 */

/** Headers that a page may read beside those that any page may. */
const EXPOSED_HEADERS = "x-request-id, retry-after, traceparent";

/** Seconds for which a browser may remember what it was allowed. */
const PREFLIGHT_SECONDS = "600";

/** The origins that are let in. */
export class CorsPolicy {
  readonly #origins: ReadonlySet<string>;

  /** @param origins as in https://app.example, or * for all. */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins.map((origin) => origin.toLowerCase().replace(/\/$/, "")));
  }

  /** The answer to a browser that asks before it sends a request; undefined for any other request. */
  preflight(request: Request): Response | undefined {
    const wantedMethod = request.headers.get("access-control-request-method");
    if (request.method !== "OPTIONS" || wantedMethod === null || !this.#allows(request)) return undefined;
    const wantedHeaders = request.headers.get("access-control-request-headers") ?? "";
    return new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": /^[\w, -]{0,2000}$/.test(wantedHeaders) ? wantedHeaders : "",
        "access-control-max-age": PREFLIGHT_SECONDS,
      },
    });
  }

  /** Adds to an answer what its reader's browser has to know. */
  mark(request: Request, headers: Headers): void {
    if (this.#origins.size === 0) return;
    headers.append("vary", "Origin");
    if (!this.#allows(request)) return;
    headers.set("access-control-allow-origin", request.headers.get("origin") as string);
    headers.set("access-control-expose-headers", EXPOSED_HEADERS);
  }

  #allows(request: Request): boolean {
    const origin = request.headers.get("origin");
    return origin !== null && (this.#origins.has("*") || this.#origins.has(origin.toLowerCase()));
  }
}
