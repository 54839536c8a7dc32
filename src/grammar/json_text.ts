/**
 * The grammar of JSON as answers write it: all of JSON's values, with at most one space after a comma or a colon and no other white space,
 * so that an answer can't spend itself on white space. Numbers are bounded in their digits for the same reason.
 */

import { membersOf } from "../json.ts";
import {
  ALL,
  characters,
  difference,
  intersection,
  jsonCharacter,
  SHORTLY_ESCAPED,
  UNESCAPED,
  union,
  utf8,
} from "./code_points.ts";
import type { GrammarBuilder, Part, Rule } from "./grammar_builder.ts";

/** Most digits of an integer whose schema sets no bounds; JavaScript holds them exactly up to 2^53. */
const DIGITS_MAX = 16;

/** Most digits of an exponent: 1e99 is still a number for everybody. */
const EXPONENT_DIGITS_MAX = 2;

/** The parts of JSON, for one grammar. */
export class JsonText {
  readonly builder: GrammarBuilder;
  readonly comma: Part;
  readonly colon: Part;
  /** A character of a string, in whatever way JSON writes it: one code point, whether it is escaped or not. */
  readonly character: Rule;
  /** A string. */
  readonly string: Part;
  readonly number: Part;
  /** Any object. */
  readonly object: Part;
  /** Any array. */
  readonly array: Part;
  /** Any value. */
  readonly value: Part;

  constructor(builder: GrammarBuilder) {
    this.builder = builder;
    const space = builder.optional(builder.text(" "));
    this.comma = builder.sequence(builder.text(","), space);
    this.colon = builder.sequence(builder.text(":"), space);
    this.character = builder.rule(anyCharacter(builder));
    this.string = builder.call(builder.rule(this.stringOf(0, Number.POSITIVE_INFINITY)));
    this.number = builder.call(builder.rule(anyNumber(builder)));
    const value = builder.declare();
    this.value = builder.call(value);
    const member = builder.rule(builder.sequence(this.string, this.colon, this.value));
    this.object = builder.call(builder.rule(this.listOf("{", builder.call(member), 0, Number.POSITIVE_INFINITY, "}")));
    this.array = builder.call(builder.rule(this.listOf("[", this.value, 0, Number.POSITIVE_INFINITY, "]")));
    const words = builder.texts(["true", "false", "null"]);
    builder.define(value, builder.choice(this.object, this.array, this.string, this.number, words));
  }

  /** A string of so many code points. */
  stringOf(least: number, most: number): Part {
    const { builder } = this;
    return builder.sequence(builder.text('"'), builder.call(this.character, least, most), builder.text('"'));
  }

  /** So many of a part between two marks, with commas. */
  listOf(open: string, part: Part, least: number, most: number, close: string): Part {
    const { builder } = this;
    if (most === 0) return builder.text(open + close);
    const more = builder.repeat(builder.sequence(this.comma, part), Math.max(0, least - 1), most - 1);
    const list = builder.sequence(part, more);
    return builder.sequence(builder.text(open), least > 0 ? list : builder.optional(list), builder.text(close));
  }

  /** Exactly this value, however its commas and colons are spaced. */
  constant(value: unknown): Part {
    const { builder } = this;
    const members = membersOf(value);
    if (members === undefined && !Array.isArray(value)) return builder.text(JSON.stringify(value));
    const parts = Array.isArray(value)
      ? value.map((item) => this.constant(item))
      : (members ?? []).map(([name, item]) =>
          builder.sequence(builder.text(JSON.stringify(name)), this.colon, this.constant(item)),
        );
    const spaced = parts.flatMap((part, i) => (i === 0 ? [part] : [this.comma, part]));
    const [open, close] = Array.isArray(value) ? "[]" : "{}";
    return builder.sequence(builder.text(open as string), ...spaced, builder.text(close as string));
  }

  /**
   * A string that is none of these, for the names of further properties. Each is written in one way only, without \u and \/, so that
   * none of the others can come in disguise.
   */
  stringOtherThan(names: readonly string[]): Part {
    const { builder } = this;
    const usable = union([...UNESCAPED, ...SHORTLY_ESCAPED]);
    const free = builder.repeat(jsonCharacter(builder, usable), 0, Number.POSITIVE_INFINITY);
    interface Prefix {
      isName: boolean;
      next: Map<string, Prefix>;
    }
    const root: Prefix = { isName: false, next: new Map() };
    for (const name of names) {
      let at = root;
      for (const character of name) {
        const next = at.next.get(character) ?? { isName: false, next: new Map() };
        at.next.set(character, next);
        at = next;
      }
      at.isName = true;
    }
    // What has the beginning of a name in common, then something else; or less than a name.
    // Nothing of it is made before it is asked for: the builder refuses what is too large while it is made.
    const other =
      (prefix: Prefix): Part =>
      (from) => {
        const known = [...prefix.next.keys()].join("");
        const parts: Part[] = [
          builder.sequence(jsonCharacter(builder, difference(usable, characters(known))), free),
          ...[...prefix.next].map(([character, next]) =>
            builder.sequence(jsonCharacter(builder, intersection(usable, characters(character))), other(next)),
          ),
        ];
        if (!prefix.isName) parts.push((at) => at);
        return builder.choice(...parts)(from);
      };
    return builder.sequence(builder.text('"'), other(root), builder.text('"'));
  }
}

/** One of all characters, escaped or not. Escaped surrogates come in pairs only. */
function anyCharacter(builder: GrammarBuilder): Part {
  const hex = utf8(builder, characters("0123456789abcdefABCDEF"));
  const one = (set: string) => utf8(builder, characters(set));
  const surrogate = (second: string) => builder.sequence(one("dD"), one(second), hex, hex);
  const escaped = builder.choice(
    one('"\\/bfnrt'),
    builder.sequence(
      builder.text("u"),
      builder.choice(
        builder.sequence(one("0123456789abcefABCEF"), hex, hex, hex),
        builder.sequence(one("dD"), one("01234567"), hex, hex),
        builder.sequence(surrogate("89abAB"), builder.text("\\u"), surrogate("cdefCDEF")),
      ),
    ),
  );
  return builder.choice(utf8(builder, intersection(UNESCAPED, ALL)), builder.sequence(builder.text("\\"), escaped));
}

/** One digit to so many. */
function digits(builder: GrammarBuilder, least: number, most: number): Part {
  const digit = utf8(builder, characters("0123456789"));
  return (from) => {
    const to = builder.node();
    let at = from;
    for (let count = 0; count <= most; count++) {
      if (count >= least) builder.empty(at, to);
      if (count < most) at = digit(at);
    }
    return to;
  };
}

function anyNumber(builder: GrammarBuilder): Part {
  const optional = (part: Part) => builder.optional(part);
  const leading = builder.sequence(utf8(builder, characters("123456789")), digits(builder, 0, DIGITS_MAX - 1));
  return builder.sequence(
    optional(builder.text("-")),
    builder.choice(builder.text("0"), leading),
    optional(builder.sequence(builder.text("."), digits(builder, 1, DIGITS_MAX))),
    optional(
      builder.sequence(
        utf8(builder, characters("eE")),
        optional(utf8(builder, characters("+-"))),
        digits(builder, 1, EXPONENT_DIGITS_MAX),
      ),
    ),
  );
}
