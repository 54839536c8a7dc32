/** How a request's tokens are chosen. */

import { packStruct } from "./library.ts";
import { layouts } from "./symbols.ts";

/** How a request's tokens are chosen; the meaning and the ranges are those of wf_sampling in wrinklefree.h. */
export interface Sampling {
  temperature: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
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
  /** What the answer has to be, as src/grammar/ writes it; undefined: anything. The engine must know its vocabulary. */
  grammar: Uint8Array | undefined;
}

/** Greedy sampling with nothing else in its way. */
export function defaultSampling(maxTokens: number): Sampling {
  return {
    temperature: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
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
    top_p: sampling.topP,
    min_p: sampling.minP,
    repetition_penalty: sampling.repetitionPenalty,
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
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
