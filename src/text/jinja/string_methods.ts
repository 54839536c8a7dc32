/** The methods of Python's texts, which never change the text. */

import { optionalText, textArgument, wholeArgument } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import {
  endOfSpaces,
  endOfWord,
  isSpace,
  lines,
  pointCount,
  pointOffset,
  points,
  startOfSpaces,
  startOfWord,
  unitOffset,
  words,
} from "./characters.ts";
import { TemplateError } from "./errors.ts";
import { capitalize, foldCase, isLower, isTitle, isUpper, swapCase, title } from "./letter_case.ts";
import { isTrue, itemOf, listOf } from "./operators.ts";
import { isPrintable } from "./repr.ts";
import type { Parameter } from "./signature.ts";
import { Dict, isInt, Tuple, textOf, typeName, type Value } from "./values.ts";

/** A method: its parameters, and what it does once they have values. */
export interface StringMethod {
  parameters: readonly Parameter[];
  /** Whether arguments may have names. */
  named?: boolean;
  run(text: string, values: Value[], budget: Budget): Value;
}

/** Part of a text by code points, as methods with `start` and `end` search it: in UTF-16 units. */
function bounds(text: string, start: Value, end: Value): { from: number; to: number; isEmpty: boolean } {
  if (start === null && end === null) return { from: 0, to: text.length, isEmpty: false };
  const count = pointCount(text);
  const place = (value: Value, otherwise: number) => {
    if (value === null) return otherwise;
    const index = wholeArgument(value);
    return index < 0 ? Math.max(0, index + count) : index;
  };
  const first = place(start, 0);
  const last = Math.min(count, place(end, count));
  if (first > last) return { from: 0, to: 0, isEmpty: true };
  return { from: unitOffset(text, first), to: unitOffset(text, last), isEmpty: false };
}

const NONE: Value = null;
const SEARCH: readonly Parameter[] = [["sub"], ["start", NONE], ["end", NONE]];

/** find, rfind, index and rindex. */
function searcher(isLast: boolean, fails: boolean): StringMethod {
  return {
    parameters: SEARCH,
    run(text, [sub = NONE, start = NONE, end = NONE], budget) {
      const wanted = textArgument(sub);
      budget.readPoints(text);
      const { from, to, isEmpty } = bounds(text, start, end);
      const part = text.slice(from, to);
      const found = isEmpty ? -1 : isLast ? part.lastIndexOf(wanted) : part.indexOf(wanted);
      if (found < 0 && fails) throw new TemplateError("substring not found");
      return found < 0 ? -1 : pointOffset(text, from + found);
    },
  };
}

function countOf(text: string, part: string, budget: Budget): number {
  if (part === "") return pointCount(text) + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  budget.spend(count / 4);
  return count;
}

/** startswith and endswith. */
function affixTest(name: string, test: (part: string, affix: string) => boolean): StringMethod {
  return {
    parameters: [["prefix"], ["start", NONE], ["end", NONE]],
    run(text, [prefix = NONE, start = NONE, end = NONE], budget) {
      if (start !== null || end !== null) budget.readPoints(text);
      const { from, to, isEmpty } = bounds(text, start, end);
      const affixes = prefix instanceof Tuple ? prefix.items : [prefix];
      return affixes.some((affix) => {
        const wanted = textOf(affix);
        if (wanted === undefined) {
          throw new TemplateError(`${name} first arg must be str or a tuple of str, not ${typeName(affix)}`);
        }
        budget.read(wanted.length);
        return !isEmpty && test(text.slice(from, to), wanted);
      });
    },
  };
}

/** Replaces the first occurrences of a part, or all. @param count negative: all. */
export function replace(text: string, old: string, fresh: string, count: number, budget: Budget): string {
  budget.read(text.length);
  if (count === 0) return text;
  if (old === "") return insertBetween(text, fresh, count, budget);
  const times = countOf(text, old, budget);
  const replaced = count < 0 ? times : Math.min(count, times);
  if (replaced === 0) return text;
  budget.make(text.length + replaced * (fresh.length - old.length));
  if (replaced === times) return text.replaceAll(old, () => fresh);
  const parts = splitAt(text, old, replaced, false);
  return parts.join(fresh);
}

/** What replacing nothing does: puts a text before every character and at the end. */
function insertBetween(text: string, fresh: string, count: number, budget: Budget): string {
  const characters = points(text);
  const times = count < 0 ? characters.length + 1 : Math.min(count, characters.length + 1);
  budget.make(text.length + times * fresh.length);
  budget.spend(times);
  const pieces = characters.map((character, i) => (i < times ? fresh + character : character));
  return pieces.join("") + (times > characters.length ? fresh : "");
}

/** Takes characters off the ends. @param chars undefined: white space. */
export function strip(text: string, chars: string | undefined, left: boolean, right: boolean, budget: Budget): string {
  budget.read(text.length);
  if (chars === undefined) {
    const start = left ? endOfSpaces(text, 0) : 0;
    const end = right && start < text.length ? startOfSpaces(text, text.length) : text.length;
    budget.walk(start + text.length - end);
    return text.slice(start, end);
  }
  const wanted = new Set(points(chars));
  let start = 0;
  let end = text.length;
  while (left && start < end) {
    const character = String.fromCodePoint(text.codePointAt(start) as number);
    if (!wanted.has(character)) break;
    start += character.length;
  }
  while (right && start < end) {
    const low = text.codePointAt(end - 2);
    const character =
      end - start >= 2 && low !== undefined && low > 0xffff ? String.fromCodePoint(low) : (text[end - 1] as string);
    if (!wanted.has(character)) break;
    end -= character.length;
  }
  budget.walk(start + text.length - end);
  return text.slice(start, end);
}

function stripper(left: boolean, right: boolean): StringMethod {
  return {
    parameters: [["chars", NONE]],
    run: (text, [chars = NONE], budget) => strip(text, optionalText(chars), left, right, budget),
  };
}

/** split and rsplit. */
function splitter(isFromRight: boolean): StringMethod {
  return {
    parameters: [
      ["sep", NONE],
      ["maxsplit", -1],
    ],
    named: true,
    run(text, [sep = NONE, maxsplit = -1], budget) {
      budget.read(text.length);
      const limit = wholeArgument(maxsplit);
      const mark = optionalText(sep);
      if (mark === "") throw new TemplateError("empty separator");
      if (mark !== undefined && limit < 0) budget.list(countOf(text, mark, budget) + 1);
      const parts =
        mark === undefined ? splitWords(text, limit, isFromRight, budget) : splitAt(text, mark, limit, isFromRight);
      budget.list(parts.length);
      return parts;
    },
  };
}

function splitAt(text: string, mark: string, limit: number, isFromRight: boolean): string[] {
  if (limit < 0) return text.split(mark);
  const parts: string[] = [];
  let rest = text;
  while (parts.length < limit) {
    const at = isFromRight ? rest.lastIndexOf(mark) : rest.indexOf(mark);
    if (at < 0) break;
    parts.push(isFromRight ? rest.slice(at + mark.length) : rest.slice(0, at));
    rest = isFromRight ? rest.slice(0, at) : rest.slice(at + mark.length);
  }
  parts.push(rest);
  return isFromRight ? parts.reverse() : parts;
}

/** The words of a text; behind so many of them, the rest as it is. What is not taken off is not looked at. */
function splitWords(text: string, limit: number, isFromRight: boolean, budget: Budget): string[] {
  if (limit < 0) return words(text);
  const parts: string[] = [];
  let [start, end] = isFromRight ? [0, startOfSpaces(text, text.length)] : [endOfSpaces(text, 0), text.length];
  while (parts.length < limit && start < end) {
    if (isFromRight) {
      const place = startOfWord(text, end);
      parts.push(text.slice(place, end));
      end = startOfSpaces(text, place);
    } else {
      const place = endOfWord(text, start);
      parts.push(text.slice(start, place));
      start = endOfSpaces(text, place);
    }
  }
  budget.walk(start + text.length - end);
  // The rest keeps the white space at its other end.
  if (start < end) parts.push(text.slice(start, end));
  return isFromRight ? parts.reverse() : parts;
}

/** partition and rpartition. */
function partitioner(isFromRight: boolean): StringMethod {
  return {
    parameters: [["sep"]],
    run(text, [sep = NONE], budget) {
      budget.read(text.length);
      const mark = textArgument(sep);
      if (mark === "") throw new TemplateError("empty separator");
      const at = isFromRight ? text.lastIndexOf(mark) : text.indexOf(mark);
      if (at < 0) return new Tuple(isFromRight ? ["", "", text] : [text, "", ""]);
      return new Tuple([text.slice(0, at), mark, text.slice(at + mark.length)]);
    },
  };
}

/** center, ljust and rjust. @param left the share of what is missing that goes to the left. */
function padder(left: (missing: number, width: number) => number): StringMethod {
  return {
    parameters: [["width"], ["fillchar", " "]],
    run(text, [width = NONE, fillchar = NONE], budget) {
      const fill = textArgument(fillchar);
      if (pointCount(fill) !== 1) throw new TemplateError("The fill character must be exactly one character long");
      return pad(text, wholeArgument(width), fill, left, budget);
    },
  };
}

function pad(
  text: string,
  width: number,
  fill: string,
  left: (missing: number, width: number) => number,
  budget: Budget,
): string {
  budget.readPoints(text);
  const missing = width - pointCount(text);
  if (missing <= 0) return text;
  budget.make(text.length + missing * fill.length);
  const before = left(missing, width);
  return fill.repeat(before) + text + fill.repeat(missing - before);
}

/** How str.center shares out what is missing. */
function centered(missing: number, width: number): number {
  return Math.floor(missing / 2) + (missing & width & 1);
}

/** str.center. */
export function center(text: string, width: number, budget: Budget): string {
  return pad(text, width, " ", centered, budget);
}

/** A method without arguments that makes another text. @param isSlow whether it looks at each character by itself. */
function converter(convert: (text: string) => string, isSlow = false): StringMethod {
  return {
    parameters: [],
    run(text, _, budget) {
      if (isSlow) budget.walkSlowly(text.length);
      else budget.walk(text.length);
      const converted = convert(text);
      budget.make(converted.length);
      return converted;
    },
  };
}

/** A method without arguments that says something about a text. @param isSlow whether it looks at each character by itself. */
function examiner(test: (text: string) => boolean, isSlow = false): StringMethod {
  return {
    parameters: [],
    run(text, _, budget) {
      if (isSlow) budget.walkSlowly(text.length);
      else budget.walk(text.length);
      return test(text);
    },
  };
}

/** join. */
export function join(
  separator: string,
  items: Iterable<Value>,
  budget: Budget,
  textFor: (item: Value) => string,
): string {
  const pieces: string[] = [];
  let length = 0;
  for (const item of items) {
    budget.spend(0.5);
    const piece = textFor(item);
    length += piece.length + (pieces.length > 0 ? separator.length : 0);
    budget.fits(length);
    pieces.push(piece);
  }
  budget.make(length);
  return pieces.join(separator);
}

function joined(separator: string, values: Value, budget: Budget): string {
  let i = 0;
  return join(separator, listOf(values, budget), budget, (item) => {
    const text = textOf(item);
    if (text === undefined)
      throw new TemplateError(`sequence item ${i}: expected str instance, ${typeName(item)} found`);
    i++;
    return text;
  });
}

function expandTabs(text: string, size: number, budget: Budget): string {
  let result = "";
  let column = 0;
  budget.walkSlowly(text.length);
  for (const character of points(text)) {
    if (character === "\t") {
      const missing = size <= 0 ? 0 : size - (column % size);
      budget.fits(result.length + missing);
      budget.spend(missing / 256);
      result += " ".repeat(missing);
      column += missing;
    } else {
      result += character;
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return result;
}

function fillZeros(text: string, width: number, budget: Budget): string {
  budget.readPoints(text);
  const missing = width - pointCount(text);
  if (missing <= 0) return text;
  budget.make(text.length + missing);
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

function translate(text: string, table: Value, budget: Budget): string {
  budget.walkSlowly(text.length);
  let result = "";
  for (const character of points(text)) {
    const point = character.codePointAt(0) as number;
    const found = table instanceof Dict ? table.get(point) : itemOf(table, point, budget);
    const piece =
      found === undefined
        ? character
        : found === null
          ? ""
          : isInt(found)
            ? String.fromCodePoint(Number(found))
            : textArgument(found);
    budget.fits(result.length + piece.length);
    budget.spend(piece.length / 256);
    result += piece;
  }
  return result;
}

const DECIMAL = /^\p{Nd}+$/u;
const DIGITS =
  /^[\p{Nd}\u00b2\u00b3\u00b9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]+$/u;
const NUMERIC =
  /^[\p{N}\u3405\u3483\u382a\u3b4d\u4e00\u4e03\u4e07\u4e09\u4e5d\u4e8c\u4e94\u4ebf-\u4ec0\u4edf\u4ee8\u4f0d\u4f70\u5104\u5146\u5169\u516b\u516d\u5341-\u5345\u534c\u53c1-\u53c4\u56db\u58f1\u58f9\u5e7e\u5efe-\u5eff\u5f0c-\u5f0e\u5f10\u62fe\u634c\u67d2\u6f06\u7396\u767e\u8086\u842c\u8cae\u8cb3\u8d30\u9621\u9646\u964c\u9678\u96f6]+$/u;
const LETTERS = /^\p{L}+$/u;
const LETTERS_AND_NUMBERS = /^[\p{L}\p{N}]+$/u;
const IDENTIFIER = /^[\p{ID_Start}_]\p{ID_Continue}*$/u;

/** Methods by their names. format and format_map are not among them: they need more than the text. */
export const STRING_METHODS: ReadonlyMap<string, StringMethod> = new Map<string, StringMethod>([
  ["capitalize", converter(capitalize)],
  ["casefold", converter(foldCase)],
  ["center", padder(centered)],
  [
    "count",
    {
      parameters: SEARCH,
      run(text, [sub = NONE, start = NONE, end = NONE], budget) {
        budget.readPoints(text);
        const { from, to, isEmpty } = bounds(text, start, end);
        return isEmpty ? 0 : countOf(text.slice(from, to), textArgument(sub), budget);
      },
    },
  ],
  ["endswith", affixTest("endswith", (part, affix) => part.endsWith(affix))],
  [
    "expandtabs",
    {
      parameters: [["tabsize", 8]],
      named: true,
      run: (text, [size = 8], budget) => expandTabs(text, wholeArgument(size), budget),
    },
  ],
  ["find", searcher(false, false)],
  ["index", searcher(false, true)],
  [
    "isalnum",
    examiner(
      (text) =>
        LETTERS_AND_NUMBERS.test(text) ||
        (text !== "" && points(text).every((c) => LETTERS_AND_NUMBERS.test(c) || NUMERIC.test(c))),
      true,
    ),
  ],
  ["isalpha", examiner((text) => LETTERS.test(text))],
  ["isascii", examiner((text) => !/[\u0080-\uffff]/.test(text))],
  ["isdecimal", examiner((text) => DECIMAL.test(text))],
  ["isdigit", examiner((text) => DIGITS.test(text))],
  ["isidentifier", examiner((text) => IDENTIFIER.test(text))],
  ["islower", examiner(isLower)],
  ["isnumeric", examiner((text) => NUMERIC.test(text))],
  ["isprintable", examiner((text) => points(text).every(isPrintable), true)],
  ["isspace", examiner(isSpace)],
  ["istitle", examiner(isTitle, true)],
  ["isupper", examiner(isUpper)],
  ["join", { parameters: [["iterable"]], run: (text, [items = NONE], budget) => joined(text, items, budget) }],
  ["ljust", padder(() => 0)],
  ["lower", converter((text) => text.toLowerCase())],
  ["lstrip", stripper(true, false)],
  ["partition", partitioner(false)],
  [
    "removeprefix",
    {
      parameters: [["prefix"]],
      run(text, [prefix = NONE]) {
        const part = textArgument(prefix);
        return text.startsWith(part) ? text.slice(part.length) : text;
      },
    },
  ],
  [
    "removesuffix",
    {
      parameters: [["suffix"]],
      run(text, [suffix = NONE]) {
        const part = textArgument(suffix);
        return text.endsWith(part) ? text.slice(0, text.length - part.length) : text;
      },
    },
  ],
  [
    "replace",
    {
      parameters: [["old"], ["new"], ["count", -1]],
      run: (text, [old = NONE, fresh = NONE, count = -1], budget) =>
        replace(text, textArgument(old), textArgument(fresh), wholeArgument(count), budget),
    },
  ],
  ["rfind", searcher(true, false)],
  ["rindex", searcher(true, true)],
  ["rjust", padder((missing) => missing)],
  ["rpartition", partitioner(true)],
  ["rsplit", splitter(true)],
  ["rstrip", stripper(false, true)],
  ["split", splitter(false)],
  [
    "splitlines",
    {
      parameters: [["keepends", false]],
      named: true,
      run(text, [keepends = false], budget) {
        budget.read(text.length);
        const found = lines(text, isTrue(keepends));
        budget.list(found.length);
        return found;
      },
    },
  ],
  ["startswith", affixTest("startswith", (part, affix) => part.startsWith(affix))],
  ["strip", stripper(true, true)],
  ["swapcase", converter(swapCase, true)],
  ["title", converter(title, true)],
  ["translate", { parameters: [["table"]], run: (text, [table = NONE], budget) => translate(text, table, budget) }],
  ["upper", converter((text) => text.toUpperCase())],
  [
    "zfill",
    { parameters: [["width"]], run: (text, [width = NONE], budget) => fillZeros(text, wholeArgument(width), budget) },
  ],
]);
