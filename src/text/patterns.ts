/**
 * What the stages of a tokenizer look for in a text: a text, or a regular expression in Oniguruma's notation, which
 * @huggingface/tokenizers puts into JavaScript's.
 */

import { SplitPreTokenizer } from "@huggingface/tokenizers";
import { isObject } from "../json.ts";
import { Fault, printable } from "../model_file/config_fields.ts";

/** A part of a text: a match, or what lies between two. */
export interface Part {
  isMatch: boolean;
  start: number;
  end: number;
}

/**
 * Reads a pattern.
 *
 * @param stage what to call the stage in a fault.
 * @param pattern `{"String": …}` or `{"Regex": …}`.
 * @returns an expression with the flags g and u.
 * @throws Fault when it is neither.
 */
export function readPattern(stage: string, pattern: unknown): RegExp {
  const { String: text, Regex: expression } = isObject(pattern) ? pattern : {};
  if (typeof text === "string" && text !== "") return new RegExp(RegExp.escape(text), "gu");
  if (typeof expression === "string" && expression !== "") return compile(stage, expression);
  const found = printable(JSON.stringify(pattern) ?? "missing");
  throw new Fault(`${stage} has the pattern ${found}; a text in String or Regex is needed`);
}

/** Puts an expression in Oniguruma's notation into JavaScript's. @throws Fault when that is not possible. */
export function compile(stage: string, expression: string): RegExp {
  try {
    const { pattern } = new SplitPreTokenizer({
      type: "Split",
      pattern: { Regex: expression },
      behavior: "Isolated",
      invert: true,
    });
    if (pattern !== null) return pattern;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new Fault(`${stage} has the regular expression ${printable(expression)}, which can't be used`);
}

/** All of a text, part by part. An empty match right after another is none. */
export function* parts(text: string, pattern: RegExp): Generator<Part, void> {
  let end = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (match === "" && index === end && index > 0) continue;
    if (end < index) yield { isMatch: false, start: end, end: index };
    end = index + match.length;
    yield { isMatch: true, start: index, end };
  }
  if (end < text.length) yield { isMatch: false, start: end, end: text.length };
}
