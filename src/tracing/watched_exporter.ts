/**
 * Says when traces begin to get lost, when they do no more, and at the end what was not sent: a collector that is gone is nothing that
 * requests could tell of.
 */

import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import { plural } from "../terminal/plural.ts";
import { complain } from "./complaints.ts";
import { shownEndpoint } from "./settings.ts";

/** An exporter that is watched. */
export class WatchedExporter implements SpanExporter {
  readonly #lasting: SpanExporter;
  readonly #hasty: SpanExporter;
  readonly #place: string;
  #isEnding = false;
  /** Spans that were made and neither sent nor told of as lost. */
  #unsent = 0;
  /** Spans that are being sent. */
  #underWay = 0;
  /** Spans that could not be sent since the last time that some could. */
  #lost = 0;
  /** Why the last ones could not be sent; undefined: they could, before the end began. */
  #reason: string | undefined;

  /**
   * @param lasting tries again for as long as batches have.
   * @param hasty gives up within the time that the server's end has, so that it is known why.
   */
  constructor(lasting: SpanExporter, hasty: SpanExporter, url: string) {
    this.#lasting = lasting;
    this.#hasty = hasty;
    this.#place = shownEndpoint(url);
  }

  /** So many spans were made that ought to be sent. */
  expect(spans: number): void {
    this.#unsent += spans;
  }

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    const exporter = this.#isEnding ? this.#hasty : this.#lasting;
    this.#underWay += spans.length;
    exporter.export(spans, (result) => {
      this.#underWay -= spans.length;
      if (result.code === ExportResultCode.SUCCESS) this.#sent(spans.length);
      else this.#failed(spans.length, result.error);
      done(result);
    });
  }

  /** From now on there is one try for each span, and little time for it. */
  beginEnd(): void {
    this.#isEnding = true;
    if (this.#underWay === 0) return;
    // Those may be tried for longer than there is time, and nothing tells how that goes; what an empty request meets, they meet.
    this.#hasty.export([], ({ code, error }) => {
      if (code !== ExportResultCode.SUCCESS) this.#reason = reasonOf(error);
    });
  }

  /** Says what was not sent, once nothing more will be. */
  end(): void {
    if (this.#unsent === 0) return;
    const reason = this.#reason ?? "it did not take all in time";
    complain(`${plural(this.#unsent, "span")} could not be sent to ${this.#place}: ${reason}`);
  }

  async shutdown(): Promise<void> {
    await Promise.all([this.#lasting.shutdown(), this.#hasty.shutdown()]);
  }

  #sent(count: number): void {
    this.#unsent -= count;
    // What was lost before the end is told of there, with the reason.
    if (this.#isEnding) return;
    this.#reason = undefined;
    if (this.#lost === 0) return;
    complain(`${this.#place} takes them again, after the loss of ${plural(this.#lost, "span")}`);
    this.#unsent -= this.#lost;
    this.#lost = 0;
  }

  #failed(count: number, error: Error | undefined): void {
    this.#reason = reasonOf(error);
    if (this.#isEnding) return;
    if (this.#lost === 0) complain(`${this.#place} does not take them, so they are lost: ${this.#reason}`);
    this.#lost += count;
  }
}

/** What a failed export says of itself: of an answer, its status and its words. */
function reasonOf(error: (Error & { code?: unknown; data?: unknown }) | undefined): string {
  if (error === undefined) return "nobody knows why";
  const { code, data, message } = error;
  if (typeof code !== "number") return message;
  return `it answers ${code} ${message} ${typeof data === "string" ? data : ""}`.trim();
}
