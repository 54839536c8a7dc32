/** The filters that templates may use: jinja2's, with the `tojson` of Hugging Face. */

import { wholeArgument } from "./arguments.ts";
import { ownAttribute } from "./attributes.ts";
import { TemplateError } from "./errors.ts";
import { type Filter, filter } from "./filter.ts";
import { LIST_FILTERS } from "./list_filters.ts";
import { compute, intOf, numberOf, readFloat, readInt, round, toDouble } from "./numbers.ts";
import { isTrue } from "./operators.ts";
import { strip } from "./string_methods.ts";
import { TEXT_FILTERS } from "./text_filters.ts";
import { Float, isInt, textOf, typeName, Undefined, type Value } from "./values.ts";

/** Filters of jinja2's that are not here. */
export const REFUSED_FILTERS: ReadonlyMap<string, string> = new Map([
  ["random", "the same messages have to give the same prompt"],
  ["pprint", "its lines depend on the version of Python"],
  ["striptags", "prompts are no HTML"],
  ["urlize", "prompts are no HTML"],
]);

const NONE: Value = null;

const absolute = filter([], (value) => {
  const number = numberOf(value);
  if (number === undefined) throw new TemplateError(`bad operand type for abs(): '${typeName(value)}'`);
  if (number instanceof Float) return new Float(Math.abs(number.value));
  return number < 0 ? compute("-", 0, number) : number;
});

const toInteger = filter(
  [
    ["default", 0],
    ["base", 10],
  ],
  (value, [otherwise = 0, base = 10], { budget }) => {
    const written = textOf(value);
    if (written === undefined) {
      if (value instanceof Undefined) value.fail();
      const number = numberOf(value);
      if (number === undefined) return otherwise;
      if (!(number instanceof Float)) return number;
      return Number.isNaN(number.value) ? otherwise : intOf(number.value);
    }
    const text = strip(written, undefined, true, true, budget);
    budget.walkSlowly(text.length);
    const radix = isInt(base) || typeof base === "boolean" ? Number(base) : undefined;
    const int = radix !== undefined && (radix === 0 || (radix >= 2 && radix <= 36)) ? readInt(text, radix) : undefined;
    if (int !== undefined) return int;
    const double = readFloat(text);
    return double === undefined || Number.isNaN(double) ? otherwise : intOf(double);
  },
);

const toFloat = filter([["default", new Float(0)]], (value, [otherwise = NONE], { budget }) => {
  const text = textOf(value);
  if (value instanceof Undefined) value.fail();
  const number = numberOf(value);
  if (number !== undefined) return new Float(toDouble(number));
  const double = text === undefined ? undefined : readFloat(strip(text, undefined, true, true, budget));
  return double === undefined ? otherwise : new Float(double);
});

const roundFilter = filter(
  [
    ["precision", 0],
    ["method", "common"],
  ],
  (value, [precision = 0, method = "common"], { budget }) => {
    const name = textOf(method);
    if (name !== "common" && name !== "ceil" && name !== "floor") {
      throw new TemplateError("method must be common, ceil or floor");
    }
    const number = numberOf(value);
    if (number === undefined) {
      if (value instanceof Undefined && name !== "common") value.fail();
      throw new TemplateError(`type ${typeName(value)} doesn't define __round__ method`);
    }
    budget.spend(isInt(precision) ? Math.min(300, Math.abs(Number(precision))) / 4 : 0);
    if (name === "common") return round(number, wholeArgument(precision));
    const factor = compute("**", 10, numberOf(precision) ?? wholeArgument(precision));
    const scaled = compute("*", number, factor);
    const whole = scaled instanceof Float ? intOf(Math[name](scaled.value)) : scaled;
    return compute("/", whole, factor);
  },
);

const attr = filter([["name"]], (value, [name = NONE], { budget }) => {
  const text = textOf(name);
  if (text === undefined) throw new TemplateError("attr() takes the name of an attribute");
  if (value instanceof Undefined) value.fail();
  const found = ownAttribute(value, text, budget);
  return found === undefined ? Undefined.missing(value, text, true) : found;
});

const otherwise = filter(
  [
    ["default_value", ""],
    ["boolean", false],
  ],
  (value, [fallback = "", boolean = false]) =>
    value instanceof Undefined || (isTrue(boolean) && !isTrue(value)) ? fallback : value,
);

/** Filters by their names. */
export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ["abs", absolute],
  ["attr", attr],
  ["d", otherwise],
  ["default", otherwise],
  ["float", toFloat],
  ["int", toInteger],
  ["round", roundFilter],
  ...LIST_FILTERS,
  ...TEXT_FILTERS,
]);
