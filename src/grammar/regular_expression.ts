/**
 * Regular expressions of schemas ("pattern"), read into a tree. They are JavaScript's, with the flag u. What Python and Rust write
 * otherwise and JavaScript would refuse is understood too: \!, \A, \Z, (?P<name>…) and braces that are no quantifier.
 *
 * Looking behind and references back are refused.
 */

import {
  ALL,
  type CodePoints,
  characters,
  difference,
  intersection,
  type Range,
  single,
  unicodeProperty,
  union,
} from "./code_points.ts";
import type { WorkBudget } from "./work_budget.ts";

/** What a pattern has that can't be followed, or why it is none. */
export class PatternError extends Error {
  override name = "PatternError";
  /** Whether it is a pattern at all. */
  readonly isValid: boolean;

  constructor(message: string, isValid: boolean) {
    super(message);
    this.isValid = isValid;
  }
}

/** A part of a regular expression. */
export type Expression =
  | { kind: "one"; set: CodePoints }
  | { kind: "sequence"; parts: readonly Expression[] }
  | { kind: "choice"; options: readonly Expression[] }
  /** `most` may be infinite. */
  | { kind: "repeat"; part: Expression; least: number; most: number }
  /** ^ and $. */
  | { kind: "start" | "end" }
  /** \b, or \B when negative. */
  | { kind: "boundary"; isNegative: boolean }
  /** (?=…), or (?!…) when negative. */
  | { kind: "ahead"; part: Expression; isNegative: boolean };

/** Longest pattern, and the deepest groups in it. */
const LENGTH_MAX = 4096;
const DEPTH_MAX = 64;

/** Most repetitions that a quantifier may name. */
const COUNT_MAX = 100_000;

/** What looking through all characters costs. */
const PROPERTY_WORK = 30_000;

const DIGIT = characters("0123456789");
/** What \w stands for, and what word boundaries lie between. */
export const WORD = union([...DIGIT, single(0x5f), { low: 0x41, high: 0x5a }, { low: 0x61, high: 0x7a }]);
const SPACE = union([
  ...characters("\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"),
  { low: 0x2000, high: 0x200a },
]);
const LINE_ENDS = characters("\n\r\u2028\u2029");
const CLASSES: Readonly<Record<string, CodePoints>> = {
  d: DIGIT,
  D: difference(ALL, DIGIT),
  w: WORD,
  W: difference(ALL, WORD),
  s: SPACE,
  S: difference(ALL, SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 };

/** Reads a pattern. @throws PatternError when it is none, or one that can't be followed. */
export function readPattern(pattern: string, budget: WorkBudget): Expression {
  if (pattern.length > LENGTH_MAX) throw new PatternError(`is longer than ${LENGTH_MAX} characters`, true);
  const text = [pattern, inJavaScript(pattern)].find((written) => faultOf(written) === undefined);
  if (text === undefined) throw new PatternError(`is no regular expression: ${faultOf(pattern)}`, false);
  return new Reader(text, budget).whole();
}

/** Why a pattern is no regular expression; undefined: it is one. */
function faultOf(pattern: string): string | undefined {
  try {
    new RegExp(pattern, "u");
    return undefined;
  } catch (error) {
    return (error as Error).message.replace(/^Invalid regular expression: /, "");
  }
}

/** A pattern of Python's or Rust's as JavaScript writes it with the flag u. */
function inJavaScript(pattern: string): string {
  let isInClass = false;
  let isAfterSet = false;
  return pattern.replaceAll(/\\[\s\S]|\(\?P(?=<)|\{\d+(?:,\d*)?\}|[\s\S]/g, (token) => {
    let written = token;
    if (token === "(?P") written = "(?";
    else if (token.startsWith("\\") && token.length === 2) written = escapeInJavaScript(token, isInClass);
    else if (isInClass && token === "-" && isAfterSet) written = "\\-";
    else if (!isInClass && "{}]".includes(token)) written = `\\${token}`;
    if (!isInClass && token === "[") isInClass = true;
    else if (isInClass && token === "]") isInClass = false;
    isAfterSet = isInClass && /^\\[dDwWsS]$/.test(token);
    return written;
  });
}

/** The same of a backslash with what it stands before. */
function escapeInJavaScript(token: string, isInClass: boolean): string {
  const character = token[1] as string;
  if (!isInClass && character === "A") return "^";
  if (!isInClass && (character === "Z" || character === "z")) return "$";
  const isPlain = /[!-/:-@[-`{-~ ]/.test(character) && !/[\^$\\.*+?()[\]{}|/]/.test(character);
  return isPlain && !(isInClass && character === "-") ? character : token;
}

/** Reads one pattern, which is known to be a regular expression. */
class Reader {
  readonly #characters: string[];
  readonly #budget: WorkBudget;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, budget: WorkBudget) {
    this.#characters = Array.from(pattern);
    this.#budget = budget;
  }

  whole(): Expression {
    const expression = this.#alternatives();
    if (this.#at < this.#characters.length) throw this.#refused(this.#here as string);
    return expression;
  }

  get #here(): string | undefined {
    return this.#characters[this.#at];
  }

  #take(character: string): boolean {
    if (this.#here !== character) return false;
    this.#at++;
    return true;
  }

  #next(): string {
    return this.#characters[this.#at++] as string;
  }

  #refused(what: string): PatternError {
    return new PatternError(`holds '${what}' where it can't be followed`, true);
  }

  #alternatives(): Expression {
    const options: Expression[] = [];
    do {
      const parts: Expression[] = [];
      while (this.#here !== undefined && !"|)".includes(this.#here)) parts.push(this.#quantified(this.#atom()));
      options.push(parts.length === 1 ? (parts[0] as Expression) : { kind: "sequence", parts });
    } while (this.#take("|"));
    return options.length === 1 ? (options[0] as Expression) : { kind: "choice", options };
  }

  #quantified(part: Expression): Expression {
    const sign = this.#here;
    let [least, most] = [1, 1];
    if (sign === "*") [least, most] = [0, Number.POSITIVE_INFINITY];
    else if (sign === "+") [least, most] = [1, Number.POSITIVE_INFINITY];
    else if (sign === "?") [least, most] = [0, 1];
    else if (sign === "{") {
      const rest = this.#characters.slice(this.#at, this.#at + 40).join("");
      const [all = "", first = "", comma, last] = /^\{(\d+)(,(\d*))?\}/.exec(rest) ?? [];
      if (all === "") throw this.#refused("{");
      least = Number(first);
      most = comma === undefined ? least : last === "" ? Number.POSITIVE_INFINITY : Number(last);
      if (least > COUNT_MAX || (most > COUNT_MAX && most !== Number.POSITIVE_INFINITY)) throw this.#refused(all);
      this.#at += all.length - 1;
    } else return part;
    this.#at++;
    this.#take("?"); // lazy or not, the texts are the same
    return { kind: "repeat", part, least, most };
  }

  #atom(): Expression {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "one", set: this.#class() };
      case ".":
        return { kind: "one", set: difference(ALL, LINE_ENDS) };
      case "^":
        return { kind: "start" };
      case "$":
        return { kind: "end" };
      case "\\":
        if (this.#take("b")) return { kind: "boundary", isNegative: false };
        if (this.#take("B")) return { kind: "boundary", isNegative: true };
        return { kind: "one", set: this.#escaped() };
      default:
        return { kind: "one", set: [single(character.codePointAt(0) as number)] };
    }
  }

  #group(): Expression {
    if (++this.#depth > DEPTH_MAX) throw new PatternError(`has groups within more than ${DEPTH_MAX} others`, true);
    const ahead = this.#groupKind();
    const inner = this.#alternatives();
    if (!this.#take(")")) throw this.#refused(this.#here ?? "(");
    this.#depth--;
    return ahead === undefined ? inner : { kind: "ahead", part: inner, isNegative: ahead === "!" };
  }

  /** What stands behind the brace that opens a group. Returns the sign of one that looks ahead. */
  #groupKind(): "=" | "!" | undefined {
    if (!this.#take("?") || this.#take(":")) return undefined;
    if (this.#take("=")) return "=";
    if (this.#take("!")) return "!";
    const isNamed = this.#here === "<" && !"=!".includes(this.#characters[this.#at + 1] as string);
    if (!isNamed) throw this.#refused(`(?${this.#characters.slice(this.#at, this.#at + 2).join("")}`);
    while (this.#next() !== ">");
    return undefined;
  }

  #class(): CodePoints {
    const isNegated = this.#take("^");
    const ranges: Range[] = [];
    while (!this.#take("]")) {
      const set = this.#classMember();
      const low = set[0] as Range;
      const isRange =
        this.#here === "-" && this.#characters[this.#at + 1] !== "]" && set.length === 1 && low.low === low.high;
      if (!isRange) {
        ranges.push(...set);
        continue;
      }
      this.#at++;
      const [high] = this.#classMember() as [Range];
      ranges.push({ low: low.low, high: high.high });
    }
    const set = union(ranges);
    return isNegated ? difference(ALL, set) : intersection(ALL, set);
  }

  #classMember(): CodePoints {
    if (this.#take("\\")) return this.#take("b") ? [single(8)] : this.#take("-") ? characters("-") : this.#escaped();
    return [single(this.#next().codePointAt(0) as number)];
  }

  /** What stands behind a backslash. */
  #escaped(): CodePoints {
    const letter = this.#next();
    const known = CLASSES[letter];
    if (known !== undefined) return known;
    const control = CONTROLS[letter];
    if (control !== undefined) return [single(control)];
    if (letter === "0") return [single(0)];
    if (letter === "x") return [single(this.#hex(2))];
    if (letter === "u") return [single(this.#unicode())];
    if (letter === "c") return [single((this.#next().codePointAt(0) as number) % 32)];
    if (letter === "p" || letter === "P") {
      let property = letter;
      do property += this.#here;
      while (this.#next() !== "}");
      return unicodeProperty(property, () => this.#budget.spend(PROPERTY_WORK));
    }
    if (/[A-Za-z1-9]/.test(letter)) throw this.#refused(`\\${letter}`);
    return [single(letter.codePointAt(0) as number)];
  }

  #hex(count: number): number {
    const text = this.#characters.slice(this.#at, this.#at + count).join("");
    this.#at += count;
    return Number.parseInt(text, 16);
  }

  #unicode(): number {
    if (this.#take("{")) {
      let text = "";
      for (let next = this.#next(); next !== "}"; next = this.#next()) text += next;
      return this.#character(Number.parseInt(text, 16));
    }
    const first = this.#hex(4);
    const isPair = first >= 0xd800 && first < 0xdc00 && this.#here === "\\" && this.#characters[this.#at + 1] === "u";
    if (!isPair) return this.#character(first);
    this.#at += 2;
    return this.#character(0x10000 + (first - 0xd800) * 0x400 + this.#hex(4) - 0xdc00);
  }

  #character(codePoint: number): number {
    if (codePoint > 0x10ffff || (codePoint >= 0xd800 && codePoint < 0xe000)) throw this.#refused("\\u");
    return codePoint;
  }
}
