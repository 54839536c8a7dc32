/**
 * Whether the alternatives of a oneOf exclude each other. A grammar writes any of them, so what is written has to be valid by one
 * alone.
 */

import { isObject, membersOf } from "../json.ts";
import { equalityKey } from "./decimal.ts";
import { invalidSchema, unsupportedSchema } from "./schema_error.ts";
import { names, nonEmptyArray, type Schema, TYPES, typesOf } from "./schema_keywords.ts";
import type { WorkBudget } from "./work_budget.ts";

/** Most alternatives of a oneOf, which are compared with each other. */
const ALTERNATIVES_MAX = 256;

/** Most references that lead to each other. */
const REFERENCES_MAX = 64;

/** What is certain of every value that is valid by a schema. */
interface Facts {
  /** An integer is a number here. */
  types: ReadonlySet<string>;
  /** The only values there are, by their equalityKey. */
  values: ReadonlySet<string> | undefined;
  /** Properties that an object has with one of these values. */
  marks: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Of values of which nothing is known. */
const ANYTHING: Facts = { types: new Set(TYPES), values: undefined, marks: new Map() };

/** Compares alternatives. Made for one schema. */
export class DisjointSchemas {
  /** Of the alternatives that were seen. */
  readonly #known = new Map<Schema, readonly Facts[]>();
  readonly #resolve: (reference: unknown, path: string) => unknown;
  readonly #budget: WorkBudget;

  /**
   * @param resolve gives what a reference within the schema leads to.
   * @param budget what comparing may take.
   */
  constructor(resolve: (reference: unknown, path: string) => unknown, budget: WorkBudget) {
    this.#resolve = resolve;
    this.#budget = budget;
  }

  /** @throws SchemaError unless no value can be valid by two of the schemas. */
  check(options: readonly unknown[], path: string): void {
    if (options.length > ALTERNATIVES_MAX) {
      throw unsupportedSchema(
        path,
        `'oneOf' with more than ${ALTERNATIVES_MAX} alternatives is not supported; use 'anyOf'`,
      );
    }
    const facts = options.map((option, i) => this.#of(option, `${path}/oneOf/${i}`));
    const areApart = (one: Facts, other: Facts): boolean => {
      this.#budget.spend(Math.min(sizeOf(one), sizeOf(other)), () =>
        unsupportedSchema(path, "'oneOf' has too many alternatives to compare with each other; use 'anyOf'"),
      );
      return areDisjoint(one, other);
    };
    for (let i = 0; i < facts.length; i++) {
      for (let k = 0; k < i; k++) {
        if (facts[i]?.every((one) => facts[k]?.every((other) => areApart(one, other)))) continue;
        throw unsupportedSchema(
          path,
          `'oneOf' is only supported where no value can be of two kinds, and ${k} and ${i} may overlap; use 'anyOf'`,
        );
      }
    }
  }

  /** Kinds of values, of which every value that is valid by a schema is one, with what is certain of each. */
  #of(schema: unknown, path: string, depth = 0): readonly Facts[] {
    let at = schema;
    for (let steps = 0; isObject(at) && at.$ref !== undefined; steps++) {
      if (steps > REFERENCES_MAX) throw invalidSchema(path, "a '$ref' leads back to itself");
      at = this.#resolve(at.$ref, path);
    }
    if (at === false || (isObject(at) && at.not !== undefined)) return [];
    if (!isObject(at) || depth > REFERENCES_MAX) return [ANYTHING];
    const known = this.#known.get(at);
    if (known !== undefined) return known;
    // What leads back here, meanwhile.
    this.#known.set(at, [ANYTHING]);
    const options = at.type === undefined ? (at.anyOf ?? at.oneOf) : undefined;
    const kinds = Array.isArray(options)
      ? options.flatMap((option) => this.#of(option, path, depth + 1))
      : [this.#ofOne(at, path)];
    if (at.nullable === true) kinds.push({ ...ANYTHING, types: new Set(["null"]) });
    const facts = kinds.length > ALTERNATIVES_MAX ? [ANYTHING] : kinds;
    this.#known.set(at, facts);
    return facts;
  }

  #ofOne(schema: Schema, path: string): Facts {
    const values =
      schema.enum !== undefined
        ? nonEmptyArray(schema.enum, "enum", path)
        : "const" in schema
          ? [schema.const]
          : undefined;
    const isCombined = ["anyOf", "oneOf", "allOf"].some((keyword) => schema[keyword] !== undefined);
    const types = isCombined && schema.type === undefined ? TYPES : typesOf(schema, path);
    const marks = new Map<string, ReadonlySet<string>>();
    const required = schema.required === undefined ? [] : names(schema.required, path);
    const properties = new Map(membersOf(schema.properties));
    for (const name of required) {
      const property = properties.get(name);
      if (!isObject(property) || property.nullable === true) continue;
      const allowed = "const" in property ? [property.const] : property.enum;
      if (Array.isArray(allowed)) marks.set(name, new Set(allowed.map(equalityKey)));
    }
    const texts = values && new Set(values.map(equalityKey));
    return { types: new Set(types.map((type) => (type === "integer" ? "number" : type))), values: texts, marks };
  }
}

/** Steps of comparing with something larger. */
function sizeOf({ values, marks }: Facts): number {
  let size = 1 + (values?.size ?? 0);
  for (const mark of marks.values()) size += mark.size;
  return size;
}

function areDisjoint(a: Facts, b: Facts): boolean {
  const apart = (one: ReadonlySet<string>, other: ReadonlySet<string>) => one.isDisjointFrom(other);
  if (a.values !== undefined && b.values !== undefined) return apart(a.values, b.values);
  if (apart(a.types, b.types)) return true;
  const areObjects = [a, b].every(({ types }) => types.size === 1 && types.has("object"));
  return areObjects && [...a.marks].some(([name, values]) => apart(values, b.marks.get(name) ?? values));
}
