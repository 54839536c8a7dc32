/**
 * JSON Schema as a grammar: whatever is written by it is valid JSON and valid by the schema.
 *
 * What the grammar can't hold an answer to is refused with the keyword and its place, never left out. It may be narrower than the
 * schema: properties come in the order in which they are declared, each at most once; where a schema leaves open whether
 * there are others, or more elements, there are none; numbers are written with a bounded number of digits.
 */

import { isObject } from "../json.ts";
import { DisjointSchemas } from "./disjoint_schemas.ts";
import { EndlessGrammar, GrammarBuilder, GrammarTooLarge, type Part, type Rule } from "./grammar_builder.ts";
import { JsonText } from "./json_text.ts";
import { DECIMAL_DIGITS_MAX, numberWithin } from "./number_range.ts";
import { PatternError, patternText } from "./pattern.ts";
import { invalidSchema, unsupportedSchema } from "./schema_error.ts";
import {
  ANNOTATIONS,
  bound,
  COUNT_MAX,
  checkName,
  count,
  decimal,
  escapedPointer,
  isOfType,
  KNOWN_KEYWORDS,
  names,
  nonEmptyArray,
  printable,
  type Schema,
  typesOf,
  unescapedPointer,
} from "./schema_keywords.ts";

/** Longest schema as JSON, in UTF-16 code units. */
const LENGTH_MAX = 256 * 1024;

/** Schemas within schemas. */
const DEPTH_MAX = 64;

/** Characters of all the schemas within a schema together, each as JSON: references can make much of little. */
const COMPARED_MAX = 16_000_000;

/** Most members, keywords and properties of all allOf together: references can make much of little here too. */
const MERGED_MAX = 100_000;

/** Most values of all enums together. */
const VALUES_MAX = 10_000;

/** Largest multipleOf: its remainders are counted out. */
const MULTIPLE_MAX = 1000;

/** The formats that are known, as patterns. */
const FORMATS: Readonly<Record<string, string>> = (() => {
  const date =
    "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
  const time = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
  const byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
  const label = "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?";
  return {
    date: `^${date}$`,
    time: `^${time}$`,
    "date-time": `^${date}T${time}$`,
    uuid: "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    ipv4: `^(?:${byte}\\.){3}${byte}$`,
    email: `^[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}@${label}(?:\\.${label}){0,2}\\.[a-z]{2,10}$`,
  };
})();

/** Makes one grammar out of one or several schemas. */
export class SchemaCompiler {
  readonly builder = new GrammarBuilder();
  readonly json = new JsonText(this.builder);
  #root: unknown;
  /** Rules of the schemas that were seen, by their JSON and by themselves. */
  #rules = new Map<string, Rule>();
  #seen = new Map<Schema, Rule>();
  #disjoint = this.#comparing();
  #depth = 0;
  #values = 0;
  #compared = 0;
  #merged = 0;

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
    if (schema === false) return nothing(this.builder);
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
      if (!KNOWN_KEYWORDS.has(keyword)) throw unsupportedSchema(path, `'${printable(keyword)}' is not supported`);
    }
    if (path !== "#" && schema.$id !== undefined) throw unsupportedSchema(path, "'$id' is only supported at the top");
    for (const keyword of ["$ref", "allOf", "anyOf", "oneOf", "enum", "const"] as const) {
      if (schema[keyword] === undefined) continue;
      return this.#combination(keyword, schema, path);
    }
    const types = typesOf(schema, path);
    return this.builder.choice(...types.map((type) => this.#typed(type, schema, path)));
  }

  #combination(keyword: "$ref" | "allOf" | "anyOf" | "oneOf" | "enum" | "const", schema: Schema, path: string): Part {
    const isValues = keyword === "enum" || keyword === "const";
    const beside = Object.keys(schema).filter((name) => name !== keyword && !ANNOTATIONS.has(name));
    const value = schema[keyword];
    const wrong = beside.find(
      (name) => !(isValues && ["type", "enum", "const"].includes(name)) && !(name === "type" && keyword !== "$ref"),
    );
    if (keyword === "allOf") return this.#value(this.#merge(schema, path, 0), path);
    if (wrong !== undefined) throw unsupportedSchema(path, `'${wrong}' beside '${keyword}' is not supported`);
    if (isValues) return this.#constants(schema, path);
    if (keyword === "$ref") return this.#value(this.#resolve(value, path), String(value));
    // Checked before it goes to every alternative.
    if (schema.type !== undefined) typesOf(schema, path);
    const options = nonEmptyArray(value, keyword, path).map((option) => withType(option, schema.type));
    if (keyword === "oneOf") this.#disjoint.check(options, path);
    const distinct = new Map(options.map((option, i) => [JSON.stringify(option), { option, i }]));
    return this.builder.choice(
      ...Array.from(distinct.values(), ({ option, i }) => this.#value(option, `${path}/${keyword}/${i}`)),
    );
  }

  #comparing(): DisjointSchemas {
    return new DisjointSchemas((reference, path) => this.#resolve(reference, path));
  }

  /** What a reference within the schema leads to. */
  #resolve(reference: unknown, path: string): unknown {
    if (typeof reference !== "string") throw invalidSchema(path, "'$ref' has to be a string");
    if (!/^#(\/|$)/.test(reference))
      throw unsupportedSchema(path, "'$ref' is only supported within the schema: '#/$defs/…'");
    let found: unknown = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const name = unescapedPointer(part);
      if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) {
        throw invalidSchema(path, `'$ref' leads to nothing`);
      }
      found = (found as Schema)[name];
    }
    return found;
  }

  // ---- Values ----

  #constants(schema: Schema, path: string): Part {
    const types = schema.type === undefined ? undefined : typesOf(schema, path);
    let values = schema.enum === undefined ? [schema.const] : nonEmptyArray(schema.enum, "enum", path);
    if (schema.enum !== undefined && "const" in schema) {
      const only = JSON.stringify(schema.const);
      values = values.filter((value) => JSON.stringify(value) === only);
    }
    if (types !== undefined) values = values.filter((value) => types.some((type) => isOfType(value, type)));
    this.#values += values.length;
    if (this.#values > VALUES_MAX)
      throw unsupportedSchema(path, `'enum' with more than ${VALUES_MAX} values in all is not supported`);
    const texts: string[] = [];
    const parts: Part[] = [];
    for (const value of values) {
      const text = JSON.stringify(value);
      if (/\\ud[89a-f]/.test(text)) throw unsupportedSchema(path, "half of a surrogate pair is not supported");
      if (typeof value === "object" && value !== null) parts.push(this.json.constant(value));
      else texts.push(text);
    }
    if (texts.length > 0) parts.push(this.builder.texts(texts));
    return parts.length === 0 ? nothing(this.builder) : this.builder.choice(...parts);
  }

  #typed(type: string, schema: Schema, path: string): Part {
    switch (type) {
      case "null":
        return this.builder.text("null");
      case "boolean":
        return this.builder.texts(["true", "false"]);
      case "string":
        return this.#string(schema, path);
      case "array":
        return this.#array(schema, path);
      case "object":
        return this.#object(schema, path);
      default:
        return this.#number(type === "integer", schema, path);
    }
  }

  #string(schema: Schema, path: string): Part {
    const least = count(schema, "minLength", path) ?? 0;
    const most = count(schema, "maxLength", path) ?? Number.POSITIVE_INFINITY;
    const { pattern, format } = schema;
    if (pattern !== undefined && typeof pattern !== "string") throw invalidSchema(path, "'pattern' has to be a string");
    if (format !== undefined && typeof format !== "string") throw invalidSchema(path, "'format' has to be a string");
    if (pattern === undefined && format === undefined) {
      if (least > most) return nothing(this.builder);
      return least === 0 && most === Number.POSITIVE_INFINITY ? this.json.string : this.json.stringOf(least, most);
    }
    if (pattern !== undefined && format !== undefined)
      throw unsupportedSchema(path, "'pattern' beside 'format' is not supported");
    if (format !== undefined && !Object.hasOwn(FORMATS, format)) {
      throw unsupportedSchema(path, `'format' is only supported with ${Object.keys(FORMATS).join(", ")}`);
    }
    const keyword = pattern === undefined ? "format" : "pattern";
    const text = this.#pattern(pattern ?? (FORMATS[format as string] as string), path);
    if (text.least < least || text.most > most) {
      const bound = text.least < least ? "minLength" : "maxLength";
      throw unsupportedSchema(path, `'${bound}' beside '${keyword}' is only supported where the ${keyword} implies it`);
    }
    return this.builder.sequence(this.builder.text('"'), text.part, this.builder.text('"'));
  }

  #pattern(pattern: string, path: string) {
    try {
      return patternText(this.builder, pattern);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      throw (error.isValid ? unsupportedSchema : invalidSchema)(path, `'pattern' ${error.message}`);
    }
  }

  #number(isInteger: boolean, schema: Schema, path: string): Part {
    const low = bound(schema, "minimum", "exclusiveMinimum", path, (a, b) => a > b);
    const high = bound(schema, "maximum", "exclusiveMaximum", path, (a, b) => a < b);
    const multipleOf = decimal(schema, "multipleOf", path);
    if (multipleOf !== undefined && !(Number.isInteger(multipleOf) && multipleOf > 0 && multipleOf <= MULTIPLE_MAX)) {
      if (multipleOf <= 0) throw invalidSchema(path, "'multipleOf' has to be over 0");
      throw unsupportedSchema(path, `'multipleOf' is only supported with integers up to ${MULTIPLE_MAX}`);
    }
    if (!isInteger && low === undefined && high === undefined && multipleOf === undefined) return this.json.number;
    const isWhole = isInteger || multipleOf !== undefined;
    for (const [keyword, limit] of [
      ["exclusiveMinimum", low],
      ["exclusiveMaximum", high],
    ] as const) {
      if (isWhole || limit === undefined || !limit.isExclusive) continue;
      const digits = String(Math.abs(limit.value))
        .replace(/e.*|\./g, "")
        .replace(/^0+/, "").length;
      if (digits > DECIMAL_DIGITS_MAX) {
        throw unsupportedSchema(path, `'${keyword}' with more than ${DECIMAL_DIGITS_MAX} digits is not supported`);
      }
    }
    return numberWithin(this.builder, { low, high, isInteger: isWhole, multipleOf: multipleOf ?? 1 });
  }

  #array(schema: Schema, path: string): Part {
    const { builder, json } = this;
    const least = count(schema, "minItems", path) ?? 0;
    const most = count(schema, "maxItems", path) ?? Number.POSITIVE_INFINITY;
    const { prefixItems, items, uniqueItems } = schema;
    if (uniqueItems !== undefined && uniqueItems !== false)
      throw unsupportedSchema(path, "'uniqueItems' is not supported");
    if (Array.isArray(items)) throw unsupportedSchema(path, "'items' as an array is not supported; use 'prefixItems'");
    if (least > most) return nothing(builder);
    if (prefixItems === undefined) {
      if (items === false) return least > 0 ? nothing(builder) : builder.text("[]");
      const item = items === undefined ? json.value : this.#value(items, `${path}/items`);
      return json.listOf("[", item, least, most, "]");
    }
    const first = nonEmptyArray(prefixItems, "prefixItems", path).slice(0, Math.min(most, COUNT_MAX));
    const parts = first.map((item, i) => this.#value(item, `${path}/prefixItems/${i}`));
    const written = parts.flatMap((part, i) => (i === 0 ? [part] : [json.comma, part]));
    const missing = Math.max(0, least - parts.length);
    const hasMore = items !== false && (items !== undefined || missing > 0);
    if (missing > 0 && items === false) return nothing(builder);
    if (hasMore && most > parts.length) {
      const item = items === undefined ? json.value : this.#value(items, `${path}/items`);
      const end = items === undefined ? missing : most - parts.length;
      written.push(builder.repeat(builder.sequence(json.comma, item), missing, end));
    }
    return builder.sequence(builder.text("["), ...written, builder.text("]"));
  }

  #object(schema: Schema, path: string): Part {
    const { builder, json } = this;
    const properties = schema.properties ?? {};
    if (!isObject(properties)) throw invalidSchema(path, "'properties' has to be an object");
    const required = new Set(schema.required === undefined ? [] : names(schema.required, path));
    const others = schema.additionalProperties;
    const declared = new Map<string, Part>();
    for (const [name, property] of Object.entries(properties)) {
      checkName(name, path);
      declared.set(name, this.#value(property, `${path}/properties/${escapedPointer(name)}`));
    }
    const otherValue = others === undefined ? json.value : this.#value(others, `${path}/additionalProperties`);
    for (const name of required) {
      checkName(name, path);
      if (declared.has(name)) continue;
      if (others === false)
        throw invalidSchema(path, `'required' names '${printable(name)}', which 'additionalProperties' forbids`);
      declared.set(name, otherValue);
    }
    const isOpen = others === undefined ? declared.size === 0 : others !== false;
    const least = count(schema, "minProperties", path) ?? 0;
    const most = count(schema, "maxProperties", path) ?? Number.POSITIVE_INFINITY;
    const isListOnly = declared.size === 0 && isOpen;
    if (least > required.size && !(isListOnly && least === 1))
      throw unsupportedSchema(path, "'minProperties' is only supported up to the number of required properties");
    if (most < Number.POSITIVE_INFINITY && !isListOnly && (isOpen || most < declared.size)) {
      throw unsupportedSchema(
        path,
        "'maxProperties' is only supported where it changes nothing, or nothing is declared",
      );
    }
    const other = () => builder.sequence(json.stringOtherThan([...declared.keys()]), json.colon, otherValue);
    if (isListOnly)
      return json.listOf("{", others === undefined || others === true ? anyMember(json) : other(), least, most, "}");
    return this.#members(declared, required, isOpen ? builder.rule(other()) : undefined);
  }

  /** Declared properties in their order, then others. */
  #members(declared: ReadonlyMap<string, Part>, required: ReadonlySet<string>, other: Rule | undefined): Part {
    const { builder, json } = this;
    return (from) => {
      /** Where nothing was written yet, and where something was: a comma comes then. */
      let first = builder.text("{")(from);
      let later = builder.node();
      for (const [name, value] of declared) {
        const begin = builder.node();
        builder.empty(first, begin);
        builder.empty(json.comma(later), begin);
        const end = builder.sequence(builder.text(JSON.stringify(name)), json.colon, value)(begin);
        const afterFirst = builder.node();
        const afterLater = builder.node();
        builder.empty(end, afterLater);
        if (!required.has(name)) {
          builder.empty(first, afterFirst);
          builder.empty(later, afterLater);
        }
        first = afterFirst;
        later = afterLater;
      }
      if (other !== undefined) {
        const begin = builder.node();
        builder.empty(first, begin);
        builder.empty(json.comma(later), begin);
        const more = builder.repeat(builder.sequence(json.comma, builder.call(other)), 0, Number.POSITIVE_INFINITY);
        builder.empty(builder.sequence(builder.call(other), more)(begin), later);
      }
      const last = builder.node();
      builder.empty(first, last);
      builder.empty(later, last);
      return builder.text("}")(last);
    };
  }

  // ---- Schemas together ----

  /** A schema without its allOf: everything in one. Only what can be put together without a doubt. */
  #merge(schema: Schema, path: string, depth: number): Schema {
    if (depth > DEPTH_MAX) throw unsupportedSchema(path, "'allOf' lies in itself too deeply");
    const { allOf, ...own } = schema;
    const members = nonEmptyArray(allOf, "allOf", path).map((member, i) =>
      this.#plain(member, `${path}/allOf/${i}`, depth),
    );
    const sum: Record<string, unknown> = {};
    const properties = new Map<string, unknown>();
    const required = new Set<string>();
    for (const [i, member] of [own, ...members].entries()) {
      const place = i === 0 ? path : `${path}/allOf/${i - 1}`;
      this.#countMerged(member, place);
      for (const [keyword, value] of Object.entries(member)) {
        if (ANNOTATIONS.has(keyword)) continue;
        if (keyword === "properties" && isObject(value)) this.#addProperties(properties, value, place);
        else if (keyword === "required") for (const name of names(value, place)) required.add(name);
        else if (sum[keyword] === undefined) sum[keyword] = value;
        else if (!this.#areEqual(sum[keyword], value, place)) {
          throw unsupportedSchema(place, `'allOf' is not supported where '${printable(keyword)}' is said twice`);
        }
      }
    }
    if (properties.size > 0) sum.properties = Object.fromEntries(properties);
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
      const beside = Object.keys(schema).find((name) => name !== "$ref" && !ANNOTATIONS.has(name));
      if (beside !== undefined) throw unsupportedSchema(path, `'${printable(beside)}' beside '$ref' is not supported`);
      return this.#plain(this.#resolve(schema.$ref, path), path, depth + 1);
    }
    return schema.allOf === undefined ? schema : this.#merge(schema, path, depth + 1);
  }

  /** @throws SchemaError when too much is put together. */
  #countMerged({ properties, required, ...others }: Schema, path: string): void {
    this.#merged += 1 + Object.keys(others).length;
    if (isObject(properties)) this.#merged += Object.keys(properties).length;
    if (Array.isArray(required)) this.#merged += required.length;
    if (this.#merged > MERGED_MAX) throw unsupportedSchema(path, "'allOf' puts too much together");
  }

  /** Adds the properties of another schema to those of an allOf. */
  #addProperties(properties: Map<string, unknown>, more: Schema, path: string): void {
    for (const [name, value] of Object.entries(more)) {
      if (properties.has(name) && !this.#areEqual(properties.get(name), value, path)) {
        throw unsupportedSchema(
          path,
          `'allOf' is not supported where the property '${printable(name)}' is described twice`,
        );
      }
      properties.set(name, value);
    }
  }
}

/** Any member of an object. */
function anyMember(json: JsonText): Part {
  return json.builder.sequence(json.string, json.colon, json.value);
}

/** What can't be written. */
function nothing(builder: GrammarBuilder): Part {
  return () => builder.node();
}

/** An alternative of a schema that also names a type. */
function withType(option: unknown, type: unknown): unknown {
  if (type === undefined || !isObject(option)) return option;
  if (JSON.stringify(option.type ?? type) === JSON.stringify(type) && option.$ref === undefined)
    return { type, ...option };
  return { allOf: [{ type }, option] };
}
