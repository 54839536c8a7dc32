/**
 * Understands a Hugging Face checkpoint: a directory with config.json, one or more safetensors files and the tokenizer's files
 * becomes one description, whatever the architecture's spelling, so that nothing after this file knows where a model came from.
 * What the engine would compute wrongly is refused here, by name.
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { describeSystemError, Failure } from "../src/errors.ts";
import { type ByteSource, openByteSource, readSmallFile } from "../src/model_file/byte_source.ts";
import { ConfigFields, Fault, inside, naming, parseJson, printable } from "../src/model_file/config_fields.ts";
import { recogniseForeignFile } from "../src/model_file/foreign.ts";
import { ASSET_BYTES_MAX, assetNames, packedLayout } from "../src/model_file/layout.ts";
import { checkModelConfig, limits, type ModelConfig } from "../src/model_file/model_config.ts";
import { readSafetensorsHeader, type TensorEntry, tensorFailure } from "../src/model_file/safetensors.ts";
import { checkModelText } from "../src/text/model_text.ts";
import { endOfTextTokens } from "./special_tokens.ts";

/** How the linear layers of a checkpoint are stored. */
export type WeightForm =
  /** Full-precision weights that are quantised on conversion. */
  | "master"
  /** Four codes a byte, with a scale to multiply by. */
  | "packed, multiply"
  /** Four codes a byte, with a scale to divide by. */
  | "packed, divide";

/** A tensor of a checkpoint and the file that holds it. */
export interface SourceTensor {
  file: ByteSource;
  entry: TensorEntry;
}

/** A checkpoint that was found to be whole. */
export interface Checkpoint {
  /** The directory as it was given. */
  directory: string;
  /** The directory's own name. */
  name: string;
  config: ModelConfig;
  weights: WeightForm;
  /** By the tensor's name in the packed file. Every tensor that the layout demands is here, with the right shape. */
  tensors: Map<string, SourceTensor>;
  /** Bytes of the tokenizer's and other small files, by name, in the layout's order. */
  assets: Map<string, Uint8Array>;
  /** What a person should know although the conversion goes on; one line each. */
  notices: string[];
  /** Closes the checkpoint's files. */
  close(): void;
}

/** What sets one family of checkpoints apart from another. */
interface Family {
  activation: ModelConfig["activation"];
  subNorms: boolean;
  ropeTheta: number;
  /** Parts of tensor names that differ: ours, then theirs. */
  spelling: [string, string][];
}

const families: Record<string, Family> = {
  BitNetForCausalLM: { activation: "relu2", subNorms: true, ropeTheta: 500000, spelling: [] },
  BitnetForCausalLM: {
    activation: "silu",
    subNorms: true,
    ropeTheta: 10000,
    spelling: [
      ["self_attn.attn_sub_norm", "self_attn.inner_attn_ln"],
      ["mlp.ffn_sub_norm", "mlp.ffn_layernorm"],
    ],
  },
  LlamaForCausalLM: { activation: "silu", subNorms: false, ropeTheta: 10000, spelling: [] },
};

const INDEX_NAME = "model.safetensors.index.json";
const SINGLE_NAME = "model.safetensors";

/**
 * Opens a checkpoint and checks all of it but the weights' values.
 *
 * @throws Failure, one line that names the file, the tensor or key, and the fault
 */
export function openCheckpoint(directory: string): Checkpoint {
  const assets = readAssets(directory);
  const configPath = join(directory, "config.json");
  const fields = naming(configPath, () => new ConfigFields(parseJson(assets.get("config.json") as Uint8Array), "it"));
  const architecture = naming(configPath, () => readArchitecture(fields));
  const family = families[architecture] as Family;
  const weights = naming(configPath, () => readWeightForm(fields));
  naming(configPath, () => refuseUnsupported(fields));

  const files = openTensors(directory);
  try {
    const notices: string[] = [];
    const headAbsent = !files.tensors.has("lm_head.weight");
    const config = naming(configPath, () => readConfig(fields, architecture, family, headAbsent, notices));
    config.eosTokenIds = endOfTextTokens(directory, fields, assets, config.vocabSize);
    naming(configPath, () => checkModelConfig(config));
    if (architecture === "LlamaForCausalLM" && weights === "master" && !fields.has("quantization_config")) {
      notices.push(
        "config.json does not say that this model was trained for 1.58 bits; an ordinary model's answers will be noise",
      );
    }
    checkModelText({ assets, config }, directory, (notice) => notices.push(notice));
    return {
      directory,
      name: basename(resolve(directory)),
      config,
      weights,
      tensors: matchTensors(directory, files, config, family, weights),
      assets,
      notices,
      close: files.close,
    };
  } catch (error) {
    files.close();
    throw error;
  }
}

/** Whether a path is a directory that has the look of a checkpoint. */
export function isCheckpointDirectory(path: string): boolean {
  return existsSync(join(path, "config.json"));
}

/**
 * The files that a checkpoint is made of, those that change its conversion when they change, as paths inside the directory.
 *
 * @throws Failure when the directory cannot be listed
 */
export function checkpointFiles(directory: string): string[] {
  const names = listDirectory(directory);
  const relevant = new Set<string>([...assetNames, INDEX_NAME]);
  return names.filter((name) => relevant.has(name) || name.endsWith(".safetensors")).sort();
}

function readAssets(directory: string): Map<string, Uint8Array> {
  const names = new Set(listDirectory(directory));
  if (!names.has("config.json")) {
    throw new Failure(
      `${directory}: has no config.json, so it is not a Hugging Face checkpoint${otherContents(names)}`,
    );
  }
  const assets = new Map<string, Uint8Array>();
  for (const name of assetNames) {
    if (names.has(name)) assets.set(name, readSmallFile(join(directory, name), ASSET_BYTES_MAX));
  }
  return assets;
}

function listDirectory(directory: string): string[] {
  try {
    const status = statSync(directory);
    if (!status.isDirectory()) {
      throw new Failure(`${directory}: is not a directory${status.isFile() ? ` but ${describeFile(directory)}` : ""}`);
    }
    return readdirSync(directory);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${directory}: ${describeSystemError(error)}`);
  }
}

/** What a file is that was given in place of a checkpoint's directory, and what to do. */
function describeFile(path: string): string {
  const file = openByteSource(path);
  try {
    const head = new Uint8Array(Math.min(file.size, 64));
    file.read(0, head);
    const foreign = recogniseForeignFile(head);
    if (foreign !== null) return foreign;
    const { metadata } = readSafetensorsHeader(file);
    return metadata.get("format") === "wrinklefree"
      ? "a packed model: it is converted already"
      : "a safetensors file: give the directory that it is in, with config.json and the tokenizer";
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return "a file of a kind that is unknown here: give the directory of a Hugging Face checkpoint";
  } finally {
    file.close();
  }
}

/** Names a file that shows what else the directory might be. */
function otherContents(names: Set<string>): string {
  const other = [...names].sort().find((name) => /\.(wf|gguf|safetensors|bin)$/.test(name));
  return other === undefined ? "" : ` (it has ${printable(other)})`;
}

function readArchitecture(fields: ConfigFields): string {
  const list = fields.raw("architectures");
  const names = Array.isArray(list) ? list.filter((name): name is string => typeof name === "string") : [];
  const supported = names.find((name) => Object.hasOwn(families, name));
  if (supported !== undefined) return supported;
  const found =
    names.length > 0 ? `architecture ${names.map(printable).join(", ")} is not supported` : "it names no architecture";
  throw new Fault(`${found}; supported: ${Object.keys(families).join(", ")}`);
}

function readWeightForm(fields: ConfigFields): WeightForm {
  if (!fields.has("quantization_config")) return "master";
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
function refuseUnsupported(fields: ConfigFields): void {
  for (const key of ["attention_bias", "mlp_bias", "use_qk_norm"]) {
    if (fields.flag(key, false)) throw new Fault(`${key} is true, which is not supported`);
  }
  for (const key of ["sliding_window", "attention_chunk_size"]) {
    if (fields.has(key)) throw new Fault(`${key} is set, which is not supported`);
  }
  if (fields.whole("weight_bits", 1, 64, 1) !== 1) throw new Fault("weight_bits is not 1, which is not supported");
  if (fields.whole("input_bits", 1, 64, 8) !== 8) throw new Fault("input_bits is not 8, which is not supported");
  if (fields.has("partial_rotary_factor") && fields.raw("partial_rotary_factor") !== 1) {
    throw new Fault("partial_rotary_factor is not 1, which is not supported");
  }
  for (const key of ["rope_scaling", "rope_parameters"]) {
    if (!fields.has(key)) continue;
    const rope = new ConfigFields(fields.raw(key), key);
    const type = rope.raw("rope_type") ?? rope.raw("type") ?? "default";
    if (type !== "default") throw new Fault(`${key} of type ${JSON.stringify(type)} is not supported`);
  }
}

function readConfig(
  fields: ConfigFields,
  architecture: string,
  family: Family,
  headAbsent: boolean,
  notices: string[],
): ModelConfig {
  const vocabSize = fields.whole("vocab_size", 1, limits.vocabSize);
  const hiddenSize = fields.whole("hidden_size", 1, limits.hiddenSize);
  const heads = fields.whole("num_attention_heads", 1, limits.heads);
  if (!fields.has("head_dim") && hiddenSize % heads !== 0) {
    throw new Fault(
      `hidden_size ${hiddenSize} is not a multiple of num_attention_heads ${heads}, and head_dim is not given`,
    );
  }
  // Falcon-E leaves the head out when it is the embedding, whatever tie_word_embeddings says.
  const tied = fields.flag("tie_word_embeddings", false);
  if (headAbsent && !tied && fields.has("tie_word_embeddings")) {
    notices.push("there is no lm_head.weight although tie_word_embeddings is false: the embedding serves as the head");
  }
  return {
    architecture,
    vocabSize,
    hiddenSize,
    intermediateSize: fields.whole("intermediate_size", 1, limits.intermediateSize),
    layers: fields.whole("num_hidden_layers", 1, limits.layers),
    heads,
    kvHeads: fields.whole("num_key_value_heads", 1, heads, heads),
    headDim: fields.whole("head_dim", 1, limits.headDim, hiddenSize / heads),
    context: fields.whole("max_position_embeddings", 1, limits.context),
    ropeTheta: readRopeTheta(fields, family),
    rmsNormEps: fields.positive("rms_norm_eps", 1),
    activation: fields.oneOf("hidden_act", ["relu2", "silu"] as const, family.activation),
    subNorms: family.subNorms,
    tiedEmbeddings: tied || headAbsent,
    bosTokenId: fields.has("bos_token_id") ? fields.whole("bos_token_id", 0, vocabSize - 1) : null,
    eosTokenIds: [],
  };
}

/** Newer writers put the base inside rope_parameters. */
function readRopeTheta(fields: ConfigFields, family: Family): number {
  if (fields.has("rope_theta") || !fields.has("rope_parameters")) {
    return fields.positive("rope_theta", limits.ropeTheta, family.ropeTheta);
  }
  const parameters = new ConfigFields(fields.raw("rope_parameters"), "rope_parameters");
  return inside("rope_parameters", () => parameters.positive("rope_theta", limits.ropeTheta, family.ropeTheta));
}

/** All tensors of a directory, by the names that the checkpoint gives them. */
interface CheckpointTensors {
  /** The file that lists them, for messages. */
  listing: string;
  tensors: Map<string, SourceTensor>;
  close(): void;
}

function openTensors(directory: string): CheckpointTensors {
  const files: ByteSource[] = [];
  const close = () => {
    for (const file of files) file.close();
  };
  const open = (name: string): SourceTensor[] => {
    const file = openByteSource(join(directory, name));
    files.push(file);
    return readSafetensorsHeader(file).tensors.map((entry) => ({ file, entry }));
  };
  const single = join(directory, SINGLE_NAME);
  const index = join(directory, INDEX_NAME);
  try {
    if (existsSync(single)) {
      const tensors = new Map(open(SINGLE_NAME).map((tensor) => [tensor.entry.name, tensor]));
      return { listing: single, tensors, close };
    }
    if (existsSync(index)) return { listing: index, tensors: openShards(index, open), close };
    throw new Failure(
      `${directory}: has neither ${SINGLE_NAME} nor ${INDEX_NAME}${otherContents(new Set(listDirectory(directory)))}`,
    );
  } catch (error) {
    close();
    throw error;
  }
}

function openShards(index: string, open: (name: string) => SourceTensor[]): Map<string, SourceTensor> {
  const weightMap = naming(index, () => {
    const parsed = new ConfigFields(parseJson(readSmallFile(index, ASSET_BYTES_MAX)), "it");
    if (!parsed.has("weight_map")) throw new Fault("it has no weight_map");
    const map = parsed.raw("weight_map");
    if (typeof map !== "object" || map === null || Array.isArray(map))
      throw new Fault("weight_map is not a JSON object");
    return Object.entries(map);
  });
  const shards = new Map<string, Map<string, SourceTensor>>();
  const tensors = new Map<string, SourceTensor>();
  for (const [name, shard] of weightMap) {
    if (typeof shard !== "string" || !/^[^/\\\p{Cc}]+\.safetensors$/u.test(shard)) {
      throw tensorFailure(
        index,
        name,
        `its shard ${printable(JSON.stringify(shard))} is not the plain name of a safetensors file`,
      );
    }
    let contents = shards.get(shard);
    if (contents === undefined) {
      contents = new Map(open(shard).map((tensor) => [tensor.entry.name, tensor]));
      shards.set(shard, contents);
    }
    const tensor = contents.get(name);
    if (tensor === undefined) throw tensorFailure(index, name, `missing from ${shard}, where the index says it is`);
    tensors.set(name, tensor);
  }
  return tensors;
}

/** Finds every tensor that the layout demands, checks its dtype and shape, and refuses those that nothing would use. */
function matchTensors(
  directory: string,
  files: CheckpointTensors,
  config: ModelConfig,
  family: Family,
  weights: WeightForm,
): Map<string, SourceTensor> {
  const matched = new Map<string, SourceTensor>();
  const used = new Set<string>();
  for (const expected of packedLayout(config, new Map())) {
    if (expected.source === null || (expected.kind === "scale" && weights === "master")) continue;
    const spelling = family.spelling.find(([ours]) => expected.name.includes(ours));
    const name = spelling === undefined ? expected.name : expected.name.replace(spelling[0], spelling[1]);
    const tensor = files.tensors.get(name);
    if (tensor === undefined) throw tensorFailure(files.listing, name, "missing");
    const { rows, columns } = expected.source;
    const packed = expected.kind === "ternary" && weights !== "master";
    if (packed && rows % 4 !== 0)
      throw tensorFailure(tensor.file, name, `${rows} rows cannot be packed four to a byte`);
    const shape =
      expected.kind === "norm" || expected.kind === "scale" ? [columns] : [packed ? rows / 4 : rows, columns];
    const { dtype, shape: found } = tensor.entry;
    const sameShape = found.join() === shape.join() || (expected.kind === "scale" && found.length === 0);
    if (!sameShape) {
      const fault = `its shape is [${found.join(", ")}], but ${join(directory, "config.json")} demands [${shape.join(", ")}]`;
      throw tensorFailure(tensor.file, name, fault);
    }
    const dtypes = packed ? ["U8"] : ["BF16", "F16", "F32"];
    if (!dtypes.includes(dtype)) {
      const reason = packed
        ? "quantization_config says that weights are packed"
        : `a ${expected.kind} tensor is not read from it`;
      throw tensorFailure(tensor.file, name, `its dtype is ${dtype}, not ${dtypes.join(", ")}: ${reason}`);
    }
    matched.set(expected.name, tensor);
    used.add(name);
  }
  for (const [name, tensor] of files.tensors) {
    // A tied head's copy and the rotary tables that old versions of transformers stored carry nothing new.
    if (used.has(name) || name === "lm_head.weight" || name.endsWith(".rotary_emb.inv_freq")) continue;
    throw tensorFailure(
      tensor.file,
      name,
      `is no part of a ${config.architecture} of ${config.layers} layers, and would be lost`,
    );
  }
  return matched;
}
