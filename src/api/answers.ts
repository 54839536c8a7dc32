/**
 * The answers to one request, generated side by side: places for them, their events in the order in which they happen, and an end
 * for all of them however the request is left. Every endpoint that generates goes through here.
 */

import type { Job } from "../server/jobs.ts";
import type { Service } from "../server/service.ts";
import { endedByShutdown } from "../server/state.ts";
import { type GenerationEvent, generate } from "../text/generation.ts";
import { ApiError } from "./errors.ts";
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
  /** The parameter that holds them. */
  param: string;
  /** The parameter that says how many answers each gets. */
  choicesParam: string;
  /** Makes their ids. @throws ApiError 400 when the context can't hold one of them. */
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
  const count = prompts.count * parameters.choices;
  const asking =
    prompts.count > 1
      ? { param: prompts.param, code: "array_above_max_length" }
      : { param: prompts.choicesParam, code: "integer_above_max_value" };
  const jobs = exchange.state.jobs.admit(count, exchange.client, prompts.tokensAtMost, asking);
  try {
    const ids = await prompts.encode();
    jobs[0]?.setPromptTokens(
      ids.reduce((sum, prompt) => sum + prompt.length, 0),
      prompts.param,
    );
    return await respond(allChoices(exchange, service, ids, parameters, jobs), ids);
  } catch (error) {
    for (const job of jobs) job.finish();
    throw error;
  }
}

/** Choice i answers prompt floor(i / parameters.choices). Ends every job, however it is left. */
async function* allChoices(
  exchange: Exchange,
  service: Service,
  prompts: number[][],
  parameters: GenerationParameters,
  jobs: Job[],
): ChoiceEvents {
  const { sampling, stops, choices: choicesEach } = parameters;
  const { metrics } = exchange.state;
  const choices = jobs.map((job, index) =>
    generate(service, {
      prompt: prompts[Math.floor(index / choicesEach)] as number[],
      sampling: choiceSampling(sampling, index % choicesEach),
      stops,
      signal: job.signal,
      onStart: () => job.start(),
      onTokenGap: (ms) => metrics.tokenGap(ms),
    }),
  );
  const step = async (choice: number) => ({
    choice,
    result: await (choices[choice] as (typeof choices)[number]).next(),
  });
  let open = jobs.length;
  try {
    const steps = new Map(choices.map((_, choice) => [choice, step(choice)]));
    while (steps.size > 0) {
      const { choice, result } = await Promise.race(steps.values());
      if (result.done) {
        steps.delete(choice);
        jobs[choice]?.finish();
        continue;
      }
      const event = result.value;
      if (event.kind === "end") {
        if (event.reason === "cancelled" && !exchange.client.aborted) throw endedByShutdown();
        exchange.counts.push(event.counts);
        metrics.answered(event.reason, event.counts);
        open--;
        if (event.reason === "grammar") throw formNotFollowed();
      }
      steps.set(choice, step(choice));
      yield { ...event, choice };
    }
  } finally {
    for (; open > 0; open--) metrics.answered("cancelled");
    for (const job of jobs) job.abort();
    await Promise.allSettled(choices.map((choice) => choice.return()));
    for (const job of jobs) job.finish();
  }
}

/** The answer is within the form that was asked for so far, and no token leads on. */
function formNotFollowed(): ApiError {
  const message =
    "The answer can't be continued in the form that was asked for: it nests too deeply, or has too many ways to go on. " +
    "Please simplify the schema.";
  return new ApiError(400, message, { code: "schema_too_complex" });
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
