/** Which files of a repository make a model: the best ternary form that it has, unless the user names another. */

import { Failure } from "../errors.ts";
import { ggufParts } from "../model_file/gguf_names.ts";
import { assetNames, descriptionNames } from "../model_file/layout.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { nearest } from "./nearest.ts";

/** A file of a repository. */
export interface RepositoryFile {
  /** Inside the repository. */
  path: string;
  size: number;
}

/** A model in a repository. */
export interface FileChoice<File extends RepositoryFile> {
  /** The file that is opened, the first of its parts; null: the whole directory. */
  file: string | null;
  /** All that is needed, small files first. */
  files: File[];
  /** Other models in the same repository, for the user's information. */
  others: string[];
}

/** Types of weights in GGUF files that are ternary and can be read, the most exact and quickest first, as they stand in names. */
const TERNARY = ["i2_s", "tq2_0", "tq1_0", "pq2_0", "q2_0_g64", "q2_0", "ptq1_0"];

/** Those that may hold ternary values. */
const PLAIN = ["bf16", "f16", "f32"];

/** Parts of names of GGUF files that are no language models by themselves. */
const BESIDE = /mmproj|imatrix|vocab/i;

/** How much larger than a packed form the unpacked one is at least. */
const UNPACKED_RATIO = 2;

/** A set of files that make one model. */
interface Candidate<File> {
  file: string | null;
  files: File[];
  bytes: number;
}

/**
 * Chooses.
 *
 * @param repository its name, for messages
 * @param wanted the file that the user named, by its path or its last part
 * @throws Failure when there is no such file, none that can be read, or several that are equally good
 */
export function chooseFiles<File extends RepositoryFile>(
  repository: string,
  files: File[],
  wanted?: string,
): FileChoice<File> {
  const checkpoint = checkpointOf(files);
  const single = [...singleFiles(files, ".gguf"), ...singleFiles(files, ".wf")];
  const all = checkpoint === null ? single : [checkpoint, ...single];
  const chosen =
    wanted === undefined ? best(repository, files, checkpoint, single) : named(repository, files, all, wanted);
  return {
    file: chosen.file,
    files: chosen.files.toSorted((a, b) => a.size - b.size),
    others: all.filter((candidate) => candidate.file !== chosen.file).map(describe),
  };
}

/** A candidate in words. */
export function describe({ file, bytes }: { file: string | null; bytes: number }): string {
  return `${file ?? "the safetensors checkpoint"} (${formatBytes(bytes)})`;
}

function best<File extends RepositoryFile>(
  repository: string,
  files: File[],
  checkpoint: Candidate<File> | null,
  single: Candidate<File>[],
): Candidate<File> {
  const ofType = (type: string) => single.filter(({ file }) => typeOf(file as string) === type);
  const only = (found: Candidate<File>[]): Candidate<File> | undefined => {
    if (found.length <= 1) return found[0];
    throw new Failure(
      `${repository} has several models: ${found.map(describe).join(", ")}; choose one with --file NAME`,
    );
  };
  const packed = only(ofType("wf"));
  if (packed !== undefined) return packed;
  const ternaryType = TERNARY.find((type) => ofType(type).length > 0);
  const isPacked = (other: Candidate<File>) => (checkpoint?.bytes ?? Infinity) < UNPACKED_RATIO * other.bytes;
  if (ternaryType !== undefined) {
    const candidates = ofType(ternaryType);
    if (checkpoint !== null && candidates.some(isPacked)) return checkpoint;
    return only(candidates) as Candidate<File>;
  }
  if (checkpoint !== null) return checkpoint;
  const plainType = PLAIN.find((type) => ofType(type).length > 0);
  const rest = plainType === undefined ? single.filter(({ file }) => typeOf(file as string) === "") : ofType(plainType);
  const found = only(rest);
  if (found !== undefined) return found;
  const listed = [...files].sort((a, b) => b.size - a.size).slice(0, 5);
  const contents = listed.length === 0 ? "it is empty" : `it has ${listed.map(({ path }) => path).join(", ")}`;
  throw new Failure(
    `${repository} has no ternary model that can be read here, neither safetensors with a config.json nor a GGUF file of a ternary type: ${contents}`,
  );
}

function named<File extends RepositoryFile>(
  repository: string,
  files: File[],
  all: Candidate<File>[],
  wanted: string,
): Candidate<File> {
  const isMeant = ({ path }: RepositoryFile) => path === wanted || path.endsWith(`/${wanted}`);
  const found = files.filter(isMeant);
  if (found.length === 0) {
    const near = nearest(
      wanted,
      files.map(({ path }) => path).filter((path) => /\.(gguf|safetensors|wf|bin)$/.test(path)),
    );
    throw new Failure(`${repository} has no file ${wanted}${near.length > 0 ? `; it has ${near.join(", ")}` : ""}`);
  }
  if (found.length > 1) {
    throw new Failure(`${repository} has several files ${wanted}: ${found.map(({ path }) => path).join(", ")}`);
  }
  const [file] = found as [File];
  const candidate = all.find((other) => other.files.includes(file));
  if (candidate !== undefined) return candidate;
  // A file of the original system has its tokenizer beside it.
  const beside = /\.bin$/.test(file.path) && !file.path.includes("/") ? assetsOf(files) : [];
  const needed = [...beside, file];
  return { file: file.path, files: needed, bytes: sumOfSizes(needed) };
}

/** The checkpoint in the repository's root: its weights, those that an index names if there is one, and the small files. */
function checkpointOf<File extends RepositoryFile>(files: File[]): Candidate<File> | null {
  const root = new Map(files.filter(({ path }) => !path.includes("/")).map((file) => [file.path, file]));
  if (!root.has("config.json")) return null;
  const weights = [...root.values()].filter(({ path }) => path.endsWith(".safetensors"));
  const parts = weights.filter(({ path }) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(path));
  const partCount = Number(/-of-(\d{5})/.exec(parts[0]?.path ?? "")?.[1] ?? 0);
  const whole = root.get("model.safetensors");
  const index = root.get("model.safetensors.index.json");
  // The order in which the converter looks.
  if (whole === undefined && (index === undefined || parts.length < partCount)) return null;
  const used = whole !== undefined ? [whole] : [index as File, ...(parts.length > 0 ? parts : weights)];
  const described = files.filter(({ path }) => descriptionNames.includes(path));
  const all = [...assetsOf(files), ...described, ...used];
  return { file: null, files: all, bytes: sumOfSizes(all) };
}

/** The small files in the root. */
function assetsOf<File extends RepositoryFile>(files: File[]): File[] {
  return files.filter(({ path }) => (assetNames as readonly string[]).includes(path));
}

/** Files that are a model each, with all parts of those that are split. */
function singleFiles<File extends RepositoryFile>(files: File[], suffix: string): Candidate<File>[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const found: Candidate<File>[] = [];
  for (const { path } of files) {
    if (!path.endsWith(suffix) || BESIDE.test(path)) continue;
    const parts = ggufParts(path);
    if (parts[0] !== path) continue;
    const present = parts.flatMap((part) => byPath.get(part) ?? []);
    if (present.length === parts.length) found.push({ file: path, files: present, bytes: sumOfSizes(present) });
  }
  return found;
}

/** The type of weights that a file's name speaks of: one of those above, "wf", another quantisation, or "" for none. */
function typeOf(path: string): string {
  if (path.endsWith(".wf")) return "wf";
  const name = (path.split("/").at(-1) as string).toLowerCase().replace("fp16", "f16").replace("fp32", "f32");
  const tokens = (type: string) => new RegExp(`(^|[-._])${type}([-._]|$)`).test(name);
  // "bf16-i2_s" names the embedding's type first.
  const known = [...TERNARY, ...PLAIN].find(tokens);
  if (known !== undefined) return known;
  return /(^|[-._])(i?q\d|tl[12]|mxfp4|nvfp4)/.test(name) ? "other" : "";
}

function sumOfSizes(files: RepositoryFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}
