#!/usr/bin/env bun
/**
 * The command line: finds the command, runs it, and turns what goes wrong into one line and an exit code (0, 1 for a failure,
 * 2 for a command line that makes no sense).
 */

import { version } from "../package.json";
import { command as chat } from "./commands/chat.ts";
import type { Command } from "./commands/command.ts";
import { command as convert } from "./commands/convert.ts";
import { command as inspect } from "./commands/inspect.ts";
import { command as serve } from "./commands/serve.ts";
import { Failure, UsageError } from "./errors.ts";

const commands: Command[] = [serve, chat, convert, inspect];

function help(): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  return `wrinklefree ${version}: serves 1.58-bit language models from a CPU

usage: wrinklefree <command> [options]

${commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`).join("\n")}

'wrinklefree <command> --help' describes a command. Without a model, serve and chat use a small embedded demo.
`;
}

/** Runs a command line and gives the exit code. */
async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "--version" || name === "-v") {
    console.log(version);
    return 0;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(help());
    return 0;
  }
  const command = commands.find((candidate) => candidate.name === name);
  if (command === undefined) {
    if (name === undefined) process.stderr.write(help());
    else console.error(`wrinklefree: there is no command '${name}'; 'wrinklefree --help' lists them`);
    return 2;
  }
  if (rest.includes("--help") || rest.includes("-h")) {
    process.stdout.write(command.usage);
    return 0;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`wrinklefree ${command.name}: ${error.message}; 'wrinklefree ${command.name} --help' shows the options`);
      return 2;
    }
    if (error instanceof Failure) {
      console.error(`wrinklefree: ${error.message}`);
      return 1;
    }
    throw error;
  }
}

process.exit(await main(process.argv.slice(2)));
