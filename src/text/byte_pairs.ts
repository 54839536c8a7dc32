/**
 * Byte-pair encoding, as Hugging Face's tokenizers do it: the characters of a piece are tokens, and the two neighbours whose merge
 * stands first in the list become one, the leftmost first, until none can.
 */

import { Fault, printable } from "../model_file/config_fields.ts";
import { byteCharacters, spellBytes } from "./byte_alphabet.ts";
import { TokenIndex } from "./token_index.ts";
import { type AddedToken, mergeParts, type Vocabulary } from "./tokenizer_files.ts";

/** Pieces whose ids are kept until there are more, and the longest of them in UTF-16 code units: the words of most texts. */
const CACHED_PIECES_MAX = 16_384;
const CACHED_LENGTH_MAX = 48;

/** Tokens of a piece up to which the next merge is looked for among all; a queue is quicker for more. */
const SCANNED_MAX = 96;

/** Positions in a queue's entries. */
const POSITIONS = 2 ** 21;

/** A vocabulary's merges at work. Immutable but for what it remembers. */
export class BytePairs {
  /** All tokens of the vocabulary. */
  readonly tokens: TokenIndex;
  /** Whether pieces are given as text of which the bytes are merged. */
  readonly readsBytes: boolean;
  /** Whether a character is another token inside a word, or at its end. */
  readonly marksWords: boolean;
  readonly #merges: PairTable;
  readonly #settings: Omit<Vocabulary, "vocab" | "merges">;
  readonly #unknown: number | undefined;
  /** The token of each byte; undefined when there is more to it. */
  readonly #byteIds: Int32Array | undefined;
  /** The tokens <0x00> to <0xFF>, -1 for one that is missing. */
  readonly #fallbackIds: Int32Array | undefined;
  readonly #pieces = new Map<string, readonly number[]>();
  readonly #parts = new Map<string, readonly number[]>();
  #work = new Int32Array(0);

  /**
   * @param added may hold the unknown token.
   * @throws Fault when a merge has parts that are no tokens.
   */
  constructor(model: Vocabulary, added: readonly AddedToken[], readsBytes: boolean) {
    const { vocab: _, merges: __, ...settings } = model;
    this.#settings = settings;
    this.readsBytes = readsBytes;
    this.tokens = new TokenIndex(model.vocab);
    this.#merges = readMerges(model, this.tokens);
    const unknown = model.unk_token ?? "";
    this.#unknown = this.tokens.find(unknown) ?? added.find(({ content }) => content === unknown)?.id;
    const idsOf = (names: readonly string[]) => Int32Array.from(names, (name) => this.tokens.find(name) ?? -1);
    this.marksWords = Boolean(model.continuing_subword_prefix) || Boolean(model.end_of_word_suffix);
    const all = readsBytes && !this.marksWords ? idsOf(byteCharacters) : undefined;
    this.#byteIds = all?.includes(-1) ? undefined : all;
    this.#fallbackIds = model.byte_fallback
      ? idsOf(Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`))
      : undefined;
  }

  /** The ids of a piece. */
  encode(piece: string): readonly number[] {
    return remembered(this.#pieces, piece, () => this.#encodeAnew(piece));
  }

  /** The ids of a part of a piece, whose bytes are spelled already. */
  encodePart(part: string): readonly number[] {
    return remembered(this.#parts, part, () => this.#mergeAll(this.#charactersOf(part)));
  }

  /** Calls back with the ids of each two tokens that a merge joins, in no order. */
  forEachMerge(use: (left: number, right: number) => void): void {
    this.#merges.forEach(use);
  }

  /** Whether a piece is a token whatever merges would make of it. */
  isWhole(piece: string): boolean {
    return this.#settings.ignore_merges === true && this.tokens.find(piece) !== undefined;
  }

  #encodeAnew(piece: string): number[] {
    if (this.#settings.ignore_merges) {
      const whole = this.tokens.find(this.readsBytes ? spellBytes(piece) : piece);
      if (whole !== undefined) return [whole];
    }
    const byteIds = this.#byteIds;
    if (byteIds !== undefined) return this.#mergeAll(Array.from(Buffer.from(piece), (byte) => byteIds[byte] as number));
    return this.#mergeAll(this.#charactersOf(this.readsBytes ? spellBytes(piece) : piece));
  }

  /** The tokens of single characters, with the marks inside and at the end of words, bytes for what is unknown, or the unknown. */
  #charactersOf(piece: string): number[] {
    const { continuing_subword_prefix: prefix, end_of_word_suffix: suffix, fuse_unk: fuses } = this.#settings;
    const tokens: number[] = [];
    // An unknown token waits for others, even behind bytes.
    let waiting: number | undefined;
    let at = 0;
    for (const character of piece) {
      let text = character;
      if (at > 0 && prefix) text = prefix + text;
      at += character.length;
      if (at === piece.length && suffix) text += suffix;
      const id = this.tokens.find(text);
      if (id !== undefined) {
        if (waiting !== undefined) tokens.push(waiting);
        waiting = undefined;
        tokens.push(id);
        continue;
      }
      const bytes = this.#bytesOf(text);
      if (bytes !== undefined) {
        tokens.push(...bytes);
        continue;
      }
      if (this.#unknown === undefined) continue;
      if (waiting !== undefined && !fuses) tokens.push(waiting);
      waiting = this.#unknown;
    }
    if (waiting !== undefined) tokens.push(waiting);
    return tokens;
  }

  #bytesOf(text: string): number[] | undefined {
    const fallback = this.#fallbackIds;
    if (fallback === undefined) return undefined;
    const ids = Array.from(Buffer.from(text), (byte) => fallback[byte] as number);
    return ids.includes(-1) ? undefined : ids;
  }

  #mergeAll(tokens: number[]): number[] {
    return tokens.length <= SCANNED_MAX ? this.#mergeScanning(tokens) : this.#mergeQueueing(tokens);
  }

  /** Looks through all neighbours for each merge. */
  #mergeScanning(tokens: number[]): number[] {
    const merges = this.#merges;
    // Of each token and its right neighbour: where the merge is, and its rank.
    const places: number[] = [];
    for (let i = 0; i + 1 < tokens.length; i++) places.push(merges.find(tokens[i] as number, tokens[i + 1] as number));
    for (;;) {
      let best = -1;
      let bestRank = Number.POSITIVE_INFINITY;
      for (let i = 0; i < places.length; i++) {
        const place = places[i] as number;
        if (place < 0) continue;
        const rank = merges.rank(place);
        if (rank < bestRank) {
          best = i;
          bestRank = rank;
        }
      }
      if (best < 0) return tokens;
      tokens[best] = merges.id(places[best] as number);
      tokens.splice(best + 1, 1);
      places.splice(best, 1);
      if (best > 0) places[best - 1] = merges.find(tokens[best - 1] as number, tokens[best] as number);
      if (best < places.length) places[best] = merges.find(tokens[best] as number, tokens[best + 1] as number);
    }
  }

  /** Keeps the merges that are possible in a queue, by rank and position. */
  #mergeQueueing(tokens: number[]): number[] {
    const merges = this.#merges;
    const { length } = tokens;
    if (this.#work.length < 2 * length) this.#work = new Int32Array(2 * length);
    const next = this.#work.subarray(0, length);
    const previous = this.#work.subarray(length, 2 * length);
    const queue = new Queue(3 * length);
    const offer = (position: number, right: number) => {
      const place = merges.find(tokens[position] as number, tokens[right] as number);
      if (place >= 0) queue.push(merges.rank(place) * POSITIONS + position);
    };
    for (let i = 0; i < length; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      if (i + 1 < length) offer(i, i + 1);
    }
    for (let entry = queue.pop(); entry >= 0; entry = queue.pop()) {
      const position = entry % POSITIONS;
      const right = next[position] as number;
      // What was merged away is -1, and has no merges.
      if (right >= length) continue;
      const place = merges.find(tokens[position] as number, tokens[right] as number);
      if (place < 0 || merges.rank(place) !== Math.floor(entry / POSITIONS)) continue;
      tokens[position] = merges.id(place);
      tokens[right] = -1;
      const after = next[right] as number;
      next[position] = after;
      if (after < length) {
        previous[after] = position;
        offer(position, after);
      }
      const before = previous[position] as number;
      if (before >= 0) offer(before, position);
    }
    return tokens.filter((token) => token >= 0);
  }
}

/** What was made for a text before, or is made now. */
function remembered(
  known: Map<string, readonly number[]>,
  text: string,
  make: () => readonly number[],
): readonly number[] {
  const ids = known.get(text);
  if (ids !== undefined) return ids;
  const made = make();
  if (text.length <= CACHED_LENGTH_MAX) {
    // The oldest are mostly the most frequent ones, which come again at once.
    if (known.size >= CACHED_PIECES_MAX) known.clear();
    known.set(text, made);
  }
  return made;
}

/** Two tokens to their merge: its rank and the token that it makes. */
class PairTable {
  /** Left, right, rank and id of each entry; the left of an empty one is -1. */
  readonly #entries: Int32Array;
  readonly #mask: number;

  /** @param count most pairs that it will hold. */
  constructor(count: number) {
    const capacity = 2 ** Math.ceil(Math.log2(2 * count + 2));
    this.#mask = capacity - 1;
    this.#entries = new Int32Array(4 * capacity).fill(-1);
  }

  set(left: number, right: number, rank: number, id: number): void {
    const entries = this.#entries;
    const place = this.#placeOf(left, right);
    entries[place] = left;
    entries[place + 1] = right;
    entries[place + 2] = rank;
    entries[place + 3] = id;
  }

  /** Where the merge of two tokens is; -1 for none. */
  find(left: number, right: number): number {
    const place = this.#placeOf(left, right);
    return this.#entries[place] === -1 ? -1 : place;
  }

  forEach(use: (left: number, right: number) => void): void {
    const entries = this.#entries;
    for (let place = 0; place < entries.length; place += 4) {
      if (entries[place] !== -1) use(entries[place] as number, entries[place + 1] as number);
    }
  }

  rank(place: number): number {
    return this.#entries[place + 2] as number;
  }

  id(place: number): number {
    return this.#entries[place + 3] as number;
  }

  #placeOf(left: number, right: number): number {
    const entries = this.#entries;
    let slot = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    slot ^= slot >>> 15;
    for (; ; slot++) {
      const place = (slot & this.#mask) * 4;
      const found = entries[place];
      if (found === -1 || (found === left && entries[place + 1] === right)) return place;
    }
  }
}

/** The least number first. */
class Queue {
  readonly #heap: Float64Array;
  #length = 0;

  /** @param count most numbers that it will ever be given. */
  constructor(count: number) {
    this.#heap = new Float64Array(count);
  }

  push(entry: number): void {
    const heap = this.#heap;
    let i = this.#length++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if ((heap[parent] as number) <= entry) break;
      heap[i] = heap[parent] as number;
      i = parent;
    }
    heap[i] = entry;
  }

  /** Takes the least; -1 when there is none. */
  pop(): number {
    if (this.#length === 0) return -1;
    const heap = this.#heap;
    const least = heap[0] as number;
    const last = heap[--this.#length] as number;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.#length) break;
      if (child + 1 < this.#length && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) >= last) break;
      heap[i] = heap[child] as number;
      i = child;
    }
    heap[i] = last;
    return least;
  }
}

function readMerges({ merges, continuing_subword_prefix: prefix }: Vocabulary, tokens: TokenIndex): PairTable {
  const table = new PairTable(merges.length);
  // Vocabularies are numbered in the order of their merges, so what a merge makes is mostly the last one's token or the next.
  let last = 0;
  for (const [rank, merge] of merges.entries()) {
    const [leftId, rightId] = partIds(merge, tokens);
    if (leftId === undefined || rightId === undefined) {
      const part = mergeParts(merge)[leftId === undefined ? 0 : 1];
      throw new Fault(`model.merges holds '${printable(part)}', which is no token of the vocabulary`);
    }
    const left = tokens.texts[leftId] as string;
    const right = tokens.texts[rightId] as string;
    const rest = prefix ? right.slice(prefix.length) : right;
    const guess = isJoined(tokens.texts[last], left, rest) ? last : last + 1;
    const id = isJoined(tokens.texts[guess], left, rest) ? guess : tokens.find(left + rest);
    if (id === undefined) {
      throw new Fault(
        `model.merges joins '${printable(left)}' and '${printable(right)}' to what is no token of the vocabulary`,
      );
    }
    table.set(leftId, rightId, rank, id);
    last = id;
  }
  return table;
}

/** The ids of a merge's two texts. */
function partIds(merge: unknown, tokens: TokenIndex): (number | undefined)[] {
  const space = typeof merge === "string" ? merge.indexOf(" ") : -1;
  if (typeof merge === "string" && space >= 0 && !merge.includes(" ", space + 1)) {
    return [tokens.find(merge, 0, space), tokens.find(merge, space + 1)];
  }
  return mergeParts(merge).map((part) => tokens.find(part));
}

function isJoined(text: string | undefined, left: string, right: string): boolean {
  return text?.length === left.length + right.length && text.startsWith(left) && text.endsWith(right);
}
