/** `wrinklefree eval`: how good a model is, measured on what one gives it. */

import { Failure, UsageError } from "../errors.ts";
import { Scores, scoreWindow, strideMax, Windows } from "../eval/perplexity.ts";
import { textOf } from "../eval/text_file.ts";
import { textIds } from "../eval/text_ids.ts";
import { openByteSource } from "../model_file/byte_source.ts";
import { defaultContext } from "../model_file/model_config.ts";
import { requireAnswers, resolveModel } from "../models/resolve.ts";
import { file, wholeNumber } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { Service } from "../serving/service.ts";
import type { ServiceOptions } from "../serving/service_plan.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes, results } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import { showProgress } from "../terminal/progress.ts";
import { declareCommand } from "./command.ts";
import { chosenModel, kvOption, modelChoice, threadOptions } from "./model_options.ts";
import { modelHelp, resolveOptions, storeOptions } from "./store_options.ts";

/** Tokens of a window unless --ctx says otherwise. */
const DEFAULT_CONTEXT = 2048;

/** The shortest window: a few tokens before a few others. */
const CONTEXT_MIN = 16;

const evalOptions = {
  file: {
    group: "What is measured",
    help: "a file of UTF-8, of any length; control tokens that it spells are control tokens",
    place: "line",
    placeholder: "TEXT",
    kind: file,
  },
  ctx: {
    group: "What is measured",
    help: `tokens of a window, from ${CONTEXT_MIN}`,
    place: "line",
    placeholder: "N",
    kind: wholeNumber(CONTEXT_MIN, 1 << 24),
    otherwise: `${DEFAULT_CONTEXT}, or the model's context if that is less`,
  },
  stride: {
    group: "What is measured",
    help: "tokens from one window to the next, less than --ctx",
    place: "line",
    placeholder: "N",
    kind: wholeNumber(1, 1 << 24),
    otherwise: "half of it",
  },
  json: { group: "Output", help: "print JSON", place: "line", isSwitch: true },
  ...modelChoice,
  ...threadOptions,
  ...kvOption,
  ...storeOptions,
} as const satisfies Options;

export const command = declareCommand({
  name: "eval",
  summary: "measure how well a model foretells a text",
  synopsis: ["eval perplexity [MODEL] --file TEXT [options]"],
  description: [
    "Scores every token of a text with what comes before it, and prints the perplexity: e to the mean of the negative " +
      "log-probabilities, over tokens. A window slides over the text; each token is scored once, and after the first window with " +
      "at least the window less the stride before it. The tokens that the model's tokenizer puts before every text stand at the " +
      "beginning of each window. The log-probabilities are those that /v1/completions gives with echo.",
    `${modelHelp} Without it, the demo model is measured.`,
  ],
  options: evalOptions,
  wordsMax: 2,
  words: [["perplexity"], "model"],
  run: evaluate,
});

async function evaluate(given: Given<typeof evalOptions>): Promise<number> {
  const { values, words } = given;
  const [what] = words;
  if (what !== "perplexity") {
    const found = what === undefined ? "" : `, not '${what}'`;
    throw new UsageError(`eval takes what to measure: perplexity${found}`);
  }
  const { file: path, ctx: wantedContext, stride } = values;
  if (path === undefined) throw new UsageError("eval perplexity needs --file TEXT");
  const model = chosenModel({ ...given, words: words.slice(1) });
  const store = resolveOptions(given);
  const options: ServiceOptions = {
    threads: values.threads ?? 0,
    cpus: values.cpus ?? [],
    context: 0,
    parallel: 1,
    batchTokens: 0,
    memory: 0,
    kvKind: values.kv,
    // Scores need the whole head, and prompts all weights.
    memoryBudget: 0,
    wantsCopies: false,
    prompts: {},
  };
  const source = openByteSource(path);
  try {
    const parts = textOf(source);
    // What is no text is refused before a model is loaded for it.
    const first = parts.next();
    const resolved = await resolveModel(model, store);
    requireAnswers(resolved);
    const context = wantedContext ?? Math.min(DEFAULT_CONTEXT, defaultContext(resolved.packed.config));
    const service = await Service.start(resolved, { ...options, context });
    try {
      const beginning = [...service.tokenizer.beginning];
      const most = strideMax({ context, beginning });
      if (stride !== undefined && stride > most) {
        throw new UsageError(`--stride takes a whole number from 1 to ${most} with --ctx ${context}, not '${stride}'`);
      }
      const text = (function* () {
        if (!first.done) yield first.value;
        yield* parts;
      })();
      const window = { context, stride: stride ?? Math.floor(context / 2), beginning };
      const found = await interruptible((signal) => measure(service, text, path, source.size, window, signal));
      if (found === undefined) return 1;
      const named = { model: service.name, file: path, context, stride: window.stride, ...found };
      results.write(values.json ? `${JSON.stringify(toJson(named), null, 2)}\n` : toText(named));
      return 0;
    } finally {
      await service.close();
    }
  } finally {
    source.close();
  }
}

interface Measured {
  /** Bytes of the text. */
  bytes: number;
  /** Tokens of the text. */
  tokens: number;
  windows: number;
  scores: Scores;
  seconds: number;
}

/** Scores a text. Undefined when it was interrupted. @throws Failure when there is nothing to score. */
async function measure(
  { engine, tokenizer }: Service,
  text: Iterable<string>,
  name: string,
  size: number,
  options: { context: number; stride: number; beginning: number[] },
  signal: AbortSignal,
): Promise<Measured | undefined> {
  const { beginning } = options;
  const windows = new Windows(options);
  const found: Measured = { bytes: 0, tokens: 0, windows: 0, scores: new Scores(), seconds: 0 };
  const display = showProgress(`perplexity of ${name}`, notes);
  const started = performance.now();
  const score = async (all: Iterable<{ ids: number[]; scored: number }>) => {
    for (const window of all) {
      await scoreWindow(engine, window, found.scores, signal);
      found.windows++;
      display.update({ done: Math.floor((found.bytes * found.scores.tokens) / found.tokens), total: size });
    }
  };
  try {
    for await (const { ids, bytes } of textIds(tokenizer, text, name)) {
      // A text may spell what would be put before it.
      const isSpelled = found.tokens === 0 && beginning.length > 0 && beginning.every((id, index) => id === ids[index]);
      const own = isSpelled ? ids.slice(beginning.length) : ids;
      found.bytes += bytes;
      found.tokens += own.length;
      await score(windows.push(own));
    }
    await score(windows.finish());
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  } finally {
    display.finish();
  }
  if (found.scores.tokens === 0) {
    throw new Failure(
      `${name}: has ${plural(found.tokens, "token")}, and none that another one comes before; give a longer text`,
    );
  }
  found.seconds = (performance.now() - started) / 1000;
  return found;
}

type Named = Measured & { model: string; file: string; context: number; stride: number };

/** Bits for each byte of the text, which models with different tokens can be compared by. */
function bitsPerByte({ scores, bytes }: Measured): number {
  return scores.sum / Math.LN2 / bytes;
}

function toJson(found: Named): object {
  const { model, file, bytes, tokens, context, stride, windows, scores, seconds } = found;
  return {
    model,
    file,
    bytes,
    tokens,
    context,
    stride,
    windows,
    scored_tokens: scores.tokens,
    negative_log_likelihood: scores.sum,
    perplexity: scores.perplexity,
    standard_error: scores.standardError,
    bits_per_byte: bitsPerByte(found),
    seconds,
  };
}

function toText(found: Named): string {
  const { model, file, context, stride, windows, scores, seconds } = found;
  return `perplexity ${scores.perplexity.toFixed(4)} ± ${scores.standardError.toFixed(4)}: ${model}, ${file}
  ${plural(scores.tokens, "token")}, ${scores.mean.toFixed(4)} nats each, ${bitsPerByte(found).toFixed(4)} bits a byte
  ${plural(windows, "window")} of ${context} tokens, one every ${stride}; ${(scores.tokens / seconds).toFixed(1)} tokens a second
`;
}
