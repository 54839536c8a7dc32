/** Help for people: the text of `--help`, made of a command's declaration. */

import { type Described, describedOptions, describeOption, optionGroups } from "./described.ts";
import { type Option, written } from "./option.ts";

/** Columns of help. */
const WIDTH = 100;

/** Where the description of an option begins. */
const INDENT = 26;

/** The text of `wrinklefree NAME --help`. */
export function helpText(command: Described): string {
  const { synopsis, description, examples = [] } = command;
  const options = describedOptions(command);
  const usage = synopsis.map((line, index) => `${index === 0 ? "usage: " : "       "}wrinklefree ${line}`);
  const parts = [usage.join("\n"), ...description.map((paragraph) => wrapped(paragraph, WIDTH).join("\n"))];
  for (const [group, names] of optionGroups(options)) {
    const lines = names.flatMap((name) => optionLines(name, options[name] as Option));
    parts.push([`${group}:`, ...lines].join("\n"));
  }
  if (examples.length > 0) parts.push(examples.map(([line, what]) => `  ${line}\n      ${what}`).join("\n"));
  return `${parts.join("\n\n")}\n`;
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
export function wrapped(text: string, width: number, widthOf = (line: string) => line.length): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1);
    if (line === undefined || widthOf(`${line} ${word}`) > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}
