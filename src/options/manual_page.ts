/** Manual pages, in roff's macros for them. */

import { SYSTEM_FILE } from "./config_file.ts";
import { type Described, describedOptions, describeOption, optionGroups } from "./described.ts";
import { otherVariables } from "./environment.ts";
import { wrapped } from "./help.ts";
import { isSetting, type Option, variablesOf } from "./option.ts";

/** Columns of the source. */
const WIDTH = 78;

/** What all pages say of the program. */
export interface Program {
  version: string;
  /** One line. */
  summary: string;
  /** The day that stands on the page. */
  date: Date;
}

/** The page of the program: wrinklefree(1). */
export function programPage(program: Program, commands: readonly Described[]): string {
  const lines = commands.flatMap(({ name, summary }) => [".TP", bold(`wrinklefree-${name}(1)`), plain(summary)]);
  return page(program, "wrinklefree", program.summary, [
    section("SYNOPSIS", [
      ".B wrinklefree",
      ".I COMMAND",
      plain("[options]"),
      ".br",
      ".B wrinklefree",
      plain("MODEL [PROMPT…]"),
    ]),
    section("DESCRIPTION", [
      plain(
        `${program.summary}. Without a command, at a terminal, it asks what to do. A command line that begins with a model is that of run.`,
      ),
    ]),
    section("COMMANDS", lines),
    exitStatus(),
    environment({}),
  ]);
}

/** The page of a command: wrinklefree-NAME(1). */
export function commandPage(program: Program, command: Described): string {
  const { name, summary, synopsis, description, options, examples = [] } = command;
  const described = describedOptions(command);
  const optionLines: string[] = [];
  for (const [group, names] of optionGroups(described)) {
    optionLines.push(`.SS ${plain(group)}`, ...names.flatMap((one) => optionEntry(one, described[one] as Option)));
  }
  const settings = Object.values(options).some(isSetting);
  return page(program, `wrinklefree-${name}`, summary, [
    section(
      "SYNOPSIS",
      synopsis.flatMap((line, index) => [...(index > 0 ? [".br"] : []), ".B wrinklefree", plain(line)]),
    ),
    section("DESCRIPTION", paragraphs(description)),
    section("OPTIONS", optionLines),
    environment(options),
    ...(settings ? [files()] : []),
    exitStatus(),
    ...(examples.length > 0
      ? [
          section(
            "EXAMPLES",
            examples.flatMap(([line, what]) => [".TP", bold(line), plain(what)]),
          ),
        ]
      : []),
    section("SEE ALSO", [".BR wrinklefree (1),", ".BR wrinklefree-config (1)"]),
  ]);
}

function page({ version, date }: Program, title: string, summary: string, sections: readonly string[]): string {
  const day = date.toISOString().slice(0, 10);
  return [
    `.TH ${title.toUpperCase().replaceAll("-", "\\-")} 1 ${day} "wrinklefree ${version}" "User Commands"`,
    section("NAME", [plain(title), `\\- ${plain(summary)}`]),
    ...sections,
    "",
  ].join("\n");
}

function section(title: string, lines: readonly string[]): string {
  return [`.SH ${title}`, ...lines].join("\n");
}

function paragraphs(texts: readonly string[]): string[] {
  return texts.flatMap((text, index) => [...(index > 0 ? [".PP"] : []), plain(text)]);
}

function optionEntry(name: string, option: Option): string[] {
  const value = option.isSwitch ? "" : ` \\fI${plain(option.placeholder)}\\fR`;
  const letter = option.short === undefined ? "" : `\\fB\\-${option.short}\\fR, `;
  return [".TP", `${letter}\\fB\\-\\-${plain(name)}\\fR${value}`, plain(`${describeOption(option)}.`)];
}

/** The variables of a command's options, and those of every command. */
function environment(options: Described["options"]): string {
  const own = Object.entries(options).flatMap(([name, option]) =>
    variablesOf(name, option).map((variable) => [variable, `holds \\fB\\-\\-${plain(name)}\\fR`] as const),
  );
  const others = Object.entries(otherVariables).map(([variable, what]) => [variable, plain(what)] as const);
  return section(
    "ENVIRONMENT",
    [...own, ...others].flatMap(([variable, what]) => [".TP", bold(variable), `${what}.`]),
  );
}

function files(): string {
  return section("FILES", [
    ".TP",
    bold(SYSTEM_FILE),
    "settings of the machine, in TOML.",
    ".TP",
    bold("$XDG_CONFIG_HOME/wrinklefree/config.toml, ~/.config/wrinklefree/config.toml"),
    "settings of the user, which come before those of the machine.",
  ]);
}

function exitStatus(): string {
  const codes = [
    ["0", "success"],
    ["1", "a failure"],
    ["2", "a command line that makes no sense"],
    ["141", "the reader of the results has left"],
  ];
  return section(
    "EXIT STATUS",
    codes.flatMap(([code = "", what]) => [".TP", bold(code), `${what}.`]),
  );
}

function bold(text: string): string {
  return `\\fB${plain(text)}\\fR`;
}

/** A text in lines, with nothing in it that roff takes for its own: backslashes, hyphens that are minus signs, dots and quotes that begin a line. */
function plain(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("…", "...");
  return wrapped(escaped, WIDTH)
    .join("\n")
    .replaceAll(/^(?=[.'])/gm, "\\&");
}
