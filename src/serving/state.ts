/**
 * What the whole server shares: the model once it is loaded, the answers under way, and whether new ones are taken.
 */

import { BodyBudget } from "./body_budget.ts";
import { type JobLimits, Jobs } from "./jobs.ts";
import { Metrics } from "./metrics.ts";
import { RequestError } from "./request_error.ts";
import { Scopes } from "./scopes.ts";
import type { Service } from "./service.ts";

/** Seconds after which a client may try again while the server is loading or shutting down. */
const RETRY_AFTER_S = "5";

/** What becomes of what a model thinks: "none" leaves it in the text; the others make it a field of its own. */
export const REASONING_FORMATS = ["auto", "deepseek", "none"] as const;

/** One of those. */
export type ReasoningFormat = (typeof REASONING_FORMATS)[number];

/** What clients call the model. */
export interface ModelNames {
  /** The name that answers and /v1/models show; absent: the model's own. */
  served?: string;
  /** Names that requests may use as well. */
  aliases?: readonly string[];
  /** Whether requests may use any name. */
  any?: boolean;
}

/** How requests are answered, as far as that can change while a server runs. */
export interface AnswerSettings {
  /** Used by requests that set neither a temperature nor another parameter of sampling. */
  temperature: number;
  /** What becomes of thoughts where a request doesn't say; absent: auto. */
  reasoningFormat?: ReasoningFormat;
  names: ModelNames;
  /** What may be under way at once. */
  limits: JobLimits;
}

/** One server's state. */
export class ServerState {
  readonly jobs: Jobs;
  readonly metrics = new Metrics();
  /** What the bodies of requests may take. */
  readonly bodies = new BodyBudget();
  /** Which requests may share what the prefix cache holds. */
  readonly scopes = new Scopes();
  #settings: AnswerSettings;
  /** What is done until the model is there, and how far it is, in bytes; undefined where nobody knows. */
  loading: { what: string; done: number; total: number } | undefined;
  #service: Service | undefined;
  #isDraining = false;
  /** Whether requests are taken while others are waited for. */
  #takesLast = false;

  constructor(settings: AnswerSettings) {
    this.jobs = new Jobs(settings.limits, () => this.#engineLoad());
    this.#settings = settings;
  }

  /** From now on these hold for new requests. */
  use(settings: AnswerSettings): void {
    this.#settings = settings;
    this.jobs.limits = settings.limits;
  }

  /** Used by requests that set neither a temperature nor another parameter of sampling. */
  get defaultTemperature(): number {
    return this.#settings.temperature;
  }

  /** What becomes of thoughts where a request doesn't say. */
  get reasoningFormat(): ReasoningFormat {
    return this.#settings.reasoningFormat ?? "auto";
  }

  /** What the server is doing. */
  get phase(): "loading" | "ready" | "draining" {
    if (this.#isDraining) return "draining";
    return this.#service === undefined ? "loading" : "ready";
  }

  /** The model, if it is loaded, whether or not new requests are taken. */
  get loaded(): Service | undefined {
    return this.#service;
  }

  /** The name that clients are shown. */
  get modelName(): string {
    return this.#settings.names.served ?? this.#service?.name ?? "";
  }

  /** Names that requests may use as well. */
  get aliases(): readonly string[] {
    return this.#settings.names.aliases ?? [];
  }

  #engineLoad(): number {
    const stats = this.#service?.engine.stats();
    return stats === undefined ? 0 : stats.running + stats.waiting;
  }

  /** From now on requests are answered. */
  setReady(service: Service): void {
    this.#service = service;
    this.loading = undefined;
    const { bodies, answers } = service.plan.requests;
    this.bodies.limit = bodies;
    this.jobs.answerBytesMax = answers;
  }

  /** From now on no new requests are taken, but those that can't be made elsewhere, if there are such. */
  drain(takesLast = false): void {
    this.#isDraining = true;
    this.#takesLast = takesLast;
  }

  /** The model, for a new request. @throws RequestError 503 while loading or draining. */
  requireService(): Service {
    if (this.#service !== undefined && (!this.#isDraining || this.#takesLast)) return this.#service;
    throw this.#unavailable();
  }

  /** @throws RequestError 503 while loading or draining, whoever is still served. */
  requireReady(): void {
    if (this.phase !== "ready") throw this.#unavailable();
  }

  #unavailable(): RequestError {
    const reason = this.#isDraining ? "The server is shutting down." : "The model is still being loaded.";
    return new RequestError(503, reason, { headers: { "retry-after": RETRY_AFTER_S } });
  }

  /** Checks the name by which a request calls the model; none means this one. @throws RequestError 404. */
  checkModel(name: string | undefined): void {
    const { any } = this.#settings.names;
    if (name === undefined || name === this.modelName || any || this.aliases.includes(name)) return;
    // Whatever else was sent may be a prompt.
    const shown = /^[\w./:@+-]{1,100}$/.test(name) ? `The model '${name}'` : "The requested model";
    const advice = `this server has '${this.modelName}'; ask for that, or leave 'model' out`;
    throw new RequestError(404, `${shown} does not exist: ${advice}.`, {
      param: "model",
      code: "model_not_found",
    });
  }
}

/** The error for an answer that was ended because the server stops. */
export function endedByShutdown(): RequestError {
  return new RequestError(503, "The server shut down before the answer was complete.", {
    headers: { "retry-after": RETRY_AFTER_S },
  });
}
