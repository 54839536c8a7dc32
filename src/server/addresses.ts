/** Under which addresses a server can be reached. */

import { networkInterfaces } from "node:os";

/** What stands for all addresses of a machine, and is none of them. */
const EVERY_IPV4 = "0.0.0.0";
const EVERY_ADDRESS = "::";

/** The addresses, or names, that lead to a server which listens on one, this machine's own first. */
export function reachableHosts(hostname: string): string[] {
  if (hostname !== EVERY_IPV4 && hostname !== EVERY_ADDRESS) return [hostname];
  const others = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    // Those that begin with fe80 lead nowhere without the name of an interface.
    .filter(({ internal, family, address }) =>
      internal || address.startsWith("fe80:") ? false : family === "IPv4" || hostname === EVERY_ADDRESS,
    )
    .map(({ address }) => address);
  return ["127.0.0.1", ...others];
}
