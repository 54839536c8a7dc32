/** The filters that go through lists, choose from them and sum them up. */

import { wholeArgument } from "./arguments.ts";
import { attributeGetter } from "./attributes.ts";
import type { Budget } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { type Filter, type FilterContext, filter } from "./filter.ts";
import { calculate, equals, isTrue, iterate, lengthOf, listOf, order, readKey, slice } from "./operators.ts";
import { str } from "./repr.ts";
import { join } from "./string_methods.ts";
import {
  Dict,
  DictView,
  identityOf,
  isList,
  type Keywords,
  Markup,
  Range,
  Stream,
  Tuple,
  textOf,
  Undefined,
  type Value,
} from "./values.ts";

const NONE: Value = null;

function lowerCase(value: Value, budget: Budget): Value {
  const text = textOf(value);
  if (text === undefined) return value;
  budget.walk(text.length);
  return text.toLowerCase();
}

/** What values are compared by: an attribute, and no case of letters unless that matters. */
function keyOf(attribute: Value, isCaseSensitive: Value, budget: Budget): (value: Value, otherwise?: Value) => Value {
  const get = attributeGetter(attribute, budget);
  if (isTrue(isCaseSensitive)) return get;
  return (value, otherwise) => lowerCase(get(value, otherwise), budget);
}

/** Sorts by keys, which were made before. */
function sortBy(items: { value: Value; key: Value }[], isReversed: boolean, budget: Budget): Value[] {
  items.sort((a, b) => (isReversed ? order(b.key, a.key, budget) : order(a.key, b.key, budget)));
  return items.map(({ value }) => value);
}

const sort = filter(
  [
    ["reverse", false],
    ["case_sensitive", false],
    ["attribute", NONE],
  ],
  (value, [reverse = false, isCaseSensitive = false, attribute = NONE], { budget }) => {
    const text = textOf(attribute);
    const keys = (text === undefined ? [attribute] : text.split(",")).map((part) =>
      keyOf(part, isCaseSensitive, budget),
    );
    const items = listOf(value, budget).map((element) => ({ value: element, key: keys.map((key) => key(element)) }));
    return sortBy(items, isTrue(reverse), budget);
  },
);

const dictSort = filter(
  [
    ["case_sensitive", false],
    ["by", "key"],
    ["reverse", false],
  ],
  (value, [isCaseSensitive = false, by = "key", reverse = false], { budget }) => {
    const place = by === "key" ? 0 : by === "value" ? 1 : undefined;
    if (place === undefined) throw new TemplateError('You can only sort by either "key" or "value"');
    const dict = dictOf(value, "dictsort");
    const items = [...dict.entries()].map((entry) => {
      const key = entry[place];
      return { value: new Tuple(entry), key: isTrue(isCaseSensitive) ? key : lowerCase(key, budget) };
    });
    return sortBy(items, isTrue(reverse), budget);
  },
);

function dictOf(value: Value, name: string): Dict {
  if (value instanceof Dict) return value;
  if (value instanceof Undefined) value.fail();
  throw new TemplateError(`${name}() takes a mapping`);
}

const groupBy = filter(
  [["attribute"], ["default", NONE], ["case_sensitive", false]],
  (value, [attribute = NONE, otherwise = NONE, isCaseSensitive = false], { budget }) => {
    const key = keyOf(attribute, isCaseSensitive, budget);
    const get = attributeGetter(attribute, budget);
    const items = listOf(value, budget).map((element) => ({ value: element, key: key(element, otherwise) }));
    items.sort((a, b) => order(a.key, b.key, budget));
    const groups: { key: Value; values: Value[] }[] = [];
    for (const { value: element, key: name } of items) {
      const last = groups.at(-1);
      if (last !== undefined && equals(last.key, name, budget)) last.values.push(element);
      else groups.push({ key: name, values: [element] });
    }
    return groups.map(({ values }) => new Tuple([get(values[0] as Value, otherwise), values], ["grouper", "list"]));
  },
);

/** min and max. */
function extreme(sign: "<" | ">"): Filter {
  return filter(
    [
      ["case_sensitive", false],
      ["attribute", NONE],
    ],
    (value, [isCaseSensitive = false, attribute = NONE], { budget }) => {
      const key = keyOf(attribute, isCaseSensitive, budget);
      let best: { value: Value; key: Value } | undefined;
      for (const element of listOf(value, budget)) {
        const found = key(element);
        if (best === undefined) best = { value: element, key: found };
        else {
          const difference = order(found, best.key, budget, sign);
          if (sign === "<" ? difference < 0 : difference > 0) best = { value: element, key: found };
        }
      }
      return best === undefined ? new Undefined("No aggregated item, sequence was empty.") : best.value;
    },
  );
}

const sum = filter(
  [
    ["attribute", NONE],
    ["start", 0],
  ],
  (value, [attribute = NONE, start = 0], { budget }) => {
    if (textOf(start) !== undefined) throw new TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
    const get = attributeGetter(attribute, budget);
    return listOf(value, budget).reduce((total, element) => calculate("+", total, get(element), budget), start);
  },
);

const joinFilter = filter(
  [
    ["d", ""],
    ["attribute", NONE],
  ],
  (value, [mark = "", attribute = NONE], { budget }) => {
    const get = attributeGetter(attribute, budget);
    return join(str(mark, budget), iterate(value, budget), budget, (element) => str(get(element), budget));
  },
);

const first = filter([], (value, _, { budget }) => {
  if (typeof value === "string") budget.read(value.length);
  for (const element of iterate(value, budget)) return element;
  return new Undefined("No first item, sequence was empty.");
});

/** The elements of a value that can be gone through backwards, from the last one on. */
function backwards(value: Value, budget: Budget): Value[] | undefined {
  const isReversible =
    isList(value) ||
    value instanceof Tuple ||
    value instanceof Dict ||
    value instanceof DictView ||
    value instanceof Range ||
    value instanceof Undefined ||
    textOf(value) !== undefined;
  return isReversible ? listOf(value, budget).reverse() : undefined;
}

const last = filter([], (value, _, { budget }) => {
  const reversed = backwards(value, budget);
  if (reversed === undefined) throw new TemplateError("last() takes a sequence");
  return reversed[0] ?? (reversed.length > 0 ? null : new Undefined("No last item, sequence was empty."));
});

const reverse = filter([], (value, _, { budget }) => {
  if (typeof value === "string" || value instanceof Markup) return slice(value, null, null, -1, budget);
  return new Stream((backwards(value, budget) ?? listOf(value, budget).reverse()).values());
});

const batch = filter([["linecount"], ["fill_with", NONE]], (value, [size = NONE, fill = NONE], { budget }) => {
  function* batches(): Generator<Value> {
    let row: Value[] = [];
    for (const element of iterate(value, budget)) {
      if (equals(row.length, size, budget)) {
        yield row;
        row = [];
      }
      budget.spend(0.5);
      row.push(element);
    }
    if (row.length === 0) return;
    if (fill !== null && order(row.length, size, budget) < 0) {
      const missing = wholeArgument(size) - row.length;
      budget.list(missing);
      for (let i = 0; i < missing; i++) row.push(fill);
    }
    yield row;
  }
  return new Stream(batches());
});

const sliceFilter = filter([["slices"], ["fill_with", NONE]], (value, [slices = NONE, fill = NONE], { budget }) => {
  function* parts(): Generator<Value> {
    const items = listOf(value, budget);
    const count = wholeArgument(slices);
    if (count === 0) throw new TemplateError("integer division or modulo by zero");
    const each = Math.floor(items.length / count);
    const longer = items.length - each * count;
    let at = 0;
    for (let i = 0; i < count; i++) {
      budget.spend(1);
      const length = each + (i < longer ? 1 : 0);
      const part = items.slice(at, at + length);
      if (fill !== null && i >= longer) part.push(fill);
      at += length;
      yield part;
    }
  }
  return new Stream(parts());
});

const unique = filter(
  [
    ["case_sensitive", false],
    ["attribute", NONE],
  ],
  (value, [isCaseSensitive = false, attribute = NONE], { budget }) => {
    const key = keyOf(attribute, isCaseSensitive, budget);
    function* singles(): Generator<Value> {
      const seen = new Set<unknown>();
      for (const element of iterate(value, budget)) {
        budget.spend(1);
        const compared = key(element);
        readKey(compared, budget);
        const identity = identityOf(compared);
        if (seen.has(identity)) continue;
        seen.add(identity);
        yield element;
      }
    }
    return new Stream(singles());
  },
);

const items = filter([], (value) => {
  function* entries(): Generator<Value> {
    if (value instanceof Undefined) return;
    if (!(value instanceof Dict)) throw new TemplateError("Can only get item pairs from a mapping.");
    for (const entry of value.entries()) yield new Tuple(entry);
  }
  return new Stream(entries());
});

/** A filter whose elements come one by one, once they are asked for. */
function streaming(
  prepare: (
    positional: readonly Value[],
    keywords: Keywords,
    context: FilterContext,
  ) => (value: Value) => Value | undefined,
): Filter {
  return (value, positional, keywords, context) => {
    function* elements(): Generator<Value> {
      if (!isTrue(value)) return;
      const convert = prepare(positional, keywords, context);
      for (const element of iterate(value, context.budget)) {
        context.budget.spend(1);
        const converted = convert(element);
        if (converted !== undefined) yield converted;
      }
    }
    return new Stream(elements());
  };
}

const map = streaming((positional, keywords, context) => {
  const attribute = keywords.get("attribute");
  if (positional.length === 0 && attribute !== undefined) {
    const get = attributeGetter(attribute, context.budget);
    const otherwise = keywords.get("default") ?? null;
    for (const name of keywords.keys()) {
      if (name !== "attribute" && name !== "default") throw new TemplateError(`Unexpected keyword argument '${name}'`);
    }
    return (value) => get(value, otherwise);
  }
  const [name, ...rest] = positional;
  if (name === undefined) throw new TemplateError("map requires a filter argument");
  return (value) => context.filter(name, value, rest, keywords);
});

/** select, reject and their kin. @param wanted what the test has to say of what is kept. */
function chooser(wanted: boolean, hasAttribute: boolean): Filter {
  return streaming((positional, keywords, context) => {
    let rest = positional;
    let get = (value: Value) => value;
    if (hasAttribute) {
      if (positional[0] === undefined) throw new TemplateError("Missing parameter for attribute name");
      get = attributeGetter(positional[0], context.budget);
      rest = positional.slice(1);
    }
    const [name, ...others] = rest;
    return (value) => {
      const found = get(value);
      const holds = name === undefined ? isTrue(found) : context.test(name, found, others, keywords);
      return holds === wanted ? value : undefined;
    };
  });
}

const length = filter([], (value, _, { budget }) => lengthOf(value, budget));

/** Those that go through lists, by their names. */
export const LIST_FILTERS: readonly (readonly [string, Filter])[] = [
  ["batch", batch],
  ["count", length],
  ["dictsort", dictSort],
  ["first", first],
  ["groupby", groupBy],
  ["items", items],
  ["join", joinFilter],
  ["last", last],
  ["length", length],
  ["list", filter([], (value, _, { budget }) => listOf(value, budget))],
  ["map", map],
  ["max", extreme(">")],
  ["min", extreme("<")],
  ["reject", chooser(false, false)],
  ["rejectattr", chooser(false, true)],
  ["reverse", reverse],
  ["select", chooser(true, false)],
  ["selectattr", chooser(true, true)],
  ["slice", sliceFilter],
  ["sort", sort],
  ["sum", sum],
  ["unique", unique],
];
