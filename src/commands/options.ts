/** Command-line options: node's tokens, judged here, so that every complaint is ours; numbers are read strictly. */

import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { UsageError } from "../errors.ts";
import { suggestion } from "./suggestion.ts";

/**
 * Parses the arguments of one command.
 *
 * @throws UsageError for an unknown option, a value that is missing or not taken, or more than `positionals` plain arguments.
 */
export function parseOptions<Options extends ParseArgsOptionsConfig>(
  args: string[],
  options: Options,
  positionals: number,
) {
  const found: string[] = [];
  const plain: string[] = [];
  for (const token of parseArgs({ args, options, allowPositionals: true, strict: false, tokens: true }).tokens) {
    if (token.kind === "option") found.push(readOption(token, options));
    else if (token.kind === "positional") plain.push(token.value);
  }
  const extra = plain[positionals];
  if (extra !== undefined) throw new UsageError(`unexpected argument '${extra}'`);
  // Written in the one way that leaves no doubt, for the defaults and the types.
  return parseArgs({ args: [...found, "--", ...plain], options, allowPositionals: true, strict: true });
}

/** An option as it was found; `inlineValue` says whether the value came with it, as in --port=1. */
interface FoundOption {
  name: string;
  rawName: string;
  value?: string;
  inlineValue?: boolean;
}

/** An option with its value joined to it. @throws UsageError. */
function readOption({ name, rawName, value, inlineValue }: FoundOption, options: ParseArgsOptionsConfig): string {
  const type = Object.hasOwn(options, name) ? options[name]?.type : undefined;
  if (type === undefined) {
    const known = [...Object.keys(options), "help"].map((one) => `--${one}`);
    throw new UsageError(`unknown option '${rawName}'${suggestion(rawName, known)}`);
  }
  if (type === "boolean") {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value, so not '${value}'`);
    return `--${name}`;
  }
  if (value === undefined) throw new UsageError(`${rawName} needs a value`);
  // A negative number is a value. Another option is none, unless it is written in a way that leaves no doubt.
  if (!inlineValue && /^-\D/.test(value)) {
    throw new UsageError(
      `${rawName} needs a value before '${value}' (or write --${name}=${value} if that is the value)`,
    );
  }
  return `--${name}=${value}`;
}

/**
 * Reads an option's value as a whole number.
 *
 * @throws UsageError naming the option when the text is no whole number within [low, high].
 */
export function wholeNumber(text: string, option: string, low: number, high: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < low || value > high) {
    throw new UsageError(`--${option} takes a whole number from ${low} to ${high}, not '${text}'`);
  }
  return value;
}

/**
 * Reads an option's value as a decimal number.
 *
 * @throws UsageError naming the option when the text is no number within [low, high].
 */
export function decimalNumber(text: string, option: string, low: number, high: number): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= low && value <= high)) {
    throw new UsageError(`--${option} takes a number from ${low} to ${high}, not '${text}'`);
  }
  return value;
}

/**
 * Reads an option's value as one of several words.
 *
 * @throws UsageError naming the option and the words.
 */
export function oneOf<Word extends string>(text: string, option: string, words: readonly Word[]): Word {
  const word = words.find((one) => one === text);
  if (word === undefined) {
    throw new UsageError(`--${option} takes ${words.join(", ")}, not '${text}'${suggestion(text, words)}`);
  }
  return word;
}
