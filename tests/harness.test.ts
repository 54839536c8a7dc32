/**
 * What lm-evaluation-harness sends and reads, as its `local-completions` and `local-chat-completions` have it: scores of continuations
 * by ids and by text, batches, rolling windows, generation until strings, chats whose messages have a field more.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { goldens } from "./support/goldens.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

const SEED = 1234;

/** Without OPENAI_API_KEY the key is empty, and the header is sent all the same. */
const headers = { Authorization: "Bearer ", "Content-Type": "application/json" };

interface Choice {
  index: number;
  text: string;
  message: { content: string };
  logprobs: { token_logprobs: (number | null)[]; top_logprobs: (Record<string, number> | null)[] };
}

async function post(path: string, body: object): Promise<Choice[]> {
  const response = await fetch(`${server.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${answer}`);
  return (JSON.parse(answer).choices as Choice[]).toSorted((a, b) => a.index - b.index);
}

/** The request for scores, and what the harness makes of the answer: of each prompt, what follows its first `contexts` tokens. */
async function loglikelihood(prompt: unknown, contexts: number[]): Promise<[number, boolean][]> {
  const request = { model: "tiny", prompt, temperature: 0, max_tokens: 1, logprobs: 1, seed: SEED, echo: true };
  const choices = await post("/v1/completions", request);
  return contexts.map((context, index) => {
    const { token_logprobs, top_logprobs } = (choices[index] as Choice).logprobs;
    const scores = token_logprobs.slice(context, -1) as number[];
    const tops = top_logprobs.slice(context, -1) as Record<string, number>[];
    const isGreedy = scores.every((score, i) => score === Math.max(...Object.values(tops[i] as object)));
    return [scores.reduce((sum, score) => sum + score, 0), isGreedy];
  });
}

const chats = goldens.chat.filter(({ finish_reason }) => finish_reason === "stop").slice(0, 4);

describe("local-completions", () => {
  test("scores continuations by their ids: the model's own are greedy, others are not and less likely", async () => {
    for (const { prompt_ids, greedy_ids } of chats) {
      const [own] = await loglikelihood([[...prompt_ids, ...greedy_ids]], [prompt_ids.length]);
      const other = greedy_ids.with(0, greedy_ids[0] === 5 ? 6 : 5);
      const [changed] = await loglikelihood([[...prompt_ids, ...other]], [prompt_ids.length]);
      expect([own?.[1], changed?.[1]]).toEqual([true, false]);
      expect(changed?.[0]).toBeLessThan(own?.[0] as number);
    }
  });

  test("scores a batch as it scores one after the other", async () => {
    const prompts = chats.map(({ prompt_ids, greedy_ids }) => [...prompt_ids, ...greedy_ids]);
    const contexts = chats.map(({ prompt_ids }) => prompt_ids.length);
    const alone: [number, boolean][] = [];
    for (const [index, prompt] of prompts.entries()) {
      alone.push(...(await loglikelihood([prompt], [contexts[index] as number])));
    }
    expect(await loglikelihood(prompts, contexts)).toEqual(alone);
  });

  test("scores goldens as the independent implementation does", async () => {
    for (const { ids, positions, logit_std } of goldens.logits) {
      const [found] = await loglikelihood([ids], [1]);
      const wanted = positions.slice(0, -1).reduce((sum, { next_logprob }) => sum + (next_logprob as number), 0);
      expect(Math.abs((found?.[0] as number) - wanted) / ids.length / logit_std).toBeLessThan(0.01);
    }
  });

  test("scores a text whose tokens it was not given, alone as a string and in a batch as a list", async () => {
    const { prompt, prompt_ids, greedy_text } = chats[0] as (typeof chats)[0];
    const tokenized = await server.post("/tokenize", { content: prompt + greedy_text });
    const { tokens } = (await tokenized.json()) as { tokens: number[] };
    const ids = await loglikelihood([tokens], [prompt_ids.length]);
    expect(await loglikelihood(prompt + greedy_text, [prompt_ids.length])).toEqual(ids);
    expect(await loglikelihood([prompt + greedy_text], [prompt_ids.length])).toEqual(ids);
  });

  test("takes the longest prompt that it sends: the context less the one token that it asks for", async () => {
    const ids = Array.from({ length: 2047 }, (_, index) => (index === 0 ? 2040 : 300 + (index % 7)));
    const [found] = await loglikelihood([ids], [2000]);
    expect(found?.[0]).toBeLessThan(0);
  });

  test("generates until a string, from ids and from texts, in batches", async () => {
    const request = { model: "tiny", max_tokens: 64, temperature: 0, seed: SEED };
    const wanted = chats.map(({ greedy_text }) => (greedy_text.split(".")[0] as string).slice(0, 400));
    const stop = [".", "<|eot_id|>"];
    const texts = async (prompt: unknown, more: object = {}) =>
      (await post("/v1/completions", { ...request, prompt, stop, ...more })).map(({ text }) => text);
    expect(
      await texts(
        chats.map(({ prompt_ids }) => prompt_ids),
        { max_tokens: 256 },
      ),
    ).toEqual(wanted);
    expect(
      await texts(
        chats.map(({ prompt }) => prompt),
        { max_tokens: 256 },
      ),
    ).toEqual(wanted);
    expect(await texts([chats[0]?.prompt_ids])).toEqual([wanted[0] as string]);
    // Tasks may have none, or more than OpenAI's four, and further arguments of their own.
    expect((await post("/v1/completions", { ...request, prompt: "a", stop: [] }))[0]?.text).toBeString();
    expect(await texts([chats[0]?.prompt_ids], { stop: [..."§¶†‡."], top_p: 1, do_sample: false })).toEqual([
      wanted[0] as string,
    ]);
  });
});

describe("local-chat-completions", () => {
  test("answers messages that have a type, until a string", async () => {
    for (const { messages, greedy_text } of chats) {
      const request = {
        messages: messages.map((message) => ({ ...message, type: "text" })),
        model: "tiny",
        max_tokens: 256,
        temperature: 0,
        stop: [".", "\n\n"],
        seed: SEED,
      };
      const [choice] = await post("/v1/chat/completions", request);
      expect(choice?.message.content).toBe(greedy_text.split(/\.|\n\n/)[0] as string);
      const [whole] = await post("/v1/chat/completions", { ...request, stop: [] });
      expect(whole?.message.content).toBe(greedy_text);
    }
  });
});
