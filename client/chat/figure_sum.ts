/** What an answer costs, summed up as it comes. */

import type { Figures } from "../model/conversation.ts";

/** What an answer costs that may take several requests, or be stopped before the server has said what it cost. */
export class FigureSum {
  sum: Figures | undefined;
  #began = 0;
  #first: number | undefined;
  #pieces = 0;

  constructor(before: Figures | undefined) {
    this.sum = before;
  }

  begin(): void {
    this.#began = performance.now();
    this.#first = undefined;
    this.#pieces = 0;
  }

  /** A piece of text came. */
  note(): void {
    this.#first ??= performance.now();
    this.#pieces++;
  }

  /** The server has said it. */
  add(figures: Figures): void {
    const { sum } = this;
    this.#pieces = 0;
    if (sum === undefined) {
      this.sum = figures;
      return;
    }
    const tokens = sum.tokens + figures.tokens;
    const seconds = sum.seconds + figures.seconds;
    this.sum = {
      ...figures,
      tokens,
      seconds,
      tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
      firstTokenMs: sum.firstTokenMs,
      promptTokens: sum.promptTokens,
      cachedTokens: sum.cachedTokens,
    };
  }

  /** The answer was left: what was seen of it has to do. Pieces are tokens, as a rule. */
  stop(): void {
    if (this.#first === undefined || this.#pieces === 0) return;
    const seconds = (performance.now() - this.#first) / 1000;
    this.add({
      tokens: this.#pieces,
      seconds,
      tokensPerSecond: seconds > 0 ? this.#pieces / seconds : 0,
      firstTokenMs: this.#first - this.#began,
      promptTokens: 0,
      cachedTokens: 0,
    });
  }
}
