/**
 * Finds added tokens in a text, as Hugging Face's tokenizers do: the leftmost first, of those that begin at one place the longest.
 *
 * Control tokens are only found where the text is not literal. What people type into messages is, so that nobody ends a turn by
 * spelling the token that does.
 */

import type { AddedToken } from "./tokenizer_files.ts";
import { spacesAfter, spacesBefore } from "./white_space.ts";

/**
 * Where control tokens are read as the characters that spell them: everywhere, or wherever they would hold one of these places, in
 * UTF-16 code units, in ascending order.
 */
export type Literal = "everywhere" | readonly number[];

/** A text in which some control tokens, or all, are only characters. */
export interface PromptText {
  text: string;
  literal: Literal;
}

/** A part of a text: an added token, or what lies between two. */
export interface Section {
  token: AddedToken | undefined;
  start: number;
  end: number;
}

/** Code units that are searched in one go: a few milliseconds. */
const SEARCH_LENGTH = 131_072;

/** A node of the trie. */
interface TrieNode {
  next: Map<number, TrieNode>;
  token?: AddedToken;
}

/** A set of added tokens. Immutable. */
export class AddedTokens {
  /** Whether any of them is a control token. */
  readonly hasSpecial: boolean;
  readonly #root: TrieNode = { next: new Map() };
  /** By code unit: whether a token begins with it. */
  readonly #begins = new Uint8Array(65_536);

  /** Tokens without text are never found. */
  constructor(tokens: readonly AddedToken[]) {
    this.hasSpecial = tokens.some(({ special }) => special === true);
    for (const token of tokens) {
      if (token.content === "") continue;
      this.#begins[token.content.charCodeAt(0)] = 1;
      let node = this.#root;
      for (let i = 0; i < token.content.length; i++) {
        const unit = token.content.charCodeAt(i);
        const next: TrieNode = node.next.get(unit) ?? { next: new Map() };
        node.next.set(unit, next);
        node = next;
      }
      node.token = token;
    }
  }

  /**
   * The tokens in a text and what lies between them, less the white space that a token takes along.
   *
   * @yields undefined when a while went by without any.
   */
  *sections(text: string, literal: Literal): Generator<Section | undefined, void> {
    const isLiteral = literalPlaces(literal);
    let start = 0;
    let pause = SEARCH_LENGTH;
    for (let i = 0; i < text.length; ) {
      if (i >= pause) {
        yield undefined;
        pause = i + SEARCH_LENGTH;
      }
      const found = this.#begins[text.charCodeAt(i)] === 1 ? this.#at(text, i, isLiteral) : undefined;
      if (found === undefined) {
        i++;
        continue;
      }
      const { token, end } = found;
      if (token.single_word && !isSingleWord(text, i, end)) {
        i = end;
        continue;
      }
      const from = token.lstrip ? Math.max(start, spacesBefore(text, i)) : i;
      if (start < from) yield { token: undefined, start, end: from };
      start = token.rstrip ? spacesAfter(text, end) : end;
      yield { token, start: from, end: start };
      i = end;
    }
    if (start < text.length) yield { token: undefined, start, end: text.length };
  }

  /** Places, in ascending order, at which a token begins, or the text ends with what may be the beginning of one. */
  beginnings(text: string): number[] {
    const places: number[] = [];
    const last = text.trimEnd().length;
    for (let i = 0; i < text.length; i++) {
      if (this.#begins[text.charCodeAt(i)] !== 1) continue;
      let node: TrieNode | undefined = this.#root;
      for (let end = i; ; end++) {
        if (node.token !== undefined || (end > i && (end === last || end === text.length))) {
          places.push(i);
          break;
        }
        node = node.next.get(text.charCodeAt(end));
        if (node === undefined) break;
      }
    }
    return places;
  }

  #at(
    text: string,
    start: number,
    isLiteral: (start: number, end: number) => boolean,
  ): { token: AddedToken; end: number } | undefined {
    let node = this.#root.next.get(text.charCodeAt(start));
    let found: { token: AddedToken; end: number } | undefined;
    for (let end = start + 1; node !== undefined; end++) {
      const { token } = node;
      if (token !== undefined && !(token.special && isLiteral(start, end))) found = { token, end };
      node = node.next.get(text.charCodeAt(end));
    }
    return found;
  }
}

/** Tells whether a range holds a literal place; the ranges that are asked for begin in ascending order. */
function literalPlaces(literal: Literal): (start: number, end: number) => boolean {
  if (literal === "everywhere") return () => true;
  let next = 0;
  return (start, end) => {
    while ((literal[next] ?? start) < start) next++;
    return (literal[next] ?? end) < end;
  };
}

const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

function isSingleWord(text: string, start: number, end: number): boolean {
  return !WORD_BEFORE.test(text.slice(Math.max(0, start - 2), start)) && !WORD_AFTER.test(text.slice(end, end + 2));
}
