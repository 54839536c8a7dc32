/** The filters that make texts. */

import { indentArgument, optionalText, textArgument, wholeArgument } from "./arguments.ts";
import type { Budget } from "./budget.ts";
import { lines, pointCount, pointSlice, SPACE } from "./characters.ts";
import { TemplateError } from "./errors.ts";
import { type Filter, filter } from "./filter.ts";
import { jsonForm, jsonText } from "./json_text.ts";
import { capitalize } from "./letter_case.ts";
import { escapeText } from "./markup.ts";
import { fixedText, numberOf, readFloat, toDouble } from "./numbers.ts";
import { isTrue, listOf } from "./operators.ts";
import { formatPercent } from "./percent_format.ts";
import { str } from "./repr.ts";
import { center, replace, strip } from "./string_methods.ts";
import { Dict, isList, Markup, Tuple, textOf, Undefined, type Value } from "./values.ts";
import { wrap } from "./word_wrap.ts";

/** A filter that takes any value as text; what was marked as safe stays so. */
function textFilter(run: (text: string, budget: Budget) => string): Filter {
  return filter([], (value, _, { budget }) => like(value, run(str(value, budget), budget)));
}

function like(value: Value, text: string): Value {
  return value instanceof Markup ? new Markup(text) : text;
}

/** Character by character. */
function converted(convert: (text: string) => string): Filter {
  return textFilter((text, budget) => {
    budget.walk(text.length);
    const result = convert(text);
    budget.make(result.length);
    return result;
  });
}

const WORD_STARTS = new RegExp(`([-${SPACE}({\\[<]+)`, "u");

/** Title case by jinja2's own idea of words. */
function title(text: string): string {
  return text
    .split(WORD_STARTS)
    .map((part) => {
      const first = pointSlice(part, 0, 1);
      return first.toUpperCase() + part.slice(first.length).toLowerCase();
    })
    .join("");
}

function indent(text: string, width: Value, first: boolean, blank: boolean, budget: Budget): string {
  const indention = indentArgument(width, budget);
  const all = lines(`${text}\n`);
  budget.make(text.length + all.length * indention.length);
  const indented = all.map((line, i) => (i === 0 || (line === "" && !blank) ? line : indention + line));
  return (first ? indention : "") + indented.join("\n");
}

function truncate(value: Value, [length, killwords, end, leeway]: Value[], budget: Budget): Value {
  const mark = textArgument(end as Value);
  const most = wholeArgument(length as Value);
  const slack = leeway === null ? 5 : wholeArgument(leeway as Value);
  const markLength = pointCount(mark);
  if (most < markLength) throw new TemplateError(`expected length >= ${markLength}, got ${most}`);
  if (slack < 0) throw new TemplateError(`expected leeway >= 0, got ${slack}`);
  const text = textOf(value);
  if (text === undefined) {
    if (value instanceof Undefined) return "";
    if (isList(value) && value.length <= most + slack) return value;
    throw new TemplateError("only texts can be truncated");
  }
  budget.readPoints(text);
  if (pointCount(text) <= most + slack) return value;
  const kept = pointSlice(text, 0, most - markLength);
  const space = kept.lastIndexOf(" ");
  return like(value, (isTrue(killwords as Value) || space < 0 ? kept : kept.slice(0, space)) + mark);
}

const WORD = /[\p{L}\p{N}_]+/gu;

function percentEncoded(value: Value, keepsSlashes: boolean, budget: Budget): string {
  const text = str(value, budget);
  budget.make(3 * text.length);
  if (!text.isWellFormed()) throw new TemplateError("surrogates can't be encoded as UTF-8");
  const encoded = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return keepsSlashes ? encoded.replaceAll("%2F", "/") : encoded.replaceAll("%20", "+");
}

function urlEncode(value: Value, budget: Budget): string {
  if (textOf(value) !== undefined || !isIterable(value)) return percentEncoded(value, true, budget);
  const pairs =
    value instanceof Dict ? [...value.entries()] : listOf(value, budget).map((pair) => pairOf(pair, budget));
  return pairs.map((pair) => pair.map((part) => percentEncoded(part, false, budget)).join("=")).join("&");
}

function isIterable(value: Value): boolean {
  return typeof value === "object" && value !== null && numberOf(value) === undefined;
}

function pairOf(pair: Value, budget: Budget): readonly [Value, Value] {
  const items = listOf(pair, budget);
  if (items.length !== 2) throw new TemplateError("expected pairs of a key and a value");
  return [items[0] as Value, items[1] as Value];
}

function xmlAttributes(value: Value, autospace: boolean, budget: Budget): string {
  if (!(value instanceof Dict)) throw new TemplateError("xmlattr() takes a mapping");
  const parts: string[] = [];
  for (const [key, field] of value.entries()) {
    if (field === null || field instanceof Undefined) continue;
    const name = textArgument(key);
    if (/[ \t\n\r\f\v/>=]/.test(name)) throw new TemplateError(`Invalid character in attribute name: '${name}'`);
    const text = field instanceof Markup ? field.text : escapeText(str(field, budget), budget);
    parts.push(`${key instanceof Markup ? name : escapeText(name, budget)}="${text}"`);
  }
  const joined = parts.join(" ");
  return autospace && joined !== "" ? ` ${joined}` : joined;
}

function fileSize(value: Value, isBinary: boolean): string {
  const text = textOf(value);
  const number = numberOf(value);
  const bytes = text === undefined ? (number === undefined ? undefined : toDouble(number)) : readFloat(text.trim());
  if (bytes === undefined || Number.isNaN(bytes)) throw new TemplateError("filesizeformat() takes a number");
  const base = isBinary ? 1024 : 1000;
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const prefixes = ["K", "M", "G", "T", "P", "E", "Z", "Y"];
  let power = 0;
  while (power < prefixes.length - 1 && bytes >= base ** (power + 2)) power++;
  const amount = (base * bytes) / base ** (power + 2);
  const prefix = prefixes[power] as string;
  return `${Number.isFinite(amount) ? fixedText(amount, 1) : "inf"} ${isBinary ? `${prefix}i` : prefix === "K" ? "k" : prefix}B`;
}

const NONE: Value = null;

/** Those that make texts, by their names. */
export const TEXT_FILTERS: readonly (readonly [string, Filter])[] = [
  ["capitalize", converted(capitalize)],
  ["lower", converted((text) => text.toLowerCase())],
  ["title", converted(title)],
  ["upper", converted((text) => text.toUpperCase())],
  ["string", textFilter((text) => text)],
  [
    "center",
    filter([["width", 80]], (value, [width = 80], { budget }) =>
      like(value, center(str(value, budget), wholeArgument(width), budget)),
    ),
  ],
  [
    "trim",
    filter([["chars", NONE]], (value, [chars = NONE], { budget }) =>
      like(value, strip(str(value, budget), optionalText(chars), true, true, budget)),
    ),
  ],
  [
    "replace",
    filter([["old"], ["new"], ["count", NONE]], (value, [old = NONE, fresh = NONE, count = NONE], { budget }) =>
      replace(
        str(value, budget),
        str(old, budget),
        str(fresh, budget),
        count === null ? -1 : wholeArgument(count),
        budget,
      ),
    ),
  ],
  [
    "indent",
    filter(
      [
        ["width", 4],
        ["first", false],
        ["blank", false],
      ],
      (value, [width = 4, first = false, blank = false], { budget }) => {
        if (value instanceof Undefined) value.fail();
        return like(value, indent(textArgument(value), width, isTrue(first), isTrue(blank), budget));
      },
    ),
  ],
  [
    "truncate",
    filter(
      [
        ["length", 255],
        ["killwords", false],
        ["end", "..."],
        ["leeway", NONE],
      ],
      (value, values, { budget }) => truncate(value, values, budget),
    ),
  ],
  [
    "wordwrap",
    filter(
      [
        ["width", 79],
        ["break_long_words", true],
        ["wrapstring", NONE],
        ["break_on_hyphens", true],
      ],
      (value, [width = 79, breaksWords = true, mark = NONE, breaksAtHyphens = true], { budget }) => {
        const text = textArgument(value);
        const form = {
          width: wholeArgument(width),
          breaksWords: isTrue(breaksWords),
          breaksAtHyphens: isTrue(breaksAtHyphens),
        };
        return wrap(text, form, optionalText(mark) ?? "\n", budget);
      },
    ),
  ],
  [
    "wordcount",
    filter([], (value, _, { budget }) => {
      const text = str(value, budget);
      budget.walk(text.length);
      return text.match(WORD)?.length ?? 0;
    }),
  ],
  [
    "format",
    (value, positional, keywords, { budget }) => {
      if (positional.length > 0 && keywords.size > 0) {
        throw new TemplateError("can't handle positional and keyword arguments at the same time");
      }
      const values = new Dict();
      for (const [name, given] of keywords) values.set(name, given);
      return like(
        value,
        formatPercent(
          str(value, budget),
          keywords.size > 0 ? values : new Tuple(positional),
          budget,
          value instanceof Markup,
        ),
      );
    },
  ],
  [
    "tojson",
    filter(
      [
        ["ensure_ascii", false],
        ["indent", NONE],
        ["separators", NONE],
        ["sort_keys", false],
      ],
      (value, [ascii = false, width = NONE, separators = NONE, sorts = false], { budget }) =>
        jsonText(value, jsonForm(ascii, width, separators, sorts, budget), budget),
    ),
  ],
  ["safe", filter([], (value, _, { budget }) => new Markup(str(value, budget)))],
  ...["escape", "e"].map((name): [string, Filter] => [
    name,
    filter([], (value, _, { budget }) =>
      value instanceof Markup ? value : new Markup(escapeText(str(value, budget), budget)),
    ),
  ]),
  ["forceescape", filter([], (value, _, { budget }) => new Markup(escapeText(str(value, budget), budget)))],
  ["urlencode", filter([], (value, _, { budget }) => urlEncode(value, budget))],
  [
    "xmlattr",
    filter([["autospace", true]], (value, [autospace = true], { budget }) =>
      xmlAttributes(value, isTrue(autospace), budget),
    ),
  ],
  ["filesizeformat", filter([["binary", false]], (value, [binary = false]) => fileSize(value, isTrue(binary)))],
];
