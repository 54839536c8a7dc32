/** Arguments of functions, checked as the functions of Python check theirs. */

import type { Budget } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { isInt, textOf, typeName, Undefined, type Value } from "./values.ts";

/** A text. @throws TemplateError for anything else. */
export function textArgument(value: Value): string {
  const text = textOf(value);
  if (text !== undefined) return text;
  throw new TemplateError(`expected a string, not ${typeName(value)}`);
}

/** A text, or undefined for None. @throws TemplateError for anything else. */
export function optionalText(value: Value): string | undefined {
  return value === null ? undefined : textArgument(value);
}

/** What lines are indented by: a text, or so many spaces. @throws TemplateError for anything else, and for too many. */
export function indentArgument(value: Value, budget: Budget): string {
  const text = textOf(value);
  const width = text === undefined ? Math.max(0, wholeArgument(value)) : text.length;
  budget.make(width);
  return text ?? " ".repeat(width);
}

/** A whole number that may serve as a length. @throws TemplateError for anything else. */
export function wholeArgument(value: Value): number {
  if (isInt(value) || typeof value === "boolean") return Math.max(-(2 ** 53), Math.min(2 ** 53, Number(value)));
  if (value instanceof Undefined) value.fail();
  throw new TemplateError(`'${typeName(value)}' object cannot be interpreted as an integer`);
}
