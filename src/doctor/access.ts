/** Who could use a server, and what it would show of itself: keys, certificate. */

import { Failure } from "../errors.ts";
import { type CertificateFiles, readCertificate } from "../server/certificate.ts";
import { exposedPlace, requireKeys } from "../server/exposure.ts";
import { hostOf, type Place } from "../server/places.ts";
import { plural } from "../terminal/plural.ts";
import { type Finding, failure, ok, warn } from "./finding.ts";

const NAME = "access";

/**
 * Whether those who can reach a server need a key.
 *
 * @param countKeys reads them; throws a Failure for what are none.
 */
export function examineAccess(places: readonly Place[], countKeys: () => number, isInsecure: boolean): Finding {
  try {
    const keys = countKeys();
    requireKeys(places, keys, isInsecure);
    const exposed = exposedPlace(places);
    if (keys > 0) return ok(NAME, plural(keys, "key"));
    if (exposed === undefined) return ok(NAME, "without a key, from this machine alone");
    return warn(NAME, `without a key, for anyone who can reach ${hostOf(exposed)}`, "give it keys with --api-key-file");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return failure(NAME, error);
  }
}

/** Whether a certificate can be served, and whether clients will take it. */
export function examineCertificate(files: CertificateFiles): Finding {
  try {
    const { description, warning } = readCertificate(files);
    return warning === undefined ? ok("certificate", description) : warn("certificate", warning, "get a new one");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return failure("certificate", error);
  }
}
