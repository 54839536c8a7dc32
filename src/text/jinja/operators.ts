/** What Python's operators make of values: truth, equality, order, membership, arithmetic, items and slices. */

import { wholeArgument } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { comparePoints, pointCount, pointSlice, points } from "./characters.ts";
import { TemplateError } from "./errors.ts";
import { escapeText } from "./markup.ts";
import { compareNumbers, compute, numberOf } from "./numbers.ts";
import { formatPercent } from "./percent_format.ts";
import type { ArithmeticOperator, ComparisonOperator } from "./syntax.ts";
import {
  Dict,
  DictView,
  Float,
  isHashable,
  isInt,
  isList,
  itemsOf,
  Markup,
  Range,
  Stream,
  Thing,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** Whether a value counts as true. */
export function isTrue(value: Value): boolean {
  if (typeof value === "boolean") return value;
  if (value === null || value instanceof Undefined) return false;
  const number = numberOf(value);
  if (number !== undefined) return number instanceof Float ? number.value !== 0 : Number(number) !== 0;
  return (sizeOf(value) ?? 1) > 0;
}

/** How many elements a value has; undefined when it has no length. Texts are measured in UTF-16 units. */
function sizeOf(value: Value): number | undefined {
  const text = textOf(value);
  if (text !== undefined) return text.length;
  if (isList(value)) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof DictView) return value.dict.size;
  if (value instanceof Range) return value.length;
  if (value instanceof Undefined) return 0;
  return value instanceof Thing ? (value.attribute("length") as number | undefined) : undefined;
}

/** What len() gives. @throws TemplateError when the value has no length. */
export function lengthOf(value: Value, budget: Budget): number {
  const text = textOf(value);
  if (text !== undefined) {
    budget.readPoints(text);
    return pointCount(text);
  }
  const size = sizeOf(value);
  if (size === undefined) throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
  return size;
}

/** The elements of a value, one after the other, as a loop takes them. @throws TemplateError when it has none. */
export function iterate(value: Value, budget: Budget): Iterable<Value> {
  if (isList(value)) return value;
  if (value instanceof Tuple) return value.items;
  if (value instanceof Dict) return value.keys();
  if (value instanceof DictView || value instanceof Range || value instanceof Stream) return value;
  if (value instanceof Undefined) return [];
  const text = textOf(value);
  if (text !== undefined) {
    budget.walk(text.length);
    const characters = points(text);
    return value instanceof Markup ? characters.map((character) => new Markup(character)) : characters;
  }
  if (value instanceof Thing && Symbol.iterator in value) return value as Thing & Iterable<Value>;
  throw new TemplateError(`'${typeName(value)}' object is not iterable`);
}

/** The elements of a value as a list of its own. @throws TemplateError when it has none, or too many. */
export function listOf(value: Value, budget: Budget): Value[] {
  budget.list(sizeOf(value) ?? 0);
  const list: Value[] = [];
  const isStream = value instanceof Stream;
  for (const element of iterate(value, budget)) {
    if (isStream) budget.list(list.length > 0 ? 4 : 0);
    list.push(element);
  }
  return list;
}

/** Whether two values are equal. */
export function equals(a: Value, b: Value, budget: Budget): boolean {
  if (a === b) return true;
  budget.spend(0.25);
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined || y !== undefined) return x !== undefined && y !== undefined && compareNumbers(x, y) === 0;
  const text = textOf(a);
  if (text !== undefined) {
    budget.read(text.length);
    return text === textOf(b);
  }
  if (a instanceof Undefined) return b instanceof Undefined;
  if (a instanceof Dict) return b instanceof Dict && areEqualDicts(a, b, budget);
  if (a instanceof Range && b instanceof Range) {
    return a.length === b.length && (a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step)));
  }
  if (a instanceof DictView && b instanceof DictView) {
    return a.kind !== "values" && b.kind !== "values" && a.dict.size === b.dict.size && areWithin(a, b, budget);
  }
  const list = itemsOf(a);
  const other = itemsOf(b);
  if (list === undefined || other === undefined || isList(a) !== isList(b)) return false;
  return (
    list.length === other.length &&
    budget.deeper(() => list.every((item, i) => equals(item, other[i] as Value, budget)))
  );
}

function areEqualDicts(a: Dict, b: Dict, budget: Budget): boolean {
  if (a.size !== b.size) return false;
  return budget.deeper(() => {
    for (const [key, value] of a.entries()) {
      const other = b.get(key);
      if (other === undefined || !equals(value, other, budget)) return false;
    }
    return true;
  });
}

function areWithin(a: DictView, b: DictView, budget: Budget): boolean {
  for (const element of a) if (!contains(b, element, budget)) return false;
  return true;
}

/** Counts a look at a key: its texts are read. */
export function readKey(key: Value, budget: Budget): void {
  if (key instanceof Tuple && isHashable(key)) budget.read(key.identity.length);
}

/** Whether `value in container`. @throws TemplateError when that can't be asked. */
function contains(container: Value, value: Value, budget: Budget): boolean {
  const text = textOf(container);
  if (text !== undefined) {
    const part = textOf(value);
    if (part === undefined) {
      throw new TemplateError(`'in <string>' requires string as left operand, not ${typeName(value)}`);
    }
    budget.read(text.length);
    return text.includes(part);
  }
  if (container instanceof Dict || container instanceof DictView) readKey(value, budget);
  if (container instanceof Dict) return container.has(value);
  if (container instanceof DictView && container.kind === "keys") return container.dict.has(value);
  if (container instanceof DictView && container.kind === "items") {
    if (!(value instanceof Tuple) || value.items.length !== 2) return false;
    const found = container.dict.get(value.items[0] as Value);
    return found !== undefined && equals(found, value.items[1] as Value, budget);
  }
  if (container !== null && typeof container !== "object") {
    throw new TemplateError(`argument of type '${typeName(container)}' is not iterable`);
  }
  for (const element of iterate(container, budget)) {
    budget.spend(0.25);
    if (equals(element, value, budget)) return true;
  }
  return false;
}

/** Orders two values: negative, zero, positive, or NaN. @throws TemplateError when they have no order. */
export function order(a: Value, b: Value, budget: Budget, sign = "<"): number {
  budget.spend(0.25);
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined && y !== undefined) return compareNumbers(x, y);
  const text = textOf(a);
  const other = textOf(b);
  if (text !== undefined && other !== undefined) {
    budget.readPoints(text.length < other.length ? text : other);
    return comparePoints(text, other);
  }
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  const list = itemsOf(a);
  const second = itemsOf(b);
  if (list === undefined || second === undefined || isList(a) !== isList(b)) {
    throw new TemplateError(`'${sign}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
  }
  return budget.deeper(() => {
    const length = Math.min(list.length, second.length);
    for (let i = 0; i < length; i++) {
      const [left, right] = [list[i] as Value, second[i] as Value];
      if (!equals(left, right, budget)) return order(left, right, budget, sign);
    }
    return list.length - second.length;
  });
}

/** One comparison. @throws TemplateError. */
export function compare(operator: ComparisonOperator, a: Value, b: Value, budget: Budget): boolean {
  switch (operator) {
    case "==":
      return equals(a, b, budget);
    case "!=":
      return !equals(a, b, budget);
    case "in":
      return contains(b, a, budget);
    case "not in":
      return !contains(b, a, budget);
    case "<":
      return order(a, b, budget, operator) < 0;
    case "<=":
      return order(a, b, budget, operator) <= 0;
    case ">":
      return order(a, b, budget, operator) > 0;
    case ">=":
      return order(a, b, budget, operator) >= 0;
  }
}

/** Arithmetic, and what it means for texts and lists. @throws TemplateError. */
export function calculate(operator: ArithmeticOperator, a: Value, b: Value, budget: Budget): Value {
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined && y !== undefined) {
    const result = compute(operator, x, y);
    budget.compute(x, y, result);
    return result;
  }
  if (operator === "%") {
    const text = textOf(a);
    if (text !== undefined) {
      if (a instanceof Markup) return new Markup(formatPercent(text, b, budget, true));
      return formatPercent(text, b, budget);
    }
  }
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  const result =
    operator === "+"
      ? add(a, b, budget)
      : operator === "*"
        ? (repeat(a, b, budget) ?? repeat(b, a, budget))
        : undefined;
  if (result !== undefined) return result;
  const name = operator === "**" ? "** or pow()" : operator;
  throw new TemplateError(`unsupported operand type(s) for ${name}: '${typeName(a)}' and '${typeName(b)}'`);
}

function add(a: Value, b: Value, budget: Budget): Value | undefined {
  const text = textOf(a);
  const other = textOf(b);
  if (text !== undefined && other !== undefined) {
    budget.join(text.length + other.length);
    if (typeof a === "string" && typeof b === "string") return a + b;
    return new Markup(
      (typeof a === "string" ? escapeText(a, budget) : text) + (typeof b === "string" ? escapeText(b, budget) : other),
    );
  }
  if (isList(a) && isList(b)) {
    budget.list(a.length + b.length);
    return [...a, ...b];
  }
  if (a instanceof Tuple && b instanceof Tuple) {
    budget.list(a.items.length + b.items.length);
    return new Tuple([...a.items, ...b.items]);
  }
  return undefined;
}

function repeat(value: Value, times: Value, budget: Budget): Value | undefined {
  if (!(isInt(times) || typeof times === "boolean")) return undefined;
  const count = Math.max(0, Number(times));
  const text = textOf(value);
  if (text !== undefined) {
    if (text === "" || count === 0) return value instanceof Markup ? new Markup("") : "";
    budget.make(text.length * count);
    return value instanceof Markup ? new Markup(text.repeat(count)) : text.repeat(count);
  }
  const items = itemsOf(value);
  if (items === undefined) return undefined;
  const copies: Value[] = [];
  if (items.length > 0) {
    budget.list(items.length * count);
    for (let i = 0; i < count; i++) copies.push(...items);
  }
  return isList(value) ? copies : new Tuple(copies);
}

/** `+x` or `-x`. @throws TemplateError. */
export function signed(operator: "+" | "-", value: Value): Value {
  const number = numberOf(value);
  if (number !== undefined) {
    if (operator === "+") return number;
    return number instanceof Float ? new Float(-number.value) : compute("-", 0, number);
  }
  if (value instanceof Undefined) value.fail();
  throw new TemplateError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
}

/** Which elements a slice means: the first, the one it ends before, how many, and their distance. @throws TemplateError. */
function sliceIndices(
  length: number,
  start: Value,
  stop: Value,
  step: Value,
): { first: number; last: number; count: number; step: number } {
  const stride = indexOf(step) ?? 1;
  if (stride === 0) throw new TemplateError("slice step cannot be zero");
  const [low, high] = stride > 0 ? [0, length] : [-1, length - 1];
  const place = (value: Value, otherwise: number) => {
    const index = indexOf(value);
    if (index === undefined) return otherwise;
    return index < 0 ? Math.max(low, index + length) : Math.min(high, index);
  };
  const first = place(start, stride > 0 ? low : high);
  const last = place(stop, stride > 0 ? high : low);
  return { first, last, count: Math.max(0, Math.ceil((last - first) / stride)), step: stride };
}

/** An index as a number, undefined for None. @throws TemplateError for anything but ints. */
function indexOf(value: Value): number | undefined {
  if (value === null) return undefined;
  if (isInt(value) || typeof value === "boolean") return wholeArgument(value);
  if (value instanceof Undefined) value.fail();
  throw new TemplateError("slice indices must be integers or None or have an __index__ method");
}

/** `value[start:stop:step]`, where what is left out is None. @throws TemplateError. */
export function slice(value: Value, start: Value, stop: Value, step: Value, budget: Budget): Value {
  const text = textOf(value);
  if (text !== undefined) {
    const part = sliceText(text, start, stop, step, budget);
    return value instanceof Markup ? new Markup(part) : part;
  }
  if (value instanceof Range) {
    const { first, last, step: stride } = sliceIndices(value.length, start, stop, step);
    return new Range(value.at(first), value.at(last), stride * value.step);
  }
  const items = itemsOf(value);
  if (items === undefined) {
    if (value instanceof Undefined) value.fail();
    throw new TemplateError(
      value instanceof Dict ? "unhashable type: 'slice'" : `'${typeName(value)}' object is not subscriptable`,
    );
  }
  const { first, count, step: stride } = sliceIndices(items.length, start, stop, step);
  budget.list(count);
  const part = Array.from({ length: count }, (_, i) => items[first + i * stride] as Value);
  return isList(value) ? part : new Tuple(part);
}

function sliceText(text: string, start: Value, stop: Value, step: Value, budget: Budget): string {
  budget.readPoints(text);
  const { first, count, step: stride } = sliceIndices(pointCount(text), start, stop, step);
  if (count === 0) return "";
  if (stride === 1) return pointSlice(text, first, first + count);
  budget.walk(text.length);
  const characters = points(text);
  return Array.from({ length: count }, (_, i) => characters[first + i * stride]).join("");
}

/** `value[index]` for values that know indices or keys; undefined when there is no such element. */
export function itemOf(value: Value, index: Value, budget: Budget): Value | undefined {
  if (value instanceof Dict) {
    readKey(index, budget);
    return isHashable(index) ? value.get(index) : undefined;
  }
  if (!(isInt(index) || typeof index === "boolean")) return undefined;
  const at = Number(index);
  const within = (length: number) => {
    const place = at < 0 ? at + length : at;
    return place >= 0 && place < length ? place : undefined;
  };
  const text = textOf(value);
  if (text !== undefined) {
    budget.readPoints(text);
    const place = within(pointCount(text));
    if (place === undefined) return undefined;
    const character = pointSlice(text, place, place + 1);
    return value instanceof Markup ? new Markup(character) : character;
  }
  const items = itemsOf(value);
  const place = within(items?.length ?? (value instanceof Range ? value.length : 0));
  if (place === undefined) return undefined;
  return items === undefined ? (value as Range).at(place) : items[place];
}
