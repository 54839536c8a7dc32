/** Command-line options: node's parser, with its complaints turned into usage errors and numbers read strictly. */

import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { UsageError } from "../errors.ts";

/**
 * Parses the arguments of one command.
 *
 * @throws UsageError for an unknown option, a missing value, or more than `positionals` plain arguments.
 */
export function parseOptions<Options extends ParseArgsOptionsConfig>(
  args: string[],
  options: Options,
  positionals: number,
) {
  let parsed: ReturnType<typeof parseArgs<{ args: string[]; options: Options; allowPositionals: true; strict: true }>>;
  try {
    parsed = parseArgs({ args, options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split("\n")[0]);
  }
  const extra = parsed.positionals[positionals];
  if (extra !== undefined) throw new UsageError(`unexpected argument '${extra}'`);
  return parsed;
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
  if (word === undefined) throw new UsageError(`--${option} takes ${words.join(", ")}, not '${text}'`);
  return word;
}
