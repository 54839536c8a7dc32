/** The functions that every template may call: jinja2's, and those that Hugging Face adds. */

import { textArgument, wholeArgument } from "./arguments.ts";
import { type Budget, LIST_LENGTH_MAX } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { iterate, listOf } from "./operators.ts";
import { str } from "./repr.ts";
import { bind } from "./signature.ts";
import { strftime } from "./strftime.ts";
import {
  Callable,
  Dict,
  HostFunction,
  type Keywords,
  Namespace,
  Range,
  Thing,
  Undefined,
  type Value,
} from "./values.ts";

/** Their names. */
export const GLOBAL_NAMES = [
  "range",
  "dict",
  "lipsum",
  "cycler",
  "joiner",
  "namespace",
  "raise_exception",
  "strftime_now",
] as const;

/** Those of one rendering. @param now what the date is. */
export function globals(budget: Budget, now: Date): Map<string, Value> {
  const functions: Record<(typeof GLOBAL_NAMES)[number], (positional: readonly Value[], keywords: Keywords) => Value> =
    {
      range(positional, keywords) {
        if (keywords.size > 0) throw new TemplateError("range() takes no keyword arguments");
        return range(positional);
      },
      dict: (positional, keywords) => dict(positional, keywords, budget),
      lipsum() {
        throw new TemplateError("lipsum() is not supported: the same messages have to give the same prompt");
      },
      cycler(positional) {
        if (positional.length === 0) throw new TemplateError("at least one item has to be provided");
        return new Cycler(positional);
      },
      joiner(positional, keywords) {
        const [separator = ", "] = bind("joiner", [["sep", ", "]], positional, keywords);
        return new Joiner(separator);
      },
      namespace(positional, keywords) {
        const made = new Namespace();
        for (const [name, value] of dict(positional, keywords, budget).entries()) {
          if (typeof name === "string") made.attributes.set(name, value);
        }
        return made;
      },
      raise_exception(positional, keywords) {
        const [message = null] = bind("raise_exception", [["message"]], positional, keywords);
        throw new TemplateError(str(message, budget));
      },
      strftime_now(positional, keywords) {
        const [form = null] = bind("strftime_now", [["format"]], positional, keywords);
        const text = textArgument(form);
        budget.walkSlowly(8 * text.length);
        return strftime(text, now);
      },
    };
  return new Map(Object.entries(functions).map(([name, run]) => [name, new HostFunction(name, run)]));
}

function range(bounds: readonly Value[]): Range {
  if (bounds.length < 1 || bounds.length > 3) {
    throw new TemplateError(`range expected 1 to 3 arguments, got ${bounds.length}`);
  }
  const [first = 0, second = 0, step = 1] = bounds.map(wholeArgument);
  if (step === 0) throw new TemplateError("range() arg 3 must not be zero");
  const made = bounds.length === 1 ? new Range(0, first, 1) : new Range(first, second, step);
  if (made.length > LIST_LENGTH_MAX) {
    throw new TemplateError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${LIST_LENGTH_MAX}).`);
  }
  return made;
}

function dict(positional: readonly Value[], keywords: Keywords, budget: Budget): Dict {
  if (positional.length > 1) throw new TemplateError(`dict expected at most 1 argument, got ${positional.length}`);
  const made = new Dict();
  const [source] = positional;
  if (source instanceof Undefined) source.fail();
  if (source instanceof Dict) for (const [key, value] of source.entries()) made.set(key, value);
  else if (source !== undefined) {
    for (const pair of iterate(source, budget)) {
      budget.spend(1);
      const [key, value, ...rest] = listOf(pair, budget);
      if (key === undefined || value === undefined || rest.length > 0) {
        throw new TemplateError("dict() takes pairs of a key and a value");
      }
      made.set(key, value);
    }
  }
  for (const [name, value] of keywords) made.set(name, value);
  budget.list(made.size);
  return made;
}

/** Goes round and round through its items. */
class Cycler extends Thing {
  override readonly type = "Cycler";
  readonly description = "<Cycler>";
  readonly #items: readonly Value[];
  #at = 0;

  constructor(items: readonly Value[]) {
    super();
    this.#items = items;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case "current":
        return this.#items[this.#at];
      case "next":
        return new HostFunction(name, () => {
          const item = this.#items[this.#at] as Value;
          this.#at = (this.#at + 1) % this.#items.length;
          return item;
        });
      case "reset":
        return new HostFunction(name, () => {
          this.#at = 0;
          return null;
        });
      case "pos":
        return this.#at;
      case "items":
        return this.#items;
      default:
        return undefined;
    }
  }
}

/** Gives nothing the first time it is called, and its separator from then on. */
class Joiner extends Callable {
  override readonly type = "Joiner";
  readonly description = "<Joiner>";
  readonly #separator: Value;
  #isUsed = false;

  constructor(separator: Value) {
    super();
    this.#separator = separator;
  }

  override call(): Value {
    if (this.#isUsed) return this.#separator;
    this.#isUsed = true;
    return "";
  }
}
