/** SIGHUP: a server reads again what can change while it runs, unless the signal says that its terminal is gone. */

import { closeSync, openSync } from "node:fs";
import { describeBug } from "../errors.ts";
import { notes } from "../terminal/output.ts";
import type { StopSignals } from "./shutdown.ts";

/**
 * Does something at every SIGHUP, one after the other. One that says that the server's terminal is gone stops the server instead.
 *
 * @param reload what it throws is a fault of its own, which ends neither the server nor what the next SIGHUP does.
 */
export function reloadAtHangup(reload: () => Promise<void>, signals: Pick<StopSignals, "receive">): void {
  const hadTerminal = hasTerminal();
  let last = Promise.resolve();
  process.on("SIGHUP", () => {
    if (hadTerminal && !hasTerminal()) signals.receive();
    else last = last.then(reload).catch(report);
  });
}

function report(error: unknown): void {
  notes.writeLater(`wrinklefree: internal error while files were read again: ${describeBug(error)}\n`, "error");
}

/** Whether there is one. Without a descriptor that is free the system can't say, and it has not gone for that. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    return !["ENXIO", "EIO", "ENOENT"].includes(code);
  }
}
