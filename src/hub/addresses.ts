/** Which addresses belong to no machine of the open internet: to this one, its neighbours, or nobody. */

import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";

const closed = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
] as const) {
  closed.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["::", 96],
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  ["2002::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["fec0::", 10],
  ["ff00::", 8],
] as const) {
  closed.addSubnet(network, prefix, "ipv6");
}

/** Whether an address is one of those. A text that is no address is. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return closed.check(address, "ipv4");
  if (family !== 6) return true;
  const mapped = mappedAddress(address);
  return mapped === undefined ? closed.check(address, "ipv6") : isPrivateAddress(mapped);
}

/** The IPv4 address inside ::ffff:a.b.c.d, in any spelling. */
function mappedAddress(address: string): string | undefined {
  const [, tail] =
    /^\[(?:0*:)*:?ffff:([0-9a-f:.]+)\]$/i.exec(new URL(`http://[${address.split("%")[0]}]`).hostname) ?? [];
  if (tail === undefined) return undefined;
  if (tail.includes(".")) return tail;
  const [high = 0, low = 0] = tail.split(":").map((part) => Number.parseInt(part, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The addresses of a URL's host. @throws the resolver's error. */
export async function addressesOf(url: URL): Promise<string[]> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0) return [host];
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
