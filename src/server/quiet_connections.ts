/**
 * Connections over which no request is under way: idle ones, and those over which a request comes byte by byte and is never whole. Bun
 * ends a connection that is silent for a while, and bounds nothing else; before a request is whole it tells nobody of it. So when
 * descriptors run short, such connections are looked for among the descriptors and ended, and others get in.
 */

import { endConnection, quietPeer } from "../engine/sockets.ts";

/** How many descriptors are looked at in one go, which takes a few milliseconds. */
const DESCRIPTORS_AT_ONCE = 4096;

/** The connections of one server that came in over TCP. */
export class QuietConnections {
  /** Requests under way, by the port of the client. Two clients with the same port are seldom, and then both are left alone. */
  readonly #busy = new Map<number, number>();
  /** The clients' ports of connections that were quiet the last time, by descriptor. */
  readonly #quiet = new Map<number, number>();
  #next = 0;

  /** A request came from a client's port. @returns what is called when its answer is over. */
  begin(port: number): () => void {
    this.#busy.set(port, (this.#busy.get(port) ?? 0) + 1);
    return () => {
      const left = (this.#busy.get(port) as number) - 1;
      if (left > 0) this.#busy.set(port, left);
      else this.#busy.delete(port);
    };
  }

  /**
   * Ends connections that are quiet and were so the last time. One that has just come has had no time to ask.
   *
   * @param ports where the server listens.
   * @param inUse descriptors from 0 on that are in use.
   */
  endSome(ports: readonly number[], inUse: number): void {
    if (this.#next >= inUse) this.#next = 0;
    const end = Math.min(this.#next + DESCRIPTORS_AT_ONCE, inUse);
    for (; this.#next < end; this.#next++) {
      const descriptor = this.#next;
      const peer = ports.map((port) => quietPeer(descriptor, port)).find((port) => port > 0);
      if (peer === undefined || this.#busy.has(peer)) {
        this.#quiet.delete(descriptor);
      } else if (this.#quiet.get(descriptor) !== peer) {
        this.#quiet.set(descriptor, peer);
      } else {
        this.#quiet.delete(descriptor);
        endConnection(descriptor);
      }
    }
  }

  /** There is room again: what was quiet is forgotten. */
  forget(): void {
    this.#quiet.clear();
    this.#next = 0;
  }
}
