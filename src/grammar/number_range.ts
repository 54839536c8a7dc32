/**
 * Numbers between bounds, digit by digit: the grammar's nodes say how the digits so far compare with those of the bounds.
 */

import type { GrammarBuilder, Node, Part } from "./grammar_builder.ts";

/** One bound. */
export interface Bound {
  value: number;
  isExclusive: boolean;
}

/** What is asked of a number. */
export interface NumberRange {
  low?: Bound;
  high?: Bound;
  isInteger: boolean;
  /** A positive integer that it has to be a multiple of; only of integers. */
  multipleOf: number;
}

/** Most digits of a number that isn't an integer: so many can be told apart in any double. */
export const DECIMAL_DIGITS_MAX = 15;

/** A bound without its sign: digits before the point, without leading zeros, and after it, without trailing ones. */
interface Digits {
  whole: string;
  fraction: string;
  isExclusive: boolean;
}

/** A number within a range, as digits without exponent. Integers lie within ±(2^53 − 1) in any case. */
export function numberWithin(builder: GrammarBuilder, range: NumberRange): Part {
  const { isInteger } = range;
  const most = Number.MAX_SAFE_INTEGER;
  const low = isInteger ? highest([integerBound(range.low, 1), { value: -most, isExclusive: false }]) : range.low;
  const high = isInteger ? lowest([integerBound(range.high, -1), { value: most, isExclusive: false }]) : range.high;
  const parts: Part[] = [];
  // From 0 up, and below it; integers have no −0.
  if (high === undefined || high.value >= 0) {
    parts.push(magnitude(builder, low === undefined || low.value < 0 ? undefined : low, high, range));
  }
  if (low === undefined || low.value < 0) {
    const least = high !== undefined && high.value <= 0 ? negated(high) : { value: 0, isExclusive: false };
    if (least.value === 0 && isInteger) least.isExclusive = true;
    const negative = magnitude(builder, least, low === undefined ? undefined : negated(low), range);
    parts.push(builder.sequence(builder.text("-"), negative));
  }
  return builder.choice(...parts);
}

function negated({ value, isExclusive }: Bound): Bound {
  return { value: -value, isExclusive };
}

/** The same bound for integers, at an integer and inclusive. */
function integerBound(bound: Bound | undefined, direction: 1 | -1): Bound | undefined {
  if (bound === undefined) return undefined;
  const { value, isExclusive } = bound;
  const whole = direction === 1 ? Math.ceil(value) : Math.floor(value);
  return { value: isExclusive && whole === value ? whole + direction : whole, isExclusive: false };
}

function highest(bounds: (Bound | undefined)[]): Bound {
  return (bounds.filter((bound) => bound !== undefined) as Bound[]).reduce((a, b) => (b.value > a.value ? b : a));
}

function lowest(bounds: (Bound | undefined)[]): Bound {
  return (bounds.filter((bound) => bound !== undefined) as Bound[]).reduce((a, b) => (b.value < a.value ? b : a));
}

/** The decimal digits of a double that is not negative: the shortest that mean it. */
function digitsOf({ value, isExclusive }: Bound): Digits {
  const [mantissa = "0", exponent = "0"] = String(Math.abs(value)).split("e");
  const [before = "0", after = ""] = mantissa.split(".");
  const shift = Number(exponent);
  let whole = before;
  let fraction = after;
  if (shift > 0) {
    const padded = after.padEnd(shift, "0");
    whole = before + padded.slice(0, shift);
    fraction = padded.slice(shift);
  } else if (shift < 0) {
    const padded = before.padStart(1 - shift, "0");
    whole = padded.slice(0, padded.length + shift);
    fraction = padded.slice(padded.length + shift) + after;
  }
  return { whole: whole.replace(/^0+(?=\d)/, ""), fraction: fraction.replace(/0+$/, ""), isExclusive };
}

/** Less, equal or more than a bound, as far as was read. */
type Comparison = -1 | 0 | 1;

function compare(digit: string, other: string): Comparison {
  return digit < other ? -1 : digit > other ? 1 : 0;
}

/** Digits of a number that is not negative, between bounds that are not. */
function magnitude(builder: GrammarBuilder, low: Bound | undefined, high: Bound | undefined, range: NumberRange): Part {
  const bounds = [low, high].map((bound) => (bound === undefined ? undefined : digitsOf(bound)));
  const digitsMax = range.isInteger ? 16 : DECIMAL_DIGITS_MAX;
  interface State {
    /** Digits so far, before the point and after it. */
    whole: number;
    fraction: number;
    /** Whether the digit before the point is a zero, behind which none may follow. */
    isZero: boolean;
    compared: readonly Comparison[];
    remainder: number;
  }

  /** How a whole part of so many digits compares, when it has ended. */
  const wholeCompared = ({ whole, compared }: State) =>
    bounds.map((bound, i): Comparison => {
      if (bound === undefined) return 0;
      return whole === bound.whole.length ? (compared[i] as Comparison) : whole < bound.whole.length ? -1 : 1;
    });
  const isWithin = (state: State): boolean => {
    if (state.remainder !== 0) return false;
    const compared = state.fraction === 0 ? wholeCompared(state) : state.compared;
    return bounds.every((bound, i) => {
      if (bound === undefined) return true;
      // What the bound has after the last digit makes it larger.
      const order = compared[i] === 0 && bound.fraction.length > state.fraction ? -1 : compared[i];
      return order === 0 ? !bound.isExclusive : order === (i === 0 ? 1 : -1);
    });
  };

  return (from) => {
    const to = builder.node();
    const known = new Map<string, Node>();
    const pending: [State, Node][] = [];
    const nodeOf = (state: State): Node => {
      const key = JSON.stringify(state);
      let node = known.get(key);
      if (node === undefined) {
        node = builder.node();
        known.set(key, node);
        pending.push([state, node]);
      }
      return node;
    };
    const readDigits = (node: Node, first: number, next: (digit: number) => State) => {
      for (let digit = first; digit <= 9; digit++) {
        builder.bytes(node, 0x30 + digit, 0x30 + digit, nodeOf(next(digit)));
      }
    };
    const wholeDigit = (state: State, digit: number): State => ({
      ...state,
      whole: state.whole + 1,
      isZero: state.whole === 0 && digit === 0,
      compared: bounds.map((bound, i) => {
        const so = state.compared[i] as Comparison;
        return so !== 0 || bound === undefined || state.whole >= bound.whole.length
          ? so
          : compare(String(digit), bound.whole[state.whole] as string);
      }),
      remainder: (state.remainder * 10 + digit) % range.multipleOf,
    });
    const fractionDigit = (state: State, digit: number): State => ({
      ...state,
      fraction: state.fraction + 1,
      compared: bounds.map((bound, i) => {
        const so = state.compared[i] as Comparison;
        return so !== 0 || bound === undefined ? so : compare(String(digit), bound.fraction[state.fraction] ?? "0");
      }),
    });
    const begin: State = { whole: 0, fraction: 0, isZero: false, compared: [0, 0], remainder: 0 };
    readDigits(from, 0, (digit) => wholeDigit(begin, digit));
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const [state, node] = next;
      if (isWithin(state)) builder.empty(node, to);
      const digitCount = state.whole + state.fraction;
      if (digitCount >= digitsMax) continue;
      if (state.fraction > 0) {
        readDigits(node, 0, (digit) => fractionDigit(state, digit));
        continue;
      }
      if (!state.isZero) readDigits(node, 0, (digit) => wholeDigit(state, digit));
      if (range.isInteger) continue;
      const point = builder.node();
      builder.bytes(node, 0x2e, 0x2e, point);
      readDigits(point, 0, (digit) => fractionDigit({ ...state, compared: wholeCompared(state) }, digit));
    }
    return to;
  };
}
