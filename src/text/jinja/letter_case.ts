/** Upper, lower and title case as Python's texts have them. */

import { points } from "./characters.ts";

/** The title case of those letters for which it is neither their upper case nor the letter itself. */
const TITLE_CASE = new Map<string, string>();
for (const [upper, title, lower] of ["ǄǅǆǇǈǉǊǋǌǱǲǳ"]
  .flatMap((all) => all.match(/.../gu) ?? [])
  .map((three) => points(three))) {
  for (const letter of [upper, title, lower]) TITLE_CASE.set(letter as string, title as string);
}
for (const [small, capital, count] of [
  [0x1f80, 0x1f88, 8],
  [0x1f90, 0x1f98, 8],
  [0x1fa0, 0x1fa8, 8],
  [0x1fb3, 0x1fbc, 1],
  [0x1fc3, 0x1fcc, 1],
  [0x1ff3, 0x1ffc, 1],
] as const) {
  for (let i = 0; i < count; i++) {
    TITLE_CASE.set(String.fromCodePoint(small + i), String.fromCodePoint(capital + i));
    TITLE_CASE.set(String.fromCodePoint(capital + i), String.fromCodePoint(capital + i));
  }
}
TITLE_CASE.set("ŉ", "ʼN");
// Georgian letters have capitals, but don't begin words with them.
for (let point = 0x10d0; point <= 0x10ff; point++)
  TITLE_CASE.set(String.fromCodePoint(point), String.fromCodePoint(point));

/** A letter at the beginning of a word. */
function titleCase(letter: string): string {
  const known = TITLE_CASE.get(letter);
  if (known !== undefined) return known;
  const [first = "", ...rest] = points(letter.toUpperCase());
  return first + rest.join("").toLowerCase();
}

const CASED = /\p{Cased}/u;
const UPPER = /\p{Uppercase}/u;
const LOWER = /\p{Lowercase}/u;
const TITLE = /\p{Lt}/u;

/** str.capitalize. */
export function capitalize(text: string): string {
  const [first = ""] = text;
  return titleCase(first) + lowerRest(text, first);
}

/** What follows a beginning in lower case: a sigma in it may be a final one because of what stands before. */
function lowerRest(text: string, beginning: string): string {
  const lower = text.toLowerCase();
  const before = beginning.toLowerCase();
  return lower.startsWith(before) ? lower.slice(before.length) : text.slice(beginning.length).toLowerCase();
}

/** Each letter of a text with its lower case. That of a sigma depends on what is around it. */
function withLowerCase(text: string): [letter: string, small: string][] {
  const letters = points(text);
  const small = points(text.toLowerCase());
  const isSameLength = small.length === letters.length;
  return letters.map((letter, i) => [letter, isSameLength ? (small[i] as string) : letter.toLowerCase()]);
}

/** str.title. */
export function title(text: string): string {
  let result = "";
  let isAfterCased = false;
  for (const [letter, small] of withLowerCase(text)) {
    result += isAfterCased ? small : titleCase(letter);
    isAfterCased = CASED.test(letter);
  }
  return result;
}

/** str.swapcase. */
export function swapCase(text: string): string {
  return withLowerCase(text)
    .map(([letter, small]) => (UPPER.test(letter) ? small : LOWER.test(letter) ? letter.toUpperCase() : letter))
    .join("");
}

/** str.casefold, as near as case mappings come to it. */
export function foldCase(text: string): string {
  return text.replaceAll("ẞ", "ss").toUpperCase().toLowerCase().replaceAll("ς", "σ");
}

/** str.isupper. */
export function isUpper(text: string): boolean {
  return !LOWER.test(text) && !TITLE.test(text) && UPPER.test(text);
}

/** str.islower. */
export function isLower(text: string): boolean {
  return !UPPER.test(text) && !TITLE.test(text) && LOWER.test(text);
}

/** str.istitle. */
export function isTitle(text: string): boolean {
  let isAfterCased = false;
  let hasCased = false;
  for (const letter of points(text)) {
    const isCapital = UPPER.test(letter) || TITLE.test(letter);
    const isSmall = LOWER.test(letter);
    if ((isCapital && isAfterCased) || (isSmall && !isAfterCased)) return false;
    isAfterCased = isCapital || isSmall;
    hasCased ||= isAfterCased;
  }
  return hasCased;
}
