/** A table for people that is written row by row, while later rows are still being measured. */

import { results } from "../terminal/output.ts";

/** Columns are as wide as their headings and what is known of their cells; a cell that is wider pushes its row to the right. */
export class Table {
  readonly #headings: string[];
  readonly #widths: number[];
  #isOpen = false;

  /** @param cells rows whose cells are as wide as any that will come. */
  constructor(headings: string[], cells: string[][]) {
    this.#headings = headings;
    this.#widths = headings.map((heading, column) =>
      Math.max(heading.length, ...cells.map((row) => (row[column] ?? "").length)),
    );
  }

  /** Writes a row, below the headings. @throws OutputFailure. */
  write(cells: string[]): void {
    if (!this.#isOpen) results.write(`\n${this.#line(this.#headings)}`);
    this.#isOpen = true;
    results.write(this.#line(cells));
  }

  /** Something else was written: the next row begins the table anew. */
  close(): void {
    this.#isOpen = false;
  }

  /** Everything but the first column stands to the right. */
  #line(cells: string[]): string {
    const padded = cells.map((cell, column) => {
      const width = this.#widths[column] ?? 0;
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    return `${padded.join("  ")}\n`;
  }
}
