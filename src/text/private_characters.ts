/**
 * Characters that stand for others for a while: Unicode's private ones in the basic plane, of those that occur nowhere in the texts
 * at hand. They are no letters, marks or white space, and nothing normalizes them.
 */

const FIRST = 0xe000;
const LAST = 0xf8ff;

/** Every private character occurs. */
export class NoPrivateCharacter extends Error {
  override name = "NoPrivateCharacter";
}

/** Whether a code is that of a private character. */
export function isPrivate(code: number): boolean {
  return code >= FIRST && code <= LAST;
}

/**
 * A private character, drawn at random so that nobody knows it beforehand.
 *
 * @param texts in which it does not occur, nor its number as JSON spells it.
 * @throws NoPrivateCharacter.
 */
export function privateCharacter(texts: Iterable<string>): string {
  const used = new Set<number>();
  for (const text of texts) {
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (isPrivate(unit)) used.add(unit);
    }
    for (const [, digits] of text.matchAll(/\\u(e[0-9a-f]{3}|f[0-8][0-9a-f]{2})/gi)) {
      used.add(Number.parseInt(digits as string, 16));
    }
  }
  const free: number[] = [];
  for (let unit = FIRST; unit <= LAST; unit++) if (!used.has(unit)) free.push(unit);
  const [random] = crypto.getRandomValues(new Uint32Array(1)) as unknown as [number];
  const drawn = free[random % free.length];
  if (drawn === undefined) throw new NoPrivateCharacter("every private character of Unicode is in use");
  return String.fromCharCode(drawn);
}
