/** How deeply JSON from a client may be nested. */

/**
 * Deepest nesting of objects and arrays in JSON from a client. What walks through it calls itself for every level, JSON.stringify
 * above all, and the stack ends somewhere; tools and schemas of people have some ten levels.
 */
export const DEPTH_MAX = 256;

// Codes, since a text that is no Latin-1 makes a string of each character that it is asked for.
const [OPENING_BRACE, CLOSING_BRACE, OPENING_BRACKET, CLOSING_BRACKET, QUOTE, BACKSLASH] = [...'{}[]"\\'].map(
  (character) => character.charCodeAt(0),
) as [number, number, number, number, number, number];

/** Whether objects and arrays of a JSON text lie within each other more than DEPTH_MAX times. */
export function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === OPENING_BRACE || code === OPENING_BRACKET) {
      if (++depth > DEPTH_MAX) return true;
    } else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) {
      depth--;
    } else if (code === QUOTE) {
      // To the end of the string; a backslash takes the character after it along.
      for (i++; i < text.length && text.charCodeAt(i) !== QUOTE; i++) if (text.charCodeAt(i) === BACKSLASH) i++;
    }
  }
  return false;
}
