/**
 * POST /tokenize, /detokenize and /apply-template: what the model's tokenizer and chat template make of a text, in llama.cpp's
 * shapes and vLLM's.
 */

import type { Service } from "../server/service.ts";
import { decodeAll } from "../text/detokenizer.ts";
import { readChatPrompt } from "./chat_prompt.ts";
import { invalid } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import { invalidType, type JsonObject, missing, optionalBoolean, optionalString, readInteger } from "./schema.ts";

/** Most ids of an answer; more than any context, few enough to be counted in a moment. */
const TOKENS_MAX = 262_144;

/**
 * A text's ids. `content` is encoded as it is (llama.cpp), `prompt` with the tokens that the tokenizer puts before every text
 * (vLLM), unless `add_special` or `add_special_tokens` says otherwise; `messages` go through the chat template.
 */
export async function tokenize(exchange: Exchange, body: JsonObject): Promise<Response> {
  const service = exchange.state.requireService();
  exchange.state.checkModel(optionalString(body, "model"));
  const { param, text, isPlain } = readText(service, body);
  const wanted = body.add_special ?? body.add_special_tokens ?? undefined;
  const name = body.add_special === undefined ? "add_special_tokens" : "add_special";
  const isAdded = wanted === undefined ? isPlain : optionalBoolean(body, name);
  const encoding = await service.tokenizer.encode(text, TOKENS_MAX);
  if (!("ids" in encoding)) {
    throw invalid(param, "string_above_max_length", `Invalid '${param}': it has more than ${TOKENS_MAX} tokens.`);
  }
  const tokens = [...(isAdded ? service.tokenizer.beginning : []), ...encoding.ids];
  const spell = (id: number) => decodeAll(service.tokenizer, [id]);
  const withPieces = optionalBoolean(body, "with_pieces");
  return Response.json({
    tokens: withPieces ? tokens.map((id) => ({ id, piece: pieceOf(service, id) })) : tokens,
    ...(optionalBoolean(body, "return_token_strs") ? { token_strs: tokens.map(spell) } : {}),
    count: tokens.length,
    max_model_len: service.context,
  });
}

/** The text of ids, control tokens spelled out. */
export async function detokenize(exchange: Exchange, body: JsonObject): Promise<Response> {
  const service = exchange.state.requireService();
  exchange.state.checkModel(optionalString(body, "model"));
  const { tokens } = body;
  if (tokens === undefined) throw missing("tokens");
  if (!Array.isArray(tokens)) throw invalidType("tokens", "an array of token ids", tokens);
  if (tokens.length > TOKENS_MAX) {
    const message = `Invalid 'tokens': array too long. Expected an array with maximum length ${TOKENS_MAX}.`;
    throw invalid("tokens", "array_above_max_length", message);
  }
  const range = { low: 0, high: service.config.vocabSize - 1 };
  const ids = tokens.map((id, i) => readInteger(id, `tokens[${i}]`, range));
  const text = decodeAll(service.tokenizer, ids);
  return Response.json({ content: text, prompt: text });
}

/** The text that a chat request's messages become. */
export async function applyTemplate(exchange: Exchange, body: JsonObject): Promise<Response> {
  const service = exchange.state.requireService();
  exchange.state.checkModel(optionalString(body, "model"));
  return Response.json({ prompt: readChatPrompt(service, body).text });
}

/** The text to encode, and whether it is a plain text that a template hasn't made. */
function readText(service: Service, body: JsonObject): { param: string; text: string; isPlain: boolean } {
  const content = optionalString(body, "content");
  if (content !== undefined) return { param: "content", text: content, isPlain: false };
  const prompt = optionalString(body, "prompt");
  if (prompt !== undefined) return { param: "prompt", text: prompt, isPlain: true };
  if (body.messages === undefined) throw missing("content");
  return { param: "messages", text: readChatPrompt(service, body).text, isPlain: false };
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
