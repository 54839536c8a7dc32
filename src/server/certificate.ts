/** The certificate with which a server speaks TLS, and its key: read and checked, so that what is wrong with them has a name. */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { describeSystemError, Failure } from "../errors.ts";
import { isLasting } from "./lasting_file.ts";

/** Clients refuse RSA keys with fewer bits: OpenSSL by default, browsers always. */
const RSA_BITS_MIN = 2048;

/** Where they are. */
export interface CertificateFiles {
  /** The server's own certificate first, then those that lead to one that clients know. */
  certificate: string;
  key: string;
}

/** A certificate that can be served. */
export interface Certificate {
  /** PEM. */
  cert: string;
  key: string;
  /** For people: whose it is and how long it is valid. */
  description: string;
  /** What is wrong with it at the moment, if anything. */
  warning: string | undefined;
}

/** Whether two are the same to clients. */
export function isSame(one: Certificate, other: Certificate | undefined): boolean {
  return one.cert === other?.cert && one.key === other.key;
}

/**
 * Reads both files.
 *
 * @param before what was read before, of which a part that came through a pipe stays.
 * @throws Failure for what could not be served.
 */
export function readCertificate(files: CertificateFiles, before?: Certificate): Certificate {
  const cert = readPem(files.certificate, "certificate", before?.cert);
  const chain = readChain(cert, files.certificate);
  const own = chain[0] as X509Certificate;
  const key = readPem(files.key, "key", before?.key);
  if (!own.checkPrivateKey(readKey(key, files.key))) {
    throw new Failure(
      `the key in ${files.key} belongs to another certificate than the first one in ${files.certificate}; give the two that were made together`,
    );
  }
  return { cert, key, description: describe(own), warning: warningFor(chain, files.certificate) };
}

function readPem(path: string, what: string, before: string | undefined): string {
  if (before !== undefined && !isLasting(path)) return before;
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new Failure(`can't read the ${what} ${path}: ${describeSystemError(error)}`);
  }
}

function readChain(pem: string, path: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) {
    throw new Failure(
      `${path} holds no certificate; --tls-cert takes PEM, which has a line -----BEGIN CERTIFICATE-----`,
    );
  }
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch {
      throw new Failure(`certificate ${index + 1} in ${path} is damaged; write the file anew`);
    }
  });
}

function readKey(pem: string, path: string): KeyObject {
  if (/ENCRYPTED/.test(pem)) {
    throw new Failure(
      `the key in ${path} is encrypted; write it without a passphrase, 'openssl pkey -in ${path} -out FILE', readable for the server alone`,
    );
  }
  try {
    return createPrivateKey(pem);
  } catch {
    throw new Failure(
      `${path} holds no private key; --tls-key takes PEM, which has a line such as -----BEGIN PRIVATE KEY-----`,
    );
  }
}

function describe(certificate: X509Certificate): string {
  const names = certificate.subjectAltName ?? certificate.subject.split("\n").join(", ");
  return `${names}, valid until ${new Date(certificate.validTo).toISOString()}`;
}

function warningFor(chain: readonly X509Certificate[], path: string): string | undefined {
  const now = Date.now();
  for (const [index, { validFrom, validTo, publicKey }] of chain.entries()) {
    const which = `certificate ${index + 1} in ${path}`;
    const { modulusLength: bits = RSA_BITS_MIN } = publicKey.asymmetricKeyDetails ?? {};
    if (bits < RSA_BITS_MIN)
      return `${which} has an RSA key of ${bits} bits; clients will refuse fewer than ${RSA_BITS_MIN}`;
    if (Date.parse(validTo) < now)
      return `${which} expired at ${new Date(validTo).toISOString()}; clients will refuse it`;
    if (Date.parse(validFrom) > now) return `${which} is valid from ${new Date(validFrom).toISOString()} on only`;
  }
  return undefined;
}
