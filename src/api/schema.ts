/**
 * Reads values out of a request's JSON and says what is wrong with them in OpenAI's words: the parameter's path, a code, and a
 * message that names what was expected. What was sent is never repeated, since it may be a prompt. Fields that nobody asks for are ignored.
 */

import { isObject, type JsonObject } from "../json.ts";
import { invalid } from "../serving/request_error.ts";

/** Bounds of a number. */
export interface Range {
  low?: number;
  high?: number;
}

/** What a value is, for messages: "a string", "null". */
function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  if (typeof value === "number") return Number.isInteger(value) ? "an integer" : "a decimal";
  return `a ${typeof value}`;
}

/** The error for a value of the wrong type. */
export function invalidType(path: string, expected: string, value: unknown) {
  return invalid(
    path,
    "invalid_type",
    `Invalid type for '${path}': expected ${expected}, but got ${kindOf(value)} instead.`,
  );
}

/** The error for a parameter that has to be there. */
export function missing(path: string) {
  return invalid(path, "missing_required_parameter", `Missing required parameter: '${path}'.`);
}

/** The error for a value that is none of those allowed. */
export function invalidValue(path: string, expected: string) {
  return invalid(path, "invalid_value", `Invalid value for '${path}': expected ${expected}.`);
}

/** The error for a parameter that means nothing without another one. */
export function onlyWith(name: string, other: string): Error {
  return invalid(name, undefined, `The '${name}' parameter is only allowed when '${other}' is enabled.`);
}

/** The error for two parameters of which only one can be meant; it names the second one. */
export function onlyOneOf(name: string, other: string) {
  return invalid(other, "invalid_value", `Only one of '${name}' and '${other}' can be set.`);
}

/** A decimal number within bounds; undefined when absent or null. */
export function optionalDecimal(body: JsonObject, name: string, range: Range): number | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number") throw invalidType(name, "a decimal", value);
  return checkRange(value, name, "decimal", range);
}

/** A whole number within bounds; undefined when absent or null. */
export function optionalInteger(body: JsonObject, name: string, range: Range): number | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  return readInteger(value, name, range);
}

/** A whole number within bounds, found at `path`. */
export function readInteger(value: unknown, path: string, range: Range): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw invalidType(path, "an integer", value);
  return checkRange(value, path, "integer", range);
}

/** Whole numbers within bounds, found at `path`: what may be hundreds of thousands of ids. */
export function readIntegers(values: readonly unknown[], path: string, range: Required<Range>): number[] {
  const isRight = (value: unknown) =>
    Number.isInteger(value) && (value as number) >= range.low && (value as number) <= range.high;
  const wrong = values.findIndex((value) => !isRight(value));
  if (wrong >= 0) readInteger(values[wrong], `${path}[${wrong}]`, range);
  return values as number[];
}

/** Checks a number's bounds. */
export function checkRange(value: number, path: string, kind: "decimal" | "integer", range: Range): number {
  const { low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY } = range;
  if (value < low) {
    throw invalid(
      path,
      `${kind}_below_min_value`,
      `Invalid '${path}': ${kind} below minimum value. Expected a value >= ${low}.`,
    );
  }
  if (value > high) {
    throw invalid(
      path,
      `${kind}_above_max_value`,
      `Invalid '${path}': ${kind} above maximum value. Expected a value <= ${high}.`,
    );
  }
  return value;
}

/** A boolean; `otherwise` when absent or null. `path` is the name in errors, for an object inside of the body. */
export function optionalBoolean(body: JsonObject, name: string, otherwise = false, path = name): boolean {
  return statedBoolean(body, name, path) ?? otherwise;
}

/** The same of one that has no default: undefined when absent or null. */
export function statedBoolean(body: JsonObject, name: string, path = name): boolean | undefined {
  const value = body[name] ?? undefined;
  if (value !== undefined && typeof value !== "boolean") throw invalidType(path, "a boolean", value);
  return value;
}

/** A string; undefined when absent or null. `path` is the name in errors, for an object inside of the body. */
export function optionalString(body: JsonObject, name: string, path = name): string | undefined {
  const value = body[name] ?? undefined;
  if (value !== undefined && typeof value !== "string") throw invalidType(path, "a string", value);
  return value;
}

/** An object; undefined when absent or null. */
export function optionalObject(body: JsonObject, name: string): JsonObject | undefined {
  const value = body[name] ?? undefined;
  if (value !== undefined && !isObject(value)) throw invalidType(name, "an object", value);
  return value as JsonObject | undefined;
}

/** An array of at most `lengthMax` elements; undefined when absent or null. */
export function optionalArray(body: JsonObject, name: string, lengthMax: number): unknown[] | undefined {
  const value = body[name] ?? undefined;
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalidType(name, "an array", value);
  checkLength(value, name, lengthMax);
  return value;
}

/** Checks the length of a string or an array. */
export function checkLength(value: string | readonly unknown[], path: string, lengthMax: number): void {
  if (value.length <= lengthMax) return;
  const [kind, article] = typeof value === "string" ? ["string", "a"] : ["array", "an"];
  const message = `Invalid '${path}': ${kind} too long. Expected ${article} ${kind} with maximum length ${lengthMax}.`;
  throw invalid(path, `${kind}_above_max_length`, message);
}

/** A string with something in it. Texts never hold half a character, so it becomes U+FFFD here, as it does in them. */
export function readText(value: unknown, path: string): string {
  if (typeof value !== "string") throw invalidType(path, "a string", value);
  if (value !== "") return value.toWellFormed();
  const message = `Invalid '${path}': empty string. Expected a string with minimum length 1.`;
  throw invalid(path, "string_below_min_length", message);
}

/** How many values there are in one, itself included; counted up to a limit. */
export function countValues(value: unknown, limit: number): number {
  if (typeof value !== "object" || value === null) return 1;
  let count = 1;
  for (const element of Array.isArray(value) ? value : Object.values(value)) {
    count += countValues(element, limit - count);
    if (count >= limit) break;
  }
  return count;
}
