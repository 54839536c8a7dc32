/** Values as text: what Python's str() and repr() write. */

import { type Budget, TextBuilder } from "./budget.ts";
import { floatText, intText } from "./numbers.ts";
import {
  Dict,
  DictView,
  Float,
  type Int,
  isInt,
  isList,
  Markup,
  Namespace,
  Range,
  Stream,
  Thing,
  Tuple,
  Undefined,
  type Value,
} from "./values.ts";

/** What str() writes, and templates print. */
export function str(value: Value, budget: Budget): string {
  if (typeof value === "string") return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return "";
  return repr(value, budget);
}

/** What repr() writes, as for values within others. */
export function repr(value: Value, budget: Budget): string {
  const builder = new TextBuilder(budget);
  new Writer(budget, builder).write(value);
  return builder.text;
}

class Writer {
  readonly #budget: Budget;
  readonly #builder: TextBuilder;
  /** What is being written: it is not written within itself. */
  readonly #open = new Set<Value>();

  constructor(budget: Budget, builder: TextBuilder) {
    this.#budget = budget;
    this.#builder = builder;
  }

  write(value: Value): void {
    this.#budget.spend(1);
    if (value === null) this.#builder.add("None");
    else if (typeof value === "boolean") this.#builder.add(value ? "True" : "False");
    else if (isInt(value)) this.#writeInt(value);
    else if (typeof value === "string") this.#builder.add(quote(value, this.#budget));
    else if (value instanceof Float) this.#builder.add(floatText(value.value));
    else if (value instanceof Markup) this.#builder.add(`Markup(${quote(value.text, this.#budget)})`);
    else if (value instanceof Undefined) this.#builder.add("Undefined");
    else if (value instanceof Range) this.#builder.add(rangeText(value));
    else if (value instanceof Stream) this.#builder.add("<generator object>");
    else if (value instanceof Thing) this.#builder.add(value.description);
    else this.#writeContainer(value);
  }

  #writeInt(value: Int): void {
    this.#budget.compute(value);
    this.#builder.add(intText(value));
  }

  #writeContainer(value: readonly Value[] | Tuple | Dict | DictView | Namespace): void {
    if (this.#open.has(value)) {
      this.#builder.add(
        value instanceof Tuple ? "(...)" : value instanceof Dict ? "{...}" : isList(value) ? "[...]" : "...",
      );
      return;
    }
    this.#open.add(value);
    this.#budget.deeper(() => {
      if (value instanceof Dict) this.#writeEntries(value.entries());
      else if (value instanceof Tuple) this.#writeItems("(", value.items, value.items.length === 1 ? ",)" : ")");
      else if (value instanceof DictView) this.#writeItems(`dict_${value.kind}([`, value, "])");
      else if (value instanceof Namespace) {
        this.#builder.add("<Namespace ");
        this.#writeEntries(value.attributes);
        this.#builder.add(">");
      } else this.#writeItems("[", value, "]");
    });
    this.#open.delete(value);
  }

  #writeItems(open: string, items: Iterable<Value>, close: string): void {
    this.#builder.add(open);
    let isFirst = true;
    for (const item of items) {
      if (!isFirst) this.#builder.add(", ");
      isFirst = false;
      this.write(item);
    }
    this.#builder.add(close);
  }

  #writeEntries(entries: Iterable<readonly [Value, Value]>): void {
    this.#builder.add("{");
    let isFirst = true;
    for (const [key, value] of entries) {
      if (!isFirst) this.#builder.add(", ");
      isFirst = false;
      this.write(key);
      this.#builder.add(": ");
      this.write(value);
    }
    this.#builder.add("}");
  }
}

function rangeText({ start, stop, step }: Range): string {
  return step === 1 ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`;
}

/** Characters that repr() may write as escapes: quotes and backslashes, and what can't be printed. */
const ESCAPED = /[\\'"]|(?! )[\p{C}\p{Z}]/gu;
const UNPRINTABLE = /[\p{C}\p{Z}]/u;
const SHORT_ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A text as repr() writes it. */
function quote(text: string, budget: Budget): string {
  budget.walk(text.length);
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const quoted = text.replace(ESCAPED, (character) => {
    budget.spend(0.5);
    if (character === "'" || character === '"') return character === mark ? `\\${character}` : character;
    return SHORT_ESCAPES[character] ?? escapeOf(character);
  });
  return `${mark}${quoted}${mark}`;
}

/** Whether repr() writes a character as it is. */
export function isPrintable(character: string): boolean {
  return character === " " || !UNPRINTABLE.test(character);
}

/** The escape of a character: \x1f, \u2028 or \U000e0001. */
function escapeOf(character: string): string {
  const point = character.codePointAt(0) as number;
  if (point < 0x100) return `\\x${point.toString(16).padStart(2, "0")}`;
  return point < 0x10000 ? `\\u${point.toString(16).padStart(4, "0")}` : `\\U${point.toString(16).padStart(8, "0")}`;
}

/** What ascii() writes: repr() in characters below 128. */
export function ascii(value: Value, budget: Budget): string {
  return repr(value, budget).replace(/[\u0080-\u{10ffff}]/gu, escapeOf);
}
