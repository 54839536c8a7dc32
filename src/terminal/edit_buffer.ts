/** Text that is being edited, and the cursor in it. It moves by what people take for characters. */

import { clusterAfter, clusterBefore, offsetAtColumn, type TextRow, textWidth, wrapLine } from "./text_rows.ts";

const WORD = /[\p{L}\p{N}\p{M}_]/u;
const SPACE = /\s/;

/** A message of some lines, with a cursor. */
export class EditBuffer {
  #lines: string[] = [""];
  #line = 0;
  #column = 0;
  /** The column that moves up and down keep to, in cells. */
  #wanted: number | undefined;
  #killed = "";
  #isKilling = false;

  get text(): string {
    return this.#lines.join("\n");
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  /** The line of the cursor. */
  get line(): number {
    return this.#line;
  }

  /** The cursor's place in its line, in UTF-16 code units. */
  get column(): number {
    return this.#column;
  }

  get isEmpty(): boolean {
    return this.#lines.length === 1 && this.#lines[0] === "";
  }

  /** The text of the cursor's line before it. */
  get before(): string {
    return this.#current.slice(0, this.#column);
  }

  get isInFirstLine(): boolean {
    return this.#line === 0;
  }

  /** Puts another text in place of all of it, the cursor at its end. */
  replace(text: string): void {
    this.#lines = text.split("\n");
    this.#line = this.#lines.length - 1;
    this.#column = this.#current.length;
    this.#moved();
  }

  insert(text: string): void {
    const [first = "", ...others] = text.split("\n");
    const after = this.#current.slice(this.#column);
    const changed = [this.before + first, ...others];
    const last = changed.length - 1;
    this.#column = (changed[last] as string).length;
    changed[last] += after;
    // One call with so many arguments would outgrow the stack.
    this.#lines = [...this.#lines.slice(0, this.#line), ...changed, ...this.#lines.slice(this.#line + 1)];
    this.#line += last;
    this.#moved();
  }

  left(): void {
    if (this.#column > 0) this.#column = clusterBefore(this.#current, this.#column);
    else if (this.#line > 0) this.#column = (this.#lines[--this.#line] as string).length;
    this.#moved();
  }

  right(): void {
    if (this.#column < this.#current.length) {
      this.#column = clusterAfter(this.#current, this.#column);
    } else if (this.#line < this.#lines.length - 1) {
      this.#line++;
      this.#column = 0;
    }
    this.#moved();
  }

  wordLeft(): void {
    this.#skipLeft((character) => !WORD.test(character));
    this.#skipLeft((character) => WORD.test(character));
    this.#moved();
  }

  wordRight(): void {
    this.#skipRight((character) => !WORD.test(character));
    this.#skipRight((character) => WORD.test(character));
    this.#moved();
  }

  lineStart(): void {
    this.#column = 0;
    this.#moved();
  }

  lineEnd(): void {
    this.#column = this.#current.length;
    this.#moved();
  }

  textStart(): void {
    this.#line = 0;
    this.lineStart();
  }

  textEnd(): void {
    this.#line = this.#lines.length - 1;
    this.lineEnd();
  }

  /**
   * Moves a row up or down on a screen whose rows have `width` cells.
   *
   * @returns whether there was one.
   */
  moveRows(by: -1 | 1, width: number): boolean {
    const rows = wrapLine(this.#current, width);
    const place = rows.findLastIndex(({ start }) => start <= this.#column);
    const here = rows[place] as TextRow;
    const wanted = this.#wanted ?? textWidth(this.#current.slice(here.start, this.#column));
    if (rows[place + by] === undefined) {
      if (this.#lines[this.#line + by] === undefined) return false;
      this.#line += by;
      const others = wrapLine(this.#current, width);
      this.#goTo(others, by < 0 ? others.length - 1 : 0, wanted);
    } else {
      this.#goTo(rows, place + by, wanted);
    }
    this.#moved();
    this.#wanted = wanted;
    return true;
  }

  deleteBefore(): void {
    this.#remove(() => this.left(), false);
  }

  deleteAfter(): void {
    this.#remove(() => this.right(), false);
  }

  /** Takes the text up to where `move` goes; `yank` brings it back. What is taken in a row is brought back as one. */
  kill(move: () => void): void {
    this.#remove(move, true);
  }

  /** Goes to the end of the line, or from there to the next one. */
  readonly toLineEnd = (): void => {
    if (this.#column < this.#current.length) this.lineEnd();
    else this.right();
  };

  /** Goes to the start of the line, or from there to the one before. */
  readonly toLineStart = (): void => {
    if (this.#column > 0) this.lineStart();
    else this.left();
  };

  /** Goes back over white space and what stands before it up to the next. */
  readonly toSpaceBefore = (): void => {
    this.#skipLeft((character) => SPACE.test(character));
    this.#skipLeft((character) => !SPACE.test(character));
  };

  yank(): void {
    this.insert(this.#killed);
  }

  get #current(): string {
    return this.#lines[this.#line] as string;
  }

  #moved(): void {
    this.#wanted = undefined;
    this.#isKilling = false;
  }

  #goTo(rows: TextRow[], index: number, column: number): void {
    const row = rows[index] as TextRow;
    this.#column = offsetAtColumn(this.#current, row, index === rows.length - 1, column);
  }

  #remove(move: () => void, isKept: boolean): void {
    const wasKilling = this.#isKilling;
    const start = { line: this.#line, column: this.#column };
    move();
    const end = { line: this.#line, column: this.#column };
    const isBackward = end.line < start.line || (end.line === start.line && end.column < start.column);
    const [from, to] = isBackward ? [end, start] : [start, end];
    const between = this.#lines.slice(from.line, to.line + 1);
    const [first, last] = [between[0] as string, between.at(-1) as string];
    const removed =
      between.length === 1
        ? first.slice(from.column, to.column)
        : [first.slice(from.column), ...between.slice(1, -1), last.slice(0, to.column)].join("\n");
    this.#lines.splice(from.line, between.length, first.slice(0, from.column) + last.slice(to.column));
    this.#line = from.line;
    this.#column = from.column;
    this.#moved();
    if (!isKept) return;
    if (!wasKilling) this.#killed = removed;
    else this.#killed = isBackward ? removed + this.#killed : this.#killed + removed;
    this.#isKilling = true;
  }

  #skipLeft(isSkipped: (character: string) => boolean): void {
    for (;;) {
      if (this.#column === 0) {
        if (this.#line === 0 || !isSkipped("\n")) return;
        this.#line--;
        this.#column = this.#current.length;
      } else {
        const start = clusterBefore(this.#current, this.#column);
        if (!isSkipped(this.#current.slice(start, this.#column))) return;
        this.#column = start;
      }
    }
  }

  #skipRight(isSkipped: (character: string) => boolean): void {
    for (;;) {
      if (this.#column === this.#current.length) {
        if (this.#line === this.#lines.length - 1 || !isSkipped("\n")) return;
        this.#line++;
        this.#column = 0;
      } else {
        const end = clusterAfter(this.#current, this.#column);
        if (!isSkipped(this.#current.slice(this.#column, end))) return;
        this.#column = end;
      }
    }
  }
}
