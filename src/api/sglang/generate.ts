/**
 * POST /generate: the shape of SGLang, which the first system for these models was built on. A stream's chunks hold all of the text
 * so far.
 */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import type { JsonObject } from "../../json.ts";
import { invalid, RequestError } from "../../serving/request_error.ts";
import type { Service } from "../../serving/service.ts";
import { decodeAll } from "../../text/detokenizer.ts";
import type { Counts, ScoredToken, StoppedBy } from "../../text/generation.ts";
import { readAnswerGrammar } from "../answer_form.ts";
import { ahead, type ChoiceEvent, type ChoiceEvents } from "../answers.ts";
import type { Exchange } from "../exchange.ts";
import { newId } from "../ids.ts";
import { finite } from "../logprobs.ts";
import { checkParameters } from "../parameters.ts";
import { answerTexts, readPrompts, type TextRequest } from "../prompts.ts";
import { readScope } from "../request.ts";
import { readGenerationParameters, samplingContext } from "../sampling.ts";
import { missing, onlyOneOf, optionalBoolean, optionalInteger, optionalObject } from "../schema.ts";
import { readTokenLists } from "../token_lists.ts";
import { generateTable, samplingParamsTable } from "./parameters.ts";

/** Tokens of an answer unless a request says otherwise, as in SGLang. */
export const NEW_TOKENS_DEFAULT = 128;

/**
 * Each event of a stream holds the whole answer so far, as in SGLang, so a stream's length would grow with the square of the answer's.
 * While a state has no more values than these there is one for each piece of text; a larger one is sent when it has grown by this part of
 * what it has more. Answers without log-probabilities hardly ever get there.
 */
const SMALL_STATE = 8192;
const STATES_OF_A_LARGE_ONE = 32;

/** A request after all checks. */
interface GenerateRequest extends TextRequest {
  /** Whether the answer is an array because several were asked for. */
  isArray: boolean;
  /** First token of the prompt that is scored; undefined: none is. */
  scoredFrom: number | undefined;
  /** Whether log-probabilities hold the texts of their tokens. */
  spellsTokens: boolean;
  isStreamed: boolean;
}

/** Answers a request. @throws RequestError for whatever is wrong before the answer begins. */
export async function generateText(exchange: Exchange, body: JsonObject): Promise<Response> {
  const request = await readRequest(exchange, exchange.state.requireService(), body);
  const begin = (_: number, ids: readonly number[]) => new Choice(request, ids);
  return answerTexts(exchange, request, begin, async (events, choices) => {
    if (request.isStreamed) return exchange.stream(streamedAnswer(choices[0] as Choice, events));
    for await (const event of events) (choices[event.choice] as Choice).add(event);
    const answers = choices.map((choice) => choice.state());
    return exchange.json(request.isArray ? answers : (answers[0] as object));
  });
}

async function readRequest(exchange: Exchange, service: Service, body: JsonObject): Promise<GenerateRequest> {
  checkParameters(body, generateTable);
  const isText = (body.text ?? undefined) !== undefined;
  if (!isText && (body.input_ids ?? undefined) === undefined) throw missing("text");
  if (isText && (body.input_ids ?? undefined) !== undefined) throw onlyOneOf("text", "input_ids");
  const param = isText ? "text" : "input_ids";
  const prompts = readPrompts(body, param, service);
  const wanted = optionalObject(body, "sampling_params") ?? {};
  checkParameters(wanted, samplingParamsTable, "sampling_params");
  const grammar = await within("sampling_params", () => readAnswerGrammar(wanted, exchange.client));
  const sampled = { max_new_tokens: NEW_TOKENS_DEFAULT, ...wanted };
  sampled.max_new_tokens ??= NEW_TOKENS_DEFAULT;
  const parameters = await within("sampling_params", () =>
    readGenerationParameters(sampled, samplingContext(exchange.state, service), {
      maxTokens: ["max_new_tokens"],
      maxTokensLow: 0,
      minTokens: "min_new_tokens",
    }),
  );
  const lists = await within("sampling_params", () => readTokenLists(exchange, service, wanted, parameters.sampling));
  const logprobs = optionalBoolean(body, "return_logprob");
  const topLogprobs = optionalInteger(body, "top_logprobs_num", { low: 0, high: TOP_LOGPROBS_MAX }) ?? 0;
  const from = optionalInteger(body, "logprob_start_len", { low: -1 }) ?? -1;
  const scoredFrom = logprobs && from >= 0 ? from : undefined;
  Object.assign(parameters.sampling, {
    logprobs,
    topLogprobs: logprobs ? topLogprobs : 0,
    promptLogprobs: scoredFrom !== undefined,
    scope: readScope(body, exchange),
    grammar,
    lists,
  });
  const isStreamed = optionalBoolean(body, "stream");
  const isArray = isSeveral(body[param]) || parameters.choices > 1;
  if (isStreamed && isArray) {
    throw invalid("stream", "invalid_value", "Invalid 'stream': only one answer to one prompt can be streamed here.");
  }
  const choicesParam = "sampling_params.n";
  const spellsTokens = optionalBoolean(body, "return_text_in_logprobs");
  const scoring = { scoredFrom, spellsTokens };
  return { service, prompts, param, choicesParam, repeatsPrompt: false, isArray, parameters, ...scoring, isStreamed };
}

/** Whether a prompt is an array of prompts. */
function isSeveral(prompt: unknown): boolean {
  return Array.isArray(prompt) && typeof prompt[0] !== "number";
}

/** Reads what lies inside of an object, which errors then name. */
async function within<T>(path: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof RequestError) || error.details.param === undefined) throw error;
    throw new RequestError(error.status, error.message, { ...error.details, param: `${path}.${error.details.param}` });
  }
}

/** Log-probability, id, and the text, where that is asked for. */
type Scored = [number | null, number, string | null];

/** The text of a token in lists of log-probabilities; null: none is wanted. */
type Spelling = (id: number) => string | null;

/** The log-probabilities of a text's tokens. Each is brought into its form once, as it comes: a stream repeats all of them with each event. */
class Scores {
  readonly chosen: Scored[] = [];
  readonly likeliest: Scored[][] = [];
  readonly #spell: Spelling;

  constructor(spell: Spelling) {
    this.#spell = spell;
  }

  add(tokens: readonly ScoredToken[]): void {
    const describe = ({ token, logprob }: { token: number; logprob: number }): Scored => [
      finite(logprob),
      token,
      this.#spell(token),
    ];
    for (const token of tokens) {
      this.chosen.push(describe(token));
      this.likeliest.push(token.top.map(describe));
    }
  }
}

/** One answer as it grows. */
class Choice {
  readonly #request: GenerateRequest;
  readonly #ids: readonly number[];
  readonly #id = newId();
  readonly #started = performance.now();
  #text = "";
  readonly #outputIds: number[] = [];
  readonly #spell: Spelling;
  readonly #scores: Scores;
  readonly #promptScores: Scores;
  #finish: object | null = null;
  #counts: Counts | undefined;

  constructor(request: GenerateRequest, ids: readonly number[]) {
    this.#request = request;
    this.#ids = ids;
    const { service, spellsTokens } = request;
    this.#spell = (id) => (spellsTokens ? decodeAll(service.tokenizer, [id]) : null);
    this.#scores = new Scores(this.#spell);
    this.#promptScores = new Scores(this.#spell);
  }

  add(event: ChoiceEvent): void {
    if (event.kind === "prompt") {
      this.#promptScores.add(event.tokens);
    } else if (event.kind === "text") {
      this.#text += event.text;
      this.#addTokens(event.tokens);
    } else if (event.kind === "end") {
      if (event.endToken !== undefined) this.#addTokens([event.endToken]);
      this.#counts = event.counts;
      this.#finish =
        event.reason === "stop"
          ? { type: "stop", matched: matchedBy(event.stoppedBy) }
          : { type: "length", length: event.counts.completionTokens };
    }
  }

  /** How many ids and log-probabilities the state holds. */
  get values(): number {
    const scored = this.#scores.chosen.length + this.#promptScores.chosen.length;
    return this.#outputIds.length + scored * (1 + this.#request.parameters.sampling.topLogprobs);
  }

  /** The answer so far. */
  state(): object {
    return {
      text: this.#text,
      output_ids: this.#outputIds,
      meta_info: {
        id: this.#id,
        finish_reason: this.#finish,
        prompt_tokens: this.#ids.length,
        completion_tokens: this.#counts?.completionTokens ?? this.#outputIds.length,
        cached_tokens: this.#counts?.cachedTokens ?? 0,
        e2e_latency: Math.round(performance.now() - this.#started) / 1000,
        ...this.#logprobs(),
      },
    };
  }

  #addTokens(tokens: readonly ScoredToken[]): void {
    for (const { token } of tokens) this.#outputIds.push(token);
    if (this.#request.parameters.sampling.logprobs) this.#scores.add(tokens);
  }

  #logprobs(): object {
    const { parameters, scoredFrom } = this.#request;
    if (!parameters.sampling.logprobs) return {};
    const { topLogprobs } = parameters.sampling;
    const answered = {
      output_token_logprobs: this.#scores.chosen,
      ...(topLogprobs > 0 ? { output_top_logprobs: this.#scores.likeliest } : {}),
    };
    if (scoredFrom === undefined) return answered;
    const id = this.#ids[0] as number;
    const first: Scored = [null, id, this.#spell(id)];
    return {
      input_token_logprobs: [first, ...this.#promptScores.chosen].slice(scoredFrom),
      ...(topLogprobs > 0 ? { input_top_logprobs: [null, ...this.#promptScores.likeliest].slice(scoredFrom) } : {}),
      ...answered,
    };
  }
}

function matchedBy(stoppedBy: StoppedBy | undefined): string | number | null {
  if (stoppedBy === undefined) return null;
  return stoppedBy.kind === "string" ? stoppedBy.text : stoppedBy.id;
}

async function* streamedAnswer(choice: Choice, events: ChoiceEvents): AsyncGenerator<object, void> {
  const coming = ahead(events);
  /** Values of the state that was sent last. */
  let sent = 0;
  try {
    for await (const event of coming) {
      choice.add(event);
      const isDue = event.kind === "text" && choice.values - sent >= (sent - SMALL_STATE) / STATES_OF_A_LARGE_ONE;
      if (!isDue && event.kind !== "end") continue;
      sent = choice.values;
      yield choice.state();
    }
  } finally {
    await events.return();
  }
}
