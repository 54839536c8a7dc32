/**
 * What the stages of a tokenizer look for in a text: a text, or a regular expression in Oniguruma's notation, which
 * @huggingface/tokenizers puts into JavaScript's; and those stages that several parts of a tokenizer may have.
 */

import { SplitPreTokenizer } from "@huggingface/tokenizers";
import { isObject } from "../json.ts";
import { type ConfigFields, Fault, printable } from "../model_file/config_fields.ts";
import type { Stage } from "./tokenizer_files.ts";

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

/** Reads a Replace: what a text, or a token, becomes by it. @throws Fault for what is wrong. */
export function readReplace(stage: Stage, fields: ConfigFields): (text: string) => string {
  const pattern = readPattern("Replace", stage.pattern);
  const content = typeof stage.content === "string" ? stage.content : fields.text("content");
  // As it is: nothing in it stands for a part of the match.
  const replacement = content.replaceAll("$", "$$$$");
  return (text) => text.replace(pattern, replacement);
}

/** Reads what a Metaspace puts in the place of spaces, and which texts it puts one before. @throws Fault for what is wrong. */
export function readMetaspace(stage: Stage, fields: ConfigFields) {
  const mark = stage.replacement === undefined ? "▁" : fields.text("replacement");
  const scheme = fields.oneOf("prepend_scheme", ["always", "first", "never"] as const, "always");
  return { mark, scheme };
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
