/**
 * Prompts that are plain texts or token ids, as the endpoints that continue texts take them.
 */

import type { JsonObject } from "../json.ts";
import { contextLengthExceeded, invalid } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import { decodeAll } from "../text/detokenizer.ts";
import { answer, type ChoiceEvents, type Prompts } from "./answers.ts";
import type { TextIds } from "./encoding.ts";
import type { Exchange } from "./exchange.ts";
import type { GenerationParameters } from "./sampling.ts";
import { checkLength, invalidType, missing, readIntegers } from "./schema.ts";
import { encodeTruncated, type Truncation, truncated } from "./truncation.ts";

/** Most prompts of a request. */
export const PROMPTS_MAX = 256;

/** A prompt as it was sent: text or ids. */
export type SentPrompt = string | number[];

/** Reads a text, ids, or an array of either. @throws RequestError 400. */
export function readPrompts(body: JsonObject, name: string, service: Service, most = PROMPTS_MAX): SentPrompt[] {
  const value = body[name];
  if (value === undefined) throw missing(name);
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) throw invalidType(name, "a string or an array", value);
  if (value.length === 0) throw invalid(name, "empty_array", `Invalid '${name}': empty array.`);
  const readIds = (ids: unknown[], path: string) => {
    if (ids.length === 0) throw invalid(path, "empty_array", `Invalid '${path}': empty array.`);
    return readIntegers(ids, path, { low: 0, high: service.config.vocabSize - 1 });
  };
  if (typeof value[0] === "number") return [readIds(value, name)];
  checkLength(value, name, most);
  return value.map((prompt, i) => {
    const path = `${name}[${i}]`;
    if (typeof prompt === "string") return prompt;
    if (!Array.isArray(prompt)) throw invalidType(path, "a string or an array of token ids", prompt);
    return readIds(prompt, path);
  });
}

/** What a request to continue texts has, after all checks. */
export interface TextRequest {
  service: Service;
  prompts: SentPrompt[];
  /** The parameter that held the prompts. */
  param: string;
  /** The parameter that said how many answers each gets. */
  choicesParam: string;
  /** Whether each answer repeats its prompt's text. */
  repeatsPrompt: boolean;
  /** How prompts are shortened; absent: they are not. */
  truncation?: Truncation | undefined;
  /** Whether texts get no tokens before them. */
  isBare?: boolean;
  parameters: GenerationParameters;
}

/**
 * Answers a request to continue texts.
 *
 * @param begin makes the choice with this index, to a prompt as it was sent and its ids.
 * @param respond makes the response; what it makes has to run the events to their end or return them.
 */
export function answerTexts<Choice>(
  exchange: Exchange,
  request: TextRequest,
  begin: (index: number, ids: readonly number[], prompt: SentPrompt) => Choice,
  respond: (events: ChoiceEvents, choices: Choice[]) => Promise<Response>,
): Promise<Response> {
  const { service, prompts, parameters } = request;
  return answer(exchange, service, parameters, textPrompts(exchange, request), (events, ids) => {
    const choices = Array.from({ length: prompts.length * parameters.choices }, (_, index) => {
      const prompt = Math.floor(index / parameters.choices);
      return begin(index, ids[prompt] as number[], prompts[prompt] as SentPrompt);
    });
    return respond(events, choices);
  });
}

/**
 * Prompts that are texts or ids, to be tokenized. A text gets the tokens that the tokenizer puts before every text, most often a
 * beginning-of-text token, unless it spells that itself.
 */
function textPrompts(exchange: Exchange, request: TextRequest): Prompts {
  const { service, prompts, param, choicesParam, parameters } = request;
  const { context } = service;
  // Of the context, for the answer.
  const room = parameters.sampling.maxTokens === 0 ? 0 : 1;
  const most = (prompt: SentPrompt) => {
    if (typeof prompt === "string") return service.promptTokensAtMost(prompt) + 1;
    return request.truncation === undefined ? prompt.length : Math.min(prompt.length, context);
  };
  const bytes = (prompt: SentPrompt) =>
    typeof prompt === "string" ? Buffer.byteLength(prompt) : prompt.length * service.tokenizer.longestTokenBytes;
  return {
    count: prompts.length,
    repeatedBytes: request.repeatsPrompt ? prompts.reduce((sum, prompt) => sum + bytes(prompt), 0) : 0,
    tokensAtMost: prompts.reduce((sum, prompt) => sum + most(prompt), 0),
    param,
    choicesParam,
    async encode() {
      const all: number[][] = [];
      for (const prompt of prompts) {
        const ids = await encode(prompt, context - room);
        if (!("ids" in ids)) throw contextLengthExceeded(param, context, ids.tooLong, ids.isExact);
        if (ids.ids.length === 0) throw invalid(param, "invalid_value", `Invalid '${param}': it has no tokens.`);
        all.push(ids.ids);
      }
      return all;
    },
  };

  async function encode(prompt: SentPrompt, limit: number): Promise<TextIds> {
    const { truncation } = request;
    if (typeof prompt !== "string") return truncated(prompt, limit, truncation);
    const hidden = hiddenBeginning(request, prompt);
    const { length } = hidden;
    const rest =
      truncation?.tokens === undefined
        ? truncation
        : { ...truncation, tokens: Math.max(0, truncation.tokens - length) };
    const encoding = await encodeTruncated(exchange, service, param, prompt, limit - length, rest);
    return "ids" in encoding ? { ids: [...hidden, ...encoding.ids] } : encoding;
  }
}

/** The ids that are put before a text that doesn't spell them. */
export function hiddenBeginning({ service, isBare = false }: TextRequest, prompt: SentPrompt): readonly number[] {
  if (typeof prompt !== "string" || isBare) return [];
  const { tokenizer } = service;
  const spelled = decodeAll(tokenizer, tokenizer.beginning);
  return spelled !== "" && prompt.startsWith(spelled) ? [] : tokenizer.beginning;
}
