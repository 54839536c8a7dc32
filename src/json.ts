/** JSON from elsewhere, of which nothing is known yet, and what JavaScript's own values would lose of it: digits and order. */

import { printParseErrorCode, visit } from "jsonc-parser";

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a value is a JSON object whose names JavaScript keeps in order. */
export function isObject(value: unknown): value is JsonObject {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof JsonNumber) &&
    !(value instanceof OrderedObject)
  );
}

/** What JSON.stringify writes as it stands: JSON.rawJSON, which TypeScript doesn't know yet. */
function rawJson(text: string): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text);
}

/** A number from JSON text with its digits as they were written, of which a JavaScript number may not hold all: 1.0, 1e400. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** Has JSON.stringify write the same digits. */
  toJSON(): unknown {
    return rawJson(this.text);
  }
}

/** A JSON object with names such as "10" and "2", which a JavaScript object would put in another order. */
export class OrderedObject extends Map<string, unknown> {
  /**
   * Has JSON.stringify write what is equal for equal objects, different for all other values, and about as long: the names and values
   * in a list that begins with a string as it is never written otherwise.
   */
  toJSON(): unknown {
    return [rawJson('"\\u006f"'), ...this];
  }
}

/** Names and values of any JSON object, in their order; undefined for other values. */
export function membersOf(value: unknown): [string, unknown][] | undefined {
  if (value instanceof OrderedObject) return [...value];
  return isObject(value) ? Object.entries(value) : undefined;
}

/** Names that a JavaScript object puts before all others. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/;

/** A JSON object that keeps these members in their order. Of two with one name, the later counts. */
export function objectOf(members: readonly (readonly [string, unknown])[]): JsonObject | OrderedObject {
  return members.some(([name]) => INDEX.test(name)) ? new OrderedObject(members) : Object.fromEntries(members);
}

/**
 * Parses JSON and loses nothing: numbers that JavaScript would write otherwise are JsonNumber, objects whose names it would put in
 * another order are OrderedObject.
 *
 * @throws SyntaxError when it is no JSON.
 */
export function parseExactly(text: string): unknown {
  JSON.parse(text);
  return build(text, () => true);
}

/** Some members of a JSON object, parsed like that. @param text is known to be a JSON object. */
export function parseMembersExactly(text: string, names: ReadonlySet<string>): JsonObject {
  return build(text, (name) => names.has(name)) as JsonObject;
}

/** What stands where something else should, in words. */
const FAULTS: Readonly<Record<string, string>> = {
  InvalidSymbol: "that is no value of JSON",
  InvalidNumberFormat: "that is no number of JSON",
  PropertyNameExpected: "a name in double quotes is missing",
  ValueExpected: "a value is missing",
  ColonExpected: "a colon is missing",
  CommaExpected: "a comma is missing",
  CloseBraceExpected: "a closing brace is missing",
  CloseBracketExpected: "a closing bracket is missing",
  EndOfFileExpected: "the value has ended before",
  InvalidCommentToken: "JSON has no comments",
  UnexpectedEndOfString: "a string has no end",
  UnexpectedEndOfNumber: "a number has no end",
  InvalidUnicode: "that is no \\u of four hexadecimal digits",
  InvalidEscapeCharacter: "JSON has no such character behind a backslash",
  InvalidCharacter: "a string holds a control character that is not escaped",
};

/** Ends the reading of a text. */
class Found extends Error {}

/** Where a text first is no JSON, and why; it is not quoted. Undefined where that can't be said. */
export function findFault(text: string): string | undefined {
  let fault: string | undefined;
  try {
    visit(
      text,
      {
        onError(code, _offset, _length, line, character) {
          fault = `line ${line + 1}, column ${character + 1}: ${FAULTS[printParseErrorCode(code)] ?? "that is no JSON"}`;
          throw new Found();
        },
      },
      { disallowComments: true, allowTrailingComma: false },
    );
  } catch (error) {
    if (!(error instanceof Found)) throw error;
  }
  return fault;
}

/** Builds the value of a text that is JSON. @param isWanted whether a member of the outermost object is. */
function build(text: string, isWanted: (name: string) => boolean): unknown {
  /** What is open: the elements of an array, or the members of an object with the name of the next. */
  const open: { elements?: unknown[]; members: [string, unknown][]; name: string }[] = [];
  let whole: unknown;
  const isLeftOut = () => open.length === 1 && open[0]?.elements === undefined && !isWanted(open[0]?.name as string);
  const add = (value: unknown) => {
    const top = open.at(-1);
    if (top === undefined) whole = value;
    else if (isLeftOut()) return;
    else if (top.elements !== undefined) top.elements.push(value);
    else top.members.push([top.name, value]);
  };
  const begin = (elements?: unknown[]) => {
    // What lies in what is left out is not visited, but its end is.
    const isVisited = !isLeftOut();
    open.push({ ...(elements === undefined ? {} : { elements }), members: [], name: "" });
    return isVisited;
  };
  const end = () => {
    const { elements, members } = open.pop() as (typeof open)[0];
    if (elements !== undefined) add(elements);
    else add(objectOf(members));
  };
  visit(text, {
    onObjectBegin: () => begin(),
    onObjectProperty: (name) => {
      (open.at(-1) as (typeof open)[0]).name = name;
    },
    onObjectEnd: end,
    onArrayBegin: () => begin([]),
    onArrayEnd: end,
    onLiteralValue: (value, offset, length) => {
      const written = typeof value === "number" ? text.slice(offset, offset + length) : "";
      add(typeof value === "number" && String(value) !== written ? new JsonNumber(written) : value);
    },
  });
  return whole;
}
