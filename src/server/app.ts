/**
 * The HTTP server: what holds for every request and every answer, whatever its path.
 *
 * Elysia and Bun have defaults that suit a web page and not a model that thinks for minutes; each is set here, with the reason.
 * Handlers return finished Responses and read their bodies themselves, so that neither Elysia's parsers nor its validators, with
 * error shapes of their own, ever come into play. What holds for every request, the right key above all, is settled in `respond`
 * before Elysia sees it: a route can't forget it.
 */

import { Elysia } from "elysia";
import { endReason } from "../api/answer_record.ts";
import { errorResponse } from "../api/dialect.ts";
import { Exchange } from "../api/exchange.ts";
import { getModel } from "../api/openai/models.ts";
import { isHealthCheck } from "../api/request_record.ts";
import { KeyAccounts } from "../serving/key_limits.ts";
import { RequestError, toRequestError } from "../serving/request_error.ts";
import type { ServerState } from "../serving/state.ts";
import type { Tracing } from "../tracing/tracing.ts";
import type { ApiKeys } from "./auth.ts";
import type { TrustedProxies } from "./client_address.ts";
import { CorsPolicy } from "./cors.ts";
import { Descriptors } from "./descriptors.ts";
import { HostNames } from "./host.ts";
import { logRequest } from "./log.ts";
import { adviceFor } from "./other_apis.ts";
import { ASSETS_PATH, asset } from "./page.ts";
import { readPath, routingRequest } from "./path.ts";
import { isLocal, isUnix, type Place } from "./places.ts";
import { QuietConnections } from "./quiet_connections.ts";
import { readJsonBody } from "./request_body.ts";
import { dialectOf, GET_ROUTES, knownRoute, POST_ROUTES } from "./routes.ts";

/** What holds for requests, wherever they come from, and can change while the server runs. */
export interface RequestSettings {
  /** Host names to answer under without keys, beside this machine's own. */
  allowedHosts: readonly string[];
  /** Origins of web pages that may use the API. */
  corsOrigins: readonly string[];
  /** Seconds after which an idle connection is closed, 255 at most. */
  keepAliveSeconds: number;
  /** What stands before every path where a proxy passes it on, without a slash at its end; empty: nothing. */
  basePath: string;
  /** Proxies whose word on the client's address is taken. */
  trustedProxies: TrustedProxies;
}

/** A server of Bun's, without web sockets. */
export type BunServer = Bun.Server<undefined>;

/** Answers what came in over a connection of one server. */
export type Responder = (request: Request, server: BunServer) => Promise<Response>;

/** What is different from place to place. */
interface Entrance {
  place: Place;
  isRetired: (server: BunServer) => boolean;
}

/** Receives all requests of one server. */
export interface Reception {
  /** @param isRetired whether a server accepts no more connections, so that those it has should end. */
  at(place: Place, isRetired: (server: BunServer) => boolean): Responder;
  /** From now on these hold for new requests. */
  use(settings: RequestSettings): void;
  /** Ends quiet connections if descriptors run short. @param ports where the server listens. */
  makeRoom(ports: readonly number[]): void;
}

/** The settings in the form in which requests need them. */
class Rules {
  readonly settings: RequestSettings;
  readonly cors: CorsPolicy;
  readonly #hosts: HostNames;

  constructor(settings: RequestSettings) {
    this.settings = settings;
    this.cors = new CorsPolicy(settings.corsOrigins);
    this.#hosts = new HostNames(settings.allowedHosts);
  }

  /**
   * Who listens for others is asked under names that nobody could know here, unless they were given. No web page reaches a unix socket.
   *
   * @throws RequestError 403.
   */
  checkHost(request: Request, place: Place): void {
    const isNamed = this.settings.allowedHosts.length > 0;
    if (isNamed || (!isUnix(place) && isLocal(place))) this.#hosts.check(request);
  }
}

/** The status in log and metrics of a request whose client left before its answer was over. */
const CLIENT_CLOSED_REQUEST = 499;

/**
 * The routes. Elysia is given requests that hold the path alone (it looks for the path in the text of a URL, and where the host is
 * short it finds another one than URL does), and hands them to handlers, who find their exchange by them.
 */
function createApp(state: ServerState, exchanges: WeakMap<Request, Exchange>) {
  // The error handler comes before the routes: it only holds for what is registered after it.
  const app = new Elysia().onError(({ code, error, request }) => {
    const exchange = exchanges.get(request) as Exchange;
    return refuse(exchange, code === "NOT_FOUND" ? notFound(exchange) : toRequestError(error));
  });
  for (const [path, handler] of Object.entries(GET_ROUTES)) {
    app.get(path, ({ request }) => handler(exchanges.get(request) as Exchange));
  }
  app.get(`${ASSETS_PATH}*`, ({ params, request }) => asset(params["*"], (exchanges.get(request) as Exchange).request));
  // A model's name may contain slashes, written plainly or as %2F.
  app.get("/v1/models/*", ({ params }) => Response.json(getModel(state, decodeName(params["*"]))));
  for (const [path, { handle }] of Object.entries(POST_ROUTES)) {
    app.post(
      path,
      async ({ request }) => {
        state.requireService();
        const exchange = exchanges.get(request) as Exchange;
        return handle(exchange, await readJsonBody(exchange.request, exchange.body));
      },
      { parse: "none" },
    );
  }
  return app;
}

/**
 * What happens to every request, whatever its path, at each place where it may come in.
 *
 * @param apiKeys one of which a request has to have; none: anybody may ask.
 * @param tracing undefined: nothing is traced.
 */
export function createReception(
  state: ServerState,
  apiKeys: ApiKeys,
  settings: RequestSettings,
  tracing?: Tracing,
): Reception {
  const exchanges = new WeakMap<Request, Exchange>();
  const app = createApp(state, exchanges);
  const accounts = new KeyAccounts();
  const descriptors = new Descriptors();
  descriptors.warn();
  const connections = new QuietConnections();
  let current = new Rules(settings);

  /** Counts a request against the limits of its key. @throws RequestError 429. */
  function limit(exchange: Exchange): void {
    if (exchange.key === undefined) return;
    const { charge, end } = accounts.begin(exchange.key);
    exchange.charge = charge;
    exchange.endUse = end;
  }

  async function respond(exchange: Exchange, rules: Rules, place: Place): Promise<Response> {
    const { request, path } = exchange;
    try {
      if (apiKeys.count === 0) rules.checkHost(request, place);
      const preflight = rules.cors.preflight(request);
      if (preflight !== undefined) return preflight;
      exchange.key = apiKeys.check(request, path);
      if (path === undefined) throw new RequestError(400, "The Host header of your request is malformed.");
      if (request.method === "POST") limit(exchange);
      const routed = routingRequest(request.method, path);
      exchanges.set(routed, exchange);
      return await app.fetch(routed);
    } catch (error) {
      return refuse(exchange, toRequestError(error));
    }
  }

  async function receive(request: Request, server: BunServer, { place, isRetired }: Entrance): Promise<Response> {
    // Those of a request's arrival hold until its end.
    const rules = current;
    const { basePath, trustedProxies, keepAliveSeconds } = rules.settings;
    const started = performance.now();
    server.timeout(request, 0);
    const method = knownMethod(request.method);
    const path = readPath(request, basePath);
    const route = knownRoute(path);
    const id = requestId(request);
    const trace = tracing?.begin(started, request.headers);
    const peer = server.requestIP(request);
    const client = trustedProxies.clientOf(peer?.address, request.headers.get("x-forwarded-for"));
    const endRequest = peer === null ? undefined : connections.begin(peer.port);
    /** Called once, before the last bytes of the answer are sent. */
    const finish = (answered: number) => {
      // Without this, a connection would stay open for good.
      server.timeout(request, keepAliveSeconds);
      endRequest?.();
      exchange.body.release();
      exchange.endUse();
      const { key, model, parameters, isEventStream, answers } = exchange;
      const hasLeft = exchange.client.aborted;
      const status = hasLeft ? CLIENT_CLOSED_REQUEST : answered;
      // What goes wrong once its client has left is nothing that went wrong.
      const error = hasLeft ? undefined : exchange.error;
      state.metrics.requested(method, route, status);
      for (const answer of answers) state.metrics.answered(endReason(answer, hasLeft), answer.counts);
      const milliseconds = performance.now() - started;
      const record = {
        ...{ id, method, route, status, started, milliseconds, client, key: key?.label },
        ...{ model, parameters, isEventStream, hasLeft, error, answers, trace },
      };
      logRequest(record);
      if (!isHealthCheck(record)) trace?.end(record);
    };
    // Before anything is awaited, so that no departure is missed.
    const exchange = new Exchange(state, { request, path, basePath, dialect: dialectOf(route) }, () => finish(200));
    const response = await respond(exchange, rules, place);
    const { status, headers } = response;
    headers.set("x-request-id", id);
    if (trace !== undefined) headers.set("traceparent", trace.traceparent);
    if (descriptors.areShort || isRetired(server)) headers.set("connection", "close");
    rules.cors.mark(request, headers);
    if (!exchange.isStreamed) finish(status);
    return response;
  }

  return {
    at: (place, isRetired) => (request, server) => receive(request, server, { place, isRetired }),
    use: (fresh) => {
      current = new Rules(fresh);
    },
    makeRoom: (ports) => {
      if (descriptors.areShort) connections.endSome(ports, descriptors.inUse);
      else connections.forget();
    },
  };
}

/** Answers with an error, and keeps it for the log. */
function refuse(exchange: Exchange, error: RequestError): Response {
  exchange.error = error;
  return errorResponse(error, exchange.dialect);
}

function knownMethod(method: string): string {
  return ["GET", "HEAD", "POST", "OPTIONS"].includes(method) ? method : "other";
}

/** Unknown path, or a known one with the wrong method. */
function notFound({ request, path }: Exchange): RequestError {
  const route = knownRoute(path);
  const methods = route === "other" ? undefined : route in POST_ROUTES ? "POST" : "GET, HEAD";
  if (methods === undefined) {
    const advice = adviceFor(path ?? "") ?? "GET /openapi.json tells which there are.";
    return new RequestError(404, `Unknown request URL: ${request.method} ${path}. ${advice}`, { code: "unknown_url" });
  }
  return new RequestError(405, `Not allowed to ${request.method} on ${path}; allowed: ${methods}.`, {
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
