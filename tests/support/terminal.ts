/**
 * A terminal with the program in it: a real pseudo-terminal, and the screen that xterm.js makes of what comes out of it. So a test sees
 * what a person would see, and not the bytes that led there.
 */

import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { Terminal } from "@xterm/headless";

/** How long to wait for what must come: longer than any machine takes. */
const PATIENCE_MS = 60_000;

/** Flags of the local modes in termios: lines are edited by the system, and keys are shown by it. */
const CANONICAL = 0o2;
const ECHO = 0o10;

export interface TerminalOptions {
  columns?: number;
  rows?: number;
  /** The whole environment but PATH and TERM. */
  env?: Record<string, string>;
  cwd?: string;
}

/** A program in a terminal. */
export class TestTerminal {
  /** Everything that the program wrote, as it is. */
  raw = "";
  readonly #screen: Terminal;
  readonly #child: Bun.Subprocess;
  readonly #waiting = new Set<() => void>();

  constructor(command: string[], { columns = 80, rows = 24, env = {}, cwd = "/" }: TerminalOptions = {}) {
    this.#screen = new Terminal({ cols: columns, rows, scrollback: 100_000, allowProposedApi: true });
    this.#screen.loadAddon(new UnicodeGraphemesAddon());
    const decoder = new TextDecoder();
    this.#child = Bun.spawn(command, {
      cwd,
      env: { PATH: process.env.PATH ?? "/usr/bin:/bin", TERM: "xterm-256color", ...env },
      terminal: {
        cols: columns,
        rows,
        data: (_, bytes) => {
          this.raw += decoder.decode(bytes, { stream: true });
          this.#screen.write(bytes, () => {
            for (const look of [...this.#waiting]) look();
          });
        },
      },
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  get exited(): Promise<number> {
    return this.#child.exited;
  }

  /** The signal that ended it. */
  get signal(): Bun.Subprocess["signalCode"] {
    return this.#child.signalCode;
  }

  /** Sends keys, as a terminal would send them. */
  type(keys: string): void {
    this.#terminal.write(keys);
  }

  /** Pastes a text, as a terminal does that was asked to mark what is pasted. */
  paste(text: string): void {
    const isMarked = this.#screen.modes.bracketedPasteMode;
    const body = text.replaceAll("\n", "\r");
    this.type(isMarked ? `\u001b[200~${body}\u001b[201~` : body);
  }

  /** Gives the window another size, which terminals tell the program. */
  resize(columns: number, rows: number): void {
    this.#screen.resize(columns, rows);
    this.#terminal.resize(columns, rows);
  }

  /** Closes the window. */
  hangUp(): void {
    this.#terminal.close();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The rows of the screen, without the empty ones at its end. */
  get rows(): string[] {
    const { baseY } = this.#screen.buffer.active;
    return this.#lines(baseY, baseY + this.#screen.rows);
  }

  /** All rows, with those that have left the screen. */
  get allRows(): string[] {
    return this.#lines(0, this.#screen.buffer.active.length);
  }

  /** Where the cursor is, from 0. */
  get cursor(): { row: number; column: number } {
    const { cursorY, cursorX } = this.#screen.buffer.active;
    return { row: cursorY, column: cursorX };
  }

  /** The row of the cursor, before and behind it. */
  get cursorRow(): { before: string; behind: string } {
    const { baseY, cursorY, cursorX } = this.#screen.buffer.active;
    const line = this.#screen.buffer.active.getLine(baseY + cursorY);
    const part = (start: number, end: number) => line?.translateToString(false, start, end) ?? "";
    return { before: part(0, cursorX), behind: part(cursorX, this.#screen.cols).trimEnd() };
  }

  /** Whether lines are edited and shown by the system, as a shell wants it. */
  get hasLines(): boolean {
    const flags = this.#terminal.localFlags;
    return (flags & CANONICAL) !== 0 && (flags & ECHO) !== 0;
  }

  /** Whether the terminal is as a shell wants it, and what is pasted is not marked. */
  get isRestored(): boolean {
    return this.hasLines && !this.#screen.modes.bracketedPasteMode;
  }

  /** Waits until the screen is as it should be. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!condition()) return;
        done();
        resolve();
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`the screen did not become so: ${condition}\n${this.allRows.slice(-60).join("\n")}`));
      }, PATIENCE_MS);
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Ends the program, if it still runs. */
  async close(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#terminal.close();
    this.#screen.dispose();
  }

  get #terminal(): Bun.Terminal {
    return this.#child.terminal as Bun.Terminal;
  }

  #lines(start: number, end: number): string[] {
    const buffer = this.#screen.buffer.active;
    const lines: string[] = [];
    for (let index = start; index < end; index++)
      lines.push(buffer.getLine(index)?.translateToString(true).trimEnd() ?? "");
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }
}
