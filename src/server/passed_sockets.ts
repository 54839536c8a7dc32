/**
 * Sockets that listen already and were passed to the process by systemd, which knows them as the sockets of a .socket unit: descriptors
 * from 3 on, by $LISTEN_FDS; see sd_listen_fds(3). They outlive the process, so whoever connects while it is restarted only waits.
 */

import { listeningAddress } from "../engine/sockets.ts";
import { Failure } from "../errors.ts";
import type { Place } from "./places.ts";

const FIRST_DESCRIPTOR = 3;

/**
 * The sockets that were passed to this process.
 *
 * @param environment what says so, which is no business of other processes and is taken out of it.
 * @throws Failure when one of them is no socket that listens for streams.
 */
export function passedSockets(environment: NodeJS.ProcessEnv): Place[] {
  const { LISTEN_PID, LISTEN_FDS } = environment;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete environment[name];
  if (LISTEN_PID !== String(process.pid)) return [];
  return Array.from({ length: Number(LISTEN_FDS) }, (_, index) => {
    const descriptor = FIRST_DESCRIPTOR + index;
    const address = listeningAddress(descriptor);
    if (address === undefined) {
      throw new Failure(
        `descriptor ${descriptor} was passed as a socket to listen on, and is none; the .socket unit needs ListenStream= and Accept=no`,
      );
    }
    return { kind: "passed", descriptor, address };
  });
}
