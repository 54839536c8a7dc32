/** SIGHUP: a server reads again what can change while it runs, unless the signal says that its terminal is gone. */

import { closeSync, openSync } from "node:fs";
import type { StopSignals } from "./shutdown.ts";

/** Does something at every SIGHUP, one after the other. One that says that the server's terminal is gone stops the server instead. */
export function reloadAtHangup(reload: () => Promise<void>, signals: StopSignals): void {
  const hadTerminal = hasTerminal();
  let last = Promise.resolve();
  process.on("SIGHUP", () => {
    if (hadTerminal && !hasTerminal()) signals.receive();
    else last = last.then(reload);
  });
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
