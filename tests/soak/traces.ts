/** A collector of traces: what comes is held against what clients saw, and is not kept. */

import { startCollector } from "../support/collector.ts";
import type { Ledger } from "./ledger.ts";

/** What OTLP calls the span of a request to a server. */
const SERVER_SPAN = 2;

/** One that listens. */
export interface TraceCollector {
  url: string;
  /** What is compared. */
  ledger: Ledger;
  /** Takes what has come since the last time. */
  take(): void;
  stop(): Promise<void>;
}

/** Starts one. */
export function collectTraces(ledger: Ledger): TraceCollector {
  const { url, spans, requests, stop } = startCollector();
  return {
    url,
    ledger,
    take() {
      requests.length = 0;
      for (const { kind, attributes } of spans.splice(0)) {
        if (kind !== SERVER_SPAN) continue;
        ledger.record(String(attributes["gen_ai.request.id"]), Number(attributes["http.response.status_code"]));
      }
    },
    stop,
  };
}
