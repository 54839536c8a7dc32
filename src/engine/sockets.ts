/** What Bun can't do with sockets: take over those that were passed to the process, look at all that are open, and send datagrams to unix sockets. */

import { checked, cString, library } from "./library.ts";

/** Bytes for an address, whatever it is. */
const ADDRESS_BYTES = 256;

/** The sockets of this process that listen on a TCP port. */
export function listeningSockets(port: number): number[] {
  const found: number[] = [];
  for (let last = -1; ; found.push(last)) {
    last = library().wf_listening_socket(port, last);
    if (last < 0) return found;
  }
}

/**
 * Has a server of Bun's accept the connections of another socket than its own, which is closed.
 *
 * @param listener the descriptor of its own socket.
 * @param by that of the other, which stays open.
 * @throws Failure; then the server is of no use.
 */
export function replaceListener(listener: number, by: number): void {
  checked(
    (error, size) => library().wf_replace_listener(listener, by, error, size),
    (result) => result !== 0,
  );
}

/**
 * Has a server of Bun's accept no more connections. They wait for whoever else has the socket; those that were accepted go on, which
 * stopping the server would end if nothing has come over them yet.
 *
 * @throws Failure.
 */
export function leaveListener(listener: number): void {
  checked(
    (error, size) => library().wf_leave_listener(listener, error, size),
    (result) => result !== 0,
  );
}

/** Where a socket listens: "127.0.0.1:80", "[::]:80" or "unix:/path"; undefined for what is no such socket. */
export function listeningAddress(descriptor: number): string | undefined {
  const address = new Uint8Array(ADDRESS_BYTES);
  if (library().wf_listening_address(descriptor, address, address.length) !== 0) return undefined;
  return new TextDecoder().decode(address.subarray(0, address.indexOf(0)));
}

/** The port of the other end of a connection that came in at a TCP port; 0 for what is none, or has bytes that are not sent yet. */
export function quietPeer(descriptor: number, port: number): number {
  return library().wf_quiet_peer(descriptor, port);
}

/** Ends a connection as if its other end had gone. */
export function endConnection(descriptor: number): void {
  library().wf_end_connection(descriptor);
}

/**
 * Sends a datagram to a unix socket, without waiting.
 *
 * @param name a path, or a name in the abstract namespace with '@' in front.
 * @throws Failure.
 */
export function sendDatagram(name: string, text: string): void {
  const bytes = new TextEncoder().encode(text);
  checked(
    (error, size) => library().wf_send_datagram(cString(name), bytes, bytes.length, error, size),
    (result) => result !== 0,
  );
}
