#!/usr/bin/env bun

/**
 * The command line: finds the command, runs it, and turns what goes wrong into one line and an exit code (0, 1 for a failure,
 * 2 for a command line that makes no sense, 141 when whoever read the results has left).
 */

import { existsSync } from "node:fs";
import { type Command, otherWords } from "./commands/command.ts";
import { allCommands, commands } from "./commands/registry.ts";
import { Failure, OutputFailure, UsageError } from "./errors.ts";
import { helpText } from "./options/help.ts";
import { suggestion } from "./options/suggestion.ts";
import { harmless } from "./terminal/harmless.ts";
import { notes, results, tolerateStderr } from "./terminal/output.ts";
import { canAsk } from "./terminal/question.ts";
import { summary, version } from "./version.ts";

/** Words and options that ask for something other than a command. */
const VERSION = ["version", "--version", "-v", "-V"];
const HELP = ["help", "--help", "-h"];

/** What a shell reports of a program that SIGPIPE ended, as it does those before `head` that know nothing of pipes. */
const READER_LEFT = 128 + 13;

async function help(): Promise<string> {
  const lines = [...(await allCommands()).map((command) => [command.name, command.summary] as const), ...otherWords];
  const width = Math.max(...lines.map(([name]) => name.length));
  return `wrinklefree ${version}: ${summary}

usage: wrinklefree <command> [options]
       wrinklefree MODEL [PROMPT…]       the same as run

${lines.map(([name, summary]) => `  ${name.padEnd(width)}  ${summary}`).join("\n")}

Without a model, serve and chat use a small embedded demo.
`;
}

/** Finds a command by its name. @throws UsageError. */
async function findCommand(name: string): Promise<Command> {
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load !== undefined) return (await load()).command;
  if (name.startsWith("-")) {
    const hint = suggestion(name, ["--help", "--version"]);
    throw new UsageError(`unknown option '${name}' in front of a command${hint}`);
  }
  throw unknownCommand(name);
}

/** @param models names that may have been meant as well; undefined where only a command can be. */
function unknownCommand(name: string, models?: readonly string[]): UsageError {
  const hint = suggestion(name, [...Object.keys(commands), ...otherWords.map(([word]) => word), ...(models ?? [])]);
  const other =
    models === undefined || hint !== ""
      ? ""
      : ", and no model of that name here or in the store; a name on the hub is OWNER/NAME";
  return new UsageError(`there is no command '${name}'${hint}${other}`);
}

/** Whether a command's own arguments ask for its description. A model that is called "help" is a model. */
function asksForHelp(args: string[]): boolean {
  const end = args.indexOf("--");
  const options = end < 0 ? args : args.slice(0, end);
  return options.includes("--help") || options.includes("-h") || (args.join() === "help" && !existsSync("help"));
}

/** Runs a command line and gives the exit code. @throws Failure, UsageError, OutputFailure. */
async function run([name, ...args]: string[]): Promise<number> {
  if (name === undefined) {
    notes.write(await help());
    return 2;
  }
  if (VERSION.includes(name)) {
    results.write(`${version}\n`);
    return 0;
  }
  if (HELP.includes(name)) {
    results.write(args[0] === undefined ? await help() : helpText(await findCommand(args[0])));
    return 0;
  }
  const command = await findCommand(name);
  if (asksForHelp(args)) {
    results.write(helpText(command));
    return 0;
  }
  return await command.run(args, allCommands);
}

/** Says what went wrong and gives the exit code. A bug is thrown again. */
function report(error: unknown, name: string | undefined): number {
  if (error instanceof UsageError) {
    const known = name !== undefined && Object.hasOwn(commands, name) ? ` ${name}` : "";
    const lists = known === "" ? "lists the commands" : "shows the options";
    notes.write(`wrinklefree${known}: ${harmless(error.message)}; 'wrinklefree${known} --help' ${lists}\n`);
    return 2;
  }
  if (error instanceof OutputFailure && error.isClosed) return READER_LEFT;
  if (error instanceof Failure || error instanceof OutputFailure) {
    notes.write(`wrinklefree: ${harmless(error.message)}\n`, "error");
    return 1;
  }
  throw error;
}

/**
 * The command line with its command: that of one which begins with a model is run, and for an empty one whoever sits at the terminal
 * is asked.
 *
 * @returns undefined when nothing is wanted.
 * @throws UsageError.
 */
async function withCommand(args: string[]): Promise<string[] | undefined> {
  const [name] = args;
  if (name === undefined && canAsk()) return (await import("./commands/menu.ts")).chooseFromMenu(allCommands);
  if (name === undefined || name.startsWith("-") || VERSION.includes(name) || HELP.includes(name)) return args;
  if (Object.hasOwn(commands, name)) return args;
  const { isModel, storedModels } = await import("./commands/implied_run.ts");
  const stored = await storedModels(allCommands);
  if (isModel(name, stored)) return ["run", ...args];
  throw unknownCommand(
    name,
    stored.entries.map((entry) => entry.name),
  );
}

async function main(args: string[]): Promise<number> {
  tolerateStderr();
  let [name] = args;
  try {
    const complete = await withCommand(args);
    if (complete === undefined) return 0;
    [name] = complete;
    return await run(complete);
  } catch (error) {
    return report(error, name);
  }
}

process.exit(await main(process.argv.slice(2)));
