/**
 * The requests of a soak: every path and dialect. Most have one right answer, which is known beforehand from an independent
 * implementation, or is what a server says to whom it serves alone. Answers that are drawn at random are checked by the schema that they
 * have to follow. Some requests have to be refused.
 */

import { goldens } from "../support/goldens.ts";
import { type LibrarySchema, librarySchemas, validator } from "../support/library_schemas.ts";
import type { Chance } from "./chance.ts";
import { chat, completions, type Dialect, type Json, llamaCpp, sglang } from "./dialects.ts";

/** Which service is asked. */
export type ServiceName = "text" | "embedding";

/** A request whose answer is the same each time. */
export interface Case {
  service: ServiceName;
  method: "GET" | "POST";
  path: string;
  /** Beside the usual ones. */
  headers?: Record<string, string>;
  body?: object;
  /** Absent: the answer is compared as it is, and can't be streamed. */
  dialect?: Dialect;
  /** Whether it can be streamed where there is a dialect. */
  isWholeOnly?: boolean;
  /** Whether it differs from time to time, and `fault` alone decides. */
  varies?: boolean;
  /** Whether it may be refused with 503 by a service that is about to end. */
  isAboutReadiness?: boolean;
  /** What is wrong with it, whatever other answers to the same request were. */
  fault?(answer: Json): string | undefined;
}

/** Whether a request can be asked for as a stream. */
export function canBeStreamed({ dialect, isWholeOnly }: Case): boolean {
  return dialect !== undefined && isWholeOnly !== true;
}

/** What a request asks with, as a stream or not. */
export function bodyOf({ body, dialect }: Pick<Case, "body" | "dialect">, isStreamed: boolean): object | undefined {
  return isStreamed ? { ...body, ...dialect?.streaming } : body;
}

/** A request that is drawn at random; its answer has to be valid. */
export interface Drawn {
  path: string;
  body: object;
  dialect: Dialect;
  fault(answer: Json): string | undefined;
}

/** A request that has to be refused. */
export interface Refused {
  service: ServiceName;
  method: string;
  path: string;
  body?: string;
  /** Instead of the right key; undefined: that one. */
  key?: string;
  status: number;
}

const user = (content: string) => ({ role: "user", content });
const differs = (what: string, found: unknown, right: unknown) =>
  Bun.deepEquals(found, right) ? undefined : `${what} is ${JSON.stringify(found)}, not ${JSON.stringify(right)}`;

const RULES = Array.from({ length: 40 }, (_, i) => `Rule ${i}: never say the number ${i * 37} twice.`).join(" ");
const SAMPLED = { temperature: 1.2, top_p: 0.95 };
const CHAT = "/v1/chat/completions";

const WEATHER = {
  name: "get_weather",
  description: "The weather in a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const MEETING = {
  name: "plan_meeting",
  parameters: {
    type: "object",
    properties: {
      day: { enum: ["monday", "friday"] },
      minutes: { type: "integer", minimum: 15, maximum: 90, multipleOf: 15 },
      guests: { type: "array", items: { type: "string", maxLength: 8 }, maxItems: 3 },
    },
    required: ["day", "minutes"],
    additionalProperties: false,
  },
};
const tool = (described: object) => ({ type: "function", function: described });
const QUESTION = user("What is the weather in Oslo?");

/** The conversations of the goldens, in every dialect that generates. */
function goldenCases(): Case[] {
  return goldens.chat.flatMap(({ messages, prompt, prompt_ids, greedy_ids, greedy_text, finish_reason }): Case[] => {
    const count = greedy_ids.length;
    const spoken = finish_reason === "stop" ? greedy_ids.slice(0, -1) : greedy_ids;
    const post = { service: "text", method: "POST" } as const;
    const text = (answer: Json) => differs("the text", answer.choices[0].text, greedy_text);
    const end = (answer: Json) => differs("the end", answer.choices[0].end, finish_reason);
    return [
      {
        ...post,
        path: CHAT,
        body: { messages, max_tokens: count },
        dialect: chat,
        fault: (answer) => text(answer) ?? end(answer),
      },
      {
        ...post,
        path: "/v1/completions",
        body: { prompt: prompt_ids, max_tokens: count },
        dialect: completions,
        fault: (answer) => text(answer) ?? end(answer),
      },
      {
        ...post,
        path: "/completion",
        body: { prompt: prompt_ids, n_predict: count, return_tokens: true },
        dialect: llamaCpp,
        fault: ([answer]) => differs("the text", answer.text, greedy_text) ?? differs("ids", answer.ids, spoken),
      },
      {
        ...post,
        path: "/generate",
        body: { input_ids: prompt_ids, sampling_params: { max_new_tokens: count } },
        dialect: sglang,
        fault: ([answer]) => differs("the text", answer.text, greedy_text) ?? differs("ids", answer.ids, greedy_ids),
      },
      {
        ...post,
        path: "/apply-template",
        body: { messages },
        fault: (answer) => differs("the prompt", answer.prompt, prompt),
      },
      {
        ...post,
        path: "/tokenize",
        body: { messages },
        fault: (answer) => differs("ids", answer.tokens, prompt_ids),
      },
    ];
  });
}

function tokenizerCases(): Case[] {
  return goldens.tokenizer.flatMap(({ text, ids }): Case[] => [
    {
      service: "text",
      method: "POST",
      path: "/tokenize",
      body: { content: text },
      fault: (answer) => differs("ids", answer.tokens, ids),
    },
    {
      service: "text",
      method: "POST",
      path: "/detokenize",
      body: { tokens: ids },
      fault: (answer) => differs("the text", answer.content, text),
    },
  ]);
}

/** Requests whose right answers the server alone knows: what it says when nobody else is served. */
function otherCases(): Case[] {
  const system = { role: "system", content: RULES };
  const story = [user("Tell me a story.")];
  const france = user("What is the capital of France?");
  const chats: object[] = [
    { messages: story, seed: 5, max_tokens: 120, ...SAMPLED },
    { messages: story, max_tokens: 300, ignore_eos: true },
    { messages: story, n: 4, seed: 9, max_tokens: 60, ...SAMPLED },
    { messages: [system, ...story], max_tokens: 30, logprobs: true, top_logprobs: 3 },
    { messages: [system, france], seed: 3, max_tokens: 30, temperature: 0.9, frequency_penalty: 0.5 },
    { messages: [system, user("Say hello in Japanese.")], n: 3, seed: 1, max_tokens: 24, ...SAMPLED },
    { messages: [france, { role: "assistant", content: "Paris." }, user("And of Spain?")], max_tokens: 40 },
    { messages: [user(`${RULES} ${RULES}`)], max_tokens: 12, ignore_eos: true },
    { messages: [user("Count from 3 to 12.")], max_tokens: 80, stop: ["10", "x"] },
    { messages: [user("Write JSON for Ann, age 31.")], max_tokens: 60, response_format: { type: "json_object" } },
  ];
  const prompts = ["The capital of France", "Once upon a time", "1, 2, 3,"];
  const post = { service: "text", method: "POST" } as const;
  return [
    ...chats.map((body): Case => ({ ...post, path: CHAT, body, dialect: chat })),
    {
      ...post,
      path: CHAT,
      body: { messages: [QUESTION], tools: [tool(WEATHER)], max_tokens: 40 },
      dialect: chat,
      fault: ({ choices: [answer] }) =>
        differs("calls", answer.calls, [{ name: "get_weather", arguments: '{"city":"Oslo"}' }]),
    },
    {
      ...post,
      path: "/v1/completions",
      body: { prompt: prompts, n: 2, max_tokens: 20, seed: 4, ...SAMPLED },
      dialect: completions,
    },
    {
      ...post,
      path: "/v1/completions",
      body: { prompt: RULES, max_tokens: 1, echo: true, logprobs: 2 },
      dialect: completions,
      isWholeOnly: true,
    },
    {
      ...post,
      path: "/completion",
      body: { prompt: prompts, n_predict: 24, return_tokens: true, seed: 2, ...SAMPLED },
      dialect: llamaCpp,
    },
    {
      ...post,
      path: "/generate",
      body: {
        text: RULES,
        sampling_params: { max_new_tokens: 20, sampling_seed: 8, ...SAMPLED },
        return_logprob: true,
      },
      dialect: sglang,
    },
    {
      ...post,
      path: "/generate",
      body: { text: prompts, sampling_params: { max_new_tokens: 16, n: 2, sampling_seed: 8, ...SAMPLED } },
      dialect: sglang,
      isWholeOnly: true,
    },
    { service: "text", method: "GET", path: "/v1/models" },
    { service: "text", method: "GET", path: "/openapi.json" },
    { service: "text", method: "GET", path: "/", headers: { accept: "text/html" } },
    { service: "text", method: "GET", path: "/ready", isAboutReadiness: true },
    {
      service: "text",
      method: "GET",
      path: "/health",
      varies: true,
      fault: (answer) => differs("the status", answer.status, "ok"),
    },
    {
      service: "text",
      method: "GET",
      path: "/metrics",
      varies: true,
      fault: (text) => String(text).match(/^(?!# (HELP|TYPE) |wrinklefree_\w+(\{[^\n]*\})? [-+.\deNaIinf]+$).+$/m)?.[0],
    },
  ];
}

/** What an independent implementation says of an embedding model. */
export interface EmbeddingGoldens {
  embeddings: { ids: number[]; embedding: number[] }[];
}

function cosine(one: readonly number[], other: readonly number[]): number {
  const product = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, index) => sum + value * (b[index] as number), 0);
  return product(one, other) / Math.sqrt(product(one, one) * product(other, other));
}

function embeddingCases({ embeddings }: EmbeddingGoldens): Case[] {
  const post = { service: "embedding", method: "POST" } as const;
  const fault = (found: number[], index: number) => {
    const likeness = cosine(found, embeddings[index]?.embedding as number[]);
    return likeness > 0.999 ? undefined : `embedding ${index} has the cosine ${likeness} to the right one`;
  };
  return [
    {
      ...post,
      path: "/v1/embeddings",
      body: { input: embeddings.map(({ ids }) => ids) },
      fault: ({ data }) =>
        data.map(({ embedding }: Json, index: number) => fault(embedding, index)).find((one: unknown) => one),
    },
    ...embeddings.flatMap(({ ids }, index): Case[] => [
      { ...post, path: "/v1/embeddings", body: { input: ids, encoding_format: "base64" } },
      {
        ...post,
        path: "/embedding",
        body: { content: ids, embd_normalize: 2 },
        fault: ([answer]) => fault(answer.embedding[0], index),
      },
    ]),
    { ...post, path: "/v1/embeddings", body: { input: ["The capital of France", RULES.slice(0, 600)] } },
    { ...post, path: "/tokenize", body: { content: "The capital of France", add_special: true } },
    { service: "embedding", method: "GET", path: "/v1/models" },
  ];
}

/** All requests with one right answer. */
export function fixedCases(embeddings: EmbeddingGoldens): Case[] {
  return [...goldenCases(), ...tokenizerCases(), ...otherCases(), ...embeddingCases(embeddings)];
}

const schemas: LibrarySchema[] = [...librarySchemas("zod.json"), ...librarySchemas("pydantic.json")];
const validators = new Map<object, (value: unknown) => boolean>();

function isValid(schema: Omit<LibrarySchema, "name">, text: string): boolean {
  const known = validators.get(schema) ?? validator(schema);
  validators.set(schema, known);
  return known(JSON.parse(text));
}

/** Tokens that an answer by a schema may have; one that needs more is cut, and not judged. */
const TOKENS_BY_SCHEMA = 300;

/** A request for JSON by a schema, or for calls, drawn so wildly that whatever is allowed comes. */
export function draw(chance: Chance): Drawn {
  const seed = chance.below(2 ** 31);
  const wild = { temperature: 1.5, seed };
  if (chance.oneIn(4)) {
    const tools = [WEATHER, MEETING];
    const body = {
      messages: [QUESTION],
      tools: tools.map(tool),
      tool_choice: "required",
      max_tokens: TOKENS_BY_SCHEMA,
      ...wild,
    };
    return {
      path: CHAT,
      body,
      dialect: chat,
      fault({ choices: [{ calls, end, text }] }) {
        if (end === "length") return undefined;
        const isRight = ({ name, arguments: words }: Json) => {
          const called = tools.find((one) => one.name === name);
          return called !== undefined && isValid({ schema: called.parameters }, words);
        };
        if (end === "tool_calls" && calls.length > 0 && calls.every(isRight) && text === "") return undefined;
        return `no valid calls: ${end}, ${JSON.stringify(calls)}, ${JSON.stringify(text)}`;
      },
    };
  }
  const one = chance.of(schemas);
  const { schema } = one;
  const judge = (text: string) => (isValid(one, text) ? undefined : `not valid by '${one.name}': ${text}`);
  switch (chance.below(3)) {
    case 0:
      return {
        path: "/completion",
        body: { prompt: "Hello", json_schema: schema, n_predict: TOKENS_BY_SCHEMA, return_tokens: true, ...wild },
        dialect: llamaCpp,
        fault: ([{ text, end }]) => (end[0] === "limit" ? undefined : judge(text)),
      };
    case 1:
      return {
        path: "/generate",
        body: {
          text: "Hello",
          sampling_params: {
            json_schema: JSON.stringify(schema),
            max_new_tokens: TOKENS_BY_SCHEMA,
            temperature: wild.temperature,
            sampling_seed: seed,
          },
        },
        dialect: sglang,
        fault: ([{ text, end }]) => (end.type === "length" ? undefined : judge(text)),
      };
    default:
      return {
        path: CHAT,
        body: {
          messages: [user("Hello")],
          response_format: { type: "json_schema", json_schema: { name: "answer", schema } },
          max_tokens: TOKENS_BY_SCHEMA,
          ...wild,
        },
        dialect: chat,
        fault: ({ choices: [{ text, end }] }) => (end === "length" ? undefined : judge(text)),
      };
  }
}

const HELLO = JSON.stringify({ messages: [user("Hello")], max_tokens: 1 });
const post = (service: ServiceName, path: string, body: object, status = 400): Refused => ({
  service,
  method: "POST",
  path,
  body: JSON.stringify(body),
  status,
});

/** Requests with something wrong in them. */
export const REFUSED: readonly Refused[] = [
  { service: "text", method: "POST", path: CHAT, body: HELLO, key: "", status: 401 },
  { service: "text", method: "POST", path: CHAT, body: HELLO, key: "sk-nobody", status: 401 },
  { service: "embedding", method: "GET", path: "/v1/models", key: "sk-nobody", status: 401 },
  { service: "text", method: "POST", path: "/v1/nothing", body: HELLO, status: 404 },
  { service: "text", method: "GET", path: "/v1/models/nothing", status: 404 },
  { service: "text", method: "GET", path: CHAT, status: 405 },
  { service: "text", method: "DELETE", path: "/v1/models", status: 405 },
  { service: "text", method: "POST", path: CHAT, body: '{"messages":', status: 400 },
  { service: "text", method: "POST", path: "/completion", body: "[]", status: 400 },
  { service: "text", method: "POST", path: CHAT, body: "", status: 400 },
  post("text", CHAT, {}),
  post("text", CHAT, { messages: [QUESTION], model: "another" }, 404),
  post("text", CHAT, { messages: [QUESTION], temperature: 5 }),
  post("text", CHAT, { messages: [QUESTION], n: 100_000 }),
  post("text", CHAT, { messages: [user(RULES.repeat(8))] }),
  post("text", CHAT, { messages: [QUESTION], response_format: { type: "json_schema", json_schema: { schema: 1 } } }),
  post("text", "/v1/completions", { prompt: "a".repeat(40_000) }),
  post("text", "/v1/embeddings", { input: "a" }),
  post("text", "/completion", { prompt: "a", grammar: "root ::= a" }),
  post("text", "/detokenize", { tokens: [1, 99_999] }),
  post("text", "/generate", { text: "a", input_ids: [1] }),
  post("embedding", "/v1/embeddings", { input: "" }),
  post("embedding", CHAT, { messages: [QUESTION] }),
];

/** More text than a socket's buffers take. Nobody reads it to its end. */
export const FLOOD = {
  messages: [user("Tell me a story.")],
  n: 4,
  min_tokens: 1200,
  max_tokens: 1200,
  stream: true,
};
