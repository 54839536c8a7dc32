/**
 * The values of a command's options and where each comes from: the command line comes before the environment, that before the
 * configuration files, the user's before the machine's, and what is said nowhere has its default.
 */

import { Failure, UsageError } from "../errors.ts";
import { readCommandLine } from "./command_line.ts";
import { type ConfigFile, configPaths, readConfigFile, type SettingTables } from "./config_file.ts";
import { findVariable, ourVariables, readSwitch, splitList, unknownVariables } from "./environment.ts";
import { file } from "./kinds.ts";
import { isSetting, type Option, type Options, type ValueOption, type ValuesOf, variablesOf } from "./option.ts";

/** Where a value comes from. */
export type Source =
  | { kind: "option" }
  | { kind: "environment"; variable: string }
  | { kind: "file"; path: string; line: number }
  | { kind: "default" };

/** What one place says of an option. */
interface Said {
  /** Texts, or a switch. */
  value: string[] | boolean;
  source: Source;
  /** What the option is called there, for messages. */
  label: string;
}

/** An option with what holds. */
export interface Setting {
  name: string;
  option: Option;
  /** One text, those of a list, a switch, or undefined where nothing holds. */
  value: string[] | boolean | undefined;
  /** Several where lists add up. */
  sources: Source[];
}

/** What a command was given. */
export interface Given<All extends Options> {
  values: ValuesOf<All>;
  /** What is no option. */
  words: string[];
  settings: Setting[];
  /** Whether an option stands on the command line. */
  isOnLine(name: keyof All & string): boolean;
  /** What stands on the command line for an option with a value. */
  textsOnLine(name: keyof All & string): readonly string[];
  /** The configuration files that were read, and what is odd about the environment. */
  files: string[];
  warnings: string[];
  /**
   * Reads everything anew. Of what can have changed by then, that is the configuration files.
   *
   * @throws UsageError or Failure, also when a file is gone that was there.
   */
  again(): Promise<Given<All>>;
}

/** The options of every command, read when they are needed. */
export type OptionTable = () => Promise<SettingTables>;

/** The option of every command that has settings. */
export const configOption = {
  config: {
    group: "Configuration",
    help:
      "take settings from this TOML file and no other. Without it they come from wrinklefree/config.toml in " +
      "$XDG_CONFIG_HOME or ~/.config, and from /etc/wrinklefree/config.toml. 'wrinklefree config print' shows what holds",
    place: "environment",
    placeholder: "FILE",
    kind: file,
  },
} as const satisfies Options;

/** The options that a command has in the end: its own, and --config if any is a setting. */
export function completeOptions(options: Options): Options {
  return Object.values(options).some(isSetting) ? { ...options, ...configOption } : options;
}

/**
 * Reads the options of a command from all places.
 *
 * @param wordsMax how many words may stand on the command line.
 * @param environment that of the process which is given these; absent: of this one.
 * @throws UsageError for the command line, Failure for the other places.
 */
export async function readOptions<All extends Options>(
  command: string,
  args: string[],
  options: All,
  wordsMax: number,
  table: OptionTable,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Given<All>> {
  return await readFrom([], command, args, options, wordsMax, table, environment);
}

/** @param before the configuration files as they were read the last time. */
async function readFrom<All extends Options>(
  before: readonly ConfigFile[],
  command: string,
  args: string[],
  options: All,
  wordsMax: number,
  table: OptionTable,
  environment: NodeJS.ProcessEnv,
): Promise<Given<All>> {
  const line = readCommandLine(args, completeOptions(options), wordsMax);
  const hasSettings = completeOptions(options) !== options;
  const onLine = (name: string): Said[] => {
    const value = line.texts.get(name) ?? line.switches.get(name);
    return value === undefined ? [] : [{ value, source: { kind: "option" }, label: `--${name}` }];
  };
  const files = hasSettings ? await readFiles(onLine("config")[0], table, before, environment) : [];
  const settings: Setting[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    const said = [
      ...onLine(name),
      ...inEnvironment(name, option, environment),
      ...inFiles(name, option, command, files),
    ];
    const counting = !option.isSwitch && option.addsUp ? said.toReversed() : said.slice(0, 1);
    values[name] = readValue(option, counting);
    settings.push(settingOf(name, option, counting));
  }
  return {
    values: values as ValuesOf<All>,
    words: line.words,
    settings,
    isOnLine: (name) => onLine(name).length > 0,
    textsOnLine: (name) => line.texts.get(name) ?? [],
    files: files.map(({ path }) => path),
    warnings:
      hasSettings && ourVariables(environment).length > 0
        ? unknownVariables(await knownVariables(table), environment)
        : [],
    again: () => readFrom(files, command, args, options, wordsMax, table, environment),
  };
}

async function readFiles(
  onLine: Said | undefined,
  table: OptionTable,
  before: readonly ConfigFile[],
  environment: NodeJS.ProcessEnv,
): Promise<ConfigFile[]> {
  const named = Array.isArray(onLine?.value) ? onLine.value.at(-1) : undefined;
  const paths = configPaths(named ?? findVariable("config", configOption.config, environment)?.text, environment);
  // One that is being replaced may be missing for a moment, and its settings must not be lost for that.
  const gone = before.find(({ path }) => !paths.includes(path));
  if (gone !== undefined) {
    throw new Failure(`${gone.path}: is gone, which was read before; leave an empty file if its settings are to go`);
  }
  if (paths.length === 0) return [];
  const all = await table();
  const kept = before.filter(({ isLasting }) => !isLasting);
  return paths.map((path) => kept.find((file) => file.path === path) ?? readConfigFile(path, all, environment.HOME));
}

async function knownVariables(table: OptionTable): Promise<Set<string>> {
  const known = new Set<string>();
  for (const options of (await table()).own.values()) {
    for (const [name, option] of Object.entries(completeOptions(options))) {
      for (const variable of variablesOf(name, option)) known.add(variable);
    }
  }
  return known;
}

function inEnvironment(name: string, option: Option, environment: NodeJS.ProcessEnv): Said[] {
  const found = findVariable(name, option, environment);
  if (found === undefined) return [];
  const { variable, text } = found;
  const source: Source = { kind: "environment", variable };
  if (option.isSwitch) return [{ value: reading(source, () => readSwitch(text, variable)), source, label: variable }];
  const value = option.isList ? splitList(text) : [text];
  return value.length === 0 ? [] : [{ value, source, label: variable }];
}

function inFiles(name: string, option: Option, command: string, files: readonly ConfigFile[]): Said[] {
  if (!isSetting(option)) return [];
  return files.flatMap(({ path, common, commands }) => {
    const found = commands.get(command)?.get(name) ?? common.get(name);
    if (found === undefined) return [];
    const source: Source = { kind: "file", path, line: found.line };
    return [{ value: found.value, source, label: `${path}:${found.line}: ${name}` }];
  });
}

/** The value of an option from the places that count. */
function readValue(option: Option, counting: readonly Said[]): unknown {
  if (option.isSwitch) return counting[0]?.value === true;
  const read = counting.flatMap(({ value, source, label }) =>
    reading(source, () => (value as string[]).map((text) => option.kind.read(text, label))),
  );
  if (option.isList) return read;
  // Of an option that is given twice, the last one counts.
  if (read.length > 0) return read.at(-1);
  return option.default === undefined ? undefined : option.kind.read(option.default, "the default");
}

function settingOf(name: string, option: Option, counting: readonly Said[]): Setting {
  const sources = counting.map(({ source }) => source);
  if (sources.length === 0) sources.push({ kind: "default" });
  if (option.isSwitch) return { name, option, value: counting[0]?.value === true, sources };
  const texts = counting.flatMap(({ value }) => value as string[]);
  return { name, option, value: texts.length > 0 ? shown(option, texts) : defaultTexts(option), sources };
}

function shown(option: ValueOption<unknown>, texts: string[]): string[] {
  return option.isList ? texts : texts.slice(-1);
}

function defaultTexts(option: ValueOption<unknown>): string[] | undefined {
  if (option.isList) return [];
  return option.default === undefined ? undefined : [option.default];
}

/** Reads what stands elsewhere than on the command line, where a fault is none of the command line. */
function reading<Value>(source: Source, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (source.kind === "option" || !(error instanceof UsageError)) throw error;
    throw new Failure(error.message);
  }
}
