/**
 * The parameters of a request that say how tokens are chosen and when an answer ends. Every endpoint that generates reads them
 * here, so that they mean the same everywhere.
 */

import { defaultSampling, leavesOut, type Sampling } from "../engine/sampling.ts";
import type { JsonObject } from "../json.ts";
import { invalid } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import type { ServerState } from "../serving/state.ts";
import type { TextOptions } from "../text/generation.ts";
import {
  checkRange,
  invalidType,
  optionalArray,
  optionalBoolean,
  optionalDecimal,
  optionalInteger,
  optionalObject,
  readIntegers,
  readText,
} from "./schema.ts";

/** Bounds of the parameters that are numbers. The readers below check them, and the API's description states them. */
export const BOUNDS = {
  temperature: { low: 0, high: 2 },
  /** Of top_p and min_p. */
  probability: { low: 0, high: 1 },
  topK: { low: -1, high: 2 ** 31 - 1 },
  /** Within these a 32-bit float divides logits sensibly. */
  repetitionPenalty: { low: 0.001, high: 1000 },
  /** Of frequency_penalty and presence_penalty. */
  penalty: { low: -2, high: 2 },
  /** Of n. */
  choices: { low: 1, high: 128 },
  /** 0 would leave no token. */
  typicalP: { low: 1e-6, high: 1 },
  /** What is not over 0 is off. */
  topNSigma: { low: -1000, high: 1000 },
  dryMultiplier: { low: 0, high: 1000 },
  dryBase: { low: 1, high: 1000 },
  /** Of lengths in tokens. */
  count: { low: 0, high: 2 ** 31 - 1 },
  window: { low: -1, high: 2 ** 31 - 1 },
  /** The strongest biases forbid a token or force it. */
  bias: { low: -100, high: 100 },
};

// As in llama.cpp, where a request doesn't say.
const XTC_THRESHOLD = 0.1;
const DRY_BASE = 1.75;
const DRY_ALLOWED_LENGTH = 2;

/** Most stop strings of a request; each costs a comparison per character of the answer. */
export const STOP_STRINGS_MAX = 64;

/** Most stop ids of a request. */
export const STOP_IDS_MAX = 1024;

/** What the server brings to a request's sampling. */
export interface SamplingContext {
  /** Ids of the model's vocabulary: 0 to vocabularySize - 1. */
  vocabularySize: number;
  /** Tokens that prompt and answer may have together. */
  context: number;
  /** Used when a request sets neither a temperature nor what leaves unlikely tokens out, as top_p does. */
  defaultTemperature: number;
}

/** What this server brings. */
export function samplingContext(state: ServerState, service: Service): SamplingContext {
  return {
    vocabularySize: service.config.vocabSize,
    context: service.context,
    defaultTemperature: state.defaultTemperature,
  };
}

/** How the answers to one request are generated. */
export interface GenerationParameters {
  /** For choice 0; see choiceSampling. */
  sampling: Sampling;
  /** Choices wanted. */
  choices: number;
  /** How the texts of the answers are written and ended. */
  text: TextOptions;
}

/** What an endpoint calls some parameters. */
export interface ParameterNames {
  /** The first that is there counts. */
  maxTokens: readonly string[];
  /** The least that it may be. */
  maxTokensLow: number;
  minTokens: string;
}

/** The names in a chat request. */
const CHAT_NAMES: ParameterNames = {
  maxTokens: ["max_completion_tokens", "max_tokens", "n_predict"],
  maxTokensLow: 1,
  minTokens: "min_tokens",
};

/** Reads the parameters. @throws RequestError 400 naming the parameter that is wrong. */
export function readGenerationParameters(
  body: JsonObject,
  context: SamplingContext,
  names: ParameterNames = CHAT_NAMES,
): GenerationParameters {
  const truncation = {
    topP: optionalDecimal(body, "top_p", BOUNDS.probability) ?? 1,
    topK: Math.max(0, optionalInteger(body, "top_k", BOUNDS.topK) ?? 0), // -1 is vLLM's way to say off
    minP: optionalDecimal(body, "min_p", BOUNDS.probability) ?? 0,
    typicalP: optionalDecimal(body, "typical_p", BOUNDS.typicalP) ?? 1,
    topNSigma: Math.max(0, optionalDecimal(body, "top_n_sigma", BOUNDS.topNSigma) ?? 0),
    xtcProbability: optionalDecimal(body, "xtc_probability", BOUNDS.probability) ?? 0,
  };
  const temperature = optionalDecimal(body, "temperature", BOUNDS.temperature);
  const limits = names.maxTokens.map((name) => readMaxTokens(body, name, names.maxTokensLow));
  const maxTokens = limits.find((limit) => limit !== undefined);
  const minTokens = optionalInteger(body, names.minTokens, { low: 0 }) ?? 0;
  if (maxTokens !== undefined && minTokens > maxTokens) {
    throw invalid(
      names.minTokens,
      "integer_above_max_value",
      `Invalid '${names.minTokens}': must not be over the maximum number of tokens.`,
    );
  }
  const milliseconds = optionalInteger(body, "t_max_predict_ms", { low: -1 }) ?? -1;
  return {
    sampling: {
      ...defaultSampling(Math.min(maxTokens ?? context.context, context.context)),
      temperature: temperature ?? (leavesOut(truncation) ? 1 : context.defaultTemperature),
      ...truncation,
      xtcThreshold: optionalDecimal(body, "xtc_threshold", BOUNDS.probability) ?? XTC_THRESHOLD,
      minKeep: optionalInteger(body, "min_keep", BOUNDS.count) ?? 0,
      ...readPenalties(body),
      ...readDry(body),
      minTokens: Math.min(minTokens, context.context),
      ignoreEos: optionalBoolean(body, "ignore_eos"),
      seed: readSeed(body),
      stopIds: readStopIds(body, context.vocabularySize),
      logitBias: readLogitBias(body, context.vocabularySize),
    },
    choices: optionalInteger(body, nameIn(body, "n", "n_cmpl"), BOUNDS.choices) ?? 1,
    text: {
      stops: readStops(body),
      includesStop: optionalBoolean(body, nameIn(body, "include_stop_str_in_output", "no_stop_trim")),
      showsSpecial: !optionalBoolean(body, "skip_special_tokens", true),
      ...(milliseconds > 0 ? { msMax: milliseconds } : {}),
    },
  };
}

/** The sampling of one choice: all choices draw from the same distribution with seeds of their own. */
export function choiceSampling(sampling: Sampling, choice: number): Sampling {
  return { ...sampling, seed: BigInt.asUintN(64, sampling.seed + BigInt(choice)) };
}

/** The name under which a parameter is there, which has several; the first where it is not. */
function nameIn(body: JsonObject, ...names: [string, ...string[]]): string {
  return names.find((name) => (body[name] ?? undefined) !== undefined) ?? names[0];
}

/** The penalties of single tokens, and how far they look back: -1, everywhere; 0, nowhere. */
function readPenalties(body: JsonObject): Partial<Sampling> {
  const penalties = {
    repetitionPenalty:
      optionalDecimal(body, nameIn(body, "repetition_penalty", "repeat_penalty"), BOUNDS.repetitionPenalty) ?? 1,
    frequencyPenalty: optionalDecimal(body, "frequency_penalty", BOUNDS.penalty) ?? 0,
    presencePenalty: optionalDecimal(body, "presence_penalty", BOUNDS.penalty) ?? 0,
  };
  const window = optionalInteger(body, "repeat_last_n", BOUNDS.window) ?? -1;
  return window === 0 ? {} : { ...penalties, penaltyWindow: Math.max(0, window) };
}

/** The penalty of repetitions, and how far it looks back. What breaks them is read elsewhere, since texts have to be tokenized. */
function readDry(body: JsonObject): Partial<Sampling> {
  const dry = {
    dryMultiplier: optionalDecimal(body, "dry_multiplier", BOUNDS.dryMultiplier) ?? 0,
    dryBase: optionalDecimal(body, "dry_base", BOUNDS.dryBase) ?? DRY_BASE,
    dryAllowedLength: optionalInteger(body, "dry_allowed_length", BOUNDS.count) ?? DRY_ALLOWED_LENGTH,
  };
  const window = optionalInteger(body, "dry_penalty_last_n", BOUNDS.window) ?? -1;
  return window === 0 ? {} : { ...dry, dryWindow: Math.max(0, window) };
}

/** llama.cpp's -1 stands for "as many as fit", which is what an absent number means here. */
function readMaxTokens(body: JsonObject, name: string, low: number): number | undefined {
  return name === "n_predict" && body[name] === -1 ? undefined : optionalInteger(body, name, { low });
}

/** Any integer, taken modulo 2^64. A request without a seed gets a random one, small enough for JSON to name it exactly. */
function readSeed(body: JsonObject): bigint {
  const name = nameIn(body, "seed", "sampling_seed");
  const value = body[name] ?? undefined;
  if (value === undefined) return BigInt.asUintN(53, crypto.getRandomValues(new BigUint64Array(1))[0] as bigint);
  if (typeof value !== "number" || !Number.isInteger(value)) throw invalidType(name, "an integer", value);
  return BigInt.asUintN(64, BigInt(value));
}

function readStops(body: JsonObject): string[] {
  const value = body.stop ?? undefined;
  if (value === undefined) return [];
  if (typeof value !== "string" && !Array.isArray(value))
    throw invalidType("stop", "a string or an array of strings", value);
  const stops = typeof value === "string" ? [value] : (optionalArray(body, "stop", STOP_STRINGS_MAX) as unknown[]);
  return stops.map((stop, i) => readText(stop, Array.isArray(value) ? `stop[${i}]` : "stop"));
}

function readStopIds(body: JsonObject, vocabularySize: number): number[] {
  const ids = optionalArray(body, "stop_token_ids", STOP_IDS_MAX) ?? [];
  return readIntegers(ids, "stop_token_ids", { low: 0, high: vocabularySize - 1 });
}

function readLogitBias(body: JsonObject, vocabularySize: number): Map<number, number> {
  const biases = new Map<number, number>();
  const entries = Object.entries(optionalObject(body, "logit_bias") ?? {});
  checkBiasCount(entries.length, vocabularySize);
  for (const [key, value] of entries) {
    const id = Number(key);
    if (!/^\d{1,10}$/.test(key) || id >= vocabularySize) {
      throw invalid(
        "logit_bias",
        "invalid_value",
        `Invalid key ${shownKey(key)} in 'logit_bias': expected token ids from 0 to ${vocabularySize - 1} of this model's vocabulary, as /tokenize gives them.`,
      );
    }
    biases.set(id, readBias(value, "logit_bias"));
  }
  return biases;
}

/** A short name of a member, for messages: it is no prompt. */
function shownKey(key: string): string {
  return `'${key.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 20)}'`;
}

/** Checks how many biases there are: none are needed beyond one for each token. @throws RequestError 400. */
export function checkBiasCount(count: number, vocabularySize: number): void {
  if (count <= vocabularySize) return;
  const message = `Invalid 'logit_bias': too many biases. Expected at most ${vocabularySize}, one for each token.`;
  throw invalid("logit_bias", "array_above_max_length", message);
}

/** Reads what is added to a token's logit. @throws RequestError 400. */
export function readBias(value: unknown, path: string): number {
  if (typeof value !== "number") throw invalidType(path, "a decimal", value);
  return checkRange(value, path, "decimal", BOUNDS.bias);
}
