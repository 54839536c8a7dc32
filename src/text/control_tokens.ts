/**
 * Keeps what people type apart from what a chat template writes. A template makes one text of both, in which a control token that
 * somebody typed looks like the template's own. So one character of each control token in the messages, tools and variables is put in
 * disguise before the template sees them: a private character stands for it that occurs nowhere in them. Afterwards the text gets the
 * characters back, and their places are literal.
 *
 * One character takes the place of one, so templates that measure, trim or cut messages do what they always do.
 */

import { isObject, membersOf, OrderedObject, objectOf } from "../json.ts";
import { AddedTokens, type PromptText } from "./added_tokens.ts";
import { type Normalizer, WHOLE_LENGTH_MAX } from "./normalizers.ts";
import { isPrivate, privateCharacter } from "./private_characters.ts";
import type { AddedToken } from "./tokenizer_files.ts";

/** What a template is given, and the way back from what it makes of it. */
export interface Disguised<Given> {
  given: Given;
  reveal: (rendered: string) => PromptText;
}

/** Control tokens that are looked for in what a normalizer makes of a text. */
interface NormalizedTokens {
  normalize: Normalizer;
  /** As they are then. */
  tokens: AddedTokens;
  /** What becomes of the first character of each. */
  firsts: readonly string[];
}

/** The control tokens of a vocabulary, and the template that writes them. Immutable. */
export class ControlTokens {
  readonly #tokens: AddedTokens;
  readonly #normalized: NormalizedTokens | undefined;
  readonly #template: string;

  /**
   * @param template the template's source, whose characters are its own.
   * @param normalize what texts become before some of the tokens are looked for.
   */
  constructor(tokens: readonly AddedToken[], template: string, normalize: Normalizer | undefined) {
    const control = tokens.filter(({ special }) => special === true);
    this.#tokens = new AddedTokens(control);
    const late = control.filter(({ normalized }) => normalized === true);
    if (normalize !== undefined && late.length > 0) {
      this.#normalized = {
        normalize,
        tokens: new AddedTokens(late.map((token) => ({ ...token, content: normalize(token.content) }))),
        firsts: late.map(({ content }) => normalize([...content.trimStart()][0] ?? "")).filter((first) => first !== ""),
      };
    }
    this.#template = template;
  }

  /**
   * Disguises the control tokens in all strings inside a value, keys among them, and what may be the beginning of one at the end of
   * a string: nothing that follows there can complete it.
   *
   * @param given lists and objects of JSON; anything else inside them is left as it is. It is not changed.
   * @throws NoPrivateCharacter.
   */
  disguise<Given>(given: Given): Disguised<Given> {
    const strings = new Set<string>();
    mapStrings(given, (text) => {
      if (text !== "") strings.add(text);
      return text;
    });
    const places = new Map<string, number[]>();
    for (const text of strings) {
      const found = this.#beginnings(text);
      if (found.length > 0) places.set(text, found);
    }
    if (places.size === 0) return { given, reveal: (text) => ({ text, literal: [] }) };
    const mask = new Mask([this.#template, ...strings]);
    const disguised = mapStrings(given, (text) => mask.cover(text, places.get(text) ?? []));
    return { given: disguised, reveal: (rendered) => mask.reveal(rendered) };
  }

  /** Places, in ascending order, at which a token begins or may begin. */
  #beginnings(text: string): number[] {
    const found = this.#tokens.beginnings(text);
    if (this.#normalized === undefined || text.length > WHOLE_LENGTH_MAX) return found;
    const { normalize, tokens, firsts } = this.#normalized;
    const normal = normalize(text);
    if (normal === text || tokens.beginnings(normal).length === 0) return found;
    // A full-width "<" may have become the one of a token. Where that was can't be told, so none of them stays.
    const begins = new Map<string, boolean>();
    const places = new Set(found);
    let place = 0;
    for (const character of text) {
      const known = begins.get(character);
      const isFirst = known ?? firsts.some((first) => normalize(character).includes(first));
      if (known === undefined) begins.set(character, isFirst);
      if (isFirst) places.add(place);
      place += character.length;
    }
    return [...places].sort((a, b) => a - b);
  }
}

/** Private characters, each in the place of another. */
class Mask {
  readonly #texts: string[];
  readonly #covers = new Map<string, string>();

  /** @param texts in which none of the private characters occurs. */
  constructor(texts: readonly string[]) {
    this.#texts = [...texts];
  }

  /** A text with one character of each token covered: the first that is no white space, which templates may trim. */
  cover(text: string, tokens: readonly number[]): string {
    const parts: string[] = [];
    let end = 0;
    for (const start of tokens) {
      const place = firstGraphic(text, start);
      if (place < end) continue;
      const character = String.fromCodePoint(text.codePointAt(place) as number);
      parts.push(text.slice(end, place), this.#coverOf(character));
      end = place + character.length;
    }
    return parts.join("") + text.slice(end);
  }

  /** A text with the characters that were covered, and their places. There may be very many. */
  reveal(rendered: string): PromptText {
    const characters = new Map(Array.from(this.#covers, ([character, cover]) => [cover.charCodeAt(0), character]));
    // A template may have spelled them as JSON does.
    const escapes = Array.from(characters.keys(), (code) => `\\\\u${code.toString(16)}`).join("|");
    let text = rendered.replace(new RegExp(escapes, "gi"), (spelled) =>
      String.fromCharCode(Number.parseInt(spelled.slice(2), 16)),
    );
    const literal: number[] = [];
    for (let i = 0, shift = 0; i < text.length; i++) {
      const character = isPrivate(text.charCodeAt(i)) ? characters.get(text.charCodeAt(i)) : undefined;
      if (character === undefined) continue;
      literal.push(i + shift);
      shift += character.length - 1;
    }
    for (const [code, character] of characters) {
      text = text.replaceAll(String.fromCharCode(code), character.replaceAll("$", "$$$$"));
    }
    return { text, literal };
  }

  #coverOf(character: string): string {
    const known = this.#covers.get(character);
    if (known !== undefined) return known;
    const cover = privateCharacter(this.#texts);
    this.#texts.push(cover);
    this.#covers.set(character, cover);
    return cover;
  }
}

/** Where the first character at or behind a place is that is no white space; the place itself where there is none. */
function firstGraphic(text: string, place: number): number {
  const code = text.charCodeAt(place);
  return code > 0x20 && code < 0x7f ? place : place + Math.max(0, text.slice(place).search(/\S/));
}

/** A copy of a value with all strings in it mapped; the value itself where that changes nothing. */
function mapStrings<Value>(value: Value, map: (text: string) => string): Value {
  return mapped(value, map) as Value;
}

function mapped(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === "string") return map(value);
  if (Array.isArray(value)) {
    const elements = value.map((element) => mapped(element, map));
    return elements.some((element, i) => element !== value[i]) ? elements : value;
  }
  const members = isPlain(value) ? membersOf(value) : undefined;
  if (members === undefined) return value;
  const changed = members.map(([key, member]) => [map(key), mapped(member, map)] as const);
  return changed.some(([key, member], i) => key !== members[i]?.[0] || member !== members[i]?.[1])
    ? objectOf(changed)
    : value;
}

/** Whether a value is an object of JSON rather than of a class that does something else. */
function isPlain(value: unknown): boolean {
  if (value instanceof OrderedObject) return true;
  return isObject(value) && [Object.prototype, null].includes(Object.getPrototypeOf(value));
}
