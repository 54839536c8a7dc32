/**
 * Normalizers, as Hugging Face's tokenizers have them: what a text becomes before it is cut into pieces. A kind that is not here is
 * refused by name.
 */

import { ConfigFields, Fault, printable } from "../model_file/config_fields.ts";
import { spellBytes } from "./byte_alphabet.ts";
import { readReplace } from "./patterns.ts";
import type { Stage } from "./tokenizer_files.ts";
import { spacesAfter, spacesBefore } from "./white_space.ts";

/** The longest text, in UTF-16 code units, for normalizers, which work on a whole: some 100 milliseconds. */
export const WHOLE_LENGTH_MAX = 1_048_576;

/** What a text becomes. */
export type Normalizer = (text: string) => string;

/**
 * Reads a normalizer.
 *
 * @returns undefined for one that changes nothing.
 * @throws Fault for what is unknown or wrong.
 */
export function readNormalizer(stage: Stage | null | undefined): Normalizer | undefined {
  if (stage === null || stage === undefined) return undefined;
  const fields = new ConfigFields(stage, "normalizer");
  const { type } = stage;
  switch (type) {
    case "Sequence":
      return inTurn((stage.normalizers ?? []).map(readNormalizer));
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => text.normalize(type);
    case "Replace":
      return readReplace(stage, fields);
    case "Prepend": {
      const prepend = fields.text("prepend");
      return (text) => (text === "" ? "" : prepend + text);
    }
    case "Strip": {
      const [left, right] = [fields.flag("strip_left"), fields.flag("strip_right")];
      return (text) => {
        const start = left ? spacesAfter(text, 0) : 0;
        return text.slice(start, right ? Math.max(start, spacesBefore(text, text.length)) : text.length);
      };
    }
    case "StripAccents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "Lowercase":
      // Each for itself: what stands next to a sigma does not matter.
      return (text) => Array.from(text, (character) => character.toLowerCase()).join("");
    case "Nmt":
      return (text) => text.replace(NMT_DROPPED, "").replace(NMT_SPACES, " ");
    case "ByteLevel":
      return spellBytes;
    default:
      throw new Fault(`normalizer ${printable(String(type))} is not supported`);
  }
}

function inTurn(normalizers: (Normalizer | undefined)[]): Normalizer {
  return (text) => normalizers.reduce((normalized, normalizer) => normalizer?.(normalized) ?? normalized, text);
}

/** Control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
const NMT_DROPPED = /[\u0001-\u0008\u000b\u000e-\u001f\u007f\u008f\u009f]/g;

/** What counts as a space. */
const NMT_SPACES = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g;
