/**
 * JSON Schema as a grammar: whatever is written by it is valid JSON and valid by the schema.
 *
 * What the grammar can't hold an answer to is refused with the keyword and its place, never left out. It may be narrower than the
 * schema: properties come in the order in which they are declared, each at most once; where a schema leaves open whether
 * there are others, or more elements, there are none; numbers are written with a bounded number of digits.
 */

import { isObject, JsonNumber, membersOf, OrderedObject } from "../json.ts";
import { equalityKey, isZero } from "./decimal.ts";
import { DisjointSchemas } from "./disjoint_schemas.ts";
import { EndlessGrammar, GrammarBuilder, GrammarTooLarge, type Node, type Part, type Rule } from "./grammar_builder.ts";
import { JsonText } from "./json_text.ts";
import { NOTHING, SchemaMerger } from "./merged_schemas.ts";
import { DECIMAL_DIGITS_MAX, hasTooManyRemainders, MULTIPLE_MAX, numberWithin } from "./number_range.ts";
import { ObjectCompiler } from "./object_schema.ts";
import { invalidSchema, unsupportedSchema } from "./schema_error.ts";
import {
  bound,
  COUNT_MAX,
  count,
  decimal,
  isAnnotation,
  isKnown,
  isOfType,
  nonEmptyArray,
  printable,
  type Schema,
  typesOf,
  unescapedPointer,
} from "./schema_keywords.ts";
import { StringCompiler } from "./string_schema.ts";
import { WorkBudget } from "./work_budget.ts";

/** Longest schema as JSON, in UTF-16 code units. */
const LENGTH_MAX = 256 * 1024;

/** Schemas within schemas. */
const DEPTH_MAX = 64;

/** Characters of all the schemas within a schema together, each as JSON: references can make much of little. */
const COMPARED_MAX = 16_000_000;

/** Most values of all enums together. */
const VALUES_MAX = 10_000;

/** Most values of an array's elements where no two may be equal: each set of them is a state. */
const UNIQUE_VALUES_MAX = 8;

/** Makes one grammar out of one or several schemas. */
export class SchemaCompiler {
  readonly builder = new GrammarBuilder();
  readonly json = new JsonText(this.builder);
  readonly #work = new WorkBudget();
  readonly #strings = new StringCompiler(this.builder, this.json, this.#work);
  readonly #objects = new ObjectCompiler(
    {
      builder: this.builder,
      json: this.json,
      value: (schema, path) => this.#value(schema, path),
      finite: (schema, path) => this.#finite(schema, path),
      resolve: (reference, path) => this.#resolve(reference, path),
      merged: (schema, path) => this.#merger.merge(schema, path),
    },
    this.#strings,
  );
  #root: unknown;
  /** Rules of the schemas that were seen, by their JSON and by themselves. */
  #rules = new Map<string, Rule>();
  #seen = new Map<Schema, Rule>();
  #disjoint = this.#comparing();
  readonly #merger = new SchemaMerger(
    (reference, path) => this.#resolve(reference, path),
    (one, other, path) => this.#areEqual(one, other, path),
    this.#work,
  );
  #depth = 0;
  #values = 0;
  #compared = 0;

  /**
   * The values that are valid by a schema.
   *
   * @throws SchemaError when it is no schema, or says what can't be followed.
   */
  schema(schema: unknown): Part {
    if (JSON.stringify(schema).length > LENGTH_MAX) {
      throw unsupportedSchema("#", `it is longer than ${LENGTH_MAX} characters of JSON`);
    }
    this.#root = schema;
    this.#rules = new Map();
    this.#seen = new Map();
    this.#disjoint = this.#comparing();
    return this.#reporting("#", () => this.#value(schema, "#"));
  }

  /**
   * The grammar's bytes, with a part for the whole answer.
   *
   * @throws SchemaError when no answer is valid, or there is no end to what would have to be looked at.
   */
  finish(answer: Part): Uint8Array {
    return this.#reporting("#", () => {
      this.builder.define(0, answer);
      const bytes = this.builder.finish();
      const [why] = this.builder.impossible;
      if (bytes === undefined && why !== undefined) {
        throw invalidSchema(why.path, `nothing is valid by it: ${why.message}`);
      }
      if (bytes === undefined) throw invalidSchema("#", "nothing that has an end is valid by it");
      return bytes;
    });
  }

  #reporting<T>(path: string, build: () => T): T {
    try {
      return build();
    } catch (error) {
      if (error instanceof GrammarTooLarge) throw unsupportedSchema(path, "it is too large");
      if (error instanceof EndlessGrammar) throw invalidSchema(path, "a '$ref' leads back to itself");
      throw error;
    }
  }

  /** A value by a schema. Equal schemas are compiled once. */
  #value(schema: unknown, path: string): Part {
    if (schema === true) return this.json.value;
    if (schema === false) return this.builder.nothing({ path, message: "false forbids every value" });
    if (schema instanceof OrderedObject) {
      const [unknown] = schema.keys().filter((keyword) => !isKnown(keyword));
      throw unsupportedSchema(path, `'${printable(String(unknown))}' is not supported`);
    }
    if (!isObject(schema)) throw invalidSchema(path, "a schema has to be an object or a boolean");
    const seen = this.#seen.get(schema);
    if (seen !== undefined) return this.builder.call(seen);
    const key = JSON.stringify(schema);
    this.#countCompared(key, path);
    const known = this.#rules.get(key);
    if (known !== undefined) return this.builder.call(known);
    if (this.#depth >= DEPTH_MAX)
      throw unsupportedSchema(path, `schemas lie in each other more than ${DEPTH_MAX} deep`);
    const rule = this.builder.declare();
    this.#rules.set(key, rule);
    this.#seen.set(schema, rule);
    this.#depth++;
    this.builder.define(rule, this.#compile(schema, path));
    this.#depth--;
    return this.builder.call(rule);
  }

  /** @throws SchemaError when too much was compared as JSON. */
  #countCompared(text: string, path: string): void {
    this.#compared += text.length;
    if (this.#compared > COMPARED_MAX) throw unsupportedSchema(path, "it is too large");
  }

  /** Whether two parts of a schema say the same. */
  #areEqual(one: unknown, other: unknown, path: string): boolean {
    if (one === other) return true;
    const text = JSON.stringify(one);
    this.#countCompared(text, path);
    return text === JSON.stringify(other);
  }

  #compile(schema: Schema, path: string): Part {
    for (const keyword of Object.keys(schema)) {
      if (!isKnown(keyword)) throw unsupportedSchema(path, `'${printable(keyword)}' is not supported`);
    }
    if (path !== "#" && schema.$id !== undefined) throw unsupportedSchema(path, "'$id' is only supported at the top");
    if (schema.nullable !== undefined) {
      const { nullable, ...others } = schema;
      if (typeof nullable !== "boolean") throw invalidSchema(path, "'nullable' has to be a boolean");
      const part = this.#compile(others, path);
      // OpenAPI: values that are named say by themselves whether null is one of them.
      const listed = others.const === undefined ? others.enum : [others.const];
      if (!nullable || (Array.isArray(listed) && !listed.includes(null))) return part;
      return this.builder.choice(this.builder.text("null"), part);
    }
    if (schema.not !== undefined) {
      const isEverything = schema.not === true || (isObject(schema.not) && Object.keys(schema.not).length === 0);
      if (!isEverything) throw unsupportedSchema(path, "'not' is only supported with {}, which forbids every value");
      return this.builder.nothing({ path, message: "'not' forbids every value" });
    }
    for (const keyword of ["$ref", "allOf", "anyOf", "oneOf", "enum", "const"] as const) {
      if (schema[keyword] === undefined) continue;
      return this.#combination(keyword, schema, path);
    }
    const types = typesOf(schema, path);
    return this.builder.choice(...types.map((type) => this.#typed(type, schema, path)));
  }

  #combination(keyword: "$ref" | "allOf" | "anyOf" | "oneOf" | "enum" | "const", schema: Schema, path: string): Part {
    if (keyword === "allOf") {
      const merged = this.#merger.merge(schema, path);
      if (merged !== NOTHING) return this.#value(merged, path);
      return this.builder.nothing({
        path,
        message: "the schemas of 'allOf' have no type, or no value of 'enum', in common",
      });
    }
    const value = schema[keyword];
    const beside = Object.entries(schema).filter(([name]) => name !== keyword && !isAnnotation(name));
    if (keyword === "enum" || keyword === "const") {
      const [wrong] = beside.find(([name]) => !["type", "enum", "const"].includes(name)) ?? [];
      if (wrong !== undefined) throw unsupportedSchema(path, `'${wrong}' beside '${keyword}' is not supported`);
      return this.#constants(schema, path);
    }
    const others = Object.fromEntries(beside);
    if (keyword === "$ref") {
      if (beside.length > 0) return this.#value({ allOf: [{ $ref: value }, others] }, path);
      return this.#value(this.#resolve(value, path), String(value));
    }
    // Checked before it goes to every alternative.
    if (schema.type !== undefined) typesOf(schema, path);
    const options = nonEmptyArray(value, keyword, path).map((option) => withOthers(option, others));
    if (keyword === "oneOf") this.#disjoint.check(options, path);
    const distinct = new Map(options.map((option, i) => [JSON.stringify(option), { option, i }]));
    return this.builder.choice(
      ...Array.from(distinct.values(), ({ option, i }) => this.#value(option, `${path}/${keyword}/${i}`)),
    );
  }

  #comparing(): DisjointSchemas {
    return new DisjointSchemas((reference, path) => this.#resolve(reference, path), this.#work);
  }

  /** What a reference within the schema leads to. */
  #resolve(reference: unknown, path: string): unknown {
    if (typeof reference !== "string") throw invalidSchema(path, "'$ref' has to be a string");
    if (!/^#(\/|$)/.test(reference))
      throw unsupportedSchema(path, "'$ref' is only supported within the schema: '#/$defs/…'");
    let found: unknown = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const name = unescapedPointer(part);
      const members = new Map(Array.isArray(found) ? Object.entries(found) : membersOf(found));
      if (!members.has(name)) throw invalidSchema(path, `'$ref' leads to nothing`);
      found = members.get(name);
    }
    return found;
  }

  // ---- Values ----

  #constants(schema: Schema, path: string): Part {
    const values = this.#listed(schema, path);
    this.#values += values.length;
    if (this.#values > VALUES_MAX)
      throw unsupportedSchema(path, `'enum' with more than ${VALUES_MAX} values in all is not supported`);
    const texts: string[] = [];
    const parts: Part[] = [];
    for (const value of values) {
      const text = JSON.stringify(value);
      if (/\\ud[89a-f]/.test(text)) throw unsupportedSchema(path, "half of a surrogate pair is not supported");
      if (typeof value === "object" && value !== null && !(value instanceof JsonNumber))
        parts.push(this.json.constant(value));
      else texts.push(text);
    }
    if (texts.length > 0) parts.push(this.builder.texts(texts));
    if (parts.length > 0) return this.builder.choice(...parts);
    return this.builder.nothing({ path, message: "'enum', 'const' and 'type' have no value in common" });
  }

  /** The values that `enum`, `const` and `type` together leave. */
  #listed(schema: Schema, path: string): unknown[] {
    const types = schema.type === undefined ? undefined : typesOf(schema, path);
    let values = schema.enum === undefined ? [schema.const] : nonEmptyArray(schema.enum, "enum", path);
    if (schema.enum !== undefined && "const" in schema) {
      const only = equalityKey(schema.const);
      values = values.filter((value) => equalityKey(value) === only);
    }
    return types === undefined ? values : values.filter((value) => types.some((type) => isOfType(value, type)));
  }

  /** All values that are valid by a schema, where it says them one by one; otherwise undefined. */
  #finite(schema: unknown, path: string, depth = 0): unknown[] | undefined {
    if (!isObject(schema) || depth > DEPTH_MAX) return undefined;
    const said = Object.keys(schema).filter((keyword) => !isAnnotation(keyword));
    if (said.length > 0 && said.every((keyword) => ["enum", "const", "type"].includes(keyword))) {
      if (schema.enum !== undefined || schema.const !== undefined) return this.#listed(schema, path);
      const types = typesOf(schema, path);
      if (!types.every((type) => type === "boolean" || type === "null")) return undefined;
      return types.flatMap((type) => (type === "null" ? [null] : [true, false]));
    }
    const [keyword, another] = said;
    if (another !== undefined) return undefined;
    if (keyword === "$ref") return this.#finite(this.#resolve(schema.$ref, path), String(schema.$ref), depth + 1);
    if (keyword !== "anyOf" && keyword !== "oneOf") return undefined;
    const options = nonEmptyArray(schema[keyword], keyword, path);
    const values = options.map((option, i) => this.#finite(option, `${path}/${keyword}/${i}`, depth + 1));
    return values.includes(undefined) ? undefined : (values.flat() as unknown[]);
  }

  #typed(type: string, schema: Schema, path: string): Part {
    switch (type) {
      case "null":
        return this.builder.text("null");
      case "boolean":
        return this.builder.texts(["true", "false"]);
      case "string":
        return this.#strings.string(schema, path);
      case "array":
        return this.#array(schema, path);
      case "object":
        return this.#objects.object(schema, path);
      default:
        return this.#number(type === "integer", schema, path);
    }
  }

  #number(isInteger: boolean, schema: Schema, path: string): Part {
    const low = bound(schema, "minimum", "exclusiveMinimum", path, 1);
    const high = bound(schema, "maximum", "exclusiveMaximum", path, -1);
    const multipleOf = decimal(schema, "multipleOf", path);
    if (multipleOf !== undefined) {
      if (multipleOf.isNegative || isZero(multipleOf)) throw invalidSchema(path, "'multipleOf' has to be over 0");
      const { whole, fraction } = multipleOf;
      if (Number(whole + fraction) > MULTIPLE_MAX || fraction.length >= DECIMAL_DIGITS_MAX) {
        throw unsupportedSchema(
          path,
          `'multipleOf' is only supported with digits up to ${MULTIPLE_MAX}, such as ${MULTIPLE_MAX}, 2.5 and 0.001`,
        );
      }
    }
    if (!isInteger && low === undefined && high === undefined && multipleOf === undefined) return this.json.number;
    const isWhole = isInteger || multipleOf?.fraction === "";
    for (const [keyword, limit] of [
      ["exclusiveMinimum", low],
      ["exclusiveMaximum", high],
    ] as const) {
      if (isWhole || limit === undefined || !limit.isExclusive) continue;
      const digits = (limit.value.whole + limit.value.fraction).replace(/^0+/, "").length;
      if (digits > DECIMAL_DIGITS_MAX) {
        throw unsupportedSchema(path, `'${keyword}' with more than ${DECIMAL_DIGITS_MAX} digits is not supported`);
      }
    }
    const range = { low, high, isInteger, multipleOf };
    if (hasTooManyRemainders(range))
      throw unsupportedSchema(path, "'multipleOf' is too large for numbers of so many digits; bounds leave them fewer");
    return numberWithin(this.builder, range, path);
  }

  #array(schema: Schema, path: string): Part {
    const { builder, json } = this;
    const least = count(schema, "minItems", path) ?? 0;
    const most = count(schema, "maxItems", path) ?? Number.POSITIVE_INFINITY;
    const { uniqueItems = false } = schema;
    // Drafts before 2020-12 have a tuple in `items`, and what follows it in `additionalItems`.
    const isOlder = Array.isArray(schema.items);
    if (isOlder && schema.prefixItems !== undefined) throw invalidSchema(path, "'items' has to be a schema");
    const [prefixItems, items, place] = isOlder
      ? [schema.items, schema.additionalItems, "items"]
      : [schema.prefixItems, schema.items, "prefixItems"];
    const itemsPath = `${path}/${isOlder ? "additionalItems" : "items"}`;
    if (typeof uniqueItems !== "boolean") throw invalidSchema(path, "'uniqueItems' has to be a boolean");
    if (least > most) return builder.nothing({ path, message: "'minItems' is over 'maxItems'" });
    const isTuple = prefixItems !== undefined && !(isOlder && (prefixItems as unknown[]).length === 0);
    if (uniqueItems && most > 1 && (isTuple || items !== false)) {
      if (isTuple) throw unsupportedSchema(path, "'uniqueItems' is not supported for tuples");
      return this.#uniqueItems(items, least, most, path);
    }
    if (!isTuple) {
      if (items === false && least > 0) {
        return builder.nothing({ path, message: "'minItems' asks for items, which 'items' forbids" });
      }
      if (items === false) return builder.text("[]");
      const item = items === undefined ? json.value : this.#value(items, itemsPath);
      return json.listOf("[", item, least, most, "]");
    }
    const first = nonEmptyArray(prefixItems, place, path).slice(0, Math.min(most, COUNT_MAX));
    const parts = first.map((item, i) => this.#value(item, `${path}/${place}/${i}`));
    const written = parts.flatMap((part, i) => (i === 0 ? [part] : [json.comma, part]));
    const missing = Math.max(0, least - parts.length);
    const hasMore = items !== false && (items !== undefined || missing > 0);
    if (missing > 0 && items === false) {
      return builder.nothing({ path, message: `'minItems' asks for more items than '${place}' has` });
    }
    if (hasMore && most > parts.length) {
      const item = items === undefined ? json.value : this.#value(items, itemsPath);
      const end = items === undefined ? missing : most - parts.length;
      written.push(builder.repeat(builder.sequence(json.comma, item), missing, end));
    }
    return builder.sequence(builder.text("["), ...written, builder.text("]"));
  }

  /** An array of values that are listed, each at most once: a state for each set of those that were written. */
  #uniqueItems(items: unknown, least: number, most: number, path: string): Part {
    const { builder, json } = this;
    const values = this.#finite(items, `${path}/items`);
    const distinct = values && [...new Map(values.map((value) => [equalityKey(value), value])).values()];
    if (distinct === undefined || distinct.length > UNIQUE_VALUES_MAX) {
      throw unsupportedSchema(
        path,
        `'uniqueItems' is only supported where 'items' lists its values, at most ${UNIQUE_VALUES_MAX}`,
      );
    }
    const rules = distinct.map((value) => builder.call(builder.rule(json.constant(value))));
    return (from) => {
      const begin = builder.text("[")(from);
      const end = builder.node();
      const nodes = Array.from({ length: 1 << rules.length }, (_, written) => (written === 0 ? begin : builder.node()));
      for (const [written, node] of nodes.entries()) {
        const length = rules.filter((_, i) => (written >> i) & 1).length;
        if (length >= least && length <= most) builder.empty(node, end);
        if (length >= most || length === rules.length) continue;
        const next = written === 0 ? node : json.comma(node);
        for (const [i, rule] of rules.entries()) {
          if (((written >> i) & 1) === 0) builder.empty(rule(next), nodes[written | (1 << i)] as Node);
        }
      }
      return builder.text("]")(end);
    };
  }
}

/** An alternative of a schema that says more beside its alternatives. */
function withOthers(option: unknown, others: Schema): unknown {
  if (Object.keys(others).length === 0 || !isObject(option)) return option;
  const isSameType = JSON.stringify(option.type ?? others.type) === JSON.stringify(others.type);
  if (Object.keys(others).join() === "type" && isSameType && option.$ref === undefined) return { ...others, ...option };
  return { allOf: [others, option] };
}
