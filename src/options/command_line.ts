/** The command line: node's tokens, judged here, so that every complaint is ours. */

import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { UsageError } from "../errors.ts";
import { isSetting, type Options } from "./option.ts";
import { suggestion } from "./suggestion.ts";

/** What stands on a command line. */
export interface CommandLine {
  /** The texts of options with values, in the order in which they stand. */
  texts: Map<string, string[]>;
  switches: Map<string, boolean>;
  /** What is no option. */
  words: string[];
}

/**
 * Reads the arguments of one command. Values are texts yet.
 *
 * @throws UsageError for an unknown option, a value that is missing or not taken, or more than `wordsMax` words.
 */
export function readCommandLine(args: string[], options: Options, wordsMax: number): CommandLine {
  const config: ParseArgsOptionsConfig = { help: { type: "boolean", short: "h" } };
  for (const [name, { isSwitch, short }] of Object.entries(options)) {
    config[name] = { type: isSwitch ? "boolean" : "string", ...(short === undefined ? {} : { short }) };
  }
  const line: CommandLine = { texts: new Map(), switches: new Map(), words: [] };
  for (const token of parseArgs({ args, options: config, allowPositionals: true, strict: false, tokens: true })
    .tokens) {
    if (token.kind === "option") readOption(token, options, line);
    else if (token.kind === "positional") line.words.push(token.value);
  }
  const extra = line.words[wordsMax];
  if (extra !== undefined) throw new UsageError(`unexpected argument '${extra}'`);
  return line;
}

/** An option as it was found; `inlineValue` says whether the value came with it, as in --port=1. */
interface FoundOption {
  name: string;
  rawName: string;
  value?: string;
  inlineValue?: boolean;
}

/** Adds an option to the line. @throws UsageError. */
function readOption({ name, rawName, value, inlineValue }: FoundOption, options: Options, line: CommandLine): void {
  const negated = negatedSwitch(name, options);
  const option = Object.hasOwn(options, name) ? options[name] : undefined;
  if (option === undefined && negated === undefined) {
    const known = [...Object.keys(options), "help"].map((one) => `--${one}`);
    throw new UsageError(`unknown option '${rawName}'${suggestion(rawName, known)}`);
  }
  if (option === undefined || option.isSwitch) {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value, so not '${value}'`);
    line.switches.set(negated ?? name, negated === undefined);
    return;
  }
  if (value === undefined) throw new UsageError(`${rawName} needs a value`);
  // A negative number is a value. Another option is none, unless it is written in a way that leaves no doubt.
  if (!inlineValue && /^-\D/.test(value)) {
    throw new UsageError(
      `${rawName} needs a value before '${value}' (or write --${name}=${value} if that is the value)`,
    );
  }
  line.texts.getOrInsertComputed(name, () => []).push(value);
}

/** The setting that --no-NAME takes back, which the environment or a file may have switched on. */
function negatedSwitch(name: string, options: Options): string | undefined {
  const positive = name.startsWith("no-") && !Object.hasOwn(options, name) ? name.slice("no-".length) : "";
  const option = Object.hasOwn(options, positive) ? options[positive] : undefined;
  return option?.isSwitch && isSetting(option) ? positive : undefined;
}
