/** Unicode's white space, as Rust has it, which is not what `trim` takes away: U+0085 is, U+FEFF is not. */

const SPACE = /\p{White_Space}/u;

/** Where the white space before a place begins. */
export function spacesBefore(text: string, end: number): number {
  let start = end;
  while (start > 0 && SPACE.test(text.charAt(start - 1))) start--;
  return start;
}

/** Where the white space after a place ends. */
export function spacesAfter(text: string, start: number): number {
  let end = start;
  while (end < text.length && SPACE.test(text.charAt(end))) end++;
  return end;
}
