/**
 * How a line of text lies on the screen: what a person takes for one character (a grapheme cluster) may be several code points, and
 * take no cell, one or two; a line that is too long goes on in the next row.
 */

import { harmless } from "./harmless.ts";

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Only characters that are one code unit, one cluster and one cell. */
const PLAIN = /^[ -~]*$/;

/**
 * Code units between which clusters are looked for at once, and how far from the end of them one is certain. A line of a megabyte would
 * otherwise be read anew for each step of the cursor.
 */
const WINDOW = 1024;
const MARGIN = 64;

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
  for (const { start, end } of clustersOf(line)) width += Bun.stringWidth(shownCluster(line.slice(start, end)));
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
  for (const { start, end } of clustersOf(line)) {
    const shown = shownCluster(line.slice(start, end));
    const cells = Bun.stringWidth(shown);
    if (row.width + cells > width && row.end > row.start) {
      rows.push(row);
      row = { start, end: start, shown: "", width: 0 };
    }
    row.end = end;
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
  if (offset === 1 || (isAlone(line, offset - 1) && isAlone(line, offset - 2))) return offset - 1;
  const start = Math.max(0, offset - MARGIN);
  return start + (segmenter.segment(line.slice(start, offset)).containing(offset - start - 1)?.index ?? 0);
}

/** Where the cluster at an offset ends; the length at the end. */
export function clusterAfter(line: string, offset: number): number {
  for (const { end } of clustersOf(line, offset)) return end;
  return line.length;
}

/** The clusters of a line from an offset on, at which one begins. */
function* clustersOf(line: string, from = 0): Generator<{ start: number; end: number }, void> {
  let offset = from;
  while (offset < line.length) {
    if (isAlone(line, offset) && (offset + 1 === line.length || isAlone(line, offset + 1))) {
      yield { start: offset, end: ++offset };
      continue;
    }
    const start = offset;
    const end = Math.min(line.length, start + WINDOW);
    for (const { segment, index } of segmenter.segment(line.slice(start, end))) {
      offset = start + index + segment.length;
      yield { start: start + index, end: offset };
      if (end < line.length && offset > end - MARGIN) break;
    }
  }
}

/** Whether a code unit is a cluster by itself beside another such one: Latin letters, the usual Chinese and Japanese characters, Hangul. */
function isAlone(line: string, offset: number): boolean {
  const code = line.charCodeAt(offset);
  return (
    code < 0x300 ||
    (code >= 0x3041 && code <= 0x3096) ||
    (code >= 0x30a1 && code <= 0x30fa) ||
    isIdeographOrHangul(code)
  );
}

function isIdeographOrHangul(code: number): boolean {
  return (code >= 0x3400 && code <= 0x4dbf) || (code >= 0x4e00 && code <= 0x9fff) || (code >= 0xac00 && code <= 0xd7a3);
}
