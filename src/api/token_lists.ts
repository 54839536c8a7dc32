/**
 * Parameters that become lists of tokens: the tokens that an answer may have (`allowed_token_ids`), words that it may not have
 * (`bad_words`), and what breaks repetitions (`dry_sequence_breakers`, as llama.cpp understands them).
 */

import type { Sampling, TokenLists } from "../engine/sampling.ts";
import type { JsonObject } from "../json.ts";
import { invalid } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import { TokenSearch } from "../text/token_search.ts";
import { turns } from "../text/turns.ts";
import { encodeText } from "./encoding.ts";
import type { Exchange } from "./exchange.ts";
import { checkLength, optionalArray, readIntegers, readText } from "./schema.ts";

/** Most words of each kind: each is tokenized in a turn of its own, and looked for at every token. */
export const WORDS_MAX = 256;

/** Longest word, in UTF-16 code units. */
export const WORD_LENGTH_MAX = 256;

/** What breaks repetitions unless a request says otherwise, as in llama.cpp. */
const BREAKERS = ["\n", ":", '"', "*"];

/** Longest breakers together, in UTF-16 code units: each of their beginnings is looked for in all tokens. */
const BREAKERS_LENGTH_MAX = 1024;

/** Most tokens of the sequences that breakers make, all together: each of a request's answers keeps them. */
const BREAKER_IDS_MAX = 65_536;

/** Most tokens of a breaker after the one in which it begins; longer ones are cut there, as in llama.cpp. */
const BREAKER_TOKENS_MAX = 20;

/** Reads the lists; what breaks repetitions is only looked for where the sampling penalises them. @throws RequestError 400. */
export async function readTokenLists(
  exchange: Exchange,
  service: Service,
  body: JsonObject,
  { dryMultiplier }: Sampling,
): Promise<TokenLists> {
  const allowed = readAllowed(body, service.config.vocabSize);
  const words = readWords(body, "bad_words") ?? [];
  const breakers = readWords(body, "dry_sequence_breakers") ?? BREAKERS;
  const badWords: number[][] = [];
  for (const [index, word] of words.entries()) {
    badWords.push(...(await spellings(exchange, service, `bad_words[${index}]`, word)));
  }
  const broken =
    dryMultiplier > 0 ? await tokensOf(exchange, service, breakers) : { breakers: [], breakerSequences: [] };
  return { ...(allowed === undefined ? {} : { allowed }), badWords, ...broken };
}

function readAllowed(body: JsonObject, vocabularySize: number): number[] | undefined {
  const param = "allowed_token_ids";
  const ids = optionalArray(body, param, vocabularySize);
  if (ids === undefined) return undefined;
  if (ids.length === 0)
    throw invalid(param, "empty_array", `Invalid '${param}': empty array. Expected a token at least.`);
  return readIntegers(ids, param, { low: 0, high: vocabularySize - 1 });
}

function readWords(body: JsonObject, param: string): string[] | undefined {
  return optionalArray(body, param, WORDS_MAX)?.map((word, index) => {
    const path = `${param}[${index}]`;
    const text = readText(word, path);
    checkLength(text, path, WORD_LENGTH_MAX);
    return text;
  });
}

/** The tokens of a word as it stands, and after a space, where that makes others. */
async function spellings(exchange: Exchange, service: Service, path: string, word: string): Promise<number[][]> {
  const plain = await encoded(exchange, service, path, word);
  const spaced = await encoded(exchange, service, path, ` ${word.trimStart()}`);
  const isOther = spaced.join() !== plain.join();
  return (isOther ? [plain, spaced] : [plain]).filter((ids) => ids.length > 0);
}

async function encoded(exchange: Exchange, service: Service, path: string, text: string): Promise<number[]> {
  const encoding = await encodeText(exchange, service, path, text, WORD_LENGTH_MAX * 4);
  return "ids" in encoding ? encoding.ids : [];
}

/** The tokens that hold one of the texts, and the sequences of tokens in the first of which one begins. */
async function tokensOf(
  exchange: Exchange,
  service: Service,
  texts: readonly string[],
): Promise<Pick<TokenLists, "breakers" | "breakerSequences">> {
  const param = "dry_sequence_breakers";
  if (texts.reduce((sum, { length }) => sum + length, 0) > BREAKERS_LENGTH_MAX) {
    const message = `Invalid '${param}': too long. Expected texts of at most ${BREAKERS_LENGTH_MAX} characters together.`;
    throw invalid(param, "string_above_max_length", message);
  }
  await turns.take(true, exchange.client);
  const search = TokenSearch.of(service.tokenizer, service.config.vocabSize);
  const breakers = new Set<number>();
  const breakerSequences: number[][] = [];
  let ids = 0;
  for (const [index, text] of texts.entries()) {
    await turns.take(false, exchange.client);
    for (const id of search.holding(text)) breakers.add(id);
    const characters = Array.from(text);
    for (let length = 1; length < characters.length; length++) {
      await turns.take(false, exchange.client);
      const heads = search.endingWith(characters.slice(0, length).join(""));
      const rest = await encoded(exchange, service, `${param}[${index}]`, characters.slice(length).join(""));
      const tail = rest.slice(0, BREAKER_TOKENS_MAX);
      ids += heads.length * (1 + tail.length);
      if (ids > BREAKER_IDS_MAX) {
        const message = `Invalid '${param}': too many tokens may begin '${param}[${index}]' and those before it. Please leave some out.`;
        throw invalid(param, "invalid_value", message);
      }
      for (const id of heads) breakerSequences.push([id, ...tail]);
    }
  }
  return { breakers: [...breakers], breakerSequences };
}
