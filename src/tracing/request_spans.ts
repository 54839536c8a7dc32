/**
 * What the spans of a request say: one for the request, and below it one for each part of each answer's life in the engine. Names are those
 * of OpenTelemetry's semantic conventions for HTTP servers and for generative AI where it has one, and begin with "wrinklefree" where it
 * has none. No prompt, no answer and no key is in them.
 */

import { endReason, tokensOf } from "../api/answer_record.ts";
import type { RequestRecord } from "../api/request_record.ts";

/** What a span says, by name. */
export type Attributes = Record<string, string | number | boolean | string[]>;

/** A part of a request. Times are those of performance.now(), in milliseconds. */
export interface Part {
  name: string;
  begin: number;
  end: number;
  attributes: Attributes;
}

/** Answers whose parts are told; a request with more is told as a whole. */
const ANSWERS_MAX = 32;

/** What is done by path. */
const OPERATIONS: Readonly<Record<string, string>> = {
  "/v1/chat/completions": "chat",
  "/v1/completions": "text_completion",
  "/completion": "text_completion",
  "/generate": "text_completion",
  "/v1/embeddings": "embeddings",
  "/embedding": "embeddings",
};

/** What a request's span is called. */
export function requestName({ method, route }: RequestRecord): string {
  // Both are of fixed sets.
  const verb = method === "other" ? "HTTP" : method;
  return route === "other" ? verb : `${verb} ${route}`;
}

/** What a request's span says. */
export function requestAttributes(record: RequestRecord): Attributes {
  const { method, route, status, client, key, error } = record;
  return {
    "http.request.method": method === "other" ? "_OTHER" : method,
    ...(route === "other" ? {} : { "http.route": route }),
    "http.response.status_code": status,
    "client.address": client,
    ...(error === undefined ? {} : { "error.type": error.details.code ?? String(error.status) }),
    // As vLLM has it.
    "gen_ai.request.id": record.id,
    ...(key === undefined ? {} : { "wrinklefree.key": key }),
    ...modelAttributes(record),
    ...parameterAttributes(record),
    ...costAttributes(record),
  };
}

function modelAttributes({ route, model }: RequestRecord): Attributes {
  const operation = OPERATIONS[route];
  if (operation === undefined || model === undefined) return {};
  return {
    "gen_ai.operation.name": operation,
    "gen_ai.provider.name": "wrinklefree",
    "gen_ai.request.model": model,
    "gen_ai.response.model": model,
  };
}

function parameterAttributes({ parameters, isEventStream }: RequestRecord): Attributes {
  if (parameters === undefined) return {};
  const { sampling, choices } = parameters;
  const optional = {
    "gen_ai.request.top_p": [sampling.topP, 1],
    "gen_ai.request.top_k": [sampling.topK, 0],
    "gen_ai.request.frequency_penalty": [sampling.frequencyPenalty, 0],
    "gen_ai.request.presence_penalty": [sampling.presencePenalty, 0],
    "gen_ai.request.choice.count": [choices, 1],
  };
  return {
    "gen_ai.request.max_tokens": sampling.maxTokens,
    "gen_ai.request.temperature": sampling.temperature,
    ...Object.fromEntries(
      Object.entries(optional).flatMap(([name, [value, off]]) => (value === off ? [] : [[name, value]])),
    ),
    "gen_ai.request.stream": isEventStream,
  };
}

function costAttributes({ answers, hasLeft, isEventStream, started }: RequestRecord): Attributes {
  if (answers.length === 0) return {};
  const { prompt, cached, generated } = tokensOf(answers);
  const begun = answers.filter(({ counts }) => counts.completionTokens > 0);
  const first = Math.min(...begun.map(({ submitted, counts }) => submitted + counts.firstTokenMs - started));
  return {
    "gen_ai.usage.input_tokens": prompt,
    "gen_ai.usage.cache_read.input_tokens": cached,
    "gen_ai.usage.output_tokens": generated,
    "gen_ai.response.finish_reasons": answers.slice(0, ANSWERS_MAX).map((answer) => endReason(answer, hasLeft)),
    ...(isEventStream && begun.length > 0 ? { "gen_ai.response.time_to_first_chunk": first / 1000 } : {}),
  };
}

/** The parts of a request that the engine had: each answer waits, has its prompt computed, and is written, as far as it came. */
export function requestParts(record: Pick<RequestRecord, "answers" | "hasLeft" | "started" | "milliseconds">): Part[] {
  const { answers, hasLeft, started, milliseconds } = record;
  const over = started + milliseconds;
  return answers.slice(0, ANSWERS_MAX).flatMap((answer, choice) => {
    const { submitted, hasBegun, counts, reason } = answer;
    const end = reason === undefined ? over : Math.min(over, submitted + counts.totalMs);
    const hasToken = counts.completionTokens > 0;
    // A clock that is read twice may be a little ahead of itself.
    const within = (time: number) => Math.max(submitted, Math.min(end, time));
    const begun = hasBegun ? within(submitted + counts.queueMs) : end;
    const written = hasToken ? within(submitted + counts.firstTokenMs) : end;
    const which: Attributes = answers.length > 1 ? { "wrinklefree.choice": choice } : {};
    const parts: Part[] = [{ name: "queue", begin: submitted, end: begun, attributes: which }];
    if (hasBegun) {
      const attributes = {
        ...which,
        "gen_ai.usage.input_tokens": counts.promptTokens,
        "gen_ai.usage.cache_read.input_tokens": counts.cachedTokens,
      };
      parts.push({ name: "prefill", begin: begun, end: written, attributes });
    }
    if (hasToken) {
      const attributes = {
        ...which,
        "gen_ai.usage.output_tokens": counts.completionTokens,
        "gen_ai.response.finish_reasons": [endReason(answer, hasLeft)],
      };
      parts.push({ name: "decode", begin: written, end, attributes });
    }
    return parts;
  });
}
