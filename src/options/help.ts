/** Help for people: the text of `--help`, made of a command's declaration. */

import { type Option, type Options, otherwiseOf, written } from "./option.ts";

/** Columns of help. */
const WIDTH = 100;

/** Where the description of an option begins. */
const INDENT = 26;

/** What help says of a command. */
export interface Described {
  name: string;
  /** Command lines, without the name of the program. */
  synopsis: readonly string[];
  /** Paragraphs. */
  description: readonly string[];
  options: Options;
  /** Command lines with what they do. */
  examples?: readonly (readonly [line: string, what: string])[];
}

/** The text of `wrinklefree NAME --help`. */
export function helpText({ synopsis, description, options, examples = [] }: Described): string {
  const usage = synopsis.map((line, index) => `${index === 0 ? "usage: " : "       "}wrinklefree ${line}`);
  const parts = [usage.join("\n"), ...description.map((paragraph) => wrapped(paragraph, WIDTH).join("\n"))];
  for (const [group, names] of optionGroups(options)) {
    const lines = names.flatMap((name) => optionLines(name, options[name] as Option));
    parts.push([`${group}:`, ...lines].join("\n"));
  }
  parts.push("  -h, --help              show this text");
  if (examples.length > 0) parts.push(examples.map(([line, what]) => `  ${line}\n      ${what}`).join("\n"));
  return `${parts.join("\n\n")}\n`;
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

function optionLines(name: string, option: Option): string[] {
  const letter = option.short === undefined ? "" : `-${option.short}, `;
  const head = `  ${letter}${written(name, option)}`;
  const lines = wrapped(describeOption(option), WIDTH - INDENT).map((line) => " ".repeat(INDENT) + line);
  const [first = ""] = lines;
  if (head.length + 2 > INDENT) return [head, ...lines];
  return [head.padEnd(INDENT) + first.trimStart(), ...lines.slice(1)];
}

/** A text in lines of at most so many columns. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
