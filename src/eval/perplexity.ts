/**
 * Perplexity: how well a model foretells a text. A window slides over the text's tokens; each token is scored once, by the first
 * window that reaches it, with at least the window's length less the stride before it, but at the text's beginning.
 */

import type { Engine } from "../engine/engine.ts";
import { defaultSampling } from "../engine/sampling.ts";

/** How a text is looked at. */
export interface WindowOptions {
  /** Tokens of a window, those at its beginning that the tokenizer puts before every text among them. */
  context: number;
  /** Tokens from the beginning of a window to that of the next one. */
  stride: number;
  /** What stands at the beginning of every window: most often the beginning-of-text token, or nothing. */
  beginning: readonly number[];
}

/** Tokens that are computed together, and how many of the last ones are to be scored. */
export interface Window {
  ids: number[];
  scored: number;
}

/** The largest stride with which every token has one before it. */
export function strideMax({ context, beginning }: Pick<WindowOptions, "context" | "beginning">): number {
  return context - Math.max(1, beginning.length);
}

/** Cuts a text's ids into windows. One per text. */
export class Windows {
  readonly #options: WindowOptions;
  /** The text's ids from the next window's beginning on. */
  #ids: number[] = [];
  /** Of those, at the end, how many no window has scored. */
  #fresh = 0;

  constructor(options: WindowOptions) {
    this.#options = options;
  }

  /** Adds ids. @yields windows that are full. */
  *push(ids: readonly number[]): Generator<Window, void> {
    const { context, stride, beginning } = this.#options;
    for (const id of ids) {
      this.#ids.push(id);
      this.#fresh++;
      if (this.#ids.length < context - beginning.length) continue;
      yield this.#window();
      this.#ids = this.#ids.slice(stride);
      this.#fresh = 0;
    }
  }

  /** Ends the text. @yields the last window, when there are tokens that none has scored. */
  *finish(): Generator<Window, void> {
    if (this.#fresh > 0) yield this.#window();
    this.#fresh = 0;
  }

  #window(): Window {
    const ids = [...this.#options.beginning, ...this.#ids];
    // The first token of all has nothing before it.
    return { ids, scored: Math.min(this.#fresh, ids.length - 1) };
  }
}

/** Sums over tokens that were scored. */
export class Scores {
  /** How many there were. */
  tokens = 0;
  /** Their negative log-probabilities, in nats. */
  sum = 0;
  #squares = 0;

  add(logprob: number): void {
    this.tokens++;
    this.sum -= logprob;
    this.#squares += logprob * logprob;
  }

  /** Nats a token. */
  get mean(): number {
    return this.sum / this.tokens;
  }

  get perplexity(): number {
    return Math.exp(this.mean);
  }

  /** Of the perplexity, as if tokens were independent of each other. */
  get standardError(): number {
    const variance = Math.max(0, this.#squares / this.tokens - this.mean ** 2);
    return this.perplexity * Math.sqrt(variance / Math.max(1, this.tokens - 1));
  }
}

/** Computes a window and adds its scores. @throws the signal's reason when it has fired. */
export async function scoreWindow(
  engine: Pick<Engine, "generate">,
  { ids, scored }: Window,
  scores: Scores,
  signal: AbortSignal,
): Promise<void> {
  if (scored === 0) return;
  const sampling = { ...defaultSampling(0), logprobs: true, promptLogprobs: true };
  // Those of the second token and the ones after it.
  let left = ids.length - 1 - scored;
  for await (const event of engine.generate(Uint32Array.from(ids), sampling, signal)) {
    if (event.kind === "prompt" && --left < 0) scores.add(event.logprob);
  }
  signal.throwIfAborted();
}
