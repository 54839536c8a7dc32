/**
 * Decoders, as Hugging Face's tokenizers have them, for texts that come token by token: what each token stands for, in bytes, as it may
 * hold a part of a character; and what a whole text loses at its ends, which an answer that continues a prompt does not. A kind that is
 * not here is refused by name.
 */

import { ConfigFields, Fault, printable } from "../model_file/config_fields.ts";
import { readBytes } from "./byte_alphabet.ts";
import { readMetaspace, readReplace } from "./patterns.ts";
import type { Stage } from "./tokenizer_files.ts";

/** A tokenizer's way from tokens to text. */
export interface Decoder {
  /** Whether tokens are written in the alphabet of byte-level vocabularies. */
  readsBytes: boolean;
  /** The bytes of a token. */
  bytesOf: (token: string) => Uint8Array;
  /** The bytes of a token that begins a whole text. */
  firstBytesOf: (token: string) => Uint8Array;
  /** What a whole text becomes. */
  trim: (text: string) => string;
}

/** A step that works on each token by itself, the first of a text or another. */
type TokenStep = (token: string, isFirst: boolean) => string;

const BYTE = /^<0x([0-9A-Fa-f]{2})>$/;

/** What a file without a decoder is taken to mean. */
const SENTENCE_PIECES: Stage[] = [
  { type: "Replace", pattern: { String: "▁" }, content: " " },
  { type: "ByteFallback" },
  { type: "Fuse" },
];

/** Reads a decoder. @throws Fault for what is unknown or wrong. */
export function readDecoder(stage: Stage | null): Decoder {
  const flat = stage === null ? SENTENCE_PIECES : flatten(stage);
  const steps: TokenStep[] = [];
  const trims: ((text: string) => string)[] = [];
  let readsBytes = false;
  let hasByteTokens = false;
  // From there on, the text is one.
  let isFused = false;
  for (const each of flat) {
    const { type } = each;
    const fields = new ConfigFields(each, "decoder");
    if (type === "Fuse") {
      isFused = true;
    } else if (type === "Strip") {
      const strip = readStrip(fields);
      if (isFused) trims.push(strip);
      else steps.push(strip);
    } else if (isFused) {
      throw new Fault(`decoder ${printable(String(type))} after the tokens became one text is not supported`);
    } else if (type === "ByteLevel") {
      readsBytes = true;
      isFused = true;
    } else if (type === "ByteFallback") {
      hasByteTokens = true;
    } else {
      steps.push(readTokenStep(each, fields));
    }
  }
  const read = (token: string, isFirst: boolean) => {
    const text = steps.reduce((changed, step) => step(changed, isFirst), token);
    if (readsBytes) return readBytes(text) ?? encoder.encode(text);
    const byte = hasByteTokens ? BYTE.exec(text)?.[1] : undefined;
    return byte === undefined ? encoder.encode(text) : Uint8Array.of(Number.parseInt(byte, 16));
  };
  return {
    readsBytes,
    bytesOf: (token) => read(token, false),
    firstBytesOf: (token) => read(token, true),
    trim: (text) => trims.reduce((changed, trim) => trim(changed), text),
  };
}

const encoder = new TextEncoder();

function flatten(stage: Stage): Stage[] {
  new ConfigFields(stage, "decoder");
  return stage.type === "Sequence" ? (stage.decoders ?? []).flatMap(flatten) : [stage];
}

function readTokenStep(stage: Stage, fields: ConfigFields): TokenStep {
  switch (stage.type) {
    case "Replace":
      return readReplace(stage, fields);
    case "Metaspace": {
      const { mark, scheme } = readMetaspace(stage, fields);
      return (token, isFirst) => token.replaceAll(mark, isFirst && scheme !== "never" ? "" : " ");
    }
    default:
      throw new Fault(`decoder ${printable(String(stage.type))} is not supported`);
  }
}

/** Takes up to so many of a character from the beginning, and from the end. */
function readStrip(fields: ConfigFields): (text: string) => string {
  const content = fields.text("content");
  const start = fields.whole("start", 0, STRIPPED_MAX);
  const stop = fields.whole("stop", 0, STRIPPED_MAX);
  return (text) => {
    let stripped = text;
    for (let i = 0; i < start && stripped.startsWith(content); i++) stripped = stripped.slice(content.length);
    for (let i = 0; i < stop && stripped.endsWith(content); i++) stripped = stripped.slice(0, -content.length);
    return stripped;
  };
}

const STRIPPED_MAX = 1024;
