/**
 * The normalised description of a model: one record for every architecture that ships as a 1.58-bit checkpoint. The converter
 * makes it from config.json, the packed file carries it as JSON, and csrc/model/config.c reads the same text, within the same bounds.
 */

import {
  ARCHITECTURE_MAX,
  CONTEXT_MAX,
  EOS_TOKENS_MAX,
  EXPERTS_MAX,
  EXPERTS_USED_MAX,
  HEAD_DIM_MAX,
  HEADS_MAX,
  HIDDEN_MAX,
  INTERMEDIATE_MAX,
  LAYERS_MAX,
  ROPE_DIVISOR_MAX,
  VOCABULARY_MAX,
} from "../engine/symbols.ts";
import { ConfigFields, Fault } from "./config_fields.ts";

/**
 * What ternary matrices are scaled by: one number for the matrix, one for each row, or one for each group of so many inputs of a row.
 */
export type WeightScales = "matrix" | "row" | "16" | "32" | "64" | "128";

/** A way to make one vector of those of a text's tokens. */
export type Pooling = "last" | "mean" | "cls";

/** What stands for a text, in words. */
export const poolingWords: Readonly<Record<Pooling, string>> = {
  last: "the last token",
  mean: "the mean of all tokens",
  cls: "the first token",
};

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
  /**
   * `original_context`: tokens that it was made for before it was stretched by LongRoPE; absent where it was not. A longer context takes
   * ropeLongDivisors, which are there as well, for all its positions.
   */
  originalContext?: number | undefined;
  /** `rope_theta`: the base of the rotary positions. */
  ropeTheta: number;
  /**
   * `rope_divisors`: what each frequency of the rotary positions is divided by, head_dim / 2 numbers; absent where none is, as in
   * models that were not stretched to a longer context.
   */
  ropeDivisors?: number[] | undefined;
  /** `rope_long_divisors`: the same for contexts longer than originalContext. */
  ropeLongDivisors?: number[] | undefined;
  /** `rope_dimensions`: of a head, the first ones, that are rotated, even; absent where all are. */
  ropeDimensions?: number | undefined;
  /** `rope_magnitude`: what rotated keys and queries are multiplied by; absent for 1. */
  ropeMagnitude?: number | undefined;
  /** `rms_norm_eps`: of every norm. */
  rmsNormEps: number;
  /** `activation`: relu(x)², x·sigmoid(x), or GELU's approximation with tanh. */
  activation: "relu2" | "silu" | "gelu_tanh";
  /** `activation_limit`: gates are at most this before the activation, what they gate is within ± this; absent for none. */
  activationLimit?: number | undefined;
  /** `gated`: false where the feed-forward is down(activation(up)); absent where it has a gate. */
  gated?: false | undefined;
  /** `sub_norms`: whether attention and feed-forward have a norm before their output projection. */
  subNorms: boolean;
  /** `input_norms`: whether every projection has a norm of its own before it; absent for none, as with all that follows. */
  inputNorms?: true | undefined;
  /** `post_norms`: whether what attention and feed-forward give goes through a norm. */
  postNorms?: true | undefined;
  /** `qk_norms`: whether each head's query and key go through a norm. */
  qkNorms?: true | undefined;
  /** `scales`: of the ternary matrices; absent for one a matrix. */
  scales?: Exclude<WeightScales, "matrix"> | undefined;
  /** `ternary_embedding`: whether the embedding is ternary, by the groups of the matrices, or else of 128. */
  ternaryEmbedding?: true | undefined;
  /** `ternary_head`: whether a head of its own is. */
  ternaryHead?: true | undefined;
  /** `embedding_scale`: what embeddings are multiplied by. */
  embeddingScale?: number | undefined;
  /** `residual_scale`: what attention and feed-forward are multiplied by where they are added. */
  residualScale?: number | undefined;
  /** `logit_divisor`: what the head's inputs are divided by. */
  logitDivisor?: number | undefined;
  /** `attention_scale`: what scores are multiplied by, if it is not 1/√head_dim. */
  attentionScale?: number | undefined;
  /** `sliding_window`: how many tokens a sliding layer sees, its own included. */
  slidingWindow?: number | undefined;
  /** `sliding_layers`: 1 for each layer that is one, else 0. */
  slidingLayers?: number[] | undefined;
  /** `sliding_rope_theta`: the base of their rotary positions, if they have one of their own. */
  slidingRopeTheta?: number | undefined;
  /** `full_rope`: false where the other layers have no rotary positions. */
  fullRope?: false | undefined;
  /** `experts`: of each layer, of intermediateSize neurons each. */
  experts?: number | undefined;
  /** `experts_used`: by each token. */
  expertsUsed?: number | undefined;
  /** `router`: `identity` always takes the first ones; absent for the largest shares of a softmax. */
  router?: "identity" | undefined;
  /** `normalises_shares`: whether the shares of the experts that are used are made to add up to 1. */
  normalisesShares?: true | undefined;
  /** `pooling`: what a text's embedding is made of; absent for a model that gives tokens. */
  pooling?: Pooling | undefined;
  /** `mask_token_id`: a token that no answer has: it stands for those that are not known yet, where a model was trained so. */
  maskTokenId?: number | undefined;
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
  experts: EXPERTS_MAX,
  expertsUsed: EXPERTS_USED_MAX,
  architectureBytes: ARCHITECTURE_MAX,
};

/** Tokens of a context where none is asked for. */
export function defaultContext({ context, originalContext }: Pick<ModelConfig, "context" | "originalContext">): number {
  return originalContext ?? context;
}

/** The widest groups that ternary matrices are scaled by; undefined where they have no groups. */
export function scaleGroup({ scales }: Pick<ModelConfig, "scales">): number | undefined {
  return scales === undefined || scales === "row" ? undefined : Number(scales);
}

/** The groups of a ternary embedding or head, whatever scales the layers' matrices. */
export function vocabularyGroup(config: Pick<ModelConfig, "scales">): number {
  return scaleGroup(config) ?? 128;
}

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
    original_context: config.originalContext,
    rope_theta: config.ropeTheta,
    rope_dimensions: config.ropeDimensions,
    rope_divisors: config.ropeDivisors,
    rope_long_divisors: config.ropeLongDivisors,
    rope_magnitude: config.ropeMagnitude,
    rms_norm_eps: config.rmsNormEps,
    activation: config.activation,
    activation_limit: config.activationLimit,
    gated: config.gated,
    sub_norms: config.subNorms,
    input_norms: config.inputNorms,
    post_norms: config.postNorms,
    qk_norms: config.qkNorms,
    scales: config.scales,
    ternary_embedding: config.ternaryEmbedding,
    ternary_head: config.ternaryHead,
    embedding_scale: config.embeddingScale,
    residual_scale: config.residualScale,
    logit_divisor: config.logitDivisor,
    attention_scale: config.attentionScale,
    sliding_window: config.slidingWindow,
    sliding_layers: config.slidingLayers,
    sliding_rope_theta: config.slidingRopeTheta,
    full_rope: config.fullRope,
    experts: config.experts,
    experts_used: config.expertsUsed,
    router: config.router,
    normalises_shares: config.normalisesShares,
    pooling: config.pooling,
    mask_token_id: config.maskTokenId,
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
  const optional = <Value>(key: string, read: (key: string) => Value) => (fields.has(key) ? read(key) : undefined);
  const factor = (key: string) => optional(key, () => fields.positive(key, limits.ropeTheta));
  const divisors = (key: string) => optional(key, () => fields.positives(key, limits.ropeDivisor));
  // What is as in most models is not stated.
  const stated = <Value extends boolean>(key: string, value: Value) =>
    optional(key, () => {
      if (fields.flag(key) === value) return value;
      throw new Fault(`${key} is ${!value}, which is not to be stated`);
    });
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
    originalContext: optional("original_context", (key) => fields.whole(key, 1, limits.context)),
    ropeTheta: fields.positive("rope_theta", limits.ropeTheta),
    ropeDivisors: divisors("rope_divisors"),
    ropeLongDivisors: divisors("rope_long_divisors"),
    ropeDimensions: optional("rope_dimensions", (key) => fields.whole(key, 2, limits.headDim)),
    ropeMagnitude: factor("rope_magnitude"),
    rmsNormEps: fields.positive("rms_norm_eps", 1),
    activation: fields.oneOf("activation", ["relu2", "silu", "gelu_tanh"] as const),
    activationLimit: factor("activation_limit"),
    gated: stated("gated", false),
    subNorms: fields.flag("sub_norms"),
    inputNorms: stated("input_norms", true),
    postNorms: stated("post_norms", true),
    qkNorms: stated("qk_norms", true),
    scales: optional("scales", (key) => fields.oneOf(key, ["row", "16", "32", "64", "128"] as const)),
    ternaryEmbedding: stated("ternary_embedding", true),
    ternaryHead: stated("ternary_head", true),
    embeddingScale: factor("embedding_scale"),
    residualScale: factor("residual_scale"),
    logitDivisor: factor("logit_divisor"),
    attentionScale: factor("attention_scale"),
    slidingWindow: optional("sliding_window", (key) => fields.whole(key, 1, limits.context)),
    slidingLayers: optional("sliding_layers", (key) => fields.wholes(key, 0, 1)),
    slidingRopeTheta: factor("sliding_rope_theta"),
    fullRope: stated("full_rope", false),
    experts: optional("experts", (key) => fields.whole(key, 1, limits.experts)),
    expertsUsed: optional("experts_used", (key) => fields.whole(key, 1, limits.expertsUsed)),
    router: optional("router", (key) => fields.oneOf(key, ["identity"] as const)),
    normalisesShares: stated("normalises_shares", true),
    pooling: optional("pooling", (key) => fields.oneOf(key, ["last", "mean", "cls"] as const)),
    maskTokenId: optional("mask_token_id", (key) => fields.whole(key, 0, vocabSize - 1)),
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
  const rotated = config.ropeDimensions ?? config.headDim;
  if (rotated % 2 !== 0 || rotated > config.headDim) {
    throw new Fault(`rope_dimensions is ${rotated}; an even number up to ${config.headDim} is needed`);
  }
  const { ropeDivisors, ropeLongDivisors, originalContext } = config;
  for (const [key, list] of Object.entries({ rope_divisors: ropeDivisors, rope_long_divisors: ropeLongDivisors })) {
    if (list === undefined || list.length === rotated / 2) continue;
    throw new Fault(`there are ${list.length} ${key}; ${rotated / 2} are needed`);
  }
  if ((ropeLongDivisors === undefined) !== (originalContext === undefined)) {
    throw new Fault("of original_context and rope_long_divisors, one is there without the other");
  }
  if (originalContext !== undefined && originalContext > config.context) {
    throw new Fault(`original_context ${originalContext} is above the context of ${config.context}`);
  }
  const { slidingLayers } = config;
  if (
    (slidingLayers?.length ?? layers) !== layers ||
    (slidingLayers === undefined) !== (config.slidingWindow === undefined)
  ) {
    throw new Fault(`sliding_layers are not ${layers} numbers beside a sliding_window`);
  }
  const { experts = 0, expertsUsed = 0 } = config;
  const isPlain = !config.subNorms && !config.inputNorms && config.gated !== false && neurons === undefined;
  if (experts > 0 && !isPlain) throw new Fault("experts have gates, as many neurons each, and no norms of their own");
  if (expertsUsed > experts || (experts > 0 && expertsUsed === 0)) {
    throw new Fault(`${expertsUsed} of ${experts} experts cannot be used`);
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
  const matrices = config.gated === false ? 2 : 3;
  const feedForward = matrices * intermediateSize * hiddenSize * (config.experts ?? 1);
  const router = config.experts === undefined || config.router === "identity" ? 0 : config.experts * hiddenSize;
  const subNorms = config.subNorms ? heads * headDim + intermediateSize : 0;
  const inputNorms = config.inputNorms
    ? 3 * hiddenSize + heads * headDim + (matrices - 1) * hiddenSize + intermediateSize
    : 0;
  const norms =
    2 * hiddenSize +
    subNorms +
    inputNorms +
    (config.postNorms ? 2 * hiddenSize : 0) +
    (config.qkNorms ? 2 * headDim : 0);
  const embeddings = vocabSize * hiddenSize * (config.tiedEmbeddings ? 1 : 2);
  return embeddings + config.layers * (attention + feedForward + router + norms) + hiddenSize;
}
