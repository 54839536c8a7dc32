/** The marks by which models structure their answers, in a text that arrives in pieces, so that a mark may be cut anywhere. */

export const CALL_OPEN = "<tool_call>";
export const CALL_CLOSE = "</tool_call>";
export const THOUGHTS_OPEN = "<think>";
export const THOUGHTS_CLOSE = "</think>";

/** All of them. A vocabulary may have them as control tokens; answers need their text all the same. */
export const ANSWER_MARKS: readonly string[] = [CALL_OPEN, CALL_CLOSE, THOUGHTS_OPEN, THOUGHTS_CLOSE];

/** The first of some marks in a text, and where it begins. */
export function firstMark(text: string, marks: readonly string[]): { mark: string; start: number } | undefined {
  let first: { mark: string; start: number } | undefined;
  for (const mark of marks) {
    const start = text.indexOf(mark);
    if (start >= 0 && start < (first?.start ?? Number.POSITIVE_INFINITY)) first = { mark, start };
  }
  return first;
}

/** Length of the longest end of a text that could be the beginning of one of some marks. */
export function partialMarkLength(text: string, marks: readonly string[]): number {
  const isBeginning = (length: number) =>
    marks.some((mark) => length < mark.length && text.endsWith(mark.slice(0, length)));
  let length = Math.min(Math.max(...marks.map((mark) => mark.length)) - 1, text.length);
  while (length > 0 && !isBeginning(length)) length--;
  return length;
}
