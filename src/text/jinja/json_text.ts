/** Values as JSON, as Hugging Face's `tojson` has json.dumps write them. */

import { indentArgument } from "./arguments.ts";
import { type Budget, TextBuilder } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { floatText, intText } from "./numbers.ts";
import { isTrue, order } from "./operators.ts";
import { Dict, Float, isInt, itemsOf, textOf, typeName, type Value } from "./values.ts";

/** How JSON is to be written. */
export interface JsonForm {
  ensureAscii: boolean;
  /** What a level is indented by; undefined: all is one line. */
  indent: string | undefined;
  itemSeparator: string;
  keySeparator: string;
  sortKeys: boolean;
}

/** Reads the arguments of the filter. @throws TemplateError. */
export function jsonForm(
  ensureAscii: Value,
  indent: Value,
  separators: Value,
  sortKeys: Value,
  budget: Budget,
): JsonForm {
  const form: JsonForm = {
    ensureAscii: isTrue(ensureAscii),
    indent: indent === null ? undefined : indentArgument(indent, budget),
    itemSeparator: indent === null ? ", " : ",",
    keySeparator: ": ",
    sortKeys: isTrue(sortKeys),
  };
  if (separators !== null) {
    const pair = itemsOf(separators) ?? [];
    const [item, key] = pair.map(textOf);
    if (item === undefined || key === undefined || pair.length !== 2) {
      throw new TemplateError("tojson() takes two texts as separators");
    }
    form.itemSeparator = item;
    form.keySeparator = key;
  }
  return form;
}

/** Writes a value. @throws TemplateError when it is none that JSON knows. */
export function jsonText(value: Value, form: JsonForm, budget: Budget): string {
  const builder = new TextBuilder(budget);
  new Writer(form, budget, builder).write(value, "\n");
  return builder.text;
}

class Writer {
  readonly #form: JsonForm;
  readonly #budget: Budget;
  readonly #builder: TextBuilder;

  constructor(form: JsonForm, budget: Budget, builder: TextBuilder) {
    this.#form = form;
    this.#budget = budget;
    this.#builder = builder;
  }

  /** @param line the end of a line and the indentation of what this value stands in. */
  write(value: Value, line: string): void {
    this.#budget.spend(1);
    this.#budget.compute(value);
    const text = textOf(value);
    if (text !== undefined) this.#builder.add(this.#quote(text));
    else if (value === null || typeof value === "boolean" || isInt(value) || value instanceof Float) {
      this.#builder.add(scalar(value));
    } else if (value instanceof Dict) {
      const entries = [...value.entries()];
      if (this.#form.sortKeys) entries.sort(([a], [b]) => order(a, b, this.#budget));
      this.#writeParts("{", entries, "}", line, ([key, field], inner) => {
        this.#builder.add(this.#quote(keyText(key)));
        this.#builder.add(this.#form.keySeparator);
        this.write(field, inner);
      });
    } else {
      const items = itemsOf(value);
      if (items === undefined) throw new TemplateError(`Object of type ${typeName(value)} is not JSON serializable`);
      this.#writeParts("[", items, "]", line, (element, inner) => this.write(element, inner));
    }
  }

  #writeParts<Part>(
    open: string,
    parts: readonly Part[],
    close: string,
    line: string,
    write: (part: Part, line: string) => void,
  ): void {
    const { indent, itemSeparator } = this.#form;
    this.#builder.add(open);
    const inner = indent === undefined ? "" : line + indent;
    this.#budget.deeper(() => {
      for (const [i, part] of parts.entries()) {
        if (i > 0) this.#builder.add(itemSeparator);
        this.#builder.add(inner);
        write(part, inner);
      }
    });
    if (indent !== undefined && parts.length > 0) this.#builder.add(line);
    this.#builder.add(close);
  }

  #quote(text: string): string {
    this.#budget.make(text.length);
    const quoted = text.replace(/["\\]|[^\u0020-\uffff]/g, escapeCharacter);
    if (!this.#form.ensureAscii) return `"${quoted}"`;
    const plain = quoted.replace(/[\u0080-\uffff]/g, (unit) => {
      this.#budget.spend(0.5);
      return escapeCharacter(unit);
    });
    return `"${plain}"`;
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

function escapeCharacter(character: string): string {
  return ESCAPES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function scalar(value: Value): string {
  if (value === null) return "null";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (isInt(value)) return intText(value);
  const text = floatText((value as Float).value);
  return text === "nan" ? "NaN" : text === "inf" ? "Infinity" : text === "-inf" ? "-Infinity" : text;
}

function keyText(key: Value): string {
  const text = textOf(key);
  if (text !== undefined) return text;
  if (key === null || typeof key === "boolean" || isInt(key) || key instanceof Float) return scalar(key);
  throw new TemplateError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}
