/**
 * GPT-2's alphabet, in which byte-level vocabularies are written: printable Latin-1 characters stand for their own code, the other
 * bytes for the characters from U+0100 on.
 */

/** The character of each byte. */
export const byteCharacters: readonly string[] = makeAlphabet();

/** The byte of each character, by its code; undefined for characters that are none of them. */
const characterBytes: readonly (number | undefined)[] = invert(byteCharacters);

function makeAlphabet(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(isPrintable ? byte : next++);
  });
}

function invert(characters: readonly string[]): (number | undefined)[] {
  const bytes: (number | undefined)[] = [];
  for (const [byte, character] of characters.entries()) bytes[character.charCodeAt(0)] = byte;
  return bytes;
}

/** The bytes of a text in UTF-8, each as its character. */
export function spellBytes(text: string): string {
  let spelled = "";
  for (const byte of Buffer.from(text)) spelled += byteCharacters[byte];
  return spelled;
}

/** The bytes that a text of these characters spells; undefined when another is among them. */
export function readBytes(spelled: string): Uint8Array | undefined {
  const bytes = new Uint8Array(spelled.length);
  for (let i = 0; i < spelled.length; i++) {
    const byte = characterBytes[spelled.charCodeAt(i)];
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
