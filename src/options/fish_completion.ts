/** Completions for fish: a line for each option and each kind of word. */

import { type Described, describedOptions, summariseOption } from "./described.ts";
import type { Completion } from "./kinds.ts";
import type { Option } from "./option.ts";

/** The script for a shell to source. `others` are first words that are no commands. */
export function fishCompletion(commands: readonly Described[], others: readonly (readonly [string, string])[]): string {
  const lines: string[] = [];
  for (const [name, summary] of [...commands.map(({ name, summary }) => [name, summary] as const), ...others]) {
    lines.push(`complete -c wrinklefree -n __wrinklefree_is_first -a ${name} -d ${quoted(summary)}`);
  }
  lines.push(`complete -c wrinklefree -n __wrinklefree_is_first ${candidates("model")}`);
  for (const command of commands) {
    const condition = quoted(`__wrinklefree_is ${command.name}`);
    for (const [name, option] of Object.entries(describedOptions(command))) {
      lines.push(`complete -c wrinklefree -n ${condition} ${optionText(name, option)}`);
    }
    for (const [index, completion] of command.words.entries()) {
      const isLast = index === command.words.length - 1;
      const place = quoted(`__wrinklefree_is ${command.name} ${isLast ? "-ge" : "-eq"} ${index}`);
      lines.push(`complete -c wrinklefree -n ${place} ${candidates(completion)}`);
    }
  }
  return `# fish completion for wrinklefree, made by 'wrinklefree completions fish'

function __wrinklefree_is_first
    test (count (commandline -opc)) -eq 1
end

# Whether the command is the one that is named, and how many words stand behind it.
function __wrinklefree_is
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"; or return 1
    test (count $argv) -eq 1; and return 0
    test (count (string match -v -- '-*' $words[3..])) $argv[2] $argv[3]
end

function __wrinklefree_models
    set -l words (commandline -opc)
    $words[1] list --names 2>/dev/null
end

function __wrinklefree_commands
    printf '%s\\n' ${[...commands.map(({ name }) => name), ...others.map(([name]) => name)].join(" ")}
end

complete -c wrinklefree -e
complete -c wrinklefree -f
${lines.join("\n")}
`;
}

function optionText(name: string, option: Option): string {
  const letter = option.short === undefined ? "" : ` -s ${option.short}`;
  const described = `-l ${name}${letter} -d ${quoted(summariseOption(option))}`;
  return option.isSwitch ? described : `${described} -r ${candidates(option.kind.completion)}`;
}

function candidates(completion: Completion | undefined): string {
  if (Array.isArray(completion)) return `-f -a ${quoted(completion.join(" "))}`;
  const found: Record<string, string> = {
    file: "-F",
    directory: "-f -a '(__fish_complete_directories)'",
    model: "-F -a '(__wrinklefree_models)'",
    command: "-f -a '(__wrinklefree_commands)'",
  };
  return (completion !== undefined && found[completion as string]) || "-f";
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
