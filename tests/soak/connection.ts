/**
 * A connection to a server as clients of every kind have one: over TCP, TLS or a unix socket, kept for several requests or not, read at
 * once or slowly, written at once or in pieces, left at any moment. It tells apart what a real client's library hides: whether a
 * connection was refused, ended before an answer, or within one.
 */

import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** Where a server is reached. */
export type Place =
  | { kind: "tcp"; port: number }
  /** @param ca certificates that are believed, as PEM. */
  | { kind: "tls"; port: number; ca: string[] }
  | { kind: "unix"; path: string };

/** What is sent. */
export interface Request {
  method: string;
  path: string;
  headers: Readonly<Record<string, string>>;
  body?: Uint8Array;
}

/** How a client behaves while it is answered. */
export interface Manner {
  readsSlowly?: boolean;
  /** Sends the body in pieces, with pauses. */
  writesSlowly?: boolean;
  /** When it leaves, if it has not been answered by then. */
  leaves?: { afterMs: number } | { afterBytes: number };
}

/** An answer that was read to its end. */
export interface Answer {
  status: number;
  /** By names in small letters. */
  headers: ReadonlyMap<string, string>;
  body: Buffer;
}

/** No whole answer came, though the client waited for one. */
export class LostAnswer extends Error {}

/** The server closed a connection that had been used before, and nothing came of the request: it may be sent again over another one. */
export class ClosedBeforeUse extends Error {}

/** How much a slow reader takes, and how long it then sleeps. */
const SIP_BYTES = 2048;
const SIP_INTERVAL_MS = 10;

/** Pieces of a body that is sent slowly, and the time between them. */
const PIECES = 4;
const PIECE_INTERVAL_MS = 50;

/** How long to wait for an answer: longer than any takes, restarts included, so that only what hangs is given up. */
const PATIENCE_MS = 180_000;

export class Connection {
  readonly #socket: Socket;
  #isOpen = true;
  #isUsed = false;
  /** What happens to the request that is under way. */
  #take: ((bytes: Buffer) => void) | undefined;
  #end: ((error?: Error) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes) => this.#take?.(Buffer.from(bytes)));
    let failure: Error | undefined;
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => {
      this.#isOpen = false;
      this.#end?.(failure);
    });
  }

  /** @throws LostAnswer when nobody accepts it. */
  static open(place: Place): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = openSocket(place);
      const fail = (error?: Error) => reject(new LostAnswer(`no connection: ${error?.message ?? "it was closed"}`));
      socket.once("error", fail);
      socket.once("close", fail);
      socket.once(place.kind === "tls" ? "secureConnect" : "connect", () => {
        socket.off("error", fail);
        socket.off("close", fail);
        resolve(new Connection(socket));
      });
    });
  }

  /** Whether another request may be sent over it. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  close(): void {
    this.#isOpen = false;
    this.#socket.destroy();
  }

  /**
   * Sends a request and reads the answer.
   *
   * @returns undefined when the client left before the end.
   * @throws LostAnswer, ClosedBeforeUse.
   */
  async ask(request: Request, manner: Manner = {}): Promise<Answer | undefined> {
    const wasUsed = this.#isUsed;
    this.#isUsed = true;
    const reader = new AnswerReader();
    const { leaves } = manner;
    const answered = Promise.withResolvers<Answer | undefined>();
    const leave = () => {
      answered.resolve(undefined);
      this.close();
    };
    const patience = setTimeout(() => {
      answered.reject(new LostAnswer(`not whole after ${PATIENCE_MS / 1000} s; so far: ${reader}`));
      this.close();
    }, PATIENCE_MS);
    const leaving = leaves !== undefined && "afterMs" in leaves ? setTimeout(leave, leaves.afterMs) : undefined;
    this.#take = (bytes) => {
      try {
        const answer = reader.add(bytes);
        if (answer !== undefined) answered.resolve(answer);
      } catch (error) {
        answered.reject(error);
      }
      if (leaves !== undefined && "afterBytes" in leaves && reader.bytes >= leaves.afterBytes) leave();
      if (manner.readsSlowly) {
        this.#socket.pause();
        setTimeout(() => this.#socket.resume(), (SIP_INTERVAL_MS * bytes.length) / SIP_BYTES);
      }
    };
    this.#end = (error) => {
      const why = error === undefined ? "" : `: ${error.message}`;
      if (wasUsed && reader.bytes === 0) answered.reject(new ClosedBeforeUse());
      else answered.reject(new LostAnswer(`the connection ended${why}; so far: ${reader}`));
    };
    // It may have been closed while nobody asked.
    if (!this.#isOpen) this.#end();
    try {
      await Promise.race([answered.promise, this.#send(request, manner.writesSlowly === true)]);
      const answer = await answered.promise;
      if (answer?.headers.get("connection")?.toLowerCase() === "close") this.close();
      return answer;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(patience);
      clearTimeout(leaving);
      this.#take = undefined;
      this.#end = undefined;
    }
  }

  async #send({ method, path, headers, body }: Request, isSlow: boolean): Promise<void> {
    const all = { host: "localhost", ...headers, ...(body === undefined ? {} : { "content-length": body.length }) };
    const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#socket.write(`${method} ${path} HTTP/1.1\r\n${head.join("")}\r\n`);
    if (body === undefined) return;
    const size = isSlow ? Math.max(1, Math.ceil(body.length / PIECES)) : body.length;
    for (let at = 0; at < body.length && this.#isOpen; at += size) {
      if (isSlow) await Bun.sleep(PIECE_INTERVAL_MS);
      if (this.#isOpen) this.#socket.write(body.subarray(at, at + size));
    }
  }
}

function openSocket(place: Place): Socket {
  if (place.kind === "unix") return connect(place.path);
  if (place.kind === "tcp") return connect(place.port, "127.0.0.1");
  return connectTls({ port: place.port, host: "127.0.0.1", servername: "localhost", ca: place.ca });
}

/** Puts an answer together from what comes. */
class AnswerReader {
  /** How many came. */
  bytes = 0;
  #rest: Buffer = Buffer.alloc(0);
  #head: { status: number; headers: Map<string, string> } | undefined;
  readonly #parts: Buffer[] = [];

  /** @returns the answer, once it is whole. @throws LostAnswer when it is none of HTTP. */
  add(bytes: Buffer): Answer | undefined {
    this.bytes += bytes.length;
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#head ??= this.#readHead();
    if (this.#head === undefined || !this.#readBody(this.#head.headers)) return undefined;
    return { ...this.#head, body: Buffer.concat(this.#parts) };
  }

  /** What came so far, for people. */
  toString(): string {
    const last = this.#parts.at(-1)?.toString().slice(-200) ?? this.#rest.toString().slice(0, 200);
    return `${this.bytes} bytes, at their end ${JSON.stringify(last)}`;
  }

  #readHead() {
    const end = this.#rest.indexOf("\r\n\r\n");
    if (end < 0) return undefined;
    const [first = "", ...lines] = this.#rest.subarray(0, end).toString("latin1").split("\r\n");
    this.#rest = this.#rest.subarray(end + 4);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
    if (Number.isNaN(status)) throw new LostAnswer(`no answer of HTTP: ${JSON.stringify(first)}`);
    const headers = new Map(
      lines.map((line): [string, string] => {
        const [name = "", value = ""] = line.split(/: ?(.*)/s);
        return [name.toLowerCase(), value];
      }),
    );
    return { status, headers };
  }

  /** Whether it is whole. */
  #readBody(headers: ReadonlyMap<string, string>): boolean {
    if (headers.get("transfer-encoding") === "chunked") return this.#readChunks();
    const length = Number(headers.get("content-length") ?? 0);
    if (this.#rest.length < length) return false;
    this.#parts.push(this.#rest.subarray(0, length));
    return true;
  }

  #readChunks(): boolean {
    for (;;) {
      const lineEnd = this.#rest.indexOf("\r\n");
      if (lineEnd < 0) return false;
      const line = this.#rest.subarray(0, lineEnd).toString("latin1");
      if (!/^[0-9a-f]+$/i.test(line)) throw new LostAnswer(`no chunk of HTTP: ${JSON.stringify(line)}`);
      const size = Number.parseInt(line, 16);
      const end = lineEnd + 2 + size + 2;
      if (this.#rest.length < end) return false;
      if (size === 0) return true;
      this.#parts.push(this.#rest.subarray(lineEnd + 2, lineEnd + 2 + size));
      this.#rest = this.#rest.subarray(end);
    }
  }
}
