/** `allOf`: one schema that says what several say, as far as that can be said without a doubt. */

import { isObject, membersOf, objectOf } from "../json.ts";
import { compareDecimals, decimalOf, equalityKey } from "./decimal.ts";
import { unsupportedSchema } from "./schema_error.ts";
import {
  isAnnotation,
  names,
  nonEmptyArray,
  PatternList,
  printable,
  type Schema,
  TYPES,
  typesOf,
} from "./schema_keywords.ts";
import type { WorkBudget } from "./work_budget.ts";

/** Schemas within schemas. */
const DEPTH_MAX = 64;

/** Steps that a member, keyword or property of an allOf costs. References can make much of little. */
const MERGED_WORK = 3;

/** By which nothing is valid. */
export const NOTHING: Schema = { not: {} };

/** Puts schemas together. */
export class SchemaMerger {
  readonly #resolve: (reference: unknown, path: string) => unknown;
  readonly #areEqual: (one: unknown, other: unknown, path: string) => boolean;
  readonly #budget: WorkBudget;

  /**
   * @param resolve gives what a reference within the document at hand leads to.
   * @param areEqual whether two parts of it say the same.
   * @param budget what putting together may take.
   */
  constructor(
    resolve: (reference: unknown, path: string) => unknown,
    areEqual: (one: unknown, other: unknown, path: string) => boolean,
    budget: WorkBudget,
  ) {
    this.#resolve = resolve;
    this.#areEqual = areEqual;
    this.#budget = budget;
  }

  /** A schema without its allOf: everything in one. @throws SchemaError */
  merge(schema: Schema, path: string): Schema {
    return this.#merge(schema, path, 0);
  }

  #merge(schema: Schema, path: string, depth: number): Schema {
    if (depth > DEPTH_MAX) throw unsupportedSchema(path, "'allOf' lies in itself too deeply");
    const { allOf, ...own } = schema;
    const members = nonEmptyArray(allOf, "allOf", path).map((member, i) =>
      this.#plain(member, `${path}/allOf/${i}`, depth),
    );
    const sum: Record<string, unknown> = {};
    const properties = new Map<string, unknown[]>();
    const required = new Set<string>();
    for (const [i, member] of [own, ...members].entries()) {
      const place = i === 0 ? path : `${path}/allOf/${i - 1}`;
      this.#countMerged(member, place);
      for (const [keyword, value] of Object.entries(member)) {
        if (isAnnotation(keyword)) continue;
        const described = keyword === "properties" ? membersOf(value) : undefined;
        if (described !== undefined) {
          for (const [name, property] of described) {
            properties.getOrInsertComputed(name, () => []).push(property);
          }
        } else if (keyword === "required") for (const name of names(value, place)) required.add(name);
        else if (keyword === "type") sum.type = sum.type === undefined ? value : commonTypes(sum, member, place);
        else if (sum[keyword] === undefined) sum[keyword] = value;
        else if (!this.#areEqual(sum[keyword], value, place)) {
          const both = narrowed(keyword, sum[keyword], value);
          if (both === undefined)
            throw unsupportedSchema(place, `'allOf' is not supported where '${printable(keyword)}' is said twice`);
          sum[keyword] = both;
        }
      }
      if ([sum.type, sum.enum].some((left) => Array.isArray(left) && left.length === 0)) return NOTHING;
    }
    if (properties.size > 0) {
      sum.properties = objectOf(
        Array.from(properties, ([name, schemas]) => [name, schemas.length === 1 ? schemas[0] : { allOf: schemas }]),
      );
    }
    if (required.size > 0) sum.required = [...required];
    const isClosed = sum.additionalProperties !== undefined && sum.additionalProperties !== true;
    if (isClosed && members.filter((member) => "properties" in member).length + ("properties" in own ? 1 : 0) > 1) {
      throw unsupportedSchema(path, "'additionalProperties' within 'allOf' is not supported");
    }
    return sum;
  }

  /** A member of an allOf with its references and its own allOf resolved. */
  #plain(schema: unknown, path: string, depth: number): Schema {
    if (schema === true) return {};
    if (!isObject(schema)) throw unsupportedSchema(path, "'allOf' is only supported with objects");
    if (depth > DEPTH_MAX) throw unsupportedSchema(path, "'allOf' lies in itself too deeply");
    if (schema.$ref !== undefined) {
      const { $ref, ...others } = schema;
      const target = this.#resolve($ref, path);
      if (Object.keys(others).every(isAnnotation)) return this.#plain(target, path, depth + 1);
      return this.#merge({ allOf: [target, others] }, path, depth + 1);
    }
    return schema.allOf === undefined ? withNull(schema, path) : this.#merge(schema, path, depth + 1);
  }

  /** @throws SchemaError when too much is put together. */
  #countMerged({ properties, required, ...others }: Schema, path: string): void {
    const described = membersOf(properties)?.length ?? 0;
    const merged = 1 + Object.keys(others).length + described + (Array.isArray(required) ? required.length : 0);
    this.#budget.spend(MERGED_WORK * merged, () => unsupportedSchema(path, "'allOf' puts too much together"));
  }
}

/** A schema with null among its types where it is `nullable`, which says nothing of a schema without types. */
function withNull(schema: Schema, path: string): Schema {
  const { nullable, ...others } = schema;
  if (nullable === undefined) return schema;
  if (nullable !== true || others.type === undefined) return others;
  return { ...others, type: [...new Set([...typesOf(others, path), "null"])] };
}

/** The types that two schemas have in common. */
function commonTypes(one: Schema, other: Schema, path: string): string[] {
  const has = (types: readonly string[], type: string) =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  const [ones, others] = [typesOf(one, path), typesOf(other, path)];
  const common = TYPES.filter((type) => has(ones, type) && has(others, type));
  return common.filter((type) => type !== "integer" || !common.includes("number"));
}

/** The narrower one of two values of a keyword, or what says both; undefined where nothing does. */
export function narrowed(keyword: string, one: unknown, other: unknown): unknown {
  if (keyword === "pattern") {
    const patterns = [one, other].flatMap<unknown>((value) =>
      value instanceof PatternList ? value.patterns : [value],
    );
    return patterns.every((pattern) => typeof pattern === "string") ? new PatternList(patterns) : undefined;
  }
  if (keyword === "uniqueItems") return true;
  if (keyword === "enum" && Array.isArray(one) && Array.isArray(other)) {
    const keys = new Set(other.map(equalityKey));
    return one.filter((value) => keys.has(equalityKey(value)));
  }
  const [ones, others] = [decimalOf(one), decimalOf(other)];
  if (ones === undefined || others === undefined) return undefined;
  if (/^(?:min|exclusiveMin)/.test(keyword)) return compareDecimals(ones, others) > 0 ? one : other;
  if (/^(?:max|exclusiveMax)/.test(keyword)) return compareDecimals(ones, others) < 0 ? one : other;
  return undefined;
}
