/**
 * Traces by OpenTelemetry's library. Nothing here waits for a collector: spans go into a bounded queue when an answer is over, and what
 * can't be sent in time is dropped.
 */

import { hostname } from "node:os";
import {
  type Context,
  DiagLogLevel,
  diag,
  type HrTime,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import {
  millisToHrTime,
  setGlobalErrorHandler,
  TRACE_PARENT_HEADER,
  W3CTraceContextPropagator,
} from "@opentelemetry/core";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler as SpanSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { hasFailed, type RequestRecord } from "../api/request_record.ts";
import { version } from "../version.ts";
import { diagnostics } from "./complaints.ts";
import { requestAttributes, requestName, requestParts } from "./request_spans.ts";
import type { Sampler, TracingSettings } from "./settings.ts";
import type { RequestTrace, Tracing } from "./tracing.ts";
import { WatchedExporter } from "./watched_exporter.ts";

/** Reads the headers of a request. */
const headerGetter: TextMapGetter<Headers> = {
  keys: (headers) => [...headers.keys()],
  get: (headers, name) => headers.get(name) ?? undefined,
};

const propagator = new W3CTraceContextPropagator();

/** How long each try at the end of a server has: less than that end, so that its outcome is known by then. */
const LAST_TRY_MS = 1_500;

/** The traces of one server, sent by OTLP over HTTP. */
export class OpenTelemetry implements Tracing {
  readonly #exporter: WatchedExporter;
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;

  constructor({ url, protocol, sampler, batch }: TracingSettings) {
    diag.setLogger(diagnostics(), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
    // What could not be sent is told by the exporter that is watched.
    setGlobalErrorHandler(() => undefined);
    const Exporter = protocol === "http/json" ? JsonExporter : ProtobufExporter;
    const common = { url, userAgent: `wrinklefree/${version}` };
    const hasty = new Exporter({ ...common, timeoutMillis: LAST_TRY_MS });
    this.#exporter = new WatchedExporter(new Exporter(common), hasty, url);
    const own = resourceFromAttributes({
      "service.name": "wrinklefree",
      "service.version": version,
      "host.name": hostname(),
      "process.pid": process.pid,
    });
    this.#provider = new TracerProvider({
      resource: defaultResource()
        .merge(own)
        .merge(detectResources({ detectors: [envDetector] })),
      sampler: spanSampler(sampler),
      spanProcessors: [new BatchSpanProcessor({ exporter: this.#exporter, ...batch })],
    });
    this.#tracer = this.#provider.getTracer("wrinklefree", version);
  }

  begin(started: number, headers: Headers): RequestTrace {
    const parent = propagator.extract(ROOT_CONTEXT, headers, headerGetter);
    // The clock may be set while a request is under way; what passes meanwhile is measured by another one.
    const offset = Date.now() - performance.now();
    const at = (time: number) => millisToHrTime(time + offset);
    const options = { kind: SpanKind.SERVER, startTime: at(started) };
    const span = this.#tracer.startSpan("request", options, parent);
    const context = trace.setSpan(ROOT_CONTEXT, span);
    const { traceId, spanId } = span.spanContext();
    const answered: Record<string, string> = {};
    propagator.inject(context, answered, { set: (headers, name, value) => (headers[name] = value) });
    return {
      traceId,
      spanId,
      traceparent: answered[TRACE_PARENT_HEADER] as string,
      end: (record) => {
        if (span.isRecording()) this.#end(record, span, context, at);
      },
    };
  }

  /** The request's span is the first to be queued: of the many parts of a large request some may be dropped. */
  #end(record: RequestRecord, span: Span, context: Context, at: (time: number) => HrTime): void {
    span.updateName(requestName(record));
    span.setAttributes(requestAttributes(record));
    if (hasFailed(record)) span.setStatus({ code: SpanStatusCode.ERROR });
    const parts = requestParts(record);
    this.#exporter.expect(1 + parts.length);
    span.end(at(record.started + record.milliseconds));
    for (const { name, begin, end, attributes } of parts) {
      this.#tracer.startSpan(name, { startTime: at(begin), attributes }, context).end(at(end));
    }
  }

  async stop(deadline: Promise<unknown>): Promise<void> {
    this.#exporter.beginEnd();
    // That a batch failed is told by the exporter, and leaves others on their way.
    await Promise.race([this.#provider.shutdown().catch(() => this.#exporter.shutdown()), deadline]);
    this.#exporter.end();
  }
}

function spanSampler({ followsParent, share }: Sampler): SpanSampler {
  const root = new TraceIdRatioBasedSampler(share);
  return followsParent ? new ParentBasedSampler({ root }) : root;
}
