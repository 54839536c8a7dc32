/** Says when traces begin to get lost, and when they do no more: a collector that is gone is nothing that requests could tell of. */

import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import { complain } from "./complaints.ts";
import { shownEndpoint } from "./settings.ts";

/** An exporter that is watched. */
export class WatchedExporter implements SpanExporter {
  readonly #inner: SpanExporter;
  readonly #place: string;
  #lost = 0;

  constructor(inner: SpanExporter, url: string) {
    this.#inner = inner;
    this.#place = shownEndpoint(url);
  }

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.#inner.export(spans, (result) => {
      if (result.code === ExportResultCode.SUCCESS) this.#sent();
      else this.#failed(spans.length, result.error);
      done(result);
    });
  }

  shutdown(): Promise<void> {
    return this.#inner.shutdown();
  }

  #sent(): void {
    if (this.#lost > 0) complain(`${this.#place} takes them again; ${this.#lost} spans were lost`);
    this.#lost = 0;
  }

  #failed(count: number, error: Error | undefined): void {
    if (this.#lost === 0) complain(`${this.#place} does not take them, so they are lost: ${reasonOf(error)}`);
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
