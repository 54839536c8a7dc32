/**
 * Understands a checkpoint's config.json, whatever the architecture's spelling. What the engine would compute wrongly is refused
 * here, by name.
 */

import { ConfigFields, Fault, inside, printable } from "../src/model_file/config_fields.ts";
import { limits, type ModelConfig } from "../src/model_file/model_config.ts";
import { mlxGroup } from "./mlx.ts";
import { longContextNotice, readBaseOf, readRotaryPositions } from "./rope_scaling.ts";

/** How the linear layers of a checkpoint are stored. */
export type WeightForm =
  /** Full-precision weights that are quantised on conversion. */
  | "master"
  /** Four codes a byte, with a scale to multiply by. */
  | "packed, multiply"
  /** Four codes a byte, with a scale to divide by. */
  | "packed, divide";

/** What sets one family of checkpoints apart from another. */
export interface Family {
  activation: ModelConfig["activation"];
  subNorms: boolean;
  ropeTheta: number;
  /** Elements of a head where config.json does not say it; absent for hidden_size / num_attention_heads. */
  headDim?: number;
  /** Parts of tensor names that differ: ours, then theirs. */
  spelling: [string, string][];
  /** What share of a head's dimensions is rotated where config.json does not say it; absent: all, and nothing else is supported. */
  rotatedShare?: number;
  /** How master weights become ternary; absent: by their mean magnitude. */
  masters?: "thresholds";
  /** Whether norms but those of projections hold what is above 1. */
  normsAboveOne?: boolean;
  /** Whether some of its layers see a window: the type of those that have a rotary base of their own, or "all" where they have not. */
  windows?: "sliding_attention" | "all";
  /** Whether the feed-forward has no gate. */
  isUngated?: boolean;
  /** Whether its models were trained for 1.58 bits, all of them. */
  isTernary?: boolean;
  /** What else its configurations say, or its tensors by their being there. */
  parts?: (fields: ConfigFields, config: ModelConfig, has: (tensor: string) => boolean) => Partial<ModelConfig>;
}

/** How most spell a router and experts; `*` stands for an expert's number. */
const expertNames: [string, string][] = [
  ["mlp.router", "mlp.gate"],
  ["mlp.experts.", "mlp.experts.*."],
];

const llama: Family = { activation: "silu", subNorms: false, ropeTheta: 10000, spelling: [] };

export const families: Record<string, Family> = {
  BitNetForCausalLM: {
    activation: "relu2",
    subNorms: true,
    ropeTheta: 500000,
    spelling: [
      ["mlp.router.weight", "mlp.router.gate.weight"],
      ["mlp.experts.", "mlp.experts.*."],
    ],
    isTernary: true,
    parts: originalExperts,
  },
  BitnetForCausalLM: {
    activation: "silu",
    subNorms: true,
    ropeTheta: 10000,
    spelling: [
      ["self_attn.attn_sub_norm", "self_attn.inner_attn_ln"],
      ["mlp.ffn_sub_norm", "mlp.ffn_layernorm"],
    ],
    isTernary: true,
  },
  LlamaForCausalLM: llama,
  ArceeForCausalLM: { ...llama, activation: "relu2", isUngated: true },
  Qwen3ForCausalLM: { ...llama, headDim: 128, parts: (_, __, has) => ({ ...inputNorms(has), qkNorms: true }) },
  MiniCPMForCausalLM: { ...llama, parts: miniCpm },
  MixtralForCausalLM: {
    ...llama,
    spelling: [
      ["mlp.router", "block_sparse_moe.gate"],
      ["mlp.experts.gate_proj", "block_sparse_moe.experts.*.w1"],
      ["mlp.experts.up_proj", "block_sparse_moe.experts.*.w3"],
      ["mlp.experts.down_proj", "block_sparse_moe.experts.*.w2"],
    ],
    parts: (fields) => ({ ...experts(fields, "num_local_experts"), normalisesShares: true }),
  },
  Qwen3Model: {
    ...llama,
    headDim: 128,
    isTernary: true,
    parts: (_, __, has) => ({ ...embedding(has), qkNorms: true }),
  },
  Gemma3TextModel: {
    ...llama,
    activation: "gelu_tanh",
    headDim: 256,
    isTernary: true,
    normsAboveOne: true,
    windows: "sliding_attention",
    spelling: [
      ["attention_post_norm", "post_attention_layernorm"],
      ["post_attention_layernorm", "pre_feedforward_layernorm"],
      ["ffn_post_norm", "post_feedforward_layernorm"],
    ],
    parts: gemma3,
  },
  MapleForCausalLM: {
    ...llama,
    headDim: 128,
    rotatedShare: 0.5,
    masters: "thresholds",
    windows: "all",
    isTernary: true,
    spelling: [...expertNames, ["model.embed_tokens", "model.word_embeddings"]],
    parts: maple,
  },
  Qwen3MoeForCausalLM: { ...llama, headDim: 128, spelling: expertNames, parts: qwen3Moe },
};

/**
 * Maple: three of four layers see a window, the token itself not counted, and only these have rotary positions, in half of each head. Gates
 * and what they gate are limited. Its config.json states little, so the published model's numbers stand in.
 */
function maple(fields: ConfigFields, { layers, headDim }: ModelConfig): Partial<ModelConfig> {
  const rotated = headDim * rotatedShare(fields, 0.5);
  return {
    ...experts(fields, "num_experts"),
    qkNorms: true,
    intermediateSize: fields.whole("moe_intermediate_size", 1, limits.intermediateSize),
    normalisesShares: fields.flag("norm_topk_prob", true) ? true : undefined,
    ropeDimensions: rotated === headDim ? undefined : rotated,
    fullRope: false,
    slidingWindow: fields.whole("sliding_window", 1, limits.context - 1, 512) + 1,
    slidingLayers: slidingLayers(fields, layers, 4),
    activationLimit: fields.positive("swiglu_limit", limits.ropeTheta, 7),
  };
}

/** 1 for each layer that sees a window, else 0. Where a config.json does not say which: all but the last of every `period`. */
function slidingLayers(fields: ConfigFields, layers: number, period: number): number[] {
  const types: unknown = fields.raw("layer_types");
  if (!Array.isArray(types)) return Array.from({ length: layers }, (_, layer) => Number((layer + 1) % period !== 0));
  if (types.length !== layers) throw new Fault(`layer_types has ${types.length} entries for ${layers} layers`);
  return types.map((type) => Number(type === "sliding_attention"));
}

/** What share of a head's dimensions is rotated. */
function rotatedShare(fields: ConfigFields, fallback: number): number {
  const share = fields.positive("partial_rotary_factor", 2, fallback);
  if (share <= 1) return share;
  throw new Fault(`partial_rotary_factor is ${share}; a share up to 1 is needed`);
}

/** BitNet-embedding's norms, one before each projection. The last token stands for a text, unless files beside the model say otherwise. */
function inputNorms(has: (tensor: string) => boolean): Partial<ModelConfig> {
  const isNormed = ["", "model."].some((prefix) => has(`${prefix}layers.0.self_attn.q_proj.norm.weight`));
  return isNormed ? { inputNorms: true, pooling: "last" } : {};
}

/** What models without a head have in common. */
function embedding(has: (tensor: string) => boolean): Partial<ModelConfig> {
  return { ...inputNorms(has), pooling: "last" };
}

/** Gemma 3: norms before and after, layers that see a window and have a rotary base of their own, scaled embeddings. */
function gemma3(
  fields: ConfigFields,
  { hiddenSize, layers, headDim, context }: ModelConfig,
  has: (tensor: string) => boolean,
): Partial<ModelConfig> {
  for (const key of ["attn_logit_softcapping", "final_logit_softcapping"]) {
    if (fields.has(key)) throw new Fault(`${key} is set, which is not supported`);
  }
  const period = fields.whole("sliding_window_pattern", 1, limits.layers, 6);
  return {
    ...embedding(has),
    qkNorms: true,
    postNorms: true,
    embeddingScale: Math.sqrt(hiddenSize),
    attentionScale: 1 / Math.sqrt(fields.positive("query_pre_attn_scalar", limits.ropeTheta, headDim)),
    slidingWindow: fields.whole("sliding_window", 1, limits.context, context),
    slidingLayers: slidingLayers(fields, layers, period),
    slidingRopeTheta: readBaseOf(fields, "sliding_attention", "rope_local_base_freq", 10000),
  };
}

/** Qwen3's mixtures, whose experts have a width of their own. */
function qwen3Moe(fields: ConfigFields): Partial<ModelConfig> {
  if (fields.whole("decoder_sparse_step", 0, limits.layers, 1) !== 1 || listed(fields, "mlp_only_layers")) {
    throw new Fault("decoder_sparse_step or mlp_only_layers demands layers without experts, which is not supported");
  }
  return {
    ...experts(fields, "num_experts"),
    qkNorms: true,
    intermediateSize: fields.whole("moe_intermediate_size", 1, limits.intermediateSize),
    normalisesShares: fields.flag("norm_topk_prob", false) ? true : undefined,
  };
}

/**
 * The original system's mixtures: BitNet's layers without norms before the output and down projections. Without a router's weights a token
 * always has the first experts.
 */
function originalExperts(fields: ConfigFields, _: ModelConfig, has: (tensor: string) => boolean): Partial<ModelConfig> {
  if (!fields.has("num_local_experts")) return {};
  const isRouted = has("model.layers.0.mlp.router.gate.weight");
  return {
    ...experts(fields, "num_local_experts"),
    subNorms: false,
    router: isRouted ? undefined : "identity",
    normalisesShares: isRouted && fields.flag("normalize_expert_weights", true) ? true : undefined,
  };
}

function listed(fields: ConfigFields, key: string): boolean {
  const value = fields.raw(key) ?? [];
  return !Array.isArray(value) || value.length > 0;
}

/** How many experts there are, and how many a token has. */
function experts(fields: ConfigFields, key: string): Partial<ModelConfig> {
  const count = fields.whole(key, 1, limits.experts);
  for (const shared of ["n_shared_experts", "num_shared_experts", "shared_expert_intermediate_size"]) {
    if (fields.has(shared) && fields.raw(shared) !== 0) throw new Fault(`${shared} is set, which is not supported`);
  }
  // Other models' ways to choose experts, and to weigh them.
  const others = { scoring_func: "softmax", routed_scaling_factor: 1, n_group: 1, topk_group: 1 };
  for (const [other, usual] of Object.entries(others)) {
    const value = fields.raw(other) ?? usual;
    if (value !== usual) throw new Fault(`${other} is ${printable(JSON.stringify(value))}, which is not supported`);
  }
  return {
    experts: count,
    expertsUsed: fields.whole("num_experts_per_tok", 1, Math.min(count, limits.expertsUsed), 2),
  };
}

/** MiniCPM's three factors. */
function miniCpm(fields: ConfigFields, { hiddenSize, layers }: ModelConfig): Partial<ModelConfig> {
  if (fields.has("sparse_config")) {
    throw new Fault(
      "sparse_config is set: attention to chosen tokens is not supported; without it tokens see all before them",
    );
  }
  const factor = (key: string, fallback: number) => fields.positive(key, limits.ropeTheta, fallback);
  return {
    embeddingScale: factor("scale_emb", 1),
    residualScale: factor("scale_depth", Math.sqrt(layers)) / Math.sqrt(layers),
    logitDivisor: hiddenSize / factor("dim_model_base", hiddenSize),
  };
}

export function readArchitecture(fields: ConfigFields): string {
  const list = fields.raw("architectures");
  const names = Array.isArray(list) ? list.filter((name): name is string => typeof name === "string") : [];
  const supported = names.find((name) => Object.hasOwn(families, name));
  if (supported !== undefined) return supported;
  const found =
    names.length > 0 ? `architecture ${names.map(printable).join(", ")} is not supported` : "it names no architecture";
  throw new Fault(`${found}; supported: ${Object.keys(families).join(", ")}`);
}

export function readWeightForm(fields: ConfigFields): WeightForm {
  // MLX repeats its own `quantization` there.
  if (!fields.has("quantization_config") || mlxGroup(fields) !== undefined) return "master";
  const quantization = new ConfigFields(fields.raw("quantization_config"), "quantization_config");
  return inside("quantization_config", () => {
    quantization.oneOf("quant_method", ["bitnet"]);
    if (quantization.flag("use_rms_norm", false)) {
      throw new Fault("use_rms_norm is true; a norm inside each linear layer is not supported");
    }
    const unconverted = quantization.has("modules_to_not_convert") ? quantization.raw("modules_to_not_convert") : [];
    // The head and the embedding are never ternary here; any other exception would be a linear layer in full precision.
    const allowed = ["lm_head", "model.embed_tokens", "embed_tokens"];
    if (!Array.isArray(unconverted) || !unconverted.every((name) => allowed.includes(name))) {
      throw new Fault("modules_to_not_convert names more than lm_head; layers in full precision are not supported");
    }
    const mode = quantization.oneOf("quantization_mode", ["offline", "online"], "offline");
    const linearClass = quantization.oneOf("linear_class", ["bitlinear", "autobitlinear"], "bitlinear");
    if (mode === "online") return "master";
    return linearClass === "autobitlinear" ? "packed, multiply" : "packed, divide";
  });
}

/** Refuses settings that would change the computation and that the engine does not know. */
export function refuseUnsupported(fields: ConfigFields, family: Family): void {
  const hasWindows = family.windows !== undefined;
  if (fields.flag("use_bidirectional_attention", false) || !fields.flag("is_causal", true)) {
    throw new Fault(
      "its tokens see those behind them too (use_bidirectional_attention, is_causal), which is not supported",
    );
  }
  for (const key of ["attention_bias", "mlp_bias", "use_qk_norm"]) {
    if (fields.flag(key, false)) throw new Fault(`${key} is true, which is not supported`);
  }
  for (const key of ["sliding_window", "attention_chunk_size"]) {
    // Qwen's configurations state a window that is not used.
    if (key === "sliding_window" && (hasWindows || !fields.flag("use_sliding_window", true))) continue;
    if (fields.has(key)) throw new Fault(`${key} is set, which is not supported`);
  }
  if (fields.whole("weight_bits", 1, 64, 1) !== 1) throw new Fault("weight_bits is not 1, which is not supported");
  if (fields.whole("input_bits", 1, 64, 8) !== 8) throw new Fault("input_bits is not 8, which is not supported");
  const layerTypes: unknown = fields.raw("layer_types") ?? [];
  if (!Array.isArray(layerTypes)) throw new Fault("layer_types is no list");
  const other: unknown = layerTypes.find((type) => type !== "full_attention");
  if (other !== undefined && !(hasWindows && other === "sliding_attention")) {
    throw new Fault(`layer_types holds ${printable(JSON.stringify(other))}; only full_attention is supported`);
  }
  // Neither is needed, as every tensor has its own type; but one of them belongs to another checkpoint.
  const types = ["dtype", "torch_dtype"].filter((key) => fields.has(key));
  const [newer, older] = types.map((key) => fields.text(key).replace(/^torch\./, ""));
  if (types.length === 2 && newer !== older) {
    throw new Fault(
      `dtype '${printable(newer as string)}' and torch_dtype '${printable(older as string)}' contradict each other`,
    );
  }
}

/** Gemma calls it `hidden_activation`, and GELU's approximation by another library's name. */
function readActivation(fields: ConfigFields, fallback: ModelConfig["activation"]): ModelConfig["activation"] {
  if (fallback !== "gelu_tanh") return fields.oneOf("hidden_act", ["relu2", "silu"] as const, fallback);
  fields.oneOf("hidden_activation", ["gelu_pytorch_tanh"] as const, "gelu_pytorch_tanh");
  return fallback;
}

export function readConfig(
  fields: ConfigFields,
  architecture: string,
  family: Family,
  has: (tensor: string) => boolean,
  notices: string[],
): ModelConfig {
  const headAbsent = !has("lm_head.weight");
  const vocabSize = fields.whole("vocab_size", 1, limits.vocabSize);
  const hiddenSize = fields.whole("hidden_size", 1, limits.hiddenSize);
  const heads = fields.whole("num_attention_heads", 1, limits.heads);
  if (!fields.has("head_dim") && family.headDim === undefined && hiddenSize % heads !== 0) {
    throw new Fault(
      `hidden_size ${hiddenSize} is not a multiple of num_attention_heads ${heads}, and head_dim is not given`,
    );
  }
  // Falcon-E leaves the head out when it is the embedding, whatever tie_word_embeddings says.
  const tied = fields.flag("tie_word_embeddings", false);
  if (headAbsent && !tied && fields.has("tie_word_embeddings")) {
    notices.push("there is no lm_head.weight although tie_word_embeddings is false: the embedding serves as the head");
  }
  const headDim = fields.whole("head_dim", 1, limits.headDim, family.headDim ?? hiddenSize / heads);
  const share = family.rotatedShare === undefined ? 1 : rotatedShare(fields, family.rotatedShare);
  // An odd head is refused elsewhere.
  if (share !== 1 && (headDim * share) % 2 !== 0)
    throw new Fault(`${share} of a head's ${headDim} dimensions are no even number`);
  const rotary = readRotaryPositions(fields, family.ropeTheta, headDim * share, share, family.windows);
  const context = fields.whole("max_position_embeddings", 1, limits.context);
  if (rotary.originalContext !== undefined) notices.push(longContextNotice(rotary.originalContext, context));
  const config: ModelConfig = {
    architecture,
    vocabSize,
    hiddenSize,
    intermediateSize: fields.whole("intermediate_size", 1, limits.intermediateSize),
    layers: fields.whole("num_hidden_layers", 1, limits.layers),
    heads,
    kvHeads: fields.whole("num_key_value_heads", 1, heads, heads),
    headDim,
    context,
    originalContext: rotary.originalContext,
    ropeTheta: rotary.theta,
    ropeDivisors: rotary.divisors,
    ropeLongDivisors: rotary.longDivisors,
    ropeMagnitude: rotary.magnitude,
    rmsNormEps: fields.positive("rms_norm_eps", 1),
    activation: readActivation(fields, family.activation),
    gated: family.isUngated ? false : undefined,
    subNorms: family.subNorms,
    tiedEmbeddings: tied || headAbsent,
    bosTokenId: fields.has("bos_token_id") ? fields.whole("bos_token_id", 0, vocabSize - 1) : null,
    eosTokenIds: [],
  };
  return { ...config, ...family.parts?.(fields, config, has) };
}
