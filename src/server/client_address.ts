/**
 * Where a request came from, for the log. A reverse proxy says for whom it asks in X-Forwarded-For: every proxy on the way adds the
 * address that it was asked from at the end. Anybody can send such a header, so it is read from its end, as far as those who wrote
 * it are trusted.
 */

import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** What stands for the other end of a unix socket, which has no address. */
const UNIX_CLIENT = "unix";

/** The proxies whose word is taken. */
export class TrustedProxies {
  readonly #ranges = new BlockList();
  readonly #trustsUnix: boolean;

  /** @param ranges texts that isProxyRange accepts. */
  constructor(ranges: readonly string[]) {
    this.#trustsUnix = ranges.includes(UNIX_CLIENT);
    for (const range of ranges.filter((one) => one !== UNIX_CLIENT)) {
      const { address, prefix } = splitRange(range);
      if (isIPv4(address)) this.#ranges.addSubnet(address, prefix ?? 32, "ipv4");
      else this.#ranges.addSubnet(address, prefix ?? 128, "ipv6");
    }
  }

  /**
   * The client of a request.
   *
   * @param peer the address of the connection's other end; undefined for a unix socket.
   * @param forwarded the header X-Forwarded-For.
   */
  clientOf(peer: string | undefined, forwarded: string | null): string {
    let client = plainAddress(peer) ?? UNIX_CLIENT;
    const claimed = forwarded?.split(",") ?? [];
    while (this.#trusts(client)) {
      const before = plainAddress(claimed.pop()?.trim());
      if (before === undefined) break;
      client = before;
    }
    return client;
  }

  #trusts(client: string): boolean {
    if (client === UNIX_CLIENT) return this.#trustsUnix;
    return this.#ranges.check(client, isIPv4(client) ? "ipv4" : "ipv6");
  }
}

/** Whether a text says whom to trust: "unix", an address, or a range of addresses such as 10.0.0.0/8. */
export function isProxyRange(text: string): boolean {
  if (text === UNIX_CLIENT) return true;
  const { address, prefix } = splitRange(text);
  if (address.includes("%")) return false;
  return isIP(address) !== 0 && (prefix === undefined || prefix <= (isIPv4(address) ? 32 : 128));
}

/** An address and the length of its prefix, which is NaN where the text has no number after a slash. */
function splitRange(text: string): { address: string; prefix: number | undefined } {
  const [address = "", ...rest] = text.split("/");
  if (rest.length === 0) return { address, prefix: undefined };
  return { address, prefix: /^\d{1,3}$/.test(rest.join("/")) ? Number(rest[0]) : Number.NaN };
}

/** An address without port and brackets, in the one form in which it is logged; undefined for anything else. */
function plainAddress(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  const address = /^::ffff:([\d.]+)$/i.exec(bare)?.[1] ?? bare;
  if (isIPv4(address)) return address;
  // The name of an interface is nothing that others need know, or may make up.
  return isIPv6(address) && !address.includes("%") ? address.toLowerCase() : undefined;
}
