/** How large JSON from a client may be in what reading it costs: its bytes say little about that. */

/**
 * Deepest nesting of objects and arrays in JSON from a client. What walks through it calls itself for every level, JSON.stringify
 * above all, and the stack ends somewhere; tools and schemas of people have some ten levels.
 */
export const DEPTH_MAX = 256;

/**
 * Most strings, names of members, objects and arrays in JSON from a client. Each of them takes memory of its own, and up to half a
 * microsecond when it is read, in one turn on the event loop. Numbers cost next to nothing, so lists of ids are not bounded by this.
 */
export const PARTS_MAX = 262_144;

/** What a part takes in memory when it is read, in bytes, and what any other value takes in its list. */
const PART_BYTES = 64;
const VALUE_BYTES = 8;

/** What a JSON text will be when it is read. */
export interface JsonMeasure {
  /** Whether objects and arrays lie within each other more than DEPTH_MAX times; nothing is counted after that. */
  isTooDeep: boolean;
  /** Strings, names of members, objects and arrays. */
  parts: number;
  /** At least as many as there are values, parts included. */
  values: number;
  /** What it takes in memory. */
  bytes: number;
}

// Codes, since a text that is no Latin-1 makes a string of each character that it is asked for.
const [OPENING_BRACE, CLOSING_BRACE, OPENING_BRACKET, CLOSING_BRACKET, QUOTE, BACKSLASH, COMMA] = [...'{}[]"\\,'].map(
  (character) => character.charCodeAt(0),
) as [number, number, number, number, number, number, number];

/** Measures a text before it is read as JSON. One that is no JSON has some measure too. */
export function measureJson(text: string): JsonMeasure {
  let depth = 0;
  let parts = 0;
  let commas = 0;
  for (let i = 0; i < text.length && depth <= DEPTH_MAX; i++) {
    const code = text.charCodeAt(i);
    if (code === COMMA) {
      commas++;
    } else if (code === OPENING_BRACE || code === OPENING_BRACKET) {
      depth++;
      parts++;
    } else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) {
      depth--;
    } else if (code === QUOTE) {
      parts++;
      // To the end of the string; a backslash takes the character after it along.
      for (i++; i < text.length && text.charCodeAt(i) !== QUOTE; i++) if (text.charCodeAt(i) === BACKSLASH) i++;
    }
  }
  const values = parts + commas + 1;
  return { isTooDeep: depth > DEPTH_MAX, parts, values, bytes: PART_BYTES * parts + VALUE_BYTES * commas };
}
