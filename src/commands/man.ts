/** `wrinklefree man`: the manual pages, made of the same declarations as --help. */

import { UsageError } from "../errors.ts";
import { commandPage, programPage } from "../options/manual_page.ts";
import { suggestion } from "../options/suggestion.ts";
import { results } from "../terminal/output.ts";
import { summary, version } from "../version.ts";
import { declareCommand } from "./command.ts";

export const command = declareCommand({
  name: "man",
  summary: "print a manual page",
  synopsis: ["man [COMMAND]"],
  description: [
    "Prints the manual page of the program or of a command, for man and for packages. The executable is one file; its manual comes out of it. " +
      "SOURCE_DATE_EPOCH sets the date that stands on it, in seconds since 1970.",
  ],
  options: {},
  wordsMax: 1,
  words: ["command"],
  examples: [
    ["wrinklefree man serve | man -l -", "read the page of serve"],
    ["wrinklefree man serve > /usr/local/share/man/man1/wrinklefree-serve.1", "install it"],
  ],
  async run({ words: [name] }, table) {
    const commands = await table();
    const program = { version, summary, date: pageDate() };
    if (name === undefined) {
      results.write(programPage(program, commands));
      return 0;
    }
    const found = commands.find((one) => one.name === name);
    if (found === undefined) {
      const names = commands.map((one) => one.name);
      throw new UsageError(`there is no command '${name}'${suggestion(name, names)}`);
    }
    results.write(commandPage(program, found));
    return 0;
  },
});

function pageDate(): Date {
  const seconds = process.env.SOURCE_DATE_EPOCH;
  return seconds !== undefined && /^\d{1,11}$/.test(seconds) ? new Date(Number(seconds) * 1000) : new Date();
}
