/** Understands a Hugging Face checkpoint: a directory with config.json, one or more safetensors files and the tokenizer's files. */

import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { ternaryGroup, ternaryMagnitude } from "../src/engine/library.ts";
import { Failure } from "../src/errors.ts";
import { readSmallFile } from "../src/model_file/byte_source.ts";
import { ConfigFields, naming, parseJson } from "../src/model_file/config_fields.ts";
import { TERNARY_BLOCKS } from "../src/model_file/gguf_types.ts";
import { ASSET_BYTES_MAX, assetNames, descriptionNames, packedLayout } from "../src/model_file/layout.ts";
import { checkModelConfig, type ModelConfig } from "../src/model_file/model_config.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { checkModelText } from "../src/text/model_text.ts";
import type { Checkpoint } from "./checkpoint.ts";
import {
  type Family,
  families,
  readArchitecture,
  readConfig,
  readWeightForm,
  refuseUnsupported,
  type WeightForm,
} from "./checkpoint_config.ts";
import { listDirectory, otherContents } from "./checkpoint_directory.ts";
import { blockForm, weightSource } from "./encodings.ts";
import { FLOATS, matchTensors, readNumber, requireScale, type Spelling } from "./match_tensors.ts";
import { mlxGroup, mlxTensors } from "./mlx.ts";
import { readPooling } from "./pooling.ts";
import { INDEX_NAME, openSafetensors } from "./safetensors_files.ts";
import type { SourceTensor, SourceTensors, TernaryForm } from "./source_tensor.ts";
import { endOfTextTokens, maskToken } from "./special_tokens.ts";
import { chooseScales } from "./weight_scales.ts";

/**
 * Opens a directory and checks all of it but the weights' values.
 *
 * @throws Failure, one line that names the file, the tensor or key, and the fault
 */
export function openHuggingFace(directory: string): Checkpoint {
  const assets = readAssets(directory);
  const configPath = join(directory, "config.json");
  const text = assets.get("config.json");
  if (text === undefined) {
    const other = otherContents(new Set(listDirectory(directory)));
    throw new Failure(`${directory}: has no config.json, so it is not a Hugging Face checkpoint${other}`);
  }
  const parsed = naming(configPath, () => parseJson(text));
  // Before the tensors' files are opened, so that what is not supported is said first.
  naming(configPath, () => readArchitecture(new ConfigFields(parsed, "it")));
  const group = naming(configPath, () => mlxGroup(new ConfigFields(parsed, "it")));
  const stored = openSafetensors(directory);
  try {
    const files = group === undefined ? stored : mlxTensors(stored, group);
    const { fields, family, weights, config, notices } = describeModel(directory, configPath, parsed, assets, files);
    // Models without a head are often stored without the name of what is below it.
    const isBare = files.tensors.has(spelt(family, true, "model.embed_tokens.weight"));
    const nameOf = (name: string) => spelt(family, isBare, name);
    const looked = () => (group === undefined ? lookAtWeights(files, config, nameOf) : "ternary values");
    const form = weights === "master" ? looked() : weights;
    const isStated = family.isTernary || fields.has("quantization_config");
    if (form === "master" && !isStated) {
      notices.push(
        "config.json does not say that this model was trained for 1.58 bits; an ordinary model's answers will be noise",
      );
    }
    const tensors = matchTensors(files, config, spelling(directory, { family, isBare, form }));
    chooseScales(config, tensors);
    return {
      path: directory,
      name: basename(resolve(directory)),
      format: `Hugging Face checkpoint, weights: ${form}`,
      config,
      tensors,
      assets,
      notices,
      close: files.close,
    };
  } catch (error) {
    stored.close();
    throw error;
  }
}

/**
 * The files that a checkpoint is made of, those that change its conversion when they change, as paths inside the directory.
 *
 * @throws Failure when the directory cannot be listed
 */
export function checkpointFiles(directory: string): string[] {
  const names = listDirectory(directory).filter((name) => name === INDEX_NAME || name.endsWith(".safetensors"));
  const descriptions = descriptionNames.filter((name) => existsSync(join(directory, name)));
  return [...names, ...descriptions, ...presentAssets(directory)].sort();
}

/** The small files that a directory has, as paths inside it. */
function presentAssets(directory: string): (typeof assetNames)[number][] {
  const names = new Set(listDirectory(directory));
  return assetNames.filter((name) => names.has(name) || (name.includes("/") && existsSync(join(directory, name))));
}

/** The small files of a directory that a packed file takes along, by name. @throws Failure */
export function readAssets(directory: string): Map<string, Uint8Array> {
  return new Map<string, Uint8Array>(
    presentAssets(directory).map((name) => [name, readSmallFile(join(directory, name), ASSET_BYTES_MAX)]),
  );
}

/**
 * Understands a config.json.
 *
 * @param directory where the assets lie
 * @param configPath where the configuration is, for messages
 * @param parsed its JSON
 * @param files the checkpoint's tensors
 * @throws Failure naming the file, the key and the fault
 */
export function describeModel(
  directory: string,
  configPath: string,
  parsed: unknown,
  assets: Map<string, Uint8Array>,
  files: SourceTensors,
) {
  const fields = naming(configPath, () => new ConfigFields(parsed, "it"));
  const architecture = naming(configPath, () => readArchitecture(fields));
  const family = families[architecture] as Family;
  const weights = naming(configPath, () => readWeightForm(fields));
  naming(configPath, () => refuseUnsupported(fields, family));
  const notices: string[] = [];
  const has = (tensor: string) => files.tensors.has(tensor);
  const config = naming(configPath, () => readConfig(fields, architecture, family, has, notices));
  config.maskTokenId = maskToken(directory, assets, config.vocabSize);
  // The last token stands for the text where an embedding model does not say otherwise; any model may be made one.
  const onNotice = (notice: string) => void notices.push(notice);
  config.pooling = readPooling(directory, config.hiddenSize, config.pooling, onNotice);
  // A model that gives embeddings needs no head.
  if (config.pooling !== undefined) config.tiedEmbeddings = true;
  config.eosTokenIds = endOfTextTokens(directory, fields, assets, config.vocabSize);
  naming(configPath, () => checkModelConfig(config));
  checkModelText({ assets, config }, directory, onNotice);
  return { fields, architecture, family, weights, config, notices };
}

/** What a family calls a tensor of the packed file. */
function spelt({ spelling: parts }: Family, isBare: boolean, ours: string): string {
  const name = isBare ? ours.replace(/^model\./, "") : ours;
  const differing = parts.find(([part]) => name.includes(part));
  return differing === undefined ? name : name.replace(differing[0], differing[1]);
}

/** How the linear layers' tensors are stored, and what they are called. */
function spelling(
  directory: string,
  { family, isBare, form }: { family: Family; isBare: boolean; form: StoredForm },
): Spelling {
  const packed = form === "packed, multiply" || form === "packed, divide";
  return {
    configName: join(directory, "config.json"),
    expect({ name: ours, kind, experts, source: { rows, columns } }) {
      const name = spelt(family, isBare, ours);
      const addend = family.normsAboveOne && !/_proj\.norm\./.test(ours) ? 1 : 0;
      const parts =
        experts === undefined
          ? undefined
          : Array.from({ length: experts }, (_, expert) => name.replace("*", String(expert)));
      if (kind !== "ternary") {
        const reason = `a ${kind} tensor is not read from it`;
        const blocks = kind === "embedding" ? TERNARY_BLOCKS : [];
        return {
          name,
          dtypes: [...FLOATS, ...blocks],
          reason,
          ...(kind === "norm" ? { addend } : {}),
          ternary: (tensor) => blockForm(tensor),
        };
      }
      if (!packed) {
        const ternary = (tensor: SourceTensor): TernaryForm =>
          blockForm(tensor) ??
          (form === "master" ? { kind: family.masters ?? "master" } : { kind: "values", factor: 1 });
        const reason = "a ternary tensor is not read from it";
        return {
          name,
          dtypes: [...FLOATS, ...TERNARY_BLOCKS],
          reason,
          ternary,
          ...(parts === undefined ? {} : { parts }),
        };
      }
      if (parts !== undefined) throw new Failure(`${directory}: packed weights of experts are not supported`);
      return {
        name,
        shape: [Math.ceil(rows / 4), columns],
        dtypes: ["U8"],
        reason: "quantization_config says that weights are packed",
        scale: { name: `${name}_scale`, isRequired: true },
        ternary(tensor, scale) {
          if (rows % 4 !== 0) {
            throw tensorFailure(tensor.file, name, `${rows} rows cannot be packed four to a byte`);
          }
          const stored = readNumber(scale as SourceTensor);
          const factor = form === "packed, divide" ? 1 / stored : stored;
          return { kind: "quarters", scale: requireScale(scale as SourceTensor, stored, factor) };
        },
      };
    },
    // A tied head's copy and the rotary tables that old versions of transformers stored carry nothing new.
    isNeedless: (name) => name === "lm_head.weight" || name.endsWith(".rotary_emb.inv_freq"),
  };
}

/** How the linear layers are stored: as config.json says, or as a look at them shows. */
type StoredForm = WeightForm | "ternary values";

/** Bytes of a matrix that are looked at. */
const SAMPLE_BYTES = 1 << 18;

/**
 * Tells weights that are −s, 0 and s already, if only in each group of inputs, from those that have to be quantised, by the first matrix
 * that is not zero.
 */
function lookAtWeights(files: SourceTensors, config: ModelConfig, nameOf: (name: string) => string): StoredForm {
  for (const { name, kind } of packedLayout(config, new Map())) {
    const tensor = files.tensors.get(nameOf(name));
    if (kind !== "ternary" || tensor === undefined) continue;
    const source = weightSource(tensor.dtype);
    if (source === undefined) continue;
    const width = source === "f32" ? 4 : 2;
    const bytes = new Uint8Array(Math.min(SAMPLE_BYTES, tensor.bytes));
    tensor.read(0, bytes);
    const magnitude = ternaryMagnitude(bytes, source, bytes.length / width);
    if (magnitude > 0) return "ternary values";
    if (magnitude === 0) continue;
    const columns = tensor.shape.at(-1) ?? 1;
    const rows = Math.floor(bytes.length / width / columns);
    return rows > 0 && ternaryGroup(bytes, source, rows, columns) > 0 ? "ternary values" : "master";
  }
  return "master";
}
