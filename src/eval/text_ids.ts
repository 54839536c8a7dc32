/**
 * The ids of a text of any length, in bounded memory: the text is cut where the tokenizer, given both sides at once, puts a border between
 * two tokens, so the ids are those of the whole. What comes after a cut is tokenized with some of the text before it, which may decide
 * how it begins, and which is then left out.
 */

import { Failure } from "../errors.ts";
import { describeIndivisible, type Indivisible, type Tokenizer } from "../text/tokenizer.ts";

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
  // Of the pieces so far.
  let [bytesDone, linesDone] = [0, 0];
  /** @param before what comes before the fault, and is in no piece yet. */
  const fault = (before: string, what: string) => {
    const place = `${name}:${linesDone + lineEnds(before) + 1}: near byte ${bytesDone + Buffer.byteLength(before)}`;
    return new Failure(`${place}: ${what}; break them up, with spaces between words or new lines`);
  };
  /** @param known how much of the text is in earlier pieces. */
  const encode = async (text: string, known = 0) => {
    const encoding = await tokenizer.encode(text, Number.MAX_SAFE_INTEGER);
    if ("ids" in encoding) return encoding.ids;
    const end = await encodableLength(tokenizer, text);
    throw fault(text.slice(known, end), describeIndivisible(encoding as Indivisible));
  };
  const piece = async (before: string, text: string): Promise<Piece> => {
    const ids = await encode(before + text, before.length);
    const bytes = Buffer.byteLength(text);
    bytesDone += bytes;
    linesDone += lineEnds(text);
    return { ids: ids.slice((await encode(before)).length), bytes };
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
      if (cut === undefined) throw fault("", `there is no place to cut the next ${pieceLength} characters`);
      const text = rest.slice(0, cut - before.length);
      yield await piece(before, text);
      const read = before + text;
      before = read.slice(wholeCharacter(read, read.length - SURROUNDINGS));
      rest = rest.slice(text.length);
    }
  }
  if (rest !== "") yield await piece(before, rest);
}

/** How much of a text can be encoded that can't as a whole, in UTF-16 code units. */
async function encodableLength(tokenizer: Tokenizer, text: string): Promise<number> {
  let [most, tooMuch] = [0, text.length];
  while (tooMuch - most > 1) {
    const middle = (most + tooMuch) >> 1;
    const encoding = await tokenizer.encode(text.slice(0, middle), Number.MAX_SAFE_INTEGER);
    if ("ids" in encoding) most = middle;
    else tooMuch = middle;
  }
  return most;
}

/** How many lines end in a text. */
function lineEnds(text: string): number {
  return text.split("\n").length - 1;
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
