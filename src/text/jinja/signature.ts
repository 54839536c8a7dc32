/** The parameters of functions that come with the language, and the arguments of a call put to them. */

import { TemplateError } from "./errors.ts";
import type { Keywords, Value } from "./values.ts";

/** A parameter and its default; one without a default has to be given. */
export type Parameter = readonly [name: string, otherwise?: Value];

/**
 * The value of each parameter.
 *
 * @param what the function, for messages.
 * @param named false for functions that take their arguments by position only.
 * @throws TemplateError when the arguments don't fit.
 */
export function bind(
  what: string,
  parameters: readonly Parameter[],
  positional: readonly Value[],
  keywords: Keywords,
  named = true,
): Value[] {
  if (positional.length > parameters.length) {
    throw new TemplateError(`${what}() takes at most ${parameters.length} arguments (${positional.length} given)`);
  }
  if (!named && keywords.size > 0) throw new TemplateError(`${what}() takes no keyword arguments`);
  let used = 0;
  const values = parameters.map(([name, otherwise], i) => {
    const given = keywords.get(name);
    if (given !== undefined) {
      used++;
      if (i < positional.length) throw new TemplateError(`${what}() got multiple values for argument '${name}'`);
      return given;
    }
    const value = i < positional.length ? positional[i] : otherwise;
    if (value === undefined) throw new TemplateError(`${what}() missing required argument '${name}'`);
    return value;
  });
  if (used < keywords.size) {
    const unknown = [...keywords.keys()].find((key) => !parameters.some(([name]) => name === key));
    throw new TemplateError(`${what}() got an unexpected keyword argument '${unknown}'`);
  }
  return values;
}
