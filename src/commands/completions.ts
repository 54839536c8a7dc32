/** `wrinklefree completions`: what a shell needs to complete this program's command lines. */

import { UsageError } from "../errors.ts";
import { bashCompletion } from "../options/bash_completion.ts";
import { fishCompletion } from "../options/fish_completion.ts";
import { zshCompletion } from "../options/zsh_completion.ts";
import { results } from "../terminal/output.ts";
import { declareCommand, otherWords } from "./command.ts";

const shells = ["bash", "zsh", "fish"];

export const command = declareCommand({
  name: "completions",
  summary: "print what bash, zsh or fish need to complete command lines",
  synopsis: ["completions bash|zsh|fish"],
  description: [
    "Prints a script for the shell: commands, options, the words that options take, models of the store, files.",
  ],
  options: {},
  wordsMax: 1,
  words: [shells],
  examples: [
    ["source <(wrinklefree completions bash)", "in ~/.bashrc"],
    ["source <(wrinklefree completions zsh)", "in ~/.zshrc, after compinit"],
    ["wrinklefree completions fish > ~/.config/fish/completions/wrinklefree.fish", "once"],
  ],
  async run({ words: [word] }, table) {
    if (word === undefined) throw new UsageError("completions takes a shell: bash, zsh or fish");
    // No guess: what resembles one of these is mostly another shell.
    if (!shells.includes(word)) throw new UsageError(`completions takes bash, zsh or fish, not '${word}'`);
    const commands = await table();
    const names = otherWords.map(([name]) => name);
    if (word === "bash") results.write(bashCompletion(commands, names));
    else results.write(word === "zsh" ? zshCompletion(commands, otherWords) : fishCompletion(commands, otherWords));
    return 0;
  },
});
