/**
 * What decides on access and can change while the server runs: API keys and the certificate. SIGHUP has their files read again, all
 * or nothing: if anything is wrong with one of them, everything stays as it was.
 */

import { closeSync, openSync } from "node:fs";
import { Failure } from "../errors.ts";
import type { KeyLimits } from "../serving/api_key.ts";
import { notes } from "../terminal/output.ts";
import { ApiKeys, type KeySource } from "./auth.ts";
import { type Certificate, type CertificateFiles, readCertificate } from "./certificate.ts";
import type { Listening } from "./listening.ts";
import type { StopSignals } from "./shutdown.ts";

/** The keys and the certificate of one server. */
export class Access {
  readonly keys: ApiKeys;
  readonly #files: CertificateFiles | undefined;
  #source: KeySource;
  #certificate: Certificate | undefined;

  /**
   * @param limits of each key that has none of its own.
   * @param files undefined: no TLS.
   * @throws Failure for a certificate that can't be served.
   */
  constructor(source: KeySource, limits: KeyLimits, files: CertificateFiles | undefined) {
    this.#source = source;
    this.keys = new ApiKeys(source.keys, limits);
    this.#files = files;
    this.#certificate = this.#readCertificate();
  }

  get certificate(): Certificate | undefined {
    return this.#certificate;
  }

  /** Reads the files again and says on stderr what came of it. */
  reload(listening: Listening): void {
    try {
      const source = this.#source.again();
      const certificate = this.#readCertificate();
      const before = this.#certificate;
      if (certificate !== undefined && (certificate.cert !== before?.cert || certificate.key !== before.key)) {
        listening.useCertificate(certificate);
        this.#certificate = certificate;
      }
      this.#source = source;
      this.keys.replace(source.keys);
      const parts = [`${this.keys.count} API keys`];
      if (certificate !== undefined) parts.push(`certificate of ${certificate.description}`);
      notes.write(`wrinklefree: reloaded: ${parts.join(", ")}\n`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      notes.write(`wrinklefree: nothing is reloaded, everything stays as it was: ${error.message}\n`);
    }
  }

  #readCertificate(): Certificate | undefined {
    if (this.#files === undefined) return undefined;
    const certificate = readCertificate(this.#files);
    if (certificate.warning !== undefined) notes.write(`wrinklefree: warning: ${certificate.warning}\n`);
    return certificate;
  }
}

/** Does something at every SIGHUP. One that says that the server's terminal is gone stops the server instead. */
export function reloadAtHangup(reload: () => void, signals: StopSignals): void {
  const hadTerminal = hasTerminal();
  process.on("SIGHUP", () => {
    if (hadTerminal && !hasTerminal()) signals.receive();
    else reload();
  });
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
