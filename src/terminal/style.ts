/** Emphasis for people at a terminal; plain where there is none, or where NO_COLOR (https://no-color.org) asks for that. */

import { notes } from "./output.ts";

/** Whether stderr shows emphasis. */
function isStyled(): boolean {
  return notes.canDraw && !process.env.NO_COLOR;
}

/** Text on stderr that matters less. */
export function dim(text: string): string {
  return isStyled() ? `\u001b[2m${text}\u001b[22m` : text;
}

/** Text on stderr that one looks for. */
export function bold(text: string): string {
  return isStyled() ? `\u001b[1m${text}\u001b[22m` : text;
}
