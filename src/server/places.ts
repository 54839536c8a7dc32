/** Where a server is to listen, as it is written. */

import { isIP } from "node:net";
import { isHostName, isLoopback, withoutBrackets } from "./host.ts";

/** An address, the path of a unix socket, or a socket that was passed to the process and listens already. */
export type Place =
  | { kind: "address"; hostname: string; port: number }
  | { kind: "unix"; path: string }
  | { kind: "passed"; descriptor: number; address: string };

const UNIX_PREFIX = "unix:";

/** The highest port. */
const PORT_MAX = 65_535;

/** Reads HOST:PORT, [ADDRESS]:PORT or unix:/path; undefined for anything else. */
export function readPlace(text: string): Place | undefined {
  if (text.startsWith(UNIX_PREFIX)) {
    const path = text.slice(UNIX_PREFIX.length);
    return path.startsWith("/") && !path.includes("\0") ? { kind: "unix", path } : undefined;
  }
  const [, host = "", digits = ""] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const isBracketed = /^\[.*\]$/.test(host);
  // Without brackets nobody knows where an address of IPv6 ends.
  if (!isHostName(host) || (host.includes(":") && !isBracketed) || Number(digits) > PORT_MAX) return undefined;
  return { kind: "address", hostname: withoutBrackets(host), port: Number(digits) };
}

/** How a place is called in messages: "127.0.0.1:30000", "[::1]:30000", "unix:/run/llm.sock". */
export function describePlace(place: Place): string {
  if (place.kind === "unix") return `${UNIX_PREFIX}${place.path}`;
  if (place.kind === "passed") return place.address;
  return `${place.hostname.includes(":") ? `[${place.hostname}]` : place.hostname}:${place.port}`;
}

/** What a socket that listens there says of itself: addresses by their numbers, in their shortest form. */
export function socketAddress(place: Place): string {
  if (place.kind !== "address") return describePlace(place);
  const { hostname } = place;
  if (hostname === "localhost") return describePlace({ ...place, hostname: "127.0.0.1" });
  if (isIP(hostname) !== 6) return describePlace(place);
  return `${new URL(`http://[${hostname}]`).hostname}:${place.port}`;
}

/** Whether only this machine can reach a place. Who may open a unix socket is a matter of its file's permissions. */
export function isLocal(place: Place): boolean {
  return isUnix(place) || isLoopback(hostOf(place));
}

/** Whether a place is a unix socket. */
export function isUnix(place: Place): boolean {
  return place.kind === "unix" || (place.kind === "passed" && place.address.startsWith(UNIX_PREFIX));
}

/** The host's part of a place that has one. */
export function hostOf(place: Place): string {
  if (place.kind === "address") return place.hostname;
  return withoutBrackets(describePlace(place).replace(/:\d+$/, ""));
}
