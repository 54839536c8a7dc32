/** Certificates for tests, made by openssl. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Whether certificates can be made here; says what is missing where they can't. */
export function canMakeCertificates(): boolean {
  if (Bun.which("openssl") !== null) return true;
  console.log("skipping TLS: apt-get install openssl");
  return false;
}

/** A certificate that signs itself, for localhost and 127.0.0.1. */
export interface TestCertificate {
  /** Of its subject. */
  name: string;
  certificate: string;
  key: string;
  /** PEM. */
  text: string;
}

/**
 * Makes a certificate in a directory.
 *
 * @param name of its subject, and of its files.
 */
export function makeCertificate(directory: string, name: string): TestCertificate {
  const [certificate, key] = [join(directory, `${name}.pem`), join(directory, `${name}-key.pem`)];
  const { status, stderr } = spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", `/CN=${name}`],
    ...["-keyout", key, "-out", certificate, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    ...["-days", "30"],
  ]);
  if (status !== 0) throw new Error(`openssl: ${stderr}`);
  return { name, certificate, key, text: readFileSync(certificate, "utf8") };
}
