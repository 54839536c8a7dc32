/**
 * Pre-tokenizers, as Hugging Face's tokenizers have them: how a text is cut into the pieces that are merged each for itself. A kind
 * that is not here is refused by name. Pieces come one by one, so that a long text can be left in the middle.
 */

import { ConfigFields, Fault, printable } from "../model_file/config_fields.ts";
import { spellBytes } from "./byte_alphabet.ts";
import { compile, type Part, parts, readMetaspace, readPattern } from "./patterns.ts";
import type { Stage } from "./tokenizer_files.ts";

/**
 * The pieces of a text, none of them empty.
 *
 * @param isFirst whether the text is the beginning of all.
 */
export type PreTokenizer = (text: string, isFirst: boolean) => Iterable<string>;

/** What a tokenizer does with a text before it merges. */
export interface PreTokenizers {
  /** One after the other, each on the pieces of the one before. */
  stages: PreTokenizer[];
  /** Whether the model gets the bytes of the pieces, in the alphabet of byte-level vocabularies. */
  spellsBytes: boolean;
}

const BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;

type Behavior = (typeof BEHAVIORS)[number];

/** How GPT-2 cuts, and every ByteLevel that is not told otherwise. */
const GPT_2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu;
const SPACE = /\p{White_Space}/gu;
const WORDS =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;
const NUMERIC = /\p{N}/gu;

/** Reads a pre-tokenizer. @throws Fault for what is unknown or wrong. */
export function readPreTokenizers(stage: Stage | null | undefined): PreTokenizers {
  const flat = flatten(stage);
  // The last one's bytes need not be spelled only to be read again.
  const spellsBytes = flat.at(-1)?.type === "ByteLevel";
  const stages = flat.flatMap((each, i) => read(each, spellsBytes && i === flat.length - 1));
  return { stages, spellsBytes };
}

function flatten(stage: Stage | null | undefined): Stage[] {
  if (stage === null || stage === undefined) return [];
  new ConfigFields(stage, "pre_tokenizer");
  return stage.type === "Sequence" ? (stage.pretokenizers ?? []).flatMap(flatten) : [stage];
}

/** @param isRead whether the text of a ByteLevel's pieces is wanted rather than their bytes. */
function read(stage: Stage, isRead: boolean): PreTokenizer[] {
  const { type } = stage;
  const fields = new ConfigFields(stage, String(type));
  switch (type) {
    case "Split": {
      const behavior = fields.oneOf("behavior", BEHAVIORS);
      return [splitter(readPattern("Split", stage.pattern), behavior, fields.flag("invert", false))];
    }
    case "ByteLevel": {
      const addsSpace = fields.flag("add_prefix_space", true);
      const cut = fields.flag("use_regex", true) ? [splitter(compile("ByteLevel", GPT_2), "Isolated")] : [];
      const prefixed: PreTokenizer[] = addsSpace ? [(text) => [text.startsWith(" ") ? text : ` ${text}`]] : [];
      return [...prefixed, ...cut, ...(isRead ? [] : [(text: string) => [spellBytes(text)]])];
    }
    case "Metaspace":
      return metaspace(stage, fields);
    case "Punctuation":
      return [splitter(PUNCTUATION, fields.oneOf("behavior", BEHAVIORS, "Isolated"))];
    case "Digits":
      return [splitter(NUMERIC, fields.flag("individual_digits", false) ? "Isolated" : "Contiguous")];
    case "Whitespace":
      return [splitter(WORDS, "Removed", true)];
    case "WhitespaceSplit":
      return [splitter(SPACE, "Removed")];
    case "BertPreTokenizer":
      return [splitter(SPACE, "Removed"), splitter(PUNCTUATION, "Isolated")];
    case "CharDelimiterSplit":
      return [splitter(readPattern(type, { String: fields.text("delimiter") }), "Removed")];
    case "FixedLength": {
      const length = stage.length ?? DEFAULT_LENGTH;
      if (typeof length === "number" && Number.isInteger(length) && length > 0) return [(text) => chunks(text, length)];
      throw new Fault(
        `FixedLength has the length ${printable(JSON.stringify(length))}; a whole number above 0 is needed`,
      );
    }
    default:
      throw new Fault(`pre_tokenizer ${printable(String(type))} is not supported`);
  }
}

/** Of FixedLength. */
const DEFAULT_LENGTH = 5;

/** Spaces become marks, one is put before the text, and each begins a piece. */
function metaspace(stage: Stage, fields: ConfigFields): PreTokenizer[] {
  const { mark, scheme } = readMetaspace(stage, fields);
  if (fields.has("add_prefix_space") && !fields.flag("add_prefix_space") && scheme !== "never") {
    throw new Fault(`Metaspace has add_prefix_space false, and prepend_scheme ${scheme}; they contradict each other`);
  }
  const marked: PreTokenizer = (text, isFirst) => {
    const spelled = text.replaceAll(" ", mark);
    const isPrefixed = scheme === "always" || (scheme === "first" && isFirst);
    return [isPrefixed && !spelled.startsWith(mark) ? mark + spelled : spelled];
  };
  const splits = fields.flag("split", true);
  return splits ? [marked, splitter(readPattern("Metaspace", { String: mark }), "MergedWithNext")] : [marked];
}

function* chunks(text: string, length: number): Generator<string, void> {
  let chunk = "";
  let count = 0;
  for (const character of text) {
    chunk += character;
    if (++count < length) continue;
    yield chunk;
    chunk = "";
    count = 0;
  }
  if (chunk !== "") yield chunk;
}

/** Cuts at matches; with `isInverted`, at what lies between them. */
function splitter(pattern: RegExp, behavior: Behavior, isInverted = false): PreTokenizer {
  if (behavior === "Isolated") return (text) => texts(text, parts(text, pattern));
  const join = JOINS[behavior];
  return (text) => texts(text, join(inverted(parts(text, pattern), isInverted)));
}

function* texts(text: string, all: Iterable<{ start: number; end: number }>): Generator<string, void> {
  for (const { start, end } of all) if (start < end) yield text.slice(start, end);
}

function* inverted(all: Iterable<Part>, isInverted: boolean): Generator<Part, void> {
  for (const part of all) yield isInverted ? { ...part, isMatch: !part.isMatch } : part;
}

/** What becomes of the parts of a text, by behavior. */
const JOINS: Record<
  Exclude<Behavior, "Isolated">,
  (all: Iterable<Part>) => Iterable<{ start: number; end: number }>
> = {
  *Removed(all) {
    for (const part of all) if (!part.isMatch) yield part;
  },
  /** Matches that follow each other are one. */
  Contiguous: (all) => joined(all, (part, before) => part.isMatch === before.isMatch),
  /** A match belongs to what stands before it, unless that is a match. */
  MergedWithPrevious: (all) => joined(all, (part, before) => part.isMatch && !before.isMatch),
  /** A match belongs to what stands behind it, unless that is a match. */
  MergedWithNext: (all) => joined(all, (part, before) => before.isMatch && !part.isMatch),
};

function* joined(all: Iterable<Part>, isJoined: (part: Part, before: Part) => boolean): Generator<Part, void> {
  let whole: Part | undefined;
  let before: Part | undefined;
  for (const part of all) {
    if (whole === undefined || before === undefined) whole = part;
    else if (isJoined(part, before)) whole = { ...whole, end: part.end };
    else {
      yield whole;
      whole = part;
    }
    before = part;
  }
  if (whole !== undefined) yield whole;
}
