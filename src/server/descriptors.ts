/**
 * File descriptors, of which every connection takes one. At the limit Bun can't accept connections and keeps trying, so connections
 * are closed after their answers before it comes to that, and quiet ones at once (quiet_connections.ts). (Bun raises the soft limit to the hard one when it starts.)
 */

import { closeSync, openSync } from "node:fs";
import { descriptorLimit } from "../machine/system.ts";
import { notes } from "../terminal/output.ts";

/** Fewer than these soon run out: some twenty are in use before the first connection. */
export const COMFORTABLE_DESCRIPTORS = 256;

/** The share of the limit above which connections are not kept. */
const BUSY_SHARE = 0.75;

/** This process's limit. */
export class Descriptors {
  /** How many there may be; infinite where the system doesn't say. */
  readonly limit: number;

  constructor() {
    this.limit = descriptorLimit();
  }

  /** Says on stderr when there are few. */
  warn(): void {
    if (this.limit >= COMFORTABLE_DESCRIPTORS) return;
    notes.warn(
      `only ${this.limit} file descriptors are allowed, which is about as many clients as can be connected at once; raise it with 'ulimit -n' or LimitNOFILE=`,
    );
  }

  /** How many from 0 on are in use. */
  get inUse(): number {
    try {
      // The system gives out the lowest one that is free, so all below it are in use.
      const lowest = openSync("/dev/null", "r");
      closeSync(lowest);
      return lowest;
    } catch {
      return this.limit;
    }
  }

  /** Whether so many are in use that connections should not be kept for further requests. */
  get areShort(): boolean {
    return this.inUse >= this.limit * BUSY_SHARE;
  }
}
