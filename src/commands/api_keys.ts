/**
 * Where a server's keys come from: the environment, files and the command line. What stands on a command line is shown to every user
 * of the machine, and Bun prints it when it crashes, so keys that stand there are moved to the environment first.
 */

import { Failure, UsageError } from "../errors.ts";
import { splitList } from "../options/environment.ts";
import { file, type Kind } from "../options/kinds.ts";
import type { Options, ValuesOf } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { type GivenKey, keyFault, keyHash } from "../server/key_file.ts";
import { notes } from "../terminal/output.ts";
import { ownScript } from "./command.ts";

/** Holds a key, or several with white space between them. */
const VARIABLE = "WRINKLEFREE_API_KEY";

const key: Kind<string> = {
  read(text, label) {
    const fault = keyFault(text);
    if (fault !== undefined) throw new UsageError(`${label} takes ${fault}`);
    return text;
  },
};

/** A key, wherever it stands. */
export const keyOption = {
  "api-key": {
    group: "Access",
    help:
      "a key. On the command line, other users of this machine may see it for a moment; " +
      `the environment's ${VARIABLE} holds one out of sight, or several with spaces between them`,
    place: "anywhere",
    isReloadable: true,
    placeholder: "KEY",
    kind: key,
    isList: true,
    isSecret: true,
    addsUp: true,
  },
} as const satisfies Options;

/** The keys of a server. */
export const keyOptions = {
  "api-key-file": {
    group: "Access",
    help:
      "clients have to send one of the keys in this file, one a line, each as it is or as sha256:HEX, with name=NAME for the log and " +
      "limits of its own behind it if it has any, requests=N, tokens=N and running=N; a pipe will do",
    place: "anywhere",
    isReloadable: true,
    placeholder: "FILE",
    kind: file,
    isList: true,
  },
  ...keyOption,
} as const satisfies Options;

/** The keys that stand in no file of keys. */
export function givenKeys(values: ValuesOf<typeof keyOption>): GivenKey[] {
  return values["api-key"].map((text) => ({
    hash: keyHash(text),
    name: undefined,
    limits: {},
    place: `--api-key, ${VARIABLE} or a configuration file`,
  }));
}

/**
 * Takes keys out of sight: if some were given as arguments, the process starts anew in its place, with them in its environment,
 * and this does not return; where that can't be there is a warning. It comes before files are read: a pipe can be read only once.
 *
 * @throws Failure for a variable that holds none.
 */
export function hideKeys(given: Given<typeof keyOption>): void {
  const text = process.env[VARIABLE];
  // Whoever sets it wants a key to be asked for.
  if (text !== undefined && splitList(text).length === 0) {
    throw new Failure(`${VARIABLE} holds no key; set one, or unset it to serve without`);
  }
  // Keys of configuration files stay there, where they can be taken out.
  const onLine = given.textsOnLine("api-key");
  if (onLine.length > 0) restartWithout([...splitList(text ?? ""), ...onLine]);
}

/** Starts this process anew under the same id, its keys in the environment instead of among its arguments. */
function restartWithout(keys: readonly string[]): void {
  const command = [process.argv0, ...ownScript(), ...withoutKeys(process.argv.slice(2))];
  try {
    if (!needsDescriptors()) {
      process.execve?.(process.execPath, command, { ...process.env, [VARIABLE]: keys.join(" ") });
    }
  } catch {
    // The warning says it.
  }
  notes.warn(
    `other users of this machine can see --api-key in the list of processes, and crash reports show it; use ${VARIABLE} or --api-key-file`,
  );
}

/** Whether the process was given open files, which would be closed: sockets to listen on, or a pipe of the shell, `<(…)`. */
function needsDescriptors(): boolean {
  if (process.env.LISTEN_PID === String(process.pid)) return true;
  return process.argv.some((arg) => /(?:^|=)\/(?:dev|proc\/self)\/fd\/(?![0-2]$)/.test(arg));
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
