/**
 * The API as the AI SDK's provider for OpenAI-compatible servers uses it: texts, streams, tools, errors and keys, against the compiled
 * executable.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { goldens } from "./support/goldens.ts";
import { eventually, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const KEY = "sk-ai-sdk";

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--api-key", KEY, "--log", "off"]);
});
afterAll(() => server.stop());

const provider = (apiKey = KEY) =>
  createOpenAICompatible({ name: "wrinklefree", baseURL: `${server.url}/v1`, apiKey, includeUsage: true });

const FRANCE = goldens.chat[0] as (typeof goldens.chat)[number];
const QUESTION = FRANCE.messages.at(-1)?.content as string;
const COUNTS = { inputTokens: FRANCE.prompt_ids.length, outputTokens: FRANCE.greedy_ids.length };

describe("texts", () => {
  test("generateText: text, reason and usage", async () => {
    const { text, finishReason, usage } = await generateText({ model: provider()("tiny"), prompt: QUESTION });
    expect([text, finishReason]).toEqual([FRANCE.greedy_text, "stop"]);
    expect(usage).toMatchObject(COUNTS);
  });

  test.each(["Show me a rocket as an emoji.", "Say hello in Japanese.", "Tell me a story."])(
    "streamText: %s",
    async (prompt) => {
      const golden = goldens.chat.find(({ messages }) => messages.at(-1)?.content === prompt);
      const result = streamText({ model: provider()("tiny"), prompt });
      let text = "";
      for await (const piece of result.textStream) text += piece;
      expect(text).toBe(golden?.greedy_text as string);
      expect(await result.usage).toMatchObject({ outputTokens: golden?.greedy_ids.length });
    },
  );

  test("its settings arrive: a limit, a seed, stop strings", async () => {
    const story = { model: provider()("tiny"), prompt: "Tell me a story." };
    const short = await generateText({ ...story, maxOutputTokens: 4 });
    expect([short.finishReason, short.usage.outputTokens]).toEqual(["length", 4]);
    const sampled = async (seed: number) =>
      (await generateText({ ...story, temperature: 1.5, seed, maxOutputTokens: 30 })).text;
    expect(await sampled(1)).toBe(await sampled(1));
    expect(await sampled(1)).not.toBe(await sampled(2));
    const stopped = await generateText({ ...story, stopSequences: [" a"] });
    const whole = await generateText(story);
    expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(" a")));
  });

  test("a reader that leaves ends the generation", async () => {
    const leave = new AbortController();
    const { textStream } = streamText({
      model: provider()("tiny"),
      prompt: "Tell me a story.",
      abortSignal: leave.signal,
      providerOptions: { wrinklefree: { ignore_eos: true } },
      onError: () => undefined,
    });
    for await (const _ of textStream) {
      leave.abort();
      break;
    }
    await eventually(async () => (await server.requests()).running === 0);
  });
});

describe("tools", () => {
  const asked: unknown[] = [];
  const request = () => ({
    model: provider()("tiny"),
    prompt: "What is the weather in Oslo?",
    stopWhen: isStepCount(3),
    tools: {
      get_weather: tool({
        description: "The weather in a city",
        inputSchema: jsonSchema<{ city: string }>({
          type: "object",
          properties: { city: { type: "string" } },
          required: ["city"],
        }),
        execute: async (input) => {
          asked.push(input);
          return { temperature: 9, sky: "rainy" };
        },
      }),
    },
  });

  test("the whole round with generateText: call, result, answer", async () => {
    asked.length = 0;
    const { text, steps } = await generateText(request());
    expect(asked).toEqual([{ city: "Oslo" }]);
    expect(steps.map(({ finishReason }) => finishReason)).toEqual(["tool-calls", "stop"]);
    expect(text).toContain("rainy");
  });

  test("the whole round with streamText", async () => {
    asked.length = 0;
    const result = streamText(request());
    let text = "";
    for await (const piece of result.textStream) text += piece;
    expect(asked).toEqual([{ city: "Oslo" }]);
    expect((await result.steps).map(({ finishReason }) => finishReason)).toEqual(["tool-calls", "stop"]);
    expect(text).toContain("rainy");
  });
});

test.each<[string, string, string, number]>([
  ["an unknown model", "gpt-4o", KEY, 404],
  ["a wrong key", "tiny", "sk-wrong", 401],
])("%s is an error with our words in it", async (_, model, key, statusCode) => {
  const answer = generateText({ model: provider(key)(model), prompt: "x", maxRetries: 0 });
  const error = await answer.then(() => undefined).catch((thrown: unknown) => thrown);
  expect(APICallError.isInstance(error)).toBe(true);
  const { message, isRetryable, ...rest } = error as APICallError;
  expect(rest.statusCode).toBe(statusCode);
  expect(isRetryable).toBe(false);
  expect(message).toMatch(/does not exist|Incorrect API key/);
});
