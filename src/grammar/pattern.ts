/**
 * Regular expressions of schemas ("pattern") as grammars of JSON strings.
 *
 * Understood is what describes texts and nothing around them: characters, classes, groups, alternatives, quantifiers, and ^ and $ at
 * the ends of an alternative. Looking around, word boundaries and references back are refused. A character of a pattern is written
 * in the one way in which JSON.stringify writes it.
 */

import {
  ALL,
  type CodePoints,
  characters,
  difference,
  intersection,
  jsonCharacter,
  type Range,
  single,
  union,
} from "./code_points.ts";
import type { GrammarBuilder, Part } from "./grammar_builder.ts";

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

/** Longest pattern, and the deepest groups in it. */
const LENGTH_MAX = 4096;
const DEPTH_MAX = 64;

/** Most repetitions that a quantifier may name. */
const COUNT_MAX = 100_000;

/** Something that texts match, and the code points that these have. */
export interface Matcher {
  part: Part;
  least: number;
  most: number;
}

const DIGIT = characters("0123456789");
const WORD = union([...DIGIT, single(0x5f), { low: 0x41, high: 0x5a }, { low: 0x61, high: 0x7a }]);
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

/**
 * The characters of a string that match a pattern, without the quotes around them.
 *
 * @throws PatternError when it is no pattern, or one that can't be followed.
 */
export function patternText(builder: GrammarBuilder, pattern: string): Matcher {
  if (pattern.length > LENGTH_MAX) throw new PatternError(`is longer than ${LENGTH_MAX} characters`, true);
  try {
    new RegExp(pattern, "u");
  } catch {
    throw new PatternError("is no regular expression", false);
  }
  return new Reader(builder, pattern).whole();
}

/** Reads one pattern, which is known to be a regular expression. */
class Reader {
  readonly #builder: GrammarBuilder;
  readonly #characters: string[];
  #at = 0;
  #depth = 0;

  constructor(builder: GrammarBuilder, pattern: string) {
    this.#builder = builder;
    this.#characters = Array.from(pattern);
  }

  whole(): Matcher {
    const alternatives: Matcher[] = [];
    const anything = this.#repeated(this.#one(ALL), 0, Number.POSITIVE_INFINITY);
    do {
      const parts: Matcher[] = this.#take("^") ? [] : [anything];
      parts.push(...this.#terms());
      if (!this.#take("$")) parts.push(anything);
      alternatives.push(this.#inSequence(parts));
    } while (this.#take("|"));
    if (this.#at < this.#characters.length) throw this.#refused(this.#here as string);
    return this.#oneOf(alternatives);
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

  #one(set: CodePoints): Matcher {
    return { part: jsonCharacter(this.#builder, set), least: 1, most: 1 };
  }

  #inSequence(matchers: readonly Matcher[]): Matcher {
    return {
      part: this.#builder.sequence(...matchers.map(({ part }) => part)),
      least: matchers.reduce((sum, { least }) => sum + least, 0),
      most: matchers.reduce((sum, { most }) => sum + most, 0),
    };
  }

  #oneOf(matchers: readonly Matcher[]): Matcher {
    if (matchers.length === 1) return matchers[0] as Matcher;
    return {
      part: this.#builder.choice(...matchers.map(({ part }) => part)),
      least: Math.min(...matchers.map(({ least }) => least)),
      most: Math.max(...matchers.map(({ most }) => most)),
    };
  }

  #repeated({ part, least, most }: Matcher, from: number, to: number): Matcher {
    return {
      part: this.#builder.repeat(part, from, to),
      // Both may be infinite, and then no product with 0.
      least: from === 0 ? 0 : least * from,
      most: most === 0 || to === 0 ? 0 : most * to,
    };
  }

  /** What stands up to the end of an alternative. */
  #terms(): Matcher[] {
    const terms: Matcher[] = [];
    while (this.#here !== undefined && !"|)$".includes(this.#here)) terms.push(this.#quantified(this.#atom()));
    return terms;
  }

  #quantified(atom: Matcher): Matcher {
    const sign = this.#here;
    let [from, to] = [1, 1];
    if (sign === "*") [from, to] = [0, Number.POSITIVE_INFINITY];
    else if (sign === "+") [from, to] = [1, Number.POSITIVE_INFINITY];
    else if (sign === "?") [from, to] = [0, 1];
    else if (sign === "{") {
      const rest = this.#characters.slice(this.#at, this.#at + 40).join("");
      const [all = "", first = "", comma, last] = /^\{(\d+)(,(\d*))?\}/.exec(rest) ?? [];
      if (all === "") throw this.#refused("{");
      from = Number(first);
      to = comma === undefined ? from : last === "" ? Number.POSITIVE_INFINITY : Number(last);
      if (from > COUNT_MAX || (to > COUNT_MAX && to !== Number.POSITIVE_INFINITY)) throw this.#refused(all);
      this.#at += all.length - 1;
    } else return atom;
    this.#at++;
    this.#take("?"); // lazy or not, the texts are the same
    return this.#repeated(atom, from, to);
  }

  #atom(): Matcher {
    const character = this.#next();
    if (character === "(") return this.#group();
    if (character === "[") return this.#one(this.#class());
    if (character === ".") return this.#one(difference(ALL, LINE_ENDS));
    if (character === "\\") return this.#one(this.#escaped());
    if (character === "^") throw this.#refused("^");
    return this.#one([single(character.codePointAt(0) as number)]);
  }

  #group(): Matcher {
    if (++this.#depth > DEPTH_MAX) throw new PatternError(`has groups within more than ${DEPTH_MAX} others`, true);
    if (this.#take("?") && !this.#take(":")) {
      const isNamed = this.#here === "<" && !"=!".includes(this.#characters[this.#at + 1] as string);
      if (!isNamed) throw this.#refused(`(?${this.#here}`);
      while (this.#next() !== ">");
    }
    const alternatives: Matcher[] = [];
    do alternatives.push(this.#inSequence(this.#terms()));
    while (this.#take("|"));
    if (!this.#take(")")) throw this.#refused(this.#here ?? "(");
    this.#depth--;
    return this.#oneOf(alternatives);
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
