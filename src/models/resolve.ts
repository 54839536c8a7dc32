/**
 * Turns what a person gave as a model into a packed model: nothing means the demonstration model inside the program, a .wf file
 * is itself, and a Hugging Face directory is converted once and then found in the cache.
 */

import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { convertCheckpoint } from "../../convert/convert.ts";
import { Failure } from "../errors.ts";
import { statusOf } from "../model_file/byte_source.ts";
import { type PackedModel, readPackedModel } from "../model_file/packed.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes, notice } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import { cachePlace, openCacheDirectory } from "./cache.ts";
import { readDemoModel } from "./demo.ts";

/** A model that can be opened: by its path, or for the demonstration model from its bytes. */
export interface ResolvedModel {
  packed: PackedModel;
  path?: string;
  bytes?: Uint8Array;
  /** What to call it: the file's or the directory's name. */
  name: string;
  /** What to call it in messages: what the user named, as it was written. */
  given: string;
}

/**
 * Finds or makes the packed model.
 *
 * @param argument a .wf file, a Hugging Face directory, or undefined for the demonstration model
 * @throws Failure, one line, when there is no such model or it cannot be used
 */
export async function resolveModel(argument: string | undefined): Promise<ResolvedModel> {
  if (argument === undefined) {
    const bytes = await readDemoModel();
    const given = "the built-in model";
    const packed = await readPackedModel(bytes, given);
    return { packed, bytes, name: packed.source, given };
  }
  if (statusOf(argument).isDirectory()) {
    const packed = await convertOnce(argument);
    return { packed, path: packed.path, name: basename(resolve(argument)), given: argument };
  }
  const packed = await readPackedModel(argument);
  return { packed, path: argument, name: basename(argument).replace(/\.wf$/, ""), given: argument };
}

async function convertOnce(directory: string): Promise<PackedModel> {
  const place = cachePlace(openCacheDirectory(), directory);
  if (existsSync(place.path)) {
    try {
      return await readPackedModel(place.path);
    } catch (error) {
      // A damaged cache is no reason to give up: the source is here.
      if (!(error instanceof Failure)) throw error;
      notes.write(`${error.message}; converting again\n`);
    }
  }
  let announced = false;
  const progress = showProgress("converting", notes);
  try {
    await interruptible((signal) =>
      convertCheckpoint(directory, place.path, {
        replace: true,
        signal,
        onProgress: (state) => {
          if (!announced) notes.write(`converting ${directory} to ${place.path}, once\n`);
          announced = true;
          progress.update(state);
        },
        onNotice: (text) => notice(directory, text),
      }),
    );
  } finally {
    progress.finish();
  }
  place.removeStale();
  return await readPackedModel(place.path);
}
