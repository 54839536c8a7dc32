/** `'{} {name!r:>10}'.format(…)`: formatting with replacement fields. */

import { type Budget, TextBuilder } from "./budget.ts";
import { pointCount, pointSlice } from "./characters.ts";
import { TemplateError } from "./errors.ts";
import { formatSize } from "./float_format.ts";
import { escapeText } from "./markup.ts";
import { floatText, intText, numberOf, toDouble } from "./numbers.ts";
import { ascii, repr, str } from "./repr.ts";
import { type Int, type Keywords, Markup, textOf, typeName, type Value } from "./values.ts";

/** Fields may have fields in their specifications, and no more. */
const NESTING_MAX = 2;

/** What fields are looked up in. */
export interface FormatSource {
  /** Whether fields are escaped, as in a text that is marked as safe. */
  escapes: boolean;
  positional: readonly Value[];
  keywords: Pick<Keywords, "get">;
  attribute(value: Value, name: string): Value;
  item(value: Value, index: Value): Value;
}

/** Formats. @throws TemplateError. */
export function format(text: string, source: FormatSource, budget: Budget): string {
  return new Formatter(source, budget).format(text, NESTING_MAX);
}

class Formatter {
  readonly #source: FormatSource;
  readonly #budget: Budget;
  /** The number of the next field without a name; undefined when fields have numbers of their own. */
  #next: number | undefined = 0;

  constructor(source: FormatSource, budget: Budget) {
    this.#source = source;
    this.#budget = budget;
  }

  format(text: string, nesting: number): string {
    if (nesting === 0) throw new TemplateError("Max string recursion exceeded");
    const builder = new TextBuilder(this.#budget);
    this.#budget.read(text.length);
    let at = 0;
    while (at < text.length) {
      const brace = /[{}]/g;
      brace.lastIndex = at;
      const found = brace.exec(text)?.index ?? text.length;
      builder.add(text.slice(at, found));
      if (found === text.length) break;
      if (text[found + 1] === text[found]) {
        builder.add(text[found] as string);
        at = found + 2;
        continue;
      }
      if (text[found] === "}") throw new TemplateError("Single '}' encountered in format string");
      const end = endOfField(text, found + 1);
      this.#budget.spend(1);
      builder.add(this.#formatField(text.slice(found + 1, end), nesting));
      at = end + 1;
    }
    return builder.text;
  }

  #formatField(field: string, nesting: number): string {
    const { name, conversion, specification } = partsOf(field);
    let value = this.#valueOf(name);
    const spec = this.format(specification, nesting - 1 || (specification.includes("{") ? 0 : 1));
    if (conversion === "r") value = repr(value, this.#budget);
    else if (conversion === "s") value = str(value, this.#budget);
    else if (conversion === "a") value = ascii(value, this.#budget);
    else if (conversion !== undefined) throw new TemplateError(`Unknown conversion specifier ${conversion}`);
    if (value instanceof Markup && this.#source.escapes) return value.text;
    const formatted = formatValue(value, spec, this.#budget);
    return this.#source.escapes ? escapeText(formatted, this.#budget) : formatted;
  }

  #valueOf(name: string): Value {
    const [, first = "", rest = ""] = /^([^.[]*)([\s\S]*)$/.exec(name) ?? [];
    let value: Value | undefined;
    if (first === "" || /^\d+$/.test(first)) {
      if (first === "" ? this.#next === undefined : this.#next !== undefined && this.#next > 0) {
        throw new TemplateError("cannot switch between manual field specification and automatic field numbering");
      }
      const index = first === "" ? (this.#next as number) : Number(first);
      if (first === "") this.#next = index + 1;
      else this.#next = undefined;
      value = this.#source.positional[index];
      if (value === undefined)
        throw new TemplateError(`Replacement index ${index} out of range for positional args tuple`);
    } else {
      value = this.#source.keywords.get(first);
      if (value === undefined) throw new TemplateError(`'${first}'`);
    }
    let at = 0;
    for (const part of rest.matchAll(/\.([^.[]+)|\[([^\]]+)\]/gy)) {
      at = part.index + part[0].length;
      const [, attribute, item = ""] = part;
      if (attribute !== undefined) value = this.#source.attribute(value, attribute);
      else value = this.#source.item(value, /^\d+$/.test(item) ? Number(item) : item);
    }
    if (at < rest.length) throw new TemplateError("Only '.' or '[' may follow ']' in format field specifier");
    return value;
  }
}

/** Where the field that begins here ends. Braces in it have to match. */
function endOfField(text: string, start: number): number {
  let depth = 1;
  for (let at = start; at < text.length; at++) {
    if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  throw new TemplateError("expected '}' before end of string");
}

function partsOf(field: string): { name: string; conversion: string | undefined; specification: string } {
  let at = 0;
  while (at < field.length && field[at] !== "!" && field[at] !== ":") {
    if (field[at] === "{") throw new TemplateError("unexpected '{' in field name");
    if (field[at] === "[") {
      const close = field.indexOf("]", at);
      at = close < 0 ? field.length : close;
    }
    at++;
  }
  const name = field.slice(0, at);
  if (field[at] !== "!") return { name, conversion: undefined, specification: field.slice(at + 1) };
  const conversion = field[at + 1];
  if (conversion === undefined || (field[at + 2] !== undefined && field[at + 2] !== ":")) {
    throw new TemplateError("expected ':' after conversion specifier");
  }
  return { name, conversion, specification: field.slice(at + 3) };
}

/** A format specification, read. */
interface Specification {
  fill: string;
  align: string | undefined;
  sign: string;
  isAlternate: boolean;
  width: number;
  grouping: string;
  precision: number | undefined;
  letter: string;
}

const SPECIFICATION = /^(?:([\s\S])?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([_,])?(?:\.(\d+))?([\s\S])?$/u;

/** A value in the form that a specification says, as format() has it. @throws TemplateError. */
function formatValue(value: Value, spec: string, budget: Budget): string {
  const text = textOf(value);
  const number = typeof value === "boolean" && spec === "" ? undefined : numberOf(value);
  if (text === undefined && number === undefined) {
    if (spec !== "") throw new TemplateError(`unsupported format string passed to ${typeName(value)}.__format__`);
    return str(value, budget);
  }
  const parts = SPECIFICATION.exec(spec);
  if (parts === null) throw new TemplateError("Invalid format specifier");
  const [, fill, align, sign = "", , alternate, zero, width = "0", grouping = "", precision, letter = ""] = parts;
  const specification: Specification = {
    fill: fill ?? (zero === undefined ? " " : "0"),
    align: align ?? (zero !== undefined && number !== undefined ? "=" : undefined),
    sign,
    isAlternate: alternate !== undefined,
    width: Number(width),
    grouping,
    precision: precision === undefined ? undefined : Number(precision),
    letter,
  };
  budget.make(specification.width);
  budget.compute(number);
  budget.spend((specification.precision ?? 0) / 4);
  if (text !== undefined) return formatText(text, specification, typeName(value));
  return typeof number === "object"
    ? formatFloat(number.value, specification)
    : formatInt(number as Int, specification);
}

function formatText(text: string, specification: Specification, type: string): string {
  const { sign, isAlternate, grouping, precision, letter } = specification;
  if (letter !== "" && letter !== "s") throw unknownCode(letter, type);
  if (sign !== "" || isAlternate || grouping !== "" || specification.align === "=") {
    throw new TemplateError("not allowed in string format specifier");
  }
  return pad(precision === undefined ? text : pointSlice(text, 0, precision), specification, "<");
}

function unknownCode(letter: string, type: string): TemplateError {
  return new TemplateError(`Unknown format code '${letter}' for object of type '${type}'`);
}

function pad(text: string, { fill, align, width }: Specification, otherwise: string): string {
  const missing = Math.max(0, width - pointCount(text));
  const side = align ?? otherwise;
  const left = side === "<" ? 0 : side === "^" ? Math.floor(missing / 2) : missing;
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

function formatInt(value: Int, specification: Specification): string {
  const { letter, precision, isAlternate, grouping } = specification;
  if ("eEfFgG%".includes(letter) && letter !== "") return formatFloat(toDouble(value), specification);
  if (precision !== undefined) throw new TemplateError("Precision not allowed in integer format specifier");
  const size = value < 0 ? -value : value;
  if (letter === "c") {
    if (specification.sign !== "" || isAlternate)
      throw new TemplateError("not allowed with integer format specifier 'c'");
    if (value < 0 || value > 0x10ffff) throw new TemplateError("%c arg not in range(0x110000)");
    return pad(String.fromCodePoint(Number(value)), specification, "<");
  }
  const radix = { "": 10, d: 10, n: 10, b: 2, o: 8, x: 16, X: 16 }[letter];
  if (radix === undefined) throw unknownCode(letter, "int");
  if (radix !== 10 && grouping === ",") throw new TemplateError(`Cannot specify ',' with '${letter}'.`);
  const digits = radix === 10 ? intText(size) : size.toString(radix);
  const prefix = isAlternate && radix !== 10 ? `0${letter}` : "";
  return padNumber(
    letter === "X" ? digits.toUpperCase() : digits,
    "",
    prefix,
    value < 0,
    specification,
    radix === 10 ? 3 : 4,
  );
}

function formatFloat(value: number, specification: Specification): string {
  const { letter, precision, isAlternate } = specification;
  if (letter !== "" && !"eEfFgGn%".includes(letter)) throw unknownCode(letter, "float");
  let text: string;
  if (letter === "") {
    text = precision === undefined ? floatText(Math.abs(value)) : likeRepr(value, precision, isAlternate);
  } else if (letter === "%") {
    text = `${formatSize(value * 100, "f", precision ?? 6, isAlternate)}%`;
  } else {
    text = formatSize(value, letter === "n" ? "g" : letter, precision ?? 6, isAlternate);
  }
  const whole = /^\d*/.exec(text)?.[0] ?? "";
  return padNumber(whole, text.slice(whole.length), "", value < 0 || Object.is(value, -0), specification, 3);
}

/** As g, but with a digit after the point at least, and an exponent from one digit fewer on. */
function likeRepr(value: number, precision: number, isAlternate: boolean): string {
  const text = formatSize(value, "g", precision, isAlternate);
  if (!/^\d+$/.test(text)) return text;
  return text.length >= Math.max(1, precision)
    ? formatSize(value, "e", Math.max(1, precision) - 1, isAlternate).replace(/\.?0*e/, "e")
    : `${text}.0`;
}

function padNumber(
  whole: string,
  rest: string,
  prefix: string,
  isNegative: boolean,
  specification: Specification,
  group: number,
): string {
  const { sign, grouping, width, fill, align } = specification;
  const head = `${isNegative ? "-" : sign === "-" ? "" : sign}${prefix}`;
  const fills = align === "=" && fill === "0";
  let digits = whole;
  if (grouping !== "") {
    const room = width - head.length - rest.length;
    digits = grouped(whole, grouping, group);
    if (fills) {
      let length = whole.length;
      while (grouped(whole.padStart(length, "0"), grouping, group).length < room) length++;
      digits = grouped(whole.padStart(length, "0"), grouping, group);
    }
  }
  if (align === "=") {
    return head + fill.repeat(Math.max(0, width - head.length - digits.length - rest.length)) + digits + rest;
  }
  return pad(`${head}${digits}${rest}`, specification, ">");
}

function grouped(digits: string, mark: string, size: number): string {
  const start = digits.length % size;
  const groups = start === 0 ? [] : [digits.slice(0, start)];
  for (let at = start; at < digits.length; at += size) groups.push(digits.slice(at, at + size));
  return groups.join(mark);
}
