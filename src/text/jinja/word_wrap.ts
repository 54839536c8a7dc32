/** Texts in lines of limited width, as Python's textwrap breaks them for the filter `wordwrap`. */

import type { Budget } from "./budget.ts";
import { isSpace, lines, points } from "./characters.ts";
import { TemplateError } from "./errors.ts";

/** How lines are to be broken. */
export interface WrapForm {
  width: number;
  breaksWords: boolean;
  breaksAtHyphens: boolean;
}

const BLANK = /^[\t\n\v\f\r ]$/;
const LETTER = /^[\p{L}\p{Nl}\p{No}_]$/u;
const WORD = /^[\p{L}\p{N}_]$/u;
/** What may stand before a dash of several hyphens. */
const BEFORE_DASH = /^[\p{L}\p{N}_!"'&.,?]$/u;

/** Wraps each line of a text. @param mark what is put between lines. @throws TemplateError. */
export function wrap(text: string, form: WrapForm, mark: string, budget: Budget): string {
  if (form.width <= 0) throw new TemplateError(`invalid width ${form.width} (must be > 0)`);
  budget.walkSlowly(text.length);
  const wrapped = lines(text).map((line) => wrapLine(line, form).join(mark));
  budget.make(text.length + wrapped.length * mark.length);
  const result = wrapped.join(mark);
  budget.make(result.length);
  return result;
}

/** The pieces between which a line may be broken, each as its characters: white space, words, and the parts of words with hyphens. */
function piecesOf(line: string, breaksAtHyphens: boolean): string[][] {
  const characters = points(line);
  const is = (kind: RegExp, at: number) => at >= 0 && at < characters.length && kind.test(characters[at] as string);
  const isHyphen = (at: number) => characters[at] === "-";
  /** Where the dash of at least two hyphens that begins here ends, if a word follows; else 0. */
  const endOfDash = (at: number) => {
    let end = at;
    while (isHyphen(end)) end++;
    return end - at >= 2 && is(WORD, end) ? end : 0;
  };
  const isBrokenAfter = (at: number) =>
    isHyphen(at) &&
    ((is(LETTER, at - 1) && is(LETTER, at - 2)) || (is(LETTER, at - 1) && isHyphen(at - 2) && is(LETTER, at - 3))) &&
    is(LETTER, at + 1) &&
    is(LETTER, isHyphen(at + 2) ? at + 3 : at + 2);
  const pieces: string[][] = [];
  for (let start = 0, end = 0; start < characters.length; start = end) {
    end = start + 1;
    if (is(BLANK, start)) {
      while (is(BLANK, end)) end++;
    } else if (!breaksAtHyphens) {
      while (end < characters.length && !is(BLANK, end)) end++;
    } else {
      const dash = isHyphen(start) && is(BEFORE_DASH, start - 1) ? endOfDash(start) : 0;
      if (dash > 0) {
        end = dash;
      } else {
        while (end < characters.length && !is(BLANK, end)) {
          if (isHyphen(end) && !isHyphen(end - 1) && is(BEFORE_DASH, end - 1) && endOfDash(end) > 0) break;
          if (isBrokenAfter(end++)) break;
        }
      }
    }
    pieces.push(characters.slice(start, end));
  }
  return pieces;
}

function wrapLine(line: string, { width, breaksWords, breaksAtHyphens }: WrapForm): string[] {
  const pieces = piecesOf(line, breaksAtHyphens).reverse();
  const wrapped: string[] = [];
  const isBlank = (piece: readonly string[] | undefined) => piece?.every(isSpace) ?? false;
  while (pieces.length > 0) {
    if (wrapped.length > 0 && isBlank(pieces.at(-1))) pieces.pop();
    const current: string[][] = [];
    let length = 0;
    let next = pieces.at(-1);
    while (next !== undefined && length + next.length <= width) {
      current.push(next);
      length += next.length;
      pieces.pop();
      next = pieces.at(-1);
    }
    if (next !== undefined && next.length > width) {
      if (breaksWords) {
        // None may be left: then nothing is added, and white space stays that would otherwise be taken off the line's end.
        const room = width - length;
        const hyphen = breaksAtHyphens ? next.slice(0, room).lastIndexOf("-") : -1;
        const isUseful = hyphen > 0 && next.slice(0, hyphen).some((character) => character !== "-");
        const end = isUseful ? hyphen + 1 : room;
        // A word without end is taken apart from its front, not copied again and again.
        current.push(next.splice(0, end));
      } else if (current.length === 0) {
        current.push(next);
        pieces.pop();
      }
    }
    if (isBlank(current.at(-1))) current.pop();
    if (current.length > 0) wrapped.push(current.map((piece) => piece.join("")).join(""));
  }
  return wrapped;
}
