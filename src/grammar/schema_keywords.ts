/** The keywords of JSON Schema: which there are, and reading their values. */

import { JsonNumber, type JsonObject, membersOf } from "../json.ts";
import { compareDecimals, type Decimal, decimalOf } from "./decimal.ts";
import type { Bound } from "./number_range.ts";
import { invalidSchema, unsupportedSchema } from "./schema_error.ts";

/** A schema that is an object. */
export type Schema = JsonObject;

/** The patterns of several schemas, which all have to match. It stands where a schema has its `pattern`. */
export class PatternList {
  readonly patterns: readonly string[];

  constructor(patterns: readonly string[]) {
    this.patterns = patterns;
  }
}

/** Longest name of a property. */
const NAME_LENGTH_MAX = 512;

/** Largest number of repetitions that a schema may name. */
export const COUNT_MAX = 1_000_000;

/** Keywords that say nothing about what is valid. */
const ANNOTATIONS = new Set(
  (
    "title description markdownDescription default examples example $comment $schema $id id $defs definitions deprecated " +
    "readOnly writeOnly contentMediaType contentEncoding contentSchema discriminator externalDocs xml"
  ).split(" "),
);

const KEYWORDS_OF: Readonly<Record<string, readonly string[]>> = {
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  object: [
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
  ],
  array: ["items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"],
};

/** Types in the order in which a value of any type may begin. */
export const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"];

/** All that are followed. */
export const FOLLOWED: ReadonlySet<string> = new Set([
  ...Object.values(KEYWORDS_OF).flat(),
  ..."type nullable $ref allOf anyOf oneOf not enum const".split(" "),
]);

/** Whether a keyword says nothing about what is valid. */
export function isAnnotation(keyword: string): boolean {
  return ANNOTATIONS.has(keyword) || keyword.startsWith("x-");
}

/** Whether a keyword is followed, or says nothing that could be. */
export function isKnown(keyword: string): boolean {
  return FOLLOWED.has(keyword) || isAnnotation(keyword);
}

/** The types of a schema. One that names none but has keywords of some types is of these. */
export function typesOf(schema: Schema, path: string): readonly string[] {
  const { type } = schema;
  if (type === undefined) {
    const meant = Object.keys(KEYWORDS_OF).filter((name) => KEYWORDS_OF[name]?.some((keyword) => keyword in schema));
    return meant.length > 0 ? meant : TYPES.filter((name) => name !== "integer");
  }
  const types = Array.isArray(type) ? nonEmptyArray(type, "type", path) : [type];
  for (const name of types) {
    if (typeof name !== "string" || !TYPES.includes(name))
      throw invalidSchema(path, `'type' has to be one of ${TYPES.join(", ")}`);
  }
  if (new Set(types).size < types.length) throw invalidSchema(path, "'type' names the same type twice");
  return (types as string[]).filter((name) => name !== "integer" || !types.includes("number"));
}

/** Whether a value is of a type by its name. */
export function isOfType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return membersOf(value) !== undefined;
    case "integer":
      return decimalOf(value)?.fraction === "";
    case "number":
      return typeof value === "number" || value instanceof JsonNumber;
    default:
      return typeof value === type;
  }
}

/** @throws SchemaError unless it is an array with something in it. */
export function nonEmptyArray(value: unknown, keyword: string, path: string): unknown[] {
  if (!Array.isArray(value) || value.length === 0)
    throw invalidSchema(path, `'${keyword}' has to be an array with something in it`);
  return value;
}

/** The value of `required`. @throws SchemaError. */
export function names(value: unknown, path: string): string[] {
  if (!Array.isArray(value) || value.some((name) => typeof name !== "string")) {
    throw invalidSchema(path, "'required' has to be an array of strings");
  }
  return value as string[];
}

/** @throws SchemaError when a grammar can't hold a property of this name. */
export function checkName(name: string, path: string): void {
  if (name.length > NAME_LENGTH_MAX)
    throw unsupportedSchema(path, `'properties' with names of over ${NAME_LENGTH_MAX} characters are not supported`);
  if (!name.isWellFormed()) throw unsupportedSchema(path, "half of a surrogate pair is not supported");
}

/** A keyword's number; undefined where it isn't there. @throws SchemaError. */
export function decimal(schema: Schema, keyword: string, path: string): Decimal | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  const number = decimalOf(value);
  if (number === undefined) throw invalidSchema(path, `'${keyword}' has to be a number`);
  return number;
}

/** The same of a keyword that counts. */
export function count(schema: Schema, keyword: string, path: string): number | undefined {
  const value = decimal(schema, keyword, path);
  if (value === undefined) return undefined;
  if (value.isNegative || value.fraction !== "")
    throw invalidSchema(path, `'${keyword}' has to be an integer of at least 0`);
  if (Number(value.whole) > COUNT_MAX) throw unsupportedSchema(path, `'${keyword}' over ${COUNT_MAX} is not supported`);
  return Number(value.whole);
}

/** The tighter one of two bounds. @param side 1 for bounds from below, -1 for those from above. */
export function bound(
  schema: Schema,
  inclusive: string,
  exclusive: string,
  path: string,
  side: 1 | -1,
): Bound | undefined {
  const including = decimal(schema, inclusive, path);
  // OpenAPI 3.0 says by a boolean whether the other bound is exclusive.
  if (typeof schema[exclusive] === "boolean") {
    return including && { value: including, isExclusive: schema[exclusive] === true };
  }
  const excluding = decimal(schema, exclusive, path);
  if (excluding !== undefined && (including === undefined || compareDecimals(including, excluding) * side <= 0)) {
    return { value: excluding, isExclusive: true };
  }
  return including && { value: including, isExclusive: false };
}

/** A name as a part of a place in a schema. */
export function escapedPointer(name: string): string {
  return printable(name).replaceAll("~", "~0").replaceAll("/", "~1");
}

/** What a part of a reference names. */
export function unescapedPointer(part: string): string {
  let text = part;
  try {
    text = decodeURIComponent(part);
  } catch {
    // It is meant as it is.
  }
  return text.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** A name of a schema in a message: short, and without control characters. */
export function printable(name: string): string {
  return name.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 60);
}
