/** `'%s is %d' % values`: formatting in the manner of printf. */

import { type Budget, TextBuilder } from "./budget.ts";
import { pointCount, pointSlice, points } from "./characters.ts";
import { TemplateError } from "./errors.ts";
import { formatSize } from "./float_format.ts";
import { escapeText } from "./markup.ts";
import { intOf, intText, numberOf, toDouble } from "./numbers.ts";
import { ascii, repr, str } from "./repr.ts";
import { Dict, Float, isInt, isList, Markup, Range, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";

const CONVERSION = /%(?:\(([^()]*(?:\([^()]*\)[^()]*)*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([\s\S])?/gu;

/** One conversion, read. */
interface Conversion {
  flags: string;
  width: number;
  precision: number | undefined;
  letter: string;
}

/**
 * Formats values.
 *
 * @param values a tuple of them, a dict of them by names, or a single one.
 * @param escapes whether they are escaped, as into a text that is marked as safe.
 * @throws TemplateError.
 */
export function formatPercent(format: string, values: Value, budget: Budget, escapes = false): string {
  const builder = new TextBuilder(budget);
  const list = values instanceof Tuple ? values.items : [values];
  let used = 0;
  let usesNames = false;
  const next = (): Value => {
    if (used >= list.length) throw new TemplateError("not enough arguments for format string");
    return list[used++] as Value;
  };
  budget.read(format.length);
  let at = 0;
  for (const match of format.matchAll(CONVERSION)) {
    if (match.index < at) continue;
    budget.spend(1);
    builder.add(format.slice(at, match.index));
    at = match.index + match[0].length;
    const [whole, name, flags = "", width, precision, letter] = match;
    if (letter === undefined) throw new TemplateError("incomplete format");
    const conversion: Conversion = { flags, width: 0, precision: undefined, letter };
    const starred = (given: string) => (given === "*" ? wholeNumber(next()) : Number(given));
    if (width !== undefined) conversion.width = starred(width);
    if (whole.includes(".", (name?.length ?? -2) + 2))
      conversion.precision = Math.max(0, precision === undefined ? 0 : starred(precision));
    if (conversion.width < 0) Object.assign(conversion, { flags: `${flags}-`, width: -conversion.width });
    if (letter === "%") {
      builder.add("%");
      continue;
    }
    let value: Value;
    if (name === undefined) {
      value = next();
    } else {
      if (!(values instanceof Dict)) throw new TemplateError("format requires a mapping");
      const found = values.get(name);
      if (found === undefined) throw new TemplateError(`'${name}'`);
      usesNames = true;
      value = found;
    }
    budget.make(conversion.width);
    builder.add(convert(value, conversion, budget, escapes));
  }
  builder.add(format.slice(at));
  const isMapping = values instanceof Dict || isList(values) || values instanceof Range;
  if (used < list.length && !usesNames && !isMapping && !(values instanceof Undefined)) {
    throw new TemplateError("not all arguments converted during string formatting");
  }
  return builder.text;
}

function wholeNumber(value: Value): number {
  if (!isInt(value)) throw new TemplateError("* wants int");
  return Number(value);
}

function convert(value: Value, conversion: Conversion, budget: Budget, escapes: boolean): string {
  const { letter, precision } = conversion;
  budget.compute(value);
  budget.spend((precision ?? 0) / 4);
  if (letter === "s" || letter === "r" || letter === "a") {
    const written = letter === "s" ? str(value, budget) : letter === "r" ? repr(value, budget) : ascii(value, budget);
    const text = escapes && !(letter === "s" && value instanceof Markup) ? escapeText(written, budget) : written;
    return padText(precision === undefined ? text : pointSlice(text, 0, precision), conversion);
  }
  if (letter === "c") return padText(character(value), conversion);
  if ("diuxXo".includes(letter)) return convertInt(value, conversion);
  if (!"eEfFgG".includes(letter)) throw new TemplateError(`unsupported format character '${letter}'`);
  const number = numberOf(value);
  if (number === undefined) {
    if (value instanceof Undefined) value.fail();
    throw new TemplateError(`must be real number, not ${typeName(value)}`);
  }
  const double = toDouble(number);
  const size = formatSize(double, letter, precision ?? 6, conversion.flags.includes("#"));
  return padNumber(size, "", double < 0 || Object.is(double, -0), conversion, Number.isFinite(double));
}

function character(value: Value): string {
  const text = textOf(value);
  if (text !== undefined && points(text).length === 1) return text;
  const point = typeof value === "boolean" ? Number(value) : value;
  if (!isInt(point) || point < 0 || point > 0x10ffff) throw new TemplateError("%c requires int or char");
  return String.fromCodePoint(Number(point));
}

function convertInt(value: Value, conversion: Conversion): string {
  const { letter, flags, precision = 0 } = conversion;
  const given = numberOf(value);
  const isDecimal = "diu".includes(letter);
  if (given === undefined || (given instanceof Float && !isDecimal)) {
    if (value instanceof Undefined) value.fail();
    throw new TemplateError(
      `%${letter} format: ${isDecimal ? "a real number" : "an integer"} is required, not ${typeName(value)}`,
    );
  }
  const number = given instanceof Float ? intOf(given.value) : given;
  const size = number < 0 ? -number : number;
  const radix = letter === "o" ? 8 : 16;
  let digits = isDecimal ? intText(size) : size.toString(radix);
  if (precision > 10_000) throw new TemplateError("precision too large");
  digits = digits.padStart(precision, "0");
  const prefix = flags.includes("#") && !isDecimal ? `0${letter}` : "";
  return padNumber(letter === "X" ? digits.toUpperCase() : digits, prefix, number < 0, conversion, true);
}

function padNumber(
  size: string,
  prefix: string,
  isNegative: boolean,
  { flags, width }: Conversion,
  takesZeros: boolean,
): string {
  const sign = isNegative ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
  const head = `${sign}${prefix}`;
  if (flags.includes("-")) return `${head}${size}`.padEnd(width);
  if (flags.includes("0") && takesZeros) return head + size.padStart(width - head.length, "0");
  return `${head}${size}`.padStart(width);
}

function padText(text: string, { flags, width }: Conversion): string {
  const missing = width - pointCount(text);
  if (missing <= 0) return text;
  return flags.includes("-") ? text + " ".repeat(missing) : " ".repeat(missing) + text;
}
