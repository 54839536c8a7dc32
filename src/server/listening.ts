/**
 * The sockets on which a server listens: addresses, unix sockets, and sockets that were passed to the process. A new certificate is
 * used without closing a socket: a second server takes over the socket, and the first one ends with its connections.
 */

import { lookup } from "node:dns/promises";
import { lstatSync, unlinkSync } from "node:fs";
import { errorResponse } from "../api/dialect.ts";
import { openAi } from "../api/openai/dialect.ts";
import { leaveListener, listeningSockets, replaceListener } from "../engine/sockets.ts";
import { describeSystemError, Failure } from "../errors.ts";
import { waitForLock } from "../models/file_lock.ts";
import { toRequestError } from "../serving/request_error.ts";
import type { ServerState } from "../serving/state.ts";
import type { Tracing } from "../tracing/tracing.ts";
import { reachableHosts } from "./addresses.ts";
import { type BunServer, createReception, type RequestSettings, type Responder } from "./app.ts";
import type { ApiKeys } from "./auth.ts";
import type { Certificate } from "./certificate.ts";
import { describePlace, hostOf, isUnix, type Place } from "./places.ts";

/** How often it is looked whether descriptors run short. */
const ROOM_INTERVAL_MS = 1_000;

/** How a server listens. */
export interface ListenOptions {
  /** At least one. */
  places: readonly Place[];
  /** Permissions of unix sockets. */
  socketMode: number;
  /** For TLS, at every place but unix sockets; undefined: plain HTTP. */
  certificate?: Certificate | undefined;
  apiKeys: ApiKeys;
  requests: RequestSettings;
  /** Absent: nothing is traced. */
  tracing?: Tracing | undefined;
}

/** A server that listens. */
export interface Listening {
  /** Where it can be reached, from this machine first: http://127.0.0.1:30000; unix sockets last: unix:/run/llm.sock */
  readonly urls: string[];
  /**
   * Accepts connections of the sockets that were passed to the process. Until then they wait.
   *
   * @throws Failure.
   */
  takePassed(): Promise<void>;
  /**
   * From now on connections get this certificate. Those that are open end with the answers that are under way on them. Sockets that were
   * left stay so: whoever comes through them is the next one's.
   *
   * @throws Failure; then the old one stays in use everywhere.
   */
  useCertificate(certificate: Certificate): void;
  /** From now on these hold for new requests. A connection over which none has come keeps the time after which it is closed. */
  use(requests: RequestSettings): void;
  /**
   * Leaves the sockets that were passed to the process: who comes from now on waits there for the next one.
   *
   * @returns whether that is true of everybody who comes, since all sockets were passed.
   */
  leavePassed(): boolean;
  /** Stops listening. Resolves when all answers under way are sent, or at once with `force`. */
  stop(force: boolean): Promise<void>;
}

/**
 * Starts to listen, but for sockets that were passed to the process.
 *
 * @throws Failure when a place can't be had; then there is none.
 */
export async function listen(state: ServerState, options: ListenOptions): Promise<Listening> {
  const reception = createReception(state, options.apiKeys, options.requests, options.tracing);
  const listeners: Listener[] = [];
  const descriptors = () => listeners.map(({ descriptor }) => descriptor);
  let { certificate, requests } = options;
  const timer = setInterval(() => reception.makeRoom(listeners.flatMap(({ port }) => port ?? [])), ROOM_INTERVAL_MS);
  timer.unref();
  const stop = async (force: boolean) => {
    clearInterval(timer);
    await Promise.all(listeners.map((listener) => listener.stop(force)));
  };
  const open = async (places: readonly Place[]) => {
    for (const place of places) {
      const retired = new Set<BunServer>();
      const served = {
        respond: reception.at(place, (server) => retired.has(server)),
        retired,
        keepAliveSeconds: () => requests.keepAliveSeconds,
        socketMode: options.socketMode,
      };
      listeners.push(await Listener.open(place, served, isUnix(place) ? undefined : certificate, descriptors()));
    }
  };
  try {
    await open(options.places.filter(({ kind }) => kind !== "passed"));
  } catch (error) {
    await stop(true);
    throw error;
  }
  return {
    get urls() {
      const urls = listeners.flatMap((listener) => listener.urls);
      return urls.sort((one, other) => Number(isUnixUrl(one)) - Number(isUnixUrl(other)));
    },
    takePassed: () => open(options.places.filter(({ kind }) => kind === "passed")),
    useCertificate(fresh) {
      const successors: { listener: Listener; successor: Taken }[] = [];
      try {
        for (const listener of listeners.filter(({ isSecure, hasLeft }) => isSecure && !hasLeft)) {
          const others = [...descriptors(), ...successors.map(({ successor }) => successor.descriptor)];
          successors.push({ listener, successor: listener.prepare(fresh, others) });
        }
      } catch (error) {
        for (const { listener, successor } of successors) listener.retire(successor);
        throw error;
      }
      for (const { listener, successor } of successors) listener.succeed(successor);
      certificate = fresh;
    },
    use(fresh) {
      requests = fresh;
      reception.use(fresh);
    },
    leavePassed() {
      const passed = listeners.filter(({ place }) => place.kind === "passed");
      for (const listener of passed) listener.leave();
      return passed.length === listeners.length;
    },
    stop,
  };
}

function isUnixUrl(url: string): boolean {
  return url.startsWith("unix:");
}

/** What every server of one listener does. */
interface Served {
  respond: Responder;
  /** Those that accept nothing any more. */
  retired: Set<BunServer>;
  keepAliveSeconds: () => number;
  socketMode: number;
}

/** A server that accepts the connections of a socket which is not its own, by the descriptor that the two share. */
interface Taken {
  server: BunServer;
  descriptor: number;
}

/** One place, with the server that accepts connections there and those that only finish theirs. */
class Listener {
  readonly place: Place;
  readonly isSecure: boolean;
  readonly #served: Served;
  #server: BunServer;
  /** Of its listening socket; -1 where nobody needs to know. */
  descriptor = -1;
  /** Whether it accepts nothing any more. */
  hasLeft = false;

  private constructor(place: Place, served: Served, server: BunServer, isSecure: boolean) {
    this.place = place;
    this.#served = served;
    this.#server = server;
    this.isSecure = isSecure;
  }

  /**
   * @param others descriptors of sockets that belong to other listeners.
   * @throws Failure.
   */
  static async open(place: Place, served: Served, certificate: Certificate | undefined, others: number[]) {
    const isSecure = certificate !== undefined;
    if (place.kind === "passed") {
      const { server, descriptor } = takeSocket(served, certificate, place.descriptor, others);
      const listener = new Listener(place, served, server, isSecure);
      listener.descriptor = descriptor;
      return listener;
    }
    if (place.kind === "unix") return new Listener(place, served, await serveUnix(served, place), false);
    const listener = new Listener(place, served, await serveAddress(served, place, certificate), isSecure);
    if (isSecure) listener.descriptor = socketOf(listener.#server, others);
    return listener;
  }

  /** Undefined for a unix socket. */
  get port(): number | undefined {
    const { place } = this;
    if (isUnix(place)) return undefined;
    return Number(place.kind === "passed" ? /\d+$/.exec(place.address)?.[0] : this.#server.port);
  }

  get urls(): string[] {
    const { place, port } = this;
    if (port === undefined) return [describePlace(place)];
    const scheme = this.isSecure ? "https" : "http";
    return reachableHosts(hostOf(place)).map(
      (hostname) => `${scheme}://${describePlace({ kind: "address", hostname, port })}`,
    );
  }

  /** Another server, with this certificate, that accepts what comes, beside the one that does. @throws Failure; then that one goes on. */
  prepare(certificate: Certificate, others: number[]): Taken {
    return takeSocket(this.#served, certificate, this.descriptor, others);
  }

  /** Has this one alone accept what comes. */
  succeed(successor: Taken): void {
    const before = { server: this.#server, descriptor: this.descriptor };
    this.#server = successor.server;
    this.descriptor = successor.descriptor;
    this.retire(before);
  }

  /** Has one of several servers accept nothing any more, and ends it by and by. */
  retire({ server, descriptor }: Taken): void {
    leaveListener(descriptor);
    const { retired, keepAliveSeconds } = this.#served;
    retired.add(server);
    // Over connections that are open a request may be under way. An idle one would end by then anyway.
    setTimeout(() => void server.stop(false).then(() => retired.delete(server)), keepAliveSeconds() * 1000).unref();
  }

  /** Accepts nothing any more. */
  leave(): void {
    leaveListener(this.descriptor);
    this.hasLeft = true;
    this.#served.retired.add(this.#server);
  }

  async stop(force: boolean): Promise<void> {
    const servers = new Set([this.#server, ...this.#served.retired]);
    await Promise.all([...servers].map((server) => server.stop(force)));
  }
}

/** What is the same for all servers. */
function common({ respond, keepAliveSeconds }: Served, certificate?: Certificate) {
  return {
    fetch: respond,
    // Bun closes connections that are silent for this many seconds, those with an answer that is being computed included; hence
    // there is no limit from a request's arrival to the end of its answer (see createReception).
    idleTimeout: keepAliveSeconds(),
    // readJsonBody counts, with an answer in the right shape.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    // No error pages with source code in them.
    development: false as const,
    error: (error: Error) => errorResponse(toRequestError(error), openAi),
    ...(certificate === undefined ? {} : { tls: { cert: certificate.cert, key: certificate.key } }),
  };
}

type Address = Extract<Place, { kind: "address" }>;
type UnixSocket = Extract<Place, { kind: "unix" }>;

async function serveAddress(served: Served, place: Address, certificate: Certificate | undefined) {
  const { hostname, port } = place;
  const where = describePlace(place);
  const noAddress = `can't listen on ${where}: '${hostname}' is no address of this machine; choose another --host`;
  // Asked first, since what Bun says of a name that nobody knows is about something else, such as a port in use.
  await lookup(hostname).catch(() => {
    throw new Failure(noAddress);
  });
  try {
    // A second server on the same port would silently get half of the requests.
    return Bun.serve({ hostname, port, reusePort: false, ...common(served, certificate) });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE")
      throw new Failure(`${where} is already in use; stop the other server or choose another --port`);
    if (code === "EACCES") throw new Failure(`no permission to listen on ${where}; choose a --port over 1023`);
    if (code === "EADDRNOTAVAIL") throw new Failure(noAddress);
    throw new Failure(`can't listen on ${where}: ${message.split("\n")[0]}`);
  }
}

async function serveUnix(served: Served, { path }: UnixSocket) {
  try {
    // Otherwise two that start at once could both find a file that nobody listens on, and the second remove the first one's.
    const lock = await waitForLock(`${path}.lock`, () => undefined, new AbortController().signal);
    const before = process.umask(0o777 & ~served.socketMode);
    try {
      await removeStaleSocket(path);
      // The idle timeout works for these as well, whatever bun-types says.
      return Bun.serve({ unix: path, ...common(served) } as unknown as Bun.Serve.Options<undefined>);
    } finally {
      process.umask(before);
      lock?.release();
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`can't listen on unix:${path}: ${describeSystemError(error)}`);
  }
}

/** Removes a socket's file on which nobody listens any more. @throws Failure when there is something else. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new Failure(`can't listen on unix:${path}: there is something else than a socket; choose another path`);
  const code = await Bun.connect({ unix: path, socket: { open: (socket) => void socket.end(), data() {} } }).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
  // Another answer, no permission for one, does not say that it is stale.
  if (code !== "ECONNREFUSED")
    throw new Failure(`unix:${path} is already in use; stop the other server or choose another path`);
  unlinkSync(path);
}

/**
 * A server that accepts the connections of a socket which listens already.
 *
 * @param others descriptors of sockets that belong to other listeners.
 * @throws Failure; then whoever accepted them before goes on.
 */
function takeSocket(served: Served, certificate: Certificate | undefined, from: number, others: number[]): Taken {
  const server = serveAnywhere(served, certificate);
  try {
    const descriptor = socketOf(server, others);
    replaceListener(descriptor, from);
    return { server, descriptor };
  } catch (error) {
    void server.stop(true);
    throw error;
  }
}

/** Bun makes a socket in any case. This one is replaced before anybody could know of it. @throws Failure. */
function serveAnywhere(served: Served, certificate: Certificate | undefined): BunServer {
  try {
    return Bun.serve({ hostname: "127.0.0.1", port: 0, reusePort: false, ...common(served, certificate) });
  } catch (error) {
    throw new Failure(`can't make another server: ${(error as Error).message.split("\n")[0]}`);
  }
}

/** The descriptor of a server's own socket. @throws Failure when the system doesn't tell. */
function socketOf(server: BunServer, others: readonly number[]): number {
  const found = listeningSockets(server.port as number).find((descriptor) => !others.includes(descriptor));
  if (found === undefined) throw new Failure("can't find the server's own socket in /proc/self/fd; mount /proc");
  return found;
}
