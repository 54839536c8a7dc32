/**
 * One client: a request after the other, each when the one before is answered or left, so that the load is as large as the server is
 * fast. It chooses what it asks and how it behaves by its own random numbers.
 */

import { damage } from "../fuzz.ts";
import { Chance } from "./chance.ts";
import { type Answer, ClosedBeforeUse, Connection, LostAnswer, type Manner, type Request } from "./connection.ts";
import { type Dialect, eventsOf, type Json } from "./dialects.ts";
import { bodyOf, type Case, canBeStreamed, draw, FLOOD, REFUSED, type Refused, type ServiceName } from "./mix.ts";
import { LIMITED_KEY, type Service } from "./service.ts";
import type { Tally } from "./tally.ts";

/** A request with the answer that is right. */
export interface KnownCase extends Case {
  right: Json;
}

/** What clients work with. */
export interface Field {
  services: Record<ServiceName, Service>;
  cases: readonly KnownCase[];
  tally: Tally;
  /** Whether no new requests are made. */
  isOver: boolean;
}

/** Statuses that a damaged request may get. */
const OF_DAMAGED = [200, 400, 404, 413, 429];

/** How long a client reads what comes of a damaged request: it may have asked for everything that the context holds. */
const DAMAGED_MS = 2_000;

/** The longest that a client waits that was told to come back later. */
const RETRY_MS = 5_000;

const encoder = new TextEncoder();
let requests = 0;

export class Client {
  readonly #number: number;
  readonly #chance: Chance;
  readonly #field: Field;
  readonly #connections = new Map<ServiceName, Connection>();
  /** Whether the request that was sent last may be refused with 429. */
  #mayHaveToWait = false;

  constructor(number: number, seed: number, field: Field) {
    this.#number = number;
    this.#chance = new Chance(seed * 100_003 + number);
    this.#field = field;
  }

  /** Works until it is over. */
  async run(): Promise<void> {
    while (!this.#field.isOver) {
      try {
        await this.#doSomething();
      } catch (error) {
        if (!(error instanceof LostAnswer)) throw error;
        this.#field.tally.fault("lost answers", error.message);
      }
    }
    for (const connection of this.#connections.values()) connection.close();
  }

  async #doSomething(): Promise<void> {
    const chance = this.#chance;
    const readsSlowly = this.#number % 8 === 0;
    if (readsSlowly && chance.oneIn(4)) return this.#takeFlood();
    if (chance.oneIn(10)) return this.#sendDamaged();
    if (chance.oneIn(10)) return this.#askWrongly(chance.of(REFUSED));
    const manner: Manner = { readsSlowly, writesSlowly: chance.oneIn(10) };
    if (chance.oneIn(3)) {
      manner.leaves = chance.oneIn(2) ? { afterMs: chance.below(400) } : { afterBytes: 1 + chance.below(8000) };
    }
    if (chance.oneIn(6)) return this.#askDrawn(manner);
    return this.#askKnown(chance.of(this.#field.cases), manner);
  }

  /** A request whose right answer is known. */
  async #askKnown(one: KnownCase, manner: Manner): Promise<void> {
    const isStreamed = canBeStreamed(one) && this.#chance.oneIn(2);
    const body = bodyOf(one, isStreamed);
    const answer = await this.#send(one.service, one.method, one.path, body && JSON.stringify(body), {
      manner,
      more: one.headers,
    });
    if (answer === undefined || (one.isAboutReadiness && answer.status === 503)) return;
    if (!this.#hasStatus(answer, 200, one.path)) return;
    this.#judge(one.path, isStreamed, () => {
      const found = readAnswer(answer, one.dialect, isStreamed);
      if (!one.varies && !Bun.deepEquals(found, one.right)) {
        return `${JSON.stringify(body).slice(0, 300)}: ${difference(found, one.right)}`;
      }
      return one.fault?.(found);
    });
  }

  /** A request that is drawn at random. */
  async #askDrawn(manner: Manner): Promise<void> {
    const drawn = draw(this.#chance);
    const { path, dialect, fault } = drawn;
    const isStreamed = this.#chance.oneIn(2);
    const text = JSON.stringify(bodyOf(drawn, isStreamed));
    const answer = await this.#send("text", "POST", path, text, { manner });
    if (answer === undefined || !this.#hasStatus(answer, 200, path)) return;
    this.#judge(path, isStreamed, () => {
      const found = fault(readAnswer(answer, dialect, isStreamed));
      return found === undefined ? undefined : `${found}; asked by ${text}`;
    });
  }

  #judge(path: string, isStreamed: boolean, fault: () => string | undefined): void {
    const { tally } = this.#field;
    tally.count(`${isStreamed ? "streams" : "whole"} ${path}`);
    let found: string | undefined;
    try {
      found = fault();
    } catch (error) {
      found = String(error);
    }
    if (found !== undefined) tally.fault("wrong answers", `${path}: ${found}`);
  }

  /** A request that has to be refused. */
  async #askWrongly({ service, method, path, body, key, status }: Refused): Promise<void> {
    const answer = await this.#send(service, method, path, body, { key });
    if (answer === undefined || !this.#hasStatus(answer, status, path)) return;
    this.#field.tally.count("refused as they should");
  }

  /** A request of the mix with faults in its bytes. */
  async #sendDamaged(): Promise<void> {
    const one = this.#chance.of(this.#field.cases.filter(({ body }) => body !== undefined));
    const isStreamed = one.dialect !== undefined && this.#chance.oneIn(2);
    const text = JSON.stringify(bodyOf(one, isStreamed));
    const body = damage(encoder.encode(text), this.#chance.below);
    const answer = await this.#send(one.service, one.method, one.path, body, {
      manner: { leaves: { afterMs: DAMAGED_MS } },
    });
    if (answer === undefined) return;
    const { tally } = this.#field;
    const told = () =>
      `${one.path}, ${Buffer.from(body).toString().slice(0, 1000)}: ${answer.body.toString().slice(0, 300)}`;
    if (!OF_DAMAGED.includes(answer.status)) tally.fault("unexpected statuses", `${answer.status} of ${told()}`);
    if (answer.status !== 200) this.#checkError(answer, one.path);
    tally.count(answer.status === 200 ? "damaged, answered" : "damaged, refused");
  }

  /** Asks for more than it reads. */
  async #takeFlood(): Promise<void> {
    const leaves = { afterMs: 200 + this.#chance.below(2000) };
    const body = JSON.stringify(FLOOD);
    await this.#send("text", "POST", "/v1/chat/completions", body, { manner: { readsSlowly: true, leaves } });
  }

  /** Whether an answer has the status that it should have; some may be told to come back. */
  #hasStatus(answer: Answer, status: number, path: string): boolean {
    if (answer.status !== 200) this.#checkError(answer, path);
    if (answer.status === status) return true;
    const { tally } = this.#field;
    if (answer.status === 429 && this.#mayHaveToWait) {
      const seconds = Number(answer.headers.get("retry-after"));
      const why = this.#isLimited ? "of a key's limit" : "of a full queue";
      if (seconds >= 1 && seconds <= 60) tally.count(`told to come back, because ${why}`);
      else tally.fault("unexpected statuses", `429 with Retry-After: ${answer.headers.get("retry-after")}`);
      return false;
    }
    const text = answer.body.toString().slice(0, 500);
    tally.fault("unexpected statuses", `${answer.status}, not ${status}, of ${path}: ${text}`);
    return false;
  }

  #checkError(answer: Answer, path: string): void {
    const text = answer.body.toString();
    try {
      const { message } = JSON.parse(text).error;
      if (typeof message === "string" && message !== "") return;
    } catch {
      // The same fault.
    }
    this.#field.tally.fault("errors that are no JSON", `${answer.status} of ${path}: ${text.slice(0, 500)}`);
  }

  get #isLimited(): boolean {
    return this.#number === 1;
  }

  /**
   * Sends a request over a connection, a new one or that of the request before.
   *
   * @returns undefined when the client left, or has to wait.
   */
  async #send(
    name: ServiceName,
    method: string,
    path: string,
    body: string | Uint8Array | undefined,
    {
      manner = {},
      key,
      more,
    }: { manner?: Manner; key?: string | undefined; more?: Record<string, string> | undefined },
  ): Promise<Answer | undefined> {
    const { tally, services } = this.#field;
    const service = services[name];
    const id = `soak-${++requests}`;
    this.#mayHaveToWait = this.#isLimited || service.hasShortQueue;
    const usual = this.#isLimited ? LIMITED_KEY : (service.keys[this.#number % service.keys.length] as string);
    const headers: Record<string, string> = { authorization: `Bearer ${key ?? usual}`, "x-request-id": id, ...more };
    const request: Request = { method, path, headers };
    if (body !== undefined) {
      headers["content-type"] = "application/json";
      request.body = typeof body === "string" ? encoder.encode(body) : body;
      if (this.#chance.oneIn(10)) {
        headers["content-encoding"] = "gzip";
        request.body = Bun.gzipSync(request.body as Uint8Array<ArrayBuffer>);
      }
    }
    let answer: Answer | undefined;
    try {
      answer = await this.#ask(name, service, request, manner);
    } catch (error) {
      service.left(id);
      throw error;
    }
    if (answer === undefined) {
      tally.count("left by their clients");
      service.left(id);
      return undefined;
    }
    // It may have been sent before and taken up afterwards.
    this.#mayHaveToWait ||= service.hasShortQueue;
    if (!isUnlogged(path, answer.status)) service.answered(id, answer.status);
    if (answer.status === 429)
      await Bun.sleep(Math.min(RETRY_MS, 1000 * Number(answer.headers.get("retry-after") ?? 1)));
    return answer;
  }

  async #ask(name: ServiceName, service: Service, request: Request, manner: Manner): Promise<Answer | undefined> {
    const kept = this.#connections.get(name);
    this.#connections.delete(name);
    let connection = kept?.isOpen ? kept : await this.#connect(service);
    let answer: Answer | undefined;
    try {
      answer = await connection.ask(request, manner);
    } catch (error) {
      if (!(error instanceof ClosedBeforeUse)) throw error;
      // As every client of HTTP does: the server closes idle connections, maybe just when one is used again.
      this.#field.tally.count("sent again over a new connection");
      connection = await this.#connect(service);
      answer = await connection.ask(request, manner);
    }
    if (connection.isOpen && !this.#chance.oneIn(3)) this.#connections.set(name, connection);
    else connection.close();
    return answer;
  }

  #connect(service: Service): Promise<Connection> {
    const place = service.places[this.#number % service.places.length];
    return Connection.open(place as (typeof service.places)[number]);
  }
}

/** Health checks that find all well are not logged. */
function isUnlogged(path: string, status: number): boolean {
  return (path === "/health" || path === "/ready") && status === 200;
}

/** What of an answer has to be the same each time. @throws Error when it can't be read. */
export function readAnswer({ headers, body }: Answer, dialect: Dialect | undefined, isStreamed: boolean): Json {
  const text = body.toString();
  if (dialect !== undefined && isStreamed) return dialect.streamed(eventsOf(text, dialect.hasMark));
  if (dialect !== undefined) return dialect.whole(JSON.parse(text));
  if (!headers.get("content-type")?.startsWith("application/json")) return text;
  const value = JSON.parse(text);
  // When the model was loaded, and what else it is called for now.
  for (const model of value.data ?? []) {
    delete model.created;
    delete model.meta?.aliases;
  }
  return value;
}

/** The first place in which two texts differ, for people. */
function difference(found: Json, right: Json): string {
  const [one, other] = [JSON.stringify(found), JSON.stringify(right)];
  let at = 0;
  while (at < one.length && one[at] === other[at]) at++;
  const part = (text: string) => text.slice(Math.max(0, at - 100), at + 200);
  return `…${part(one)}…, not …${part(other)}…`;
}
