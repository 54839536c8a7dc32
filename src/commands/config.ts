/** `wrinklefree config print`: the settings that hold for a command, and where each of them comes from. */

import { UsageError } from "../errors.ts";
import { isSetting, type Options } from "../options/option.ts";
import { configOption, type Given, type Setting, type Source } from "../options/settings.ts";
import { describeSources, describeValue, shownTexts } from "../options/shown.ts";
import { suggestion } from "../options/suggestion.ts";
import { results } from "../terminal/output.ts";
import { formatTable } from "../terminal/table.ts";
import { type Command, type CommandTable, readGiven } from "./command.ts";
import { chosenModel, type modelChoice, settingsWithModel } from "./model_options.ts";

const DEFAULT_COMMAND = "serve";

const printOptions = {
  json: { group: "Output", help: "print JSON", place: "line", isSwitch: true },
} as const satisfies Options;

export const command: Command = {
  name: "config",
  summary: "show which settings hold, and where they come from",
  synopsis: ["config print [COMMAND] [--json] [--config FILE] [options of COMMAND]"],
  description: [
    `Shows the settings of COMMAND (default: ${DEFAULT_COMMAND}) and where each comes from. Options come before the environment, and ` +
      "that before configuration files. What COMMAND would be given on its command line can be given here too. Keys are not shown.",
    "In the environment a setting is WRINKLEFREE_ and the name of its option, as in WRINKLEFREE_QUEUE_TOKENS. A list stands there with " +
      "spaces between its parts, a switch as true or false.",
    "A file is TOML. Settings at its top hold for every command that has them, those below [serve] for serve alone. Paths are seen from " +
      "the file's directory. The user's file, wrinklefree/config.toml in $XDG_CONFIG_HOME or ~/.config, comes before the machine's, " +
      "/etc/wrinklefree/config.toml. A name that is no setting is an error.",
  ],
  options: { ...printOptions, ...configOption },
  wordsMax: 2,
  words: [["print"], "command"],
  run,
};

async function run(args: string[], table: CommandTable): Promise<number> {
  const [what, ...rest] = args;
  if (what !== "print") {
    throw new UsageError(`config takes what to do: print${what === undefined ? "" : `, not '${what}'`}`);
  }
  const commands = await table();
  const named = rest[0] !== undefined && !rest[0].startsWith("-");
  const name = named ? (rest[0] as string) : DEFAULT_COMMAND;
  const configurable = commands.filter(
    (one) => one.settingsOf === undefined && Object.values(one.options).some(isSetting),
  );
  const found = configurable.find((one) => one.name === name);
  if (found === undefined) {
    const other = commands.find((one) => one.name === name);
    if (other?.settingsOf !== undefined) {
      throw new UsageError(`${name} has the settings of ${other.settingsOf}: config print ${other.settingsOf}`);
    }
    if (other !== undefined) throw new UsageError(`${name} has no settings`);
    const names = configurable.map((one) => one.name);
    throw new UsageError(`there is no command '${name}' that has settings${suggestion(name, names)}`);
  }
  const options: Options = { ...found.options, ...printOptions };
  const given = await readGiven(name, named ? rest.slice(1) : rest, options, found.wordsMax, table);
  // A model behind options may have been meant as a command, and the other way round.
  if (!named && given.words[0] !== undefined) {
    throw new UsageError(
      `'${given.words[0]}' stands behind options: COMMAND comes right behind print, and MODEL behind it`,
    );
  }
  // What stands before MODEL is none.
  const place = found.words?.indexOf("model") ?? -1;
  const asked = { ...given, words: place < 0 ? [] : given.words.slice(place) };
  if (Object.hasOwn(options, "model")) chosenModel(asked as unknown as Given<typeof modelChoice>);
  const shown = settingsWithModel(asked).filter(({ option }) => isSetting(option));
  const text = given.values.json ? `${JSON.stringify(toJson(name, given.files, shown), null, 2)}\n` : toText(shown);
  results.write(text);
  return 0;
}

function toText(settings: readonly Setting[]): string {
  const rows = settings.map((setting) => [setting.name, describeValue(setting), describeSources(setting)]);
  return `${formatTable([["SETTING", "VALUE", "FROM"], ...rows])}\n`;
}

function toJson(name: string, files: readonly string[], settings: readonly Setting[]): object {
  return {
    command: name,
    files,
    settings: Object.fromEntries(
      settings.map((setting) => [setting.name, { value: jsonValue(setting), from: setting.sources.map(jsonSource) }]),
    ),
  };
}

/** Undefined, which JSON has none for, is null: what holds then is no value, such as "one for each core". */
function jsonValue({ option, value }: Setting): unknown {
  if (option.isSwitch || typeof value === "boolean") return value;
  if (value === undefined) return null;
  const values = shownTexts(option, value);
  if (option.isList) return values;
  const [text] = values;
  return option.kind.isNumber && /^-?\d+(\.\d+)?$/.test(text ?? "") ? Number(text) : text;
}

function jsonSource(source: Source): object {
  return source.kind === "file"
    ? { place: "file", file: source.path, line: source.line }
    : { place: source.kind, ...(source.kind === "environment" ? { variable: source.variable } : {}) };
}
