#!/usr/bin/env bun
/**
 * The command line: finds the command, runs it, and turns what goes wrong into one line and an exit code (0, 1 for a failure,
 * 2 for a command line that makes no sense).
 */

import { version } from "../package.json";
import type { Command } from "./commands/command.ts";
import { Failure, UsageError } from "./errors.ts";

/** The commands, each loaded when it is wanted: a conversion need not wait for the HTTP server's code. */
const commands: Record<string, () => Promise<{ command: Command }>> = {
  serve: () => import("./commands/serve.ts"),
  chat: () => import("./commands/chat.ts"),
  convert: () => import("./commands/convert.ts"),
  inspect: () => import("./commands/inspect.ts"),
  check: () => import("./commands/check.ts"),
  bench: () => import("./commands/bench.ts"),
};

async function help(): Promise<string> {
  const loaded = await Promise.all(Object.values(commands).map(async (load) => (await load()).command));
  const width = Math.max(...loaded.map((command) => command.name.length));
  return `wrinklefree ${version}: serves 1.58-bit language models from a CPU

usage: wrinklefree <command> [options]

${loaded.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`).join("\n")}

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
    process.stdout.write(await help());
    return 0;
  }
  if (name === undefined) {
    process.stderr.write(await help());
    return 2;
  }
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load === undefined) {
    console.error(`wrinklefree: there is no command '${name}'; 'wrinklefree --help' lists them`);
    return 2;
  }
  const { command } = await load();
  if (rest.includes("--help") || rest.includes("-h")) {
    process.stdout.write(command.usage);
    return 0;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`wrinklefree ${name}: ${error.message}; 'wrinklefree ${name} --help' shows the options`);
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
