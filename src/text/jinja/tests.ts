/** The tests that templates may ask with `is`: jinja2's. */

import type { Budget } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { FILTERS } from "./filters.ts";
import { isLower, isUpper } from "./letter_case.ts";
import { numberOf } from "./numbers.ts";
import { calculate, compare, equals, iterate } from "./operators.ts";
import { str } from "./repr.ts";
import type { Parameter } from "./signature.ts";
import type { ComparisonOperator } from "./syntax.ts";
import {
  Callable,
  Dict,
  Float,
  isHashable,
  isInt,
  isList,
  Markup,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** A test: its parameter, if it has one, and what it says. */
export interface Test {
  parameters: readonly Parameter[];
  holds(value: Value, argument: Value, budget: Budget): boolean;
}

function plain(holds: (value: Value, budget: Budget) => boolean): Test {
  return { parameters: [], holds: (value, _, budget) => holds(value, budget) };
}

function withArgument(name: string, holds: Test["holds"]): Test {
  return { parameters: [[name]], holds };
}

function comparing(operator: ComparisonOperator): Test {
  return withArgument("seq", (value, other, budget) => compare(operator, value, other, budget));
}

function hasRest(value: Value, divisor: Value, rest: number, budget: Budget): boolean {
  return equals(calculate("%", value, divisor, budget), rest, budget);
}

function isIterable(value: Value, budget: Budget): boolean {
  if (textOf(value) !== undefined) return true;
  try {
    iterate(value, budget);
    return true;
  } catch {
    return false;
  }
}

function isSequence(value: Value): boolean {
  return (
    textOf(value) !== undefined ||
    isList(value) ||
    value instanceof Tuple ||
    value instanceof Dict ||
    value instanceof Range ||
    value instanceof Undefined
  );
}

function isSame(a: Value, b: Value): boolean {
  return a === b;
}

const COMPARISONS: readonly [ComparisonOperator, ...string[]][] = [
  ["==", "eq", "equalto"],
  ["!=", "ne"],
  [">", "gt", "greaterthan"],
  [">=", "ge"],
  ["<", "lt", "lessthan"],
  ["<=", "le"],
];

/** Tests by their names. */
export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ["odd", plain((value, budget) => hasRest(value, 2, 1, budget))],
  ["even", plain((value, budget) => hasRest(value, 2, 0, budget))],
  ["divisibleby", withArgument("num", (value, divisor, budget) => hasRest(value, divisor, 0, budget))],
  ["defined", plain((value) => !(value instanceof Undefined))],
  ["undefined", plain((value) => value instanceof Undefined)],
  ["filter", plain((value) => FILTERS.has(nameOf(value)))],
  ["test", plain((value) => TESTS.has(nameOf(value)))],
  ["none", plain((value) => value === null)],
  ["boolean", plain((value) => typeof value === "boolean")],
  ["false", plain((value) => value === false)],
  ["true", plain((value) => value === true)],
  ["integer", plain(isInt)],
  ["float", plain((value) => value instanceof Float)],
  ["number", plain((value) => numberOf(value) !== undefined)],
  ["lower", plain((value, budget) => letters(value, isLower, budget))],
  ["upper", plain((value, budget) => letters(value, isUpper, budget))],
  ["string", plain((value) => textOf(value) !== undefined)],
  ["mapping", plain((value) => value instanceof Dict)],
  ["sequence", plain(isSequence)],
  ["iterable", plain(isIterable)],
  ["callable", plain((value) => value instanceof Callable || value instanceof Undefined)],
  ["sameas", withArgument("other", isSame)],
  ["escaped", plain((value) => value instanceof Markup)],
  ["in", comparing("in")],
  ...COMPARISONS.flatMap(([operator, ...others]) =>
    [operator, ...others].map((name): [string, Test] => [name, comparing(operator)]),
  ),
]);

function nameOf(value: Value): string {
  if (!isHashable(value)) throw new TemplateError(`unhashable type: '${typeName(value)}'`);
  return textOf(value) ?? "";
}

function letters(value: Value, test: (text: string) => boolean, budget: Budget): boolean {
  const text = str(value, budget);
  budget.walk(text.length);
  return test(text);
}
