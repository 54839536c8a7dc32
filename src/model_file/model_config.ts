/**
 * The normalised description of a model: one record for every architecture that ships as a 1.58-bit checkpoint. The converter
 * makes it from config.json, the packed file carries it as JSON, and csrc/model/config.c reads the same text, within the same bounds.
 */

import {
  ARCHITECTURE_MAX,
  CONTEXT_MAX,
  EOS_TOKENS_MAX,
  HEAD_DIM_MAX,
  HEADS_MAX,
  HIDDEN_MAX,
  INTERMEDIATE_MAX,
  LAYERS_MAX,
  ROPE_DIVISOR_MAX,
  VOCABULARY_MAX,
} from "../engine/symbols.ts";
import { ConfigFields, Fault } from "./config_fields.ts";

/** What the graph needs to know of a model. The comments give the key in the packed file. */
export interface ModelConfig {
  /** `architecture`: the source's name for it, for display only. */
  architecture: string;
  /** `vocab_size`: token ids are below this. */
  vocabSize: number;
  /** `hidden_size`, even. */
  hiddenSize: number;
  /** `intermediate_size`, even. */
  intermediateSize: number;
  /**
   * `ffn_neurons`: how many of the intermediate neurons each layer has, even; absent where all have all. Those that are always zero were
   * left out; the sub-norm's mean is of intermediateSize elements all the same.
   */
  ffnNeurons?: number[] | undefined;
  /** `layers`. */
  layers: number;
  /** `heads`: query heads, a multiple of kvHeads. */
  heads: number;
  /** `kv_heads`: key and value heads. */
  kvHeads: number;
  /** `head_dim`, even. */
  headDim: number;
  /** `context`: tokens that the model was made for. */
  context: number;
  /** `rope_theta`: the base of the rotary positions. */
  ropeTheta: number;
  /**
   * `rope_divisors`: what each frequency of the rotary positions is divided by, head_dim / 2 numbers; absent where none is, as in
   * models that were not stretched to a longer context.
   */
  ropeDivisors?: number[] | undefined;
  /** `rms_norm_eps`: of every norm. */
  rmsNormEps: number;
  /** `activation`: relu(x)² or x·sigmoid(x). */
  activation: "relu2" | "silu";
  /** `sub_norms`: whether attention and feed-forward have a norm before their output projection. */
  subNorms: boolean;
  /** `tied_embeddings`: whether the head is the embedding. */
  tiedEmbeddings: boolean;
  /** `bos_token_id`: null when the model has none. */
  bosTokenId: number | null;
  /** `eos_token_ids`: each of them ends an answer. */
  eosTokenIds: number[];
}

/** The largest values that the library accepts; ropeTheta, the largest fp32, and ropeDivisor are the first that it does not. */
export const limits = {
  vocabSize: VOCABULARY_MAX,
  hiddenSize: HIDDEN_MAX,
  intermediateSize: INTERMEDIATE_MAX,
  layers: LAYERS_MAX,
  heads: HEADS_MAX,
  headDim: HEAD_DIM_MAX,
  context: CONTEXT_MAX,
  ropeTheta: 3.4028234663852886e38,
  ropeDivisor: ROPE_DIVISOR_MAX,
  eosTokens: EOS_TOKENS_MAX,
  architectureBytes: ARCHITECTURE_MAX,
};

/** The JSON text of a configuration: compact, in the packed format's order, every key present but for those that may be absent. */
export function encodeModelConfig(config: ModelConfig): string {
  return JSON.stringify({
    architecture: config.architecture,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    ffn_neurons: config.ffnNeurons,
    layers: config.layers,
    heads: config.heads,
    kv_heads: config.kvHeads,
    head_dim: config.headDim,
    context: config.context,
    rope_theta: config.ropeTheta,
    rope_divisors: config.ropeDivisors,
    rms_norm_eps: config.rmsNormEps,
    activation: config.activation,
    sub_norms: config.subNorms,
    tied_embeddings: config.tiedEmbeddings,
    bos_token_id: config.bosTokenId,
    eos_token_ids: config.eosTokenIds,
  });
}

/**
 * Reads the JSON text that encodeModelConfig wrote and checks every value.
 *
 * @throws Fault.
 */
export function decodeModelConfig(text: string): ModelConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Fault("the config is not JSON");
  }
  const fields = new ConfigFields(parsed, "the config");
  const vocabSize = fields.whole("vocab_size", 1, limits.vocabSize);
  const config: ModelConfig = {
    architecture: fields.text("architecture"),
    vocabSize,
    hiddenSize: fields.whole("hidden_size", 1, limits.hiddenSize),
    intermediateSize: fields.whole("intermediate_size", 1, limits.intermediateSize),
    ffnNeurons: fields.has("ffn_neurons") ? fields.wholes("ffn_neurons", 2, limits.intermediateSize) : undefined,
    layers: fields.whole("layers", 1, limits.layers),
    heads: fields.whole("heads", 1, limits.heads),
    kvHeads: fields.whole("kv_heads", 1, limits.heads),
    headDim: fields.whole("head_dim", 1, limits.headDim),
    context: fields.whole("context", 1, limits.context),
    ropeTheta: fields.positive("rope_theta", limits.ropeTheta),
    ropeDivisors: fields.has("rope_divisors") ? fields.positives("rope_divisors", limits.ropeDivisor) : undefined,
    rmsNormEps: fields.positive("rms_norm_eps", 1),
    activation: fields.oneOf("activation", ["relu2", "silu"] as const),
    subNorms: fields.flag("sub_norms"),
    tiedEmbeddings: fields.flag("tied_embeddings"),
    bosTokenId: fields.has("bos_token_id") ? fields.whole("bos_token_id", 0, vocabSize - 1) : null,
    eosTokenIds: fields.wholes("eos_token_ids", 0, vocabSize - 1),
  };
  if (!Array.isArray(fields.raw("eos_token_ids"))) throw new Fault("eos_token_ids is not a list");
  const known = Object.keys(JSON.parse(encodeModelConfig(config)));
  if (fields.keys().sort().join() !== known.sort().join()) {
    throw new Fault(`the config does not have exactly the keys ${known.join(", ")}`);
  }
  checkModelConfig(config);
  return config;
}

/**
 * Checks what no single field shows: divisibility and list lengths.
 *
 * @throws Fault.
 */
export function checkModelConfig(config: ModelConfig): void {
  const even: [string, number][] = [
    ["hidden_size", config.hiddenSize],
    ["intermediate_size", config.intermediateSize],
    ["head_dim", config.headDim],
  ];
  for (const [key, value] of even) {
    if (value % 2 !== 0) throw new Fault(`${key} is ${value}; an even number is needed`);
  }
  const { ffnNeurons: neurons, layers, intermediateSize } = config;
  if (neurons !== undefined) {
    const isInBounds = neurons.every((count) => count % 2 === 0 && count <= intermediateSize);
    if (neurons.length !== layers || !isInBounds) {
      throw new Fault(`ffn_neurons are not ${layers} even numbers up to ${intermediateSize}`);
    }
  }
  if (config.ropeDivisors !== undefined && config.ropeDivisors.length !== config.headDim / 2) {
    throw new Fault(`there are ${config.ropeDivisors.length} rope_divisors; ${config.headDim / 2} are needed`);
  }
  if (config.heads % config.kvHeads !== 0) {
    throw new Fault(`${config.heads} attention heads cannot share ${config.kvHeads} key-value heads evenly`);
  }
  if (config.eosTokenIds.length > limits.eosTokens) {
    throw new Fault(`${config.eosTokenIds.length} end-of-text ids are over the limit of ${limits.eosTokens}`);
  }
  if (new TextEncoder().encode(config.architecture).length > limits.architectureBytes) {
    throw new Fault(`the architecture's name is longer than ${limits.architectureBytes} bytes`);
  }
}

/** The number of weights of a model, norms included, a shared head counted once. */
export function parameterCount(config: ModelConfig): number {
  const { vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const attention = 2 * heads * headDim * hiddenSize + 2 * kvHeads * headDim * hiddenSize;
  const subNorms = config.subNorms ? heads * headDim + intermediateSize : 0;
  const layer = attention + 3 * intermediateSize * hiddenSize + 2 * hiddenSize + subNorms;
  const embeddings = vocabSize * hiddenSize * (config.tiedEmbeddings ? 1 : 2);
  return embeddings + config.layers * layer + hiddenSize;
}
