/** What a subcommand is: its place in the list of commands, its options, and what it does. */

import type { SettingTables } from "../options/config_file.ts";
import type { Described } from "../options/described.ts";
import type { Options } from "../options/option.ts";
import { completeOptions, type Given, readOptions } from "../options/settings.ts";
import { notes } from "../terminal/output.ts";

/** Words that stand in the place of a command and are none, with what they do. */
export const otherWords: readonly (readonly [word: string, summary: string])[] = [
  ["help", "describe a command: 'wrinklefree help serve', or 'wrinklefree serve --help'"],
  ["version", "print the version; also --version"],
];

/** All commands, loaded when they are needed. */
export type CommandTable = () => Promise<readonly Command[]>;

/** A command as main.ts, the completions and the manual pages know it. */
export interface Command extends Described {
  /** How many words may stand on its command line beside options. */
  wordsMax: number;
  /** The command whose settings it looks at, in its table of a configuration file; absent: its own. */
  settingsOf?: string;
  /** Runs with the arguments after the command's name and resolves to the exit code. */
  run(args: string[], table: CommandTable): Promise<number>;
}

/** A command before its arguments are read. */
interface Declared<All extends Options> extends Omit<Command, "options" | "run"> {
  options: All;
  /** Called with what was given before anything is said about it. */
  prepare?(given: Given<All>): void;
  run(given: Given<All>, table: CommandTable): Promise<number>;
}

/** Makes a command that is run with what was given for its options, on the command line and elsewhere. */
export function declareCommand<const All extends Options>(declared: Declared<All>): Command {
  const { name, options, wordsMax, settingsOf = name, prepare } = declared;
  return {
    ...declared,
    options: completeOptions(options),
    async run(args, table) {
      return await declared.run(await readGiven(settingsOf, args, options, wordsMax, table, prepare), table);
    },
  };
}

/**
 * Reads the options of a command from all places, and says on stderr what is odd about them.
 *
 * @throws UsageError for the command line, Failure for the other places.
 */
export async function readGiven<All extends Options>(
  command: string,
  args: string[],
  options: All,
  wordsMax: number,
  table: CommandTable,
  prepare?: (given: Given<All>) => void,
): Promise<Given<All>> {
  const given = await readOptions(command, args, options, wordsMax, () => optionTable(table));
  prepare?.(given);
  for (const warning of given.warnings) notes.warn(warning);
  return given;
}

/** The options of all commands, and which have the settings of another one. */
export async function optionTable(table: CommandTable): Promise<SettingTables> {
  const own = new Map<string, Options>();
  const shared = new Map<string, string>();
  for (const { name, options, settingsOf } of await table()) {
    if (settingsOf === undefined) own.set(name, options);
    else shared.set(name, settingsOf);
  }
  return { own, shared };
}

/** What stands behind the name of the program where that is the runtime, which runs the sources; nothing in the executable. */
export function ownScript(): string[] {
  return Bun.main.startsWith("/$bunfs/") ? [] : [...process.execArgv, Bun.main];
}
