/** What a filter is. */

import type { Budget } from "./budget.ts";
import { bind, type Parameter } from "./signature.ts";
import type { Keywords, Value } from "./values.ts";

/** What filters and tests may use of the rendering they are part of. */
export interface FilterContext {
  readonly budget: Budget;
  /** Applies another filter. @throws TemplateError when there is none of the name. */
  filter(name: Value, value: Value, positional: readonly Value[], keywords: Keywords): Value;
  /** Asks a test. @throws TemplateError when there is none of the name. */
  test(name: Value, value: Value, positional: readonly Value[], keywords: Keywords): boolean;
}

/** A filter. @throws TemplateError. */
export type Filter = (
  value: Value,
  positional: readonly Value[],
  keywords: Keywords,
  context: FilterContext,
  name: string,
) => Value;

/** A filter with parameters, which it gets in their order. */
export function filter(
  parameters: readonly Parameter[],
  run: (value: Value, values: Value[], context: FilterContext) => Value,
): Filter {
  return (value, positional, keywords, context, name) =>
    run(value, bind(name, parameters, positional, keywords), context);
}
