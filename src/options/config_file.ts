/**
 * Configuration files, in TOML: settings by the names of their options, at the top for every command that has them, and in a table of
 * a command's name for that command alone. The whole file is checked whichever command reads it, so that nothing misspelt is silently
 * ignored.
 */

import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parse, TomlDate, TomlError } from "smol-toml";
import { describeSystemError, Failure } from "../errors.ts";
import { isSetting, type Option, type Options } from "./option.ts";
import { suggestion } from "./suggestion.ts";

/** The file of the whole machine. */
export const SYSTEM_FILE = "/etc/wrinklefree/config.toml";

/** Larger files are none of ours. */
const BYTES_MAX = 65_536;

/** What a file says of a setting. */
export interface FileSetting {
  /** One text, those of a list, or a switch. */
  value: string[] | boolean;
  line: number;
}

/** The commands that have settings. */
export interface SettingTables {
  /** The options of each that has settings of its own, or none. */
  own: ReadonlyMap<string, Options>;
  /** By the names of the others: the command whose settings are theirs too. */
  shared: ReadonlyMap<string, string>;
}

/** A file that was read and checked. */
export interface ConfigFile {
  path: string;
  /** Whether it can be read as often as one likes: a pipe can be read once. */
  isLasting: boolean;
  /** The settings of every command, and those in the tables of commands. */
  common: ReadonlyMap<string, FileSetting>;
  commands: ReadonlyMap<string, ReadonlyMap<string, FileSetting>>;
}

/**
 * The files that there are, the nearest first: the one that was named, or the user's and the machine's.
 *
 * @param environment says where the user's is.
 * @throws Failure when the one that was named is not there.
 */
export function configPaths(named: string | undefined, environment: NodeJS.ProcessEnv): string[] {
  if (named !== undefined) {
    if (!existsSync(named)) throw new Failure(`${named}: there is no such configuration file`);
    return [named];
  }
  const { XDG_CONFIG_HOME, HOME } = environment;
  const home = XDG_CONFIG_HOME || (HOME ? join(HOME, ".config") : undefined);
  const own = home === undefined ? [] : [join(home, "wrinklefree", "config.toml")];
  return [...own, SYSTEM_FILE].filter((path) => existsSync(path));
}

/**
 * Reads a file.
 *
 * @param tables the options of every command.
 * @param home the directory that ~/ stands for.
 * @throws Failure with file, line and key for what is no TOML, no setting, or no value of its setting's type.
 */
export function readConfigFile(path: string, tables: SettingTables, home: string | undefined): ConfigFile {
  const { own: table, shared } = tables;
  const { source, isLasting } = readSource(path);
  const fault = (line: number, message: string) => new Failure(`${path}:${line}: ${message}`);
  let document: Record<string, unknown>;
  try {
    document = parse(source);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [message = ""] = error.message.split("\n");
    throw fault(error.line, message.replace(/^Invalid TOML document: /, ""));
  }
  const common = new Map<string, FileSetting>();
  const commands = new Map<string, Map<string, FileSetting>>();
  const all = allOptions(table);
  for (const [key, value] of Object.entries(document)) {
    const line = lineOf(source, [key]);
    const options = table.get(key);
    if (isTable(value) && options !== undefined) {
      const settings = new Map<string, FileSetting>();
      for (const [name, one] of Object.entries(value)) {
        const place = lineOf(source, [key, name]);
        const option = findSetting(name, options, ` of ${key}`, (message) => fault(place, message));
        settings.set(name, readSetting({ path, line: place, home }, name, option, one));
      }
      commands.set(key, settings);
    } else if (isTable(value) && shared.has(key)) {
      throw fault(line, `${key} has the settings of ${shared.get(key)}; write [${shared.get(key)}]`);
    } else if (isTable(value) && !Object.hasOwn(all, key)) {
      throw fault(line, `[${key}] is no command that has settings${suggestion(key, [...table.keys()])}`);
    } else {
      const option = findSetting(key, all, "", (message) => fault(line, message));
      common.set(key, readSetting({ path, line, home }, key, option, value));
    }
  }
  return { path, isLasting, common, commands };
}

function readSource(path: string): { source: string; isLasting: boolean } {
  try {
    const status = statSync(path);
    // A pipe has no size, and what is larger than it says has none either.
    if (status.size > BYTES_MAX) throw new Failure(`${path}: has more than ${BYTES_MAX} bytes; no configuration does`);
    return { source: readFileSync(path, "utf8").replace(/^\ufeff/, ""), isLasting: status.isFile() };
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`can't read the configuration in ${path}: ${describeSystemError(error)}`);
  }
}

/** The options of all commands by name; of those with one name, a setting if one is. */
function allOptions(table: ReadonlyMap<string, Options>): Options {
  const all: Record<string, Option> = {};
  for (const options of table.values()) {
    for (const [name, option] of Object.entries(options)) {
      const other = all[name];
      if (other === undefined || !isSetting(other)) all[name] = option;
    }
  }
  return all;
}

function findSetting(name: string, options: Options, owner: string, fault: (message: string) => Failure): Option {
  const option = Object.hasOwn(options, name) ? options[name] : undefined;
  if (option !== undefined && isSetting(option)) return option;
  if (option !== undefined) throw fault(`${name} is no setting: --${name} stands on the command line only`);
  const known = Object.entries(options).flatMap(([key, one]) => (isSetting(one) ? [key] : []));
  throw fault(`${name} is no setting${owner}${suggestion(name, known)}`);
}

/** Where a setting stands, and the directory that ~/ stands for there. */
interface Standing {
  path: string;
  line: number;
  home: string | undefined;
}

/** Checks the type of a value. @throws Failure. */
function readSetting(standing: Standing, name: string, option: Option, value: unknown): FileSetting {
  const { path, line } = standing;
  const isSecret = !option.isSwitch && option.isSecret;
  const fault = (wanted: string, found: unknown = value) =>
    new Failure(`${path}:${line}: ${name} takes ${wanted}, not ${isSecret ? "what stands there" : typeName(found)}`);
  if (option.isSwitch) {
    if (typeof value !== "boolean") throw fault("true or false");
    return { value, line };
  }
  const wanted = option.kind.isNumber ? "a number or a text" : "a text in quotes";
  const parts = Array.isArray(value) && option.isList ? value : [value];
  return {
    line,
    value: parts.map((part) => {
      const written = asText(part, option.kind.isNumber === true);
      if (written === undefined) throw fault(option.isList ? `${wanted}, or several in []` : wanted, part);
      return option.kind.completion === undefined ? written : placed(written, standing, option.kind.completion);
    }),
  };
}

function asText(value: unknown, isNumber: boolean): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number" && isNumber) return String(value);
  return value instanceof TomlDate && value.isDate() ? value.toISOString() : undefined;
}

function typeName(value: unknown): string {
  if (value instanceof TomlDate) return "a time";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") return `the number ${value}`;
  return typeof value === "string" ? `'${value}'` : "a table";
}

/** Paths are seen from the file that they stand in, whatever directory a command is run in; there is no shell to read a ~. */
function placed(text: string, { path, home }: Standing, completion: unknown): string {
  const isPath = completion === "file" || completion === "directory" || (completion === "model" && /^[.~]/.test(text));
  if (!isPath || text === "") return text;
  return text.startsWith("~/") && home ? join(home, text.slice(2)) : resolve(dirname(path), text);
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof TomlDate);
}

/** The line on which a key begins: the one after the last beginning of the file that can be read and hasn't got it. */
function lineOf(source: string, keys: readonly string[]): number {
  const lines = source.split("\n");
  let last = 0;
  for (let count = 1; count <= lines.length; count++) {
    // Neither begins a key. Files have many of them, and each reading takes its time.
    if (last === count - 1 && /^\s*(#|$)/.test(lines[last] as string)) {
      last = count;
      continue;
    }
    let found: unknown;
    try {
      found = parse(lines.slice(0, count).join("\n"));
    } catch {
      continue; // a value that goes on
    }
    for (const key of keys) found = isTable(found) && Object.hasOwn(found, key) ? found[key] : undefined;
    if (found !== undefined) return last + 1;
    last = count;
  }
  return last;
}
