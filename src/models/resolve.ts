/**
 * Turns what a person gave as a model into a packed model: nothing means the demonstration model inside the program, a .wf file
 * is itself, and a checkpoint, a Hugging Face directory or a GGUF file for instance, is converted once and then found in the cache.
 */

import { existsSync } from "node:fs";
import { basename } from "node:path";
import { convertCheckpoint } from "../../convert/convert.ts";
import { isCheckpoint } from "../../convert/formats.ts";
import { Failure } from "../errors.ts";
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
 * @param argument a .wf file, a checkpoint, or undefined for the demonstration model
 * @throws Failure, one line, when there is no such model or it cannot be used
 */
export async function resolveModel(argument: string | undefined): Promise<ResolvedModel> {
  if (argument === undefined) {
    const bytes = await readDemoModel();
    const given = "the built-in model";
    const packed = await readPackedModel(bytes, given);
    return { packed, bytes, name: packed.source, given };
  }
  if (isCheckpoint(argument)) {
    const packed = await convertOnce(argument);
    return { packed, path: packed.path, name: packed.source, given: argument };
  }
  const packed = await readPackedModel(argument);
  return { packed, path: argument, name: basename(argument).replace(/\.wf$/, ""), given: argument };
}

async function convertOnce(source: string): Promise<PackedModel> {
  const place = cachePlace(openCacheDirectory(), source);
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
      convertCheckpoint(source, place.path, {
        replace: true,
        signal,
        onProgress: (state) => {
          if (!announced) notes.write(`converting ${source} to ${place.path}, once\n`);
          announced = true;
          progress.update(state);
        },
        onNotice: (text) => notice(source, text),
      }),
    );
  } finally {
    progress.finish();
  }
  place.removeStale();
  return await readPackedModel(place.path);
}
