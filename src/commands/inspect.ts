/** `wrinklefree inspect`: says what a model is, from its headers alone. */

import { isCheckpoint, openCheckpoint } from "../../convert/formats.ts";
import { FORMAT_VERSION } from "../engine/symbols.ts";
import { UsageError } from "../errors.ts";
import { printable } from "../model_file/config_fields.ts";
import { encodeModelConfig, type ModelConfig, parameterCount, poolingWords } from "../model_file/model_config.ts";
import { readPackedModel } from "../model_file/packed.ts";
import { takeInventory } from "../models/inventory.ts";
import { isName, type ResolveOptions, resolveModel } from "../models/resolve.ts";
import { Store } from "../models/store.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notice, results } from "../terminal/output.ts";
import { formatTable } from "../terminal/table.ts";
import { checkModelText } from "../text/model_text.ts";
import { declareCommand } from "./command.ts";
import { modelNamesHelp, resolveOptions, storeOptions } from "./store_options.ts";

/** A tensor, wherever it lies. */
interface InspectedTensor {
  name: string;
  dtype: string;
  shape: number[];
  bytes: number;
}

/** What there is to say of a model, whichever form it has. */
interface Inspection {
  /** What it is called in the store; undefined for a path. */
  name?: string;
  /** Where what is in the store comes from, in words. */
  from?: string;
  path: string;
  /** What kind of file or directory it is. */
  format: string;
  /** The checkpoint's name. */
  source: string;
  /** The hash of the checkpoint that a packed file was made from; null for a checkpoint. */
  sourceSha256: string | null;
  /** Bytes of the tensors. */
  tensorBytes: number;
  config: ModelConfig;
  tensors: InspectedTensor[];
  assets: Map<string, Uint8Array>;
}

export const command = declareCommand({
  name: "inspect",
  summary: "show what a model is: configuration, tensors, files inside",
  synopsis: ["inspect MODEL [options]"],
  description: [
    "Shows what a model holds, after the same checks as before serving it. Of a file or directory only headers and small files are " +
      "read, so it takes no time whatever the size.",
    modelNamesHelp,
  ],
  options: { json: { group: "Output", help: "print JSON", place: "line", isSwitch: true }, ...storeOptions },
  wordsMax: 1,
  words: ["model"],
  async run(given) {
    const [path] = given.words;
    if (path === undefined) throw new UsageError("inspect takes a MODEL: a file, a directory or a name");
    const options = resolveOptions(given);
    const inspection = isName(path, options.store) ? await inspectName(path, options) : await inspect(path);
    results.write(given.values.json ? `${JSON.stringify(toJson(inspection), null, 2)}\n` : `${toText(inspection)}\n`);
    return 0;
  },
});

/** A model by its name: its packed file, and where that comes from. */
async function inspectName(name: string, options: ResolveOptions): Promise<Inspection> {
  const { packed } = await resolveModel(name, options);
  const entry = takeInventory(Store.open(options.store)).entries.find(({ model }) => model?.path === packed.path);
  return { ...(await inspect(packed.path)), name: entry?.name, from: entry?.from };
}

async function inspect(path: string): Promise<Inspection> {
  if (!isCheckpoint(path)) {
    const packed = await readPackedModel(path);
    checkModelText(packed, path, (text) => notice(path, text));
    const { config, source, sourceSha256, assets } = packed;
    const tensors = packed.tensors.map(({ begin, end, ...tensor }) => ({ ...tensor, bytes: end - begin }));
    const format = `packed model, version ${FORMAT_VERSION}`;
    return { path, format, source, sourceSha256, tensorBytes: sumOfBytes(tensors), config, tensors, assets };
  }
  const checkpoint = openCheckpoint(path);
  try {
    for (const text of checkpoint.notices) notice(path, text);
    const tensors = [...checkpoint.tensors.values()];
    const { name: source, format, config, assets } = checkpoint;
    return { path, format, source, sourceSha256: null, tensorBytes: sumOfBytes(tensors), config, tensors, assets };
  } finally {
    checkpoint.close();
  }
}

function sumOfBytes(tensors: InspectedTensor[]): number {
  return tensors.reduce((sum, { bytes }) => sum + bytes, 0);
}

function toJson(inspection: Inspection): object {
  return {
    ...(inspection.name === undefined ? {} : { name: inspection.name, from: inspection.from }),
    path: inspection.path,
    format: inspection.format,
    source: inspection.source,
    source_sha256: inspection.sourceSha256,
    parameters: parameterCount(inspection.config),
    tensor_bytes: inspection.tensorBytes,
    config: JSON.parse(encodeModelConfig(inspection.config)),
    tensors: inspection.tensors.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, bytes })),
    assets: [...inspection.assets].map(([name, bytes]) => ({ name, bytes: bytes.length })),
  };
}

/** By how much positions are stretched. */
function describeRopeScaling({ ropeDivisors = [] }: ModelConfig): string {
  if (ropeDivisors.length === 0) return "none";
  const [least, most] = [Math.min(...ropeDivisors), Math.max(...ropeDivisors)].map(formatNumber);
  return `frequencies divided by ${least === most ? least : `${least} to ${most}`}`;
}

/** What it is for. */
function describeOutput({ pooling, hiddenSize }: ModelConfig): string {
  if (pooling === undefined) return "text";
  return `embeddings of ${hiddenSize} numbers; ${poolingWords[pooling]} stands for a text`;
}

function toText(inspection: Inspection): string {
  const { config, tensors, assets } = inspection;
  const count = parameterCount(config);
  const { name, from } = inspection;
  const summary: [string, string][] = [
    ...(name === undefined || from === undefined
      ? []
      : ([
          ["name", name],
          ["from", from],
        ] as [string, string][])),
    ["file", printable(inspection.path)],
    ["format", inspection.format],
    ["source", printable(inspection.source)],
    ["source sha256", inspection.sourceSha256 ?? "-"],
    ["architecture", printable(config.architecture)],
    ["gives", describeOutput(config)],
    ["parameters", `${count} (${formatCount(count)})`],
    ["tensors", `${tensors.length}, ${formatBytes(inspection.tensorBytes)}`],
  ];
  const settings: [string, string][] = [
    ["vocabulary", `${config.vocabSize} tokens`],
    ["hidden size", String(config.hiddenSize)],
    ["intermediate size", String(config.intermediateSize)],
    ["layers", String(config.layers)],
    ["attention heads", `${config.heads} of ${config.headDim}, sharing ${config.kvHeads} key-value heads`],
    ["context", `${config.context} tokens`],
    ["rope theta", formatNumber(config.ropeTheta)],
    ["rope scaling", describeRopeScaling(config)],
    ["norm epsilon", formatNumber(config.rmsNormEps)],
    ["activation", config.activation],
    ["sub-norms", config.subNorms ? "yes" : "no"],
    ["head", config.pooling !== undefined ? "none" : config.tiedEmbeddings ? "the embedding" : "its own"],
    ["begin of text", config.bosTokenId === null ? "-" : String(config.bosTokenId)],
    ["end of text", config.eosTokenIds.length > 0 ? config.eosTokenIds.join(", ") : "-"],
  ];
  const weights = tensors.filter((tensor) => !tensor.name.startsWith("assets/"));
  const tensorRows = weights.map((tensor) => [
    tensor.name,
    tensor.dtype,
    `[${tensor.shape.join(", ")}]`,
    formatBytes(tensor.bytes),
  ]);
  const assetRows = [...assets].map(([name, bytes]) => [name, formatBytes(bytes.length)]);
  const sections = [
    formatTable(summary),
    `configuration\n${formatTable(settings, "  ")}`,
    `tensors\n${formatTable(tensorRows, "  ")}`,
  ];
  if (assetRows.length > 0) sections.push(`files\n${formatTable(assetRows, "  ")}`);
  return sections.join("\n\n");
}

/** A number with the digits that tell it from others of its kind: single precision, which GGUF has, needs fewer. */
function formatNumber(value: number): string {
  const digits = [1, 2, 3, 4, 5, 6, 7, 8, 9].find((count) => Math.fround(Number(value.toPrecision(count))) === value);
  return String(digits === undefined ? value : Number(value.toPrecision(digits)));
}

/** A count for people: 4.5 M, 2.41 G. */
function formatCount(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(2)} G`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`;
  return String(count);
}
