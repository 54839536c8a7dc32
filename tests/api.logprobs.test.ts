/**
 * Log-probabilities and scored prompts: /v1/completions and the logprobs of chat answers, against the goldens of an independent
 * implementation.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import OpenAI from "openai";
import { goldens } from "./support/goldens.ts";
import { parseEvents, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

interface Scores {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

interface Completion {
  id: string;
  object: string;
  choices: { text: string; index: number; logprobs: Scores | null; finish_reason: string | null }[];
  timings: { prompt_n: number };
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number } | null;
}

const BEGIN = "<|begin_of_text|>";

async function complete(body: object): Promise<Completion> {
  const response = await server.post("/v1/completions", body);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
  return JSON.parse(text) as Completion;
}

async function completeStreamed(body: object): Promise<Completion[]> {
  const response = await server.post("/v1/completions", { ...body, stream: true });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
  return parseEvents(text) as Completion[];
}

/** The chunks of one choice, joined to what the whole answer would be. */
function joined(chunks: readonly Completion[], index = 0) {
  const mine = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
  const lists = mine.flatMap(({ logprobs }) => (logprobs === null ? [] : [logprobs]));
  return {
    text: mine.map(({ text }) => text).join(""),
    finish_reason: mine.at(-1)?.finish_reason,
    logprobs: {
      tokens: lists.flatMap((list) => list.tokens),
      token_logprobs: lists.flatMap((list) => list.token_logprobs),
      top_logprobs: lists.flatMap((list) => list.top_logprobs),
      text_offset: lists.flatMap((list) => list.text_offset),
    },
  };
}

/** The bound of the goldens: single positions may lie on a rounding boundary, most do not. */
function expectWithinBound(differences: number[]): void {
  const sorted = differences.toSorted((a, b) => a - b);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(1e-3);
  expect(sorted.at(-1)).toBeLessThan(0.2);
}

describe("scoring a prompt", () => {
  test.each(goldens.logits.map((golden, i) => [i, golden] as const))("golden %d", async (_, golden) => {
    const answer = await complete({ prompt: golden.ids, echo: true, logprobs: 16, max_tokens: 0 });
    const [choice] = answer.choices;
    const scores = choice?.logprobs as Scores;
    expect(scores.tokens.length).toBe(golden.ids.length);
    expect([scores.token_logprobs[0], scores.top_logprobs[0]]).toEqual([null, null]);
    expect(choice?.finish_reason).toBe("length");
    expect(answer.usage).toMatchObject({ prompt_tokens: golden.ids.length, completion_tokens: 0 });
    const chosen: number[] = [];
    const likeliest: number[] = [];
    for (const [i, position] of golden.positions.slice(0, -1).entries()) {
      const wanted = position.next_logprob as number;
      chosen.push(Math.abs((scores.token_logprobs[i + 1] as number) - wanted) / golden.logit_std);
      const best = (position.top_logits[0] as number) - position.logsumexp;
      const top = Object.values(scores.top_logprobs[i + 1] as object) as number[];
      expect(top.length).toBeWithin(16, 18);
      likeliest.push(Math.abs(Math.max(...top) - best) / golden.logit_std);
      expect(Object.values(scores.top_logprobs[i + 1] as object)).toContain(scores.token_logprobs[i + 1]);
    }
    expectWithinBound(chosen);
    expectWithinBound(likeliest);
  });

  test("what lm-evaluation-harness sends: echo with one token, whose score it drops", async () => {
    for (const { ids } of goldens.logits) {
      const scored = await complete({ prompt: ids, echo: true, logprobs: 1, max_tokens: 0 });
      const harness = await complete({
        model: "tiny",
        prompt: [ids],
        temperature: 0,
        max_tokens: 1,
        logprobs: 1,
        seed: 1234,
        echo: true,
      });
      const wanted = scored.choices[0]?.logprobs as Scores;
      const got = harness.choices[0]?.logprobs as Scores;
      for (const list of Object.values(got)) expect(list.length).toBe(ids.length + 1);
      expect(got.token_logprobs.slice(0, -1)).toEqual(wanted.token_logprobs);
      const last = got.top_logprobs.at(-1) as Record<string, number>;
      expect(Math.max(...Object.values(last))).toBe(got.token_logprobs.at(-1) as number);
    }
  });

  test("the end of the text is scored like any token", async () => {
    const golden = goldens.chat.find(({ finish_reason }) => finish_reason === "stop");
    const ids = [...(golden?.prompt_ids ?? []), ...(golden?.greedy_ids.slice(0, -1) ?? [])];
    const answer = await complete({ prompt: ids, max_tokens: 5, logprobs: 0, echo: true });
    expect(answer.choices[0]?.finish_reason).toBe("stop");
    expect(answer.choices[0]?.logprobs?.tokens.length).toBe(ids.length + 1);
  });

  test("the token that ended the answer has scores and no text, as the text has none of it", async () => {
    const golden = goldens.chat.find(({ finish_reason }) => finish_reason === "stop");
    const prompt = golden?.prompt_ids as number[];
    for (const echo of [false, true]) {
      const request = { prompt, max_tokens: 100, logprobs: 2, echo };
      for (const [choice] of [(await complete(request)).choices, [joined(await completeStreamed(request))]]) {
        const { text, logprobs, finish_reason } = choice as Completion["choices"][number];
        const { tokens, token_logprobs, text_offset } = logprobs as Scores;
        expect(finish_reason).toBe("stop");
        expect(tokens.join("")).toBe(text);
        expect(tokens.length).toBe((echo ? prompt.length : 0) + (golden?.greedy_ids.length as number));
        expect([tokens.at(-1), text_offset.at(-1)]).toEqual(["", [...text].length]);
        expect(token_logprobs.at(-1)).toBeNumber();
        for (const [i, offset] of text_offset.entries()) {
          expect([...text].slice(offset).join("")).toStartWith(tokens[i] as string);
        }
      }
    }
  });

  test("texts, ids and arrays of both are the same prompts", async () => {
    const text = "The capital of France is";
    const { tokens } = (await (await server.post("/tokenize", { prompt: text })).json()) as { tokens: number[] };
    const request = { max_tokens: 4, echo: true, logprobs: 2 };
    const fromText = await complete({ ...request, prompt: text });
    const fromIds = await complete({ ...request, prompt: tokens });
    expect(fromIds.choices[0]?.logprobs?.tokens).toEqual(fromText.choices[0]?.logprobs?.tokens as string[]);
    expect(fromIds.choices[0]?.logprobs?.token_logprobs).toEqual(
      fromText.choices[0]?.logprobs?.token_logprobs as number[],
    );
    expect(fromText.choices[0]?.text).toStartWith(text);
    expect(fromIds.choices[0]?.text).toBe(BEGIN + fromText.choices[0]?.text);
    const both = await complete({ ...request, prompt: [text, "Paris is"] });
    expect(both.choices.map(({ index }) => index)).toEqual([0, 1]);
    expect(both.choices[0]).toEqual(fromText.choices[0] as never);
    const arrays = await complete({ ...request, prompt: [tokens, tokens] });
    expect(arrays.choices[1]).toEqual({ ...(fromIds.choices[0] as object), index: 1 } as never);
    expect(arrays.usage?.prompt_tokens).toBe(2 * tokens.length);
    expect(arrays.timings.prompt_n).toBe(2 * tokens.length);
  });

  test("a text that spells its beginning gets no second one", async () => {
    const plain = await complete({ prompt: "Hello", max_tokens: 0, echo: true });
    const spelled = await complete({ prompt: `${BEGIN}Hello`, max_tokens: 0, echo: true });
    expect(spelled.usage).toEqual(plain.usage as never);
    expect([plain.choices[0]?.text, spelled.choices[0]?.text]).toEqual(["Hello", `${BEGIN}Hello`]);
  });

  test("offsets count characters, tokens spell the text", async () => {
    const prompt = "Zoë: 🚀 日本 x";
    const answer = await complete({ prompt, max_tokens: 8, echo: true, logprobs: 1 });
    const { text, logprobs } = answer.choices[0] as { text: string; logprobs: Scores };
    const characters = Array.from(text);
    logprobs.tokens.forEach((token, i) => {
      if (token.startsWith("bytes:") || token.startsWith("<|")) return;
      const offset = logprobs.text_offset[i] as number;
      expect(characters.slice(offset, offset + Array.from(token).length).join("")).toBe(token);
    });
    expect(logprobs.tokens.some((token) => /^bytes:(\\x[0-9a-f]{2})+$/.test(token))).toBe(true);
  });
});

describe("completions", () => {
  test("the text goes on as the chat does", async () => {
    for (const golden of goldens.chat.slice(0, 6)) {
      const limit = { max_tokens: golden.greedy_ids.length };
      const fromIds = await complete({ prompt: golden.prompt_ids, ...limit });
      expect(fromIds.choices[0]).toEqual({
        text: golden.greedy_text,
        index: 0,
        logprobs: null,
        finish_reason: golden.finish_reason,
      });
      const fromText = await complete({ prompt: golden.prompt, ...limit });
      expect(fromText.choices).toEqual(fromIds.choices);
      expect(fromText.usage).toEqual(fromIds.usage as never);
    }
  });

  test("a stream joined is the whole answer: text, scores, reasons and usage", async () => {
    const requests = [
      { prompt: "The capital of France is", max_tokens: 12, logprobs: 3, echo: true },
      { prompt: "The capital of France is", max_tokens: 12, logprobs: 0 },
      { prompt: ["Once upon a time", "🚀"], max_tokens: 30, n: 2, temperature: 1.5, seed: 5, logprobs: 2, echo: true },
      { prompt: "Once", max_tokens: 0, echo: true, logprobs: 1 },
      { prompt: "Once", max_tokens: 40, stop: ["e", "a b"], logprobs: 1 },
    ];
    for (const request of requests) {
      const whole = await complete(request);
      const chunks = await completeStreamed({ ...request, stream_options: { include_usage: true } });
      for (const choice of whole.choices) {
        const { text, finish_reason, logprobs } = choice;
        expect(joined(chunks, choice.index)).toEqual({ text, finish_reason, logprobs: logprobs as Scores });
      }
      // How much of it the prefix cache held may differ.
      const { usage } = chunks.at(-1) as Completion;
      expect(usage?.total_tokens).toBe(whole.usage?.total_tokens as number);
      expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    }
  });

  test("echo without scores comes first", async () => {
    const chunks = await completeStreamed({ prompt: "Hello", max_tokens: 2, echo: true });
    expect(chunks[0]?.choices[0]).toEqual({ text: "Hello", index: 0, logprobs: null, finish_reason: null });
  });

  test("the SDK completes and streams", async () => {
    const request = { model: "tiny", prompt: "The capital of France is", max_tokens: 6, logprobs: 2 };
    const whole = await client.completions.create(request);
    expect(whole.object).toBe("text_completion");
    expect(whole.choices[0]?.logprobs?.tokens?.join("")).toStartWith(whole.choices[0]?.text as string);
    let text = "";
    for await (const chunk of await client.completions.create({ ...request, stream: true })) {
      text += chunk.choices[0]?.text ?? "";
    }
    expect(text).toBe(whole.choices[0]?.text as string);
  });

  test.each<[string, object, string, string | null]>([
    ["prompt missing", {}, "prompt", "missing_required_parameter"],
    ["prompt null", { prompt: null }, "prompt", "invalid_type"],
    ["prompt a number", { prompt: 5 }, "prompt", "invalid_type"],
    ["prompt empty", { prompt: [] }, "prompt", "empty_array"],
    ["a prompt of no ids", { prompt: [[]] }, "prompt[0]", "empty_array"],
    ["an id outside of the vocabulary", { prompt: [1, 2048] }, "prompt[1]", "integer_above_max_value"],
    ["a negative id", { prompt: [[1], [-1]] }, "prompt[1][0]", "integer_below_min_value"],
    ["an id and a text", { prompt: [1, "x"] }, "prompt[1]", "invalid_type"],
    ["a text and an id", { prompt: ["x", 1] }, "prompt[1]", "invalid_type"],
    ["too many prompts", { prompt: Array(257).fill("x") }, "prompt", "array_above_max_length"],
    ["logprobs 21", { prompt: "x", logprobs: 21 }, "logprobs", "integer_above_max_value"],
    ["logprobs true", { prompt: "x", logprobs: true }, "logprobs", "invalid_type"],
    ["echo a number", { prompt: "x", echo: 1 }, "echo", "invalid_type"],
    ["max_tokens -1", { prompt: "x", max_tokens: -1 }, "max_tokens", "integer_below_min_value"],
    ["suffix", { prompt: "x", suffix: "y" }, "suffix", "unsupported_parameter"],
    ["best_of over n", { prompt: "x", best_of: 2 }, "best_of", "unsupported_parameter"],
    [
      "prompt_logprobs of a stream",
      { prompt: "x", prompt_logprobs: 1, stream: true },
      "prompt_logprobs",
      "invalid_value",
    ],
    ["too many prompt_logprobs", { prompt: "x", prompt_logprobs: 21 }, "prompt_logprobs", "integer_above_max_value"],
    ["a grammar", { prompt: "x", grammar: "root ::= x" }, "grammar", "unsupported_parameter"],
    ["a prompt that is too long", { prompt: "a".repeat(5000) }, "prompt", "context_length_exceeded"],
    ["ids that are too many", { prompt: Array(2048).fill(5) }, "prompt", "context_length_exceeded"],
  ])("%s is a 400", async (_, body, param, code) => {
    const response = await server.post("/v1/completions", body);
    const { error } = (await response.json()) as { error: { param: string; code: string } };
    expect([response.status, error.param, error.code]).toEqual([400, param, code as string]);
  });

  test("best_of equal to n, an empty suffix, and a context filled by a prompt that is only scored", async () => {
    await complete({ prompt: "x", max_tokens: 1, best_of: 2, n: 2, suffix: "" });
    const full = await complete({ prompt: Array(2048).fill(5), max_tokens: 0, echo: true, logprobs: 0 });
    expect(full.choices[0]?.logprobs?.tokens.length).toBe(2048);
  });
});

describe("chat", () => {
  interface Logprob {
    token: string;
    logprob: number;
    bytes: number[];
    top_logprobs: { token: string; logprob: number; bytes: number[] }[];
  }
  const ask = (content: string, more: object = {}) => ({
    model: "tiny",
    messages: [{ role: "user" as const, content }],
    logprobs: true,
    top_logprobs: 5,
    ...more,
  });
  const textOf = (tokens: readonly { bytes: number[] }[]) =>
    new TextDecoder().decode(Uint8Array.from(tokens.flatMap(({ bytes }) => bytes)));

  test.each([
    "What is the capital of France?",
    "Show me a rocket as an emoji.",
    "Say hello in Japanese.",
    "Tell me a story.",
  ])("the tokens of the answer, whole and streamed: %s", async (content) => {
    const golden = goldens.chat.find(({ messages }) => messages.at(-1)?.content === content);
    const whole = await client.chat.completions.create(ask(content));
    const tokens = whole.choices[0]?.logprobs?.content as Logprob[];
    expect(textOf(tokens)).toBe(golden?.greedy_text as string);
    expect(tokens.length).toBe((golden?.greedy_ids.length ?? 0) - (golden?.finish_reason === "stop" ? 1 : 0));
    for (const { token, logprob, bytes, top_logprobs } of tokens) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top_logprobs.length).toBe(5);
      // Greedy: the chosen token is the likeliest one.
      expect({ token, logprob, bytes }).toEqual(top_logprobs[0] as never);
      for (let i = 1; i < 5; i++) {
        expect(top_logprobs[i]?.logprob).toBeLessThanOrEqual(top_logprobs[i - 1]?.logprob as number);
      }
    }
    const streamed: Logprob[] = [];
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...ask(content), stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
      streamed.push(...((chunk.choices[0]?.logprobs?.content ?? []) as Logprob[]));
      // A token never runs ahead of the text.
      expect(text).toStartWith(textOf(streamed));
    }
    expect(streamed).toEqual(tokens);
  });

  test.each(goldens.logits.map((golden, i) => [i, golden] as const))("those of golden %d", async (i, golden) => {
    const { messages, prompt_ids } = goldens.chat[i] as (typeof goldens.chat)[number];
    expect(golden.ids.slice(0, prompt_ids.length)).toEqual(prompt_ids);
    const positions = golden.positions.slice(prompt_ids.length - 1, -1);
    const answer = await client.chat.completions.create({
      model: "tiny",
      messages: messages as OpenAI.Chat.ChatCompletionMessageParam[],
      logprobs: true,
      top_logprobs: 1,
      max_tokens: positions.length,
    });
    const tokens = answer.choices[0]?.logprobs?.content as Logprob[];
    // The token that ends the text is none of its content.
    expect(positions.length - tokens.length).toBeWithin(0, 2);
    const differencesOf = (got: (token: Logprob) => number, wanted: (position: (typeof positions)[number]) => number) =>
      tokens.map((token, place) => {
        const position = positions[place] as (typeof positions)[number];
        return Math.abs(got(token) - wanted(position)) / golden.logit_std;
      });
    expectWithinBound(
      differencesOf(
        ({ logprob }) => logprob,
        ({ next_logprob }) => next_logprob as number,
      ),
    );
    expectWithinBound(
      differencesOf(
        ({ top_logprobs }) => top_logprobs[0]?.logprob as number,
        ({ top_logits, logsumexp }) => (top_logits[0] as number) - logsumexp,
      ),
    );
  });

  test("log-probabilities are those of the model, whatever the sampling makes of them", async () => {
    const request = ask("Tell me a story.", { max_tokens: 1, top_logprobs: 20 });
    const plain = (await server.chat(request)).choices[0] as unknown as { logprobs: { content: Logprob[] } };
    const bent = (await server.chat({ ...request, temperature: 2, top_p: 0.9, repetition_penalty: 2, seed: 1 }))
      .choices[0] as unknown as { logprobs: { content: Logprob[] } };
    expect(bent.logprobs.content[0]?.top_logprobs).toEqual(plain.logprobs.content[0]?.top_logprobs as never);
  });

  test("no tokens of a stop string, or of what may become one, ever leak", async () => {
    const story = goldens.chat.find(({ messages }) => messages.at(-1)?.content === "Tell me a story.")
      ?.greedy_text as string;
    const piece = fc
      .tuple(fc.nat(story.length - 1), fc.integer({ min: 1, max: 12 }))
      .map(([at, length]) => story.slice(at, at + length));
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 3 }), async (stop) => {
        const wanted = story.slice(0, Math.min(...stop.map((word) => story.indexOf(word))));
        const chunks = await server.stream(ask("Tell me a story.", { stop }));
        let text = "";
        const tokens: Logprob[] = [];
        for (const chunk of chunks) {
          const choice = chunk.choices[0] as unknown as {
            delta: { content?: string };
            logprobs: { content: Logprob[] } | null;
          };
          text += choice.delta.content ?? "";
          tokens.push(...(choice.logprobs?.content ?? []));
          expect(text).toStartWith(textOf(tokens));
        }
        expect(text).toBe(wanted);
        expect(wanted).toStartWith(textOf(tokens));
      }),
      { numRuns: 25 },
    );
  });

  test("without logprobs there are none", async () => {
    const answer = await client.chat.completions.create(ask("Hello", { logprobs: false, top_logprobs: 0 }));
    expect(answer.choices[0]?.logprobs).toBeNull();
  });
});
