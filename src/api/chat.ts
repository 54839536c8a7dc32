/**
 * POST /v1/chat/completions: from a request's JSON to one answer or several, streamed or whole, in OpenAI's shapes.
 */

import type { FinishReason } from "../engine/engine.ts";
import type { Job } from "../server/jobs.ts";
import type { Service } from "../server/service.ts";
import { endedByShutdown, type ServerState } from "../server/state.ts";
import { TemplateError, type TemplateMessage } from "../text/chat_template.ts";
import { type Counts, type GenerationEvent, generate } from "../text/generation.ts";
import { contextLengthExceeded, invalid, unsupported } from "./errors.ts";
import { readMessages } from "./messages.ts";
import { choiceSampling, type GenerationParameters, readGenerationParameters } from "./sampling.ts";
import {
  type JsonObject,
  optionalArray,
  optionalBoolean,
  optionalInteger,
  optionalObject,
  optionalString,
} from "./schema.ts";
import { eventStream } from "./sse.ts";
import { systemFingerprint, timings, usage } from "./usage.ts";

/** A choice's part of the stream of all choices. */
type ChoiceEvent = GenerationEvent & { choice: number };

/** A request after all checks. */
interface ChatRequest {
  messages: TemplateMessage[];
  parameters: GenerationParameters;
  isStreamed: boolean;
  includeUsage: boolean;
}

/**
 * Answers a chat request.
 *
 * @param client fires when the client leaves, which ends the generation.
 * @throws ApiError for whatever is wrong before the answer begins.
 */
export async function chatCompletion(state: ServerState, body: JsonObject, client: AbortSignal): Promise<Response> {
  const service = state.requireService();
  const request = readRequest(state, service, body);
  const jobs = state.jobs.admit(request.parameters.choices, client);
  try {
    const prompt = await encodePrompt(service, request.messages);
    const events = () => allChoices(service, prompt, request.parameters, jobs, client);
    if (!request.isStreamed) return Response.json(await wholeAnswer(state.modelName, events()));
    return eventStream(streamedAnswer(state.modelName, request, events()), client);
  } catch (error) {
    for (const job of jobs) job.finish();
    throw error;
  }
}

function readRequest(state: ServerState, service: Service, body: JsonObject): ChatRequest {
  state.checkModel(optionalString(body, "model"));
  const messages = readMessages(body);
  const parameters = readGenerationParameters(body, {
    vocabularySize: service.config.vocabSize,
    context: service.context,
    defaultTemperature: state.defaultTemperature,
  });
  refuseUnsupported(body);
  optionalString(body, "user");
  const isStreamed = optionalBoolean(body, "stream");
  const streamOptions = optionalObject(body, "stream_options");
  if (streamOptions !== undefined && !isStreamed) {
    throw invalid(
      "stream_options",
      undefined,
      "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    );
  }
  return { messages, parameters, isStreamed, includeUsage: optionalBoolean(streamOptions ?? {}, "include_usage") };
}

/** Refuses what would change the answer and isn't there yet, rather than ignoring it. */
function refuseUnsupported(body: JsonObject): void {
  const topLogprobs = optionalInteger(body, "top_logprobs", { low: 0, high: 20 });
  if (optionalBoolean(body, "logprobs"))
    throw unsupported("logprobs", "this server can't return log-probabilities yet");
  if (topLogprobs !== undefined && topLogprobs > 0) {
    throw invalid(
      "top_logprobs",
      undefined,
      "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
    );
  }
  for (const name of ["tools", "functions"]) {
    const offered = optionalArray(body, name, Number.POSITIVE_INFINITY) ?? [];
    const isUsed = body.tool_choice !== "none" && body.function_call !== "none";
    if (offered.length > 0 && isUsed) throw unsupported(name, "this server can't call tools yet");
  }
  for (const name of ["tool_choice", "function_call"]) {
    const value = body[name] ?? "auto";
    if (value !== "auto" && value !== "none") throw unsupported(name, "this server can't call tools yet");
  }
  const format = optionalObject(body, "response_format");
  if (format !== undefined && format.type !== "text") {
    throw unsupported("response_format", "this server can only answer with text yet");
  }
  for (const name of ["grammar", "json_schema", "structured_outputs", "chat_template_kwargs"]) {
    if ((body[name] ?? undefined) !== undefined) throw unsupported(name, "this server can't honour it yet");
  }
}

/** The prompt's ids. @throws ApiError 400 when the template refuses the messages or the context can't hold them. */
async function encodePrompt(service: Service, messages: readonly TemplateMessage[]): Promise<number[]> {
  // Every message becomes at least one token, so more than these can't fit: no need to let the template work on them.
  if (messages.length >= service.context) {
    throw contextLengthExceeded("messages", service.context, messages.length, false);
  }
  let text: string;
  try {
    text = service.template.render(messages);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw invalid(
      "messages",
      "invalid_value",
      `The model's chat template does not accept these messages: ${error.message}`,
    );
  }
  // One token of the context is left for the answer.
  const encoding = await service.tokenizer.encode(text, service.context - 1);
  if ("ids" in encoding) return encoding.ids;
  throw contextLengthExceeded("messages", service.context, encoding.tooLong, encoding.isExact);
}

/** The events of all choices in the order in which they happen. Ends every job, however it is left. */
async function* allChoices(
  service: Service,
  prompt: number[],
  parameters: GenerationParameters,
  jobs: Job[],
  client: AbortSignal,
): AsyncGenerator<ChoiceEvent, void> {
  const { sampling, stops } = parameters;
  const choices = jobs.map((job, choice) =>
    generate(service, {
      prompt,
      sampling: choiceSampling(sampling, choice),
      stops,
      signal: job.signal,
      onStart: () => job.start(),
    }),
  );
  const step = async (choice: number) => ({
    choice,
    result: await (choices[choice] as (typeof choices)[number]).next(),
  });
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
      if (event.kind === "end" && event.reason === "cancelled" && !client.aborted) throw endedByShutdown();
      steps.set(choice, step(choice));
      yield { ...event, choice };
    }
  } finally {
    for (const job of jobs) job.abort();
    await Promise.allSettled(choices.map((choice) => choice.return()));
    for (const job of jobs) job.finish();
  }
}

/** Fields that every chunk and every answer begins with. */
function header(object: string, model: string) {
  return {
    id: `chatcmpl-${crypto.randomUUID().replaceAll("-", "")}`,
    object,
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: systemFingerprint(),
  };
}

async function wholeAnswer(model: string, events: AsyncIterable<ChoiceEvent>): Promise<object> {
  const head = header("chat.completion", model);
  const texts: string[] = [];
  const reasons: FinishReason[] = [];
  const counts: Counts[] = [];
  for await (const event of events) {
    const { choice } = event;
    if (event.kind === "text") {
      texts[choice] = (texts[choice] ?? "") + event.text;
    } else {
      reasons[choice] = event.reason;
      counts[choice] = event.counts;
    }
  }
  return {
    ...head,
    choices: reasons.map((reason, index) => ({
      index,
      message: { role: "assistant", content: texts[index] ?? "", refusal: null },
      logprobs: null,
      finish_reason: reason,
    })),
    usage: usage(counts),
    timings: timings(counts),
  };
}

async function* streamedAnswer(
  model: string,
  request: ChatRequest,
  events: AsyncGenerator<ChoiceEvent, void>,
): AsyncGenerator<object, void> {
  const head = header("chat.completion.chunk", model);
  const noUsageYet = request.includeUsage ? { usage: null } : {};
  const chunk = (index: number, delta: object, reason: FinishReason | null = null) => ({
    ...head,
    choices: [{ index, delta, logprobs: null, finish_reason: reason }],
    ...noUsageYet,
  });
  const counts: Counts[] = [];
  // The engine starts now, not when a slow reader has taken the first chunks.
  let next = events.next();
  next.catch(() => undefined);
  try {
    const { choices } = request.parameters;
    for (let index = 0; index < choices; index++) yield chunk(index, { role: "assistant", content: "" });
    for (let result = await next; !result.done; result = await next) {
      const event = result.value;
      next = events.next();
      next.catch(() => undefined);
      if (event.kind === "text") {
        yield chunk(event.choice, { content: event.text });
        continue;
      }
      counts.push(event.counts);
      const isLast = counts.length === choices && !request.includeUsage;
      yield { ...chunk(event.choice, {}, event.reason), ...(isLast ? { timings: timings(counts) } : {}) };
    }
  } finally {
    await events.return();
  }
  if (request.includeUsage) yield { ...head, choices: [], usage: usage(counts), timings: timings(counts) };
}
