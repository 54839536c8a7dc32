/** Completions in the shells themselves, and manual pages in the programs that show them; all of them know every option. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Command, otherWords } from "../src/commands/command.ts";
import { allCommands } from "../src/commands/registry.ts";
import { type Option, variablesOf } from "../src/options/option.ts";
import { tinyDirectory } from "./support/goldens.ts";
import { executable, runProgram } from "./support/server.ts";
import { TestTerminal } from "./support/terminal.ts";

setDefaultTimeout(60_000);

const commands = await allCommands();
const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-completions-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const env = {
  PATH: `${dirname(executable)}:${process.env.PATH}`,
  HOME: scratch,
  TERM: "dumb",
  WRINKLEFREE_STORE: join(scratch, "empty"),
};
mkdirSync(join(scratch, "files"));
writeFileSync(join(scratch, "files", "a file.txt"), "");

/** The options of a command as they are written. */
const optionsOf = ({ options }: Command) => [...Object.keys(options), "help"].map((name) => `--${name}`).sort();

/** Each option that takes one of several words. */
const choices = commands.flatMap(({ name, options }) =>
  Object.entries(options).flatMap(([option, one]) => {
    const words = one.isSwitch ? undefined : one.kind.completion;
    return Array.isArray(words) ? [{ line: [name, `--${option}`], words: [...words].sort() }] : [];
  }),
);

const firstWords = [...commands.map(({ name }) => name), ...otherWords.map(([word]) => word)].sort();

async function script(shell: string): Promise<string> {
  const path = join(scratch, `completion.${shell}`);
  const { code, stdout } = await runProgram(["completions", shell]);
  expect(code).toBe(0);
  writeFileSync(path, stdout);
  return path;
}

/** What a shell prints. */
async function runShell(command: string[], environment: Record<string, string> = env): Promise<string> {
  const child = Bun.spawn(command, { env: environment, cwd: join(scratch, "files"), stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(stderr).toBe("");
  return stdout;
}

/** What shells complete: the words of a line, the last one unfinished, and what it may become. */
const cases: { line: string[]; words: string[] }[] = [
  { line: [""], words: firstWords },
  ...commands.map((command) => ({ line: [command.name, "--"], words: optionsOf(command) })),
  ...choices.map(({ line, words }) => ({ line: [...line, ""], words })),
  { line: ["eval", ""], words: ["perplexity"] },
  { line: ["eval", "perplexity", "--kv", "q"], words: ["q8"] },
  { line: ["config", "print", "--config", "x", "ser"], words: ["serve"] },
  { line: ["serve", "--port", ""], words: [] },
  { line: ["chat", "-f", "a"], words: ["a file.txt"] },
  { line: ["convert", "a"], words: ["a file.txt"] },
];

function lacking(shell: string, packages = shell): boolean {
  const isLacking = Bun.which(shell) === null;
  if (isLacking) console.log(`skipping ${shell}: apt-get install ${packages}`);
  return isLacking;
}

describe.skipIf(lacking("bash"))("bash", () => {
  const complete = (lines: readonly string[][], path: string, environment = env) =>
    runShell(
      [
        "bash",
        "-c",
        `source "$0"
      for line; do
        mapfile -t COMP_WORDS <<< "wrinklefree
$line"
        COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
        _wrinklefree
        printf '%s\\t' "\${COMPREPLY[@]}"
        echo
      done`,
        path,
        ...lines.map((line) => line.join("\n")),
      ],
      environment,
    );

  test("completes commands, options, their words, and files", async () => {
    const lines = [...cases.map(({ line }) => line), ["serve", "--kv", "=", "f"], ["serve", "--kv", "="]];
    const printed = (await complete(lines, await script("bash"))).split("\n").slice(0, -1);
    const found = printed.map((line) =>
      line
        .split("\t")
        .filter((word) => word !== "")
        .sort(),
    );
    expect(found).toEqual([...cases.map(({ words }) => words), ["f16", "f32"], ["f16", "f32", "q8"]]);
  });

  test("completes the names of models in the store", async () => {
    const full = { ...env, WRINKLEFREE_STORE: join(scratch, "full") };
    const served = await runProgram(["chat", tinyDirectory, "-p", "x", "--max-tokens", "1"], { env: full });
    expect(served.code).toBe(0);
    expect((await runProgram(["list", "--names"], { env: full })).stdout).toBe("tiny\n");
    const lines = [["serve", "ti"], ["ti"], ["run", "--ctx", "64", "t"]];
    expect(await complete(lines, await script("bash"), full)).toBe("tiny\t\n".repeat(3));
    // As it has to be written, with nothing in it that bash would follow.
    const [packed] = readdirSync(join(full.WRINKLEFREE_STORE, "models")) as [string];
    const named = packed.replace("tiny", "tiny (2) $(touch owned)");
    renameSync(join(full.WRINKLEFREE_STORE, "models", packed), join(full.WRINKLEFREE_STORE, "models", named));
    const found = await complete(
      [
        ["serve", "ti"],
        ["serve", "tiny\\ \\("],
      ],
      await script("bash"),
      full,
    );
    expect(found).toBe("tiny\\ \\(2\\)\\ \\$\\(touch\\ owned\\)\t\n".repeat(2));
    expect(existsSync(join(scratch, "files", "owned"))).toBe(false);
  });
});

describe.skipIf(lacking("fish"))("fish", () => {
  test("completes commands, options, their words, and files", async () => {
    const path = await script("fish");
    const ask = `source $argv[1]
      for line in $argv[2..]
        echo (complete -C "$line" | string replace -r '\\t.*' '' | string join \\t)
      end`;
    const lines = cases.map(({ line }) => ["wrinklefree", ...line].join(" "));
    const printed = (await runShell(["fish", "--no-config", "-c", ask, path, ...lines])).split("\n").slice(0, -1);
    const found = printed.map((line) =>
      line
        .split("\t")
        .filter((word) => word !== "" && word !== "-h")
        .sort(),
    );
    const wanted = cases.map(({ line, words }) => {
      // Where a word may be a model as well, fish lists the files beside the others.
      return line.length === 1 ? [...words, "a file.txt"].sort() : words;
    });
    expect(found).toEqual(wanted);
  });
});

describe.skipIf(lacking("zsh"))("zsh", () => {
  test("completes commands, options, their words, and files", async () => {
    const path = await script("zsh");
    const terminal = new TestTerminal(["zsh", "-f", "-i"], {
      columns: 200,
      rows: 150,
      env: { ...env, TERM: "xterm-256color" },
      cwd: join(scratch, "files"),
    });
    try {
      const setup = [
        "PS1='> '; unsetopt beep list_types; autoload -Uz compinit; compinit -u -D",
        "zstyle ':completion:*' list-packed no; LISTMAX=1000; setopt no_auto_menu no_list_ambiguous",
        `source ${path}; echo re""ady`,
      ];
      terminal.type(`${setup.join("; ")}\r`);
      await terminal.until(() => terminal.rows.includes("ready"));
      for (const { line, words } of cases.filter(({ words }) => words.length > 1)) {
        terminal.type(`\u000c\u0015wrinklefree ${line.join(" ")}\t`);
        await terminal.until(() => {
          const listed = new Set(terminal.rows.slice(1).flatMap((row) => row.trim().split(/ {2,}|\s+--\s+|\s/)));
          return words.every((word) => listed.has(word) || listed.has(`${word}=`));
        });
      }
      terminal.type("\u000c\u0015wrinklefree eval perplexity --kv=q\t");
      await terminal.until(() => terminal.rows[0]?.includes("--kv=q8") === true);
      terminal.type("\u000c\u0015wrinklefree chat -f a\t");
      await terminal.until(() => terminal.rows[0]?.includes("a\\ file.txt") === true);
    } finally {
      await terminal.close();
    }
  });
});

describe("manual pages", () => {
  const pages = ["", ...commands.map(({ name }) => name)];
  const page = async (name: string) => {
    const { code, stdout } = await runProgram(["man", ...(name === "" ? [] : [name])], {
      env: { PATH: env.PATH, SOURCE_DATE_EPOCH: "86400" },
    });
    expect(code).toBe(0);
    const path = join(scratch, `${name}.1`);
    writeFileSync(path, stdout);
    return { path, text: stdout };
  };

  test("name every option, every variable and every command, with the day that packagers set", async () => {
    for (const { name, options } of commands) {
      const text = (await page(name)).text.replaceAll("\\-", "-");
      expect(text).toContain(` 1 1970-01-02 "wrinklefree `);
      for (const [option, one] of Object.entries<Option>(options)) {
        expect(text).toContain(`\\fB--${option}\\fR`);
        for (const variable of variablesOf(option, one)) expect(text).toContain(`\\fB${variable}\\fR`);
      }
    }
    const { text } = await page("");
    for (const { name } of commands) expect(text).toContain(`\\fBwrinklefree\\-${name}(1)\\fR`);
  });

  test.skipIf(lacking("mandoc"))("mandoc finds no fault in any", async () => {
    const paths = await Promise.all(pages.map(async (name) => (await page(name)).path));
    expect(await runShell(["mandoc", "-Tlint", "-Wstyle", ...paths])).toBe("");
  });

  test.skipIf(lacking("man", "man-db"))("man shows them", async () => {
    const { path } = await page("serve");
    const shown = await runShell(["man", "-l", "-P", "cat", path]);
    expect(shown).toContain("--api-key-file FILE");
    expect(shown).toContain("WRINKLEFREE_QUEUE_TOKENS");
  });

  test.each([
    [["man", "srve"], "there is no command 'srve' (did you mean 'serve'?)"],
    [["completions"], "completions takes a shell: bash, zsh or fish"],
    [["completions", "zhs"], "completions takes bash, zsh or fish, not 'zhs'"],
  ])("%p", async (args, message) => {
    const { code, stderr } = await runProgram(args);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});
