/**
 * Reads a packed file (.wf): checks that its header is exactly what its own configuration demands, and hands out the description
 * and the small files inside. The weights themselves are left to the engine, which maps them; csrc/model/container.c makes the same checks
 * for itself.
 */

import { ALIGNMENT, FORMAT_VERSION } from "../engine/symbols.ts";
import { Failure } from "../errors.ts";
import { type ByteSource, memoryByteSource, openByteSource } from "./byte_source.ts";
import { naming, printable } from "./config_fields.ts";
import { ASSET_BYTES_MAX, assetNames, type LayoutEntry, packedLayout } from "./layout.ts";
import { decodeModelConfig, type ModelConfig } from "./model_config.ts";
import { readSafetensorsHeader, type SafetensorsHeader, type TensorEntry, tensorFailure } from "./safetensors.ts";

/** A packed file that was found to be whole. */
export interface PackedModel {
  /** The path, or the name given with the bytes. */
  path: string;
  /** Size of the file. */
  bytes: number;
  config: ModelConfig;
  /** The name of the checkpoint that it was made from. */
  source: string;
  /** SHA-256 of that checkpoint's small files and tensors, in hexadecimal. */
  sourceSha256: string;
  /** In the file's order. */
  tensors: TensorEntry[];
  /** The tokenizer's and other small files, by name, without their padding. */
  assets: Map<string, Uint8Array>;
}

/**
 * Reads a packed file's description.
 *
 * @param source a path, or the whole file's bytes
 * @param name what to call the bytes in messages
 * @throws Failure, one line that names the file and the fault
 */
export async function readPackedModel(source: string | Uint8Array, name = "packed model"): Promise<PackedModel> {
  const file = typeof source === "string" ? openByteSource(source) : memoryByteSource(source, name);
  try {
    return readFrom(file);
  } finally {
    file.close();
  }
}

function readFrom(file: ByteSource): PackedModel {
  const header = readSafetensorsHeader(file);
  const { source, sourceSha256, configText } = readMetadata(file, header.metadata);
  const config = naming(file.name, () => decodeModelConfig(configText));
  const assetSizes = new Map<string, number>();
  for (const asset of assetNames) {
    const entry = header.tensors.find((tensor) => tensor.name === `assets/${asset}`);
    if (entry !== undefined) assetSizes.set(asset, entry.end - entry.begin);
  }
  const layout = packedLayout(config, assetSizes);
  checkLayout(file, header.tensors, layout);
  checkPlacement(file, header);
  for (const [index, tensor] of header.tensors.entries()) checkValues(file, tensor, layout[index] as LayoutEntry);
  const assets = new Map<string, Uint8Array>();
  for (const asset of assetSizes.keys()) {
    const entry = header.tensors.find((tensor) => tensor.name === `assets/${asset}`) as TensorEntry;
    assets.set(asset, readAsset(file, entry));
  }
  return { path: file.name, bytes: file.size, config, source, sourceSha256, tensors: header.tensors, assets };
}

function readMetadata(file: ByteSource, metadata: Map<string, string>) {
  const fail = (fault: string) => new Failure(`${file.name}: ${fault}`);
  if (metadata.get("format") !== "wrinklefree") {
    throw fail("a safetensors file, but not a packed model; give the directory of the checkpoint that it belongs to");
  }
  const version = metadata.get("version") ?? "";
  if (version !== String(FORMAT_VERSION)) {
    if (!/^[1-9]\d{0,8}$/.test(version)) {
      throw fail(
        `its format has the unknown version '${printable(version)}'; this program reads version ${FORMAT_VERSION}`,
      );
    }
    throw fail(
      `its format has version ${version}, ` +
        (Number(version) > FORMAT_VERSION
          ? `newer than the ${FORMAT_VERSION} that this program reads: use a newer wrinklefree`
          : `older than the ${FORMAT_VERSION} that this program reads: convert the model's source again`),
    );
  }
  const required = (key: string): string => {
    const value = metadata.get(key);
    if (value === undefined) throw fail(`__metadata__ lacks ${key}`);
    return value;
  };
  const sourceSha256 = required("source_sha256");
  if (!/^[0-9a-f]{64}$/.test(sourceSha256)) throw fail("source_sha256 is not 64 hexadecimal digits");
  return { source: required("source"), sourceSha256, configText: required("config") };
}

/** Tensors follow one another without gaps, aligned, up to the end of the file. */
function checkPlacement(file: ByteSource, header: SafetensorsHeader): void {
  if (header.dataBegin % ALIGNMENT !== 0) {
    throw new Failure(
      `${file.name}: its tensors begin at byte ${header.dataBegin}, which is no multiple of ${ALIGNMENT}`,
    );
  }
  let end = header.dataBegin;
  for (const tensor of header.tensors) {
    if (tensor.begin !== end) {
      throw tensorFailure(
        file,
        tensor.name,
        `it begins at byte ${tensor.begin}, not at ${end} where the one before it ends`,
      );
    }
    end = tensor.end;
    if (end % ALIGNMENT !== 0) throw tensorFailure(file, tensor.name, `its size is no multiple of ${ALIGNMENT} bytes`);
  }
  if (end !== file.size) throw new Failure(`${file.name}: ${file.size - end} bytes follow the last tensor`);
}

/** The file's tensors are the layout's, one by one. */
function checkLayout(file: ByteSource, tensors: TensorEntry[], layout: LayoutEntry[]): void {
  const names = new Set(tensors.map((tensor) => tensor.name));
  for (const expected of layout) {
    if (!names.has(expected.name)) throw tensorFailure(file, expected.name, "missing");
  }
  for (const [index, tensor] of tensors.entries()) {
    const expected = layout[index];
    if (expected === undefined) throw tensorFailure(file, tensor.name, "is no part of the configuration");
    if (tensor.name !== expected.name) {
      throw tensorFailure(file, tensor.name, `stands where '${expected.name}' belongs`);
    }
    if (tensor.dtype !== expected.dtype || tensor.shape.join() !== expected.shape.join()) {
      const found = `${tensor.dtype} [${tensor.shape.join(", ")}]`;
      throw tensorFailure(file, tensor.name, `it is ${found}, not ${expected.dtype} [${expected.shape.join(", ")}]`);
    }
  }
}

/** Norms are finite and padded with zeros; scales are finite and above 0. */
function checkValues(file: ByteSource, tensor: TensorEntry, expected: LayoutEntry): void {
  if (expected.kind !== "norm" && expected.kind !== "scale") return;
  const bytes = new Uint8Array(tensor.end - tensor.begin);
  file.read(tensor.begin, bytes);
  const values = new Float32Array(bytes.buffer);
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw tensorFailure(file, tensor.name, `value ${index} is not a finite number: the file is damaged`);
  const used = expected.source?.columns ?? 0;
  if (expected.kind === "norm" && values.subarray(used).some((value) => value !== 0)) {
    throw tensorFailure(file, tensor.name, `its padding from value ${used} on is not zero: the file is damaged`);
  }
  if (expected.kind === "scale" && !((values[0] as number) > 0)) {
    throw tensorFailure(file, tensor.name, `the scale is ${values[0]}; it must be above 0`);
  }
}

function readAsset(file: ByteSource, entry: TensorEntry): Uint8Array {
  const size = entry.end - entry.begin;
  if (size > ASSET_BYTES_MAX) {
    throw tensorFailure(file, entry.name, `${size} bytes are over the limit of ${ASSET_BYTES_MAX}`);
  }
  const bytes = new Uint8Array(size);
  file.read(entry.begin, bytes);
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length--;
  return bytes.slice(0, length);
}
