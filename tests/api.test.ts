/**
 * The contract of chat over HTTP, against the compiled executable with the demo model: the goldens, the shapes of answers, and what each
 * parameter does.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ask, CHAT, FRANCE, QUESTION } from "./support/chat.ts";
import { goldens } from "./support/goldens.ts";
import { startServer, streamedText, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

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
    const answer = await server.chat(ask(QUESTION, { model: "tiny", user: "somebody", unknown_field: [1] }));
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
    const chunks = await server.stream(FRANCE);
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
    const chunks = await server.stream(ask(QUESTION, { stream_options: { include_usage: true } }));
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 14, completion_tokens: 9, total_tokens: 23 },
    });
    for (const chunk of chunks.slice(0, -1)) expect(chunk.usage).toBeNull();
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("stop");
  });

  test("headers of a stream", async () => {
    const response = await server.post(CHAT, ask(QUESTION, { stream: true }));
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    await response.text();
  });

  test("models", async () => {
    const list = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: object[] };
    expect(list).toMatchObject({ object: "list", data: [{ id: "tiny", object: "model", max_model_len: 2048 }] });
    expect(list.data[0]).toMatchObject({ root: "tiny", meta: { n_params: 4464384, is_demo: true, pooling: null } });
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
        { role: "user", content: QUESTION },
        { role: "assistant", content: "The capital of France" },
      ],
    });
    expect(answer.choices[0]?.message.content).toBe(" is Paris.");
  });

  test("max_tokens and max_completion_tokens", async () => {
    for (const name of ["max_tokens", "max_completion_tokens"]) {
      const answer = await server.chat(ask(QUESTION, { [name]: 3 }));
      expect(answer.choices[0]?.finish_reason).toBe("length");
      expect(answer.usage.completion_tokens).toBe(3);
      expect("The capital of France is Paris.").toStartWith(answer.choices[0]?.message.content as string);
    }
    expect((await server.chat(ask(QUESTION, { max_tokens: 1_000_000_000_000 }))).choices[0]?.finish_reason).toBe(
      "stop",
    );
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
    const stopped = await server.chat(ask(QUESTION, { stop_token_ids: [period] }));
    expect(stopped.choices[0]).toMatchObject({
      message: { content: "The capital of France is Paris" },
      finish_reason: "stop",
    });
    const endless = await server.chat(ask(QUESTION, { ignore_eos: true, max_tokens: 30 }));
    expect(endless.choices[0]?.finish_reason).toBe("length");
    expect(endless.usage.completion_tokens).toBe(30);
    const longer = await server.chat(ask(QUESTION, { min_tokens: 20, max_tokens: 40 }));
    expect(longer.usage.completion_tokens).toBeGreaterThanOrEqual(20);
  });

  test("logit_bias forbids and forces tokens", async () => {
    const paris = goldens.chat[0]?.greedy_ids[6] as number;
    expect(await text(ask(QUESTION, { logit_bias: { [paris]: -100 } }))).not.toContain("Paris");
    expect(await text(ask(QUESTION, { logit_bias: { 13: 100 }, max_tokens: 3 }))).toBe("...");
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
    // A top_p that switches it off samples nothing.
    expect(await text(ask("Tell me a story.", { top_p: 1 }))).toBe(story as string);
    const texts = new Set<string>();
    for (let seed = 0; seed < 8; seed++)
      texts.add(await text(ask("Tell me a story.", { top_p: 0.99, logit_bias: {}, seed, max_tokens: 60 })));
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
    expect(await text(ask(QUESTION, nulls))).toBe("The capital of France is Paris.");
  });
});
