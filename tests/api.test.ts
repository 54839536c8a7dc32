/**
 * The HTTP contract, against the compiled executable with the demo model: answers and errors as clients see them, through plain
 * requests, raw sockets and OpenAI's own SDK.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import OpenAI from "openai";
import { openAi } from "../src/api/openai/dialect.ts";
import { eventStream, serverSentEvent } from "../src/api/sse.ts";
import { goldens } from "./support/goldens.ts";
import {
  engineHealth,
  eventually,
  parseEvents,
  rawExchange,
  startServer,
  streamedText,
  type TestServer,
} from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const CHAT = "/v1/chat/completions";
const ask = (content: string, more: object = {}) => ({ messages: [{ role: "user", content }], ...more });
const FRANCE = "What is the capital of France?";
/** An answer that goes on until the context is full. */
const LONG = ask("Tell me a story.", { ignore_eos: true });
/** Its tokens, at least. */
const LONG_TOKENS = 2000;

/** Waits until nothing runs. */
async function untilIdle(): Promise<void> {
  await eventually(async () => {
    const { running, waiting } = await server.requests();
    return running + waiting === 0;
  });
}

/** Checks that answers of `choices` choices, which were begun in `work`, are ended long before they would have been complete. */
async function expectEndedEarly(choices: number, work: () => Promise<void>): Promise<void> {
  const before = (await engineHealth(server)).generated_tokens;
  await work();
  await untilIdle();
  const generated = (await engineHealth(server)).generated_tokens - before;
  expect(generated).toBeLessThan((choices * LONG_TOKENS) / 2);
}

async function errorOf(response: Response) {
  const { error } = (await response.json()) as { error: Record<string, unknown> };
  for (const key of ["message", "type", "param", "code"]) expect(error).toHaveProperty(key);
  expect(response.headers.get("x-request-id")).not.toBeNull();
  return error as { message: string; type: string; param: string | null; code: string | null; [key: string]: unknown };
}

describe("goldens over HTTP", () => {
  test.each(goldens.chat.map((golden) => [golden.messages.at(-1)?.content ?? "", golden] as const))(
    "%s",
    async (_, golden) => {
      const limit = golden.finish_reason === "length" ? { max_tokens: golden.greedy_ids.length } : {};
      const request = { messages: golden.messages, ...limit };
      const answer = await server.chat(request);
      expect(answer.choices).toEqual([
        {
          index: 0,
          message: { role: "assistant", content: golden.greedy_text, refusal: null },
          logprobs: null,
          finish_reason: golden.finish_reason,
        },
      ]);
      expect(answer.usage.prompt_tokens).toBe(golden.prompt_ids.length);
      expect(answer.usage.completion_tokens).toBe(golden.greedy_ids.length);

      const chunks = await server.stream(request);
      expect(streamedText(chunks)).toBe(golden.greedy_text);
      expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe(golden.finish_reason);
    },
  );
});

describe("shapes", () => {
  test("a whole answer", async () => {
    const seconds = () => Math.floor(Date.now() / 1000);
    const before = seconds();
    const answer = await server.chat(ask(FRANCE, { model: "tiny", user: "somebody", unknown_field: [1] }));
    expect(answer.created).toBeWithin(before, seconds() + 1);
    expect(answer).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-\w+$/),
      object: "chat.completion",
      created: expect.any(Number),
      model: "tiny",
      system_fingerprint: expect.any(String),
      usage: { prompt_tokens: 14, completion_tokens: 9, total_tokens: 23, prompt_tokens_details: { cached_tokens: 0 } },
      timings: { prompt_n: 14, predicted_n: 9, time_to_first_token_ms: expect.any(Number) },
    });
  });

  test("a stream: the role at once, text without roles, the reason in a chunk of its own", async () => {
    const chunks = await server.stream(ask(FRANCE));
    expect(chunks[0]?.choices).toEqual([
      { index: 0, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null } as never,
    ]);
    for (const chunk of chunks) {
      expect(chunk.object).toBe("chat.completion.chunk");
      expect([chunk.id, chunk.created, chunk.model]).toEqual([chunks[0]?.id, chunks[0]?.created, "tiny"] as never);
      expect(chunk).not.toHaveProperty("usage");
    }
    for (const chunk of chunks.slice(1, -1)) expect(Object.keys(chunk.choices[0]?.delta ?? {})).toEqual(["content"]);
    expect(chunks.at(-1)?.choices[0]).toMatchObject({ delta: {}, finish_reason: "stop" });
    expect(chunks.at(-1)?.timings).toBeDefined();
  });

  test("include_usage: one more chunk, and usage: null before it", async () => {
    const chunks = await server.stream(ask(FRANCE, { stream_options: { include_usage: true } }));
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 14, completion_tokens: 9, total_tokens: 23 },
    });
    for (const chunk of chunks.slice(0, -1)) expect(chunk.usage).toBeNull();
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("stop");
  });

  test("headers of a stream", async () => {
    const response = await server.post(CHAT, ask(FRANCE, { stream: true }));
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    await response.text();
  });

  test("models", async () => {
    const list = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: object[] };
    expect(list).toMatchObject({ object: "list", data: [{ id: "tiny", object: "model", max_model_len: 2048 }] });
    expect(list.data[0]).toMatchObject({ root: "tiny", meta: { n_params: 4464384, is_demo: true } });
    expect(JSON.stringify(list)).toContain("4-million-parameter demo");
    expect(await (await fetch(`${server.url}/v1/models/tiny`)).json()).toEqual(list.data[0]);
  });

  test("health and readiness", async () => {
    expect(await (await fetch(`${server.url}/health`)).json()).toMatchObject({
      status: "ok",
      phase: "ready",
      model: "tiny",
      kernels: expect.any(String),
      requests: { running: 0, waiting: 0 },
    });
    expect((await fetch(`${server.url}/ready`)).status).toBe(200);
    expect((await fetch(`${server.url}/health`, { method: "HEAD" })).status).toBe(200);
  });
});

describe("the OpenAI SDK", () => {
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });

  test.each(["Show me a rocket as an emoji.", "Say hello in Japanese.", "Tell me a story."])(
    "completes and streams: %s",
    async (content) => {
      const golden = goldens.chat.find(({ messages }) => messages.at(-1)?.content === content);
      const request = { model: "tiny", messages: [{ role: "user" as const, content }] };
      const whole = await client().chat.completions.create(request);
      expect(whole.choices[0]?.message.content).toBe(golden?.greedy_text as string);

      let text = "";
      for await (const chunk of await client().chat.completions.create({ ...request, stream: true })) {
        text += chunk.choices[0]?.delta.content ?? "";
      }
      expect(text).toBe(golden?.greedy_text as string);

      const final = await client().chat.completions.stream(request).finalChatCompletion();
      expect(final.choices[0]?.message.content).toBe(golden?.greedy_text as string);
    },
  );

  test("lists and retrieves models", async () => {
    const names: string[] = [];
    for await (const model of client().models.list()) names.push(model.id);
    expect(names).toEqual(["tiny"]);
    expect((await client().models.retrieve("tiny")).id).toBe("tiny");
    const other = async () => await client().models.retrieve("org/other");
    await expect(other()).rejects.toThrow(OpenAI.NotFoundError);
  });

  test("throws its own kinds of errors", async () => {
    const create = async (more: object) =>
      await client().chat.completions.create({ model: "tiny", messages: [{ role: "user", content: "x" }], ...more });
    await expect(create({ temperature: 200 })).rejects.toThrow(OpenAI.BadRequestError);
    await expect(create({ model: "gpt-4o" })).rejects.toThrow(OpenAI.NotFoundError);
  });

  test("aborting ends the generation", async () => {
    const stream = await client().chat.completions.create({
      model: "tiny",
      stream: true,
      n: 16,
      ...(LONG as object),
    } as never);
    for await (const _ of stream as unknown as AsyncIterable<unknown>) break;
    await eventually(async () => (await server.requests()).running === 0);
  });
});

describe("parameters", () => {
  const text = async (body: object) => (await server.chat(body)).choices[0]?.message.content as string;

  test("content in parts is the same text", async () => {
    const parts = [
      { type: "text", text: "What is the capital " },
      { type: "text", text: "of France?" },
    ];
    expect(await text({ messages: [{ role: "user", content: parts }] })).toBe("The capital of France is Paris.");
  });

  test("a developer's message is a system message", async () => {
    const messages = (role: string) => ({
      messages: [
        { role, content: "You are a helpful assistant." },
        { role: "user", content: "Hello" },
      ],
    });
    expect(await text(messages("developer"))).toBe(await text(messages("system")));
    expect((await server.chat(messages("developer"))).usage).toEqual((await server.chat(messages("system"))).usage);
  });

  test("a result of a tool is read back", async () => {
    const golden = goldens.chat.find(({ greedy_text }) => greedy_text.startsWith("<tool_call>"));
    const answer = await text({
      messages: [
        ...(golden?.messages ?? []),
        { role: "assistant", content: golden?.greedy_text },
        { role: "tool", tool_call_id: "call_1", content: '{"temperature": 9, "sky": "rainy"}' },
      ],
    });
    expect(answer).toContain("9");
  });

  test("a last message of the assistant is continued", async () => {
    const answer = await server.chat({
      messages: [
        { role: "user", content: FRANCE },
        { role: "assistant", content: "The capital of France" },
      ],
    });
    expect(answer.choices[0]?.message.content).toBe(" is Paris.");
  });

  test("max_tokens and max_completion_tokens", async () => {
    for (const name of ["max_tokens", "max_completion_tokens"]) {
      const answer = await server.chat(ask(FRANCE, { [name]: 3 }));
      expect(answer.choices[0]?.finish_reason).toBe("length");
      expect(answer.usage.completion_tokens).toBe(3);
      expect("The capital of France is Paris.").toStartWith(answer.choices[0]?.message.content as string);
    }
    expect((await server.chat(ask(FRANCE, { max_tokens: 1_000_000_000_000 }))).choices[0]?.finish_reason).toBe("stop");
  });

  test("stop strings, across tokens, never leak", async () => {
    const story = goldens.chat.find(({ messages }) => messages.at(-1)?.content === "Tell me a story.")
      ?.greedy_text as string;
    const cases: (string | string[])[] = [
      "One morning",
      ["turtle", "kite"],
      '" asked',
      "e",
      ["never there", "O"],
      [" "],
      "Noah w",
    ];
    for (const stop of cases) {
      const places = [stop]
        .flat()
        .map((word) => story.indexOf(word))
        .filter((place) => place >= 0);
      const wanted = places.length > 0 ? story.slice(0, Math.min(...places)) : story;
      const answer = await server.chat(ask("Tell me a story.", { stop }));
      expect(answer.choices[0]).toMatchObject({ message: { content: wanted }, finish_reason: "stop" });
      const chunks = await server.stream(ask("Tell me a story.", { stop }));
      expect(streamedText(chunks)).toBe(wanted);
      expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
    }
  });

  test("any stop strings: streamed = whole = cut at the earliest", async () => {
    const story = goldens.chat.find(({ messages }) => messages.at(-1)?.content === "Tell me a story.")
      ?.greedy_text as string;
    const piece = fc
      .tuple(fc.nat(story.length - 1), fc.integer({ min: 1, max: 12 }))
      .map(([at, length]) => story.slice(at, at + length));
    const other = fc.string({ minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(piece, other), { minLength: 1, maxLength: 4 }), async (stop) => {
        const places = stop.map((word) => story.indexOf(word)).filter((place) => place >= 0);
        const wanted = places.length > 0 ? story.slice(0, Math.min(...places)) : story;
        expect(await text(ask("Tell me a story.", { stop }))).toBe(wanted);
        expect(streamedText(await server.stream(ask("Tell me a story.", { stop })))).toBe(wanted);
      }),
      { numRuns: 40 },
    );
  });

  test("stop_token_ids, ignore_eos and min_tokens", async () => {
    const period = 13;
    const stopped = await server.chat(ask(FRANCE, { stop_token_ids: [period] }));
    expect(stopped.choices[0]).toMatchObject({
      message: { content: "The capital of France is Paris" },
      finish_reason: "stop",
    });
    const endless = await server.chat(ask(FRANCE, { ignore_eos: true, max_tokens: 30 }));
    expect(endless.choices[0]?.finish_reason).toBe("length");
    expect(endless.usage.completion_tokens).toBe(30);
    const longer = await server.chat(ask(FRANCE, { min_tokens: 20, max_tokens: 40 }));
    expect(longer.usage.completion_tokens).toBeGreaterThanOrEqual(20);
  });

  test("logit_bias forbids and forces tokens", async () => {
    const paris = goldens.chat[0]?.greedy_ids[6] as number;
    expect(await text(ask(FRANCE, { logit_bias: { [paris]: -100 } }))).not.toContain("Paris");
    expect(await text(ask(FRANCE, { logit_bias: { 13: 100 }, max_tokens: 3 }))).toBe("...");
  });

  test("seeds: the same one repeats, others differ, any integer will do", async () => {
    const sampled = (seed: unknown) => text(ask("Tell me a story.", { temperature: 2, seed, max_tokens: 40 }));
    expect(await sampled(7)).toBe(await sampled(7));
    expect(await sampled(-7)).toBe(await sampled(-7));
    expect(await sampled(7)).not.toBe(await sampled(8));
    for (const seed of [0, -1, 2 ** 53, Number.MAX_VALUE]) await sampled(seed);
    expect(await text(ask("Tell me a story.", { temperature: 2, max_tokens: 40 }))).not.toBe(
      await text(ask("Tell me a story.", { temperature: 2, max_tokens: 40 })),
    );
  });

  test("the temperature is 0 unless the request samples", async () => {
    const story = goldens.chat.find(({ messages }) => messages.at(-1)?.content === "Tell me a story.")?.greedy_text;
    expect(await text(ask("Tell me a story."))).toBe(story as string);
    expect(await text(ask("Tell me a story.", { temperature: 2, top_k: 1 }))).toBe(story as string);
    expect(await text(ask("Tell me a story.", { temperature: 2, top_p: 0 }))).toBe(story as string);
    expect(await text(ask("Tell me a story.", { temperature: 2, min_p: 1 }))).toBe(story as string);
    const texts = new Set<string>();
    for (let seed = 0; seed < 8; seed++)
      texts.add(await text(ask("Tell me a story.", { top_p: 1, logit_bias: {}, seed, max_tokens: 60 })));
    expect(texts.size).toBeGreaterThan(1);
  });

  test("penalties change the answer", async () => {
    const request = ask("Tell me a story.", { temperature: 1.5, seed: 3, max_tokens: 100 });
    const plain = await text(request);
    const penalties = [
      { repetition_penalty: 3 },
      { repeat_penalty: 3 },
      { frequency_penalty: 2 },
      { presence_penalty: 2 },
    ];
    for (const penalty of penalties) expect(await text({ ...request, ...penalty })).not.toBe(plain);
    const none = { repetition_penalty: 1, frequency_penalty: 0, presence_penalty: 0 };
    expect(await text({ ...request, ...none })).toBe(plain);
  });

  test("n choices: each is what the request with its seed gives, streamed or not", async () => {
    const request = ask("Tell me a story.", { temperature: 1.5, seed: 100, max_tokens: 30 });
    const alone = await Promise.all([0, 1, 2].map((i) => text({ ...request, seed: 100 + i })));
    const answer = await server.chat({ ...request, n: 3 });
    expect(answer.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
    expect(answer.choices.map((choice) => choice.message.content)).toEqual(alone);
    const chunks = await server.stream({ ...request, n: 3, stream_options: { include_usage: true } });
    expect([0, 1, 2].map((index) => streamedText(chunks, index))).toEqual(alone);
    expect(chunks.at(-1)?.usage).toEqual(answer.usage);
    expect(answer.usage.prompt_tokens).toBe(12);
    expect(new Set(alone).size).toBeGreaterThan(1);
  });

  test("what says nothing about tokens changes none", async () => {
    const request = ask("Tell me a story.", { temperature: 1.5, seed: 11, max_tokens: 40 });
    const plain = await text(request);
    const silent = [
      { logprobs: true, top_logprobs: 20 },
      { n: 2 },
      { user: "somebody", metadata: { a: "b" }, service_tier: "auto", unknown_field: [1] },
      { cache_salt: "x" },
      { stop: ["never there"], stop_token_ids: [] },
      { logit_bias: {} },
      { min_tokens: 1 },
      { top_p: 1, top_k: 0, min_p: 0 },
      { top_k: -1 },
      { chat_template_kwargs: { unknown: true } },
      { parallel_tool_calls: false, tool_choice: "none" },
    ];
    for (const more of silent) expect([more, await text({ ...request, ...more })]).toEqual([more, plain]);
    for (const more of [{ stream_options: { include_usage: true } }, { return_progress: true }]) {
      expect(streamedText(await server.stream({ ...request, ...more }))).toBe(plain);
    }
  });

  test("without a temperature or a sampler the seed changes nothing", async () => {
    const story = await text(ask("Tell me a story."));
    for (const seed of [1, 2 ** 60]) expect(await text(ask("Tell me a story.", { seed }))).toBe(story);
  });

  test("null is as good as absent", async () => {
    const names = [
      "temperature",
      "top_p",
      "top_k",
      "min_p",
      "n",
      "stop",
      "seed",
      "max_tokens",
      "max_completion_tokens",
      "logit_bias",
      "stream",
    ];
    const more = [
      ...names,
      "tools",
      "tool_choice",
      "response_format",
      "logprobs",
      "top_logprobs",
      "user",
      "model",
      "stop_token_ids",
    ];
    const nulls = Object.fromEntries(more.map((name) => [name, null]));
    expect(await text(ask(FRANCE, nulls))).toBe("The capital of France is Paris.");
  });
});

describe("errors", () => {
  const user = { role: "user", content: "x" };
  const messages = (value: unknown) => ({ messages: value });
  const first = (message: unknown) => messages([message]);
  const withParameter = (more: object) => ({ messages: [user], ...more });
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  const withTools = (parameters: string) =>
    `{"messages":[{"role":"user","content":"x"}],"max_tokens":1,"tools":[{"type":"function","function":{"name":"f","parameters":{"x":${parameters}}}}]}`;

  test.each<[string, unknown, number, string | null, string | null]>([
    ["messages missing", {}, 400, "messages", "missing_required_parameter"],
    ["messages null", messages(null), 400, "messages", "invalid_type"],
    ["messages a string", messages("hello"), 400, "messages", "invalid_type"],
    ["messages empty", messages([]), 400, "messages", "empty_array"],
    ["a message that is a number", first(123), 400, "messages[0]", "invalid_type"],
    ["a message without a role", first({}), 400, "messages[0].role", "missing_required_parameter"],
    ["a role that is a number", first({ role: 123, content: "x" }), 400, "messages[0].role", "invalid_type"],
    ["an unknown role", first({ role: "wizard", content: "x" }), 400, "messages[0].role", "invalid_value"],
    ["content missing", first({ role: "user" }), 400, "messages[0].content", "missing_required_parameter"],
    ["content a number", first({ role: "user", content: 123 }), 400, "messages[0].content", "invalid_type"],
    ["content null", first({ role: "user", content: null }), 400, "messages[0].content", "invalid_type"],
    [
      "a name that is a number",
      messages([user, { role: "user", content: "x", name: 5 }]),
      400,
      "messages[1].name",
      "invalid_type",
    ],
    [
      "a result with a number as the call's id",
      first({ role: "tool", content: "x", tool_call_id: 5 }),
      400,
      "messages[0].tool_call_id",
      "invalid_type",
    ],
    [
      "a tool call with a number as its id",
      first({ role: "assistant", tool_calls: [{ id: 5, function: { name: "f", arguments: "{}" } }] }),
      400,
      "messages[0].tool_calls[0].id",
      "invalid_type",
    ],
    [
      "a fault in a later message",
      messages([user, { role: "user", content: {} }]),
      400,
      "messages[1].content",
      "invalid_type",
    ],
    ["a part that is a string", first({ role: "user", content: ["x"] }), 400, "messages[0].content[0]", "invalid_type"],
    [
      "a part without a type",
      first({ role: "user", content: [{}] }),
      400,
      "messages[0].content[0].type",
      "missing_required_parameter",
    ],
    [
      "an image",
      first({ role: "user", content: [{ type: "image_url", image_url: {} }] }),
      400,
      "messages[0].content[0].type",
      "invalid_value",
    ],
    [
      "a part without text",
      first({ role: "user", content: [{ type: "text" }] }),
      400,
      "messages[0].content[0].text",
      "missing_required_parameter",
    ],
    [
      "a tool call without a function",
      first({ role: "assistant", content: "", tool_calls: [{}] }),
      400,
      "messages[0].tool_calls[0].function",
      "missing_required_parameter",
    ],
    [
      "a tool call with an object as arguments",
      first({ role: "assistant", tool_calls: [{ function: { name: "f", arguments: {} } }] }),
      400,
      "messages[0].tool_calls[0].function.arguments",
      "invalid_type",
    ],
    [
      "a tool call that nothing follows",
      first({ role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{}" } }] }),
      400,
      "messages[0]",
      "invalid_value",
    ],
    ["temperature 200", withParameter({ temperature: 200 }), 400, "temperature", "decimal_above_max_value"],
    ["temperature -1", withParameter({ temperature: -1 }), 400, "temperature", "decimal_below_min_value"],
    ["temperature a string", withParameter({ temperature: "1" }), 400, "temperature", "invalid_type"],
    [
      "temperature beyond numbers",
      '{"messages":[{"role":"user","content":"x"}],"temperature":1e999}',
      400,
      "temperature",
      "decimal_above_max_value",
    ],
    ["top_p 1.1", withParameter({ top_p: 1.1 }), 400, "top_p", "decimal_above_max_value"],
    ["top_k -2", withParameter({ top_k: -2 }), 400, "top_k", "integer_below_min_value"],
    ["top_k 1.5", withParameter({ top_k: 1.5 }), 400, "top_k", "invalid_type"],
    ["min_p -0.1", withParameter({ min_p: -0.1 }), 400, "min_p", "decimal_below_min_value"],
    ["n 0", withParameter({ n: 0 }), 400, "n", "integer_below_min_value"],
    ["n 129", withParameter({ n: 129 }), 400, "n", "integer_above_max_value"],
    ["max_tokens 0", withParameter({ max_tokens: 0 }), 400, "max_tokens", "integer_below_min_value"],
    ["max_tokens -5", withParameter({ max_tokens: -5 }), 400, "max_tokens", "integer_below_min_value"],
    ["max_tokens 1.5", withParameter({ max_tokens: 1.5 }), 400, "max_tokens", "invalid_type"],
    [
      "max_completion_tokens 0",
      withParameter({ max_completion_tokens: 0 }),
      400,
      "max_completion_tokens",
      "integer_below_min_value",
    ],
    [
      "min_tokens over max_tokens",
      withParameter({ min_tokens: 5, max_tokens: 4 }),
      400,
      "min_tokens",
      "integer_above_max_value",
    ],
    [
      "frequency_penalty 3",
      withParameter({ frequency_penalty: 3 }),
      400,
      "frequency_penalty",
      "decimal_above_max_value",
    ],
    [
      "presence_penalty -3",
      withParameter({ presence_penalty: -3 }),
      400,
      "presence_penalty",
      "decimal_below_min_value",
    ],
    [
      "repetition_penalty 0",
      withParameter({ repetition_penalty: 0 }),
      400,
      "repetition_penalty",
      "decimal_below_min_value",
    ],
    ["repeat_penalty -1", withParameter({ repeat_penalty: -1 }), 400, "repeat_penalty", "decimal_below_min_value"],
    ["seed 1.5", withParameter({ seed: 1.5 }), 400, "seed", "invalid_type"],
    ["logit_bias an array", withParameter({ logit_bias: [] }), 400, "logit_bias", "invalid_type"],
    [
      "logit_bias out of the vocabulary",
      withParameter({ logit_bias: { 2048: 1 } }),
      400,
      "logit_bias",
      "invalid_value",
    ],
    ["logit_bias of no id", withParameter({ logit_bias: { "-1": 1 } }), 400, "logit_bias", "invalid_value"],
    ["logit_bias 101", withParameter({ logit_bias: { 5: 101 } }), 400, "logit_bias", "decimal_above_max_value"],
    ["logit_bias a string", withParameter({ logit_bias: { 5: "1" } }), 400, "logit_bias", "invalid_type"],
    ["stop a number", withParameter({ stop: 5 }), 400, "stop", "invalid_type"],
    ["stop with a number", withParameter({ stop: ["a", 5] }), 400, "stop[1]", "invalid_type"],
    ["stop empty", withParameter({ stop: [""] }), 400, "stop[0]", "string_below_min_length"],
    ["too many stops", withParameter({ stop: Array(65).fill("x") }), 400, "stop", "array_above_max_length"],
    [
      "stop_token_ids out of the vocabulary",
      withParameter({ stop_token_ids: [2048] }),
      400,
      "stop_token_ids[0]",
      "integer_above_max_value",
    ],
    ["ignore_eos a string", withParameter({ ignore_eos: "yes" }), 400, "ignore_eos", "invalid_type"],
    ["stream a string", withParameter({ stream: "true" }), 400, "stream", "invalid_type"],
    ["stream_options without stream", withParameter({ stream_options: {} }), 400, "stream_options", null],
    ["user a number", withParameter({ user: 5 }), 400, "user", "invalid_type"],
    ["model a number", withParameter({ model: 5 }), 400, "model", "invalid_type"],
    ["an unknown model", withParameter({ model: "gpt-4o" }), 404, "model", "model_not_found"],
    ["a model that looks like a path", withParameter({ model: "../../etc/passwd" }), 404, "model", "model_not_found"],
    [
      "top_logprobs 21",
      withParameter({ logprobs: true, top_logprobs: 21 }),
      400,
      "top_logprobs",
      "integer_above_max_value",
    ],
    ["logprobs a number", withParameter({ logprobs: 3 }), 400, "logprobs", "invalid_type"],
    ["top_logprobs without logprobs", withParameter({ top_logprobs: 2 }), 400, "top_logprobs", null],
    ["a tool without a type", withParameter({ tools: [{}] }), 400, "tools[0].type", "missing_required_parameter"],
    ["another kind of tool", withParameter({ tools: [{ type: "x" }] }), 400, "tools[0].type", "invalid_value"],
    [
      "a tool without a name",
      withParameter({ tools: [{ type: "function", function: {} }] }),
      400,
      "tools[0].function.name",
      "missing_required_parameter",
    ],
    [
      "a tool with a bad name",
      withParameter({ tools: [{ type: "function", function: { name: "a b" } }] }),
      400,
      "tools[0].function.name",
      "invalid_value",
    ],
    ["too many tools", withParameter({ tools: Array(129).fill({}) }), 400, "tools", "array_above_max_length"],
    [
      "a tool_choice of no tool",
      withParameter({ tool_choice: { type: "function", function: { name: "f" } } }),
      400,
      "tool_choice.function.name",
      "invalid_value",
    ],
    [
      "a tool_choice without a name",
      withParameter({ tool_choice: { type: "function" } }),
      400,
      "tool_choice.function",
      "missing_required_parameter",
    ],
    ["a tool_choice that is a number", withParameter({ tool_choice: 1 }), 400, "tool_choice", "invalid_type"],
    ["an unknown tool_choice", withParameter({ tool_choice: "maybe" }), 400, "tool_choice", "invalid_value"],
    ["functions", withParameter({ functions: [{ name: "f" }] }), 400, "functions", "unsupported_parameter"],
    ["audio", withParameter({ modalities: ["text", "audio"] }), 400, "modalities", "unsupported_parameter"],
    ["store", withParameter({ store: true }), 400, "store", "unsupported_parameter"],
    ["cache_salt a number", withParameter({ cache_salt: 5 }), 400, "cache_salt", "invalid_type"],
    [
      "a long cache_salt",
      withParameter({ cache_salt: "x".repeat(1025) }),
      400,
      "cache_salt",
      "string_above_max_length",
    ],
    ["return_progress without stream", withParameter({ return_progress: true }), 400, "return_progress", null],
    [
      "tool_choice required without tools",
      withParameter({ tool_choice: "required" }),
      400,
      "tool_choice",
      "invalid_value",
    ],
    [
      "an unknown response_format",
      withParameter({ response_format: { type: "xml" } }),
      400,
      "response_format.type",
      "invalid_value",
    ],
    [
      "response_format without a schema",
      withParameter({ response_format: { type: "json_schema" } }),
      400,
      "response_format.json_schema",
      "missing_required_parameter",
    ],
    ["a grammar", withParameter({ grammar: 'root ::= "x"' }), 400, "grammar", "unsupported_parameter"],
    ["response_format a string", withParameter({ response_format: "json" }), 400, "response_format", "invalid_type"],
    [
      "chat_template_kwargs that shadow messages",
      withParameter({ chat_template_kwargs: { messages: [] } }),
      400,
      "chat_template_kwargs",
      "invalid_value",
    ],
    [
      "chat_template_kwargs with a strange name",
      '{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"__proto__":{}}}',
      400,
      "chat_template_kwargs",
      "invalid_value",
    ],
    [
      "chat_template_kwargs that shadow a function",
      withParameter({ chat_template_kwargs: { namespace: 1 } }),
      400,
      "chat_template_kwargs",
      "invalid_value",
    ],
    [
      "large chat_template_kwargs",
      withParameter({ chat_template_kwargs: { a: "x".repeat(20_000) } }),
      400,
      "chat_template_kwargs",
      "string_above_max_length",
    ],
    ["invalid JSON", "{bad", 400, null, null],
    ["an empty body", "", 400, null, null],
    ["a body that is an array", "[]", 400, null, null],
    ["a body that is a number", "5", 400, null, null],
    ["JSON that is nested without end", "[".repeat(200_000), 400, null, null],
    ["tools nested deeper than the stack", withTools(nested(200_000)), 400, null, null],
    [
      "chat_template_kwargs nested deeper than the stack",
      `{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"a":${nested(200_000)}}}`,
      400,
      null,
      null,
    ],
  ])("%s", async (_, body, status, param, code) => {
    const response = await server.post(CHAT, body);
    expect(response.status).toBe(status);
    const error = await errorOf(response);
    expect([error.param, error.code]).toEqual([param, code]);
    expect(error.type).toBe("invalid_request_error");
  });

  test("what needs no honouring is accepted", async () => {
    const harmless = [
      { tools: [] },
      { tools: [{ type: "function", function: { name: "f" } }], tool_choice: "none" },
      { chat_template_kwargs: { enable_thinking: false } },
      { cache_salt: "mine" },
      { modalities: ["text"], store: false, functions: [] },
      { tool_choice: "auto" },
      { response_format: { type: "text" } },
      { top_logprobs: 0 },
      { logprobs: false },
      { messages: [{ role: "user", content: FRANCE, name: null, tool_call_id: null }] },
    ];
    for (const more of harmless)
      expect((await server.post(CHAT, ask(FRANCE, { ...more, max_tokens: 1 }))).status).toBe(200);
  });

  test("brackets in a text are no nesting, nor are the levels of honest tools", async () => {
    const brackets = `${'["\\'.repeat(150)}${"[".repeat(500)}`;
    expect((await server.post(CHAT, ask(brackets, { max_tokens: 1 }))).status).toBe(200);
    expect((await server.post(CHAT, withTools(nested(200)))).status).toBe(200);
  });

  test("a prompt that is too long", async () => {
    for (const content of ["word ".repeat(2500), "word ".repeat(100_000), "a".repeat(4_000_000), "1".repeat(36_000)]) {
      const response = await server.post(CHAT, ask(content));
      expect(response.status).toBe(400);
      const error = await errorOf(response);
      expect(error).toMatchObject({ param: "messages", code: "context_length_exceeded", n_ctx: 2048 });
      expect(error.message).toStartWith("This model's maximum context length is 2048 tokens.");
      expect(error.n_prompt_tokens as number).toBeGreaterThan(2047);
    }
  });

  test("more messages than the context has tokens are refused at once, fewer are rendered", async () => {
    const many = (count: number) => ({ messages: Array(count).fill({ role: "user", content: "" }) });
    for (const count of [2047, 2048, 100_000]) {
      const error = await errorOf(await server.post(CHAT, many(count)));
      expect(error.code).toBe("context_length_exceeded");
    }
  });

  test("a prompt that just fits leaves room for one token", async () => {
    // " word" is one token or several: find the number of repetitions that fills the context.
    const length = async (count: number) => {
      const response = await server.post(CHAT, ask("a".repeat(count), { max_tokens: 1 }));
      return response.status === 200
        ? ((await response.json()) as { usage: { prompt_tokens: number } }).usage.prompt_tokens
        : -1;
    };
    const frame = (await length(100)) - 100;
    expect(await length(2047 - frame)).toBe(2047);
    expect(await length(2048 - frame)).toBe(-1);
    const full = await server.chat(ask("a".repeat(2047 - frame)));
    expect(full.choices[0]?.finish_reason).toMatch(/length|stop/);
    expect(full.usage.completion_tokens).toBeLessThanOrEqual(1);
  });

  test("errors come before a stream begins", async () => {
    const response = await server.post(CHAT, ask("x", { stream: true, temperature: 200 }));
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toContain("application/json");
  });

  test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""])(
    "content type '%s'",
    async (type) => {
      const response = await server.post(CHAT, JSON.stringify(ask("x")), {
        headers: type === "" ? {} : { "content-type": type },
      });
      expect(response.status).toBe(400);
      const error = await errorOf(response);
      expect([error.param, error.code]).toEqual([null, null]);
    },
  );

  test.each(["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])(
    "content type %s will do",
    async (type) => {
      const response = await server.post(CHAT, ask("x", { max_tokens: 1 }), { headers: { "content-type": type } });
      expect(response.status).toBe(200);
    },
  );

  test.each([
    ["GET", "/nowhere", 404],
    ["POST", "/v1", 404],
    ["GET", "/v1/chat", 404],
    ["GET", "/%ff", 404],
    ["GET", "//", 404],
    ["GET", CHAT, 405],
    ["DELETE", CHAT, 405],
    ["POST", "/v1/models", 405],
    ["DELETE", "/v1/models/tiny", 405],
    ["POST", "/health", 405],
    ["PUT", "/ready", 405],
  ])("%s %s is %d", async (method, path, status) => {
    const response = await fetch(server.url + path, { method });
    expect(response.status).toBe(status);
    const error = await errorOf(response);
    expect([error.param, error.code]).toEqual([null, null]);
    if (status === 405) expect(response.headers.get("allow")).not.toBeNull();
  });

  test.each(["org/model", "org%2Fmodel", "%ff", "..%2f..%2fetc%2fpasswd"])("the unknown model %s", async (name) => {
    const response = await fetch(`${server.url}/v1/models/${name}`);
    expect(response.status).toBe(404);
    expect(await errorOf(response)).toMatchObject({ param: "model", code: "model_not_found" });
  });

  test("a body that is too large, announced or not", async () => {
    const announced = await server.post(CHAT, ask("x".repeat(9_000_000)));
    expect(announced.status).toBe(413);
    expect(await errorOf(announced)).toMatchObject({ param: null, code: null });
    let sent = 0;
    const endless = new ReadableStream({
      pull(controller) {
        sent++;
        controller.enqueue(new Uint8Array(65536).fill(32));
      },
    });
    const streamed = await fetch(server.url + CHAT, {
      method: "POST",
      body: endless,
      headers: { "content-type": "application/json" },
      duplex: "half",
    } as RequestInit);
    expect(streamed.status).toBe(413);
    expect(sent).toBeLessThan(1000);
  });

  test("too many answers at once", async () => {
    const leave = new AbortController();
    const crowd = Array.from({ length: 8 }, () =>
      server.post(
        CHAT,
        { ...LONG, n: 128, stream: true },
        { headers: { "content-type": "application/json" }, signal: leave.signal },
      ),
    );
    await Promise.all(crowd);
    const response = await server.post(CHAT, ask("x"));
    leave.abort();
    expect(response.status).toBe(429);
    expect(await errorOf(response)).toMatchObject({
      type: "rate_limit_error",
      code: "rate_limit_exceeded",
      param: null,
    });
    expect(Number(response.headers.get("retry-after"))).toBeWithin(1, 61);
    await untilIdle();
    expect((await server.chat(ask(FRANCE))).choices[0]?.message.content).toBe("The capital of France is Paris.");
  });

  test("nothing of a bad request is repeated", async () => {
    const secret = "hunter2secret";
    const bad = [
      { messages: secret },
      first({ role: secret, content: "x" }),
      withParameter({ stop: { [secret]: 1 } }),
      withParameter({ model: secret }),
      `{"messages": ${secret}`,
    ];
    for (const body of bad) expect(await (await server.post(CHAT, body)).text()).not.toContain(secret);
    expect(server.log()).not.toContain(secret);
  });

  test("a stranger's host name (DNS rebinding) is refused", async () => {
    const get = (host: string) =>
      rawExchange(server.port, `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    for (const host of [
      "evil.example",
      "evil.example:30000",
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "10.0.0.1",
    ]) {
      expect(await get(host)).toStartWith("HTTP/1.1 403 ");
    }
    for (const host of ["localhost", "LOCALHOST:1", "127.0.0.1:30000", "[::1]:30000", "app.localhost"]) {
      expect(await get(host)).toStartWith("HTTP/1.1 200 ");
    }
  });

  test("broken HTTP is refused and harms nobody", async () => {
    const broken = [
      "nonsense\r\n\r\n",
      `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n`,
      "GET / HTTP/9.9\r\n\r\n",
      "\0\0\0\0",
    ];
    for (const bytes of broken) await rawExchange(server.port, bytes, 200);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });

  test("any JSON at all gets a documented status and a living server", async () => {
    const names = [
      "messages",
      "model",
      "temperature",
      "top_p",
      "top_k",
      "n",
      "stop",
      "seed",
      "logit_bias",
      "stream",
      "stream_options",
      "max_tokens",
      "tools",
      "response_format",
      "__proto__",
    ];
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.string({ unit: "binary" }),
      fc.double(),
      fc.constant("\ud800\0"),
    );
    const messagesOf = fc.array(
      fc.record({
        role: fc.constantFrom("user", "assistant", "system", "tool"),
        content: fc.string({ unit: "binary" }),
      }),
      { maxLength: 3 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 4 }),
        fc.option(messagesOf, { nil: undefined }),
        async (body, list) => {
          const response = await server.post(CHAT, {
            ...body,
            ...(list === undefined ? {} : { messages: list }),
            max_tokens: 2,
          });
          expect([200, 400, 404]).toContain(response.status);
          const text = await response.text();
          if (response.status !== 200) expect(JSON.parse(text)).toHaveProperty("error.message");
        },
      ),
      { numRuns: 500 },
    );
    expect((await server.chat(ask(FRANCE))).choices[0]?.message.content).toBe("The capital of France is Paris.");
    expect(server.log()).not.toContain("internal error");
  });
});

describe("many at once", () => {
  /** Sends a chat request over a socket of its own, with a length that may be longer than what is sent. */
  function openPost(body: string, length = body.length): Socket {
    const socket = connect(server.port, "127.0.0.1");
    const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}`;
    socket.write(`POST ${CHAT} HTTP/1.1\r\n${head}\r\n\r\n${body}`);
    return socket;
  }

  test("answers are those of requests alone, whoever else is served or leaves", async () => {
    const short = goldens.chat.filter(({ finish_reason }) => finish_reason === "stop");
    const leaving = Array.from({ length: 8 }, async (_, i) => {
      const leave = new AbortController();
      setTimeout(() => leave.abort(), 10 * i);
      await server
        .post(
          CHAT,
          { ...LONG, n: 2, stream: i % 2 === 0 },
          { headers: { "content-type": "application/json" }, signal: leave.signal },
        )
        .then((response) => response.text())
        .catch(() => undefined);
    });
    const staying = Array.from({ length: 6 }, () => short)
      .flat()
      .map(async ({ messages, greedy_text }, i) => {
        const text =
          i % 2 === 0
            ? streamedText(await server.stream({ messages }))
            : (await server.chat({ messages })).choices[0]?.message.content;
        expect(text).toBe(greedy_text);
      });
    await Promise.all([...staying, ...leaving]);
    await untilIdle();
  });

  test("a client that leaves ends its generation: streaming, waiting for a whole answer, or not yet begun", async () => {
    for (const stream of [true, false]) {
      for (const afterMs of [0, 5, 300]) {
        await expectEndedEarly(64, async () => {
          const socket = openPost(JSON.stringify({ ...LONG, n: 64, stream }));
          if (afterMs === 300) await eventually(async () => (await server.requests()).running > 0);
          else await Bun.sleep(afterMs);
          socket.destroy();
        });
      }
    }
    expect(server.log()).not.toContain("internal error");
  });

  test("a client that leaves in the middle of its own request is no error of the server", async () => {
    const socket = openPost('{"messages":', 1000);
    await Bun.sleep(50);
    socket.destroy();
    await Bun.sleep(50);
    expect((await server.chat(ask(FRANCE))).choices[0]?.message.content).toBe("The capital of France is Paris.");
    expect(server.log()).not.toContain("internal error");
  });

  test("health answers while long prompts and many answers are computed", async () => {
    const leave = new AbortController();
    const init = { headers: { "content-type": "application/json" }, signal: leave.signal };
    const load = Array.from({ length: 8 }, () =>
      server.post(CHAT, { ...ask("a".repeat(1500)), ignore_eos: true, n: 8 }, init).catch(() => undefined),
    );
    await eventually(async () => (await server.requests()).running > 0);
    // Each answer comes before the load is over: it says that there still is some.
    for (let i = 0; i < 30; i++) {
      const { running, waiting } = await server.requests();
      expect(running + waiting).toBeGreaterThan(0);
    }
    leave.abort();
    await Promise.all(load);
  });

  test("a reader that does not read costs little memory", async () => {
    await server.stream({ ...LONG, n: 4, max_tokens: 100 });
    const before = server.residentMegabytes();
    const socket = openPost(JSON.stringify({ ...LONG, n: 64, stream: true }));
    socket.pause();
    await Bun.sleep(4000);
    // All 64 answers would be some 40 MB of events.
    expect(server.residentMegabytes() - before).toBeLessThan(100);
    socket.destroy();
    await untilIdle();
  });
});

describe("event streams", () => {
  test("silence is filled with comments, and an error in mid-stream is an event", async () => {
    async function* slow() {
      yield { first: 1 };
      await Bun.sleep(120);
      throw new Error("the reason, which is nobody's business");
    }
    const stderr = spyOn(process.stderr, "write").mockImplementation(() => true);
    const response = eventStream(slow(), openAi.events, new AbortController().signal, { pingIntervalMs: 30 });
    const text = await response.text();
    expect(stderr.mock.calls.flat().join("")).toContain("nobody's business");
    stderr.mockRestore();
    expect(text).toStartWith('data: {"first":1}\n\n: ping\n\n: ping\n\n');
    const events = parseEvents(text);
    expect(events[1]).toMatchObject({ error: { type: "server_error", param: null, code: null } });
    expect(text).not.toContain("nobody's business");
  });

  test("events can have names, and no end of a line within them", () => {
    expect(serverSentEvent({ text: "a\u2028b" }, "delta")).toBe('event: delta\ndata: {"text":"a\\u2028b"}\n\n');
  });

  test("a client that left before anything was read ends the generation", async () => {
    let ended = false;
    async function* events() {
      try {
        for (;;) yield {};
      } finally {
        ended = true;
      }
    }
    const client = new AbortController();
    eventStream(events(), openAi.events, client.signal);
    client.abort();
    await eventually(() => ended);
  });
});
