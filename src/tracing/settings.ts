/**
 * How traces are sent, as OpenTelemetry's standard variables say it. Those that are about the connection alone (headers, time limit,
 * compression, certificates) and those about the resource are read by its library.
 */

import { Failure } from "../errors.ts";

/** How traces are sent. */
export interface TracingSettings {
  /** The whole address. */
  url: string;
  protocol: (typeof PROTOCOLS)[number];
  sampler: Sampler;
  batch: Batch;
}

/** Which requests are traced. */
export interface Sampler {
  /** Whether a request that belongs to a trace of its client's is traced if that one is, whatever the share. */
  followsParent: boolean;
  /** The share of all others, 0 to 1. */
  share: number;
}

/** When spans are sent. */
export interface Batch {
  /** Milliseconds that they are collected for. */
  scheduledDelayMillis: number;
  /** Milliseconds after which a batch that could not be sent is given up. */
  exportTimeoutMillis: number;
  /** Spans that may wait; more are dropped. */
  maxQueueSize: number;
  /** Spans that are sent together. */
  maxExportBatchSize: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

const PROTOCOLS = ["http/protobuf", "http/json"] as const;

const DEFAULT_ENDPOINT = "http://localhost:4318";

/** What is added to a collector's address. */
const PATH = "/v1/traces";

const TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT";

/**
 * Reads the variables.
 *
 * @param endpoint of the collector, which comes before the variables; undefined: they say it.
 * @returns undefined where a variable switches tracing off.
 * @throws Failure for a value that can't be followed.
 */
export function readTracingSettings(
  endpoint: string | undefined,
  environment: Environment,
): TracingSettings | undefined {
  const read = (name: string) => environment[name]?.trim() || undefined;
  const isDisabled = read("OTEL_SDK_DISABLED")?.toLowerCase() === "true";
  if (isDisabled || read("OTEL_TRACES_EXPORTER")?.toLowerCase() === "none") return undefined;
  return {
    url: endpoint === undefined ? standardUrl(read) : tracesUrl(endpoint),
    protocol: readProtocol(read),
    sampler: readSampler(read),
    batch: readBatch(read),
  };
}

type Read = (name: string) => string | undefined;

/** The address of a collector, or what was meant as one, for people: without what may be a password. */
export function shownEndpoint(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/?#]*@/i, "$1").replace(/[?#].*$/s, "");
}

/** Whether a text is the address of a collector. */
export function isEndpoint(text: string): boolean {
  return /^https?:\/\/[^/]/i.test(text) && URL.canParse(text);
}

function standardUrl(read: Read): string {
  const own = read(TRACES_ENDPOINT);
  // The only one that is the whole address.
  if (own !== undefined) return new URL(checkedEndpoint(TRACES_ENDPOINT, own)).href;
  const endpoint = read(ENDPOINT);
  return tracesUrl(endpoint === undefined ? DEFAULT_ENDPOINT : checkedEndpoint(ENDPOINT, endpoint));
}

function checkedEndpoint(name: string, text: string): string {
  if (isEndpoint(text)) return text;
  throw new Failure(`${name} takes an address such as ${DEFAULT_ENDPOINT}, not '${shownEndpoint(text)}'`);
}

function tracesUrl(endpoint: string): string {
  const url = new URL(endpoint);
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith(PATH) ? path : path + PATH;
  return url.href;
}

function readProtocol(read: Read): TracingSettings["protocol"] {
  const [name, otherName] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
  const text = read(name) ?? read(otherName) ?? "http/protobuf";
  const protocol = PROTOCOLS.find((one) => one === text);
  if (protocol !== undefined) return protocol;
  throw new Failure(
    `${read(name) === undefined ? otherName : name} takes ${PROTOCOLS.join(" or ")}, not '${text}'; collectors have a port of their own for those, usually 4318`,
  );
}

function readSampler(read: Read): Sampler {
  const name = "OTEL_TRACES_SAMPLER";
  const text = read(name) ?? "parentbased_always_on";
  const [, parent, kind] = /^(parentbased_)?(always_on|always_off|traceidratio)$/.exec(text) ?? [];
  if (kind === undefined) {
    throw new Failure(
      `${name} takes always_on, always_off or traceidratio, with parentbased_ before it or not, and not '${text}'`,
    );
  }
  const share =
    kind === "traceidratio" ? readNumber(read, `${name}_ARG`, 1, (number) => number >= 0 && number <= 1) : 1;
  return { followsParent: parent !== undefined, share: kind === "always_off" ? 0 : share };
}

function readBatch(read: Read): Batch {
  const count = (name: string, otherwise: number) =>
    readNumber(read, `OTEL_BSP_${name}`, otherwise, (number) => Number.isInteger(number) && number > 0);
  const maxQueueSize = count("MAX_QUEUE_SIZE", 2048);
  return {
    scheduledDelayMillis: count("SCHEDULE_DELAY", 5000),
    exportTimeoutMillis: count("EXPORT_TIMEOUT", 30_000),
    maxQueueSize,
    maxExportBatchSize: Math.min(count("MAX_EXPORT_BATCH_SIZE", 512), maxQueueSize),
  };
}

function readNumber(read: Read, name: string, otherwise: number, accepts: (number: number) => boolean): number {
  const text = read(name);
  const number = text === undefined ? otherwise : Number(text);
  if (accepts(number)) return number;
  throw new Failure(`${name} can't be '${text}'; leave it out for ${otherwise}`);
}
