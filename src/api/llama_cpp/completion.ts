/**
 * POST /completion: llama.cpp's own way to continue a text, for its clients.
 */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import type { JsonObject } from "../../json.ts";
import { decodeAll } from "../../text/detokenizer.ts";
import type { Counts, ScoredToken, StoppedBy } from "../../text/generation.ts";
import { readAnswerGrammar } from "../answer_form.ts";
import { ahead, type ChoiceEvent, type ChoiceEvents } from "../answers.ts";
import type { Exchange } from "../exchange.ts";
import { checkParameters } from "../parameters.ts";
import { answerTexts, readPrompts, type TextRequest } from "../prompts.ts";
import { promptProgress, readModel, readScope, readStreamParameters, type StreamParameters } from "../request.ts";
import { readGenerationParameters, samplingContext } from "../sampling.ts";
import { optionalBoolean, optionalInteger } from "../schema.ts";
import { timesOf, timings } from "../timings.ts";
import { readTokenLists } from "../token_lists.ts";
import { readLogitBias } from "./logit_bias.ts";
import { completionTable } from "./parameters.ts";
import { llamaProbabilities } from "./probabilities.ts";
import { Samplers } from "./samplers.ts";

/** A request after all checks. */
interface LlamaRequest extends TextRequest, StreamParameters {
  model: string;
  /** Whether the answer is an array because several were asked for. */
  isArray: boolean;
  returnsTokens: boolean;
}

/** Answers a request. @throws RequestError for whatever is wrong before the answer begins. */
export async function completion(exchange: Exchange, body: JsonObject): Promise<Response> {
  const request = await readRequest(exchange, body);
  const begin = (index: number, ids: readonly number[]) => new Choice(request, index, ids);
  return answerTexts(exchange, request, begin, async (events, choices) => {
    if (request.isStreamed) return exchange.stream(streamedAnswer(request, choices, events));
    for await (const event of events) {
      const choice = choices[event.choice] as Choice;
      choice.add(event);
      if (event.kind === "text") choice.describe(event.tokens);
    }
    const answers = choices.map((choice) => choice.whole());
    return exchange.json(request.isArray ? answers : (answers[0] as object));
  });
}

async function readRequest(exchange: Exchange, body: JsonObject): Promise<LlamaRequest> {
  const { service, model } = readModel(exchange, body);
  checkParameters(body, completionTable);
  const prompts = readPrompts(body, "prompt", service);
  const samplers = new Samplers(body);
  const adapted = { ...samplers.switchOff(body), seed: seedOf(body.seed), logit_bias: undefined };
  const parameters = readGenerationParameters(adapted, samplingContext(exchange.state, service), {
    maxTokens: ["n_predict", "max_tokens", "max_completion_tokens"],
    maxTokensLow: 0,
    minTokens: "min_tokens",
  });
  const probabilities = (body.n_probs ?? undefined) === undefined ? "logprobs" : "n_probs";
  const topLogprobs = optionalInteger(body, probabilities, { low: 0, high: TOP_LOGPROBS_MAX }) ?? 0;
  Object.assign(parameters.sampling, {
    temperaturePlace: samplers.temperaturePlace(parameters.sampling),
    logprobs: topLogprobs > 0,
    topLogprobs,
    scope: readScope(body, exchange),
    grammar: await readAnswerGrammar(body, exchange.client),
    lists: await readTokenLists(exchange, service, body, parameters.sampling),
    logitBias: await readLogitBias(exchange, service, body),
  });
  return {
    service,
    model,
    prompts,
    param: "prompt",
    choicesParam: "n",
    repeatsPrompt: true,
    isArray: prompts.length * parameters.choices > 1,
    parameters,
    returnsTokens: optionalBoolean(body, "return_tokens"),
    ...readStreamParameters(body),
  };
}

/** -1 stands for a random seed. */
function seedOf(value: unknown): unknown {
  return value === -1 ? undefined : value;
}

/** One answer as it grows. */
class Choice {
  readonly promptTokens: number;
  readonly #request: LlamaRequest;
  readonly #index: number;
  readonly #ids: readonly number[];
  #text = "";
  readonly #tokens: number[] = [];
  /** Of its tokens; described one by one as they come, since there may be very many in the end. */
  readonly #probabilities: object[] = [];
  #reason = "cancelled";
  #stoppedBy: StoppedBy | undefined;
  #counts: Counts | undefined;

  constructor(request: LlamaRequest, index: number, ids: readonly number[]) {
    this.#request = request;
    this.#index = index;
    this.#ids = ids;
    this.promptTokens = ids.length;
  }

  add(event: ChoiceEvent): void {
    if (event.kind === "text") {
      this.#text += event.text;
      for (const { token } of event.tokens) this.#tokens.push(token);
    } else if (event.kind === "end") {
      this.#reason = event.reason;
      this.#stoppedBy = event.stoppedBy;
      this.#counts = event.counts;
    }
  }

  /** Adds what the whole answer says of these tokens. */
  describe(tokens: readonly ScoredToken[]): void {
    if (!this.#hasProbabilities) return;
    this.#probabilities.push(...llamaProbabilities(this.#request.service.tokenizer, tokens));
  }

  /** A piece of a stream. */
  piece(text: string, tokens: readonly ScoredToken[]): object {
    return {
      index: this.#index,
      content: text,
      tokens: tokens.map(({ token }) => token),
      stop: false,
      id_slot: -1,
      tokens_predicted: this.#tokens.length,
      tokens_evaluated: this.promptTokens,
      ...(this.#hasProbabilities
        ? { completion_probabilities: llamaProbabilities(this.#request.service.tokenizer, tokens) }
        : {}),
    };
  }

  /** The end of a stream. */
  last(): object {
    return { ...this.#end(), content: "", tokens: [] };
  }

  whole(): object {
    const tokens = this.#request.returnsTokens ? this.#tokens : [];
    const probabilities = this.#hasProbabilities ? { completion_probabilities: this.#probabilities } : {};
    return { ...this.#end(), content: this.#text, tokens, ...probabilities };
  }

  #end(): object {
    const { service, model, parameters } = this.#request;
    const { sampling, text } = parameters;
    const counts = this.#counts as Counts;
    const word = this.#stoppedBy?.kind === "string" ? this.#stoppedBy.text : "";
    return {
      index: this.#index,
      id_slot: -1,
      stop: true,
      model,
      tokens_predicted: counts.completionTokens,
      tokens_evaluated: this.promptTokens,
      generation_settings: {
        n_predict: sampling.maxTokens,
        seed: Number(sampling.seed),
        temperature: sampling.temperature,
        top_k: sampling.topK,
        top_p: sampling.topP,
        min_p: sampling.minP,
        repeat_penalty: sampling.repetitionPenalty,
        presence_penalty: sampling.presencePenalty,
        frequency_penalty: sampling.frequencyPenalty,
        repeat_last_n: sampling.penaltyWindow || -1,
        dry_multiplier: sampling.dryMultiplier,
        dry_base: sampling.dryBase,
        dry_allowed_length: sampling.dryAllowedLength,
        dry_penalty_last_n: sampling.dryWindow || -1,
        top_n_sigma: sampling.topNSigma || -1,
        typical_p: sampling.typicalP,
        xtc_probability: sampling.xtcProbability,
        xtc_threshold: sampling.xtcThreshold,
        min_keep: sampling.minKeep,
        stop: text.stops,
        ignore_eos: sampling.ignoreEos,
        n_probs: sampling.topLogprobs,
      },
      prompt: decodeAll(service.tokenizer, this.#ids),
      has_new_line: this.#text.includes("\n"),
      truncated: false,
      stop_type: word !== "" ? "word" : this.#reason === "stop" ? "eos" : "limit",
      stopping_word: word,
      tokens_cached: counts.cachedTokens,
      timings: timings([counts], 1),
    };
  }

  get #hasProbabilities(): boolean {
    return this.#request.parameters.sampling.logprobs;
  }
}

async function* streamedAnswer(
  request: LlamaRequest,
  choices: readonly Choice[],
  events: ChoiceEvents,
): AsyncGenerator<object, void> {
  const coming = ahead(events);
  try {
    for await (const event of coming) {
      const choice = choices[event.choice] as Choice;
      choice.add(event);
      if (event.kind === "text") yield { ...choice.piece(event.text, event.tokens), ...timesOf(request, event) };
      else if (event.kind === "end") yield choice.last();
      else if (event.kind === "progress" && request.returnsProgress) {
        yield { ...choice.piece("", []), prompt_progress: promptProgress(choice.promptTokens, event) };
      }
    }
  } finally {
    await events.return();
  }
}
