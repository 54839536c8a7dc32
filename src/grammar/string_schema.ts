/**
 * Strings by their length, pattern and format, and the names of properties, which are strings by a schema of their own.
 *
 * A format is followed as far as a pattern beside it lets it: where that leaves none of its texts, it is the annotation that JSON Schema
 * says it is.
 */

import { ALL, single } from "./code_points.ts";
import { automatonText, bothTexts, isTextOf, type TextAutomaton } from "./deterministic_automaton.ts";
import { type GrammarBuilder, GrammarTooLarge, type Part } from "./grammar_builder.ts";
import type { JsonText } from "./json_text.ts";
import { expressionText, lengthsOf, wholeText } from "./pattern.ts";
import { type Expression, PatternError, readPattern } from "./regular_expression.ts";
import { invalidSchema, unsupportedSchema } from "./schema_error.ts";
import { count, PatternList, type Schema } from "./schema_keywords.ts";
import { type StringFormat, stringFormat } from "./string_formats.ts";
import { textAutomaton } from "./text_automaton.ts";
import type { WorkBudget } from "./work_budget.ts";

/** What a schema says of strings. */
interface StringSchema {
  least: number;
  most: number;
  patterns: readonly string[];
  /** Undefined where there is none that answers are held to. */
  format: StringFormat | undefined;
}

/** What has to hold of a text: that something in it matches, or that nothing does. */
interface TextCondition {
  expression: Expression;
  isNegative?: boolean;
}

/** Makes strings of one grammar. */
export class StringCompiler {
  readonly #builder: GrammarBuilder;
  readonly #json: JsonText;
  readonly #budget: WorkBudget;
  /** Of schemas that names were held against, by their JSON. */
  readonly #names = new Map<string, TextAutomaton>();

  constructor(builder: GrammarBuilder, json: JsonText, budget: WorkBudget) {
    this.#builder = builder;
    this.#json = json;
    this.#budget = budget;
  }

  /** A string by a schema. @throws SchemaError */
  string(schema: Schema, path: string): Part {
    const wanted = readStringSchema(schema, path);
    const { least, most, patterns, format } = wanted;
    if (patterns.length === 0 && format === undefined) {
      if (least > most) return this.#builder.nothing({ path, message: "'minLength' is over 'maxLength'" });
      return least === 0 && most === Number.POSITIVE_INFINITY ? this.#json.string : this.#json.stringOf(least, most);
    }
    const [only, another] = [...patterns, ...(format === undefined ? [] : [format.alone])];
    if (another === undefined) {
      const whole = wholeText(this.#expression(only as string, path));
      const bounded = whole === undefined ? undefined : withLengths(whole, least, most);
      if (bounded !== undefined) return this.#quoted(expressionText(this.#builder, bounded));
    }
    const automaton = this.#automaton(wanted, [], path);
    if (!automaton.isFinal.includes(true)) {
      const message = "no string has its 'pattern' or 'format', with all else that is asked of it";
      return this.#builder.nothing({ path, message });
    }
    return this.#quoted(automatonText(this.#builder, automaton));
  }

  /**
   * Names that are valid by a schema of strings, match none of some patterns and are none of some other names.
   *
   * @throws SchemaError
   */
  name(schema: Schema, otherThan: { patterns: readonly string[]; names: readonly string[] }, path: string): Part {
    const conditions = otherThan.patterns.map((pattern) => ({
      expression: this.#expression(pattern, path),
      isNegative: true,
    }));
    if (otherThan.names.length > 0) {
      const options = otherThan.names.map(exactly);
      conditions.push({ expression: { kind: "choice", options }, isNegative: true });
    }
    const automaton = this.#automaton(readStringSchema(schema, path), conditions, path);
    return this.#quoted(automatonText(this.#builder, automaton));
  }

  /** Whether a name is valid by a schema of strings. @throws SchemaError */
  isName(name: string, schema: Schema, path: string): boolean {
    const automaton = this.#names.getOrInsertComputed(JSON.stringify(schema), () =>
      this.#automaton(readStringSchema(schema, path), [], path),
    );
    return isTextOf(automaton, name);
  }

  #quoted(text: Part): Part {
    return this.#builder.sequence(this.#builder.text('"'), text, this.#builder.text('"'));
  }

  #expression(pattern: string, path: string): Expression {
    try {
      return readPattern(pattern, this.#budget);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      throw (error.isValid ? unsupportedSchema : invalidSchema)(path, `'pattern' ${error.message}`);
    }
  }

  #automaton(wanted: StringSchema, more: readonly TextCondition[], path: string): TextAutomaton {
    const { least, most, patterns, format } = wanted;
    const conditions: TextCondition[] = patterns.map((pattern) => ({ expression: this.#expression(pattern, path) }));
    conditions.push(...more);
    const length: TextCondition = { expression: ofLength(least, most) };
    try {
      if (format !== undefined) {
        const pattern = patterns.length === 0 ? format.alone : format.beside;
        const expression = this.#expression(pattern, path);
        const whole = wholeText(expression);
        const isWithin = whole !== undefined && isOfLength(whole, least, most);
        const all = [{ expression }, ...conditions, ...(isWithin ? [] : [length])];
        const automaton = this.#together(all);
        if (patterns.length === 0 || automaton.isFinal.includes(true)) return automaton;
      }
      return this.#together([length, ...conditions]);
    } catch (error) {
      if (!(error instanceof GrammarTooLarge)) throw error;
      const keyword = patterns.length > 0 ? "pattern" : format !== undefined ? "format" : "maxLength";
      throw unsupportedSchema(
        path,
        `'${keyword}' takes too many states, with all that is asked of the string; use smaller counts, or one keyword less`,
      );
    }
  }

  /** The texts that fulfil all conditions; the first is not negative. @throws GrammarTooLarge */
  #together(conditions: readonly TextCondition[]): TextAutomaton {
    return conditions
      .flatMap(({ expression, isNegative = false }) => (isNegative ? [{ expression, isNegative }] : apart(expression)))
      .map(({ expression, isNegative = false }) => ({ automaton: textAutomaton(expression, this.#budget), isNegative }))
      .reduce((all, { automaton, isNegative }) => ({
        automaton: bothTexts(all.automaton, automaton, isNegative, this.#budget),
        isNegative: false,
      })).automaton;
  }
}

/** @throws SchemaError */
function readStringSchema(schema: Schema, path: string): StringSchema {
  const { pattern, format } = schema;
  if (format !== undefined && typeof format !== "string") throw invalidSchema(path, "'format' has to be a string");
  if (pattern !== undefined && typeof pattern !== "string" && !(pattern instanceof PatternList))
    throw invalidSchema(path, "'pattern' has to be a string");
  return {
    least: count(schema, "minLength", path) ?? 0,
    most: count(schema, "maxLength", path) ?? Number.POSITIVE_INFINITY,
    patterns: pattern === undefined ? [] : typeof pattern === "string" ? [pattern] : pattern.patterns,
    format: format === undefined ? undefined : stringFormat(format),
  };
}

/** An expression that looks ahead at its beginning as several: each of them is small where all together would not be. */
function apart(expression: Expression): TextCondition[] {
  const parts = expression.kind === "sequence" ? [...expression.parts] : [];
  if (parts[0]?.kind !== "start") return [{ expression }];
  const conditions: TextCondition[] = [];
  while (parts[1]?.kind === "ahead") {
    const [{ part, isNegative }] = parts.splice(1, 1) as [Expression & { kind: "ahead" }];
    conditions.push({ expression: { kind: "sequence", parts: [{ kind: "start" }, part] }, isNegative });
  }
  return [{ expression: { kind: "sequence", parts } }, ...conditions];
}

/** Texts of so many characters. */
function ofLength(least: number, most: number): Expression {
  if (least > most) return { kind: "choice", options: [] };
  const characters: Expression = { kind: "repeat", part: { kind: "one", set: ALL }, least, most };
  return { kind: "sequence", parts: [{ kind: "start" }, characters, { kind: "end" }] };
}

/** This text only. */
function exactly(text: string): Expression {
  const characters = Array.from(text, (character): Expression => {
    return { kind: "one", set: [single(character.codePointAt(0) as number)] };
  });
  return { kind: "sequence", parts: [{ kind: "start" }, ...characters, { kind: "end" }] };
}

/** Whether a plain expression matches texts of these lengths only. */
function isOfLength(whole: Expression, least: number, most: number): boolean {
  const lengths = lengthsOf(whole);
  return lengths.least >= least && lengths.most <= most;
}

/** An expression of whole texts, within some lengths; undefined where its own counts don't say so and can't be made to. */
function withLengths(whole: Expression, least: number, most: number): Expression | undefined {
  if (isOfLength(whole, least, most)) return whole;
  let inner = whole;
  while (true) {
    if (inner.kind === "choice" && inner.options.length === 1) inner = inner.options[0] as Expression;
    else if (inner.kind === "sequence" && inner.parts.length === 1) inner = inner.parts[0] as Expression;
    else break;
  }
  if (inner.kind !== "repeat" || inner.part.kind !== "one") return undefined;
  const [from, to] = [Math.max(least, inner.least), Math.min(most, inner.most)];
  return from > to ? undefined : { ...inner, least: from, most: to };
}
