/**
 * POST /v1/chat/completions: from a request's JSON to one answer or several, streamed or whole, in OpenAI's shapes.
 */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import type { JsonObject } from "../../json.ts";
import type { Service } from "../../serving/service.ts";
import type { Counts, ScoredToken } from "../../text/generation.ts";
import { thoughtsAfter } from "../../text/thinking.ts";
import { readAnswerGrammar } from "../answer_form.ts";
import { ahead, answer, type ChoiceEvents } from "../answers.ts";
import type { Exchange } from "../exchange.ts";
import { checkParameters } from "../parameters.ts";
import { promptProgress, readModel, readScope, readStreamParameters, type StreamParameters } from "../request.ts";
import { type GenerationParameters, readGenerationParameters, samplingContext } from "../sampling.ts";
import { onlyWith, optionalBoolean, optionalInteger, optionalString } from "../schema.ts";
import { timesOf, timings } from "../timings.ts";
import { readTokenLists } from "../token_lists.ts";
import { readTruncation, type Truncation } from "../truncation.ts";
import { Choice } from "./chat_choice.ts";
import { type ChatPrompt, chatPrompts, readChatPrompt } from "./chat_prompt.ts";
import { answerHeader } from "./header.ts";
import { chatLogprobs } from "./logprobs.ts";
import { chatTable } from "./parameters.ts";
import { promptLogprobs, readPromptLogprobs } from "./prompt_logprobs.ts";
import { readThoughtsPlace, type ThoughtsPlace } from "./reasoning.ts";
import { usage } from "./usage.ts";

/** A request after all checks. */
interface ChatRequest extends StreamParameters {
  service: Service;
  /** What clients call the model. */
  model: string;
  prompt: ChatPrompt;
  thoughts: ThoughtsPlace;
  /** Whether the answer has a form. */
  isFormed: boolean;
  parameters: GenerationParameters;
  /** Likeliest tokens beside each of the answer. */
  topLogprobs: number;
  /** And beside each of the prompt; undefined: nothing is said of those. */
  promptTop: number | undefined;
  truncation: Truncation | undefined;
}

/** Answers a chat request. @throws RequestError for whatever is wrong before the answer begins. */
export async function chatCompletion(exchange: Exchange, body: JsonObject): Promise<Response> {
  const request = await readRequest(exchange, body);
  const { service } = request;
  const prompts = chatPrompts(exchange, service, request.prompt, request.truncation);
  return answer(exchange, service, request.parameters, prompts, async (events, [ids]) =>
    request.isStreamed
      ? exchange.stream(streamedAnswer(request, events, ids?.length ?? 0))
      : exchange.json(await wholeAnswer(request, events)),
  );
}

async function readRequest(exchange: Exchange, body: JsonObject): Promise<ChatRequest> {
  const { service, model } = readModel(exchange, body);
  checkParameters(body, chatTable);
  const parameters = readGenerationParameters(body, samplingContext(exchange.state, service));
  const logprobs = optionalBoolean(body, "logprobs");
  const topLogprobs = optionalInteger(body, "top_logprobs", { low: 0, high: TOP_LOGPROBS_MAX }) ?? 0;
  if (topLogprobs > 0 && !logprobs) throw onlyWith("top_logprobs", "logprobs");
  optionalString(body, "user");
  const prompt = await readChatPrompt(exchange, service, body);
  const { calls, callsAreRequired, thinks, begun } = prompt;
  const thoughts = thinks ? thoughtsAfter(begun) : undefined;
  const grammar = await readAnswerGrammar(body, exchange.client, { calls, callsAreRequired, thoughts });
  const lists = await readTokenLists(exchange, service, body, parameters.sampling);
  const stream = readStreamParameters(body);
  const promptTop = readPromptLogprobs(body, stream.isStreamed);
  Object.assign(parameters.sampling, {
    logprobs,
    topLogprobs: Math.max(topLogprobs, promptTop ?? 0),
    promptLogprobs: promptTop !== undefined,
    scope: readScope(body, exchange),
    grammar,
    lists,
  });
  return {
    service,
    model,
    prompt,
    thoughts: readThoughtsPlace(body, exchange.state.reasoningFormat),
    isFormed: grammar !== undefined,
    parameters,
    topLogprobs,
    promptTop,
    truncation: readTruncation(body),
    ...stream,
  };
}

function logprobsOf({ service, parameters, topLogprobs }: ChatRequest, tokens: readonly ScoredToken[]): object | null {
  if (!parameters.sampling.logprobs) return null;
  return { content: chatLogprobs(service.tokenizer, tokens, topLogprobs), refusal: null };
}

function chatUsage({ prompt, parameters }: ChatRequest, choices: readonly Choice[], counts: readonly Counts[]): object {
  const all = usage(counts, parameters.choices);
  if (!prompt.thinks) return all;
  const reasoning = choices.reduce((sum, { reasoningTokens }) => sum + reasoningTokens, 0);
  return { ...all, completion_tokens_details: { reasoning_tokens: reasoning } };
}

async function wholeAnswer(request: ChatRequest, events: ChoiceEvents): Promise<object> {
  const head = answerHeader("chatcmpl", "chat.completion", request.model);
  const { choices: count, sampling } = request.parameters;
  const { tokenizer } = request.service;
  const choices = Choice.all(request, count);
  const counts: Counts[] = [];
  let promptScores: object = {};
  for await (const event of events) {
    const choice = choices[event.choice] as Choice;
    if (event.kind === "text") {
      choice.grow(event.text, event.generated);
      if (sampling.logprobs) choice.logprobs.push(...chatLogprobs(tokenizer, event.tokens, request.topLogprobs));
    } else if (event.kind === "prompt" && event.choice === 0) {
      promptScores = { prompt_logprobs: promptLogprobs(tokenizer, event.tokens, request.promptTop ?? 0) };
    } else if (event.kind === "end") {
      choice.end(event);
      counts[event.choice] = event.counts;
    }
  }
  return {
    ...head,
    choices: choices.map((choice, index) => ({
      index,
      message: choice.message,
      logprobs: sampling.logprobs ? { content: choice.logprobs, refusal: null } : null,
      finish_reason: choice.finishReason,
    })),
    ...promptScores,
    usage: chatUsage(request, choices, counts),
    timings: timings(counts, counts.length),
  };
}

async function* streamedAnswer(
  request: ChatRequest,
  events: ChoiceEvents,
  promptTokens: number,
): AsyncGenerator<object, void> {
  const head = answerHeader("chatcmpl", "chat.completion.chunk", request.model);
  const { choices: count } = request.parameters;
  const noUsageYet = request.includeUsage ? { usage: null } : {};
  const chunk = (index: number, delta: object, logprobs: object | null = null, reason: string | null = null) => ({
    ...head,
    choices: [{ index, delta, logprobs, finish_reason: reason }],
    ...noUsageYet,
  });
  const choices = Choice.all(request, count);
  const counts: Counts[] = [];
  let ended = 0;
  const coming = ahead(events);
  try {
    for (let index = 0; index < count; index++) yield chunk(index, { role: "assistant", content: "" });
    for await (const event of coming) {
      const choice = choices[event.choice] as Choice;
      if (event.kind === "text") {
        const [first, ...more] = choice.grow(event.text, event.generated);
        const logprobs = event.tokens.length > 0 ? logprobsOf(request, event.tokens) : null;
        // Tokens may come without text that is for the content: those of a call.
        const times = timesOf(request, event);
        if (first !== undefined || logprobs !== null)
          yield { ...chunk(event.choice, first ?? { content: "" }, logprobs), ...times };
        for (const delta of more) yield { ...chunk(event.choice, delta), ...times };
      } else if (event.kind === "progress") {
        if (!request.returnsProgress) continue;
        yield { ...chunk(event.choice, {}), prompt_progress: promptProgress(promptTokens, event) };
      } else if (event.kind === "end") {
        for (const delta of choice.end(event)) yield chunk(event.choice, delta);
        counts[event.choice] = event.counts;
        const last = chunk(event.choice, {}, null, choice.finishReason);
        const isLast = ++ended === count && !request.includeUsage;
        yield isLast ? { ...last, timings: timings(counts, counts.length) } : last;
      }
    }
  } finally {
    await events.return();
  }
  if (request.includeUsage) {
    yield { ...head, choices: [], usage: chatUsage(request, choices, counts), timings: timings(counts, counts.length) };
  }
}
