/**
 * Text to token ids and ids back to bytes, for the tokenizer that travels inside a packed model.
 *
 * The ids are those of Hugging Face's tokenizers. Around them is what a server needs: time that is shared (the text is encoded in
 * slices, encoder.ts, each in a turn of its own, turns.ts), an early end for texts that can't fit the context, and the raw bytes of
 * each id, because an id may hold a part of a character and only a stream of bytes can be decoded without loss.
 */

import { Failure } from "../errors.ts";
import { inside, naming } from "../model_file/config_fields.ts";
import type { PromptText } from "./added_tokens.ts";
import { type Decoder, readDecoder } from "./decoders.ts";
import { Encoder, IndivisibleText, type Slice } from "./encoder.ts";
import { ANSWER_MARKS } from "./marks.ts";
import type { Normalizer } from "./normalizers.ts";
import { readAround } from "./post_processors.ts";
import {
  type AddedToken,
  readTokenizerFiles,
  type TokenizerConfiguration,
  type TokenizerDescription,
  tokenText,
} from "./tokenizer_files.ts";
import { turns } from "./turns.ts";

/** A text with this many times the wanted ids isn't counted any further. */
const GIVE_UP_FACTOR = 4;

/**
 * The ids of a text; or, when there are too many, their number: the exact one, or one that the text has at least; or the length of a
 * part that can't be divided, and how long such a part may be.
 */
export type Encoding = { ids: number[] } | { tooLong: number; isExact: boolean } | Indivisible;

/** How long a part is that can't be divided, and how long such a part may be. */
export interface Indivisible {
  indivisible: number;
  lengthMax: number;
}

/** What is wrong with such a text, as what it has. */
export function describeIndivisible({ indivisible, lengthMax }: Indivisible): string {
  return `${indivisible} characters in a row that this model's tokenizer can't divide; it takes up to ${lengthMax}`;
}

/** A model's tokenizer. Immutable; any number of requests may use it. */
export class Tokenizer {
  /** The text of the beginning-of-text token, empty when the model has none. */
  readonly bosToken: string;
  /** The text of the end-of-text token that tokenizer_config.json names, empty when it names none. */
  readonly eosToken: string;
  /** Most bytes of text that one id stands for: a text of more than count × this many bytes has more than `count` ids. */
  readonly longestTokenBytes: number;
  /** The ids that the tokenizer puts before every plain text, most often that of bosToken or none. */
  readonly beginning: readonly number[];
  /** Those that it puts behind a text which is not to be continued. */
  readonly end: readonly number[];

  /** Tokens that are looked for in every text before anything else. */
  readonly added: readonly AddedToken[];

  /** What a text becomes before it is cut into pieces; undefined: it stays as it is. */
  readonly normalizer: Normalizer | undefined;

  readonly #encoder: Encoder;
  readonly #decoder: Decoder;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #special: Set<number>;

  /** @throws Fault for what is not supported, or wrong. */
  private constructor(description: TokenizerDescription, configuration: TokenizerConfiguration) {
    const added = description.added_tokens;
    this.added = added;
    this.#encoder = new Encoder(description);
    this.normalizer = this.#encoder.normalizer;
    this.#decoder = readDecoder(description.decoder);
    const isControl = ({ special, content }: AddedToken) => special && !ANSWER_MARKS.includes(content);
    this.#special = new Set(added.filter(isControl).map(({ id }) => id));
    for (const [id, token] of this.#encoder.texts.entries()) {
      if (token !== undefined) this.#bytes[id] = this.#decoder.bytesOf(token);
    }
    const encoder = new TextEncoder();
    for (const { id, content, special } of added) {
      // Gemma has runs of ▁ among them, for the spaces of a text as in its vocabulary; names of control tokens are names.
      const isName = special || this.#decoder.readsBytes;
      this.#bytes[id] = isName ? encoder.encode(content) : this.#decoder.bytesOf(content);
    }
    this.longestTokenBytes = this.#bytes.reduce((longest, bytes) => Math.max(longest, bytes?.length ?? 0), 1);
    this.bosToken = tokenText(configuration.bos_token);
    this.eosToken = tokenText(configuration.eos_token);
    const { beginning, end } = readAround(
      description.post_processor,
      (token) => this.#encoder.idOf(token),
      (id) => typeof id === "number" && this.#bytes[id] !== undefined,
    );
    this.beginning = beginning;
    this.end = end;
  }

  /**
   * Reads the tokenizer of a model.
   *
   * @param assets the model's files by name; tokenizer.json must be among them, tokenizer_config.json may be.
   * @param name what to call the model in messages.
   * @param vocabSize ids of the model are below this.
   * @param onNotice called with each thing that a person should know, one line.
   * @throws Failure when a file is missing, is no JSON, or describes a kind of tokenizer that isn't supported.
   */
  static fromAssets(
    assets: ReadonlyMap<string, Uint8Array>,
    name: string,
    vocabSize: number,
    onNotice: (notice: string) => void = () => undefined,
  ): Tokenizer {
    if (!assets.has("tokenizer.json")) {
      throw new Failure(
        `${name}: no tokenizer.json inside; convert the checkpoint again from a directory that has one`,
      );
    }
    try {
      return naming(name, () => {
        const { description, configuration, notices } = readTokenizerFiles(assets, vocabSize);
        for (const notice of notices) onNotice(notice);
        return inside("tokenizer.json", () => new Tokenizer(description, configuration));
      });
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure(`${name}: tokenizer.json can't be used: ${(error as Error).message.split("\n")[0]}`);
    }
  }

  /**
   * The ids of a text, special tokens recognised where the text spells them and is not literal, none added. The event loop goes
   * round between slices.
   *
   * @param text all of it may name special tokens, unless it says otherwise.
   * @param limit most ids wanted. A text with more is counted, but given up when it has several times as many.
   * @param signal ends the work.
   * @throws the signal's reason when it has fired.
   */
  async encode(text: string | PromptText, limit: number, signal?: AbortSignal): Promise<Encoding> {
    const work = this.encodeInSlices(text, limit);
    for (let isFresh = true; ; isFresh = false) {
      await turns.take(isFresh, signal);
      const { done, value } = work.next();
      if (done) return value;
    }
  }

  /** As `encode`, by whoever asks for the slices. */
  *encodeInSlices(given: string | PromptText, limit: number): Generator<Slice, Encoding> {
    const prompt = typeof given === "string" ? { text: given, literal: [] } : given;
    const leastIds = Math.ceil(Buffer.byteLength(prompt.text) / this.longestTokenBytes);
    if (leastIds > limit) return { tooLong: leastIds, isExact: false };
    const ids: number[] = [];
    let count = 0;
    const emit = (id: number) => {
      if (++count <= limit) ids.push(id);
    };
    try {
      for (const slice of this.#encoder.encode(prompt, emit)) {
        if (count > GIVE_UP_FACTOR * limit) return { tooLong: count, isExact: false };
        yield slice;
      }
    } catch (error) {
      if (!(error instanceof IndivisibleText)) throw error;
      return { indivisible: error.length, lengthMax: error.lengthMax };
    }
    return count > limit ? { tooLong: count, isExact: true } : { ids };
  }

  /** The raw bytes of an id, which may be a part of a character; none for an id that the vocabulary lacks. */
  bytes(id: number): Uint8Array {
    return this.#bytes[id] ?? NO_BYTES;
  }

  /** Whether an id is a control token (beginning of text, end of turn, …) that no reader wants to see. */
  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  /** Whether the text is exactly one token of the vocabulary. */
  hasToken(text: string): boolean {
    return this.#encoder.idOf(text) !== undefined;
  }

  /**
   * The text of ids from its beginning, control tokens spelled out. It loses what the decoder takes from the ends of a text, for
   * SentencePiece's kind the space before the first word; the bytes of single ids don't.
   */
  decode(ids: readonly number[]): string {
    const [first, ...rest] = ids;
    if (first === undefined) return "";
    const text = this.#special.has(first) ? undefined : this.#encoder.texts[first];
    const begin = text === undefined ? this.bytes(first) : this.#decoder.firstBytesOf(text);
    const bytes = Buffer.concat([begin, ...rest.map((id) => this.bytes(id))]);
    return this.#decoder.trim(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
  }
}

const NO_BYTES = new Uint8Array(0);
