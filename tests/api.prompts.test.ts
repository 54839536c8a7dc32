/**
 * What vLLM's clients may ask of prompts: that long ones are shortened, that each of their tokens is scored, and that nothing is put before
 * them; and the lists of samplers that llama.cpp's clients send.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { CHAT, FRANCE, PARIS, QUESTION } from "./support/chat.ts";
import { refusal, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

type Place = Record<string, { logprob: number; rank: number; decoded_token: string }> | null;

interface Answer {
  choices: { text: string; prompt_logprobs?: Place[]; logprobs: { token_logprobs: (number | null)[] } | null }[];
  prompt_logprobs?: Place[];
  usage: { prompt_tokens: number };
  prompt: string;
  tokens_evaluated: number;
}

async function send(path: string, body: object): Promise<Answer> {
  const response = await server.post(path, body);
  const answer = (await response.json()) as Answer;
  if (response.status !== 200) throw new Error(JSON.stringify(answer));
  return answer;
}

async function idsOf(body: object): Promise<number[]> {
  return ((await (await server.post("/tokenize", body)).json()) as { tokens: number[] }).tokens;
}

describe("truncate_prompt_tokens", () => {
  const text = "one two three four five six seven eight nine ten";

  test("keeps the end of a text, behind what is put before every text, or the beginning", async () => {
    const ids = await idsOf({ content: text });
    const [begin] = await idsOf({ prompt: "" });
    const echoed = async (more: object) => {
      const body = { prompt: text, echo: true, logprobs: 0, max_tokens: 0, ...more };
      const { usage, choices } = await send("/v1/completions", body);
      return [usage.prompt_tokens, choices[0]?.text, choices[0]?.logprobs?.token_logprobs.length];
    };
    const textOf = async (tokens: number[]) =>
      ((await (await server.post("/detokenize", { tokens })).json()) as { content: string }).content;
    expect(begin).toBeDefined();
    expect(await echoed({ truncate_prompt_tokens: 6 })).toEqual([6, await textOf(ids.slice(-5)), 6]);
    expect(await echoed({ truncate_prompt_tokens: 6, truncation_side: "right" })).toEqual([
      6,
      await textOf(ids.slice(0, 5)),
      6,
    ]);
    expect(await echoed({ truncate_prompt_tokens: 6, prompt: ids })).toEqual([6, await textOf(ids.slice(-6)), 6]);
    expect(await echoed({ truncate_prompt_tokens: 500 })).toEqual([ids.length + 1, text, ids.length + 1]);
  });

  test("-1 lets prompts of any length fit", async () => {
    const long = `${"word ".repeat(5000)}${text}`;
    expect((await refusal(server, "/v1/completions", { prompt: long, max_tokens: 1 }))[2]).toBe(
      "context_length_exceeded",
    );
    const shortened = { prompt: long, max_tokens: 1, truncate_prompt_tokens: -1 };
    expect((await send("/v1/completions", shortened)).usage.prompt_tokens).toBe(2047);
    expect((await send("/v1/completions", { ...shortened, max_tokens: 0 })).usage.prompt_tokens).toBe(2048);
    const ids = Array(300_000).fill(70);
    expect((await send("/v1/completions", { ...shortened, prompt: ids })).usage.prompt_tokens).toBe(2047);
    const chat = { messages: [{ role: "user", content: long + QUESTION }], max_tokens: 50 };
    expect((await refusal(server, CHAT, chat))[2]).toBe("context_length_exceeded");
    expect((await send(CHAT, { ...chat, truncate_prompt_tokens: 40 })).usage.prompt_tokens).toBe(40);
    expect((await send(CHAT, { ...chat, truncate_prompt_tokens: -1 })).usage.prompt_tokens).toBe(2047);
    // What is left may be too long still.
    expect((await refusal(server, CHAT, { ...chat, truncate_prompt_tokens: 2048 }))[2]).toBe("context_length_exceeded");
  });

  test.each<[object, string]>([
    [{ truncate_prompt_tokens: 0 }, "truncate_prompt_tokens"],
    [{ truncate_prompt_tokens: -2 }, "truncate_prompt_tokens"],
    [{ truncate_prompt_tokens: 2.5 }, "truncate_prompt_tokens"],
    [{ truncation_side: "middle" }, "truncation_side"],
  ])("%j is refused", async (more, param) => {
    expect((await refusal(server, CHAT, { ...FRANCE, ...more })).slice(0, 2)).toEqual([400, param]);
  });
});

describe("prompt_logprobs", () => {
  test("score every token but the first, beside the likeliest ones, by their ids", async () => {
    const prompt = "The capital of France is Paris.";
    const ids = await idsOf({ prompt });
    const scored = await send("/v1/completions", { prompt, echo: true, logprobs: 0, max_tokens: 0 });
    const expected = scored.choices[0]?.logprobs?.token_logprobs as (number | null)[];
    const { choices } = await send("/v1/completions", { prompt, prompt_logprobs: 20, max_tokens: 3 });
    const places = choices[0]?.prompt_logprobs as Place[];
    expect(choices[0]?.logprobs).toBeNull();
    expect(places).toHaveLength(ids.length);
    expect(places[0]).toBeNull();
    for (const [index, place] of places.entries()) {
      if (place === null) continue;
      const own = place[String(ids[index])];
      expect(own?.logprob).toBeCloseTo(expected[index] as number, 5);
      // Ranks follow from the log-probabilities.
      const others = Object.values(place).sort((a, b) => a.rank - b.rank);
      const top = others.filter(({ rank }) => rank <= 20);
      expect(top.map(({ rank }) => rank)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
      expect(top.every(({ logprob }, i) => i === 0 || logprob <= (top[i - 1]?.logprob as number))).toBe(true);
      expect(others.length).toBe((own?.rank as number) <= 20 ? 20 : 21);
    }
    expect(places.map((place, i) => place?.[String(ids[i])]?.decoded_token).join("")).toBe(prompt);
  });

  test("a token's rank is one more than there are likelier ones, however unlikely it is", async () => {
    // Of all 2,048 tokens in one place each has a rank of its own; asked for one by one here, for some.
    const [begin] = await idsOf({ prompt: "" });
    const asked = Array.from({ length: 64 }, (_, i) => i * 31);
    const places = await Promise.all(
      asked.map(async (id) => {
        const { choices } = await send("/v1/completions", { prompt: [begin, id], prompt_logprobs: 0, max_tokens: 0 });
        const place = choices[0]?.prompt_logprobs?.[1] as NonNullable<Place>;
        expect(Object.keys(place)).toEqual([String(id)]);
        return place[String(id)] as NonNullable<Place>[string];
      }),
    );
    const sorted = places.toSorted((a, b) => b.logprob - a.logprob);
    expect(sorted.every(({ rank }, i) => rank > i && (i === 0 || rank >= (sorted[i - 1]?.rank as number)))).toBe(true);
    expect(sorted.at(-1)?.rank).toBeGreaterThan(64);
    expect(sorted.at(-1)?.rank).toBeLessThanOrEqual(2048);
  });

  test("in a chat they stand beside the choices; log-probabilities of the answer keep their own number", async () => {
    const body = { ...FRANCE, prompt_logprobs: 3, logprobs: true, top_logprobs: 1 };
    const answer = (await send(CHAT, body)) as unknown as {
      prompt_logprobs: Place[];
      choices: { message: { content: string }; logprobs: { content: { top_logprobs: object[] }[] } }[];
      usage: { prompt_tokens: number };
    };
    expect(answer.choices[0]?.message.content).toBe(PARIS);
    expect(answer.prompt_logprobs).toHaveLength(answer.usage.prompt_tokens);
    expect(answer.choices[0]?.logprobs.content.every(({ top_logprobs: top }) => top.length === 1)).toBe(true);
    expect(answer.prompt_logprobs.slice(1).every((place) => [3, 4].includes(Object.keys(place ?? {}).length))).toBe(
      true,
    );
    expect(await refusal(server, CHAT, { ...body, stream: true })).toEqual([400, "prompt_logprobs", "invalid_value"]);
    const legacy = { prompt: "x y z", prompt_logprobs: 5, logprobs: 2, echo: true, max_tokens: 1 };
    const { choices } = (await send("/v1/completions", legacy)) as unknown as {
      choices: { logprobs: { top_logprobs: (object | null)[] }; prompt_logprobs: Place[] }[];
    };
    for (const top of choices[0]?.logprobs.top_logprobs.slice(1) ?? []) {
      expect([2, 3]).toContain(Object.keys(top as object).length);
    }
    expect([5, 6]).toContain(Object.keys(choices[0]?.prompt_logprobs[1] ?? {}).length);
  });
});

test("add_special_tokens: false puts nothing before a text", async () => {
  const count = async (more: object) =>
    (await send("/v1/completions", { prompt: "Hello", max_tokens: 1, ...more })).usage.prompt_tokens;
  const ids = await idsOf({ content: "Hello" });
  expect([await count({}), await count({ add_special_tokens: true })]).toEqual([ids.length + 1, ids.length + 1]);
  expect(await count({ add_special_tokens: false })).toBe(ids.length);
});

test("return_text_in_logprobs gives the texts of the tokens", async () => {
  const body = {
    text: "Hello there",
    return_logprob: true,
    logprob_start_len: 0,
    top_logprobs_num: 2,
    return_text_in_logprobs: true,
    sampling_params: { max_new_tokens: 4 },
  };
  const { text, meta_info: meta } = (await send("/generate", body)) as unknown as {
    text: string;
    meta_info: {
      input_token_logprobs: unknown[][];
      output_token_logprobs: unknown[][];
      output_top_logprobs: unknown[][][];
    };
  };
  expect(meta.output_token_logprobs.map(([, , word]) => word).join("")).toStartWith(text);
  expect(meta.input_token_logprobs.map(([, , word]) => word).join("")).toEndWith("Hello there");
  expect(meta.output_top_logprobs.flat().every(([, , word]) => typeof word === "string")).toBe(true);
});

test("timings_per_token puts the times so far into each chunk of a stream", async () => {
  for (const path of [CHAT, "/v1/completions", "/completion"]) {
    const body = { ...FRANCE, prompt: "The", max_tokens: 6, ignore_eos: true, stream: true, timings_per_token: true };
    const { messages, ...plain } = body;
    const text = await (
      await server.post(path, path === CHAT ? { ...plain, messages, prompt: undefined } : plain)
    ).text();
    const chunks = text
      .split("\n\n")
      .filter((line) => line.startsWith("data: {"))
      .map((line) => JSON.parse(line.slice(6)) as { timings?: { predicted_n: number; prompt_n: number } });
    const counted = chunks.flatMap(({ timings }) => (timings === undefined ? [] : [timings.predicted_n]));
    expect(counted.length).toBeGreaterThan(4);
    expect(counted).toEqual(counted.toSorted((a, b) => a - b));
    expect(counted.at(-1)).toBe(6);
  }
});

describe("samplers", () => {
  const body = {
    prompt: "User: Tell me a story.<|eot_id|>Assistant: The",
    n_predict: 12,
    seed: 3,
    temperature: 1.5,
    top_k: 3,
  };
  const text = async (more: object) =>
    ((await send("/completion", { ...body, ...more })) as unknown as { content: string }).content;

  test("those that a list leaves out are switched off", async () => {
    expect(await text({ samplers: ["temperature", "top_k"] })).toBe(await text({}));
    expect(await text({ samplers: ["top_k"] })).toBe(await text({ temperature: 1 }));
    expect(await text({ samplers: ["temperature"] })).toBe(await text({ top_k: 0 }));
    const penalised = { repeat_penalty: 1.8, presence_penalty: 1.5, min_p: 0.2, typical_p: 0.5, xtc_probability: 1 };
    expect(await text({ ...penalised, samplers: ["temp", "top_k"] })).toBe(await text({}));
    expect(await text({ ...penalised, samplers: ["penalties", "temp", "top_k", "min_p"] })).toBe(
      await text({ ...penalised, typical_p: 1, xtc_probability: 0 }),
    );
  });

  // llama.cpp's own, as its programs send them.
  const OWN = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"];

  test("llama.cpp's own list is answered, by names and by letters, and so is every order of what changes nothing", async () => {
    const tuned = { ...OTHERS, repeat_penalty: 1.1, dry_multiplier: 0.5, top_n_sigma: 3 };
    expect(await text({ samplers: OWN })).toBe(await text({}));
    expect(await text({ ...tuned, samplers: "edskypmxt" })).toBe(await text({ ...tuned, samplers: OWN }));
    expect(await text({ ...tuned, samplers: [...OWN, "adaptive_p"] })).toBe(await text({ ...tuned, samplers: OWN }));
    expect(await text({ samplers: ["top_k", "temperature", ...OWN.slice(0, 3)] })).toBe(await text({}));
    const off = { temperature: 0, top_p: 1, min_p: 0, typical_p: 1, top_k: -1 };
    expect(await text({ ...off, samplers: OWN.toReversed() })).toBe(await text({ temperature: 0, top_k: 0 }));
    const likeliest = { temperature: 0, top_p: 0.5, min_p: 0.1, top_n_sigma: 1 };
    expect(await text({ ...likeliest, samplers: OWN.toReversed() })).toBe(await text({ temperature: 0 }));
  });

  const OTHERS = { top_p: 0.9, min_p: 0.05 };
  test.each<[unknown, string, string, object?]>([
    [["top_p", "top_k"], "samplers", "unsupported_parameter", OTHERS],
    [["temperature", "penalties"], "samplers", "unsupported_parameter", { repeat_penalty: 1.1 }],
    [["dry", "penalties"], "samplers", "unsupported_parameter", { repeat_penalty: 1.1, dry_multiplier: 1 }],
    [
      ["xtc", "temperature", "min_p"],
      "samplers",
      "unsupported_parameter",
      { ...OTHERS, temperature: 0, xtc_probability: 1 },
    ],
    [["temp", "top_k", "temperature"], "samplers", "unsupported_parameter"],
    [["top_k", "top_k"], "samplers", "unsupported_parameter"],
    [["top_k", "mirostat"], "samplers[1]", "invalid_value"],
    [["top_k", 5], "samplers[1]", "invalid_type"],
    [5, "samplers", "invalid_type"],
    ["kfypmt", "samplers", "invalid_value"],
  ])("%j is refused", async (samplers, param, code, more = {}) => {
    expect(await refusal(server, "/completion", { ...body, ...more, samplers })).toEqual([400, param, code]);
  });
});
