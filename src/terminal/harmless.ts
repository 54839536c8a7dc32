/**
 * Text of strangers (a model's answer, a pasted page, a server's message) for a terminal. A terminal obeys control characters: they
 * move its cursor, change its title, or answer in the user's name. Here they become characters that one can see.
 */

/** All of C0 but tab and newline, DEL, and C1. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** The text with control characters written as `cat -v` would: ^[ for escape, and <9b> for those above ASCII. */
export function harmless(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    return code > 0x7f ? `<${code.toString(16)}>` : `^${String.fromCharCode(code ^ 0x40)}`;
  });
}

/** The same as one line. */
export function harmlessLine(text: string): string {
  return harmless(text).replaceAll("\n", "\\n");
}

/** The same for text that comes in pieces, in which the ends of Windows's lines are ends of lines. */
export class HarmlessText {
  #isReturnHeld = false;

  push(piece: string): string {
    const text = (this.#isReturnHeld ? "\r" : "") + piece;
    this.#isReturnHeld = text.endsWith("\r");
    return harmless((this.#isReturnHeld ? text.slice(0, -1) : text).replaceAll("\r\n", "\n"));
  }

  finish(): string {
    const rest = this.#isReturnHeld ? harmless("\r") : "";
    this.#isReturnHeld = false;
    return rest;
  }
}
