/**
 * POST /tokenize, /detokenize and /apply-template: what the model's tokenizer and chat template make of a text, in llama.cpp's
 * shapes and vLLM's.
 */

import type { JsonObject } from "../../json.ts";
import { invalid } from "../../serving/request_error.ts";
import type { Service } from "../../serving/service.ts";
import type { PromptText } from "../../text/added_tokens.ts";
import { decodeAll } from "../../text/detokenizer.ts";
import { turns } from "../../text/turns.ts";
import { encodeText } from "../encoding.ts";
import type { Exchange } from "../exchange.ts";
import { readChatPrompt } from "../openai/chat_prompt.ts";
import { checkParameters } from "../parameters.ts";
import { readModel } from "../request.ts";
import {
  checkLength,
  invalidType,
  missing,
  onlyOneOf,
  optionalBoolean,
  optionalString,
  readIntegers,
} from "../schema.ts";
import { applyTemplateTable, detokenizeTable, tokenizeTable } from "./parameters.ts";

/** Most ids of a request or an answer; more than any context, few enough to be counted in a moment. */
export const TOKENS_MAX = 262_144;

/** Ids that are spelled in one turn: some ten milliseconds. */
const IDS_AT_ONCE = 8192;

/**
 * A text's ids. `content` is encoded as it is (llama.cpp), `prompt` with the tokens that the tokenizer puts before every text
 * (vLLM), unless `add_special` or `add_special_tokens` says otherwise; `messages` go through the chat template. With `parse_special: false`
 * control tokens that a text spells are characters.
 */
export async function tokenize(exchange: Exchange, body: JsonObject): Promise<Response> {
  const { service } = readModel(exchange, body);
  checkParameters(body, tokenizeTable);
  const { param, text, isPlain } = await readText(exchange, service, body);
  const wanted = body.add_special ?? body.add_special_tokens ?? undefined;
  const name = body.add_special === undefined ? "add_special_tokens" : "add_special";
  const isAdded = wanted === undefined ? isPlain : optionalBoolean(body, name);
  const encoding = await encodeText(exchange, service, param, text, TOKENS_MAX);
  if (!("ids" in encoding)) {
    throw invalid(param, "string_above_max_length", `Invalid '${param}': it has more than ${TOKENS_MAX} tokens.`);
  }
  const tokens = isAdded ? service.tokenizer.beginning.concat(encoding.ids) : encoding.ids;
  const spell = (id: number) => decodeAll(service.tokenizer, [id]);
  const withPieces = optionalBoolean(body, "with_pieces");
  const withStrings = optionalBoolean(body, "return_token_strs");
  return exchange.json({
    tokens: withPieces ? await mapInTurns(tokens, (id) => ({ id, piece: pieceOf(service, id) })) : tokens,
    ...(withStrings ? { token_strs: await mapInTurns(tokens, spell) } : {}),
    count: tokens.length,
    max_model_len: service.context,
  });

  /** Ids come in numbers that would hold up the event loop. */
  async function mapInTurns<Result>(ids: readonly number[], map: (id: number) => Result): Promise<Result[]> {
    const results: Result[] = [];
    for (let start = 0; start < ids.length; start += IDS_AT_ONCE) {
      await turns.take(start === 0, exchange.client);
      for (const id of ids.slice(start, start + IDS_AT_ONCE)) results.push(map(id));
    }
    return results;
  }
}

/** The text of ids, control tokens spelled out. */
export async function detokenize(exchange: Exchange, body: JsonObject): Promise<Response> {
  const { service } = readModel(exchange, body);
  checkParameters(body, detokenizeTable);
  const { tokens } = body;
  if (tokens === undefined) throw missing("tokens");
  if (!Array.isArray(tokens)) throw invalidType("tokens", "an array of token ids", tokens);
  checkLength(tokens, "tokens", TOKENS_MAX);
  await turns.take(true, exchange.client);
  const ids = readIntegers(tokens, "tokens", { low: 0, high: service.config.vocabSize - 1 });
  const text = service.tokenizer.decode(ids);
  return Response.json({ content: text, prompt: text });
}

/** The text that a chat request's messages become. */
export async function applyTemplate(exchange: Exchange, body: JsonObject): Promise<Response> {
  const { service } = readModel(exchange, body);
  checkParameters(body, applyTemplateTable);
  return Response.json({ prompt: (await readChatPrompt(exchange, service, body)).text });
}

/** The text to encode, and whether it is a plain text that a template hasn't made. */
async function readText(
  exchange: Exchange,
  service: Service,
  body: JsonObject,
): Promise<{ param: string; text: string | PromptText; isPlain: boolean }> {
  const [first, second] = ["content", "prompt", "messages"].filter((name) => (body[name] ?? undefined) !== undefined);
  if (first !== undefined && second !== undefined) throw onlyOneOf(first, second);
  const hasControlTokens = optionalBoolean(body, "parse_special", true);
  const read = (text: string): string | PromptText => (hasControlTokens ? text : { text, literal: "everywhere" });
  const content = optionalString(body, "content");
  if (content !== undefined) return { param: "content", text: read(content), isPlain: false };
  const prompt = optionalString(body, "prompt");
  if (prompt !== undefined) return { param: "prompt", text: read(prompt), isPlain: true };
  if (body.messages === undefined) throw missing("content");
  return { param: "messages", text: await readChatPrompt(exchange, service, body), isPlain: false };
}

/** A token's text, or its bytes where they are no text, as llama.cpp has it. */
function pieceOf({ tokenizer }: Service, id: number): string | number[] {
  const bytes = tokenizer.bytes(id);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Array.from(bytes);
  }
}
