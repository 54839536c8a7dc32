/**
 * The answers to one request, generated side by side: places for them, their events in the order in which they happen, and an end
 * for all of them however the request is left. Every endpoint that generates goes through here.
 */

import type { Job } from "../serving/jobs.ts";
import { RequestError } from "../serving/request_error.ts";
import type { Service } from "../serving/service.ts";
import { endedByShutdown } from "../serving/state.ts";
import { type GenerationEvent, generate } from "../text/generation.ts";
import { newRecord } from "./answer_record.ts";
import { requireTextModel } from "./embeddings.ts";
import { EventQueue } from "./event_queue.ts";
import type { Exchange } from "./exchange.ts";
import { choiceSampling, type GenerationParameters } from "./sampling.ts";

/** Something that happened to the choice with this index. */
export type ChoiceEvent = GenerationEvent & { choice: number };

/** The events of all choices. */
export type ChoiceEvents = AsyncGenerator<ChoiceEvent, void>;

/** The prompts of a request before they are tokenized. */
export interface Prompts {
  /** How many. */
  count: number;
  /** The most tokens that they can have together. */
  tokensAtMost: number;
  /** Bytes of their texts that the answers repeat, each for all of its choices. */
  repeatedBytes: number;
  /** The parameter that holds them. */
  param: string;
  /** The parameter that says how many answers each gets. */
  choicesParam: string;
  /** Makes their ids. @throws RequestError 400 when the context can't hold one of them. */
  encode(): Promise<number[][]>;
}

/**
 * Takes places for the answers, tokenizes the prompts and answers.
 *
 * @param respond makes the response; what it makes has to run the events to their end or return them.
 */
export async function answer(
  exchange: Exchange,
  service: Service,
  parameters: GenerationParameters,
  prompts: Prompts,
  respond: (events: ChoiceEvents, ids: number[][]) => Response | Promise<Response>,
): Promise<Response> {
  requireTextModel(service);
  exchange.parameters = parameters;
  const count = prompts.count * parameters.choices;
  const asking =
    prompts.count > 1
      ? { param: prompts.param, code: "array_above_max_length" }
      : { param: prompts.choicesParam, code: "integer_above_max_value" };
  const jobs = exchange.state.jobs.admit(count, exchange.client, prompts.tokensAtMost, asking);
  try {
    const ids = await prompts.encode();
    const promptTokens = ids.reduce((sum, prompt) => sum + prompt.length, 0);
    jobs[0]?.setPromptTokens(promptTokens, prompts.param);
    exchange.charge(promptTokens);
    exchange.onSent(
      exchange.state.jobs.holdAnswers(answerBytes(ids, prompts.repeatedBytes, parameters, service.context)),
    );
    return await respond(allChoices(exchange, service, ids, parameters, jobs), ids);
  } catch (error) {
    // What is said on purpose stands.
    const isStopped = !(error instanceof RequestError) && exchange.state.jobs.areCutOff && !exchange.client.aborted;
    for (const job of jobs) job.finish();
    exchange.sent();
    throw isStopped ? endedByShutdown() : error;
  }
}

/**
 * Choice i answers prompt floor(i / parameters.choices). Ends every job, however it is left. What the engine writes faster than the
 * events are asked for waits; its memory was admitted.
 */
async function* allChoices(
  exchange: Exchange,
  service: Service,
  prompts: number[][],
  parameters: GenerationParameters,
  jobs: Job[],
): ChoiceEvents {
  const { sampling, choices: choicesEach, text } = parameters;
  const { metrics } = exchange.state;
  const queue = new EventQueue<ChoiceEvent>();
  let unfinished = jobs.length;
  const written = jobs.map(async (job, choice) => {
    const prompt = prompts[Math.floor(choice / choicesEach)] as number[];
    const record = newRecord(prompt.length);
    exchange.answers.push(record);
    let charged = 0;
    try {
      const events = generate(service, {
        prompt,
        sampling: choiceSampling(sampling, choice % choicesEach),
        ...text,
        counts: record.counts,
        signal: job.signal,
        onStart: () => job.start(),
        onTokenGap: (ms) => metrics.tokenGap(ms),
      });
      for await (const event of events) {
        if (event.kind === "progress") record.hasBegun = true;
        if (event.kind === "end") record.reason = event.reason;
        if ("counts" in event) {
          // As it grows: a client who leaves has used it too.
          exchange.charge(event.counts.completionTokens - charged);
          charged = event.counts.completionTokens;
        }
        queue.push({ ...event, choice });
      }
    } catch (error) {
      queue.fail(error);
    }
    if (--unfinished === 0) queue.close();
  });
  try {
    for await (const event of queue.drain()) {
      if (event.kind === "end") {
        if (event.reason === "cancelled" && !exchange.client.aborted) throw endedByShutdown();
        jobs[event.choice]?.finish();
        if (event.reason === "grammar") throw formNotFollowed();
      }
      yield event;
    }
  } finally {
    for (const job of jobs) job.abort();
    await Promise.all(written);
    for (const job of jobs) job.finish();
  }
}

/** What one token takes until its answer is sent, in bytes: on its way, and as JSON. */
const TOKEN_BYTES = 64;

/** What each log-probability takes, that of the token itself and those of the likeliest in its place. */
const LOGPROB_BYTES = 512;

/** The most memory that the answers to these prompts can take until they are sent, in bytes. */
function answerBytes(
  prompts: readonly (readonly number[])[],
  repeatedBytes: number,
  { sampling, choices }: GenerationParameters,
  context: number,
): number {
  const { logprobs, promptLogprobs, topLogprobs, maxTokens } = sampling;
  const scoredBytes = TOKEN_BYTES + LOGPROB_BYTES * (1 + topLogprobs);
  const tokenBytes = logprobs ? scoredBytes : TOKEN_BYTES;
  return prompts.reduce((sum, { length }) => {
    const answered = Math.min(maxTokens, context - length) * tokenBytes;
    return sum + choices * (answered + (promptLogprobs ? length * scoredBytes : 0));
  }, choices * repeatedBytes);
}

/** The answer is within the form that was asked for so far, and no token leads on. */
function formNotFollowed(): RequestError {
  const message =
    "The answer can't be continued in the form that was asked for: it nests too deeply, has too many ways to go on, or may have " +
    "none of the tokens that would follow. Please simplify the schema, or allow more tokens.";
  return new RequestError(400, message, { code: "schema_too_complex" });
}

/**
 * The same events, of which the first is asked for now and each next one ahead of time: the engine starts before a slow reader has
 * taken the first chunks. Returns `events` when it is left, once it was begun.
 */
export function ahead(events: ChoiceEvents): ChoiceEvents {
  const ask = () => {
    const next = events.next();
    // Nobody may be waiting for it yet when it fails.
    next.catch(() => undefined);
    return next;
  };
  let next = ask();
  return (async function* () {
    try {
      for (let result = await next; !result.done; result = await next) {
        next = ask();
        yield result.value;
      }
    } finally {
      await events.return();
    }
  })();
}
