/**
 * Where a server's keys come from: the environment, files and the command line. What stands on a command line is shown to every user
 * of the machine, and Bun prints it when it crashes, so keys that stand there are moved to the environment first.
 */

import { Failure, UsageError } from "../errors.ts";
import { isSendable, readKeyFile } from "../server/auth.ts";
import { notes } from "../terminal/output.ts";

/** Holds a key, or several with white space between them. */
const VARIABLE = "WRINKLEFREE_API_KEY";

/**
 * Reads the keys of all sources. If some were given as arguments, the process starts anew in its place, with them in its environment,
 * and this does not return; where that fails there is a warning.
 *
 * @param given the values of --api-key.
 * @param files the values of --api-key-file.
 * @throws UsageError, Failure for what is no key, or no readable file of keys.
 */
export function readApiKeys(given: readonly string[], files: readonly string[]): string[] {
  const keys = [...environmentKeys(), ...given.map(readKey)];
  // Before files are read: a pipe can be read only once.
  if (given.length > 0) restartWithout(keys);
  return [...keys, ...files.flatMap(readKeyFile)];
}

function environmentKeys(): string[] {
  const text = process.env[VARIABLE];
  if (text === undefined) return [];
  const keys = text.split(/\s+/).filter((key) => key !== "");
  // Whoever sets it wants a key to be asked for.
  if (keys.length === 0) throw new Failure(`${VARIABLE} holds no key; set one, or unset it to serve without`);
  if (!keys.every(isSendable))
    throw new Failure(`${VARIABLE} takes visible ASCII characters, white space between keys`);
  return keys;
}

function readKey(key: string): string {
  if (!isSendable(key)) throw new UsageError("--api-key takes visible ASCII characters without spaces");
  return key;
}

/** Starts this process anew under the same id, its keys in the environment instead of among its arguments. */
function restartWithout(keys: readonly string[]): void {
  const script = Bun.main.startsWith("/$bunfs/") ? [] : [...process.execArgv, Bun.main];
  const command = [process.argv0, ...script, ...withoutKeys(process.argv.slice(2))];
  try {
    process.execve?.(process.execPath, command, { ...process.env, [VARIABLE]: keys.join(" ") });
  } catch {
    // The warning says it.
  }
  notes.write(
    `wrinklefree: warning: other users of this machine can see --api-key in the list of processes, and crash reports show it; use ${VARIABLE} or --api-key-file\n`,
  );
}

/** Arguments that were parsed without an error, without --api-key and its values. */
function withoutKeys(args: readonly string[]): string[] {
  const end = args.indexOf("--");
  return args.filter((arg, index) => {
    if (end >= 0 && index >= end) return true;
    // No other option's value begins with a dash, unless it is written with "=".
    return arg !== "--api-key" && args[index - 1] !== "--api-key" && !arg.startsWith("--api-key=");
  });
}
