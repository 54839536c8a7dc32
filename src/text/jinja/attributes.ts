/**
 * Attributes and items of values, as jinja2's sandbox for immutable values lets templates see them: methods that would change a list
 * or a dict, and names that begin with an underscore, are there but can't be used.
 */

import { textArgument, wholeArgument } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { format } from "./format_spec.ts";
import { escapeText } from "./markup.ts";
import { bitLength } from "./numbers.ts";
import { equals, itemOf, listOf } from "./operators.ts";
import { repr, str } from "./repr.ts";
import { bind, type Parameter } from "./signature.ts";
import { STRING_METHODS } from "./string_methods.ts";
import {
  Dict,
  DictView,
  Float,
  HostFunction,
  isInt,
  isList,
  Markup,
  Namespace,
  Range,
  Thing,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

const CHANGES_LISTS = new Set(["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"]);
const CHANGES_DICTS = new Set(["clear", "pop", "popitem", "setdefault", "update"]);

/** `value.name`. @throws TemplateError for attributes of what is undefined. */
export function attribute(value: Value, name: string, budget: Budget): Value {
  if (value instanceof Undefined) value.fail();
  const own = ownAttribute(value, name, budget);
  const found = own === undefined ? itemOf(value, name, budget) : own;
  return found === undefined ? Undefined.missing(value, name, true) : found;
}

/** `value[index]`. @throws TemplateError for items of what is undefined. */
export function item(value: Value, index: Value, budget: Budget): Value {
  if (value instanceof Undefined) value.fail();
  const found = itemOf(value, index, budget);
  if (found !== undefined) return found;
  const name = textOf(index);
  if (name === undefined) return Undefined.missing(value, repr(index, budget), false);
  const own = ownAttribute(value, name, budget);
  return own === undefined ? Undefined.missing(value, name, true) : own;
}

/** An attribute that isn't an item. */
export function ownAttribute(value: Value, name: string, budget: Budget): Value | undefined {
  if (name.startsWith("_")) return unsafe(value, name);
  if (value instanceof Namespace) return value.attributes.get(name);
  if (value instanceof Thing) return value.attribute(name);
  const text = textOf(value);
  if (text !== undefined) return stringMethod(value as string | Markup, name, budget);
  if (value instanceof Dict) return CHANGES_DICTS.has(name) ? unsafe(value, name) : dictMethod(value, name);
  if (isList(value)) return CHANGES_LISTS.has(name) ? unsafe(value, name) : listMethod(value, name, budget);
  if (value instanceof Tuple) {
    const place = value.names.indexOf(name);
    return place >= 0 ? value.items[place] : listMethod(value, name, budget);
  }
  if (value instanceof Range) {
    if (name === "start" || name === "stop" || name === "step") return value[name];
    return listMethod(value, name, budget);
  }
  if (value instanceof DictView) return undefined;
  return numberAttribute(value, name);
}

function unsafe(value: Value, name: string): Undefined {
  return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
}

function method(
  name: string,
  parameters: readonly Parameter[],
  run: (values: Value[]) => Value,
  named = false,
): HostFunction {
  return new HostFunction(name, (positional, keywords) => run(bind(name, parameters, positional, keywords, named)));
}

function stringMethod(value: string | Markup, name: string, budget: Budget): Value | undefined {
  const text = typeof value === "string" ? value : value.text;
  const escaped = (argument: Value): Value => {
    if (typeof value === "string") return argument;
    if (typeof argument === "string") return escapeText(argument, budget);
    if (name !== "join") return argument;
    return listOf(argument, budget).map((element) =>
      element instanceof Markup ? element : escapeText(str(element, budget), budget),
    );
  };
  const wrapped = (result: Value): Value => (typeof value === "string" ? result : asMarkup(result));
  if (name === "format" || name === "format_map") {
    return new HostFunction(name, (positional, keywords) => {
      const source = {
        escapes: value instanceof Markup,
        positional,
        keywords,
        attribute: (object: Value, key: string) => attribute(object, key, budget),
        item: (object: Value, index: Value) => item(object, index, budget),
      };
      if (name === "format") return wrapped(format(text, source, budget));
      const [mapping] = bind(name, [["mapping"]], positional, keywords, false);
      if (!(mapping instanceof Dict)) throw new TemplateError("format_map() takes a mapping");
      return wrapped(format(text, { ...source, positional: [], keywords: mapping as never }, budget));
    });
  }
  const known = STRING_METHODS.get(name);
  if (known === undefined) return undefined;
  return method(
    name,
    known.parameters,
    (values) => wrapped(known.run(text, values.map(escaped), budget)),
    known.named ?? false,
  );
}

function asMarkup(value: Value): Value {
  if (typeof value === "string") return new Markup(value);
  if (isList(value)) return value.map(asMarkup);
  return value instanceof Tuple ? new Tuple(value.items.map(asMarkup)) : value;
}

function dictMethod(dict: Dict, name: string): Value | undefined {
  switch (name) {
    case "items":
    case "keys":
    case "values":
      return method(name, [], () => new DictView(dict, name));
    case "get":
      return method(name, [["key"], ["default", null]], ([key = null, otherwise = null]) =>
        dict.has(key) ? (dict.get(key) as Value) : otherwise,
      );
    case "copy":
      return method(name, [], () => dict);
    default:
      return undefined;
  }
}

function listMethod(value: readonly Value[] | Tuple | Range, name: string, budget: Budget): Value | undefined {
  switch (name) {
    case "count":
      return method(name, [["value"]], ([wanted = null]) => {
        return listOf(value, budget).filter((element) => equals(element, wanted, budget)).length;
      });
    case "index":
      return method(
        name,
        [["value"], ["start", 0], ["stop", Number.MAX_SAFE_INTEGER]],
        ([wanted = null, start = 0, stop = 0]) => {
          const items = listOf(value, budget);
          const place = (given: Value) => {
            const index = wholeArgument(given);
            return index < 0 ? Math.max(0, index + items.length) : index;
          };
          const first = place(start);
          const last = place(stop);
          const found = items.findIndex((element, i) => i >= first && i < last && equals(element, wanted, budget));
          if (found < 0) throw new TemplateError(`${repr(wanted, budget)} is not in ${typeName(value)}`);
          return found;
        },
      );
    case "copy":
      return isList(value) ? method(name, [], () => value) : undefined;
    default:
      return undefined;
  }
}

function numberAttribute(value: Value, name: string): Value | undefined {
  const number = typeof value === "boolean" ? Number(value) : value;
  if (!(isInt(number) || number instanceof Float)) return undefined;
  switch (name) {
    case "real":
      return number;
    case "imag":
      return number instanceof Float ? new Float(0) : 0;
    case "conjugate":
      return method(name, [], () => number);
    case "numerator":
      return isInt(number) ? number : undefined;
    case "denominator":
      return isInt(number) ? 1 : undefined;
    case "bit_length":
      return isInt(number) ? method(name, [], () => bitLength(BigInt(number))) : undefined;
    case "is_integer":
      return number instanceof Float ? method(name, [], () => Number.isInteger(number.value)) : undefined;
    default:
      return undefined;
  }
}

/** The value that a filter's `attribute` names: "a.b.0". @throws TemplateError. */
export function attributeGetter(path: Value, budget: Budget): (value: Value, otherwise?: Value) => Value {
  const parts: Value[] =
    path === null
      ? []
      : typeof path === "string" || path instanceof Markup
        ? textArgument(path)
            .split(".")
            .map((part) => (/^\p{Nd}+$/u.test(part) ? Number(part) : part))
        : [path];
  return (value, otherwise = null) => {
    let found = value;
    for (const part of parts) {
      budget.spend(0.5);
      found = item(found, part, budget);
      if (otherwise !== null && found instanceof Undefined) found = otherwise;
    }
    return found;
  };
}
