/**
 * Under which host names a server answers that asks for no key.
 *
 * A page of a stranger can make its own name point to this machine (DNS rebinding) and would then be allowed to read our answers; its
 * name in the Host header gives it away. It can't know a key, so where there are keys any name will do.
 */

import { RequestError } from "../serving/request_error.ts";

/** Whether an address or host name, without a port, means this machine only. */
export function isLoopback(host: string): boolean {
  const name = plainName(host);
  return name === "localhost" || name.endsWith(".localhost") || name === "::1" || /^127\.\d+\.\d+\.\d+$/.test(name);
}

/** Whether a text is a host's name or address, without a scheme, a port or a path. */
export function isHostName(text: string): boolean {
  return /^(?:[\w-]+(?:\.[\w-]+)*\.?|\[?[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*\]?)$/i.test(text);
}

/** A host as sockets take it: URLs have brackets around addresses of IPv6. */
export function withoutBrackets(host: string): string {
  return host.replace(/^\[|\]$/g, "");
}

/** The names of one server: this machine's own and those that it was told of. */
export class HostNames {
  readonly #names: ReadonlySet<string>;

  constructor(names: readonly string[]) {
    this.#names = new Set(names.map(plainName));
  }

  /**
   * Checks the host that a client thinks it is talking to. Programs that send no Host header are no browsers.
   *
   * @throws RequestError 403.
   */
  check(request: Request): void {
    const host = request.headers.get("host");
    if (host === null) return;
    const name = host.replace(/:\d*$/, "");
    if (isLoopback(name) || this.#names.has(plainName(name))) return;
    const wanted = isHostName(name) ? name : "NAME";
    throw new RequestError(
      403,
      `This server only answers under this machine's own names: use localhost or 127.0.0.1 as the host, or start it with '--allowed-host ${wanted}', or with an API key.`,
    );
  }
}

/** A name in the one form in which names are compared. */
function plainName(name: string): string {
  return withoutBrackets(name.toLowerCase()).replace(/\.$/, "");
}
