/** Numbers in the forms that both `%` and format() know: %f, %e, %g and their kin. */

import { TemplateError } from "./errors.ts";
import { exponentText, fixedText, significantDigits } from "./numbers.ts";

/** Most digits after the point. */
const PRECISION_MAX = 1000;

/**
 * A double without its sign.
 *
 * @param kind e, f or g; a capital letter for capitals in the result.
 * @param isAlternate whether the point is always there, and g keeps its zeros.
 * @throws TemplateError when the precision is too large.
 */
export function formatSize(value: number, kind: string, precision: number, isAlternate: boolean): string {
  const size = Math.abs(value);
  if (precision > PRECISION_MAX) throw new TemplateError(`more than ${PRECISION_MAX} digits after the point`);
  const text = Number.isFinite(size)
    ? formatFinite(size, kind.toLowerCase(), precision, isAlternate)
    : Number.isNaN(size)
      ? "nan"
      : "inf";
  return kind === kind.toUpperCase() ? text.toUpperCase() : text;
}

function formatFinite(size: number, kind: string, precision: number, isAlternate: boolean): string {
  if (kind === "f") return withPoint(fixedText(size, precision), isAlternate);
  if (kind === "e") {
    const { digits, exponent } = significantDigits(size, precision + 1);
    return `${mantissa(digits, isAlternate)}${exponentText(exponent)}`;
  }
  const count = precision === 0 ? 1 : precision;
  const { digits, exponent } = significantDigits(size, count);
  const kept = isAlternate ? digits : digits.replace(/0+$/, "") || "0";
  if (exponent < -4 || exponent >= count) return `${mantissa(kept, isAlternate)}${exponentText(exponent)}`;
  if (exponent < 0) return `0.${"0".repeat(-exponent - 1)}${kept}`;
  const whole = kept.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  const rest = kept.slice(exponent + 1);
  return rest === "" ? withPoint(whole, isAlternate) : `${whole}.${rest}`;
}

function withPoint(text: string, isAlternate: boolean): string {
  return isAlternate && !text.includes(".") ? `${text}.` : text;
}

function mantissa(digits: string, isAlternate: boolean): string {
  return digits.length === 1 ? withPoint(digits, isAlternate) : `${digits[0]}.${digits.slice(1)}`;
}
