/**
 * Schemas as grammars: that these hold exactly the texts that are meant, neither more nor, where nothing says otherwise, less. What is
 * valid is said by ajv, RegExp and plain arithmetic.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv2020 from "ajv/dist/2020";
import fc from "fast-check";
import { answerGrammar, ToolSchemaError } from "../src/grammar/answer_forms.ts";
import { SchemaError } from "../src/grammar/schema_error.ts";
import { FOLLOWED } from "../src/grammar/schema_keywords.ts";
import { stringFormat } from "../src/grammar/string_formats.ts";
import { GrammarMatcher } from "./support/grammar_matcher.ts";

setDefaultTimeout(60_000);

type Schema = Record<string, unknown>;

function compile(schema: Schema): GrammarMatcher {
  return new GrammarMatcher(answerGrammar({ json: { schema } }));
}

/** The grammar of a schema, or undefined when nothing is valid by it. */
function compileOrNothing(schema: Schema): GrammarMatcher | undefined {
  try {
    return compile(schema);
  } catch (error) {
    if (error instanceof SchemaError && error.message.startsWith("nothing")) return undefined;
    throw error;
  }
}

function validator(schema: Schema) {
  return new Ajv2020({ strict: false }).compile(schema);
}

describe("README", () => {
  const readme = readFileSync(join(import.meta.dir, "../README.md"), "utf8");
  const section =
    /^These keywords of JSON Schema are followed:\n([\s\S]*?)^The answer may be narrower/m.exec(readme)?.[1] ?? "";
  const followed = section.split("\n").filter((line) => line.startsWith("|") && !line.includes("ignored"));

  test("its table names the keywords that are followed, all of them", () => {
    const named = new Set(
      followed.flatMap((line) => [...line.matchAll(/`([$\w]+)/g)].map(([, word]) => word as string)),
    );
    // Not followed itself, but where references lead.
    named.delete("$defs");
    expect([...named].sort()).toEqual([...FOLLOWED].sort());
  });

  test("the formats that it names are followed", () => {
    const list = /These formats are followed: ([\s\S]*?), their/.exec(section)?.[1] ?? "";
    const named = list
      .replace(/\(.*?\)/s, "")
      .split(/,\s+/)
      .map((name) => name.trim());
    expect(named.length).toBeGreaterThan(9);
    expect(named.filter((name) => stringFormat(name) === undefined)).toEqual([]);
  });
});

describe("numbers", () => {
  test("integers are those within the bounds, all of them", () => {
    const bound = fc.option(fc.integer({ min: -130, max: 130 }), { nil: undefined });
    const wish = fc.record(
      {
        minimum: bound,
        maximum: bound,
        exclusiveMinimum: bound,
        exclusiveMaximum: bound,
        multipleOf: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(wish, (keywords) => {
        const schema = JSON.parse(JSON.stringify({ type: "integer", ...keywords }));
        const isValid = validator(schema);
        const matcher = compileOrNothing(schema);
        for (let value = -150; value <= 150; value++) {
          expect([value, matcher?.matches(String(value)) ?? false]).toEqual([value, isValid(value)]);
        }
        for (const text of ["", "-", "-0", "00", "01", "-01", "1.0", "1e1", "+1"]) {
          expect([text, matcher?.matches(text) ?? false]).toEqual([text, false]);
        }
      }),
      { numRuns: 150 },
    );
  });

  test("decimals are those within the bounds", () => {
    const bound = fc.oneof(
      fc.integer({ min: -30, max: 30 }),
      fc.integer({ min: -3000, max: 3000 }).map((value) => value / 100),
      fc
        .double({ min: -20, max: 20, noNaN: true, noDefaultInfinity: true })
        .map((value) => Number(value.toPrecision(9))),
    );
    const bounds = fc.record(
      { minimum: bound, maximum: bound, exclusiveMinimum: bound, exclusiveMaximum: bound },
      { requiredKeys: [] },
    );
    const candidate = fc
      .tuple(fc.boolean(), fc.nat({ max: 35 }), fc.option(fc.stringMatching(/^\d{1,9}$/), { nil: undefined }))
      .map(
        ([isNegative, whole, fraction]) =>
          `${isNegative ? "-" : ""}${whole}${fraction === undefined ? "" : `.${fraction}`}`,
      );
    fc.assert(
      fc.property(bounds, fc.array(candidate, { minLength: 40, maxLength: 40 }), (keywords, candidates) => {
        fc.pre(Object.keys(keywords).length > 0);
        const schema = { type: "number", ...keywords };
        const isValid = validator(schema);
        const matcher = compileOrNothing(schema);
        // The bounds themselves, where they are written without exponent.
        const own = Object.values(keywords)
          .map(String)
          .filter((text) => !text.includes("e"));
        for (const text of [...candidates, ...own]) {
          // Zero need not be written with a sign, and isn't where nothing negative is allowed.
          if (Object.is(JSON.parse(text), -0)) continue;
          expect([text, matcher?.matches(text) ?? false]).toEqual([text, isValid(JSON.parse(text))]);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("multiples of decimals are those within the bounds, by whole arithmetic", () => {
    const wish = fc.record({
      digits: fc.integer({ min: 1, max: 300 }),
      places: fc.nat({ max: 3 }),
      minimum: fc.option(fc.integer({ min: -40, max: 40 }), { nil: undefined }),
      maximum: fc.option(fc.integer({ min: -40, max: 40 }), { nil: undefined }),
      type: fc.constantFrom("number", "integer"),
    });
    const candidate = fc
      .tuple(fc.boolean(), fc.nat({ max: 45 }), fc.stringMatching(/^\d{0,4}$/))
      .map(
        ([isNegative, whole, fraction]) => `${isNegative ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`,
      );
    /** A number's text as ten thousandths. */
    const scaled = (text: string) => Math.round(Number(text) * 10_000);
    let matched = 0;
    fc.assert(
      fc.property(wish, fc.array(candidate, { minLength: 30, maxLength: 30 }), (wanted, candidates) => {
        const { digits, places, minimum = -50, maximum = 50, type } = wanted;
        const multipleOf = digits / 10 ** places;
        const matcher = compileOrNothing({ type, multipleOf, minimum, maximum });
        const multiples = Array.from({ length: 30 }, (_, i) => ((i - 15) * multipleOf).toFixed(places));
        for (const text of [...candidates, ...multiples]) {
          if (Object.is(Number(text), -0)) continue;
          const [value, step] = [scaled(text), scaled(String(multipleOf))];
          const isInside = value >= minimum * 10_000 && value <= maximum * 10_000 && value % step === 0;
          // Of an integer no fraction is written, and of others no more places than the multiple has.
          const [written, most] = [text, String(multipleOf)].map((number) => number.split(".")[1]?.length ?? 0);
          const isShort = (written as number) <= (type === "integer" ? 0 : (most as number));
          matched += Number(isInside && isShort);
          expect([wanted, text, matcher?.matches(text) ?? false]).toEqual([wanted, text, isInside && isShort]);
        }
      }),
      { numRuns: 200 },
    );
    // Some six hundred, as chance has it.
    expect(matched).toBeGreaterThan(200);
  });

  test("any number that isn't bounded, with up to 16 digits", () => {
    const matcher = compile({ type: "number" });
    for (const text of ["0", "-0", "12", "1234567890123456", "0.5", "-1.25e10", "1E-7", "3e+99"]) {
      expect([text, matcher.matches(text)]).toEqual([text, true]);
    }
    for (const text of ["", "-", "01", ".5", "1.", "1e", "1e100", "+1", "NaN", "12345678901234567"]) {
      expect([text, matcher.matches(text)]).toEqual([text, false]);
    }
  });
});

describe("strings", () => {
  const text = fc.string({
    unit: fc.oneof(
      fc.constantFrom("a", "b", '"', "\\", "\n", "\0", "é", "€", "🚀", "\u007f"),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    ),
    maxLength: 8,
  });

  test("lengths are in code points, however a character is written", () => {
    fc.assert(
      fc.property(text, fc.nat({ max: 4 }), fc.nat({ max: 5 }), (value, minLength, more) => {
        const length = [...value].length;
        const matcher = compile({ type: "string", minLength, maxLength: minLength + more });
        const isValid = length >= minLength && length <= minLength + more && value.isWellFormed();
        const escaped = `"${value.replaceAll(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)}"`;
        expect([matcher.matches(JSON.stringify(value)), matcher.matches(escaped)]).toEqual([isValid, isValid]);
      }),
    );
  });

  test("nothing that isn't JSON or not Unicode", () => {
    const matcher = compile({ type: "string" });
    const wrong = [
      '"',
      '"a',
      'a"',
      '"\n"',
      '"\\x"',
      '"\\u12"',
      '"\\ud800"',
      '"\\udc00"',
      '"\\ud800\\ud800"',
      '"\\ud83d\\u0041"',
      '"a""',
    ];
    for (const value of wrong) expect([value, matcher.matches(value)]).toEqual([value, false]);
    for (const value of ['""', '"\\/\\b"', '"\\uD83D\\uDE80"', '"\\ud7FF\\uE000"'])
      expect([value, matcher.matches(value)]).toEqual([value, true]);
  });

  const atom = fc.constantFrom(
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    "\\d",
    "\\w",
    "\\S",
    "é",
    "[🚀-🚂]",
    '"',
    "\\n",
    "\\u{1F680}",
    "[\\]\\-x]",
    "\\.",
  );
  const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
    pattern: fc.oneof(
      { maxDepth: 3 },
      atom,
      fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => a + b),
      fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => `(?:${a}|${b})`),
      fc
        .tuple(tie("pattern"), fc.constantFrom("*", "+", "?", "{2}", "{0,2}", "{1,}", "??", "{0}"))
        .map(([a, sign]) => `(${a})${sign}`),
    ),
  }));

  test("patterns match what RegExp matches", () => {
    const whole = fc
      .tuple(fc.boolean(), pattern, fc.option(pattern, { nil: undefined }), fc.boolean())
      .map(([begins, a, b, ends]) => `${begins ? "^" : ""}${a}${b === undefined ? "" : `|${b}`}${ends ? "$" : ""}`);
    const sample = fc.string({
      unit: fc.constantFrom("a", "b", "1", "é", "🚀", "🚂", '"', "\n", "x", "-", "."),
      maxLength: 6,
    });
    let matched = 0;
    fc.assert(
      fc.property(whole, fc.array(sample, { minLength: 15, maxLength: 15 }), (source, samples) => {
        const matcher = compile({ type: "string", pattern: source });
        const expression = new RegExp(source, "u");
        for (const value of samples) {
          const isMatch = expression.test(value);
          matched += Number(isMatch);
          expect([source, value, matcher.matches(JSON.stringify(value))]).toEqual([source, value, isMatch]);
        }
      }),
      { numRuns: 400 },
    );
    expect(matched).toBeGreaterThan(300);
  });

  /** Patterns that look ahead, with anchors and word boundaries anywhere. */
  const { looking } = fc.letrec<{ looking: string }>((tie) => ({
    looking: fc.oneof(
      { maxDepth: 3 },
      fc.oneof(atom, fc.constantFrom("^", "$", "\\b", "\\B", ".*", "\\p{Ll}", "\\P{L}")),
      fc.tuple(tie("looking"), tie("looking")).map(([a, b]) => a + b),
      fc.tuple(tie("looking"), tie("looking")).map(([a, b]) => `(?:${a}|${b})`),
      fc.tuple(tie("looking"), fc.constantFrom("*", "+", "?", "{2}", "{0,2}")).map(([a, sign]) => `(?:${a})${sign}`),
      fc.tuple(fc.constantFrom("=", "!"), tie("looking"), tie("looking")).map(([sign, a, b]) => `(?${sign}${a})${b}`),
    ),
  }));
  const sample = fc.string({ unit: fc.constantFrom("a", "b", "1", "é", "🚀", " ", '"', "\n", "-", "."), maxLength: 6 });

  test("patterns that look ahead, several of them, and lengths beside them match what RegExp and counting say", () => {
    const patterns = fc.array(looking, { minLength: 1, maxLength: 3 });
    let matched = 0;
    fc.assert(
      fc.property(
        patterns,
        fc.option(fc.nat({ max: 3 }), { nil: undefined }),
        fc.option(fc.nat({ max: 3 }), { nil: undefined }),
        fc.array(sample, { minLength: 20, maxLength: 20 }),
        (sources, minLength, more, samples) => {
          const maxLength = more === undefined ? undefined : (minLength ?? 0) + more;
          const lengths = JSON.parse(JSON.stringify({ minLength, maxLength }));
          const matcher = compileOrNothing({
            type: "string",
            allOf: sources.map((source) => ({ pattern: source })),
            ...lengths,
          });
          for (const value of samples) {
            const length = [...value].length;
            const isLong = length >= (minLength ?? 0) && length <= (maxLength ?? 99);
            const isMatch = isLong && sources.every((source) => new RegExp(source, "u").test(value));
            matched += Number(isMatch);
            const found = matcher?.matches(JSON.stringify(value)) ?? false;
            expect([sources, lengths, value, found]).toEqual([sources, lengths, value, isMatch]);
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(matched).toBeGreaterThan(300);
  });
});

describe("objects, arrays and all values", () => {
  /** JSON with a space after some commas and colons. */
  function spaced(value: unknown, choose: () => boolean): string {
    const comma = () => (choose() ? ", " : ",");
    const joined = (parts: string[]) => parts.reduce((sum, part) => (sum === "" ? part : sum + comma() + part), "");
    if (Array.isArray(value)) return `[${joined(value.map((item) => spaced(item, choose)))}]`;
    if (typeof value !== "object" || value === null) return JSON.stringify(value);
    const members = Object.entries(value).map(
      ([name, item]) => `${JSON.stringify(name)}:${choose() ? " " : ""}${spaced(item, choose)}`,
    );
    return `{${joined(members)}}`;
  }

  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom(null, true, false),
      fc.integer(),
      fc.integer().map((number) => number / 64),
      fc.string({ unit: "grapheme", maxLength: 5 }),
      fc.array(tie("any"), { maxLength: 3 }),
      fc.dictionary(fc.string({ unit: "grapheme", maxLength: 3 }), tie("any"), { maxKeys: 3 }),
    ),
  })).any;

  test("every value is one, and a constant is only itself", () => {
    const matcher = compile({});
    fc.assert(
      fc.property(value, value, fc.infiniteStream(fc.boolean()), (one, other, choices) => {
        const choose = () => choices.next().value as boolean;
        expect(matcher.matches(spaced(one, choose))).toBe(true);
        const constant = compile({ const: one });
        expect(constant.matches(spaced(one, choose))).toBe(true);
        expect(constant.matches(spaced(other, choose))).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
    );
    for (const text of ["", "{", "[1,]", "[1  ,2]", '{"a"}', '{"a":1,}', " 1", "1 ", "[ 1]", "nul", "{a:1}"]) {
      expect([text, matcher.matches(text)]).toEqual([text, false]);
    }
  });

  test("declared properties in their order, required ones always, others by their schema and under other names", () => {
    const name = fc.constantFrom("a", "ab", "b", 'q"', "é", "ü\\", "c");
    const wish = fc.record({
      declared: fc.uniqueArray(name, { maxLength: 4 }),
      required: fc.infiniteStream(fc.boolean()),
      isOpen: fc.boolean(),
    });
    const members = fc.uniqueArray(fc.tuple(name, fc.constantFrom<unknown>(1, "x")), {
      maxLength: 5,
      selector: ([key]) => key,
    });
    fc.assert(
      fc.property(
        wish,
        fc.array(members, { minLength: 12, maxLength: 12 }),
        ({ declared, required, isOpen }, objects) => {
          const schema = {
            type: "object",
            properties: Object.fromEntries(declared.map((key) => [key, { const: 1 }])),
            required: declared.filter(() => required.next().value),
            additionalProperties: isOpen ? { const: "x" } : false,
          };
          const isValid = validator(schema);
          const matcher = compile(schema);
          for (const entries of objects) {
            const places = entries
              .map(([key]) => declared.indexOf(key))
              .map((place) => (place < 0 ? declared.length : place));
            const isOrdered = places.every((place, i) => i === 0 || place >= (places[i - 1] as number));
            const text = JSON.stringify(Object.fromEntries(entries));
            expect([text, matcher.matches(text)]).toEqual([text, isOrdered && isValid(JSON.parse(text))]);
          }
          // No declared name under the cover of an escape, and none twice.
          expect(matcher.matches('{"\\u0061":"x"}')).toBe(false);
          if (declared.includes("a")) expect(matcher.matches('{"a":1,"a":1}')).toBe(false);
        },
      ),
      { numRuns: 200 },
    );
  });

  test("names that are required or listed but not declared have any value", () => {
    for (const schema of [
      { type: "object", required: ["a"] },
      { type: "object", properties: { b: { const: 1 } }, required: ["a"] },
      { type: "object", propertyNames: { enum: ["a"] }, required: ["a"] },
    ]) {
      const matcher = compile(schema);
      for (const text of ['{"a":[{"x":null}]}', '{"a":1}', '{"a":"b"}', "{}", '{"c":1}']) {
        expect([schema, text, matcher.matches(text)]).toEqual([schema, text, text.includes('"a"')]);
      }
    }
  });

  test("what is nullable may be null, unless its values are named", () => {
    const isNull = (schema: Schema) => compile({ ...schema, nullable: true }).matches("null");
    expect(isNull({ type: "string" })).toBe(true);
    expect(isNull({ type: "string", enum: ["a"] })).toBe(false);
    expect(isNull({ type: "string", const: "a" })).toBe(false);
    expect(isNull({ enum: ["a", null] })).toBe(true);
    expect(isNull({ const: null })).toBe(true);
  });

  test("what all schemas of a request take together is bounded", () => {
    const chain = Array.from({ length: 12 }, (_, i) => {
      const next = { $ref: `#/$defs/d${i + 1}` };
      return [`d${i}`, { allOf: [next, next] }];
    });
    const $defs = { ...Object.fromEntries(chain), d12: { type: "object", properties: { a: { type: "integer" } } } };
    const tools = Array.from({ length: 60 }, (_, i) => ({
      name: `f${i}`,
      parameters: { $ref: "#/$defs/d0", $defs },
      path: `tools[${i}]`,
    }));
    answerGrammar({ calls: { tools: tools.slice(0, 1), isParallel: false } });
    const refused = () => answerGrammar({ calls: { tools, isParallel: false } });
    expect(refused).toThrow(ToolSchemaError);
    const option = (value: number) => ({ type: "object", properties: { k: { const: value } }, required: ["k"] });
    const nested = (groups: number) => ({
      oneOf: Array.from({ length: groups }, (_, i) => ({
        oneOf: Array.from({ length: 40 }, (_, k) => option(i * 40 + k)),
      })),
    });
    compile(nested(10));
    expect(() => compile(nested(64))).toThrow("too many alternatives to compare");
  });

  test("arrays have as many elements as they may", () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 3 }),
        fc.nat({ max: 3 }),
        fc.nat({ max: 3 }),
        fc.boolean(),
        (minItems, more, tuple, isOpen) => {
          const prefixItems = Array.from({ length: tuple }, (_, i) => ({ const: i }));
          const schema = {
            type: "array",
            ...(tuple > 0 ? { prefixItems } : {}),
            items: isOpen || tuple === 0 ? { const: "x" } : false,
            minItems,
            maxItems: minItems + more,
          };
          const isValid = validator(schema);
          const matcher = compileOrNothing(schema);
          for (let length = 0; length < 8; length++) {
            const items = Array.from({ length }, (_, i) => (i < tuple ? i : "x"));
            // Of a tuple as much as there may be is written.
            const isWhole = length >= Math.min(tuple, minItems + more);
            expect([length, matcher?.matches(JSON.stringify(items)) ?? false]).toEqual([
              length,
              isWhole && isValid(items),
            ]);
          }
        },
      ),
    );
  });
});
