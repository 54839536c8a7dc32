/**
 * What an editor shows on the terminal: some rows and a cursor. Each drawing goes over the one before. Rows end where this says, not
 * where the terminal would break them, so it is known how many there are.
 */

import { notes } from "./output.ts";
import { textWidth } from "./text_rows.ts";

/** Rows on the screen. Escape sequences in them take no cell. */
export interface View {
  rows: { text: string; width: number }[];
  /** The cursor's row among them, and its column. */
  row: number;
  column: number;
}

const ERASE_ROW = "\u001b[K";
const ERASE_BELOW = "\u001b[J";
/** The terminal shows nothing of what comes between these until it is complete, if it knows them. */
const HOLD = "\u001b[?2026h";
const SHOW = "\u001b[?2026l";

/** The rows that are on the screen now. */
export class EditorView {
  #drawn: View | undefined;

  /** Shows rows in place of those that are shown; the first begins where the cursor is if there are none. */
  draw(view: View): void {
    const rows = view.rows.map(({ text }) => text + ERASE_ROW);
    const up = view.rows.length - 1 - view.row;
    notes.write(
      `${HOLD}${this.#toStart()}${rows.join("\r\n")}${ERASE_BELOW}${moved("A", up)}\r${moved("C", view.column)}${SHOW}`,
    );
    this.#drawn = view;
  }

  /** Takes the rows off the screen and writes a text in their place, which stays. */
  end(text: string): void {
    notes.write(`${HOLD}${this.#toStart()}${ERASE_BELOW}${text}${SHOW}`);
    this.#drawn = undefined;
  }

  /** Leaves what is shown where it is and goes below it. */
  leave(): void {
    if (this.#drawn === undefined) return;
    notes.write(`${"\n".repeat(this.#drawn.rows.length - this.#drawn.row)}\r`);
    this.#drawn = undefined;
  }

  /** Others wrote to the screen: what was shown is theirs now. */
  forget(): void {
    this.#drawn = undefined;
  }

  /**
   * To the start of the first row. If the terminal is narrower than it was, it has broken the longer rows above the cursor anew, as
   * most do; the cursor's own some do not.
   */
  #toStart(): string {
    if (this.#drawn === undefined) return "\r";
    const { columns } = notes;
    const above = this.#drawn.rows.slice(0, this.#drawn.row);
    const up = above.reduce((sum, { width }) => sum + Math.max(1, Math.ceil(width / columns)), 0);
    return `\r${moved("A", up)}`;
  }
}

/** A row of plain text. */
export function plainRow(text: string): View["rows"][number] {
  return { text, width: textWidth(text) };
}

function moved(direction: "A" | "C", by: number): string {
  return by > 0 ? `\u001b[${by}${direction}` : "";
}
