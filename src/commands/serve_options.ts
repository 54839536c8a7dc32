/** The options of `wrinklefree serve` and what they mean together. */

import { SEQUENCES_MAX } from "../engine/symbols.ts";
import { UsageError } from "../errors.ts";
import { decimalNumber, file, filledText, type Kind, oneOf, wholeNumber } from "../options/kinds.ts";
import type { Options, ValuesOf } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import type { CertificateFiles } from "../server/certificate.ts";
import { isProxyRange } from "../server/client_address.ts";
import { isHostName, withoutBrackets } from "../server/host.ts";
import { LOG_FORMATS } from "../server/log.ts";
import { isBasePath } from "../server/path.ts";
import { type Place, readPlace, socketAddress } from "../server/places.ts";
import type { KeyLimits } from "../serving/api_key.ts";
import { REASONING_FORMATS } from "../serving/state.ts";
import { isEndpoint, readTracingSettings, shownEndpoint, type TracingSettings } from "../tracing/settings.ts";
import { keyOptions } from "./api_keys.ts";
import { modelChoice, modelOptions } from "./model_options.ts";
import { storeOptions } from "./store_options.ts";

/** Answers under way at once, those in the batch and those that wait, unless --queue says otherwise. */
export const ANSWERS_MAX = 1024;

const hostName: Kind<string> = {
  read(value, label) {
    if (!isHostName(value)) throw new UsageError(`${label} takes a name such as llm.example, not '${value}'`);
    return value;
  },
};

const basePath: Kind<string> = {
  read(value, label) {
    const path = value.replace(/\/$/, "");
    if (path !== "" && !isBasePath(path)) throw new UsageError(`${label} takes a path such as /llm, not '${value}'`);
    return path;
  },
};

const origin: Kind<string> = {
  read(value, label) {
    if (value !== "*" && !/^[a-z][a-z0-9+.-]*:\/\/[^/\s]+\/?$/i.test(value)) {
      throw new UsageError(`${label} takes an origin such as https://app.example, or *, not '${value}'`);
    }
    return value;
  },
};

const place: Kind<Place> = {
  read(value, label) {
    const found = readPlace(value);
    if (found === undefined) {
      throw new UsageError(`${label} takes HOST:PORT, [ADDRESS]:PORT or unix:/path, not '${value}'`);
    }
    return found;
  },
};

const permissions: Kind<number> = {
  read(value, label) {
    if (!/^[0-7]{3,4}$/.test(value)) throw new UsageError(`${label} takes permissions such as 660, not '${value}'`);
    return Number.parseInt(value, 8);
  },
};

const proxyRange: Kind<string> = {
  read(value, label) {
    if (isProxyRange(value)) return value;
    throw new UsageError(`${label} takes an address, a range such as 10.0.0.0/8, or unix, not '${value}'`);
  },
};

/** What the server listens on, as sockets take it. */
const host: Kind<string> = {
  read(value, label) {
    if (!isHostName(value)) throw new UsageError(`${label} takes an address or a host name, not '${value}'`);
    return withoutBrackets(value);
  },
};

/** The port, where only the address is given. */
const PORT = 30_000;

/** The address, where only the port is given. */
const HOST = "127.0.0.1";

/** Where the server listens. */
const listening = {
  host: {
    group: "Listening",
    help: "where to listen",
    place: "anywhere",
    placeholder: "ADDRESS",
    kind: host,
    otherwise: `${HOST}, this machine only`,
  },
  port: {
    group: "Listening",
    help: "the port to listen on; 0: any that is free",
    place: "anywhere",
    placeholder: "N",
    kind: wholeNumber(0, 65535),
    otherwise: String(PORT),
  },
  listen: {
    group: "Listening",
    help:
      "listen at HOST:PORT or on a unix socket, unix:/path, instead of at the default address; " +
      "what --host and --port say still holds",
    place: "anywhere",
    placeholder: "WHERE",
    kind: place,
    isList: true,
  },
  "socket-mode": {
    group: "Listening",
    help: "permissions of unix sockets",
    place: "anywhere",
    placeholder: "MODE",
    kind: permissions,
    default: "660",
  },
  "tls-cert": {
    group: "Listening",
    help:
      "speak TLS, with this certificate and those that lead to a known one behind it in the file, as PEM; " +
      "unix sockets do without",
    place: "anywhere",
    placeholder: "FILE",
    kind: file,
  },
  "tls-key": {
    group: "Listening",
    help: "the certificate's private key, as PEM without a passphrase",
    place: "anywhere",
    placeholder: "FILE",
    kind: file,
  },
  "trusted-proxy": {
    group: "Listening",
    help:
      "believe this reverse proxy's X-Forwarded-For, for the client's address in the log: an address, a range such as " +
      "10.0.0.0/8, or unix for those that come through a unix socket",
    place: "anywhere",
    isReloadable: true,
    placeholder: "RANGE",
    kind: proxyRange,
    isList: true,
  },
  "base-path": {
    group: "Listening",
    help: "what a reverse proxy leaves before every path, /llm for one; one that takes it off needs no such option",
    place: "anywhere",
    isReloadable: true,
    placeholder: "PATH",
    kind: basePath,
    default: "",
    otherwise: "nothing",
  },
  "drain-timeout": {
    group: "Listening",
    help: "seconds that answers under way have to finish after SIGTERM or Ctrl-C",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(0, 86_400),
    default: "30",
  },
  "keep-alive": {
    group: "Listening",
    help: "seconds after which an idle connection is closed, 255 at most",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(1, 255),
    default: "60",
  },
} as const satisfies Options;

/** Who may use it. */
const access = {
  ...keyOptions,
  "key-requests": {
    group: "Access",
    help: "requests that each key may make in a minute",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(1, 2 ** 31),
    otherwise: "no limit",
  },
  "key-tokens": {
    group: "Access",
    help: "tokens of prompts and answers that each key may use in a minute",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(1, 2 ** 31),
    otherwise: "no limit",
  },
  "key-running": {
    group: "Access",
    help: "requests that each key may have under way at once",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(1, 65_536),
    otherwise: "no limit",
  },
  insecure: {
    group: "Access",
    help: "without a key, listen on an address that others can reach; anyone there can use the server",
    place: "anywhere",
    isReloadable: true,
    isSwitch: true,
  },
  "allowed-host": {
    group: "Access",
    help: "without a key, answer under this host name too, that of a reverse proxy for one, beside the machine's own names",
    place: "anywhere",
    isReloadable: true,
    placeholder: "NAME",
    kind: hostName,
    isList: true,
  },
  "cors-origin": {
    group: "Access",
    help: "let web pages of this origin use the server, * for all",
    place: "anywhere",
    isReloadable: true,
    placeholder: "URL",
    kind: origin,
    isList: true,
  },
} as const satisfies Options;

/** How many requests it takes. */
const requests = {
  parallel: {
    group: "Requests",
    help: "requests that are answered together",
    place: "anywhere",
    placeholder: "N",
    kind: wholeNumber(1, SEQUENCES_MAX),
    default: "4",
  },
  queue: {
    group: "Requests",
    help: "requests that may wait for that; more are told to come back later. Each of the n answers of a request counts",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(0, 65_536),
    otherwise: `${ANSWERS_MAX} less --parallel`,
  },
  "queue-tokens": {
    group: "Requests",
    help: "tokens of the prompts that may wait; a request with more is refused",
    place: "anywhere",
    isReloadable: true,
    placeholder: "N",
    kind: wholeNumber(1, 2 ** 31),
    default: "262144",
  },
} as const satisfies Options;

/** What answers are like. */
const answers = {
  temperature: {
    group: "Answers",
    help: "for requests that don't set one",
    place: "anywhere",
    isReloadable: true,
    placeholder: "T",
    kind: decimalNumber(0, 2),
    default: "0",
    otherwise: "0, the likeliest token",
  },
  "reasoning-format": {
    group: "Answers",
    help: "what becomes of what a model thinks: auto makes it reasoning_content, none leaves it in the text",
    place: "anywhere",
    isReloadable: true,
    placeholder: "FORMAT",
    kind: oneOf(REASONING_FORMATS),
    default: "auto",
  },
  "served-name": {
    group: "Answers",
    help: "what answers call the model",
    place: "anywhere",
    isReloadable: true,
    placeholder: "NAME",
    kind: filledText("a name"),
    otherwise: "its own name",
  },
  alias: {
    group: "Answers",
    help: "another name by which requests may call it",
    place: "anywhere",
    isReloadable: true,
    placeholder: "NAME",
    kind: filledText("a name"),
    isList: true,
  },
  "any-model": {
    group: "Answers",
    help: "answer whatever model a request names",
    place: "anywhere",
    isReloadable: true,
    isSwitch: true,
  },
} as const satisfies Options;

/** What it tells. */
const logging = {
  log: {
    group: "Log",
    help: "a line on stderr for each request: text, json or off",
    place: "anywhere",
    isReloadable: true,
    placeholder: "FORMAT",
    kind: oneOf(LOG_FORMATS),
    default: "text",
  },
} as const satisfies Options;

const endpoint: Kind<string> = {
  read(value, label) {
    if (!isEndpoint(value)) {
      throw new UsageError(`${label} takes an address such as http://localhost:4318, not '${shownEndpoint(value)}'`);
    }
    return value;
  },
  shown: shownEndpoint,
};

/** Where it tells what becomes of requests. */
const traces = {
  traces: {
    group: "Traces",
    help:
      "send a trace of each request to an OpenTelemetry collector, by OTLP over HTTP; OpenTelemetry's own variables say " +
      "how, such as OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER",
    place: "anywhere",
    isSwitch: true,
  },
  "otlp-endpoint": {
    group: "Traces",
    help: "the collector's address, behind which /v1/traces is added; it switches --traces on",
    place: "anywhere",
    placeholder: "URL",
    kind: endpoint,
    otherwise: "OTEL_EXPORTER_OTLP_ENDPOINT, or http://localhost:4318",
  },
} as const satisfies Options;

/** What is done instead of serving. */
const planning = {
  "dry-run": {
    group: "Planning",
    help: "say what would be kept in memory and whether it fits, and load nothing; the exit code is 1 when it does not fit",
    place: "line",
    isSwitch: true,
  },
  json: { group: "Planning", help: "with --dry-run, print JSON", place: "line", isSwitch: true },
} as const satisfies Options;

/** What a server is like. */
export const serverOptions = {
  ...modelChoice,
  ...listening,
  ...access,
  ...modelOptions,
  ...requests,
  ...answers,
  ...logging,
  ...traces,
  ...storeOptions,
} as const satisfies Options;

export const serveOptions = { ...serverOptions, ...planning } as const satisfies Options;

type Values = ValuesOf<typeof serverOptions>;

/**
 * Where to listen: at the default address only if nothing is said at all.
 *
 * @param passed sockets that were passed to the process.
 */
export function chosenPlaces(
  { host, port, listen }: Pick<Values, "host" | "port" | "listen">,
  passed: Place[],
): Place[] {
  const isDefault = passed.length + listen.length > 0 && host === undefined && port === undefined;
  const first: Place[] = isDefault ? [] : [{ kind: "address", hostname: host ?? HOST, port: port ?? PORT }];
  // Units that were made of the same settings listen there already, and nobody can listen at one place twice.
  const taken = new Set(passed.map(socketAddress));
  const others = [...first, ...listen].filter((place) => {
    const isFree = !taken.has(socketAddress(place));
    if (place.kind !== "address" || place.port !== 0) taken.add(socketAddress(place));
    return isFree;
  });
  return [...passed, ...others];
}

/** The files of the certificate; undefined without TLS. @throws UsageError. */
export function certificateFiles(values: Values): CertificateFiles | undefined {
  const { "tls-cert": certificate, "tls-key": key } = values;
  if (certificate !== undefined && key !== undefined) return { certificate, key };
  if (certificate === undefined && key === undefined) return undefined;
  const [given, other] = certificate === undefined ? ["--tls-key", "--tls-cert"] : ["--tls-cert", "--tls-key"];
  throw new UsageError(`${given} needs ${other} beside it`);
}

/** What each key may use that has no limits of its own. */
export function keyLimits(values: Values): KeyLimits {
  return { requests: values["key-requests"], tokens: values["key-tokens"], running: values["key-running"] };
}

/** How requests are traced; undefined: they are not. @throws Failure for a variable of OpenTelemetry's that can't be followed. */
export function tracingSettings({ values, settings }: Given<typeof serverOptions>): TracingSettings | undefined {
  const { traces: isWanted, "otlp-endpoint": collector } = values;
  const isRefused =
    !isWanted && settings.some(({ name, sources }) => name === "traces" && sources[0]?.kind !== "default");
  if (isRefused || (!isWanted && collector === undefined)) return undefined;
  return readTracingSettings(collector, process.env);
}
