/**
 * Tokenizing strangers' texts: in slices of bounded work whatever the text, with the ids that Hugging Face's tokenizers have for the
 * whole, in turns with everybody else's, and given up when the client leaves. The clock plays no part here: what is asserted is the longest slice.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { PIECE_LENGTH_MAX, SLICE_LENGTH } from "../src/text/encoder.ts";
import { type Encoding, Tokenizer } from "../src/text/tokenizer.ts";
import { Turns } from "../src/text/turns.ts";
import { decodeAll } from "./support/decoding.ts";
import {
  bytes,
  sentencePieces,
  sequence,
  spacesToMarks,
  split,
  byteLevel as tiny,
} from "./support/tokenizer_components.ts";
import { complete } from "./support/tokenizer_references.ts";

setDefaultTimeout(60_000);

function tokenizerOf(description: object): Tokenizer {
  return Tokenizer.fromAssets(new Map([["tokenizer.json", Buffer.from(JSON.stringify(description))]]), "test", 2048);
}

/** Hugging Face's tokenizers, where npm has a build of them for this machine. */
const reference = await import("@anush008/tokenizers").catch(() => undefined);

if (reference === undefined) {
  console.log("skipped: @anush008/tokenizers has no build for this machine; on x86-64 Linux 'bun install' brings it");
}

/** The ids that they have for a text. */
async function referenceIds(description: object): Promise<(text: string) => Promise<string>> {
  const tokenizer = (reference as NonNullable<typeof reference>).Tokenizer.fromString(complete(description));
  return async (text) =>
    (await tokenizer.encode(text.toWellFormed(), null, { addSpecialTokens: false })).getIds().join();
}

/** Encodes a text, and says how much the longest slice and all of them merged. */
function encodeInSlices(tokenizer: Tokenizer, text: string, limit = 1e9) {
  const work = tokenizer.encodeInSlices(text, limit);
  let longest = 0;
  let all = 0;
  for (let next = work.next(); ; next = work.next()) {
    if (next.done) return { encoding: next.value as Encoding, longest, all };
    longest = Math.max(longest, next.value.merged);
    all += next.value.merged;
  }
}

/** Tokenizers of the families that there are, and some that only the format allows. */
const kinds: Record<string, object> = {
  "Llama 3": tiny,
  "GPT-2": { ...tiny, pre_tokenizer: bytes(true) },
  "GPT-2 with a space before each text": { ...tiny, pre_tokenizer: bytes(true, true) },
  Qwen: { ...tiny, normalizer: { type: "NFC" }, model: { ...tiny.model, ignore_merges: false } },
  DeepSeek: {
    ...tiny,
    pre_tokenizer: sequence(
      split("\\p{N}{1,3}"),
      split("[一-龥]+"),
      { type: "Digits", individual_digits: true },
      bytes(true),
    ),
  },
  "matches instead of rests": {
    ...tiny,
    pre_tokenizer: sequence(split("\\S+|\\s+", "Removed", true), bytes(false)),
  },
  "matches removed": { ...tiny, pre_tokenizer: sequence(split("[ \\n]", "Removed"), bytes(false)) },
  "tokens that take white space along": {
    ...tiny,
    added_tokens: tiny.added_tokens.map((token: object, i: number) => ({
      ...token,
      lstrip: i % 2 === 0,
      rstrip: i % 3 === 0,
    })),
  },
  "Llama 2": {
    ...sentencePieces(),
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spacesToMarks] },
  },
  "Gemma, whole words in the vocabulary": {
    ...sentencePieces({ ignore_merges: true }),
    normalizer: spacesToMarks,
    pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
  },
  "marks by a pre-tokenizer, unknown characters": {
    ...sentencePieces({ byte_fallback: false }),
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false },
  },
};

const word = fc.constantFrom(
  ...[
    "word",
    " the",
    " cat's",
    "I'LL",
    " ",
    "   ",
    "\n",
    "\r\n",
    "\t",
    "1",
    "2345",
    ", ",
    "...",
    "é",
    "e\u0301",
    "日本",
  ],
  ...[
    "🚀",
    "👩‍👩‍👧",
    "\0",
    "\ufeff",
    "\ud83d",
    "<|eot_id|>",
    "<|",
    " <s> ",
    "<unk>",
    "ab",
    " abc",
    "a e",
    "xxxxxxxx",
    "cde",
  ],
);
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.array(word, { maxLength: 80 }).map((words) => words.join("")),
  // Several slices long.
  fc.array(word, { minLength: 20, maxLength: 60 }).map((words) => words.join("").repeat(400).slice(0, 50_000)),
);

describe("slices", () => {
  const withReference = test.skipIf(reference === undefined);

  withReference.each(Object.keys(kinds))("have the ids of the whole: %s", async (name) => {
    const description = kinds[name] as object;
    const tokenizer = tokenizerOf(description);
    const idsOf = await referenceIds(description);
    let encoded = 0;
    await fc.assert(
      fc.asyncProperty(anyText, async (text) => {
        const { encoding, longest } = encodeInSlices(tokenizer, text);
        expect(longest).toBeLessThanOrEqual(PIECE_LENGTH_MAX + 1);
        if (!("ids" in encoding)) return;
        encoded++;
        // Compared as a whole: these are long.
        expect(encoding.ids.join()).toBe(await idsOf(text));
      }),
      { numRuns: 30 },
    );
    expect(encoded).toBeGreaterThan(15);
  });

  withReference("words without a pre-tokenizer are divided where no merge reaches across", async () => {
    const description = kinds["Llama 2"] as object;
    const text = "abc ab  de é xxxxx ".repeat(4000);
    const { encoding, longest } = encodeInSlices(tokenizerOf(description), text);
    expect(longest).toBeLessThanOrEqual(SLICE_LENGTH + 1);
    expect((encoding as { ids: number[] }).ids.join()).toBe(await (await referenceIds(description))(text));
  });

  const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const drawn = (alphabet: string) => (length: number) => {
    const characters = [...alphabet];
    let state = 1;
    let text = "";
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      text += characters[Math.floor((state / 2 ** 32) * characters.length)];
    }
    return text;
  };

  test.each<[string, (length: number) => string, "divided" | "refused"]>([
    ["letters", drawn(letters), "refused"],
    ["one letter", (length) => "a".repeat(length), "refused"],
    ["spaces", (length) => " ".repeat(length), "refused"],
    ["spaces before new lines", (length) => " \n".repeat(length / 2), "refused"],
    ["Chinese without marks", drawn("的一是在不了有和人这中大为上个国我以要他"), "refused"],
    ["beginnings of special tokens", (length) => "<|reserved_special_token_".repeat(length / 25), "divided"],
    ["base64", drawn(`${letters}0123456789+/`), "divided"],
    ["numbers with commas", (length) => "1234567,".repeat(length / 8), "divided"],
    ["Chinese with marks", drawn("的一是，在不了。"), "divided"],
  ])("of megabytes without places to cut are no longer than others: %s", (_, make, outcome) => {
    const tokenizer = tokenizerOf(tiny);
    if (outcome === "refused") {
      const { encoding, longest } = encodeInSlices(tokenizer, make(7_000_000));
      expect(longest).toBe(0);
      expect(encoding).toEqual({ indivisible: expect.any(Number), lengthMax: PIECE_LENGTH_MAX });
    } else {
      // Given up after a while, or the test would take as long as the work.
      const text = make(2_000_000);
      const limit = Math.ceil(Buffer.byteLength(text) / tokenizer.longestTokenBytes);
      const { encoding, longest } = encodeInSlices(tokenizer, text, limit);
      expect(longest).toBeWithin(SLICE_LENGTH / 2, SLICE_LENGTH + 2);
      expect(encoding).toEqual({ tooLong: expect.any(Number), isExact: false });
      expect((encoding as { tooLong: number }).tooLong).toBeGreaterThan(4 * limit);
    }
  });

  test.each<[string, (length: number) => string, number]>([
    ["one letter", (n) => "a".repeat(n), 32_000],
    ["spaces", (n) => " ".repeat(n), 32_000],
    ["new lines", (n) => "\n".repeat(n), 32_000],
    ["digits", (n) => "1".repeat(n), 400_000],
    ["spaces before new lines", (n) => " \n".repeat(n / 2), 32_000],
    ["beginnings of special tokens", (n) => "<|reserved_special_token_".repeat(n / 25), 400_000],
    ["all kinds of bytes", drawn(String.fromCharCode(...Array(256).keys())), 400_000],
  ])("merge each byte once, in pieces of bounded length: %s", (_, make, length) => {
    const text = make(length);
    const tokenizer = tokenizerOf(tiny);
    const { encoding, longest, all } = encodeInSlices(tokenizer, text);
    expect("ids" in encoding && decodeAll(tokenizer, encoding.ids)).toBe(text);
    expect(longest).toBeLessThanOrEqual(PIECE_LENGTH_MAX + 1);
    // A piece counts one more than it is long.
    expect(all).toBeLessThanOrEqual(2 * Buffer.byteLength(text));
  });

  test("the longest piece that is taken is merged in a slice of its own", () => {
    const tokenizer = tokenizerOf(tiny);
    const { encoding, longest } = encodeInSlices(tokenizer, `word ${"a".repeat(PIECE_LENGTH_MAX - 1)} word`);
    expect(encoding).toHaveProperty("ids");
    expect(longest).toBe(PIECE_LENGTH_MAX + 1);
    const over = encodeInSlices(tokenizer, `word ${"a".repeat(PIECE_LENGTH_MAX)} word`);
    expect(over.encoding).toEqual({ indivisible: PIECE_LENGTH_MAX + 1, lengthMax: PIECE_LENGTH_MAX });
  });
});

describe("turns", () => {
  test("the event loop goes round between any two", async () => {
    const turns = new Turns();
    const happened: string[] = [];
    let isOver = false;
    const round = () => {
      happened.push("round");
      if (!isOver) setImmediate(round);
    };
    setImmediate(round);
    const work = async (slices: number) => {
      for (let i = 0; i < slices; i++) {
        await turns.take(i === 0);
        happened.push("slice");
      }
    };
    await Promise.all(Array.from({ length: 20 }, () => work(5)));
    isOver = true;
    const slices = happened.flatMap((what, i) => (what === "slice" ? [i] : []));
    expect(slices.length).toBe(100);
    for (const i of slices.slice(1)) expect(happened[i - 1]).toBe("round");
  });

  test("work of one slice doesn't wait for work of many", async () => {
    const turns = new Turns();
    const finished: string[] = [];
    const work = async (name: string, slices: number) => {
      for (let i = 0; i < slices; i++) await turns.take(i === 0);
      finished.push(name);
    };
    const long = [work("long", 50), work("long", 50)];
    await turns.take(false);
    await Promise.all([...long, work("short", 1)]);
    expect(finished).toEqual(["short", "long", "long"]);
  });

  test("a text is given up as soon as its client has left", async () => {
    const tokenizer = tokenizerOf(tiny);
    const client = new AbortController();
    // So many slices that the whole would take minutes.
    const encoding = tokenizer.encode("1234567,".repeat(3_000_000), 1e9, client.signal);
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    client.abort();
    expect(await encoding.catch((error: Error) => error.name)).toBe("AbortError");
  });
});
