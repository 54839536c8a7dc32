/** Completions for zsh: a function for each command, in the notation of zsh's own _arguments. */

import { type Described, describedOptions, spellings, summariseOption } from "./described.ts";
import type { Completion } from "./kinds.ts";
import type { Option } from "./option.ts";

/** The script, to be sourced or kept as _wrinklefree in a directory of $fpath. `others` are first words that are no commands. */
export function zshCompletion(commands: readonly Described[], others: readonly (readonly [string, string])[]): string {
  const first = [...commands.map(({ name, summary }) => [name, summary] as const), ...others].map(([name, summary]) =>
    quoted(`${name}:${summary}`),
  );
  const cases = commands.map((command) => `    ${command.name})\n${indented(argumentLines(command))}\n      ;;`);
  return `#compdef wrinklefree
# zsh completion for wrinklefree, made by 'wrinklefree completions zsh'

_wrinklefree_commands() {
  local -a commands=(
    ${first.join("\n    ")}
  )
  _describe -t commands command commands
}

_wrinklefree_models() {
  local -a models=(\${(f)"$(_call_program models $wrinklefree list --names 2>/dev/null)"})
  _alternative 'models:model:compadd -a models' 'files:file:_files'
}

_wrinklefree() {
  local wrinklefree=$words[1] curcontext=$curcontext state line
  local -A opt_args
  _arguments -C '1: :->command' '*:: :->arguments'
  if [[ $state == command ]]; then
    _alternative 'commands:command:_wrinklefree_commands' 'models:model:_wrinklefree_models'
    return
  fi
  case $words[1] in
${cases.join("\n")}
  esac
}

if [[ $funcstack[1] == _wrinklefree ]]; then
  _wrinklefree "$@"
else
  compdef _wrinklefree wrinklefree
fi
`;
}

function argumentLines(command: Described): string {
  const specifications = Object.entries(describedOptions(command)).flatMap(([name, option]) =>
    optionLines(name, option),
  );
  for (const [index, completion] of command.words.entries()) {
    const place = index === command.words.length - 1 ? "*" : String(index + 1);
    specifications.push(quoted(`${place}: :${actionOf(completion)}`));
  }
  return ["_arguments -S", ...specifications].join(" \\\n  ");
}

function optionLines(name: string, option: Option): string[] {
  const ways = spellings(name, option);
  const again = !option.isSwitch && option.isList ? "*" : ways.length > 1 ? `(${ways.join(" ")})` : "";
  const text = summariseOption(option).replace(/[[\]\\]/g, "\\$&");
  return ways.map((way) => {
    if (option.isSwitch) return quoted(`${again}${way}[${text}]`);
    const joined = way.startsWith("--") ? "=" : "";
    return quoted(`${again}${way}${joined}[${text}]:${option.placeholder}:${actionOf(option.kind.completion)}`);
  });
}

function actionOf(completion: Completion | undefined): string {
  if (Array.isArray(completion)) return `(${completion.join(" ")})`;
  const actions: Record<string, string> = {
    file: "_files",
    directory: "_files -/",
    model: "_wrinklefree_models",
    command: "_wrinklefree_commands",
  };
  return (completion !== undefined && actions[completion as string]) || " ";
}

function indented(lines: string): string {
  return lines.replaceAll(/^/gm, "      ");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
