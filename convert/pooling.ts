/**
 * What a text's embedding is made of, as the files of sentence-transformers beside a checkpoint say it: modules.json lists what a text
 * goes through, and 1_Pooling/config.json says which of its tokens count.
 */

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { readSmallFile } from "../src/model_file/byte_source.ts";
import { ConfigFields, Fault, naming, parseJson, printable } from "../src/model_file/config_fields.ts";
import { ASSET_BYTES_MAX, MODULES_NAME, POOLING_NAME } from "../src/model_file/layout.ts";
import { type Pooling, poolingWords } from "../src/model_file/model_config.ts";

/** What a text may go through. Vectors are brought to length 1 whether Normalize is there or not. */
const MODULES = ["Transformer", "Pooling", "Normalize"];

/** The ways by their names in sentence-transformers; null for those that are not supported. */
const ways: Record<string, Pooling | null> = {
  lasttoken: "last",
  mean: "mean",
  cls: "cls",
  max: null,
  mean_sqrt_len_tokens: null,
  weightedmean: null,
};

/** Keys of older files, one for each way, which is true or false. */
const flags: Record<string, string> = {
  pooling_mode_lasttoken: "lasttoken",
  pooling_mode_mean_tokens: "mean",
  pooling_mode_cls_token: "cls",
  pooling_mode_max_tokens: "max",
  pooling_mode_mean_sqrt_len_tokens: "mean_sqrt_len_tokens",
  pooling_mode_weightedmean_tokens: "weightedmean",
};

/**
 * Reads them. modules.json may be missing: then what is in the place of its pooling is the pooling.
 *
 * @param hiddenSize elements of a token's vector.
 * @param own what holds where the files say nothing; undefined for a model that was made to answer.
 * @param onNotice is told what is not followed.
 * @returns undefined for a model that answers.
 * @throws Failure naming the file and what is not supported.
 */
export function readPooling(
  directory: string,
  hiddenSize: number,
  own: Pooling | undefined,
  onNotice: (notice: string) => void,
): Pooling | undefined {
  const [modulesPath, poolingPath] = [join(directory, MODULES_NAME), join(directory, POOLING_NAME)];
  const isListed = existsSync(modulesPath) ? naming(modulesPath, () => listsPooling(readJson(modulesPath))) : undefined;
  if (isListed === false && own !== undefined) {
    onNotice(unfollowedNotice(`${MODULES_NAME} lists no pooling`, own));
  }
  if (isListed === false || (isListed === undefined && !existsSync(poolingPath))) return own;
  const parsed = readJson(poolingPath);
  return naming(poolingPath, () => readWay(new ConfigFields(parsed, "it"), hiddenSize));
}

/** A sentence for the user of a model whose form decides. @param said what a file says. */
export function unfollowedNotice(said: string, held: Pooling): string {
  return `${said}, which is not followed: in models of this form ${poolingWords[held]} stands for a text`;
}

function readJson(path: string): unknown {
  const text = readSmallFile(path, ASSET_BYTES_MAX);
  return naming(path, () => parseJson(text));
}

/** Whether a list of modules has a pooling. @throws Fault for a module that would change the vectors. */
function listsPooling(list: unknown): boolean {
  if (!Array.isArray(list)) throw new Fault("it is no list of modules");
  const modules = list.map((each: unknown) => {
    const fields = new ConfigFields(each, "a module");
    const name = fields.text("type").split(".").at(-1) as string;
    if (!MODULES.includes(name)) {
      throw new Fault(`the module ${printable(name)} is not supported; ${MODULES.join(", ")} are`);
    }
    return { name, path: fields.raw("path") };
  });
  const pooling = modules.filter(({ name }) => name === "Pooling");
  if (pooling.length > 1) throw new Fault("it has two poolings");
  for (const { path } of pooling) {
    if (path !== dirname(POOLING_NAME)) {
      throw new Fault(
        `its pooling is in ${printable(JSON.stringify(path) ?? "no place")}; ${dirname(POOLING_NAME)} is looked at`,
      );
    }
  }
  return pooling.length > 0;
}

function readWay(fields: ConfigFields, hiddenSize: number): Pooling {
  const size = fields.whole("word_embedding_dimension", 1, Number.MAX_SAFE_INTEGER, hiddenSize);
  if (size !== hiddenSize)
    throw new Fault(`word_embedding_dimension is ${size}, but the model's hidden_size ${hiddenSize}`);
  const flagged = Object.keys(flags).filter((key) => fields.flag(key, false));
  const stated = fields.has("pooling_mode")
    ? [fields.text("pooling_mode")]
    : flagged.map((key) => flags[key] as string);
  // Where nothing is said it is the mean.
  const isSilent = Object.keys(flags).every((key) => !fields.has(key));
  const [name, ...others] = stated.length === 0 && isSilent ? ["mean"] : stated;
  if (name === undefined) throw new Fault("none of its pooling modes is true");
  if (others.length > 0) throw new Fault(`it joins the poolings ${stated.join(" and ")}, which is not supported`);
  const way = Object.hasOwn(ways, name) ? ways[name] : null;
  if (way) return way;
  const supported = Object.keys(ways).filter((known) => ways[known] !== null);
  throw new Fault(`the pooling ${printable(name)} is not supported; ${supported.join(", ")} are`);
}
