/** JSON Schema as src/api/openapi.ts uses it: checking values against it, and making values from it. */

import fc from "fast-check";
import type { Schema } from "../../src/api/openapi.ts";

/** The schemas that a $ref may name. */
type Schemas = Readonly<Record<string, Schema>>;

/** The keywords that are understood here; a schema with another one is a mistake. */
const KEYWORDS = new Set(
  [
    "type description enum minimum maximum minLength maxLength pattern minItems maxItems items properties",
    "required additionalProperties anyOf default $ref",
  ].flatMap((words) => words.split(" ")),
);

const TYPES = new Set(["string", "number", "integer", "boolean", "object", "array", "null"]);

/** The schema that a reference stands for. @throws Error when there is none. */
export function resolve(schema: Schema, schemas: Schemas): Schema {
  if (schema.$ref === undefined) return schema;
  const found = schemas[schema.$ref.replace("#/components/schemas/", "")];
  if (found === undefined) throw new Error(`nothing is called ${schema.$ref}`);
  return found;
}

/** What is wrong with a schema itself. */
export function faultsOfSchema(schema: Schema, schemas: Schemas, path: string): string[] {
  const faults = Object.keys(schema)
    .filter((keyword) => !KEYWORDS.has(keyword))
    .map((keyword) => `${path}: unknown keyword ${keyword}`);
  if (schema.$ref !== undefined) {
    resolve(schema, schemas);
    return faults;
  }
  for (const type of [schema.type ?? []].flat()) if (!TYPES.has(type)) faults.push(`${path}: unknown type ${type}`);
  for (const name of schema.required ?? []) {
    if (schema.properties?.[name] === undefined) faults.push(`${path}: ${name} is required and not described`);
  }
  const inner: [string, Schema][] = [
    ...Object.entries(schema.properties ?? {}),
    ...(schema.anyOf ?? []).map((option, i): [string, Schema] => [`anyOf ${i}`, option]),
  ];
  if (schema.items !== undefined) inner.push(["items", schema.items]);
  if (schema.additionalProperties !== undefined) inner.push(["others", schema.additionalProperties]);
  return [...faults, ...inner.flatMap(([name, part]) => faultsOfSchema(part, schemas, `${path}.${name}`))];
}

function isOfType(value: unknown, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

/** Where a value is not what a schema says. Properties that the schema doesn't describe are faults too. */
export function faultsOf(value: unknown, referring: Schema, schemas: Schemas, path = "answer"): string[] {
  const schema = resolve(referring, schemas);
  if (schema.anyOf !== undefined) {
    const attempts = schema.anyOf.map((option) => faultsOf(value, option, schemas, path));
    return attempts.find((faults) => faults.length === 0) ?? (attempts[0] as string[]);
  }
  const types = [schema.type ?? []].flat();
  if (types.length > 0 && !types.some((type) => isOfType(value, type))) return [`${path} is no ${types.join(" or ")}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${path} is none of the values allowed`];
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? [] : value.flatMap((item, i) => faultsOf(item, items, schemas, `${path}[${i}]`));
  }
  if (typeof value !== "object" || value === null) return [];
  const missing = (schema.required ?? [])
    .filter((name) => !(name in value))
    .map((name) => `${path}.${name} is missing`);
  const { properties, additionalProperties } = schema;
  const inner = Object.entries(value).flatMap(([name, part]) => {
    const described = properties?.[name] ?? additionalProperties;
    if (described !== undefined) return faultsOf(part, described, schemas, `${path}.${name}`);
    return properties === undefined ? [] : [`${path}.${name} is not described`];
  });
  return [...missing, ...inner];
}

/** Values that are mostly what a schema says, with here and there one that isn't. */
export function valuesOf(referring: Schema, schemas: Schemas, depth = 0): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 49, arbitrary: rightValues(resolve(referring, schemas), schemas, depth) },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  );
}

function rightValues(schema: Schema, schemas: Schemas, depth: number): fc.Arbitrary<unknown> {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((option) => valuesOf(option, schemas, depth)));
  const types = [schema.type ?? "object"].flat();
  return fc.oneof(...types.map((type) => valuesOfType(type, schema, schemas, depth)));
}

function valuesOfType(type: string, schema: Schema, schemas: Schemas, depth: number): fc.Arbitrary<unknown> {
  const [min, max] = [schema.minimum ?? -1000, schema.maximum ?? 2000];
  // Just over the limits now and then.
  const nearly = (inside: fc.Arbitrary<number>, step: number) =>
    fc.oneof({ weight: 19, arbitrary: inside }, { weight: 1, arbitrary: fc.constantFrom(min - step, max + step) });
  switch (type) {
    case "string":
      return fc.string({ unit: fc.constantFrom("a", "b", " ", "<", "é", "🚀", "\n", "\0", '"'), maxLength: 12 });
    case "integer":
      return nearly(fc.integer({ min, max: Math.min(max, 2000) }), 1);
    case "number":
      return nearly(fc.double({ min, max, noNaN: true }), 0.01);
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(valuesOf(schema.items ?? {}, schemas, depth + 1), {
        minLength: schema.minItems ?? 0,
        maxLength: depth > 2 ? 2 : 4,
      });
    default: {
      const { properties } = schema;
      if (properties === undefined) {
        const values = schema.additionalProperties === undefined ? fc.jsonValue({ maxDepth: 1 }) : undefined;
        return fc.dictionary(
          fc.oneof(fc.nat({ max: 2100 }).map(String), fc.string({ maxLength: 8 })),
          values ?? valuesOf(schema.additionalProperties as Schema, schemas, depth + 1),
          { maxKeys: 3 },
        );
      }
      const required = fc.oneof(
        { weight: 30, arbitrary: fc.constant(schema.required ?? []) },
        { weight: 1, arbitrary: fc.constant([] as readonly string[]) },
      );
      const names = Object.keys(properties);
      return fc
        .tuple(required, fc.subarray(names, { maxLength: Math.min(5, names.length) }))
        .chain(([needed, others]) =>
          fc.record(
            Object.fromEntries(
              [...new Set([...needed, ...others])].map((name) => [
                name,
                valuesOf(properties[name] as Schema, schemas, depth + 1),
              ]),
            ),
          ),
        );
    }
  }
}
