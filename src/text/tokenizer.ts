/**
 * Text to token ids and ids back to bytes, for the tokenizer that travels inside a packed model.
 *
 * The ids are those of @huggingface/tokenizers. What this file adds is what a server needs around it: time that is shared (the text
 * is encoded in slices, encoder.ts, each in a turn of its own, turns.ts), an early end for texts that can't fit the context, and the raw
 * bytes of each id, because an id may hold a part of a character and only a stream of bytes can be decoded without loss.
 */

import { BPE, Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { Failure } from "../errors.ts";
import { naming } from "../model_file/config_fields.ts";
import type { PromptText } from "./added_tokens.ts";
import { Encoder, IndivisibleText, type Slice } from "./encoder.ts";
import {
  type AddedToken,
  flatten,
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
export type Encoding =
  | { ids: number[] }
  | { tooLong: number; isExact: boolean }
  | { indivisible: number; lengthMax: number };

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

  /** Tokens that are looked for in every text before anything else. */
  readonly added: readonly AddedToken[];

  readonly #library: HuggingFaceTokenizer;
  readonly #encoder: Encoder;
  readonly #bytes: (Uint8Array | undefined)[];
  readonly #special: Set<number>;

  private constructor(description: TokenizerDescription, configuration: TokenizerConfiguration) {
    // The library looks for each of these among all others, and makes nothing of them that is needed here.
    this.#library = new HuggingFaceTokenizer(description, { ...configuration, additional_special_tokens: [] });
    const { model } = this.#library;
    if (!(model instanceof BPE)) throw new Error("its model is no BPE");
    // The library's cache of words deletes and re-inserts an entry at each hit, which costs over 20 µs in a full JavaScriptCore
    // Map, ten times what encoding the word again costs. No word is short enough for it now.
    model.max_length_to_cache = 0;
    const added = description.added_tokens;
    this.added = added;
    this.#encoder = new Encoder(this.#library, model, added, configuration);
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.#bytes = tableOfBytes(description, added);
    this.longestTokenBytes = this.#bytes.reduce((longest, bytes) => Math.max(longest, bytes?.length ?? 0), 1);
    this.bosToken = tokenText(configuration.bos_token);
    this.eosToken = tokenText(configuration.eos_token);
    this.beginning = this.#findBeginning();
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
      const { description, configuration, notices } = naming(name, () => readTokenizerFiles(assets, vocabSize));
      for (const notice of notices) onNotice(notice);
      return new Tokenizer(description, configuration);
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
    return this.#library.token_to_id(text) !== undefined;
  }

  /** What stands before a text that is encoded with special tokens and not before one that is encoded without. */
  #findBeginning(): number[] {
    const probe = "a";
    const [first] = this.#library.encode(probe, { add_special_tokens: false }).ids;
    const { ids } = this.#library.encode(probe, { add_special_tokens: true });
    return ids.slice(0, Math.max(0, ids.indexOf(first as number)));
  }
}

const NO_BYTES = new Uint8Array(0);

/**
 * The bytes of every id. Two families of vocabulary are known: byte-level (each character of a token stands for one byte) and
 * SentencePiece-like (▁ stands for a space, <0x0A> for a byte, everything else for itself). Names of control tokens stand for themselves.
 */
function tableOfBytes(description: TokenizerDescription, added: AddedToken[]): (Uint8Array | undefined)[] {
  const encoder = new TextEncoder();
  const isByteLevel = flatten(description.decoder).some((stage) => stage.type === "ByteLevel");
  const byteOf = isByteLevel ? byteLevelAlphabet() : undefined;
  const table: (Uint8Array | undefined)[] = [];
  for (const [token, id] of Object.entries(description.model.vocab)) {
    if (byteOf !== undefined) {
      const bytes = Array.from(token, (character) => byteOf.get(character));
      // A token with characters outside the alphabet was put into the vocabulary as plain text.
      table[id] = bytes.includes(undefined) ? encoder.encode(token) : Uint8Array.from(bytes as number[]);
    } else {
      const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
      table[id] =
        byte === undefined ? encoder.encode(token.replaceAll("▁", " ")) : Uint8Array.of(Number.parseInt(byte, 16));
    }
  }
  for (const { id, content, special } of added) {
    // Gemma has runs of ▁ among them, for the spaces of a text as in its vocabulary; names of control tokens are names.
    table[id] = encoder.encode(isByteLevel || special ? content : content.replaceAll("▁", " "));
  }
  return table;
}

/** GPT-2's alphabet: printable Latin-1 characters stand for their own code, the other bytes for the characters from U+0100 on. */
function byteLevelAlphabet(): Map<string, number> {
  const alphabet = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet.set(String.fromCharCode(isPrintable ? byte : next++), byte);
  }
  return alphabet;
}
