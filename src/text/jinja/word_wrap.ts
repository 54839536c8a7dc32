/** Texts in lines of limited width, as Python's textwrap breaks them for the filter `wordwrap`. */

import type { Budget } from "./budget.ts";
import { lines, pointCount, points } from "./characters.ts";
import { TemplateError } from "./errors.ts";

/** How lines are to be broken. */
export interface WrapForm {
  width: number;
  breaksWords: boolean;
  breaksAtHyphens: boolean;
}

/** Pieces between which lines may be broken: white space, words, and the parts of words with hyphens. */
const PIECES =
  /[\t\n\v\f\r ]+|[^\t\n\v\f\r ]*?(?:[\p{L}\p{N}_!"'&.,?]-{2,}(?=[\p{L}\p{N}_])|[\p{L}_]-(?=[\p{L}_]-?[\p{L}_]))|[^\t\n\v\f\r ]+/gu;
const PLAIN_PIECES = /[\t\n\v\f\r ]+|[^\t\n\v\f\r ]+/g;

/** Wraps each line of a text. @param mark what is put between lines. @throws TemplateError. */
export function wrap(text: string, form: WrapForm, mark: string, budget: Budget): string {
  if (form.width <= 0) throw new TemplateError(`invalid width ${form.width} (must be > 0)`);
  budget.walk(text.length * 2);
  const wrapped = lines(text).map((line) => wrapLine(line, form).join(mark));
  const result = wrapped.join(mark);
  budget.make(result.length);
  return result;
}

function wrapLine(line: string, { width, breaksWords, breaksAtHyphens }: WrapForm): string[] {
  const pieces = (line.match(breaksAtHyphens ? PIECES : PLAIN_PIECES) ?? []).reverse();
  const wrapped: string[] = [];
  const isBlank = (piece: string | undefined) => piece !== undefined && piece.trim() === "";
  while (pieces.length > 0) {
    if (wrapped.length > 0 && isBlank(pieces.at(-1))) pieces.pop();
    const current: string[] = [];
    let length = 0;
    for (let next = pieces.at(-1); next !== undefined; next = pieces.at(-1)) {
      const size = pointCount(next);
      if (length + size > width) break;
      current.push(next);
      length += size;
      pieces.pop();
    }
    const next = pieces.at(-1);
    if (next !== undefined && pointCount(next) > width) {
      pieces.pop();
      const room = breaksWords ? Math.max(1, width - length) : 0;
      if (room > 0) {
        const characters = points(next);
        const hyphen = breaksAtHyphens ? characters.slice(0, room).lastIndexOf("-") : -1;
        const isUseful = hyphen > 0 && characters.slice(0, hyphen).some((character) => character !== "-");
        const end = characters.length > room && isUseful ? hyphen + 1 : room;
        current.push(characters.slice(0, end).join(""));
        pieces.push(characters.slice(end).join(""));
      } else if (current.length === 0) {
        current.push(next);
      } else {
        pieces.push(next);
      }
    }
    if (isBlank(current.at(-1))) current.pop();
    if (current.length > 0) wrapped.push(current.join(""));
  }
  return wrapped;
}
