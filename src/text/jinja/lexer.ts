/**
 * A template's source as tokens. White space around tags is dealt with here: `-` takes all of it, `+` keeps it, and otherwise a block
 * or comment takes the spaces before it on its line and the line's end after it (trim_blocks and lstrip_blocks, as Hugging Face has
 * them). Time grows with the length of the source only.
 */

import { endOfSpaces, isSpace, startOfSpaces } from "./characters.ts";
import { TemplateError } from "./errors.ts";
import { DIGITS_MAX, Float, toInt, type Value } from "./values.ts";

/** A piece of a template. */
export interface Token {
  kind: "text" | "name" | "string" | "integer" | "float" | "operator" | "block" | "output" | "end" | "eof";
  /** The text, name or operator as it is written; of strings what they say. */
  text: string;
  /** Of numbers. */
  value: Value;
  line: number;
}

const NAME = /[\p{ID_Continue}\u00b7]+/uy;
const IDENTIFIER = /^[\p{ID_Start}_]/u;
const NUMBER =
  /\d+(?:_\d+)*(?:(?:\.\d+(?:_\d+)*)?[eE][+-]?\d+(?:_\d+)*|\.\d+(?:_\d+)*)|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const INTEGER = /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const STRING = /'[^'\\]*(?:\\[\s\S][^'\\]*)*'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}<>=.:|,;]/y;
const TAG = /\{[{%#]/g;
const CLOSING: Readonly<Record<string, string>> = { "{": "}", "(": ")", "[": "]" };

/** Divides a template. @throws TemplateError. */
export function tokenize(source: string): Token[] {
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Where the line ends that was counted last. */
  #lineEnd: number;
  /** Whether what was read last ended a line. */
  #isAtLineStart = true;

  constructor(source: string) {
    const lines = source.replace(/\r\n?/g, "\n");
    this.#source = lines.endsWith("\n") ? lines.slice(0, -1) : lines;
    this.#lineEnd = this.#endOfLine(0);
  }

  run(): Token[] {
    const source = this.#source;
    while (this.#at < source.length) {
      TAG.lastIndex = this.#at;
      const start = TAG.exec(source)?.index ?? source.length;
      if (start === source.length) {
        this.#add("text", source.slice(this.#at));
        break;
      }
      const kind = source[start + 1] as string;
      const sign = signAt(source, start + 2);
      const text = this.#textBefore(start, sign, kind !== "{");
      if (text !== "") this.#add("text", text);
      this.#moveTo(start + 2 + sign.length);
      if (kind === "#") this.#skipComment();
      else if (kind === "{") this.#readTag("output");
      else if (!this.#readRaw(start)) this.#readTag("block");
    }
    this.#at = source.length;
    this.#add("eof", "");
    return this.#tokens;
  }

  #add(kind: Token["kind"], text: string, value: Value = null): void {
    this.#tokens.push({ kind, text, value, line: this.#lineAt(this.#at) });
  }

  #lineAt(place: number): number {
    while (this.#lineEnd < place) {
      this.#line++;
      this.#lineEnd = this.#endOfLine(this.#lineEnd + 1);
    }
    return this.#line;
  }

  #endOfLine(start: number): number {
    const end = this.#source.indexOf("\n", start);
    return end < 0 ? this.#source.length : end;
  }

  #moveTo(place: number): void {
    if (place > this.#at) this.#isAtLineStart = this.#source[place - 1] === "\n";
    this.#at = place;
  }

  /** The text from here to a tag, less the white space that the tag takes. */
  #textBefore(end: number, sign: string, takesIndent: boolean): string {
    const text = this.#source.slice(this.#at, end);
    if (sign === "-") return text.slice(0, startOfSpaces(text, text.length));
    if (sign === "+" || !takesIndent) return text;
    const line = text.lastIndexOf("\n") + 1;
    if (line === 0 && !this.#isAtLineStart) return text;
    return isSpace(text.slice(line)) ? text.slice(0, line) : text;
  }

  /** Takes the white space that belongs to the end of a block or comment. @param sign the character before that end. */
  #moveAfterTag(end: number, sign: string | undefined): void {
    if (sign === "-") this.#moveTo(endOfSpaces(this.#source, end));
    else if (sign !== "+" && this.#source[end] === "\n") this.#moveTo(end + 1);
    else this.#moveTo(end);
  }

  #skipComment(): void {
    if (this.#at >= this.#source.length) return;
    const end = this.#source.indexOf("#}", this.#at);
    if (end < 0) throw this.#error("Missing end of comment tag");
    this.#moveAfterTag(end + 2, end > this.#at ? this.#source[end - 1] : undefined);
  }

  /** Reads a raw block if one begins here. @param start where its tag begins. */
  #readRaw(start: number): boolean {
    const source = this.#source;
    const name = endOfSpaces(source, start + 2 + signAt(source, start + 2).length);
    if (!source.startsWith("raw", name)) return false;
    const afterName = endOfSpaces(source, name + 3);
    const isStripped = source.startsWith("-%}", afterName);
    if (!isStripped && !source.startsWith("%}", afterName)) return false;
    this.#moveTo(isStripped ? endOfSpaces(source, afterName + 3) : afterName + 2);
    if (this.#at >= source.length) return true;
    for (let tag = source.indexOf("{%", this.#at); tag >= 0; tag = source.indexOf("{%", tag + 2)) {
      const sign = signAt(source, tag + 2);
      const word = endOfSpaces(source, tag + 2 + sign.length);
      if (!source.startsWith("endraw", word)) continue;
      const end = endOfSpaces(source, word + 6);
      const endSign = signAt(source, end);
      if (!source.startsWith("%}", end + endSign.length)) continue;
      const text = this.#textBefore(tag, sign, true);
      if (text !== "") this.#add("text", text);
      this.#moveAfterTag(end + endSign.length + 2, endSign);
      return true;
    }
    throw this.#error("Missing end of raw directive");
  }

  /** Reads what stands between the ends of a tag. */
  #readTag(kind: "output" | "block"): void {
    const source = this.#source;
    const end = kind === "output" ? "}}" : "%}";
    const open: string[] = [];
    this.#add(kind, "");
    while (this.#at < source.length) {
      if (open.length === 0) {
        const sign = signAt(source, this.#at);
        if (source.startsWith(end, this.#at + sign.length) && !(kind === "output" && sign === "+")) {
          this.#add("end", end);
          const after = this.#at + sign.length + 2;
          if (kind === "block") this.#moveAfterTag(after, sign);
          else this.#moveTo(sign === "-" ? endOfSpaces(source, after) : after);
          return;
        }
      }
      const after = endOfSpaces(source, this.#at);
      if (after > this.#at) this.#moveTo(after);
      else this.#readToken(open);
    }
  }

  #readToken(open: string[]): void {
    const source = this.#source;
    const numbers = source[this.#at - 1] === "." ? INTEGER : NUMBER;
    const number = match(numbers, source, this.#at);
    if (number !== undefined) {
      const digits = number.replaceAll("_", "");
      const isFloat = numbers === NUMBER && /^\d+\.|^\d+[eE]/.test(digits);
      if (isFloat) this.#add("float", number, new Float(Number(digits)));
      else if (digits.length > DIGITS_MAX) throw this.#error(`a number has more than ${DIGITS_MAX} digits`);
      else this.#add("integer", number, toInt(BigInt(digits)));
      this.#moveTo(this.#at + number.length);
      return;
    }
    const name = match(NAME, source, this.#at);
    if (name !== undefined) {
      if (!IDENTIFIER.test(name)) throw this.#error("Invalid character in identifier");
      this.#add("name", name.normalize("NFKC"));
      this.#moveTo(this.#at + name.length);
      return;
    }
    const string = match(STRING, source, this.#at);
    if (string !== undefined) {
      this.#add("string", unescapeString(string.slice(1, -1)));
      this.#moveTo(this.#at + string.length);
      return;
    }
    const operator = match(OPERATOR, source, this.#at);
    if (operator === undefined) throw this.#error(`unexpected char ${JSON.stringify(source[this.#at])} at ${this.#at}`);
    if (operator in CLOSING) open.push(CLOSING[operator] as string);
    else if (operator === "}" || operator === ")" || operator === "]") {
      const expected = open.pop();
      if (expected === undefined) throw this.#error(`unexpected '${operator}'`);
      if (expected !== operator) throw this.#error(`unexpected '${operator}', expected '${expected}'`);
    }
    this.#add("operator", operator);
    this.#moveTo(this.#at + operator.length);
  }

  #error(message: string): TemplateError {
    return new TemplateError(`${message} (line ${this.#lineAt(this.#at)})`);
  }
}

function signAt(source: string, place: number): string {
  const sign = source[place];
  return sign === "-" || sign === "+" ? sign : "";
}

function match(pattern: RegExp, source: string, place: number): string | undefined {
  pattern.lastIndex = place;
  return pattern.exec(source)?.[0];
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** What a string says, as Python's unicode-escape reads it. @throws TemplateError. */
function unescapeString(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([\s\S]))/gu,
    (whole, ...groups) => {
      const [byte, short, long, octal, other] = groups as (string | undefined)[];
      const hex = byte ?? short ?? long;
      if (hex !== undefined || octal !== undefined) {
        const point = hex === undefined ? Number.parseInt(octal as string, 8) : Number.parseInt(hex, 16);
        if (point > 0x10ffff) throw new TemplateError("illegal Unicode character in a string");
        return String.fromCodePoint(point);
      }
      const letter = other as string;
      if (letter === "x" || letter === "u" || letter === "U")
        throw new TemplateError(`truncated \\${letter} escape in a string`);
      if (letter === "N") throw new TemplateError("characters by their names (\\N{…}) are not supported in strings");
      const point = letter.codePointAt(0) as number;
      if (point > 0x7f) {
        // Python has written it as an escape by now, of which the backslash is taken for an escaped one.
        const [prefix, width] = point < 0x100 ? ["x", 2] : point < 0x10000 ? ["u", 4] : ["U", 8];
        return `\\${prefix}${point.toString(16).padStart(width as number, "0")}`;
      }
      return ESCAPES[letter] ?? whole;
    },
  );
}
