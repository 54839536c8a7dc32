/**
 * Texts as Python sees them: sequences of code points, where JavaScript counts UTF-16 units; and which characters it takes for white
 * space and for ends of lines.
 */

const SURROGATE = /[\ud800-\udfff]/;

/** Whether a text may have code points of two UTF-16 units. Of texts in ASCII, their length in bytes says so at once. */
export function isWide(text: string): boolean {
  return Buffer.byteLength(text) !== text.length && SURROGATE.test(text);
}

/** What str.isspace is true of, for classes of characters in regular expressions. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp(`[${SPACE}]+`, "g");
const ONLY_SPACES = new RegExp(`^[${SPACE}]+$`);
const SPACES_HERE = new RegExp(`[${SPACE}]*`, "y");
const ONE_SPACE = new RegExp(`[${SPACE}]`);
const WORD_HERE = new RegExp(`[^${SPACE}]*`, "y");

const CONTROL_LINE_ENDS = "\x1c-\x1e";

/** Where str.splitlines() divides a text. */
const LINE_END = new RegExp(`\r\n|[\n-\r${CONTROL_LINE_ENDS}\x85\u2028\u2029]`, "g");

/** The number of code points. */
export function pointCount(text: string): number {
  if (!isWide(text)) return text.length;
  let count = text.length;
  for (let i = 1; i < text.length; i++) {
    if (isLow(text.charCodeAt(i)) && isHigh(text.charCodeAt(i - 1))) {
      count--;
      i++;
    }
  }
  return count;
}

/** The code points of a text, each as a text. */
export function points(text: string): string[] {
  return Array.from(text);
}

/** A part of a text between two code points; the second may lie behind its end. */
export function pointSlice(text: string, start: number, stop: number): string {
  if (!isWide(text)) return text.slice(start, stop);
  const from = unitOffset(text, start, 0);
  return text.slice(from, stop <= start ? from : unitOffset(text, stop - start, from));
}

/** How many code points lie before a place in UTF-16 units. */
export function pointOffset(text: string, units: number): number {
  return pointCount(text.slice(0, units));
}

/** The place in UTF-16 units that lies some code points after another one. */
export function unitOffset(text: string, count: number, from = 0): number {
  if (!isWide(text)) return Math.min(text.length, from + count);
  let at = from;
  for (let i = 0; i < count && at < text.length; i++) {
    at += isHigh(text.charCodeAt(at)) && isLow(text.charCodeAt(at + 1)) ? 2 : 1;
  }
  return at;
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

/** Orders texts by code points: negative, zero or positive. */
export function comparePoints(a: string, b: string): number {
  if (a === b) return 0;
  if (!isWide(a) && !isWide(b)) return a < b ? -1 : 1;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === length) return a.length - b.length;
  if (at > 0 && isHigh(a.charCodeAt(at - 1))) at--;
  return (a.codePointAt(at) as number) - (b.codePointAt(at) as number);
}

/** Whether a text is not empty and all white space. */
export function isSpace(text: string): boolean {
  return ONLY_SPACES.test(text);
}

/** Where the white space that begins at a place ends. */
export function endOfSpaces(text: string, start: number): number {
  return endOfMatch(SPACES_HERE, text, start);
}

/** Where what is no white space and begins at a place ends. */
export function endOfWord(text: string, start: number): number {
  return endOfMatch(WORD_HERE, text, start);
}

function endOfMatch(pattern: RegExp, text: string, start: number): number {
  pattern.lastIndex = start;
  pattern.test(text);
  return pattern.lastIndex;
}

/** Where the white space that ends at a place begins. */
export function startOfSpaces(text: string, end: number): number {
  let start = end;
  while (start > 0 && ONE_SPACE.test(text[start - 1] as string)) start--;
  return start;
}

/** Where what is no white space and ends at a place begins. */
export function startOfWord(text: string, end: number): number {
  let start = end;
  while (start > 0 && !ONE_SPACE.test(text[start - 1] as string)) start--;
  return start;
}

/** The words between white space. */
export function words(text: string): string[] {
  return text.split(SPACES).filter((word) => word !== "");
}

/** The lines of a text, with or without what ends them. An end at the end of the text begins no line. */
export function lines(text: string, keepsEnds = false): string[] {
  const found: string[] = [];
  let start = 0;
  for (const match of text.matchAll(LINE_END)) {
    const end = match.index + match[0].length;
    found.push(text.slice(start, keepsEnds ? end : match.index));
    start = end;
  }
  if (start < text.length) found.push(text.slice(start));
  return found;
}
