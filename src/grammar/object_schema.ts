/**
 * Objects: declared properties in the order in which they are declared, each at most once, and others by what `additionalProperties`,
 * `patternProperties` and `propertyNames` say of them. Where a schema leaves open whether there are others, there are none.
 */

import { isObject, membersOf } from "../json.ts";
import type { GrammarBuilder, Impossibility, Node, Part, Rule } from "./grammar_builder.ts";
import type { JsonText } from "./json_text.ts";
import { narrowed } from "./merged_schemas.ts";
import { invalidSchema, unsupportedSchema } from "./schema_error.ts";
import {
  checkName,
  count,
  escapedPointer,
  isAnnotation,
  names,
  printable,
  type Schema,
  typesOf,
} from "./schema_keywords.ts";
import type { StringCompiler } from "./string_schema.ts";

/** Most patternProperties of an object: each is held against all others. */
const NAME_PATTERNS_MAX = 8;

/** References of `propertyNames` that lead to each other. */
const DEPTH_MAX = 64;

/** What a part of the compiler needs of the whole. */
export interface WholeCompiler {
  readonly builder: GrammarBuilder;
  readonly json: JsonText;
  /** A value by a schema. */
  value(schema: unknown, path: string): Part;
  /** All values that are valid by a schema, where it says them one by one. */
  finite(schema: unknown, path: string): unknown[] | undefined;
  /** What a reference leads to. */
  resolve(reference: unknown, path: string): unknown;
  /** A schema without its allOf. */
  merged(schema: Schema, path: string): Schema;
}

/** Makes objects of one grammar. */
export class ObjectCompiler {
  readonly #whole: WholeCompiler;
  readonly #strings: StringCompiler;

  constructor(whole: WholeCompiler, strings: StringCompiler) {
    this.#whole = whole;
    this.#strings = strings;
  }

  /** An object by a schema. @throws SchemaError */
  object(schema: Schema, path: string): Part {
    const { builder, json } = this.#whole;
    const properties = membersOf(schema.properties ?? {});
    if (properties === undefined) throw invalidSchema(path, "'properties' has to be an object");
    const required = new Set(schema.required === undefined ? [] : names(schema.required, path));
    const others = schema.additionalProperties;
    const patterns = this.#namePatterns(schema, path);
    const nameSchema = this.#nameSchema(schema.propertyNames, path);
    const declared = new Map<string, Part>();
    const isName = (name: string): boolean => {
      checkName(name, path);
      if (nameSchema === undefined) return true;
      return Array.isArray(nameSchema)
        ? nameSchema.includes(name)
        : this.#strings.isName(name, nameSchema, `${path}/propertyNames`);
    };
    /** A property's value: by its own schema, if it has one, and by those of the patterns that its name matches. */
    const propertyOf = (name: string, own: unknown, ownPath: string): Part => {
      const matching = patterns.filter(([pattern]) => this.#strings.isName(name, { pattern }, path));
      if (matching.length === 0) return this.#whole.value(own === undefined ? true : own, ownPath);
      const schemas = matching.map(([, value]) => value);
      return this.#whole.value({ allOf: own === others ? schemas : [own, ...schemas] }, ownPath);
    };
    for (const [name, property] of properties) {
      if (isName(name)) declared.set(name, propertyOf(name, property, `${path}/properties/${escapedPointer(name)}`));
    }
    const otherSchema = others ?? true;
    const otherPath = `${path}/additionalProperties`;
    const isListed = Array.isArray(nameSchema);
    for (const name of isListed && others !== false ? [...required, ...nameSchema] : required) {
      if (declared.has(name)) continue;
      if (!isName(name)) {
        throw invalidSchema(path, `'required' names '${printable(name)}', which 'propertyNames' forbids`);
      }
      const isMatched = patterns.some(([pattern]) => this.#strings.isName(name, { pattern }, path));
      if (others === false && !isMatched)
        throw invalidSchema(path, `'required' names '${printable(name)}', which 'additionalProperties' forbids`);
      declared.set(name, propertyOf(name, others, otherPath));
    }
    const members: Part[] = [];
    const isOpen =
      !isListed && (others === undefined ? declared.size === 0 && patterns.length === 0 : others !== false);
    const known = [...declared.keys()];
    if (isOpen) {
      const value = this.#whole.value(otherSchema, otherPath);
      const taken = { patterns: patterns.map(([pattern]) => pattern), names: known };
      const isFree = nameSchema === undefined && patterns.length === 0;
      const isAnything = isFree && known.length === 0 && (others === undefined || others === true);
      const name = isAnything
        ? json.string
        : isFree
          ? json.stringOtherThan(known)
          : this.#strings.name((nameSchema ?? {}) as Schema, taken, `${path}/propertyNames`);
      members.push(builder.sequence(name, json.colon, value));
    }
    for (const [i, [pattern, value]] of isListed ? [] : patterns.entries()) {
      const taken = { patterns: patterns.filter((_, k) => k !== i).map(([other]) => other), names: known };
      const valuePath = `${path}/patternProperties/${escapedPointer(pattern)}`;
      const named = withPattern((nameSchema ?? {}) as Schema, pattern);
      members.push(
        builder.sequence(this.#strings.name(named, taken, path), json.colon, this.#whole.value(value, valuePath)),
      );
    }
    const least = count(schema, "minProperties", path) ?? 0;
    const most = count(schema, "maxProperties", path) ?? Number.POSITIVE_INFINITY;
    if (members.length > 0 && least > declared.size + 1) {
      // Two of them might have the same name.
      throw unsupportedSchema(
        path,
        "'minProperties' is only supported up to one more than the properties that are declared",
      );
    }
    const other = members.length === 0 ? undefined : builder.rule(builder.choice(...members));
    const why =
      most < least
        ? "'minProperties' is over 'maxProperties'"
        : most < required.size
          ? "'required' names more properties than 'maxProperties' allows"
          : "'minProperties' asks for more properties than there can be";
    return this.#members(declared, required, other, { least, most, why: { path, message: why } });
  }

  /** `patternProperties`: patterns and schemas. */
  #namePatterns({ patternProperties = {} }: Schema, path: string): [string, unknown][] {
    const patterns = membersOf(patternProperties);
    if (patterns === undefined) throw invalidSchema(path, "'patternProperties' has to be an object");
    if (patterns.length > NAME_PATTERNS_MAX)
      throw unsupportedSchema(
        path,
        `'patternProperties' with more than ${NAME_PATTERNS_MAX} patterns is not supported`,
      );
    return patterns;
  }

  /** What `propertyNames` says: a list of all names, a schema of strings, or nothing. */
  #nameSchema(schema: unknown, path: string, depth = 0): string[] | Schema | undefined {
    const place = `${path}/propertyNames`;
    if (schema === undefined || schema === true) return undefined;
    if (schema === false) return [];
    if (!isObject(schema)) throw invalidSchema(place, "a schema has to be an object or a boolean");
    if (depth > DEPTH_MAX) throw unsupportedSchema(place, "schemas lie in each other too deeply");
    const listed = this.#whole.finite(schema, place);
    if (listed !== undefined) return listed.filter((value) => typeof value === "string");
    const { type, ...others } = schema;
    const said = Object.keys(others).filter((keyword) => !isAnnotation(keyword));
    if (others.$ref !== undefined && said.length === 1 && type === undefined)
      return this.#nameSchema(this.#whole.resolve(others.$ref, place), path, depth + 1);
    if (others.allOf !== undefined) return this.#nameSchema(this.#whole.merged(schema, place), path, depth + 1);
    if (type !== undefined && !typesOf(schema, place).includes("string")) return [];
    const wrong = said.find((keyword) => !["pattern", "format", "minLength", "maxLength"].includes(keyword));
    if (wrong !== undefined) throw unsupportedSchema(place, `'${printable(wrong)}' is not supported for names`);
    return said.length === 0 ? undefined : others;
  }

  /**
   * Declared properties in their order, then others, so many together. Others may have the same name: at least one of them counts.
   *
   * @param other one more member, if there may be any.
   * @param why it is that there is no such object, where there is none.
   */
  #members(
    declared: ReadonlyMap<string, Part>,
    required: ReadonlySet<string>,
    other: Rule | undefined,
    { least, most, why }: { least: number; most: number; why: Impossibility },
  ): Part {
    const { builder, json } = this.#whole;
    const mayExceed = most < declared.size || (most < Number.POSITIVE_INFINITY && other !== undefined);
    /** How many are told apart; beyond that, there may be any number. One: whether a comma comes. */
    const counted = least > required.size || mayExceed ? Math.min(declared.size, most) : Math.min(declared.size, 1);
    const isExact = counted > 1 || mayExceed || least > required.size;
    return (from) => {
      /** Where so many were written; undefined where that can't be. */
      let nodes: (Node | undefined)[] = [builder.text("{")(from)];
      for (const [name, value] of declared) {
        const member = builder.sequence(builder.text(JSON.stringify(name)), json.colon, value);
        const next: (Node | undefined)[] = [];
        for (let count = 0; count <= counted; count++) {
          const ways: Node[] = [];
          const skipped = nodes[count];
          if (skipped !== undefined && !required.has(name)) ways.push(skipped);
          const before = [nodes[count - 1], !isExact && count === counted ? skipped : undefined];
          const begins = before.flatMap((node, i) =>
            node === undefined ? [] : [count - 1 + i === 0 ? node : json.comma(node)],
          );
          if (begins.length > 0) ways.push(member(joined(builder, begins)));
          next.push(ways.length === 0 ? undefined : joined(builder, ways));
        }
        nodes = next;
      }
      const ends: Node[] = [];
      for (const [count, node] of nodes.entries()) {
        if (node === undefined) continue;
        // Where they aren't counted, there are enough.
        const isEnough = !isExact || count >= least;
        if (isEnough && count <= most) ends.push(node);
        if (other === undefined || count >= most || (isExact && count + 1 < least)) continue;
        const more = builder.repeat(builder.sequence(json.comma, builder.call(other)), 0, most - count - 1);
        ends.push(builder.sequence(builder.call(other), more)(count === 0 ? node : json.comma(node)));
      }
      if (ends.length === 0) return builder.nothing(why)(from);
      return builder.text("}")(joined(builder, ends));
    };
  }
}

/** One node that several lead to. */
function joined(builder: GrammarBuilder, nodes: readonly Node[]): Node {
  if (nodes.length === 1) return nodes[0] as Node;
  const node = builder.node();
  for (const from of nodes) builder.empty(from, node);
  return node;
}

/** A schema of strings with one more pattern. */
function withPattern(schema: Schema, pattern: string): Schema {
  return { ...schema, pattern: schema.pattern === undefined ? pattern : narrowed("pattern", schema.pattern, pattern) };
}
