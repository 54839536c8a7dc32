/**
 * Merges out of scores. SentencePiece joins the two neighbours whose text together has the highest score; tokenizer.json has a list of
 * pairs, of which the first one that occurs is joined. So each way to divide a token into two others becomes a pair, in the order of scores.
 */

import { Fault } from "../src/model_file/config_fields.ts";
import type { GgufVocabulary } from "./gguf_vocabulary.ts";

/** Characters of all ways to divide tokens, for each character of the tokens; Gemma's have 7. */
const GROWTH_MAX = 32;

/** Characters that any vocabulary may have. */
const CHARACTERS_MIN = 1 << 20;

/**
 * The pairs of a vocabulary that has scores, the first to be joined first; of one token's, those with the longest left side first.
 *
 * @throws Fault when the tokens are so long that there would be too many ways to divide them.
 */
export function mergesOfScores({ texts, kinds, scores }: GgufVocabulary): [string, string][] {
  const parts = new Set<string>();
  const wholes: number[] = [];
  let most = CHARACTERS_MIN;
  for (const [id, text] of texts.entries()) {
    if (kinds[id] !== "normal" && kinds[id] !== "user") continue;
    parts.add(text);
    wholes.push(id);
    most += GROWTH_MAX * text.length;
  }
  const score = (id: number) => scores?.[id] as number;
  wholes.sort((a, b) => score(b) - score(a) || a - b);
  const joined = joinedAtScoreZero(texts, wholes, score);
  const merges: [string, string][] = [];
  let characters = 0;
  for (const id of wholes) {
    if (score(id) === 0 && !joined) continue;
    const text = texts[id] as string;
    characters += text.length * (text.length - 1);
    if (characters > most)
      throw new Fault("tokenizer.ggml.tokens are so long that there are too many ways to join them");
    for (let end = text.length - 1; end > 0; end--) {
      if (isInsideCharacter(text, end)) continue;
      const pair: [string, string] = [text.slice(0, end), text.slice(end)];
      if (pair.every((part) => parts.has(part))) merges.push(pair);
    }
  }
  return merges;
}

/**
 * Whether a token of the score 0 is joined from others. Scores that a converter made of the places in a list of merges are 0 for the
 * first merge, and for all that no merge makes: single characters, and tokens that are only found whole.
 */
function joinedAtScoreZero(texts: readonly string[], ids: readonly number[], score: (id: number) => number): boolean {
  const zeros = ids.filter((id) => score(id) === 0);
  const hasPlaces = zeros.some((id) => isCharacter(texts[id] as string)) && ids.some((id) => score(id) < 0);
  return !hasPlaces || zeros.filter((id) => !isCharacter(texts[id] as string)).length <= 1;
}

function isCharacter(text: string): boolean {
  return text.length === 1 || (text.length === 2 && isInsideCharacter(text, 1));
}

/** Whether a place is between the halves of a surrogate pair. */
function isInsideCharacter(text: string, at: number): boolean {
  return (text.codePointAt(at - 1) as number) > 0xffff;
}
