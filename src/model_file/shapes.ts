/**
 * The sizes of the 1.58-bit models that people run, from their published configurations, so that a model's cost can be known
 * without the model. Nothing that serves a model looks here: a checkpoint brings its own configuration.
 */

import type { ModelConfig } from "./model_config.ts";

/** A configuration but for the ids of special tokens, which belong to a tokenizer. */
export type Shape = Omit<ModelConfig, "bosTokenId" | "eosTokenIds">;

/** What the two first 1.58-bit models of the original authors' reproduction have in common. */
const olderBitnet = {
  architecture: "BitnetForCausalLM",
  vocabSize: 32002,
  context: 2048,
  ropeTheta: 10000,
  rmsNormEps: 1e-5,
  activation: "silu",
  subNorms: true,
  tiedEmbeddings: true,
} as const;

const falcon3 = {
  architecture: "LlamaForCausalLM",
  vocabSize: 131072,
  kvHeads: 4,
  headDim: 256,
  context: 32768,
  ropeTheta: 1000042,
  rmsNormEps: 1e-6,
  activation: "silu",
  subNorms: false,
  tiedEmbeddings: false,
} as const;

/** Ternary-Bonsai: Qwen3 with ternary embeddings, scaled by groups, and YaRN at every position. */
const bonsai = {
  architecture: "Qwen3ForCausalLM",
  vocabSize: 151669,
  headDim: 128,
  kvHeads: 8,
  ropeTheta: 1000000,
  ropeMagnitude: 1.138629436111989,
  rmsNormEps: 1e-6,
  activation: "silu",
  subNorms: false,
  qkNorms: true,
  scales: "128",
  ternaryEmbedding: true,
} as const;

/** BitCPM: MiniCPM with its three factors. */
const bitcpm = {
  architecture: "MiniCPMForCausalLM",
  vocabSize: 73448,
  context: 32768,
  ropeTheta: 10000,
  rmsNormEps: 1e-5,
  activation: "silu",
  subNorms: false,
  scales: "128",
  embeddingScale: 12,
  tiedEmbeddings: true,
} as const;

/** By the name that a command line uses. */
export const shapes: Record<string, Shape> = {
  /** The demonstration model inside the executable. */
  tiny: {
    architecture: "BitNetForCausalLM",
    vocabSize: 2048,
    hiddenSize: 256,
    intermediateSize: 768,
    layers: 5,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    context: 2048,
    ropeTheta: 500000,
    rmsNormEps: 1e-5,
    activation: "relu2",
    subNorms: true,
    tiedEmbeddings: true,
  },
  /** bitnet_b1_58-large, 0.7 G parameters. */
  large: { ...olderBitnet, hiddenSize: 1536, intermediateSize: 4096, layers: 24, heads: 16, kvHeads: 16, headDim: 96 },
  /** bitnet_b1_58-3B. */
  "3b": { ...olderBitnet, hiddenSize: 3200, intermediateSize: 8640, layers: 26, heads: 32, kvHeads: 32, headDim: 100 },
  /** BitNet-b1.58-2B-4T. */
  "2b-4t": {
    architecture: "BitNetForCausalLM",
    vocabSize: 128256,
    hiddenSize: 2560,
    intermediateSize: 6912,
    layers: 30,
    heads: 20,
    kvHeads: 5,
    headDim: 128,
    context: 4096,
    ropeTheta: 500000,
    rmsNormEps: 1e-5,
    activation: "relu2",
    subNorms: true,
    tiedEmbeddings: true,
  },
  /** Llama3-8B-1.58-100B-tokens. */
  "llama3-8b": {
    architecture: "LlamaForCausalLM",
    vocabSize: 128256,
    hiddenSize: 4096,
    intermediateSize: 14336,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    context: 8192,
    ropeTheta: 500000,
    rmsNormEps: 1e-5,
    activation: "silu",
    subNorms: false,
    tiedEmbeddings: false,
  },
  /** Falcon3-…-Instruct-1.58bit. */
  "falcon3-1b": { ...falcon3, hiddenSize: 2048, intermediateSize: 8192, layers: 18, heads: 8, context: 8192 },
  "falcon3-3b": { ...falcon3, hiddenSize: 3072, intermediateSize: 9216, layers: 22, heads: 12 },
  "falcon3-7b": { ...falcon3, hiddenSize: 3072, intermediateSize: 23040, layers: 28, heads: 12 },
  "bitcpm-0.5b": {
    ...bitcpm,
    hiddenSize: 1024,
    intermediateSize: 4096,
    layers: 24,
    heads: 16,
    kvHeads: 2,
    headDim: 64,
    residualScale: 1.4 / Math.sqrt(24),
    logitDivisor: 1024 / 256,
  },
  "bitcpm-1b": {
    ...bitcpm,
    hiddenSize: 1536,
    intermediateSize: 3840,
    layers: 52,
    heads: 24,
    kvHeads: 8,
    headDim: 64,
    residualScale: 1.4 / Math.sqrt(52),
    logitDivisor: 1536 / 256,
  },
  "bitcpm-8b": {
    ...bitcpm,
    hiddenSize: 4096,
    intermediateSize: 16384,
    layers: 32,
    heads: 32,
    kvHeads: 2,
    headDim: 128,
    residualScale: 1.4 / Math.sqrt(32),
    logitDivisor: 4096 / 256,
  },
  "bonsai-1.7b": {
    ...bonsai,
    hiddenSize: 2048,
    intermediateSize: 6144,
    layers: 28,
    heads: 16,
    context: 32768,
    tiedEmbeddings: true,
  },
  "bonsai-4b": {
    ...bonsai,
    hiddenSize: 2560,
    intermediateSize: 9728,
    layers: 36,
    heads: 32,
    context: 32768,
    ropeTheta: 5000000,
    tiedEmbeddings: true,
  },
  "bonsai-8b": {
    ...bonsai,
    hiddenSize: 4096,
    intermediateSize: 12288,
    layers: 36,
    heads: 32,
    context: 65536,
    tiedEmbeddings: false,
    ternaryHead: true,
  },
  /** The sizes of Qwen3-30B-A3B, ternary by groups of 128. */
  "qwen3moe-30b-a3b": {
    architecture: "Qwen3MoeForCausalLM",
    vocabSize: 151936,
    hiddenSize: 2048,
    intermediateSize: 768,
    layers: 48,
    heads: 32,
    kvHeads: 4,
    headDim: 128,
    context: 32768,
    ropeTheta: 1000000,
    rmsNormEps: 1e-6,
    activation: "silu",
    subNorms: false,
    qkNorms: true,
    scales: "128",
    experts: 128,
    expertsUsed: 8,
    normalisesShares: true,
    tiedEmbeddings: false,
  },
  "falcon3-10b": { ...falcon3, hiddenSize: 3072, intermediateSize: 23040, layers: 40, heads: 12 },
};
