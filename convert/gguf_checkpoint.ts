/** Understands a GGUF file: the keys of its architecture become the configuration, its tensors get their names in the packed file. */

import { ConfigFields, Fault, naming, printable } from "../src/model_file/config_fields.ts";
import type { GgufValue } from "../src/model_file/gguf.ts";
import { ggufName } from "../src/model_file/gguf_names.ts";
import { TERNARY_BLOCKS } from "../src/model_file/gguf_types.ts";
import { checkModelConfig, limits, type ModelConfig } from "../src/model_file/model_config.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { checkModelText } from "../src/text/model_text.ts";
import type { Checkpoint, SourceOptions } from "./checkpoint.ts";
import { blockForm, encodedBytes } from "./encodings.ts";
import { type GgufFiles, openGgufFiles } from "./gguf_files.ts";
import { type GgufTokenizer, tokenizerFromGguf } from "./gguf_tokenizer.ts";
import { FLOATS, matchTensors, readNumber, requireScale, type Spelling } from "./match_tensors.ts";
import { unfollowedNotice } from "./pooling.ts";
import { linearDivisors, longContextNotice, longRope, yarn } from "./rope_scaling.ts";
import type { SourceTensor, TernaryForm } from "./source_tensor.ts";
import { maskOfTokenizer } from "./special_tokens.ts";
import { chooseScales } from "./weight_scales.ts";

/** What sets one architecture apart from another. */
interface Architecture {
  activation: ModelConfig["activation"];
  subNorms: boolean;
  ropeTheta: number;
  /** Whether the rows of q and k stand as neighbours for the rotary positions. */
  interleaved: boolean;
  /** Whether the feed-forward has no gate. */
  isUngated?: boolean;
  /** Keys that this architecture has, of those that others must not have. */
  keys?: readonly string[];
  /** What else its metadata say. */
  parts?: (fields: ConfigFields, config: ModelConfig, has: (tensor: string) => boolean) => Partial<ModelConfig>;
}

const relu2: Architecture = { activation: "relu2", subNorms: true, ropeTheta: 500000, interleaved: false };

/** Keys of mixtures of experts. */
const EXPERT_KEYS = ["expert_count", "expert_used_count"];

const llama: Architecture = { activation: "silu", subNorms: false, ropeTheta: 10000, interleaved: true };

const architectures: Record<string, Architecture> = {
  "bitnet-b1.58": relu2,
  "bitnet-25": relu2,
  bitnet: { activation: "silu", subNorms: true, ropeTheta: 10000, interleaved: false },
  llama: { ...llama, keys: EXPERT_KEYS, parts: experts },
  qwen3: {
    ...llama,
    interleaved: false,
    parts: (_, __, has) => ({ ...inputNorms(has), qkNorms: true }),
  },
  gemma3: {
    ...llama,
    activation: "gelu_tanh",
    interleaved: false,
    keys: ["attention.sliding_window"],
    parts: gemma3,
  },
  qwen3moe: {
    ...llama,
    interleaved: false,
    keys: EXPERT_KEYS,
    parts: (fields) => ({ ...experts(fields), qkNorms: true }),
  },
  arcee: { ...llama, activation: "relu2", isUngated: true },
  minicpm: { ...llama, keys: ["embedding_scale", "residual_scale", "logit_scale"], parts: miniCpm },
};

/** How many experts there are, and how many a token has; nothing of a model without. */
function experts(fields: ConfigFields): Partial<ModelConfig> {
  if (!fields.has("expert_count") || fields.raw("expert_count") === 0) return {};
  const count = fields.whole("expert_count", 1, limits.experts);
  const gating = fields.whole("expert_gating_func", 0, 255, 1);
  if (gating !== 1) throw new Fault(`expert_gating_func is ${gating}, which is not supported; 1, a softmax, is`);
  const scale = fields.raw("expert_weights_scale") ?? 1;
  if (scale !== 1 && scale !== 0) throw new Fault(`expert_weights_scale is ${scale}, which is not supported`);
  const neurons = fields.has("expert_feed_forward_length")
    ? { intermediateSize: fields.whole("expert_feed_forward_length", 1, limits.intermediateSize) }
    : {};
  return {
    ...neurons,
    experts: count,
    expertsUsed: fields.whole("expert_used_count", 1, Math.min(count, limits.expertsUsed)),
    normalisesShares: fields.flag("expert_weights_norm", true) ? true : undefined,
  };
}

/** What a text's embedding is made of, by pooling_type: 0 stands for none. */
const POOLINGS = [undefined, "mean", "cls", "last"] as const;

function pooling(fields: ConfigFields): Partial<ModelConfig> {
  const type = fields.whole("pooling_type", 0, 255, 0);
  if (type >= POOLINGS.length) {
    throw new Fault(`pooling_type is ${type}, which is not supported; 1 (mean), 2 (cls) and 3 (last) are`);
  }
  return type === 0 ? {} : { pooling: POOLINGS[type] };
}

/** What is not followed of pooling_type; undefined where it is followed, or not there. */
function poolingNotice(fields: ConfigFields, architecture: string, held: ModelConfig["pooling"]): string | undefined {
  if (held === undefined || !fields.has("pooling_type")) return undefined;
  const stated = pooling(fields).pooling;
  if (stated === held) return undefined;
  return unfollowedNotice(`${architecture}.pooling_type is ${fields.raw("pooling_type")} (${stated ?? "none"})`, held);
}

/**
 * BitNet-embedding's norms, one before each projection. The last token stands for a text then, whatever pooling_type says: published files
 * state the mean, which a notice says.
 */
function inputNorms(has: (tensor: string) => boolean): Partial<ModelConfig> {
  return has("blk.0.attn_q_norm_in.weight") ? { inputNorms: true, pooling: "last" } : {};
}

/** Gemma 3: every sixth layer sees all, the others a window, with a rotary base of their own; a file without a window has neither. */
function gemma3(
  fields: ConfigFields,
  { hiddenSize, layers }: ModelConfig,
  has: (tensor: string) => boolean,
): Partial<ModelConfig> {
  const window = fields.raw("attention.sliding_window") ?? 0;
  const sliding =
    window === 0
      ? {}
      : {
          slidingWindow: fields.whole("attention.sliding_window", 1, limits.context),
          slidingLayers: Array.from({ length: layers }, (_, layer) => Number((layer + 1) % 6 !== 0)),
          slidingRopeTheta: fields.positive("rope.freq_base_swa", limits.ropeTheta, 10000),
        };
  return { ...inputNorms(has), ...sliding, qkNorms: true, postNorms: true, embeddingScale: Math.sqrt(hiddenSize) };
}

/** MiniCPM's three factors; older files lack them, and mean those of the first models. */
function miniCpm(fields: ConfigFields, { hiddenSize, layers }: ModelConfig): Partial<ModelConfig> {
  const factor = (key: string, fallback: number) => fields.positive(key, limits.ropeTheta, fallback);
  return {
    embeddingScale: factor("embedding_scale", 12),
    residualScale: factor("residual_scale", 1.4 / Math.sqrt(layers)),
    logitDivisor: factor("logit_scale", hiddenSize / 256),
  };
}

/** Parts of tensors' names: ours, then theirs. */
const parts: readonly [string, string][] = [
  ["model.embed_tokens", "token_embd"],
  ["model.norm", "output_norm"],
  ["lm_head", "output"],
  ["model.layers", "blk"],
  ["input_layernorm", "attn_norm"],
  ["attention_post_norm", "post_attention_norm"],
  ["ffn_post_norm", "post_ffw_norm"],
  ["self_attn.q_proj", "attn_q"],
  ["self_attn.k_proj", "attn_k"],
  ["self_attn.v_proj", "attn_v"],
  ["self_attn.attn_sub_norm", "attn_sub_norm"],
  ["self_attn.q_norm", "attn_q_norm"],
  ["self_attn.k_norm", "attn_k_norm"],
  ["self_attn.o_proj", "attn_output"],
  ["post_attention_layernorm", "ffn_norm"],
  ["mlp.router", "ffn_gate_inp"],
  ["mlp.experts.gate_proj", "ffn_gate_exps"],
  ["mlp.experts.up_proj", "ffn_up_exps"],
  ["mlp.experts.down_proj", "ffn_down_exps"],
  ["mlp.gate_proj", "ffn_gate"],
  ["mlp.up_proj", "ffn_up"],
  ["mlp.ffn_sub_norm", "ffn_sub_norm"],
  ["mlp.down_proj", "ffn_down"],
];

/** Keys behind the architecture's name that would change the computation, and that the engine does not know. */
const unsupported = [
  "expert_count",
  "expert_used_count",
  "expert_shared_count",
  "expert_group_count",
  "leading_dense_block_count",
  "attention.sliding_window",
  "attention.max_alibi_bias",
  "attention.clamp_kqv",
  "attention.scale",
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "embedding_scale",
  "residual_scale",
  "logit_scale",
  "use_parallel_residual",
  "swin_norm",
];

/** Keys that would name an activation; files of these architectures have none. */
const activationKeys = ["hidden_activation", "hidden_act", "activation"];

/** The tensor with Llama 3's divisors of the rotary frequencies. */
const ROPE_DIVISORS = "rope_freqs.weight";

/** Those with LongRoPE's, for contexts up to the original one, and for longer ones. */
const SHORT_DIVISORS = "rope_factors_short.weight";
const LONG_DIVISORS = "rope_factors_long.weight";

/**
 * Opens a GGUF file, with its parts if it is one of several, and checks all of it but the weights' values.
 *
 * @throws Failure, one line that names the file, the tensor or key, and the fault
 */
export function openGgufCheckpoint(path: string, options: SourceOptions = {}): Checkpoint {
  const files = openGgufFiles(path, (metadata) => naming(path, () => readArchitecture(metadata)));
  try {
    const name = readArchitecture(files.metadata);
    const architecture = architectures[name] as Architecture;
    const fields = new ConfigFields(numbersOf(files.metadata, name), `its metadata under '${name}.'`);
    const tokenizer = naming(path, () => tokenizerFromGguf(files.metadata, options));
    const { assets, notices } = tokenizer;
    const config = naming(path, () => readConfig(files, name, architecture, fields, tokenizer));
    config.maskTokenId = maskOfTokenizer(path, assets, config.vocabSize);
    // A model that gives embeddings needs no head.
    if (config.pooling !== undefined) config.tiedEmbeddings = true;
    naming(path, () => checkModelConfig(config));
    const { originalContext, context } = config;
    if (originalContext !== undefined) notices.push(longContextNotice(originalContext, context));
    const unfollowed = poolingNotice(fields, name, config.pooling);
    if (unfollowed !== undefined) notices.push(unfollowed);
    checkModelText({ assets, config }, path, (notice) => notices.push(notice));
    const tensors = matchTensors(files, config, spelling(path, config, architecture));
    chooseScales(config, tensors);
    return {
      path,
      name: ggufName(path),
      format: `GGUF file, weights: ${typesOf(files).join(", ")}`,
      config,
      tensors,
      assets,
      notices,
      close: files.close,
    };
  } catch (error) {
    files.close();
    throw error;
  }
}

function readArchitecture(metadata: Map<string, GgufValue>): string {
  const rotated = [...metadata.keys()].find((key) => key.startsWith("prism.hadamard."));
  if (rotated !== undefined) {
    throw new Fault(`it has the key '${printable(rotated)}': weights in a rotated basis are not supported`);
  }
  const kind = metadata.get("general.type") ?? "model";
  if (kind !== "model") throw new Fault(`it is of type '${printable(String(kind))}', no model`);
  const name = metadata.get("general.architecture");
  if (typeof name === "string" && Object.hasOwn(architectures, name)) return name;
  const found =
    typeof name === "string" ? `architecture '${printable(name)}' is not supported` : "it names no architecture";
  throw new Fault(`${found}; supported: ${Object.keys(architectures).join(", ")}`);
}

/** The keys that begin with a name and a dot, without them. */
function numbersOf(metadata: Map<string, GgufValue>, name: string): Record<string, unknown> {
  const prefix = `${name}.`;
  const entries = [...metadata].filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(
    entries.map(([key, value]) => [key.slice(prefix.length), typeof value === "bigint" ? Number(value) : value]),
  );
}

function readConfig(
  files: GgufFiles,
  architecture: string,
  { activation, subNorms, ropeTheta, interleaved, isUngated, keys, parts: ownParts }: Architecture,
  fields: ConfigFields,
  { bosTokenId, eosTokenIds }: GgufTokenizer,
): ModelConfig {
  refuseUnsupported(fields, architecture, activation, keys ?? []);
  const embedding = files.tensors.get("token_embd.weight");
  if (embedding === undefined) throw tensorFailure(files.listing, "token_embd.weight", "missing");
  const hiddenSize = fields.whole("embedding_length", 1, limits.hiddenSize);
  const heads = fields.whole("attention.head_count", 1, limits.heads);
  const vocabSize = embedding.shape[0] as number;
  if (vocabSize > limits.vocabSize)
    throw new Fault(`it has ${vocabSize} tokens, over the limit of ${limits.vocabSize}`);
  if (!fields.has("attention.key_length") && hiddenSize % heads !== 0) {
    throw new Fault(`embedding_length ${hiddenSize} is no multiple of attention.head_count ${heads}`);
  }
  const headDim = fields.whole("attention.key_length", 1, limits.headDim, hiddenSize / heads);
  const valueLength = fields.whole("attention.value_length", 1, limits.headDim, headDim);
  if (valueLength !== headDim) {
    throw new Fault(
      `attention.value_length ${valueLength} differs from the ${headDim} of keys, which is not supported`,
    );
  }
  const rotated = fields.whole("rope.dimension_count", 1, limits.headDim, headDim);
  if (rotated !== headDim) {
    throw new Fault(`rope.dimension_count is ${rotated}, not the ${headDim} of a head, which is not supported`);
  }
  if (interleaved && headDim % 2 !== 0) throw new Fault(`a head has ${headDim} dimensions; an even number is needed`);
  const config: ModelConfig = {
    architecture,
    vocabSize,
    hiddenSize,
    intermediateSize: fields.whole("feed_forward_length", 1, limits.intermediateSize),
    layers: fields.whole("block_count", 1, limits.layers),
    heads,
    kvHeads: fields.whole("attention.head_count_kv", 1, heads, heads),
    headDim,
    context: fields.whole("context_length", 1, limits.context),
    ropeTheta: fields.positive("rope.freq_base", limits.ropeTheta, ropeTheta),
    rmsNormEps: fields.positive("attention.layer_norm_rms_epsilon", 1),
    activation,
    gated: isUngated ? false : undefined,
    subNorms,
    tiedEmbeddings: !files.tensors.has("output.weight"),
    bosTokenId,
    eosTokenIds,
  };
  return {
    ...config,
    ...readStretch(files, fields, config),
    ...pooling(fields),
    ...ownParts?.(fields, config, (name) => files.tensors.has(name)),
  };
}

function refuseUnsupported(
  fields: ConfigFields,
  architecture: string,
  activation: string,
  supported: readonly string[],
): void {
  for (const key of unsupported.filter((name) => !supported.includes(name))) {
    const value = fields.raw(key);
    // Writers state what is off, too.
    if (value === undefined || value === 0 || value === false) continue;
    throw new Fault(`${architecture}.${key} is ${printable(String(value))}, which is not supported`);
  }
  if (!fields.flag("attention.causal", true)) {
    throw new Fault(
      `${architecture}.attention.causal is false: its tokens see those behind them too, which is not supported`,
    );
  }
  for (const key of activationKeys) {
    const value = fields.raw(key) ?? activation;
    if (value === activation) continue;
    throw new Fault(`${architecture}.${key} is '${printable(String(value))}'; supported: ${activation}`);
  }
}

/** What rotary positions are stretched by: as keys state it, or by tensors with the divisors themselves. */
function readStretch(files: GgufFiles, fields: ConfigFields, config: ModelConfig): Partial<ModelConfig> {
  const { headDim, ropeTheta: theta } = config;
  const rotation = { theta, dimensions: headDim };
  const factor = fields.raw("rope.scaling.factor") ?? fields.raw("rope.scale_linear") ?? 1;
  const kind = fields.raw("rope.scaling.type") ?? "linear";
  const isScaling = kind !== "none" && factor !== 0 && factor !== 1;
  if (isScaling && kind !== "linear" && kind !== "yarn" && kind !== "longrope") {
    throw new Fault(
      `rope.scaling.type is '${printable(String(kind))}', which is not supported; none, linear, yarn and longrope are`,
    );
  }
  const original = fields.whole("rope.scaling.original_context_length", 1, limits.context, config.context);
  const [short, long, plain] = [SHORT_DIVISORS, LONG_DIVISORS, ROPE_DIVISORS].map((name) =>
    readDivisors(files, name, headDim),
  );
  if (long !== undefined && short === undefined) throw new Fault(`it has ${LONG_DIVISORS} without ${SHORT_DIVISORS}`);
  const stated = plain ?? short;
  if (stated !== undefined) {
    if (isScaling && kind !== "longrope") {
      throw new Fault(`it has both rotary divisors and rope.scaling.factor, which is not supported`);
    }
    const magnitude = fields.positive("rope.scaling.attn_factor", limits.ropeDivisor, 1);
    const stretch = longRope(stated, long, { original, context: config.context });
    return {
      ropeDivisors: stretch.divisors,
      ropeMagnitude: magnitude === 1 ? undefined : magnitude,
      originalContext: stretch.originalContext,
      ropeLongDivisors: stretch.longDivisors,
    };
  }
  if (!isScaling) return {};
  const stretch = positive(factor, "rope.scaling.factor");
  if (kind === "linear") return { ropeDivisors: linearDivisors(stretch, rotation) };
  if (kind === "longrope") throw new Fault(`rope.scaling.type is longrope, but there is no tensor ${SHORT_DIVISORS}`);
  const number = (key: string, fallback: number) =>
    fields.positive(`rope.scaling.${key}`, limits.ropeDivisor, fallback);
  for (const [key, usual] of [
    ["yarn_ext_factor", 1],
    ["yarn_log_multiplier", 0],
  ] as const) {
    const value = fields.raw(`rope.scaling.${key}`) ?? usual;
    // Below 0 stands for the usual one.
    if (value === usual || (typeof value === "number" && value < 0)) continue;
    throw new Fault(`rope.scaling.${key} is ${printable(String(value))}, which is not supported`);
  }
  // `attn_factor` is for what differs from YaRN's own magnitude.
  const { divisors, magnitude } = yarn(
    {
      factor: stretch,
      original,
      fast: number("yarn_beta_fast", 32),
      slow: number("yarn_beta_slow", 1),
      isTruncated: true,
      magnitude: (1 + 0.1 * Math.log(stretch)) * number("yarn_attn_factor", number("attn_factor", 1)),
    },
    rotation,
  );
  return { ropeDivisors: divisors, ropeMagnitude: magnitude };
}

function readDivisors(files: GgufFiles, name: string, headDim: number): number[] | undefined {
  const tensor = files.tensors.get(name);
  if (tensor === undefined) return undefined;
  if (tensor.dtype !== "F32" || tensor.shape.join() !== String(headDim / 2)) {
    const found = `${tensor.dtype} [${tensor.shape.join(", ")}]`;
    throw tensorFailure(tensor.file, tensor.name, `it is ${found}, not F32 [${headDim / 2}]`);
  }
  const values = new Float32Array(headDim / 2);
  tensor.read(0, new Uint8Array(values.buffer));
  return [...values].map((value) => positive(value, name));
}

function positive(value: unknown, name: string): number {
  return new ConfigFields({ [name]: value }, "it").positive(name, limits.ropeDivisor);
}

function spelling(path: string, config: ModelConfig, { interleaved }: Architecture): Spelling {
  return {
    configName: `the metadata of ${path}`,
    expect({ name: ours, kind, experts: count, source: { rows, columns } }) {
      const replaced = parts.reduce((text, [our, their]) => text.replace(our, their), ours);
      // The norms of projections.
      const name = replaced.replace(/((?:attn|ffn)_\w+)\.norm\.weight$/, "$1_norm_in.weight");
      if (kind !== "ternary") {
        const reason = `a ${kind} tensor is not read from it`;
        if (kind === "norm" || kind === "router") return { name, dtypes: FLOATS, reason };
        return {
          name,
          dtypes: [...FLOATS, "Q8_0", "Q6_K", "Q4_0", ...TERNARY_BLOCKS],
          reason,
          // An embedding may be ternary too.
          ternary: (tensor) => blockForm(tensor),
        };
      }
      return {
        name,
        ...(count === undefined ? {} : { shape: [count, rows / count, columns] }),
        dtypes: [...FLOATS, "I2_S", ...TERNARY_BLOCKS],
        reason: "it does not keep ternary weights as they are",
        interleavedRows: interleaved && /\.(q|k)_proj\./.test(ours) ? config.headDim : 1,
        // Files of llama.cpp's own `bitnet` may have weights of −1, 0 and 1, and beside them what they are to be multiplied by.
        scale: { name: name.replace(/weight$/, "scale"), isRequired: false },
        ternary: (tensor, scale) =>
          ternaryForm(tensor, scale === undefined ? 1 : requireScale(scale, readNumber(scale))),
      };
    },
    // A model that gives embeddings needs no head.
    isNeedless: (name) =>
      [ROPE_DIVISORS, SHORT_DIVISORS, LONG_DIVISORS].includes(name) ||
      (config.pooling !== undefined && name === "output.weight"),
  };
}

function ternaryForm(tensor: SourceTensor, factor: number): TernaryForm {
  const blocks = blockForm(tensor, factor);
  if (blocks !== null) return blocks;
  if (tensor.dtype !== "I2_S") return { kind: "values", factor };
  const { shape } = tensor;
  const stored = new Float32Array(1);
  const weights = shape.reduce((product, size) => product * size, 1);
  tensor.read(encodedBytes("I2_S", weights), new Uint8Array(stored.buffer));
  return { kind: "I2_S", scale: requireScale(tensor, stored[0] as number, (stored[0] as number) * factor) };
}

/** The encodings of the ternary matrices. */
function typesOf(files: GgufFiles): string[] {
  const matrices = [...files.tensors.values()].filter(({ name }) => /^blk\.\d+\.(attn|ffn)_(?!.*norm)/.test(name));
  return [...new Set(matrices.map(({ dtype }) => dtype))].sort();
}
