/**
 * Chat templates in the language of jinja2 3.1, rendered as Hugging Face's transformers render them: with ImmutableSandboxedEnvironment,
 * trim_blocks, lstrip_blocks, and their extensions. What comes out is the same, character by character: models were trained on it.
 */

import { Budget } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { globals } from "./globals.ts";
import { render } from "./interpreter.ts";
import { parse } from "./parser.ts";
import type { Body } from "./syntax.ts";
import { fromHost, type Value } from "./values.ts";

/** A template, parsed. Immutable; any number of renderings may use it. */
export class Template {
  readonly #body: Body;

  /** @throws TemplateError when the source is none, or needs what a chat template can't have. */
  constructor(source: string) {
    try {
      this.#body = parse(source);
    } catch (error) {
      throw explained(error);
    }
  }

  /**
   * Renders it.
   *
   * @param variables by name; for their values see `fromHost`.
   * @param charactersMax longest text, in UTF-16 code units, that any part of it may make.
   * @param now the date that it may ask for.
   * @throws TemplateError with the template's own words when it refuses the variables.
   */
  render(variables: Readonly<Record<string, unknown>>, charactersMax: number, now: Date): string {
    const budget = new Budget(charactersMax);
    const values: Map<string, Value> = globals(budget, now);
    for (const [name, value] of Object.entries(variables)) values.set(name, fromHost(value));
    try {
      return render(this.#body, values, budget);
    } catch (error) {
      throw explained(error);
    }
  }
}

/** Longest message of an error. Templates may say anything. */
const MESSAGE_LENGTH_MAX = 500;

/** A fault as a TemplateError of one line: depth that the bounds don't foresee ends in an error of JavaScript's. */
function explained(error: unknown): unknown {
  if (error instanceof RangeError) return new TemplateError("the chat template goes too deep");
  if (!(error instanceof TemplateError)) return error;
  const [line = ""] = error.message.split("\n", 1);
  return new TemplateError(
    line.length > MESSAGE_LENGTH_MAX ? `${line.slice(0, MESSAGE_LENGTH_MAX).toWellFormed()}…` : line,
  );
}
