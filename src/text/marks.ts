/** The marks by which models structure their answers, in a text that arrives in pieces, so that a mark may be cut anywhere. */

export const CALL_OPEN = "<tool_call>";
export const CALL_CLOSE = "</tool_call>";
export const THOUGHTS_OPEN = "<think>";
export const THOUGHTS_CLOSE = "</think>";

/** All of them; each begins with "<". A vocabulary may have them as control tokens; answers need their text all the same. */
export const ANSWER_MARKS: readonly string[] = [CALL_OPEN, CALL_CLOSE, THOUGHTS_OPEN, THOUGHTS_CLOSE];

/** The first of some marks in a text, and where it begins. The text is looked through up to there, whatever is behind it. */
export function firstMark(text: string, marks: readonly string[]): { mark: string; start: number } | undefined {
  for (let start = text.indexOf("<"); start >= 0; start = text.indexOf("<", start + 1)) {
    const mark = marks.find((other) => text.startsWith(other, start));
    if (mark !== undefined) return { mark, start };
  }
  return undefined;
}

/** Length of the longest end of a text that could be the beginning of one of some marks. */
export function partialMarkLength(text: string, marks: readonly string[]): number {
  const isBeginning = (length: number) =>
    marks.some((mark) => length < mark.length && text.endsWith(mark.slice(0, length)));
  let length = Math.min(Math.max(...marks.map((mark) => mark.length)) - 1, text.length);
  while (length > 0 && !isBeginning(length)) length--;
  return length;
}
