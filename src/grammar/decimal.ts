/** Decimal numbers of any length, digit by digit: what a schema says of numbers is followed exactly, whether or not a double can hold it. */

import { JsonNumber, membersOf } from "../json.ts";

/** A number without exponent. Zero is not negative. */
export interface Decimal {
  isNegative: boolean;
  /** Digits before the point, without zeros at their front, and after it, without zeros at their end: "0" and "" for zero. */
  whole: string;
  fraction: string;
}

/** Most digits that an exponent may stand for. */
const DIGITS_MAX = 1000;

/** A number of JSON as a decimal; undefined for other values and for exponents that nobody means. */
export function decimalOf(value: unknown): Decimal | undefined {
  const text = value instanceof JsonNumber ? value.text : typeof value === "number" ? String(value) : "";
  const [, sign, before = "", after = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const shift = Number(exponent);
  if (sign === undefined || Math.abs(shift) > DIGITS_MAX) return undefined;
  const digits = before.padStart(Math.max(0, -shift) + before.length, "0") + after.padEnd(shift, "0");
  const point = Math.max(0, -shift) + before.length + shift;
  const whole = digits.slice(0, point).replace(/^0+(?=.)/, "") || "0";
  const fraction = digits.slice(point).replace(/0+$/, "");
  return { isNegative: sign === "-" && !isZero({ whole, fraction }), whole, fraction };
}

/** An integer as a decimal. */
export function decimalOfInteger(value: bigint): Decimal {
  return { isNegative: value < 0n, whole: String(value < 0n ? -value : value), fraction: "" };
}

/** Negative when the first is less, positive when it is more. */
export function compareDecimals(one: Decimal, other: Decimal): number {
  if (one.isNegative !== other.isNegative) return one.isNegative ? -1 : 1;
  const sign = one.isNegative ? -1 : 1;
  if (one.whole.length !== other.whole.length) return sign * (one.whole.length - other.whole.length);
  const [a, b] = [one.whole + one.fraction, other.whole + other.fraction];
  return a === b ? 0 : a < b ? -sign : sign;
}

/** The same decimal on the other side of zero. */
export function negated(decimal: Decimal): Decimal {
  return { ...decimal, isNegative: !decimal.isNegative && !isZero(decimal) };
}

/** Whether a decimal is zero. */
export function isZero({ whole, fraction }: Omit<Decimal, "isNegative">): boolean {
  return whole === "0" && fraction === "";
}

/** The nearest integer that is not less, or for -1 not more. */
export function roundedInteger({ isNegative, whole, fraction }: Decimal, direction: 1 | -1): bigint {
  const integer = BigInt(whole) * (isNegative ? -1n : 1n);
  const isAway = fraction !== "" && isNegative === (direction === -1);
  return isAway ? integer + BigInt(direction) : integer;
}

/** A text that is the same for values that JSON Schema calls equal: 1 and 1.0, objects whatever their order. */
export function equalityKey(value: unknown): string {
  if (typeof value === "number" || value instanceof JsonNumber) {
    const decimal = decimalOf(value);
    if (decimal === undefined) return JSON.stringify(value);
    return `${decimal.isNegative ? "-" : ""}${decimal.whole}.${decimal.fraction}`;
  }
  if (Array.isArray(value)) return `[${value.map(equalityKey).join()}]`;
  const members = membersOf(value);
  if (members === undefined) return JSON.stringify(value);
  return `{${members
    .map(([name, member]) => `${JSON.stringify(name)}:${equalityKey(member)}`)
    .sort()
    .join()}}`;
}
