/** An OpenTelemetry collector for tests: takes traces by OTLP over HTTP, as JSON or as protobuf, and keeps them. */

import { readWire, textOf, type WireField } from "./wire_format.ts";

/** A span as it came. */
export interface CollectedSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  /** As OTLP numbers them: 1 for internal ones, 2 for those of a server. */
  kind: number;
  /** As OTLP numbers them: 0 for nothing to say, 2 for an error. */
  status: number;
  /** In nanoseconds since 1970. */
  start: bigint;
  end: bigint;
  attributes: Record<string, unknown>;
  resource: Record<string, unknown>;
}

/** A collector that listens. */
export interface Collector {
  url: string;
  spans: CollectedSpan[];
  /** The requests that came, without their bodies. */
  requests: { path: string; headers: Headers }[];
  stop(): Promise<void>;
}

/** What answers a request instead of the collector; undefined: nothing does. */
export type Answer = () => Response | Promise<Response> | undefined;

/** Starts a collector on a free port, or on one that had another. */
export function startCollector(answer: Answer = () => undefined, port = 0): Collector {
  const spans: CollectedSpan[] = [];
  const requests: Collector["requests"] = [];
  const server = Bun.serve({
    port,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    async fetch(request) {
      requests.push({ path: new URL(request.url).pathname, headers: request.headers });
      const body = await request.bytes();
      const other = answer();
      if (other !== undefined) return other;
      const isJson = request.headers.get("content-type") === "application/json";
      spans.push(...(isJson ? fromJson(JSON.parse(new TextDecoder().decode(body))) : fromProtobuf(body)));
      return new Response(isJson ? "{}" : "");
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    spans,
    requests,
    stop: () => server.stop(true),
  };
}

interface JsonValue {
  stringValue?: string;
  intValue?: number | string;
  doubleValue?: number;
  boolValue?: boolean;
  arrayValue?: { values: JsonValue[] };
}

interface JsonAttributes {
  attributes: { key: string; value: JsonValue }[];
}

interface JsonSpan extends JsonAttributes {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  kind: number;
  status: { code: number };
  startTimeUnixNano: string;
  endTimeUnixNano: string;
}

function fromJson(body: { resourceSpans: { resource: JsonAttributes; scopeSpans: { spans: JsonSpan[] }[] }[] }) {
  const value = ({ stringValue, intValue, doubleValue, boolValue, arrayValue }: JsonValue): unknown =>
    arrayValue?.values.map(value) ??
    stringValue ??
    doubleValue ??
    boolValue ??
    (intValue === undefined ? undefined : Number(intValue));
  const named = ({ attributes }: JsonAttributes) =>
    Object.fromEntries(attributes.map(({ key, value: given }) => [key, value(given)]));
  return body.resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        name: span.name,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? "",
        kind: span.kind,
        status: span.status.code,
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
        attributes: named(span),
        resource: named(resource),
      })),
    ),
  );
}

/** Numbers of fields are those of opentelemetry/proto/trace/v1/trace.proto. */
function fromProtobuf(body: Uint8Array): CollectedSpan[] {
  const every = (message: WireField | Uint8Array, number: number) =>
    readWire(message instanceof Uint8Array ? message : message.bytes).filter((field) => field.number === number);
  const one = (message: WireField, number: number) => every(message, number)[0];
  const value = (field: WireField | undefined): unknown => {
    const [content] = field === undefined ? [] : readWire(field.bytes);
    if (content === undefined) return undefined;
    if (content.number === 1) return textOf(content);
    if (content.number === 2) return content.integer === 1n;
    if (content.number === 3) return Number(content.integer);
    if (content.number === 4) return new DataView(content.bytes.buffer, content.bytes.byteOffset).getFloat64(0, true);
    return every(content, 1).map((element) => value(element));
  };
  const named = (message: WireField, number: number) =>
    Object.fromEntries(
      every(message, number).map((attribute) => [textOf(one(attribute, 1)), value(one(attribute, 2))] as const),
    );
  const hexadecimal = (field: WireField | undefined) => Buffer.from(field?.bytes ?? []).toString("hex");
  const time = (field: WireField | undefined) => Buffer.from(field?.bytes ?? new Uint8Array(8)).readBigUInt64LE();
  return every(body, 1).flatMap((resourceSpans) => {
    const [resource] = every(resourceSpans, 1);
    return every(resourceSpans, 2).flatMap((scopeSpans) =>
      every(scopeSpans, 2).map((span) => {
        const status = one(span, 15);
        return {
          name: textOf(one(span, 5)),
          traceId: hexadecimal(one(span, 1)),
          spanId: hexadecimal(one(span, 2)),
          parentSpanId: hexadecimal(one(span, 4)),
          kind: Number(one(span, 6)?.integer ?? 0n),
          status: Number((status === undefined ? undefined : one(status, 3))?.integer ?? 0n),
          start: time(one(span, 7)),
          end: time(one(span, 8)),
          attributes: named(span, 9),
          resource: resource === undefined ? {} : named(resource, 1),
        };
      }),
    );
  });
}
