/**
 * What an operator does to the services while they are used, one thing after the other: keys come and go, certificates are renewed, files
 * are wrong for a while, services are restarted. After each it looks whether what should hold now does.
 */

import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import type { TestCertificate } from "../support/certificates.ts";
import { Chance } from "./chance.ts";
import { Connection, type Place } from "./connection.ts";
import { LIMITED_LINE, type Service } from "./service.ts";
import type { Tally } from "./tally.ts";

/** Something that is done at a time. */
interface Deed {
  /** Milliseconds from the start. */
  at: number;
  what: string;
  run(): Promise<void>;
}

/** The longest time between two restarts. */
const RESTART_MS = 600_000;

/** The longest time between two reloads. */
const RELOAD_MS = 60_000;

/** How many requests may wait, for a while. */
const SHORT_QUEUE = "queue = 16";

/** Writes a certificate to where a service has its own. */
export function useCertificate(directory: string, { certificate, key }: TestCertificate): void {
  copyFileSync(certificate, join(directory, "served.pem"));
  copyFileSync(key, join(directory, "served-key.pem"));
}

/** The service that has TLS, its directory, and its certificates, of which the first is served at the start. */
interface Secured {
  service: Service;
  directory: string;
  certificates: readonly TestCertificate[];
}

export class Operator {
  readonly #services: readonly Service[];
  readonly #secured: Secured;
  readonly #tally: Tally;
  readonly #chance: Chance;
  #guests = 0;
  #alias = 0;
  #certificate = 0;

  constructor(services: readonly Service[], secured: Secured, seed: number, tally: Tally) {
    this.#services = services;
    this.#secured = secured;
    this.#chance = new Chance(seed);
    this.#tally = tally;
  }

  /**
   * Does what there is to do in the time of a soak. Services are restarted in its first half alone, so that the memory of one process can
   * be watched through the second one.
   */
  async run(milliseconds: number, isOver: () => boolean): Promise<void> {
    const started = performance.now();
    for (const { at, what, run } of this.#plan(milliseconds)) {
      while (!isOver() && performance.now() - started < at) await Bun.sleep(50);
      if (isOver()) return;
      try {
        await run();
        this.#tally.count(what);
      } catch (error) {
        this.#tally.fault(
          "faults of starts, ends and reloads",
          `${what}: ${error instanceof Error ? error.message : error}`,
        );
      }
    }
  }

  #plan(milliseconds: number): Deed[] {
    const deeds: Deed[] = [];
    const restartEvery = Math.min(RESTART_MS, milliseconds / 10);
    for (let at = restartEvery; at < milliseconds / 2 - restartEvery / 2; at += restartEvery) {
      for (const service of this.#services) {
        deeds.push({ at, what: `restarts of the ${service.name} service`, run: () => this.#restart(service) });
      }
    }
    const reloads: [string, () => Promise<void>][] = [
      ["reloads of keys", () => this.#changeKeys()],
      ["reloads of the certificate", () => this.#renewCertificate()],
      ["reloads of the configuration", () => this.#changeConfiguration()],
      ["reloads of wrong files", () => this.#reloadWrongFiles()],
    ];
    const reloadEvery = Math.min(RELOAD_MS, milliseconds / 10) / reloads.length;
    let index = 0;
    for (let at = reloadEvery / 2; at < milliseconds - reloadEvery; at += reloadEvery, index++) {
      const [what, run] = reloads[index % reloads.length] as (typeof reloads)[number];
      deeds.push({ at, what, run });
    }
    return deeds.sort((one, other) => one.at - other.at);
  }

  /** A new certificate comes when a service is about to end: it is for the next one, which has the connections from then on. */
  async #restart(service: Service): Promise<void> {
    if (service !== this.#secured.service) return service.restartTwice(this.#chance.below(300));
    this.#nextCertificate();
    await service.restart(() => service.reload());
  }

  /** A guest's key takes the place of the one before, in the midst of those that stay. */
  async #changeKeys(): Promise<void> {
    const [before, now] = [`sk-guest-${this.#guests}`, `sk-guest-${++this.#guests}`];
    for (const service of this.#services) {
      service.writeKeys([...service.keys.slice(1), now, LIMITED_LINE, ...service.keys.slice(0, 1)]);
      await reload(service);
      await expectStatuses(
        "the new key and the old one",
        service.places.flatMap((place) => [[place, now, 200] as const, [place, before, 401] as const]),
      );
    }
  }

  async #renewCertificate(): Promise<void> {
    const { service } = this.#secured;
    const place = service.places.find((one) => one.kind === "tls");
    if (place === undefined) return;
    const { name } = this.#nextCertificate();
    await reload(service);
    const found = await subject(place);
    if (found !== name) throw new Error(`${name} is to be served, and ${found} is`);
  }

  /** Writes another certificate to the files. */
  #nextCertificate(): TestCertificate {
    const { directory, certificates } = this.#secured;
    this.#certificate = (this.#certificate + 1) % certificates.length;
    const certificate = certificates[this.#certificate] as TestCertificate;
    useCertificate(directory, certificate);
    return certificate;
  }

  /** The model gets another name, beside its own, and every other time fewer requests may wait. */
  async #changeConfiguration(): Promise<void> {
    const [before, now] = [`guest-${this.#alias}`, `guest-${++this.#alias}`];
    const isShort = this.#alias % 2 === 1;
    for (const service of this.#services) {
      service.hasShortQueue ||= isShort;
      service.writeConfiguration(now, ...(isShort ? [SHORT_QUEUE] : []));
      await reload(service);
      service.hasShortQueue = isShort;
      await expectStatuses("the model under its new name and its old one", [
        [service.places[0], service.keys[0], 200, now],
        [service.places[0], service.keys[0], 404, before],
      ]);
    }
  }

  /** A file that is wrong changes nothing, and keeps the right ones beside it from nothing. */
  async #reloadWrongFiles(): Promise<void> {
    const [nobody, current] = [`sk-guest-${this.#guests + 1}`, `sk-guest-${this.#guests}`];
    const name = `guest-${this.#alias}`;
    for (const service of this.#services) {
      const keys = [...service.keys, current, LIMITED_LINE];
      const faults: [() => void, number][] = [
        [() => service.writeKeys(["# nothing"]), 401],
        [
          () => {
            service.writeKeys([...keys, nobody]);
            service.writeConfiguration(name, 'temperature = "hot"');
          },
          200,
        ],
      ];
      for (const [spoil, status] of faults) {
        spoil();
        const { is_reloaded, message } = await service.reload();
        if (is_reloaded) throw new Error(`a wrong file: ${message}`);
        await expectStatuses("a key, one that is new beside a wrong file, and none", [
          [service.places[0], service.keys[0], 200],
          [service.places[0], nobody, status],
          [service.places[0], "", 401],
        ]);
      }
      service.writeKeys(keys);
      service.writeConfiguration(name, ...(service.hasShortQueue ? [SHORT_QUEUE] : []));
    }
  }
}

/** Has files read again that are right. */
async function reload(service: Service): Promise<void> {
  const { is_reloaded, message } = await service.reload();
  if (!is_reloaded) throw new Error(message);
}

/** Asks with keys, and under names of the model, and looks at the statuses. @throws Error when they are other ones. */
async function expectStatuses(
  what: string,
  wanted: readonly (readonly [place: Place | undefined, key: string | undefined, status: number, model?: string])[],
): Promise<void> {
  const found: (number | undefined)[] = [];
  for (const [place, key, , model] of wanted) {
    const connection = await Connection.open(place as Place);
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const body = Buffer.from(JSON.stringify({ content: "a", ...(model === undefined ? {} : { model }) }));
    found.push((await connection.ask({ method: "POST", path: "/tokenize", headers, body }))?.status);
    connection.close();
  }
  const right = wanted.map(([, , status]) => status);
  if (!Bun.deepEquals(found, right)) throw new Error(`${what} got ${found}, not ${right}`);
}

/** Whose certificate a new connection gets. */
function subject(place: Extract<Place, { kind: "tls" }>): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: place.port, host: "127.0.0.1", servername: "localhost", ca: place.ca }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on("error", reject);
  });
}
