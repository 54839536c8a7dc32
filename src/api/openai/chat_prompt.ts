/**
 * From messages and tools to the text that the model continues. Chat requests, /apply-template and /tokenize share it.
 *
 * Where the model's template takes tools it gets them, and the calls of earlier messages, as Hugging Face's templates expect them.
 * Other models get the list of tools as the first line of the system message, "You can call tools. Tools: get_weather(city)", and
 * calls in the text of the message that made them, as the model would have written them.
 */

import type { CallsForm } from "../../grammar/answer_forms.ts";
import { type JsonObject, parseExactly } from "../../json.ts";
import { contextLengthExceeded, invalid } from "../../serving/request_error.ts";
import type { Service } from "../../serving/service.ts";
import type { PromptText } from "../../text/added_tokens.ts";
import type { CallForm } from "../../text/call_form.ts";
import { RESERVED_VARIABLES, type TemplateMessage } from "../../text/chat_template.ts";
import { TemplateError } from "../../text/jinja/errors.ts";
import { begunThoughts, openThoughts, upToThoughts } from "../../text/thinking.ts";
import { describeTools, writeArguments, writeCall, writeOpenCall } from "../../text/tool_calls.ts";
import { turns } from "../../text/turns.ts";
import type { Prompts } from "../answers.ts";
import type { Exchange } from "../exchange.ts";
import { measureJson } from "../json_bounds.ts";
import { optionalObject } from "../schema.ts";
import { encodeTruncated, type Truncation } from "../truncation.ts";
import { type Message, readMessages } from "./messages.ts";
import { readThinkingVariables } from "./reasoning.ts";
import { readTools } from "./tools.ts";

/** Longest chat_template_kwargs, as JSON. */
const KWARGS_CHARACTERS_MAX = 16 * 1024;

/** Most values in the arguments of all calls: they are read, and written again or given to the template, in one turn. */
const VALUES_MAX = 100_000;

/** A chat's prompt. */
export interface ChatPrompt extends PromptText {
  /** What the prompt has of the message that the answer continues. */
  begun: string;
  /** Whether the model thinks before it answers. */
  thinks: boolean;
  /** Names of the tools that may be called. */
  tools: ReadonlySet<string>;
  /** Most calls in one answer. */
  callsMax: number;
  /** How calls are written, when tools may be called. */
  calls: CallsForm | undefined;
  /** Whether the answer has to consist of calls. */
  callsAreRequired: boolean;
  /** Whether a call is to be returned in the shape of OpenAI's older `functions`. */
  areFunctions: boolean;
}

/** Reads the messages, the tools and the template's variables, and renders them in a turn of its own. @throws RequestError 400. */
export async function readChatPrompt(exchange: Exchange, service: Service, body: JsonObject): Promise<ChatPrompt> {
  const { template, context } = service;
  const messages = readMessages(body);
  const { sent, tools, callsMax, callable, callsAreRequired, areFunctions } = readTools(body);
  const variables = readTemplateVariables(body);
  // Every message becomes at least one token, so more than these can't fit: no need to let the template work on them.
  if (messages.length >= context) throw contextLengthExceeded("messages", context, messages.length, false);
  const extras = template.takesTools && tools.length > 0 ? { tools: sent, variables } : { variables };
  try {
    await turns.take(true, exchange.client);
    checkArguments(messages);
    const last = messages.at(-1) as Message;
    const inWords = messages.map((message) =>
      template.takesTools && message !== last
        ? withCallsAsFields(message, template.callForm)
        : withCallsInText(message, message === last),
    );
    const continued = last.role === "assistant" ? (inWords.at(-1) as TemplateMessage).content : "";
    if (!template.takesTools && tools.length > 0) addSystemLine(inWords, describeTools(tools));
    const { prompt, begun } = beginning(template.prompt(inWords, extras), last, continued, template.thinks);
    const calls = callable.length === 0 ? undefined : { tools: callable, isParallel: callsMax > 1 };
    const names = new Set(callable.map(({ name }) => name));
    return { ...prompt, begun, thinks: template.thinks, tools: names, callsMax, calls, callsAreRequired, areFunctions };
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw invalid(
      "messages",
      "invalid_value",
      `The model's chat template does not accept these messages: ${error.message}`,
    );
  }
}

/**
 * Where the answer begins: the prompt, and what it has of the message.
 *
 * @param continued the text of the last message, where it is the assistant's.
 */
function beginning(prompt: PromptText, last: Message, continued: string, thinks: boolean) {
  if (continued !== "" || !thinks) return { prompt, begun: continued };
  // Thoughts without an answer were cut: they go on.
  const thoughts = last.role === "assistant" ? ((last.reasoning_content as string | undefined) ?? "") : "";
  const text = upToThoughts(prompt.text, thoughts);
  if (text === undefined) return { prompt, begun: begunThoughts(prompt.text) };
  const { literal } = prompt;
  const kept = literal === "everywhere" ? literal : literal.filter((place) => place < text.length);
  return { prompt: { text, literal: kept }, begun: openThoughts(thoughts) };
}

/** The prompt of a chat, to be tokenized. */
export function chatPrompts(
  exchange: Exchange,
  service: Service,
  prompt: ChatPrompt,
  truncation: Truncation | undefined,
): Prompts {
  return {
    count: 1,
    // Of a call that the last message began; as JSON inside of JSON, in which quotes take two.
    repeatedBytes: prompt.tools.size === 0 ? 0 : 2 * Buffer.byteLength(prompt.begun),
    tokensAtMost: service.promptTokensAtMost(prompt.text),
    param: "messages",
    choicesParam: "n",
    async encode() {
      // One token of the context is left for the answer.
      const encoding = await encodeTruncated(exchange, service, "messages", prompt, service.context - 1, truncation);
      if ("ids" in encoding) return [encoding.ids];
      throw contextLengthExceeded("messages", service.context, encoding.tooLong, encoding.isExact);
    },
  };
}

/** Checks how much the arguments of calls hold, before they are read. @throws RequestError 400. */
function checkArguments(messages: readonly Message[]): void {
  let values = 0;
  for (const { calls = [] } of messages) for (const call of calls) values += measureJson(call.arguments).values;
  if (values <= VALUES_MAX) return;
  const message = `Invalid 'messages': expected at most ${VALUES_MAX} values in the arguments of 'tool_calls'.`;
  throw invalid("messages", "invalid_value", message);
}

function withCallsAsFields({ calls, ...message }: Message, form: CallForm): TemplateMessage {
  if (calls === undefined) return message as TemplateMessage;
  const called = calls.map(({ id, name, arguments: args }) => ({
    ...(id === undefined ? {} : { id }),
    type: "function",
    function: { name, arguments: form.argumentsAreText ? writeArguments(args) : parsedOr(args) },
  }));
  const content = message.content === "" ? form.emptyContent : message.content;
  return { ...message, content, tool_calls: called } as TemplateMessage;
}

/** @param isLast whether the message is to be continued, and so the last of its calls. */
function withCallsInText({ calls = [], ...message }: Message, isLast: boolean): TemplateMessage {
  const written = calls.map((call, i) => (isLast && i === calls.length - 1 ? writeOpenCall(call) : writeCall(call)));
  const parts = [message.content as string, ...written];
  return { ...message, content: parts.filter((part) => part !== "").join("\n") } as TemplateMessage;
}

function addSystemLine(messages: TemplateMessage[], line: string): void {
  const first = messages[0];
  if (first?.role === "system") messages[0] = { ...first, content: `${line}\n${first.content}` };
  else messages.unshift({ role: "system", content: line });
}

/** What a JSON text says; the text itself where it is none, or one that would take a template too deep. */
function parsedOr(text: string): unknown {
  try {
    return measureJson(text).isTooDeep ? text : parseExactly(text);
  } catch {
    return text;
  }
}

/** Reads chat_template_kwargs. They can't take the place of what the template gets from elsewhere. @throws RequestError 400. */
function readTemplateVariables(body: JsonObject): JsonObject {
  const param = "chat_template_kwargs";
  const variables = optionalObject(body, param) ?? {};
  if (JSON.stringify(variables).length > KWARGS_CHARACTERS_MAX) {
    const message = `Invalid '${param}': too long. Expected at most ${KWARGS_CHARACTERS_MAX} characters of JSON.`;
    throw invalid(param, "string_above_max_length", message);
  }
  for (const name of Object.keys(variables)) {
    if (!/^[A-Za-z_]\w{0,63}$/.test(name) || name.startsWith("__") || RESERVED_VARIABLES.has(name)) {
      const message = `Invalid key in '${param}': expected names of variables other than the template's own.`;
      throw invalid(param, "invalid_value", message);
    }
  }
  return { ...readThinkingVariables(body), ...variables };
}
