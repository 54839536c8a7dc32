/**
 * The HTTP server: which path means what, and what holds for every answer.
 *
 * Elysia and Bun have defaults that suit a web page and not a model that thinks for minutes; each is set here, with the reason.
 * Handlers return finished Responses and read their bodies themselves, so that neither Elysia's parsers nor its validators, with
 * error shapes of their own, ever come into play.
 */

import { Elysia } from "elysia";
import { chatCompletion } from "../api/chat.ts";
import { ApiError, toApiError } from "../api/errors.ts";
import { getModel, listModels } from "../api/models.ts";
import { Failure } from "../errors.ts";
import { health, ready } from "./health.ts";
import { checkHost, isLoopback, readJsonBody } from "./limits.ts";
import type { ServerState } from "./state.ts";

/** The methods of each path, for answering 405 where a path is right and the method is wrong. */
const METHODS: [path: RegExp, methods: string][] = [
  [/^\/health$/, "GET, HEAD"],
  [/^\/ready$/, "GET, HEAD"],
  [/^\/v1\/models(?:\/.+)?$/, "GET, HEAD"],
  [/^\/v1\/chat\/completions$/, "POST"],
];

/** The routes, not yet listening. */
function createApp(state: ServerState, isLocal: boolean) {
  return (
    new Elysia()
      // Before the routes: it only holds for what is registered after it.
      .onError(({ code, error, request }) => {
        const known = code === "NOT_FOUND" ? notFound(request) : toApiError(error);
        return known.response();
      })
      .onRequest(({ request, set }) => {
        set.headers["x-request-id"] = requestId(request);
        if (isLocal) checkHost(request);
      })
      .get("/health", () => Response.json(health(state)))
      .get("/ready", () => Response.json(ready(state)))
      .get("/v1/models", () => Response.json(listModels(state)))
      // A model's name may contain slashes, written plainly or as %2F.
      .get("/v1/models/*", ({ params }) => Response.json(getModel(state, decodeName(params["*"]))))
      .post(
        "/v1/chat/completions",
        async ({ request }) => {
          // Before anything is awaited, so that no departure is missed.
          const client = request.signal;
          state.requireService();
          return chatCompletion(state, await readJsonBody(request), client);
        },
        { parse: "none" },
      )
  );
}

/** A server that listens. */
export interface Listening {
  /** Where it can be reached: http://127.0.0.1:30000 */
  url: string;
  /** Stops listening. Resolves when all answers under way are sent, or at once with `force`. */
  stop(force: boolean): Promise<void>;
}

/**
 * Starts to listen.
 *
 * @param port 0: any that is free.
 * @throws Failure when the address can't be had.
 */
export function listen(state: ServerState, hostname: string, port: number): Listening {
  const app = createApp(state, isLoopback(hostname));
  try {
    app.listen({
      hostname,
      port,
      // A second server on the same port would silently get half of the requests.
      reusePort: false,
      // Bun closes connections that are silent for this many seconds, answers that are being computed included. 0: never.
      idleTimeout: 0,
      // readJsonBody counts, with an answer in the right shape.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      // No error pages with source code in them.
      development: false,
      error: (error: Error) => toApiError(error).response(),
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const where = `${hostname}:${port}`;
    if (code === "EADDRINUSE")
      throw new Failure(`${where} is already in use; stop the other server or choose another --port`);
    if (code === "EACCES") throw new Failure(`no permission to listen on ${where}; choose a --port over 1023`);
    throw new Failure(`can't listen on ${where}: ${message.split("\n")[0]}`);
  }
  const server = app.server;
  if (server === null) throw new Failure(`can't listen on ${hostname}:${port}`);
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return { url: `http://${host}:${server.port}`, stop: (force) => server.stop(force) };
}

/** Unknown path, or a known one with the wrong method. */
function notFound(request: Request): ApiError {
  const path = new URL(request.url).pathname;
  const methods = METHODS.find(([pattern]) => pattern.test(path))?.[1];
  if (methods === undefined) return new ApiError(404, `Unknown request URL: ${request.method} ${path}.`);
  return new ApiError(405, `Not allowed to ${request.method} on ${path}; allowed: ${methods}.`, {
    headers: { allow: methods },
  });
}

/** The client's own id of the request where it is plain and short, else a new one. */
function requestId(request: Request): string {
  const given = request.headers.get("x-request-id") ?? "";
  return /^[\w.:-]{1,128}$/.test(given) ? given : `req_${crypto.randomUUID().replaceAll("-", "")}`;
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
