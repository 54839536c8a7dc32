/**
 * The ids of a text of any length, in bounded memory: the text is cut where the tokenizer, given both sides at once, puts a border between
 * two tokens, so the ids are those of the whole. What comes after a cut is tokenized with some of the text before it, which may decide
 * how it begins, and which is then left out.
 */

import { Failure } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** UTF-16 code units of a piece, at least. */
const PIECE_LENGTH = 1 << 17;

/** Code units on either side of a cut that decide whether it is one. */
const SURROUNDINGS = 512;

/** Places that are tried of each kind. */
const TRIES = 64;

/** Kinds of places where texts can be cut, the likeliest ones first: before a line, before a space, anywhere. */
const PLACES = [/(?<=\n)(?=\S)/gu, /(?<=\S)(?=\s\S)/gu, /(?<!^)(?=.)/gsu];

/** Ids that belong together, and how much text they stand for. */
export interface Piece {
  ids: number[];
  /** Bytes in UTF-8. */
  bytes: number;
}

/**
 * The ids of a text, without those that the tokenizer puts before every text.
 *
 * @param parts the text as it comes.
 * @param name what to call it in messages.
 * @throws Failure when a part of it can't be divided, as the tokenizer works.
 */
export async function* textIds(
  tokenizer: Tokenizer,
  parts: Iterable<string>,
  name: string,
  pieceLength = PIECE_LENGTH,
): AsyncGenerator<Piece, void> {
  const encode = async (text: string) => {
    const encoding = await tokenizer.encode(text, Number.MAX_SAFE_INTEGER);
    if ("ids" in encoding) return encoding.ids;
    const length = "indivisible" in encoding ? encoding.indivisible : text.length;
    throw new Failure(`${name}: the tokenizer can't divide ${length} characters in a row; break them up`);
  };
  const piece = async (before: string, text: string): Promise<Piece> => {
    const ids = await encode(before + text);
    return { ids: ids.slice((await encode(before)).length), bytes: Buffer.byteLength(text) };
  };
  /** Whether there is a border between two tokens at a place of a text. */
  const isBorder = async (text: string, at: number) => {
    const left = await encode(text.slice(wholeCharacter(text, at - SURROUNDINGS), at));
    const both = await encode(
      text.slice(wholeCharacter(text, at - SURROUNDINGS), wholeCharacter(text, at + SURROUNDINGS)),
    );
    return left.every((id, index) => id === both[index]);
  };
  let before = "";
  let rest = "";
  for (const part of parts) {
    rest += part;
    while (rest.length >= pieceLength + SURROUNDINGS) {
      const cut = await lastBorder(before + rest, before.length + pieceLength, before.length, isBorder);
      if (cut === undefined) throw new Failure(`${name}: there is no place to cut ${pieceLength} characters in a row`);
      const text = rest.slice(0, cut - before.length);
      yield await piece(before, text);
      const read = before + text;
      before = read.slice(wholeCharacter(read, read.length - SURROUNDINGS));
      rest = rest.slice(text.length);
    }
  }
  if (rest !== "") yield await piece(before, rest);
}

/** The last place up to `end` where a text can be cut, of the best kind that there is. */
async function lastBorder(
  text: string,
  end: number,
  begin: number,
  isBorder: (text: string, at: number) => Promise<boolean>,
): Promise<number | undefined> {
  const middle = begin + Math.floor((end - begin) / 2);
  const half = text.slice(middle - 1, end + 1);
  for (const place of PLACES) {
    const found = [...half.matchAll(place)]
      .map(({ index }) => middle - 1 + index)
      .filter((at) => at > middle && at <= end);
    for (const at of found.slice(-TRIES).reverse()) if (await isBorder(text, at)) return at;
  }
  return undefined;
}

/** The place itself, or the one before it when it is between the halves of a surrogate pair, within the text. */
function wholeCharacter(text: string, at: number): number {
  const place = Math.max(0, Math.min(at, text.length));
  return place > 0 && (text.codePointAt(place - 1) as number) > 0xffff ? place - 1 : place;
}
