/** What help, completions and manual pages are made of: a command as it describes itself. */

import type { Completion } from "./kinds.ts";
import { type Option, type Options, otherwiseOf } from "./option.ts";

/** A command. */
export interface Described {
  /** The word on the command line. */
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** Its command lines, without the name of the program. */
  synopsis: readonly string[];
  /** Paragraphs. */
  description: readonly string[];
  options: Options;
  /** What completes each word of its command line beside options; the last stands for all further ones. */
  words: readonly Completion[];
  /** Command lines with what they do. */
  examples?: readonly (readonly [line: string, what: string])[];
}

/** The option that every command has. */
const helpOption: Option = {
  group: "Help",
  short: "h",
  help: "show this text",
  place: "line",
  isSwitch: true,
};

/** The options of a command as they are described: its own and --help. */
export function describedOptions({ options }: Described): Options {
  return { ...options, help: helpOption };
}

/** The names of options by group, in the order in which they are declared. */
export function optionGroups(options: Options): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [name, { group }] of Object.entries(options)) groups.getOrInsertComputed(group, () => []).push(name);
  return groups;
}

/** What an option does, with what holds without it. */
export function describeOption(option: Option): string {
  const otherwise = otherwiseOf(option);
  const words = !option.isSwitch && Array.isArray(option.kind.completion) ? option.kind.completion : [];
  const notes = [
    ...(words.length > 0 && !words.every((word) => option.help.includes(word)) ? [words.join(", ")] : []),
    ...(!option.isSwitch && option.isList ? ["may be given several times"] : []),
    ...(otherwise === undefined ? [] : [`default: ${otherwise}`]),
  ];
  return notes.length === 0 ? option.help : `${option.help} (${notes.join("; ")})`;
}

/** The same in few words, for menus: its first clause. */
export function summariseOption({ help }: Option): string {
  return help.split(/[;:.] /)[0] as string;
}

/** The ways in which an option is written without its value: "--prompt", "-p". */
export function spellings(name: string, { short }: Option): string[] {
  return short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
}
