/**
 * Understands a Hugging Face checkpoint: a directory with config.json, one or more safetensors files and the tokenizer's files
 * becomes one description, with every tensor that the packed file needs under its name there. Nothing after this file knows the
 * architecture's spelling, nor which files held what.
 */

import { basename, join, resolve } from "node:path";
import { Failure } from "../src/errors.ts";
import { readSmallFile } from "../src/model_file/byte_source.ts";
import { ConfigFields, naming, parseJson } from "../src/model_file/config_fields.ts";
import { ASSET_BYTES_MAX, assetNames, packedLayout } from "../src/model_file/layout.ts";
import { checkModelConfig, type ModelConfig } from "../src/model_file/model_config.ts";
import { tensorFailure } from "../src/model_file/safetensors.ts";
import { checkModelText } from "../src/text/model_text.ts";
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
import { INDEX_NAME, openSafetensors } from "./safetensors_files.ts";
import type { SourceTensor, SourceTensors } from "./source_tensor.ts";
import { endOfTextTokens } from "./special_tokens.ts";

/** A checkpoint that was found to be whole. */
export interface Checkpoint {
  /** The directory as it was given. */
  directory: string;
  /** The directory's own name. */
  name: string;
  config: ModelConfig;
  weights: WeightForm;
  /** By their names in the packed file. Every tensor that the layout demands is here, with the right shape. */
  tensors: Map<string, SourceTensor>;
  /** Bytes of the tokenizer's and other small files, by name, in the layout's order. */
  assets: Map<string, Uint8Array>;
  /** What a person should know although the conversion goes on; one line each. */
  notices: string[];
  /** Closes the checkpoint's files. */
  close(): void;
}

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

  const files = openSafetensors(directory);
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

/** Finds every tensor that the layout demands, checks its dtype and shape, and refuses those that nothing would use. */
function matchTensors(
  directory: string,
  files: SourceTensors,
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
    const { dtype, shape: found } = tensor;
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
