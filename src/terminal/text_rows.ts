/**
 * How a line of text lies on the screen: what a person takes for one character (a grapheme cluster) may be several code points, and
 * take no cell, one or two; a line that is too long goes on in the next row.
 */

import { harmless } from "./harmless.ts";

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Only characters that are one code unit, one cluster and one cell. */
const PLAIN = /^[ -~]*$/;

/** A tab in a text that is edited. */
const TAB = "    ";

/** A part of a line that takes one row of the screen. */
export interface TextRow {
  /** Where it begins and ends in the line, in UTF-16 code units. */
  start: number;
  end: number;
  /** What the screen shows. */
  shown: string;
  /** In cells. */
  width: number;
}

/** What the screen shows for one cluster. */
function shownCluster(cluster: string): string {
  return cluster === "\t" ? TAB : harmless(cluster);
}

/** Cells that a line takes. */
export function textWidth(line: string): number {
  if (PLAIN.test(line)) return line.length;
  let width = 0;
  for (const { segment } of segmenter.segment(line)) width += Bun.stringWidth(shownCluster(segment));
  return width;
}

/** The rows of a line, one at least. A cluster that is wider than the row has one to itself. */
export function wrapLine(line: string, width: number): TextRow[] {
  const rows: TextRow[] = [];
  if (PLAIN.test(line)) {
    for (let start = 0; start === 0 || start < line.length; start += width) {
      const shown = line.slice(start, start + width);
      rows.push({ start, end: start + shown.length, shown, width: shown.length });
    }
    return rows;
  }
  let row: TextRow = { start: 0, end: 0, shown: "", width: 0 };
  for (const { segment, index } of segmenter.segment(line)) {
    const shown = shownCluster(segment);
    const cells = Bun.stringWidth(shown);
    if (row.width + cells > width && row.end > row.start) {
      rows.push(row);
      row = { start: index, end: index, shown: "", width: 0 };
    }
    row.end = index + segment.length;
    row.shown += shown;
    row.width += cells;
  }
  rows.push(row);
  return rows;
}

/** The offset in a line of the cluster that lies in a column of a row, or of the last one in it. */
export function offsetAtColumn(line: string, row: TextRow, isLast: boolean, column: number): number {
  let width = 0;
  let offset = row.start;
  for (const { segment, index } of segmenter.segment(line.slice(row.start, row.end))) {
    width += Bun.stringWidth(shownCluster(segment));
    if (width > column) return row.start + index;
    offset = row.start + index;
  }
  // Behind the last cluster there is room for the cursor only at the end of the line.
  return isLast ? row.end : offset;
}

/** Where the cluster before an offset begins; 0 at the beginning. */
export function clusterBefore(line: string, offset: number): number {
  if (offset === 0) return 0;
  if (PLAIN.test(line)) return offset - 1;
  return segmenter.segment(line).containing(offset - 1)?.index ?? offset - 1;
}

/** Where the cluster at an offset ends; the length at the end. */
export function clusterAfter(line: string, offset: number): number {
  const found = segmenter.segment(line).containing(offset);
  return found === undefined ? line.length : found.index + found.segment.length;
}
