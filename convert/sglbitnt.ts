/**
 * Reads the packed file of the original system, "SGLBITNT": little-endian and without gaps, a configuration as in config.json, and
 * tensors with Hugging Face's names. The tokenizer's files lie beside it. It is read so that files that exist can still be served.
 */

import { basename, dirname } from "node:path";
import { Failure } from "../src/errors.ts";
import { type ByteSource, openByteSource } from "../src/model_file/byte_source.ts";
import { naming, parseJson } from "../src/model_file/config_fields.ts";
import { ASSET_BYTES_MAX } from "../src/model_file/layout.ts";
import { dtypeBytes, tensorFailure } from "../src/model_file/safetensors.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { describeModel, readAssets } from "./hugging_face.ts";
import { FLOATS, matchTensors, requireScale, type Spelling } from "./match_tensors.ts";
import type { SourceTensor, SourceTensors } from "./source_tensor.ts";

const MAGIC = "SGLBITNT";
const VERSION = 1;

/** Longest name of a tensor in bytes, most dimensions of one, and most tensors. */
const NAME_BYTES_MAX = 1024;
const DIMENSIONS_MAX = 4;
const TENSORS_MAX = 1 << 18;

/** Weights of a block, which rows are made of whole ones of. */
const BLOCK_WEIGHTS = 128;

/** By number. */
const dtypes = ["U8", "F32", "F16", "BF16"] as const;

/** The ternary copy of the embedding that some files have: it is lossy, and the embedding is there. */
const HEAD = "lm_head.weight";

/** A tensor, with the scale that stands before its data. */
interface StoredTensor extends SourceTensor {
  scale: number | undefined;
}

/** What a model is called by its file's name. */
export function sglbitntName(path: string): string {
  return basename(path).replace(/\.bin$/, "");
}

/** Whether a file begins as one of the original system does. */
export function isSglbitnt(head: Uint8Array): boolean {
  return new TextDecoder("latin1").decode(head.subarray(0, MAGIC.length)) === MAGIC;
}

/**
 * Opens a file and checks all of it but the weights' values.
 *
 * @throws Failure, one line that names the file, the tensor or key, and the fault
 */
export function openSglbitnt(path: string): Checkpoint {
  const file = openByteSource(path);
  try {
    const { config: text, tensors } = readFile(file);
    const directory = dirname(path);
    const assets = readAssets(directory);
    // Whatever config.json lies beside it, the file has its own.
    assets.set("config.json", text);
    const parsed = naming(path, () => parseJson(text));
    const files: SourceTensors = { listing: path, tensors: new Map(tensors), close: file.close };
    const head = tensors.get(HEAD);
    if (head?.dtype === "I2_S") files.tensors.delete(HEAD);
    // quantization_config is of the checkpoint that the file was made from; here everything has one form.
    const plain = { ...(parsed as object), quantization_config: undefined };
    const { config, family, notices } = describeModel(directory, path, plain, assets, files);
    return {
      path,
      name: sglbitntName(path),
      format: "packed file of the original system (SGLBITNT)",
      config,
      tensors: matchTensors(files, config, spelling(path, family.spelling, tensors)),
      assets,
      notices,
      close: file.close,
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function spelling(path: string, respelt: [string, string][], tensors: Map<string, StoredTensor>): Spelling {
  return {
    configName: `the configuration in ${path}`,
    expect({ name: ours, kind, source: { columns } }) {
      const spelt = respelt.find(([part]) => ours.includes(part));
      const name = spelt === undefined ? ours : ours.replace(spelt[0], spelt[1]);
      if (kind !== "ternary") return { name, dtypes: FLOATS, reason: `a ${kind} tensor is not read from it` };
      if (columns % BLOCK_WEIGHTS !== 0) {
        throw tensorFailure(path, name, `its ${columns} columns are no multiple of ${BLOCK_WEIGHTS}`);
      }
      return {
        name,
        dtypes: ["I2_S"],
        reason: "weights are packed in this format",
        ternary(tensor) {
          const scale = tensors.get(name)?.scale;
          if (scale === undefined) throw tensorFailure(path, name, "it has no scale");
          return { kind: "I2_S", scale: requireScale(tensor, scale) };
        },
      };
    },
    isNeedless: (name) => name === HEAD,
  };
}

/** Reads everything but the tensors' data. Nothing is allocated for what the file has no room for. */
function readFile(file: ByteSource): { config: Uint8Array; tensors: Map<string, StoredTensor> } {
  let position = MAGIC.length;
  const bytes = (length: number, what: string): Uint8Array => {
    if (length > file.size - position) {
      const end = position + length;
      throw new Failure(`${file.name}: truncated or damaged: ${what} would end at byte ${end} of ${file.size}`);
    }
    const read = new Uint8Array(length);
    file.read(position, read);
    position += length;
    return read;
  };
  const view = (length: number, what: string) => new DataView(bytes(length, what).buffer);
  const u32 = (what: string) => view(4, what).getUint32(0, true);
  const bounded = (what: string, limit: number) => {
    const value = u32(what);
    if (value > limit) throw new Failure(`${file.name}: damaged: ${what} is ${value}, over the limit of ${limit}`);
    return value;
  };

  const version = u32("the version");
  if (version !== VERSION) {
    throw new Failure(`${file.name}: its version is ${version}; version ${VERSION} of SGLBITNT is read`);
  }
  const config = bytes(bounded("the length of the configuration", ASSET_BYTES_MAX), "the configuration");
  const tensors = new Map<string, StoredTensor>();
  const count = bounded("the number of tensors", TENSORS_MAX);
  for (let index = 0; index < count; index++) {
    const what = `tensor ${index}`;
    const length = bounded(`the length of the name of ${what}`, NAME_BYTES_MAX);
    const name = new TextDecoder().decode(bytes(length, what));
    const fail = (fault: string) => tensorFailure(file, name, fault);
    if (tensors.has(name)) throw fail("it is there twice");
    const type = u32(what);
    const dtype = dtypes[type];
    if (dtype === undefined) throw fail(`its dtype ${type} is unknown`);
    const dimensions = u32(what);
    if (dimensions > DIMENSIONS_MAX) throw fail(`it has ${dimensions} dimensions`);
    const shape = Array.from({ length: dimensions }, () => u32(what));
    const hasScale = u32(what);
    if (hasScale > 1) throw fail(`what says whether it has a scale is ${hasScale}, not 0 or 1`);
    const scale = hasScale === 1 ? view(4, what).getFloat32(0, true) : undefined;
    const stored = view(8, what).getBigUint64(0, true);
    const size = shape.reduce((product, dimension) => product * dimension, dtypeBytes(dtype));
    if (BigInt(size) !== stored)
      throw fail(`its data is ${stored} bytes, but ${dtype} [${shape.join(", ")}] needs ${size}`);
    if (size > file.size - position) {
      throw fail(`its data ends at byte ${position + size}, but the file has ${file.size} bytes: truncated or damaged`);
    }
    const begin = position;
    position += size;
    const read = (offset: number, target: Uint8Array) => file.read(begin + offset, target);
    const tensor = { name, file: file.name, bytes: size, read, scale };
    // Bytes with a scale are rows of blocks of 128 weights, as I2_S has them.
    const isTernary = dtype === "U8" && dimensions === 2 && scale !== undefined;
    const [rows = 0, rowBytes = 0] = shape;
    tensors.set(name, {
      ...tensor,
      ...(isTernary ? { dtype: "I2_S", shape: [rows, 4 * rowBytes] } : { dtype, shape }),
    });
  }
  if (position !== file.size) throw new Failure(`${file.name}: ${file.size - position} bytes follow the last tensor`);
  return { config, tensors };
}
