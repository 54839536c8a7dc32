/** A server that others can reach has keys, or its operator has said that it needs none. */

import { Failure } from "../errors.ts";
import { hostOf, isLocal, type Place } from "./places.ts";

/** The first place that others than this machine can reach. */
export function exposedPlace(places: readonly Place[]): Place | undefined {
  return places.find((place) => !isLocal(place));
}

/** @throws Failure where anybody could use a server of these settings. */
export function requireKeys(places: readonly Place[], keys: number, isInsecure: boolean): void {
  const exposed = exposedPlace(places);
  if (exposed === undefined || keys > 0 || isInsecure) return;
  throw new Failure(
    `refusing to listen on ${hostOf(exposed)}, where anyone who can reach it could use the server; set WRINKLEFREE_API_KEY or --api-key-file, or add --insecure if that is wanted`,
  );
}
