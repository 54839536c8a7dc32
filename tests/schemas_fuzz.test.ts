/**
 * Random schemas, against ajv: whatever their grammars write is valid, and whatever is valid and comes in the declared order is of the
 * grammar.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { answerGrammar } from "../src/grammar/answer_forms.ts";
import { SchemaError } from "../src/grammar/schema_error.ts";
import { GrammarMatcher } from "./support/grammar_matcher.ts";
import { randomNumbers } from "./support/random_numbers.ts";

setDefaultTimeout(120_000);

type Schema = Record<string, unknown>;

const PATTERNS = [
  "^a",
  "b$",
  "^[ab]*$",
  "^(?=.*1)[ab1]+$",
  "^(?!a)",
  "\\bab?\\b",
  "^(?:ab|1)+$",
  "^[^-]*$",
  "(?!.*(?:aa|11))^.{2}",
  "^$|^-|^(?:a(?=b)|b)*$",
];
const FORMATS = ["date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "regex"];
const NAMES = ["a", "b", "1", "ab", "-", "a1", "10"];

/** Chooses what a schema is made of, and values for it. */
class Maker {
  /** A number from 0 to below 1. */
  readonly random: () => number;
  /** Whether the grammar may write less than what is valid. */
  readonly mayBeNarrow: boolean;

  constructor(seed: number, mayBeNarrow: boolean) {
    this.random = randomNumbers(seed);
    this.mayBeNarrow = mayBeNarrow;
  }

  below(count: number): number {
    return Math.floor(this.random() * count);
  }

  is(oneIn = 2): boolean {
    return this.below(oneIn) === 0;
  }

  oneOf<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  some<T>(values: readonly T[], most: number): T[] {
    return values.filter(() => this.is()).slice(0, most);
  }

  schema(depth = 0): Schema {
    const makers = [
      () => this.#string(),
      () => this.#string(),
      () => this.#number(),
      () => this.oneOf<Schema>([{ type: "boolean" }, { type: "null" }, { type: ["null", "boolean"] }, { not: {} }]),
      () => ({ enum: this.some<unknown>([1, "a", null, "ab", [1], { a: 1, 1: 2 }, 2.5], 4).concat("b") }),
      () => ({ const: this.oneOf<unknown>([1, "a", null, [], { b: 1 }]) }),
    ];
    if (depth < 3) {
      makers.push(
        () => this.#object(depth),
        () => this.#object(depth),
        () => this.#array(depth),
        () => this.#tuple(depth),
        () => this.#unique(),
        () => ({ anyOf: [this.schema(depth + 1), this.schema(depth + 1)] }),
        () => ({
          oneOf: [this.#marked("x", depth), this.#marked("y", depth), { type: "integer", minimum: 1, maximum: 3 }],
        }),
        () => ({ allOf: [this.#string(false), this.#string(false)] }),
        () => ({ allOf: [this.#number(), this.#number()] }),
        () => ({ anyOf: [this.#string(false), { type: "null" }], maxLength: 3 }),
      );
    }
    return this.oneOf(makers)();
  }

  #string(mayHaveFormat = this.mayBeNarrow): Schema {
    const schema: Schema = { type: "string" };
    if (this.is(3)) schema.minLength = this.below(4);
    if (this.is(3)) schema.maxLength = ((schema.minLength as number | undefined) ?? 0) + this.below(4);
    if (this.is()) schema.pattern = this.oneOf(PATTERNS);
    if (this.is(3))
      schema.allOf = this.some(PATTERNS, 2)
        .concat("")
        .map((pattern) => ({ pattern }));
    if (this.is(6) && schema.allOf === undefined) schema.nullable = true;
    if (mayHaveFormat && this.is(3)) return { type: "string", format: this.oneOf(FORMATS) };
    return schema;
  }

  #number(): Schema {
    const schema: Schema = { type: this.is() ? "integer" : "number" };
    if (this.is()) schema[this.oneOf(["minimum", "exclusiveMinimum"])] = this.below(20) / 2 - 6;
    if (this.is()) schema[this.oneOf(["maximum", "exclusiveMaximum"])] = this.below(20) / 2 - 3;
    if (this.is(3)) schema.multipleOf = this.oneOf([1, 2, 3, 0.5, 1.5]);
    return schema;
  }

  #object(depth: number): Schema {
    const names = this.some(NAMES, 4);
    const schema: Schema = {
      type: "object",
      properties: Object.fromEntries(names.map((name) => [name, this.schema(depth + 1)])),
      additionalProperties: this.is() ? false : this.oneOf<Schema>([{ type: "boolean" }, { const: 1 }, {}]),
    };
    if (this.is()) schema.required = names.filter(() => this.is());
    if (this.is(4))
      schema.propertyNames = this.oneOf<Schema>([{ pattern: "^[ab]" }, { maxLength: 1 }, { enum: ["a", "b"] }]);
    if (this.is(4)) schema.patternProperties = { "^a": this.schema(depth + 2), "[1-]$": { type: "boolean" } };
    // Of others, only one counts for certain.
    const isClosed = schema.additionalProperties === false && schema.patternProperties === undefined;
    if (isClosed && this.is(3)) schema.minProperties = this.below(names.length + 2);
    if (this.is(4)) schema.maxProperties = this.below(5);
    return schema;
  }

  #marked(mark: string, depth: number): Schema {
    const properties = { kind: { const: mark }, b: this.schema(depth + 1) };
    return { type: "object", properties, required: ["kind"], additionalProperties: false };
  }

  #array(depth: number): Schema {
    const minItems = this.below(3);
    return { type: "array", items: this.schema(depth + 1), minItems, maxItems: minItems + this.below(3) };
  }

  #tuple(depth: number): Schema {
    const prefixItems = [this.schema(depth + 1), this.schema(depth + 1)];
    return { type: "array", prefixItems, items: this.is() ? false : this.schema(depth + 1), minItems: 2, maxItems: 4 };
  }

  #unique(): Schema {
    const items = this.oneOf<Schema>([
      { enum: [1, "a", null, [1]] },
      { type: "boolean" },
      { anyOf: [{ const: 1 }, { const: 2 }] },
    ]);
    return {
      type: "array",
      items,
      uniqueItems: true,
      ...(this.is() ? { minItems: 2 } : {}),
      ...(this.is() ? { maxItems: 3 } : {}),
    };
  }

  /** A value that may well be valid by a schema, with names in the order in which it declares them. */
  value(schema: unknown, depth = 0): unknown {
    const {
      anyOf,
      oneOf,
      allOf,
      enum: listed,
      const: only,
      type,
      prefixItems,
      items,
    } = (schema ?? {}) as Record<string, never>;
    if (this.is(12) || typeof schema !== "object") return this.oneOf<unknown>([null, true, 1, "a", [], {}]);
    if (listed !== undefined) return this.oneOf<unknown>(listed);
    if (only !== undefined) return only;
    const options = anyOf ?? oneOf ?? (type === undefined ? allOf : undefined);
    if (options !== undefined) return this.value(this.oneOf<Schema>(options), depth);
    switch (Array.isArray(type) ? this.oneOf<string>(type) : type) {
      case "string":
        return Array.from({ length: this.below(6) }, () => this.oneOf([..."aabb11-"])).join("");
      case "integer":
        return this.below(20) - 8;
      case "number":
        return (this.below(80) - 32) / 4;
      case "boolean":
        return this.is();
      case "array": {
        const first = ((prefixItems ?? []) as Schema[]).map((item) => this.value(item, depth + 1));
        return [...first, ...Array.from({ length: this.below(4) }, () => this.value(items, depth + 1))];
      }
      case "object":
        return this.#objectBy(schema as Schema, depth);
      default:
        return null;
    }
  }

  #objectBy({ properties, required = [], additionalProperties, propertyNames }: Schema, depth: number): unknown {
    const declared = Object.entries(properties as Record<string, Schema>);
    // What is listed as a name, or required, counts as declared.
    const named = [...(required as string[]), ...(((propertyNames as Schema | undefined)?.enum ?? []) as string[])];
    const others = NAMES.filter((name) => !declared.some(([own]) => own === name) && !named.includes(name));
    const members = [
      ...declared.filter(([name]) => (required as string[]).includes(name) || this.is()),
      ...named
        .filter((name) => !declared.some(([own]) => own === name) && this.is())
        .map((name) => [name, additionalProperties]),
      ...others.filter(() => this.is(4)).map((name) => [name, additionalProperties]),
    ] as [string, Schema][];
    return new Map(members.map(([name, own]) => [name, this.value(own, depth + 1)]));
  }
}

/** JSON with the members of maps in their order. */
function written(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(written).join()}]`;
  if (!(value instanceof Map)) return JSON.stringify(value);
  return `{${Array.from(value, ([name, member]) => `${JSON.stringify(name)}:${written(member)}`).join()}}`;
}

/** A grammar; "refused" where a schema can't be followed, undefined where nothing is valid. */
function matcherOf(schema: Schema): GrammarMatcher | "refused" | undefined {
  try {
    return new GrammarMatcher(answerGrammar({ json: { schema } }));
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    return error.message.startsWith("nothing") ? undefined : "refused";
  }
}

function validatorOf(schema: Schema) {
  const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 6 });
  addFormats(ajv);
  return ajv.compile(schema);
}

/** A seed can't be made smaller; the error says what it made. */
const REPORT = { endOnFailure: true, includeErrorInReport: true };

test("what a grammar writes is valid", () => {
  let checked = 0;
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const maker = new Maker(seed, true);
      const schema = maker.schema();
      const matcher = matcherOf(schema);
      if (matcher === undefined || matcher === "refused") return;
      const isValid = validatorOf(schema);
      const shown = JSON.stringify(schema);
      for (let i = 0; i < 6; i++) {
        const text = matcher.sample(maker.random, 40);
        checked++;
        expect([shown, text, isValid(JSON.parse(text))]).toEqual([shown, text, true]);
        expect([shown, text, matcher.matches(text)]).toEqual([shown, text, true]);
      }
    }),
    { numRuns: 150, ...REPORT },
  );
  expect(checked).toBeGreaterThan(300);
});

test("what is valid, in the declared order, is of the grammar, and nothing else is", () => {
  let valid = 0;
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const maker = new Maker(seed, false);
      const schema = JSON.parse(JSON.stringify(maker.schema())) as Schema;
      const matcher = matcherOf(schema);
      if (matcher === "refused") return;
      const isValid = validatorOf(schema);
      const shown = JSON.stringify(schema);
      for (let i = 0; i < 12; i++) {
        const text = written(maker.value(schema));
        const isRight = isValid(JSON.parse(text));
        valid += Number(isRight);
        expect([shown, text, matcher?.matches(text) ?? false]).toEqual([shown, text, isRight]);
      }
    }),
    { numRuns: 200, ...REPORT },
  );
  expect(valid).toBeGreaterThan(300);
});
