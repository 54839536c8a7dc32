/**
 * Sets of Unicode code points, and how a grammar reads one of a set: in UTF-8, and inside of a JSON string.
 */

import type { GrammarBuilder, Node, Part } from "./grammar_builder.ts";

/** Code points from `low` to `high`. */
export interface Range {
  low: number;
  high: number;
}

/** A set: ranges in order, none touching another. */
export type CodePoints = readonly Range[];

const LAST = 0x10ffff;

/** Everything that is a character: surrogates aren't. */
export const ALL: CodePoints = [
  { low: 0, high: 0xd7ff },
  { low: 0xe000, high: LAST },
];

/** The set of all that is in one of the ranges. */
export function union(ranges: readonly Range[]): CodePoints {
  const joined: Range[] = [];
  for (const { low, high } of [...ranges].sort((a, b) => a.low - b.low)) {
    const last = joined.at(-1);
    if (last !== undefined && low <= last.high + 1) last.high = Math.max(last.high, high);
    else joined.push({ low, high });
  }
  return joined;
}

/** What is in the first set and not in the second. */
export function difference(from: CodePoints, without: CodePoints): CodePoints {
  const left: Range[] = [];
  for (const range of from) {
    let low = range.low;
    for (const hole of without) {
      if (hole.high < low || hole.low > range.high) continue;
      if (hole.low > low) left.push({ low, high: hole.low - 1 });
      low = hole.high + 1;
    }
    if (low <= range.high) left.push({ low, high: range.high });
  }
  return left;
}

/** What is in both sets. */
export function intersection(a: CodePoints, b: CodePoints): CodePoints {
  return difference(a, difference([{ low: 0, high: LAST }], b));
}

/** The set of these characters. */
export function characters(text: string): CodePoints {
  return union(Array.from(text, (character) => single(character.codePointAt(0) as number)));
}

/** The set of one. */
export function single(codePoint: number): Range {
  return { low: codePoint, high: codePoint };
}

/** Most sets of \p that are remembered. */
const PROPERTIES_MAX = 32;

/** Sets of \p that were looked for last. */
const properties = new Map<string, CodePoints>();

/**
 * The set of what `\p{…}` or `\P{…}` stands for.
 *
 * @param name with its letter and braces, as JavaScript knows it.
 * @param onSearch called before all characters are looked through, which takes some 15 ms.
 */
export function unicodeProperty(name: string, onSearch: () => void): CodePoints {
  let set = properties.get(name);
  if (set === undefined) {
    onSearch();
    set = [...allCharacters().matchAll(new RegExp(`[\\${name}]+`, "gu"))].flatMap(([run]) => {
      // Runs have no gaps but that of the surrogates.
      const low = run.codePointAt(0) as number;
      const high = run.codePointAt(run.length - 2) as number;
      const last = run.codePointAt(run.length - 1) as number;
      return [...intersection(ALL, [{ low, high: high > 0xffff ? high : last }])];
    });
    if (properties.size >= PROPERTIES_MAX) properties.delete(properties.keys().next().value as string);
    properties.set(name, set);
  }
  return set;
}

/** A text of all characters in their order. */
function allCharacters(): string {
  const text = new Uint16Array(0xf800 + 2 * 0x100000);
  let at = 0;
  for (let codePoint = 0; codePoint <= LAST; codePoint++) {
    if (codePoint === 0xd800) codePoint = 0xe000;
    if (codePoint > 0xffff) {
      text[at++] = 0xd800 + ((codePoint - 0x10000) >> 10);
      text[at++] = 0xdc00 + (codePoint & 0x3ff);
    } else text[at++] = codePoint;
  }
  return new TextDecoder("utf-16le", { ignoreBOM: true }).decode(text);
}

/** The escapes of JSON that stand for one character each. */
const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "\b": "b",
  "\f": "f",
  "\n": "n",
  "\r": "r",
  "\t": "t",
};

/** What a JSON string holds as it is. */
export const UNESCAPED: CodePoints = difference(ALL, union([{ low: 0, high: 0x1f }, ...characters('"\\')]));

/** What has an escape of one letter. */
export const SHORTLY_ESCAPED: CodePoints = characters(Object.keys(SHORT_ESCAPES).join(""));

/** One character of a set, in UTF-8. */
export function utf8(builder: GrammarBuilder, set: CodePoints): Part {
  return (from) => {
    const to = builder.node();
    for (const { low, high } of intersection(set, ALL)) readRange(builder, from, low, high, to);
    return to;
  };
}

/**
 * One character of a set as JSON strings hold it, in the one way in which JSON.stringify writes it: escaped only where it has to be.
 */
export function jsonCharacter(builder: GrammarBuilder, set: CodePoints): Part {
  const parts: Part[] = [utf8(builder, intersection(set, UNESCAPED))];
  const escapes: string[] = [];
  for (const { low, high } of difference(intersection(set, ALL), UNESCAPED)) {
    for (let codePoint = low; codePoint <= high; codePoint++) {
      const short = SHORT_ESCAPES[String.fromCodePoint(codePoint)];
      escapes.push(`\\${short ?? `u${codePoint.toString(16).padStart(4, "0")}`}`);
    }
  }
  if (escapes.length > 0) parts.push(builder.texts(escapes));
  return builder.choice(...parts);
}

/** Last code points with one, two, three and four bytes. */
const LENGTHS = [0x7f, 0x7ff, 0xffff, LAST];

/** Reads one of a range that holds no surrogate. */
function readRange(builder: GrammarBuilder, from: Node, low: number, high: number, to: Node): void {
  for (const last of LENGTHS) {
    if (low <= last && high > last) {
      readRange(builder, from, low, last, to);
      readRange(builder, from, last + 1, high, to);
      return;
    }
  }
  readBytes(builder, from, bytesOf(low), bytesOf(high), to);
}

function bytesOf(codePoint: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(codePoint))];
}

/** Reads what lies between two characters of equally many bytes. */
function readBytes(
  builder: GrammarBuilder,
  from: Node,
  low: readonly number[],
  high: readonly number[],
  to: Node,
): void {
  const [first = 0, ...lowRest] = low;
  const [last = 0, ...highRest] = high;
  if (lowRest.length === 0) {
    builder.bytes(from, first, last, to);
    return;
  }
  const through = (begin: number, end: number, lower: readonly number[], upper: readonly number[]) => {
    if (begin > end) return;
    const next = builder.node();
    builder.bytes(from, begin, end, next);
    readBytes(builder, next, lower, upper, to);
  };
  const least = lowRest.map(() => 0x80);
  const most = lowRest.map(() => 0xbf);
  if (first === last) {
    through(first, first, lowRest, highRest);
    return;
  }
  const isLowWhole = lowRest.every((byte) => byte === 0x80);
  const isHighWhole = highRest.every((byte) => byte === 0xbf);
  if (!isLowWhole) through(first, first, lowRest, most);
  through(isLowWhole ? first : first + 1, isHighWhole ? last : last - 1, least, most);
  if (!isHighWhole) through(last, last, least, highRest);
}
