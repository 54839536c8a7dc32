/**
 * Numbers between bounds, digit by digit: the grammar's nodes say how the digits so far compare with those of the bounds.
 */

import { compareDecimals, type Decimal, decimalOfInteger, isZero, negated, roundedInteger } from "./decimal.ts";
import type { GrammarBuilder, Node, Part } from "./grammar_builder.ts";

/** One bound. */
export interface Bound {
  value: Decimal;
  isExclusive: boolean;
}

/** What is asked of a number. */
export interface NumberRange {
  low: Bound | undefined;
  high: Bound | undefined;
  isInteger: boolean;
  /** What it has to be a multiple of. Its digits as an integer are at most MULTIPLE_MAX. */
  multipleOf: Decimal | undefined;
}

/** Largest multipleOf, without its point: its remainders are counted out. */
export const MULTIPLE_MAX = 1000;

/** Most remainders of one number, for each digit that it may have. */
const REMAINDERS_MAX = 11_700;

/** Most digits of a number that isn't an integer: so many can be told apart in any double. */
export const DECIMAL_DIGITS_MAX = 15;

/** Integers that no bound reaches beyond are those that any double holds. */
const SAFE_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** A bound that lies beyond this is as good as none. */
const INTEGER_MAX = 10n ** 40n;

/** Whether a multipleOf is too large for as many digits as a number of this range may have. */
export function hasTooManyRemainders(range: NumberRange): boolean {
  const { multipleOf } = range;
  if (multipleOf === undefined) return false;
  const bounds = range.isInteger || multipleOf.fraction === "" ? integerBounds(range) : range;
  if (bounds === undefined) return false;
  const { low, high } = bounds;
  const multiple = Number(multipleOf.whole + multipleOf.fraction);
  const digits = [low, high].map((bound) => Math.min(bound?.value.whole.length ?? 16, 16));
  const isOneSided = low !== undefined && high !== undefined && low.value.isNegative === high.value.isNegative;
  const counted = isOneSided ? Math.max(...digits) : digits.reduce((sum, count) => sum + count, 0);
  return multiple * counted * (1 + multipleOf.fraction.length) > REMAINDERS_MAX;
}

/**
 * A number within a range, as digits without exponent. Integers lie within ±(2^53 − 1), unless a bound reaches beyond that: then they
 * lie within that bound, or if there is only one they have at most one digit more.
 *
 * @param path where the schema says so.
 */
export function numberWithin(builder: GrammarBuilder, range: NumberRange, path: string): Part {
  const isInteger = range.isInteger || range.multipleOf?.fraction === "";
  const bounds = isInteger ? integerBounds(range) : range;
  if (bounds === undefined || isEmpty(bounds)) {
    return builder.nothing({ path, message: `no ${isInteger ? "integer" : "number"} lies within its bounds` });
  }
  const { low, high } = bounds;
  const whole = { ...range, isInteger };
  const parts: Part[] = [];
  // From 0 up, and below it; integers have no −0.
  if (high === undefined || !high.value.isNegative) {
    parts.push(magnitude(builder, low === undefined || low.value.isNegative ? undefined : low, high, whole));
  }
  if (low === undefined || low.value.isNegative) {
    const isBelowZero = high !== undefined && (high.value.isNegative || isZero(high.value));
    const least = isBelowZero ? onOtherSide(high) : { value: decimalOfInteger(0n), isExclusive: false };
    if (isZero(least.value) && isInteger) least.isExclusive = true;
    const negative = magnitude(builder, least, low === undefined ? undefined : onOtherSide(low), whole);
    parts.push(builder.sequence(builder.text("-"), negative));
  }
  return builder.choice(...parts);
}

/** Whether no number lies between two bounds. */
function isEmpty({ low, high }: Pick<NumberRange, "low" | "high">): boolean {
  if (low === undefined || high === undefined) return false;
  const order = compareDecimals(low.value, high.value);
  return order > 0 || (order === 0 && (low.isExclusive || high.isExclusive));
}

function onOtherSide({ value, isExclusive }: Bound): Bound {
  return { value: negated(value), isExclusive };
}

/** The bounds of integers, at integers and inclusive; undefined when there are none between them. */
function integerBounds({ low, high }: NumberRange): { low: Bound; high: Bound } | undefined {
  let least = low && integerBound(low, 1);
  let most = high && integerBound(high, -1);
  if ((least ?? 0n) > INTEGER_MAX || (most ?? 0n) < -INTEGER_MAX) return undefined;
  if (least !== undefined && least < -INTEGER_MAX) least = undefined;
  if (most !== undefined && most > INTEGER_MAX) most = undefined;
  const beyond = (bound: bigint) => 10n ** BigInt(String(bound).length + 1);
  const from = least ?? (most !== undefined && most < -SAFE_MAX ? -beyond(-most) : -SAFE_MAX);
  const to = most ?? (least !== undefined && least > SAFE_MAX ? beyond(least) : SAFE_MAX);
  const inclusive = (bound: bigint): Bound => ({ value: decimalOfInteger(bound), isExclusive: false });
  return from > to ? undefined : { low: inclusive(from), high: inclusive(to) };
}

function integerBound({ value, isExclusive }: Bound, direction: 1 | -1): bigint {
  const whole = roundedInteger(value, direction);
  return isExclusive && value.fraction === "" ? whole + BigInt(direction) : whole;
}

/** Less, equal or more than a bound, as far as was read. */
type Comparison = -1 | 0 | 1;

function compare(digit: string, other: string): Comparison {
  return digit < other ? -1 : digit > other ? 1 : 0;
}

/** Digits of a number that is not negative, between bounds that are not. */
function magnitude(builder: GrammarBuilder, low: Bound | undefined, high: Bound | undefined, range: NumberRange): Part {
  const bounds = [low, high].map((bound) => bound && { ...bound.value, isExclusive: bound.isExclusive });
  const digitsMax = range.isInteger ? (bounds[1]?.whole.length ?? 0) : DECIMAL_DIGITS_MAX;
  const { whole: wholeMultiple = "1", fraction: multiplePlaces = "" } = range.multipleOf ?? {};
  const multiple = Number(wholeMultiple + multiplePlaces);
  const places = multiplePlaces.length;
  const placesMax = range.multipleOf === undefined ? digitsMax : places;
  /** What a number with so many places less than the multiple's is multiplied with, to have as many. */
  const scales = Array.from({ length: places + 1 }, (_, missing) => Number(10n ** BigInt(missing) % BigInt(multiple)));
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
  /** Whether nothing that begins like this is within the upper bound. */
  const isBeyond = ({ whole, fraction, compared }: State): boolean => {
    const most = bounds[1];
    if (most === undefined) return false;
    if (fraction === 0 && whole !== most.whole.length) return whole > most.whole.length;
    return compared[1] === 1;
  };
  const isWithin = (state: State): boolean => {
    const scale = scales[places - state.fraction] ?? 1;
    if ((state.remainder * scale) % multiple !== 0) return false;
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
        const state = next(digit);
        if (!isBeyond(state)) builder.bytes(node, 0x30 + digit, 0x30 + digit, nodeOf(state));
      }
    };
    const remainderOf = ({ remainder }: State, digit: number) => (remainder * 10 + digit) % multiple;
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
      remainder: remainderOf(state, digit),
    });
    const fractionDigit = (state: State, digit: number): State => ({
      ...state,
      fraction: state.fraction + 1,
      compared: bounds.map((bound, i) => {
        const so = state.compared[i] as Comparison;
        return so !== 0 || bound === undefined ? so : compare(String(digit), bound.fraction[state.fraction] ?? "0");
      }),
      remainder: remainderOf(state, digit),
    });
    const begin: State = { whole: 0, fraction: 0, isZero: false, compared: [0, 0], remainder: 0 };
    readDigits(from, 0, (digit) => wholeDigit(begin, digit));
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const [state, node] = next;
      if (isWithin(state)) builder.empty(node, to);
      const digitCount = state.whole + state.fraction;
      if (digitCount >= digitsMax) continue;
      if (state.fraction >= placesMax && state.fraction > 0) continue;
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
