/** How a request's tokens are chosen. */

import { packStruct } from "./library.ts";
import { LIST_ALLOWED, LIST_BAD_WORD, LIST_BREAKER, LIST_BREAKERS, layouts } from "./symbols.ts";

/** Lists of tokens that say what an answer may hold, and what breaks repetitions; WF_LIST_… in wrinklefree.h. */
export interface TokenLists {
  /** The only tokens that the answer may have; undefined: all. */
  allowed?: readonly number[];
  /** Sequences whose last token doesn't come after all of the others. */
  badWords: readonly (readonly number[])[];
  /** Tokens that break repetitions. */
  breakers: readonly number[];
  /** Sequences of several that do so. */
  breakerSequences: readonly (readonly number[])[];
}

/** How a request's tokens are chosen; the meaning and the ranges are those of wf_sampling in wrinklefree.h. */
export interface Sampling {
  temperature: number;
  /** How many of typicalP, topP, minP and xtc come before it: 0 to 4. */
  temperaturePlace: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  topNSigma: number;
  typicalP: number;
  xtcProbability: number;
  xtcThreshold: number;
  dryMultiplier: number;
  dryBase: number;
  dryAllowedLength: number;
  dryWindow: number;
  penaltyWindow: number;
  minKeep: number;
  topK: number;
  maxTokens: number;
  minTokens: number;
  ignoreEos: boolean;
  /** Whether tokens come with their log-probability in the model's own distribution, before penalties. */
  logprobs: boolean;
  /** Likeliest tokens that come with each, 0 to 20. */
  topLogprobs: number;
  /** Whether the prompt's tokens are reported with theirs as well, from the second one on. */
  promptLogprobs: boolean;
  /** 0 to 2^64 − 1. */
  seed: bigint;
  /** Below 2^63. Only requests of one scope share what was computed for equal prefixes of their prompts. */
  scope: bigint;
  /** Tokens that end the answer beside the model's own end-of-text tokens. */
  stopIds: number[];
  /** Added to the logits of these tokens. */
  logitBias: Map<number, number>;
  lists: TokenLists;
  /** What the answer has to be, as src/grammar/ writes it; undefined: anything. The engine must know its vocabulary. */
  grammar: Uint8Array | undefined;
}

/** What leaves tokens out. */
type Truncation = Pick<Sampling, "topP" | "topK" | "minP" | "typicalP" | "topNSigma" | "xtcProbability">;

/** Whether any of these leaves tokens out, which wishes for a draw among the others. Values that say off wish for nothing. */
export function leavesOut({ topP, topK, minP, typicalP, topNSigma, xtcProbability }: Truncation): boolean {
  return topP < 1 || topK > 0 || minP > 0 || typicalP < 1 || topNSigma > 0 || xtcProbability > 0;
}

/** Greedy sampling with nothing else in its way. */
export function defaultSampling(maxTokens: number): Sampling {
  return {
    temperature: 0,
    temperaturePlace: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
    topNSigma: 0,
    typicalP: 1,
    xtcProbability: 0,
    xtcThreshold: 0,
    dryMultiplier: 0,
    dryBase: 1,
    dryAllowedLength: 0,
    dryWindow: 0,
    penaltyWindow: 0,
    minKeep: 0,
    topK: 0,
    maxTokens,
    minTokens: 0,
    ignoreEos: false,
    logprobs: false,
    topLogprobs: 0,
    promptLogprobs: false,
    seed: 0n,
    scope: 0n,
    stopIds: [],
    logitBias: new Map(),
    lists: { badWords: [], breakers: [], breakerSequences: [] },
    grammar: undefined,
  };
}

/** The likeliest tokens, exactly so many if the context has room: end-of-text tokens are ordinary ones. */
export function greedySampling(tokens: number): Sampling {
  return { ...defaultSampling(tokens), ignoreEos: true };
}

/** Sampling as the library wants it, but for what has no fixed size. */
export function packSampling(sampling: Sampling): Uint8Array {
  return packStruct(layouts.wf_sampling, {
    temperature: sampling.temperature,
    temperature_place: sampling.temperaturePlace,
    top_p: sampling.topP,
    min_p: sampling.minP,
    repetition_penalty: sampling.repetitionPenalty,
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
    top_n_sigma: sampling.topNSigma,
    typical_p: sampling.typicalP,
    xtc_probability: sampling.xtcProbability,
    xtc_threshold: sampling.xtcThreshold,
    dry_multiplier: sampling.dryMultiplier,
    dry_base: sampling.dryBase,
    dry_allowed_length: sampling.dryAllowedLength,
    dry_window: sampling.dryWindow,
    penalty_window: sampling.penaltyWindow,
    min_keep: sampling.minKeep,
    top_k: sampling.topK,
    max_tokens: sampling.maxTokens,
    min_tokens: sampling.minTokens,
    ignore_eos: sampling.ignoreEos ? 1 : 0,
    logprobs: sampling.logprobs ? 1 : 0,
    top_logprobs: sampling.logprobs || sampling.promptLogprobs ? sampling.topLogprobs : 0,
    prompt_logprobs: sampling.promptLogprobs ? 1 : 0,
    seed: sampling.seed,
    scope: sampling.scope,
  });
}

/** Lists of tokens as the library wants them: each its kind, its length and so many ids. */
export function packLists({ allowed, badWords, breakers, breakerSequences }: TokenLists): Uint32Array {
  const packed: number[] = [];
  const add = (kind: number, ids: readonly number[]) => {
    packed.push(kind, ids.length);
    for (const id of ids) packed.push(id);
  };
  if (allowed !== undefined) add(LIST_ALLOWED, allowed);
  for (const word of badWords) add(LIST_BAD_WORD, word);
  if (breakers.length > 0) add(LIST_BREAKERS, breakers);
  for (const sequence of breakerSequences) add(LIST_BREAKER, sequence);
  return Uint32Array.from(packed);
}
