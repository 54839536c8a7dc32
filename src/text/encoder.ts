/**
 * Text to token ids in slices of bounded time and memory.
 *
 * Added tokens are found first, then what lies between them is normalized, cut into pieces by the pre-tokenizers, and each piece is
 * merged. Pieces come one by one from the whole text. One that is too long is merged in parts if there are places in it that no merge
 * reaches across. Otherwise the text is refused.
 */

import { AddedTokens, type Literal, type PromptText } from "./added_tokens.ts";
import { spellBytes } from "./byte_alphabet.ts";
import { BytePairs } from "./byte_pairs.ts";
import { type Normalizer, readNormalizer, WHOLE_LENGTH_MAX } from "./normalizers.ts";
import { type PreTokenizer, readPreTokenizers } from "./pre_tokenizers.ts";
import { privateCharacter } from "./private_characters.ts";
import type { AddedToken, TokenizerDescription } from "./tokenizer_files.ts";

/** What one slice merges, in bytes for vocabularies of bytes and in UTF-16 code units for others: some milliseconds. */
export const SLICE_LENGTH = 16_384;

/** The longest piece, in the same unit, that is merged in one go, in a slice of its own. */
export const PIECE_LENGTH_MAX = 32_768;

/** The longest piece, in UTF-16 code units, whose bytes aren't counted. */
const COUNTED_LENGTH_MAX = 32;

/** The longest piece, in UTF-16 code units, that isn't looked through for places to divide it. */
const UNDIVIDED_LENGTH_MAX = 32;

/** A part of the text that can't be encoded, since the tokenizer works on all of it at once. */
export class IndivisibleText extends Error {
  override name = "IndivisibleText";
  /** How long it is, in UTF-16 code units. */
  readonly length: number;
  /** How long it may be: in bytes or code units. */
  readonly lengthMax: number;

  constructor(length: number, lengthMax: number) {
    super(`${length} characters can't be encoded in one go`);
    this.length = length;
    this.lengthMax = lengthMax;
  }
}

/** A tokenizer's way from text to ids. Immutable; any number of texts may be encoded at once. */
export class Encoder {
  readonly #pairs: BytePairs;
  readonly #tokens: AddedTokens;
  /** Those that are looked for after the normalizer has changed the text. */
  readonly #normalizedTokens: AddedTokens;
  readonly #addedIds: ReadonlyMap<string, number>;
  /** What a text becomes before it is cut into pieces. */
  readonly normalizer: Normalizer | undefined;
  readonly #stages: PreTokenizer[];
  /** Made when a piece is divided, which is rare for byte-level vocabularies and common for others. */
  #borders: Borders | undefined;

  /** @throws Fault for a stage that is not supported, or wrong. */
  constructor({ model, added_tokens: added, normalizer, pre_tokenizer }: TokenizerDescription) {
    const { stages, spellsBytes } = readPreTokenizers(pre_tokenizer);
    this.#stages = stages;
    this.#pairs = new BytePairs(model, added, spellsBytes);
    if (!spellsBytes) this.#borders = new Borders(this.#pairs);
    this.#addedIds = new Map(added.map(({ content, id }) => [content, id]));
    this.normalizer = readNormalizer(normalizer);
    const normalize = this.normalizer ?? ((text: string) => text);
    const isNormalized = ({ normalized, special }: AddedToken) => normalized ?? !special;
    this.#tokens = new AddedTokens(added.filter((token) => !isNormalized(token)));
    this.#normalizedTokens = new AddedTokens(
      added.filter(isNormalized).map((token) => ({ ...token, content: normalize(token.content) })),
    );
  }

  /** The id of a token of the vocabulary or an added one; undefined for a text that is neither. */
  idOf(token: string): number | undefined {
    return this.#addedIds.get(token) ?? this.#pairs.tokens.find(token);
  }

  /** The tokens of the vocabulary, by id. */
  get texts(): readonly (string | undefined)[] {
    return this.#pairs.tokens.texts;
  }

  /**
   * Encodes a text, without the special tokens that a post-processor would add.
   *
   * @param emit takes each id, in order.
   * @yields after each slice of work.
   * @throws IndivisibleText.
   */
  *encode({ text: given, literal }: PromptText, emit: (id: number) => void): Generator<Slice, void> {
    // Half a character is U+FFFD, as it is in UTF-8.
    const text = given.toWellFormed();
    for (const section of this.#tokens.sections(text, literal)) {
      if (section === undefined) {
        yield NOTHING_MERGED;
        continue;
      }
      const { token, start, end } = section;
      if (token === undefined) yield* this.#encodeSection(text.slice(start, end), start, literal, emit);
      else emit(token.id);
    }
  }

  /** Encodes what lies between two tokens of those that are looked for first. */
  *#encodeSection(part: string, start: number, literal: Literal, emit: (id: number) => void): Generator<Slice, void> {
    const normalized = this.#normalizePrompt(part, start, literal);
    for (const section of this.#normalizedTokens.sections(normalized.text, normalized.literal)) {
      if (section === undefined) {
        yield NOTHING_MERGED;
        continue;
      }
      const { token } = section;
      if (token !== undefined) {
        emit(token.id);
        continue;
      }
      const text = normalized.text.slice(section.start, section.end);
      yield* this.#encodePlain(text, start + section.start === 0, emit);
    }
  }

  /** The normalized text, and its literal places where control tokens are looked for in it. */
  #normalizePrompt(part: string, start: number, literal: Literal): PromptText {
    const text = this.#normalize(part);
    if (!this.#normalizedTokens.hasSpecial) return { text, literal: [] };
    if (literal === "everywhere") return { text, literal };
    const places = literal.slice(placeOf(literal, start), placeOf(literal, start + part.length));
    if (places.length === 0) return { text, literal: places };
    // No normalizer changes a private character, so where it comes out is where the place is.
    const mark = privateCharacter([part]);
    const units = part.split("");
    for (const place of places) units[place - start] = mark;
    const marked = this.#normalize(units.join(""));
    return { text, literal: Array.from(marked.matchAll(new RegExp(mark, "g")), ({ index }) => index) };
  }

  #normalize(text: string): string {
    if (this.normalizer === undefined) return text;
    if (text.length > WHOLE_LENGTH_MAX) throw new IndivisibleText(text.length, WHOLE_LENGTH_MAX);
    return this.normalizer(text);
  }

  /** Encodes text without added tokens. */
  *#encodePlain(text: string, isFirst: boolean, emit: (id: number) => void): Generator<Slice, void> {
    const { readsBytes } = this.#pairs;
    let merged = 0;
    for (const piece of this.#pieces(text, isFirst, 0)) {
      if (readsBytes && piece.length > PIECE_LENGTH_MAX) throw new IndivisibleText(piece.length, PIECE_LENGTH_MAX);
      // Short ones count by their characters: most of them were merged before.
      const length = readsBytes && piece.length > COUNTED_LENGTH_MAX ? Buffer.byteLength(piece) : piece.length;
      const isDivided = length > (readsBytes ? PIECE_LENGTH_MAX : UNDIVIDED_LENGTH_MAX) && !this.#pairs.isWhole(piece);
      const parts = isDivided ? this.#divide(readsBytes ? spellBytes(piece) : piece) : [piece];
      for (const part of parts) {
        const partLength = isDivided ? part.length : length;
        if (merged > 0 && merged + partLength > SLICE_LENGTH) {
          yield { merged };
          merged = 0;
        }
        const ids = isDivided ? this.#pairs.encodePart(part) : this.#pairs.encode(part);
        for (const id of ids) emit(id);
        // A part costs something for itself too.
        merged += partLength + 1;
      }
    }
  }

  #divide(piece: string): Iterable<string> {
    this.#borders ??= new Borders(this.#pairs);
    return this.#borders.divide(piece);
  }

  /** The pieces of a text that are merged each for itself, by the stages from this one on. */
  #pieces(text: string, isFirst: boolean, depth: number): Iterable<string> {
    const stage = this.#stages[depth];
    if (stage === undefined) return [text];
    return depth === this.#stages.length - 1
      ? stage(text, isFirst)
      : this.#nestedPieces(stage(text, isFirst), isFirst, depth);
  }

  *#nestedPieces(parts: Iterable<string>, isFirst: boolean, depth: number): Generator<string, void> {
    let isFirstPart = isFirst;
    for (const part of parts) {
      yield* this.#pieces(part, isFirstPart, depth + 1);
      isFirstPart = false;
    }
  }
}

/** Where in an ascending list the first number is that is not below this one. */
function placeOf(list: readonly number[], number: number): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((list[middle] as number) < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a slice did. */
export interface Slice {
  /** Length of the pieces that were merged, and one for each of them. */
  merged: number;
}

const NOTHING_MERGED: Slice = { merged: 0 };

/**
 * Where a piece can be divided without changing its ids: between two characters of the vocabulary that no merge brings together.
 * Every merge joins the last character of its left side to the first one of its right side, so one that is not in the list of such
 * pairs never reaches across. In vocabularies without a pre-tokenizer these are, above all, the beginnings of words.
 */
class Borders {
  /** Pairs of characters that merges bring together: one's code times 2²¹, and the other's. */
  readonly #joined = new Set<number>();
  /** Codes of the characters that are tokens. */
  readonly #known = new Set<number>();
  readonly #isPossible: boolean;

  constructor(pairs: BytePairs) {
    const { texts } = pairs.tokens;
    const firsts = new Int32Array(texts.length);
    const lasts = new Int32Array(texts.length);
    for (const [id, text] of texts.entries()) {
      if (text === undefined) continue;
      const code = text.codePointAt(0) ?? 0;
      firsts[id] = code;
      lasts[id] = codeBefore(text, text.length);
      if (text.length === (code > 0xffff ? 2 : 1)) this.#known.add(code);
    }
    pairs.forEachMerge((left, right) => this.#joined.add(pairOf(lasts[left] as number, firsts[right] as number)));
    // Marks inside words and at their ends would be put into the parts.
    this.#isPossible = !pairs.marksWords;
  }

  /** @throws IndivisibleText. */
  *divide(piece: string): Generator<string, void> {
    let start = 0;
    let before = -1;
    for (let at = 0; at < piece.length; ) {
      const code = piece.codePointAt(at) as number;
      if (before >= 0 && this.#isBorder(before, code)) {
        yield piece.slice(start, at);
        start = at;
      }
      before = code;
      at += code > 0xffff ? 2 : 1;
      if (at - start > PIECE_LENGTH_MAX) throw new IndivisibleText(piece.length - start, PIECE_LENGTH_MAX);
    }
    yield piece.slice(start);
  }

  #isBorder(left: number, right: number): boolean {
    return (
      this.#isPossible && !this.#joined.has(pairOf(left, right)) && this.#known.has(left) && this.#known.has(right)
    );
  }
}

function pairOf(left: number, right: number): number {
  return left * 2 ** 21 + right;
}

/** The code of the character that ends at a place. */
function codeBefore(text: string, end: number): number {
  const whole = text.codePointAt(end - 2) ?? 0;
  return whole > 0xffff ? whole : text.charCodeAt(end - 1);
}
