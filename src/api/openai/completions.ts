/**
 * POST /v1/completions: OpenAI's older API, which continues texts, with `echo` and `logprobs` to score them.
 */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import type { JsonObject } from "../../json.ts";
import { decodeAll } from "../../text/detokenizer.ts";
import type { Counts } from "../../text/generation.ts";
import { readAnswerGrammar } from "../answer_form.ts";
import { ahead, type ChoiceEvent, type ChoiceEvents } from "../answers.ts";
import type { Exchange } from "../exchange.ts";
import { checkParameters } from "../parameters.ts";
import { answerTexts, hiddenBeginning, readPrompts, type SentPrompt, type TextRequest } from "../prompts.ts";
import { promptProgress, readModel, readScope, readStreamParameters, type StreamParameters } from "../request.ts";
import { readGenerationParameters, samplingContext } from "../sampling.ts";
import { optionalBoolean, optionalInteger, optionalString } from "../schema.ts";
import { timesOf, timings } from "../timings.ts";
import { readTokenLists } from "../token_lists.ts";
import { readTruncation } from "../truncation.ts";
import { answerHeader } from "./header.ts";
import { type CompletionLogprobs, CompletionScores, joinScores } from "./logprobs.ts";
import { completionTable } from "./parameters.ts";
import { promptLogprobs, readPromptLogprobs } from "./prompt_logprobs.ts";
import { usage } from "./usage.ts";

/** A request after all checks. */
interface CompletionRequest extends TextRequest, StreamParameters {
  /** What clients call the model. */
  model: string;
  echo: boolean;
  /** Likeliest tokens beside each of the answer, and of an echoed prompt; undefined: nothing is said of them. */
  topLogprobs: number | undefined;
  /** Likeliest tokens beside each of the prompt in the lists of vLLM; undefined: there are none. */
  promptTop: number | undefined;
}

/** Answers a completion request. @throws RequestError for whatever is wrong before the answer begins. */
export async function completion(exchange: Exchange, body: JsonObject): Promise<Response> {
  const request = await readRequest(exchange, body);
  const begin = (_: number, ids: readonly number[], prompt: SentPrompt) => new Choice(request, prompt, ids);
  return answerTexts(exchange, request, begin, async (events, choices) =>
    request.isStreamed
      ? exchange.stream(streamedAnswer(request, choices, events))
      : exchange.json(await wholeAnswer(request, choices, events)),
  );
}

async function readRequest(exchange: Exchange, body: JsonObject): Promise<CompletionRequest> {
  const { service, model } = readModel(exchange, body);
  checkParameters(body, completionTable);
  const prompts = readPrompts(body, "prompt", service);
  const parameters = readGenerationParameters(body, samplingContext(exchange.state, service), {
    maxTokens: ["max_tokens", "max_completion_tokens", "n_predict"],
    maxTokensLow: 0,
    minTokens: "min_tokens",
  });
  optionalString(body, "user");
  const echo = optionalBoolean(body, "echo");
  const topLogprobs = optionalInteger(body, "logprobs", { low: 0, high: TOP_LOGPROBS_MAX });
  const hasLogprobs = topLogprobs !== undefined;
  const stream = readStreamParameters(body);
  const promptTop = readPromptLogprobs(body, stream.isStreamed);
  Object.assign(parameters.sampling, {
    logprobs: hasLogprobs,
    topLogprobs: Math.max(topLogprobs ?? 0, promptTop ?? 0),
    promptLogprobs: (hasLogprobs && echo) || promptTop !== undefined,
    grammar: await readAnswerGrammar(body, exchange.client),
    lists: await readTokenLists(exchange, service, body, parameters.sampling),
    scope: readScope(body, exchange),
  });
  return {
    service,
    model,
    prompts,
    param: "prompt",
    choicesParam: "n",
    repeatsPrompt: echo,
    parameters,
    echo,
    topLogprobs,
    promptTop,
    truncation: readTruncation(body),
    isBare: !optionalBoolean(body, "add_special_tokens", true),
    ...stream,
  };
}

/** One choice as it grows. */
class Choice {
  readonly #request: CompletionRequest;
  readonly #prompt: SentPrompt;
  readonly #ids: readonly number[];
  readonly #scores: CompletionScores;

  constructor(request: CompletionRequest, prompt: SentPrompt, ids: readonly number[]) {
    this.#request = request;
    this.#prompt = prompt;
    this.#ids = ids;
    const { service, topLogprobs = 0, parameters } = request;
    this.#scores = new CompletionScores(service.tokenizer, topLogprobs, parameters.text.showsSpecial ?? false);
  }

  get promptTokens(): number {
    return this.#ids.length;
  }

  /** The prompt's text, before anything is generated. */
  get echoed(): string {
    const { echo, service, truncation } = this.#request;
    if (!echo) return "";
    if (typeof this.#prompt === "string" && truncation === undefined) return this.#prompt;
    return decodeAll(service.tokenizer, this.#ids.slice(this.#hidden));
  }

  /** Tokens at the beginning that are no part of the prompt's text. */
  get #hidden(): number {
    return hiddenBeginning(this.#request, this.#prompt).length;
  }

  /** The scores that an event brings, if the request wants them. */
  scores(event: ChoiceEvent): CompletionLogprobs | null {
    if (this.#request.topLogprobs === undefined) return null;
    if (event.kind === "prompt") {
      return this.#request.echo ? this.#scores.prompt(this.#ids, this.#hidden, event.tokens) : null;
    }
    if (event.kind === "text") return this.#scores.answer(event.tokens);
    if (event.kind === "end" && event.endToken !== undefined) return this.#scores.end(event.endToken);
    return null;
  }
}

async function wholeAnswer(
  request: CompletionRequest,
  choices: readonly Choice[],
  events: ChoiceEvents,
): Promise<object> {
  const head = answerHeader("cmpl", "text_completion", request.model);
  const texts = choices.map((choice) => choice.echoed);
  const none: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  const scores = choices.map(() => [none]);
  const promptScores: object[] = [];
  const reasons: string[] = [];
  const counts: Counts[] = [];
  for await (const event of events) {
    const { choice: index } = event;
    const more = (choices[index] as Choice).scores(event);
    if (more !== null) scores[index]?.push(more);
    if (event.kind === "prompt" && request.promptTop !== undefined) {
      const places = promptLogprobs(request.service.tokenizer, event.tokens, request.promptTop);
      promptScores[index] = { prompt_logprobs: places };
    } else if (event.kind === "text") {
      texts[index] += event.text;
    } else if (event.kind === "end") {
      reasons[index] = event.reason;
      counts[index] = event.counts;
    }
  }
  return {
    ...head,
    choices: choices.map((_, index) => ({
      text: texts[index],
      index,
      logprobs: request.topLogprobs === undefined ? null : joinScores(scores[index] as CompletionLogprobs[]),
      finish_reason: reasons[index],
      ...promptScores[index],
    })),
    usage: usage(counts, request.parameters.choices),
    timings: timings(counts, request.parameters.choices),
  };
}

async function* streamedAnswer(
  request: CompletionRequest,
  choices: readonly Choice[],
  events: ChoiceEvents,
): AsyncGenerator<object, void> {
  const head = answerHeader("cmpl", "text_completion", request.model);
  const noUsageYet = request.includeUsage ? { usage: null } : {};
  const chunk = (index: number, text: string, logprobs: object | null, reason: string | null) => ({
    ...head,
    choices: [{ text, index, logprobs, finish_reason: reason }],
    ...noUsageYet,
  });
  const counts: Counts[] = [];
  let ended = 0;
  const coming = ahead(events);
  try {
    // The prompt's text comes at once, or with its scores.
    if (request.echo && request.topLogprobs === undefined) {
      for (const [index, choice] of choices.entries()) yield chunk(index, choice.echoed, null, null);
    }
    for await (const event of coming) {
      const { choice: index } = event;
      const choice = choices[index] as Choice;
      if (event.kind === "progress") {
        if (!request.returnsProgress) continue;
        yield { ...chunk(index, "", null, null), prompt_progress: promptProgress(choice.promptTokens, event) };
      } else if (event.kind === "prompt") {
        yield chunk(index, choice.echoed, choice.scores(event), null);
      } else if (event.kind === "text") {
        yield { ...chunk(index, event.text, choice.scores(event), null), ...timesOf(request, event) };
      } else {
        counts[index] = event.counts;
        const last = chunk(index, "", choice.scores(event), event.reason);
        const isLast = ++ended === choices.length && !request.includeUsage;
        yield isLast ? { ...last, timings: timings(counts, request.parameters.choices) } : last;
      }
    }
  } finally {
    await events.return();
  }
  if (request.includeUsage) {
    yield {
      ...head,
      choices: [],
      usage: usage(counts, request.parameters.choices),
      timings: timings(counts, request.parameters.choices),
    };
  }
}
