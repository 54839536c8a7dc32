/**
 * Text to token ids in slices of bounded time and memory, with the ids that @huggingface/tokenizers has for the whole text.
 *
 * The library works on a whole text in one go: it finds added tokens, splits what lies between them into pieces by the pre-tokenizer's
 * patterns, and merges the characters of each piece. Here its own parts do the same work bit by bit: matches of a pattern are taken
 * one after the other from the whole text, so that each piece is the one that the library would get. A piece that is too long is
 * merged in parts if there are places in it that no merge reaches across. Otherwise the text is refused.
 */

import {
  type BPE,
  ByteLevelPreTokenizer,
  type Tokenizer as Library,
  type PreTokenizer,
  SequencePreTokenizer,
  SplitPreTokenizer,
} from "@huggingface/tokenizers";
import { AddedTokens, type Literal, type PromptText } from "./added_tokens.ts";
import { privateCharacter } from "./private_characters.ts";
import type { AddedToken, TokenizerConfiguration } from "./tokenizer_files.ts";

/** What one slice merges, in bytes for vocabularies of bytes and in UTF-16 code units for others: some ten milliseconds. */
export const SLICE_LENGTH = 16_384;

/** The longest piece, in the same unit, that is merged in one go. It is a slice of its own, and merging takes 350 times its memory. */
export const PIECE_LENGTH_MAX = 32_768;

/** The longest text, in UTF-16 code units, for the normalizers and pre-tokenizers that only work on a whole: some 100 milliseconds. */
const WHOLE_LENGTH_MAX = 1_048_576;

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

/** One step of the pre-tokenizer: what it makes of a text, one by one. */
type Stage = (text: string, isFirst: boolean) => Iterable<string>;

/** A tokenizer's way from text to ids. Immutable; any number of texts may be encoded at once. */
export class Encoder {
  readonly #library: Library;
  readonly #model: BPE;
  readonly #tokens: AddedTokens;
  /** Those that are looked for after the normalizer has changed the text. */
  readonly #normalizedTokens: AddedTokens;
  readonly #stages: Stage[];
  readonly #configuration: TokenizerConfiguration;
  #borders: Borders | undefined;

  constructor(library: Library, model: BPE, added: readonly AddedToken[], configuration: TokenizerConfiguration) {
    this.#library = library;
    this.#model = model;
    this.#configuration = configuration;
    const { normalizer } = library;
    const isNormalized = ({ normalized, special }: AddedToken) => normalized ?? !special;
    this.#tokens = new AddedTokens(added.filter((token) => !isNormalized(token)));
    this.#normalizedTokens = new AddedTokens(
      added
        .filter(isNormalized)
        .map((token) => ({ ...token, content: normalizer?.normalize(token.content) ?? token.content })),
    );
    this.#stages = flatten(library.pre_tokenizer).map(stageOf);
  }

  /**
   * Encodes a text, without the special tokens that a post-processor would add.
   *
   * @param emit takes each id, in order.
   * @yields after each slice of work.
   * @throws IndivisibleText.
   */
  *encode({ text, literal }: PromptText, emit: (id: number) => void): Generator<Slice, void> {
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
    const places = literal.filter((place) => place >= start && place < start + part.length);
    if (places.length === 0) return { text, literal: places };
    // No normalizer changes a private character, so where it comes out is where the place is.
    const mark = privateCharacter([part]);
    const units = part.split("");
    for (const place of places) units[place - start] = mark;
    const marked = this.#normalize(units.join(""));
    return { text, literal: Array.from(marked.matchAll(new RegExp(mark, "g")), ({ index }) => index) };
  }

  #normalize(text: string): string {
    const { normalizer } = this.#library;
    const { remove_space: trims, do_lowercase_and_remove_accent: flattens } = this.#configuration;
    if (normalizer === null && trims !== true && flattens !== true) return text;
    if (text.length > WHOLE_LENGTH_MAX) throw new IndivisibleText(text.length, WHOLE_LENGTH_MAX);
    let normalized = text;
    if (trims === true) normalized = normalized.trim().split(/\s+/).join(" ");
    if (flattens === true) normalized = normalized.toLowerCase().replace(/\p{M}/gu, "");
    return normalizer === null ? normalized : normalizer.normalize(normalized);
  }

  /** Encodes text without added tokens. */
  *#encodePlain(text: string, isFirst: boolean, emit: (id: number) => void): Generator<Slice, void> {
    const { tokens_to_ids: ids, unk_token_id: unknown, fuse_unk: fusesUnknown } = this.#model;
    let pieces: string[] = [];
    let length = 0;
    let last: number | undefined;
    const merge = () => {
      for (const token of this.#model(pieces)) {
        const id = (ids.get(token) ?? unknown) as number;
        // The library makes one of unknown tokens that follow each other, which it can't do across two calls.
        if (fusesUnknown && id === unknown && last === unknown) continue;
        last = id;
        emit(id);
      }
      pieces = [];
      length = 0;
    };
    for (const piece of this.#pieces(text, isFirst, 0)) {
      if (pieces.length > 0 && length + piece.length > SLICE_LENGTH) {
        const merged = length;
        merge();
        yield { merged };
      }
      pieces.push(piece);
      // A piece costs something for itself too.
      length += piece.length + 1;
    }
    merge();
  }

  /** The pieces of a text that are merged each for itself, none of them too long. */
  *#pieces(text: string, isFirst: boolean, depth: number): Generator<string, void> {
    const stage = this.#stages[depth];
    if (stage === undefined) {
      if (text.length <= PIECE_LENGTH_MAX) yield text;
      else yield* this.#divide(text);
      return;
    }
    for (const part of stage(text, isFirst)) yield* this.#pieces(part, isFirst, depth + 1);
  }

  *#divide(piece: string): Generator<string, void> {
    this.#borders ??= new Borders(this.#model);
    yield* this.#borders.divide(piece);
  }
}

/** What a slice did. */
export interface Slice {
  /** Length of the pieces that were merged, and one for each of them. */
  merged: number;
}

const NOTHING_MERGED: Slice = { merged: 0 };

/** The stages of a pre-tokenizer, those inside a sequence one by one. */
function flatten(preTokenizer: PreTokenizer | null): PreTokenizer[] {
  if (preTokenizer === null) return [];
  return preTokenizer instanceof SequencePreTokenizer ? preTokenizer.tokenizers.flatMap(flatten) : [preTokenizer];
}

function stageOf(preTokenizer: PreTokenizer): Stage {
  if (preTokenizer instanceof SplitPreTokenizer && preTokenizer.pattern !== null) {
    const { pattern, config } = preTokenizer;
    if (config.invert) return (text) => matches(text, pattern);
    if (config.behavior?.toLowerCase() !== "removed") return (text) => matchesAndRests(text, pattern);
  }
  if (preTokenizer instanceof ByteLevelPreTokenizer) {
    const { pattern, use_regex, add_prefix_space } = preTokenizer;
    const spell = new ByteLevelPreTokenizer({ type: "ByteLevel", use_regex: false, add_prefix_space: false });
    return function* (text) {
      const prefixed = add_prefix_space && !text.startsWith(" ") ? ` ${text}` : text;
      for (const piece of use_regex ? matches(prefixed, pattern) : [prefixed]) {
        if (piece.length > PIECE_LENGTH_MAX) throw new IndivisibleText(piece.length, PIECE_LENGTH_MAX);
        yield* spell.pre_tokenize_text(piece);
      }
    };
  }
  return (text, isFirst) => {
    if (text.length > WHOLE_LENGTH_MAX) throw new IndivisibleText(text.length, WHOLE_LENGTH_MAX);
    return preTokenizer.pre_tokenize(text, { section_index: isFirst ? 0 : 1 });
  };
}

function* matches(text: string, pattern: RegExp): Generator<string, void> {
  for (const [match] of text.matchAll(pattern)) if (match !== "") yield match;
}

function* matchesAndRests(text: string, pattern: RegExp): Generator<string, void> {
  let end = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (end < index) yield text.slice(end, index);
    if (match !== "") yield match;
    end = index + match.length;
  }
  if (end < text.length) yield text.slice(end);
}

/**
 * Where a piece can be divided without changing its ids: between two characters of the vocabulary that no merge brings together.
 * Every merge joins the last character of its left side to the first one of its right side, so one that is not in the list of such
 * pairs never reaches across. In vocabularies without a pre-tokenizer these are, above all, the beginnings of words.
 */
class Borders {
  readonly #model: BPE;
  /** Pairs of characters that merges bring together. */
  readonly #joined: ReadonlySet<string>;
  /** A part that is longer can't be a token: the library would look a shorter one up as a whole. */
  readonly #partLengthMin: number;
  readonly #isPossible: boolean;

  constructor(model: BPE) {
    this.#model = model;
    this.#joined = new Set(model.merges.map(([left, right]) => lastCharacter(left) + firstCharacter(right)));
    let longest = 0;
    for (const token of model.tokens_to_ids.keys()) longest = Math.max(longest, token.length);
    this.#partLengthMin = longest + 1;
    // Marks at the ends of words would be put at the ends of the parts.
    this.#isPossible = !model.end_of_word_suffix && !model.continuing_subword_suffix;
  }

  /** @throws IndivisibleText. */
  *divide(piece: string): Generator<string, void> {
    let start = 0;
    while (piece.length - start > SLICE_LENGTH) {
      let end = Math.min(start + SLICE_LENGTH, piece.length - this.#partLengthMin);
      while (end >= start + this.#partLengthMin && !this.#isBorder(piece, end)) end--;
      if (end < start + this.#partLengthMin) {
        if (piece.length - start <= PIECE_LENGTH_MAX) break;
        throw new IndivisibleText(piece.length - start, PIECE_LENGTH_MAX);
      }
      yield piece.slice(start, end);
      start = end;
    }
    yield piece.slice(start);
  }

  #isBorder(piece: string, at: number): boolean {
    if (!this.#isPossible) return false;
    const left = lastCharacter(piece.slice(Math.max(0, at - 2), at));
    const right = firstCharacter(piece.slice(at, at + 2));
    const { tokens_to_ids: ids } = this.#model;
    return ids.has(left) && ids.has(right) && !this.#joined.has(left + right);
  }
}

function firstCharacter(text: string): string {
  return String.fromCodePoint(text.codePointAt(0) ?? 0);
}

function lastCharacter(text: string): string {
  const last = text.slice(-2);
  return last.length === 2 && (last.codePointAt(0) as number) > 0xffff ? last : last.slice(-1);
}
