/** Python's arithmetic: ints of any size, floats, and how both are written and read. */

import { TemplateError } from "./errors.ts";
import { DIGITS_MAX, Float, type Int, isInt, toInt, type Value } from "./values.ts";

/** Most bits of an int: more than those digits can write. */
const BITS_MAX = 2 ** 14;

/** The number that a value is in arithmetic; undefined for what is none. */
export function numberOf(value: Value): Int | Float | undefined {
  if (typeof value === "boolean") return Number(value);
  return isInt(value) || value instanceof Float ? value : undefined;
}

/** A number as a double. @throws TemplateError when it is too large. */
export function toDouble(value: Int | Float): number {
  if (value instanceof Float) return value.value;
  const double = Number(value);
  if (!Number.isFinite(double)) throw new TemplateError("int too large to convert to float");
  return double;
}

/** An int from a whole double. */
export function intOf(double: number): Int {
  if (Number.isNaN(double)) throw new TemplateError("cannot convert float NaN to integer");
  if (!Number.isFinite(double)) throw new TemplateError("cannot convert float infinity to integer");
  return toInt(BigInt(Math.trunc(double)));
}

/** Computes with two numbers. @throws TemplateError. */
export function compute(operator: string, a: Int | Float, b: Int | Float): Int | Float {
  if (a instanceof Float || b instanceof Float) return new Float(computeFloats(operator, toDouble(a), toDouble(b)));
  if (operator === "/") {
    if (Number(b) === 0) throw new TemplateError("division by zero");
    const quotient = Number(a) / Number(b);
    if (!Number.isFinite(quotient)) throw new TemplateError("integer division result too large for a float");
    return new Float(quotient);
  }
  if (operator === "**") return power(a, b);
  if (typeof a === "number" && typeof b === "number") {
    const result = computeSmall(operator, a, b);
    if (Number.isSafeInteger(result)) return result + 0;
  }
  return computeLarge(operator, BigInt(a), BigInt(b));
}

function computeSmall(operator: string, a: number, b: number): number {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    default: {
      if (b === 0) throw new TemplateError("integer division or modulo by zero");
      const rest = a % b;
      const isBelow = rest !== 0 && rest < 0 !== b < 0;
      if (operator === "%") return isBelow ? rest + b : rest;
      return (a - rest) / b - (isBelow ? 1 : 0);
    }
  }
}

function computeLarge(operator: string, a: bigint, b: bigint): Int {
  switch (operator) {
    case "+":
      return bounded(a + b);
    case "-":
      return bounded(a - b);
    case "*":
      return bounded(a * b);
    default: {
      if (b === 0n) throw new TemplateError("integer division or modulo by zero");
      const rest = a % b;
      const isBelow = rest !== 0n && rest < 0n !== b < 0n;
      if (operator === "%") return toInt(isBelow ? rest + b : rest);
      return toInt((a - rest) / b - (isBelow ? 1n : 0n));
    }
  }
}

/** Checks the size of an int. */
function bounded(value: bigint): Int {
  const small = toInt(value);
  if (typeof small === "bigint" && bitLength(small) > BITS_MAX) throw tooLarge();
  return small;
}

/** How many bits an int has, without its sign. */
export function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  const digits = (value < 0n ? -value : value).toString(16);
  return digits.length * 4 - (Math.clz32(Number.parseInt(digits[0] as string, 16)) - 28);
}

function tooLarge(): TemplateError {
  return new TemplateError(`the chat template makes a number of more than ${BITS_MAX} bits`);
}

function power(a: Int, b: Int): Int | Float {
  const base = BigInt(a);
  const exponent = BigInt(b);
  if (exponent < 0n) {
    if (base === 0n) throw new TemplateError("0.0 cannot be raised to a negative power");
    return new Float(toDouble(a) ** toDouble(b));
  }
  if (base === 0n || base === 1n) return exponent === 0n ? 1 : Number(base);
  if (base === -1n) return exponent % 2n === 0n ? 1 : -1;
  if (exponent > BigInt(BITS_MAX) || bitLength(base) * Number(exponent) > 2 * BITS_MAX) throw tooLarge();
  return bounded(base ** exponent);
}

function computeFloats(operator: string, a: number, b: number): number {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      if (b === 0) throw new TemplateError("float division by zero");
      return a / b;
    case "**": {
      if (a === 0 && b < 0) throw new TemplateError("0.0 cannot be raised to a negative power");
      // JavaScript differs for ones and infinite exponents.
      const result = a === 1 || (a === -1 && !Number.isFinite(b) && !Number.isNaN(b)) ? 1 : a ** b;
      if (Number.isNaN(result) && !Number.isNaN(a) && !Number.isNaN(b)) {
        throw new TemplateError("a root of a negative number is complex, which is not supported");
      }
      if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b)) {
        throw new TemplateError("(34, 'Numerical result out of range')");
      }
      return result;
    }
    default: {
      if (b === 0) throw new TemplateError(operator === "%" ? "float modulo" : "float floor division by zero");
      return operator === "%" ? modulo(a, b) : floorDivision(a, b);
    }
  }
}

function modulo(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 === b < 0 ? rest : rest + b;
}

function floorDivision(a: number, b: number): number {
  const rest = a % b;
  const quotient = (a - rest) / b - (rest !== 0 && rest < 0 !== b < 0 ? 1 : 0);
  if (quotient === 0) return a / b < 0 || Object.is(a / b, -0) ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

/** Compares two numbers: negative, zero, positive, or NaN where one of them is. */
export function compareNumbers(a: Int | Float, b: Int | Float): number {
  const x = a instanceof Float ? a.value : a;
  const y = b instanceof Float ? b.value : b;
  if (x < y) return -1;
  if (x > y) return 1;
  return Number.isNaN(x) || Number.isNaN(y) ? Number.NaN : 0;
}

/** An int as str() writes it. @throws TemplateError when it has too many digits. */
export function intText(value: Int): string {
  if (typeof value === "number") return String(value);
  // A digit has some 3.3 bits; more need not be written to be counted.
  const text = value.toString();
  if (text.length - (value < 0n ? 1 : 0) > DIGITS_MAX) {
    throw new TemplateError(`Exceeds the limit (${DIGITS_MAX} digits) for integer string conversion`);
  }
  return text;
}

/** A double as str() writes it: the fewest digits that mean it, with an exponent where that is below -4 or above 15. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [, sign, first, rest = "", power] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(
    value.toExponential(),
  ) as RegExpExecArray;
  const exponent = Number(power);
  const digits = `${first}${rest}`;
  if (exponent < -4 || exponent >= 16) {
    return `${sign}${first}${rest === "" ? "" : `.${rest}`}${exponentText(exponent)}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

/** A power of ten behind a number's digits, in two digits at least. */
export function exponentText(exponent: number): string {
  return `e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** A finite, non-negative double as a fraction of ints. */
function fractionOf(value: number): { numerator: bigint; denominator: bigint } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 0x7ffn);
  const mantissa = (bits & 0xfffffffffffffn) | (exponent === 0 ? 0n : 1n << 52n);
  const power = Math.max(exponent, 1) - 1075;
  return power >= 0
    ? { numerator: mantissa << BigInt(power), denominator: 1n }
    : { numerator: mantissa, denominator: 1n << BigInt(-power) };
}

/** A quotient of non-negative ints rounded to the nearest int, of two as near to the even one. */
function roundedQuotient(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = 2n * (numerator - quotient * denominator);
  return twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient;
}

/** A finite, non-negative double in decimal with so many digits after the point, rounded as Python does. */
export function fixedText(value: number, digits: number): string {
  const { numerator, denominator } = fractionOf(value);
  const text = roundedQuotient(numerator * 10n ** BigInt(digits), denominator)
    .toString()
    .padStart(digits + 1, "0");
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** A finite, non-negative double as so many significant digits and the power of ten of the first of them. */
export function significantDigits(value: number, count: number): { digits: string; exponent: number } {
  if (value === 0) return { digits: "0".repeat(count), exponent: 0 };
  const { numerator, denominator } = fractionOf(value);
  let exponent = Number(/e(.*)$/.exec(value.toExponential(20))?.[1]);
  for (;;) {
    const shift = count - 1 - exponent;
    const digits = (
      shift >= 0
        ? roundedQuotient(numerator * 10n ** BigInt(shift), denominator)
        : roundedQuotient(numerator, denominator * 10n ** BigInt(-shift))
    ).toString();
    if (digits.length === count) return { digits, exponent };
    exponent += digits.length - count;
  }
}

/** Rounds to so many digits after the point, which may be negative, as round() does. */
export function round(value: Int | Float, digits: number): Int | Float {
  if (!(value instanceof Float)) {
    if (digits >= 0) return value;
    if (-digits > DIGITS_MAX) return 0;
    const unit = 10n ** BigInt(-digits);
    const size = BigInt(value) < 0n ? -BigInt(value) : BigInt(value);
    const rounded = roundedQuotient(size, unit) * unit;
    return toInt(BigInt(value) < 0n ? -rounded : rounded);
  }
  const { value: double } = value;
  if (!Number.isFinite(double) || digits > 323) return value;
  if (digits < -308) return new Float(double < 0 ? -0 : 0);
  const size = Math.abs(double);
  let rounded: number;
  if (digits >= 0) {
    rounded = Number(fixedText(size, digits));
  } else {
    const { numerator, denominator } = fractionOf(size);
    const unit = 10n ** BigInt(-digits);
    rounded = Number(roundedQuotient(numerator, denominator * unit) * unit);
  }
  if (!Number.isFinite(rounded)) throw new TemplateError("rounded value too large to represent");
  return new Float(double < 0 || Object.is(double, -0) ? -rounded : rounded);
}

/** The int that a text means to int(); undefined when it means none. @param base 0, or 2 to 36. */
export function readInt(text: string, base: number): Int | undefined {
  const parts = /^([+-]?)(0[bBoOxX])?(_?[0-9a-zA-Z]+(?:_[0-9a-zA-Z]+)*)$/.exec(text);
  if (parts === null) return undefined;
  const [, sign, , written] = parts as unknown as [string, string, string | undefined, string];
  let prefix = parts[2]?.toLowerCase();
  let radix = base;
  let rest = written;
  const meant = prefix === "0b" ? 2 : prefix === "0o" ? 8 : 16;
  if (prefix !== undefined && base !== 0 && base !== meant) {
    rest = `${parts[2]}${written}`;
    prefix = undefined;
  }
  if (prefix === undefined && rest.startsWith("_")) return undefined;
  if (prefix !== undefined) radix = meant;
  else if (base === 0) {
    if (/^0[0_]*[1-9a-zA-Z]/.test(rest)) return undefined;
    radix = 10;
  }
  const digits = rest.replaceAll("_", "").toLowerCase();
  let value = 0n;
  if (radix === 10) {
    if (digits.length > DIGITS_MAX || !/^\d+$/.test(digits)) return undefined;
    value = BigInt(digits);
  } else {
    if (digits.length > DIGITS_MAX || [...digits].some((digit) => Number.parseInt(digit, 36) >= radix))
      return undefined;
    // Several digits at a time are as many as a number holds.
    for (let at = 0; at < digits.length; at += 10) {
      const some = digits.slice(at, at + 10);
      value = value * BigInt(radix) ** BigInt(some.length) + BigInt(Number.parseInt(some, radix));
    }
  }
  return toInt(sign === "-" ? -value : value);
}

/** The double that a text without white space around it means to float(); undefined when it means none. */
export function readFloat(text: string): number | undefined {
  if (/^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+(?:_\d+)*)?$/.test(text)) {
    return Number(text.replaceAll("_", ""));
  }
  const word = /^([+-]?)(inf|infinity|nan)$/i.exec(text);
  if (word === null) return undefined;
  const value = word[2]?.toLowerCase() === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
  return word[1] === "-" ? -value : value;
}
