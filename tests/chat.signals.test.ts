/**
 * How a chat leaves the terminal: lines edited and shown by the system again, and pasted text not marked, whether it ends by itself, by
 * a signal or a crash, or is only stopped by the shell for a while.
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { PARIS, QUESTION } from "./support/chat.ts";
import { executable } from "./support/server.ts";
import type { TestTerminal } from "./support/terminal.ts";
import { chat, closeTerminals, ctrl, ENTER, input, leaves, says, start, types } from "./support/terminal_chat.ts";

setDefaultTimeout(120_000);

afterEach(closeTerminals);

/** The slow tier, so that answers take a while. */
const SLOW = { WRINKLEFREE_CPU: "scalar" };

/** Has it answer something long. */
async function answering(terminal: TestTerminal): Promise<void> {
  terminal.type(`Count from 3 to 12.${ENTER}`);
  await terminal.until(() => terminal.rows.join("").includes("9, 10, 11"));
}

describe("the terminal is given back", () => {
  test.each(["SIGTERM", "SIGHUP"] as const)("after %s, of which the process dies", async (signal) => {
    const terminal = await chat();
    await types(terminal, "abc", "abc▏");
    expect(terminal.isRestored).toBe(false);
    terminal.kill(signal);
    await terminal.exited;
    expect(terminal.signal).toBe(signal);
    await terminal.until(() => terminal.isRestored);
  });

  test("after SIGTERM in the middle of an answer", async () => {
    const terminal = await chat([], { env: SLOW });
    await answering(terminal);
    terminal.kill("SIGTERM");
    await terminal.exited;
    expect(terminal.signal).toBe("SIGTERM");
    await terminal.until(() => terminal.isRestored);
  });

  test("after a crash", async () => {
    const terminal = await chat();
    terminal.kill("SIGSEGV");
    await terminal.exited;
    await terminal.until(() => terminal.hasLines);
  });

  test("and a chat whose window is closed ends", async () => {
    const terminal = await chat();
    terminal.hangUp();
    await terminal.exited;
  });
});

test("SIGINT is Ctrl-C", async () => {
  const terminal = await chat([], { env: SLOW });
  await types(terminal, "abc", "abc▏");
  terminal.kill("SIGINT");
  await terminal.until(() => input(terminal) === "▏");
  await answering(terminal);
  terminal.kill("SIGINT");
  await terminal.until(() => terminal.rows.at(-2) === "(stopped)" && terminal.rows.at(-1) === ">");
  await leaves(terminal);
});

describe("a shell's job", () => {
  /** A shell with job control, and a chat in it. */
  async function chatInShell(): Promise<TestTerminal> {
    const env = { PS1: "shell$ ", ...SLOW };
    const terminal = start(["bash", "--norc", "--noediting", "-i"], { env });
    await terminal.until(() => terminal.rows.at(-1) === "shell$");
    terminal.type(`${executable} chat${ENTER}`);
    await terminal.until(() => terminal.rows.at(-1) === ">");
    return terminal;
  }

  const isStopped = (terminal: TestTerminal) => () =>
    terminal.rows.join("").includes("Stopped") && terminal.rows.at(-1) === "shell$" && terminal.isRestored;

  test("is stopped by Ctrl-Z while one writes, and goes on with what was written", async () => {
    const terminal = await chatInShell();
    await types(terminal, "What is the capital", "What is the capital▏");
    terminal.type(ctrl("z"));
    await terminal.until(isStopped(terminal));
    terminal.type(`echo shown; fg${ENTER}`);
    await terminal.until(() => terminal.rows.includes("shown") && input(terminal) === "What is the capital▏");
    expect(terminal.isRestored).toBe(false);
    await says(terminal, " of France?", PARIS);
    terminal.type(ctrl("d"));
    await terminal.until(() => terminal.rows.at(-1) === "shell$" && terminal.isRestored);
  });

  test("is stopped by Ctrl-Z in the middle of an answer, and goes on with it", async () => {
    const terminal = await chatInShell();
    await answering(terminal);
    terminal.type(ctrl("z"));
    await terminal.until(isStopped(terminal));
    terminal.type(`fg${ENTER}`);
    await terminal.until(() => terminal.rows.join("").includes("24, 25, 26"));
    terminal.type(ctrl("c"));
    await terminal.until(() => terminal.rows.at(-2) === "(stopped)" && terminal.rows.at(-1) === ">");
    terminal.type(ctrl("z"));
    await terminal.until(() => terminal.rows.at(-1) === "shell$" && terminal.isRestored);
    terminal.type(`fg${ENTER}`);
    await terminal.until(() => terminal.rows.at(-1) === ">");
    await says(terminal, "/clear", "(forgotten)");
    await says(terminal, QUESTION, PARIS);
  });

  test("that no shell looks after can't be stopped, and goes on", async () => {
    const terminal = await chat();
    await types(terminal, "abc", "abc▏");
    await types(terminal, `${ctrl("z")}d`, "abcd▏");
    terminal.kill("SIGTSTP");
    await types(terminal, "e", "abcde▏");
  });

  test("that was stopped and continued by others takes the terminal again", async () => {
    const terminal = await chat();
    await types(terminal, "abc", "abc▏");
    terminal.kill("SIGSTOP");
    terminal.kill("SIGCONT");
    await types(terminal, "d", "abcd▏");
    await terminal.until(() => !terminal.hasLines);
    await leaves(terminal, ctrl("c") + ctrl("d"));
  });
});
