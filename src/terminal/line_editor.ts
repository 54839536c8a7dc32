/**
 * Lets a person write a message at the terminal: the keys of Emacs as shells have them, several lines, what was entered before, and
 * completion.
 */

import { EditBuffer } from "./edit_buffer.ts";
import { EditorView, plainRow, type View } from "./editor_view.ts";
import { harmless } from "./harmless.ts";
import type { InputHistory } from "./input_history.ts";
import type { Key } from "./keys.ts";
import { notes } from "./output.ts";
import { plural } from "./plural.ts";
import { bold, dim } from "./style.ts";
import type { TerminalInput } from "./terminal_input.ts";
import { textWidth, wrapLine } from "./text_rows.ts";

/** What may stand in place of the end of a text. */
export interface Completion {
  /** Where that end begins. */
  start: number;
  candidates: string[];
}

/** What an editor is for. */
export interface EditorOptions {
  history: InputHistory;
  /** Completes the text before the cursor. */
  complete(before: string): Completion;
  /** What the enter key does to a text: it goes on with this one, or is done when there is none. */
  continuation(text: string): string | undefined;
}

/** What came of it. */
export type Entered = { kind: "text"; text: string } | { kind: "interrupt" } | { kind: "end" };

const PROMPT = "> ";
const INDENT = " ".repeat(PROMPT.length);

/** Most lines, and characters of one, of a message that stay on the screen when it is sent. */
const ECHO_LINES = 20;
const ECHO_CHARACTERS = 2000;

/** Keys that go up and down. */
const ROW_MOVES: Readonly<Record<string, -1 | 1>> = { up: -1, "ctrl-p": -1, down: 1, "ctrl-n": 1 };

/** What other keys do to the text. */
const EDITS: Readonly<Record<string, (buffer: EditBuffer) => void>> = {
  "alt-enter": (buffer) => buffer.insert("\n"),
  "shift-enter": (buffer) => buffer.insert("\n"),
  left: (buffer) => buffer.left(),
  "ctrl-b": (buffer) => buffer.left(),
  right: (buffer) => buffer.right(),
  "ctrl-f": (buffer) => buffer.right(),
  "alt-b": (buffer) => buffer.wordLeft(),
  "alt-left": (buffer) => buffer.wordLeft(),
  "ctrl-left": (buffer) => buffer.wordLeft(),
  "alt-f": (buffer) => buffer.wordRight(),
  "alt-right": (buffer) => buffer.wordRight(),
  "ctrl-right": (buffer) => buffer.wordRight(),
  home: (buffer) => buffer.lineStart(),
  "ctrl-a": (buffer) => buffer.lineStart(),
  end: (buffer) => buffer.lineEnd(),
  "ctrl-e": (buffer) => buffer.lineEnd(),
  "ctrl-home": (buffer) => buffer.textStart(),
  "alt-<": (buffer) => buffer.textStart(),
  "ctrl-end": (buffer) => buffer.textEnd(),
  "alt->": (buffer) => buffer.textEnd(),
  backspace: (buffer) => buffer.deleteBefore(),
  delete: (buffer) => buffer.deleteAfter(),
  "ctrl-k": (buffer) => buffer.kill(buffer.toLineEnd),
  "ctrl-u": (buffer) => buffer.kill(buffer.toLineStart),
  "ctrl-w": (buffer) => buffer.kill(buffer.toSpaceBefore),
  "alt-backspace": (buffer) => buffer.kill(() => buffer.wordLeft()),
  "alt-d": (buffer) => buffer.kill(() => buffer.wordRight()),
  "ctrl-y": (buffer) => buffer.yank(),
};

/** A search in the history. */
interface Search {
  text: string;
  /** What was found; without a place, nothing. */
  place: number | undefined;
  entry: string;
}

/** Reads messages. */
export class LineEditor {
  readonly #input: TerminalInput;
  readonly #options: EditorOptions;
  readonly #view = new EditorView();
  #buffer = new EditBuffer();
  /** The first row that is shown of a text that is higher than the screen. */
  #top = { line: 0, row: 0 };
  #search: Search | undefined;

  constructor(input: TerminalInput, options: EditorOptions) {
    this.#input = input;
    this.#options = options;
  }

  /** Reads one message. Ctrl-C takes back what is written; without any it is an interrupt. */
  read(): Promise<Entered> {
    this.#buffer = new EditBuffer();
    this.#top = { line: 0, row: 0 };
    this.#options.history.rewind();
    return new Promise((resolve) => {
      const finish = (entered: Entered) => {
        this.#input.listen(undefined);
        this.#view.end(entered.kind === "text" ? echo(entered.text) : `${bold(PROMPT)}\n`);
        resolve(entered);
      };
      this.#draw();
      this.#input.listen({
        onKey: (key) => {
          const entered = this.#search === undefined ? this.#take(key) : this.#takeInSearch(key);
          if (entered === undefined) this.#draw();
          else finish(entered);
        },
        onChange: (hasOtherSize) => {
          if (!hasOtherSize) this.#view.forget();
          this.#draw();
        },
        onSuspend: () => this.#view.leave(),
        onEnd: () => finish({ kind: "end" }),
      });
    });
  }

  #take(key: Key): Entered | undefined {
    if (key.kind !== "press") {
      this.#buffer.insert(key.text);
      return undefined;
    }
    switch (key.name) {
      case "enter":
        return this.#enter();
      case "ctrl-c":
        if (this.#buffer.isEmpty) return { kind: "interrupt" };
        this.#buffer.replace("");
        this.#options.history.rewind();
        return undefined;
      case "ctrl-d":
        if (this.#buffer.isEmpty) return { kind: "end" };
        this.#buffer.deleteAfter();
        return undefined;
      case "tab":
        this.#complete();
        return undefined;
      case "ctrl-l":
        notes.write("\u001b[H\u001b[2J");
        this.#view.forget();
        return undefined;
      case "ctrl-r":
        this.#search = { text: "", place: undefined, entry: "" };
        return undefined;
      default:
        this.#edit(key.name);
        return undefined;
    }
  }

  #edit(name: string): void {
    const by = ROW_MOVES[name];
    if (by === undefined) EDITS[name]?.(this.#buffer);
    else if (!this.#buffer.moveRows(by, textColumns())) this.#goThroughHistory(by);
  }

  #enter(): Entered | undefined {
    const { text } = this.#buffer;
    const longer = this.#options.continuation(text);
    if (longer === undefined) {
      if (text.trim() !== "") this.#options.history.add(text);
      return { kind: "text", text };
    }
    this.#buffer.replace(longer);
    return undefined;
  }

  #goThroughHistory(by: -1 | 1): void {
    const entry = this.#options.history.go(by, this.#buffer.text);
    if (entry !== undefined) this.#buffer.replace(entry);
  }

  /** Writes what all candidates begin with, or shows them when that is written already. */
  #complete(): void {
    if (!this.#buffer.isInFirstLine) return;
    const { before } = this.#buffer;
    const { start, candidates } = this.#options.complete(before);
    const common = commonStart(candidates);
    const written = before.slice(start);
    if (common.length > written.length && common.startsWith(written)) this.#buffer.insert(common.slice(written.length));
    else if (candidates.length > 1) this.#view.end(`${harmless(candidates.map((one) => one.trim()).join("  "))}\n`);
  }

  /** A key while the history is searched: any that is no part of the search takes what was found and acts on it. */
  #takeInSearch(key: Key): Entered | undefined {
    const search = this.#search as Search;
    if (key.kind !== "press") return this.#searchFor(search.text + key.text, undefined);
    switch (key.name) {
      case "ctrl-r":
        return this.#searchFor(search.text, search.place);
      case "backspace":
        return this.#searchFor(Array.from(search.text).slice(0, -1).join(""), undefined);
      case "ctrl-c":
      case "ctrl-g":
        this.#search = undefined;
        return undefined;
    }
    this.#search = undefined;
    if (search.place !== undefined) this.#buffer.replace(search.entry);
    return key.name === "escape" ? undefined : this.#take(key);
  }

  #searchFor(text: string, end: number | undefined): undefined {
    const found = text === "" ? undefined : this.#options.history.find(text, end);
    if (found !== undefined) this.#search = { text, ...found };
    // Looking further back, the last one that was found stays.
    else if (end === undefined) this.#search = { text, place: undefined, entry: "" };
  }

  #draw(): void {
    this.#view.draw(this.#search === undefined ? this.#viewOfText() : viewOfSearch(this.#search));
  }

  /** As many rows as the screen has room for, the cursor's among them. */
  #viewOfText(): View {
    const { lines, line, column } = this.#buffer;
    const width = textColumns();
    const rowsOfLine = wrapLine(lines[line] as string, width);
    const row = rowsOfLine.findLastIndex(({ start }) => start <= column);
    this.#scroll({ line, row }, width);
    const rows: View["rows"] = [];
    let cursor = 0;
    for (let index = this.#top.line; index < lines.length && rows.length < textHeight(); index++) {
      for (const [number, part] of wrapLine(lines[index] as string, width).entries()) {
        if (index === this.#top.line && number < this.#top.row) continue;
        if (index === line && number === row) cursor = rows.length;
        const indent = index === 0 && number === 0 ? bold(PROMPT) : INDENT;
        rows.push({ text: indent + part.shown, width: INDENT.length + part.width });
        if (rows.length === textHeight()) break;
      }
    }
    const before = (lines[line] as string).slice(rowsOfLine[row]?.start, column);
    return { rows, row: cursor, column: INDENT.length + textWidth(before) };
  }

  /** Moves the first row that is shown so that the cursor's is among those that follow. */
  #scroll(cursor: { line: number; row: number }, width: number): void {
    const { lines } = this.#buffer;
    // The first row with which the cursor's is still within the screen.
    let { line, row } = cursor;
    for (let left = textHeight() - 1; left > 0; left--) {
      if (row > 0) {
        row--;
      } else {
        if (line === 0) break;
        line--;
        row = wrapLine(lines[line] as string, width).length - 1;
      }
    }
    const top = this.#top;
    if (isBefore(top, { line, row }) || top.line >= lines.length) this.#top = { line, row };
    else if (isBefore(cursor, top)) this.#top = { ...cursor };
  }
}

function isBefore(one: { line: number; row: number }, other: { line: number; row: number }): boolean {
  return one.line < other.line || (one.line === other.line && one.row < other.row);
}

/** Cells for text in a row; the last one is for the cursor. */
function textColumns(): number {
  return Math.max(1, notes.columns - PROMPT.length - 1);
}

/** Rows for text: one of the screen's is left for what stands above. */
function textHeight(): number {
  return Math.max(1, notes.rows - 1);
}

function viewOfSearch({ text, place, entry }: Search): View {
  const label = `(search${text !== "" && place === undefined ? ": nothing found" : ""}) `;
  const whole = `${label}${text}: ${entry.split("\n")[0]}`;
  const [row] = wrapLine(whole, Math.max(1, notes.columns - 1));
  return { rows: [plainRow(row?.shown ?? "")], row: 0, column: textWidth(label + text) % notes.columns };
}

/** What stays on the screen of a message that was sent. The terminal breaks its lines, so that they are whole when they are copied. */
function echo(text: string): string {
  const lines = text.split("\n");
  const shown = lines.slice(0, ECHO_LINES).map((line) => {
    const rest = line.length - ECHO_CHARACTERS;
    const cut = harmless(rest > 0 ? line.slice(0, ECHO_CHARACTERS) : line).replaceAll("\t", "    ");
    return cut + (rest > 0 ? dim(`… and ${plural(rest, "more character", rest.toLocaleString("en"))}`) : "");
  });
  const more = lines.length - shown.length;
  if (more > 0) shown.push(dim(`… and ${plural(more, "more line", more.toLocaleString("en"))}`));
  return `${bold(PROMPT)}${shown.join(`\n${INDENT}`)}\n`;
}

function commonStart(words: readonly string[]): string {
  const [first = "", ...others] = words;
  let length = first.length;
  for (const word of others) while (!word.startsWith(first.slice(0, length))) length--;
  return first.slice(0, length);
}
