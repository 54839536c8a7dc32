/** The program in a terminal, for the tests of the chat: starts it, types, and looks at the screen. */

import { expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { executable } from "./server.ts";
import { type TerminalOptions, TestTerminal } from "./terminal.ts";

/** Keys as xterm sends them. */
export const ctrl = (letter: string) => String.fromCharCode(letter.toUpperCase().charCodeAt(0) - 0x40);
export const alt = (key: string) => `\u001b${key}`;
export const UP = "\u001b[A";
export const DOWN = "\u001b[B";
export const RIGHT = "\u001b[C";
export const LEFT = "\u001b[D";
export const HOME = "\u001b[H";
export const END = "\u001b[F";
export const DELETE = "\u001b[3~";
export const BACKSPACE = "\u007f";
export const ENTER = "\r";
export const TAB = "\t";

const open = new Set<TestTerminal>();
const directories = new Set<string>();

/** A directory of its own, until closeTerminals. */
export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "wrinklefree-terminal-"));
  directories.add(directory);
  return directory;
}

/** Starts a program in a terminal, with a history and a store of its own unless they are given. */
export function start(command: string[], options: TerminalOptions = {}): TestTerminal {
  const directory = newDirectory();
  const env = { XDG_STATE_HOME: directory, WRINKLEFREE_STORE: join(directory, "store"), ...options.env };
  const terminal = new TestTerminal(command, { cwd: directory, ...options, env });
  open.add(terminal);
  return terminal;
}

/** Starts a chat and waits until it asks. */
export async function chat(args: string[] = [], options: TerminalOptions = {}): Promise<TestTerminal> {
  const terminal = start([executable, "chat", ...args], options);
  await terminal.until(() => terminal.rows.at(-1) === ">");
  return terminal;
}

/** Ends all programs. For afterEach. */
export async function closeTerminals(): Promise<void> {
  for (const terminal of open) await terminal.close();
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  open.clear();
  directories.clear();
}

/** What stands behind the prompt in the row of the cursor, with the cursor as ▏. */
export function input(terminal: TestTerminal): string {
  const { before, behind } = terminal.cursorRow;
  return `${before.slice(2)}▏${behind}`;
}

/** Types, and waits until the row of the cursor is so. */
export async function types(terminal: TestTerminal, keys: string, wanted: string): Promise<void> {
  terminal.type(keys);
  await terminal.until(() => input(terminal) === wanted).catch(() => expect(input(terminal)).toBe(wanted));
}

/** Types, sends, and waits until an answer, or its last row, stands above an empty prompt. */
export async function says(terminal: TestTerminal, keys: string, answer: string): Promise<void> {
  terminal.type(keys + ENTER);
  await terminal.until(() => terminal.rows.at(-2) === answer && terminal.rows.at(-1) === ">");
}

/** Leaves, and waits until the terminal is as it was. */
export async function leaves(terminal: TestTerminal, keys = ctrl("d")): Promise<void> {
  terminal.type(keys);
  expect(await terminal.exited).toBe(0);
  await terminal.until(() => terminal.isRestored);
}
