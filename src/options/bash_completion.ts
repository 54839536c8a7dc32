/** Completions for bash: a function that knows the commands, their options, and what options and words take. */

import { type Described, describedOptions, spellings } from "./described.ts";
import type { Completion } from "./kinds.ts";

/** The script for a shell to source. `others` are first words that are no commands. */
export function bashCompletion(commands: readonly Described[], others: readonly string[]): string {
  const options: string[] = [];
  const values: string[] = [];
  const words: string[] = [];
  for (const command of commands) {
    const all = Object.entries(describedOptions(command));
    const names = all.flatMap(([name, option]) => spellings(name, option).filter((one) => one.startsWith("--")));
    options.push(`    ${command.name}) REPLY=${quoted(names.join(" "))} ;;`);
    for (const [name, option] of all) {
      if (option.isSwitch) continue;
      const patterns = spellings(name, option).map((one) => quoted(`${command.name} ${one}`));
      values.push(`    ${patterns.join(" | ")}) REPLY=${quoted(kindOf(option.kind.completion))} ;;`);
    }
    for (const [index, completion] of command.words.entries()) {
      const place = index === command.words.length - 1 ? `"${command.name} "*` : quoted(`${command.name} ${index}`);
      words.push(`    ${place}) REPLY=${quoted(kindOf(completion))} ;;`);
    }
  }
  const first = [...commands.map(({ name }) => name), ...others].join(" ");
  return `# bash completion for wrinklefree, made by 'wrinklefree completions bash'

# The options of a command.
_wrinklefree_options() {
  case $1 in
${options.join("\n")}
    *) REPLY= ;;
  esac
}

# What the value of a command's option is; fails where it takes none.
_wrinklefree_value() {
  case "$1 $2" in
${values.join("\n")}
    *) return 1 ;;
  esac
}

# What the word of that number is on a command's line.
_wrinklefree_word() {
  case "$1 $2" in
${words.join("\n")}
    *) REPLY= ;;
  esac
}

# Completes $2 as what $1 says.
_wrinklefree_complete() {
  local kind=$1 current=$2 name word
  case $kind in
    words:*) mapfile -t COMPREPLY < <(compgen -W "\${kind#words:}" -- "$current") ;;
    command) mapfile -t COMPREPLY < <(compgen -W ${quoted(first)} -- "$current") ;;
    model)
      # Names of directories may have spaces.
      while IFS= read -r name; do
        printf -v word %q "$name"
        [[ $word == "$current"* || $name == "$current"* ]] && COMPREPLY+=("$word")
      done < <("\${COMP_WORDS[0]}" list --names 2>/dev/null)
      ;;
    directory)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      ;;
  esac
  # A model can be a file, too.
  if [[ $kind == file || ($kind == model && \${#COMPREPLY[@]} == 0) ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}

_wrinklefree() {
  local REPLY current=\${COMP_WORDS[COMP_CWORD]} command=\${COMP_WORDS[1]} option=\${COMP_WORDS[COMP_CWORD - 1]} index word=0
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _wrinklefree_complete command "$current"
    ((\${#COMPREPLY[@]} > 0)) || _wrinklefree_complete model "$current"
    return
  fi
  # --kv=f16 is three words to bash.
  if [[ $current == "=" ]]; then
    current=
  elif [[ $option == "=" ]]; then
    option=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  if _wrinklefree_value "$command" "$option"; then
    _wrinklefree_complete "$REPLY" "$current"
    return
  fi
  if [[ $current == -* ]]; then
    _wrinklefree_options "$command"
    mapfile -t COMPREPLY < <(compgen -W "$REPLY" -- "$current")
    return
  fi
  for ((index = 2; index < COMP_CWORD; index++)); do
    if _wrinklefree_value "$command" "\${COMP_WORDS[index]}"; then
      [[ \${COMP_WORDS[index + 1]} == "=" ]] && ((index++))
      ((index++))
    elif [[ \${COMP_WORDS[index]} != -* ]]; then
      ((word++))
    fi
  done
  _wrinklefree_word "$command" "$word"
  _wrinklefree_complete "$REPLY" "$current"
}

complete -F _wrinklefree wrinklefree
`;
}

function kindOf(completion: Completion | undefined): string {
  return Array.isArray(completion) ? `words:${completion.join(" ")}` : ((completion as string | undefined) ?? "");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
