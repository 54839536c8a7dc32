/**
 * Regular expressions as grammars of JSON strings, without an automaton of their own: repetitions are counted by the engine, so that
 * large counts cost nothing here. That does for expressions with ^ and $ at the ends of alternatives only and nothing looked ahead at.
 * A character is written in the one way in which JSON.stringify writes it.
 */

import { ALL, jsonCharacter } from "./code_points.ts";
import type { GrammarBuilder, Part } from "./grammar_builder.ts";
import type { Expression } from "./regular_expression.ts";

/** The lengths that the texts of an expression have, in code points. */
export interface Lengths {
  least: number;
  most: number;
}

/** An expression whose ends are in it: the whole text matches. */
type Plain = Exclude<Expression, { kind: "start" | "end" | "boundary" | "ahead" }>;

const ANYTHING: Expression = {
  kind: "repeat",
  part: { kind: "one", set: ALL },
  least: 0,
  most: Number.POSITIVE_INFINITY,
};

/**
 * The expression of the whole texts in which another one is found.
 *
 * @returns undefined where that takes an automaton.
 */
export function wholeText(expression: Expression): Expression | undefined {
  const options = expression.kind === "choice" ? expression.options : [expression];
  const whole = options.map((option): Expression => {
    const parts = option.kind === "sequence" ? [...option.parts] : [option];
    if (parts[0]?.kind === "start") parts.shift();
    else parts.unshift(ANYTHING);
    if (parts.at(-1)?.kind === "end") parts.pop();
    else parts.push(ANYTHING);
    return { kind: "sequence", parts };
  });
  const all: Expression = { kind: "choice", options: whole };
  return isPlain(all) ? all : undefined;
}

function isPlain(expression: Expression): boolean {
  switch (expression.kind) {
    case "one":
      return true;
    case "sequence":
      return expression.parts.every(isPlain);
    case "choice":
      return expression.options.every(isPlain);
    case "repeat":
      return isPlain(expression.part);
    default:
      return false;
  }
}

/** The lengths of what a plain expression matches. */
export function lengthsOf(expression: Expression): Lengths {
  const plain = expression as Plain;
  switch (plain.kind) {
    case "one":
      return { least: 1, most: 1 };
    case "sequence":
      return plain.parts
        .map(lengthsOf)
        .reduce((sum, { least, most }) => ({ least: sum.least + least, most: sum.most + most }), { least: 0, most: 0 });
    case "choice": {
      const lengths = plain.options.map(lengthsOf);
      return {
        least: Math.min(...lengths.map(({ least }) => least)),
        most: Math.max(...lengths.map(({ most }) => most)),
      };
    }
    case "repeat": {
      const { least, most } = lengthsOf(plain.part);
      // Both may be infinite, and then no product with 0.
      return {
        least: plain.least === 0 ? 0 : least * plain.least,
        most: most === 0 || plain.most === 0 ? 0 : most * plain.most,
      };
    }
  }
}

/** The characters of a string that match a plain expression as a whole, without the quotes around them. */
export function expressionText(builder: GrammarBuilder, expression: Expression): Part {
  const plain = expression as Plain;
  switch (plain.kind) {
    case "one":
      return jsonCharacter(builder, plain.set);
    case "sequence":
      return builder.sequence(...plain.parts.map((part) => expressionText(builder, part)));
    case "choice":
      if (plain.options.length === 1) return expressionText(builder, plain.options[0] as Expression);
      return builder.choice(...plain.options.map((option) => expressionText(builder, option)));
    case "repeat":
      return builder.repeat(expressionText(builder, plain.part), plain.least, plain.most);
  }
}
