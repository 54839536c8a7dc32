/**
 * The parameters that llama.cpp, vLLM and SGLang have beside OpenAI's: what each does to an answer, told by its definition. Biases that outweigh
 * the model's own logits make the tests independent of what the model knows.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { CHAT, FRANCE, PARIS } from "./support/chat.ts";
import { refusal, startServer, streamedText, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

interface Completion {
  content: string;
  tokens: number[];
  stop_type: string;
  stopping_word: string;
  completion_probabilities: { id: number; logprob: number; top_logprobs: { id: number; logprob: number }[] }[];
}

/** Continues a prompt in llama.cpp's shape, which gives ids. */
async function complete(body: object): Promise<Completion> {
  const response = await server.post("/completion", { return_tokens: true, ...body });
  const answer = (await response.json()) as Completion;
  if (response.status !== 200) throw new Error(JSON.stringify(answer));
  return answer;
}

async function idsOf(text: string): Promise<number[]> {
  return ((await (await server.post("/tokenize", { content: text })).json()) as { tokens: number[] }).tokens;
}

async function idOf(text: string): Promise<number> {
  const ids = await idsOf(text);
  expect(ids).toHaveLength(1);
  return ids[0] as number;
}

/** The 20 likeliest tokens after a prompt, with their probabilities among themselves. */
async function likeliest(prompt: string): Promise<{ id: number; p: number }[]> {
  const { completion_probabilities: places } = await complete({ prompt, n_predict: 1, n_probs: 20, temperature: 0 });
  const top = places[0]?.top_logprobs ?? [];
  expect(top).toHaveLength(20);
  const total = top.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
  return top.map(({ id, logprob }) => ({ id, p: Math.exp(logprob) / total }));
}

/** What is drawn first with several seeds. */
async function draws(body: object, seeds = 40): Promise<Set<number>> {
  const answers = Array.from({ length: seeds }, (_, seed) => complete({ n_predict: 1, ...body, seed }));
  return new Set((await Promise.all(answers)).map(({ tokens }) => tokens[0] as number));
}

const PROMPT = "User: Tell me a story.<|eot_id|>Assistant: The";

describe("truncation", () => {
  test("typical_p keeps the tokens whose information is nearest to the entropy", async () => {
    const top = await likeliest(PROMPT);
    const entropy = top.reduce((sum, { p }) => sum - p * Math.log(p), 0);
    const near = top
      .map(({ id, p }) => ({ id, p, distance: Math.abs(-Math.log(p) - entropy) }))
      .sort((a, b) => a.distance - b.distance);
    for (const typicalP of [0.001, 0.3, 0.6]) {
      let sum = 0;
      const kept = near.filter(({ p }) => {
        const isKept = sum <= typicalP;
        sum += p;
        return isKept;
      });
      const drawn = await draws({ prompt: PROMPT, temperature: 1, top_k: 20, typical_p: typicalP });
      const ids = kept.map(({ id }) => id);
      expect([...drawn].filter((id) => !ids.includes(id))).toEqual([]);
      if (typicalP < 0.01) expect([...drawn]).toEqual([near[0]?.id as number]);
    }
    const two = near.slice(0, 2).map(({ id }) => id);
    const drawn = await draws({ prompt: PROMPT, temperature: 1, top_k: 20, typical_p: 0.001, min_keep: 2 });
    expect([...drawn].filter((id) => !two.includes(id))).toEqual([]);
    expect(drawn.size).toBe(2);
  });

  test("xtc excludes the top choices but the last of them, as often as its probability says", async () => {
    const top = await likeliest(PROMPT);
    const threshold = ((top[2]?.p as number) + (top[3]?.p as number)) / 2;
    const body = { prompt: PROMPT, temperature: 1, top_k: 20, xtc_threshold: threshold };
    const excluded = top.slice(0, 2).map(({ id }) => id);
    const always = await draws({ ...body, xtc_probability: 1 });
    expect(excluded.filter((id) => always.has(id))).toEqual([]);
    expect(always.has(top[2]?.id as number)).toBe(true);
    expect(excluded.some((id) => always.has(id))).toBe(false);
    const sometimes = await draws({ ...body, xtc_probability: 0.5 });
    expect(excluded.some((id) => sometimes.has(id))).toBe(true);
    const never = { prompt: PROMPT, temperature: 1, top_k: 20, seed: 7, n_predict: 8 };
    expect((await complete({ ...never, xtc_threshold: 0.1 })).tokens).toEqual((await complete(never)).tokens);
    const kept = await draws({ ...body, xtc_probability: 1, min_keep: 20 });
    expect(excluded.some((id) => kept.has(id))).toBe(true);
  });

  test("top_n_sigma leaves what stands out: little of it, the likeliest token only; much of it, all", async () => {
    const [first] = await likeliest(PROMPT);
    expect([...(await draws({ prompt: PROMPT, temperature: 2, top_n_sigma: 0.001 }))]).toEqual([first?.id as number]);
    const plain = { prompt: PROMPT, temperature: 2, seed: 5, n_predict: 12 };
    expect((await complete({ ...plain, top_n_sigma: 1000 })).tokens).toEqual((await complete(plain)).tokens);
    expect((await complete({ ...plain, top_n_sigma: -1 })).tokens).toEqual((await complete(plain)).tokens);
  });

  test("a temperature that comes last in llama.cpp's list does not change what they leave", async () => {
    const top = await likeliest(PROMPT);
    // Within the first three tokens by the model's own probabilities, and beyond them by those of a higher temperature.
    const topP = top.slice(0, 2).reduce((sum, { p }) => sum + p, (top[2]?.p as number) / 2);
    const minP = ((top[2]?.p as number) + (top[3]?.p as number)) / 2 / (top[0]?.p as number);
    const body = { prompt: PROMPT, temperature: 2, top_k: 20 };
    const three = top.slice(0, 3).map(({ id }) => id);
    for (const truncation of [{ top_p: topP }, { min_p: minP }]) {
      const late = await draws({ ...body, ...truncation, samplers: ["top_k", "top_p", "min_p", "temperature"] });
      expect([...late].sort()).toEqual(three.toSorted());
      for (const samplers of [undefined, ["top_k", "temperature", "top_p", "min_p"]]) {
        const early = await draws({ ...body, ...truncation, samplers });
        expect([...early].some((id) => !three.includes(id))).toBe(true);
      }
    }
  });

  test("values that say off leave an answer without a temperature the likeliest one", async () => {
    const [first] = await likeliest(PROMPT);
    const off = { top_p: 1, top_k: 0, min_p: 0, typical_p: 1, top_n_sigma: -1, xtc_probability: 0 };
    for (const value of [...Object.entries(off).map(([name, value]) => ({ [name]: value })), { top_k: -1 }, off]) {
      expect([...(await draws({ prompt: PROMPT, ...value }, 30))]).toEqual([first?.id as number]);
    }
  });

  test("without a temperature they mean one of 1, as top_p does", async () => {
    for (const truncation of [{ typical_p: 0.9 }, { xtc_probability: 0.5 }, { top_n_sigma: 5 }]) {
      expect((await draws({ prompt: PROMPT, ...truncation }, 60)).size).toBeGreaterThan(1);
    }
  });
});

describe("penalties", () => {
  test("repeat_last_n says how far they look back", async () => {
    const [far, near, other] = [await idOf("q"), await idOf("w"), await idOf("z")];
    const prompt = [far, near, near];
    const pick = async (more: object) =>
      (
        await complete({
          prompt,
          n_predict: 1,
          logit_bias: [
            [far, 80],
            [other, 40],
          ],
          repeat_penalty: 1000,
          ...more,
        })
      ).tokens;
    expect(await pick({})).toEqual([other]);
    expect(await pick({ repeat_last_n: -1 })).toEqual([other]);
    expect(await pick({ repeat_last_n: 3 })).toEqual([other]);
    expect(await pick({ repeat_last_n: 2 })).toEqual([far]);
    expect(await pick({ repeat_last_n: 0 })).toEqual([far]);
    // The answer's own tokens leave the window as well.
    const body = {
      prompt: [near],
      n_predict: 4,
      logit_bias: [
        [far, 90],
        [other, 60],
      ],
      repeat_penalty: 1000,
    };
    expect((await complete({ ...body, repeat_last_n: 1 })).tokens).toEqual([far, other, far, other]);
    const whole = (await complete(body)).tokens;
    expect(whole.slice(0, 2)).toEqual([far, other]);
    expect(whole[2]).not.toBe(far);
  });

  test("dry penalises what goes on with a repetition, beyond the allowed length and up to a breaker", async () => {
    const [x, y, z, next] = [await idOf("x"), await idOf("y"), await idOf("z"), await idOf("w")];
    const prompt = [x, y, z, next, x, y, z];
    const repeats = async (more: object) => {
      const body = { prompt, n_predict: 1, logit_bias: [[next, 90]], dry_multiplier: 100, ...more };
      return (await complete(body)).tokens[0] === next;
    };
    expect(await repeats({ dry_multiplier: 0 })).toBe(true);
    expect(await repeats({})).toBe(false);
    expect(await repeats({ dry_allowed_length: 3 })).toBe(false);
    expect(await repeats({ dry_allowed_length: 4 })).toBe(true);
    expect(await repeats({ dry_sequence_breakers: ["y"], dry_allowed_length: 1 })).toBe(false);
    expect(await repeats({ dry_sequence_breakers: ["y"] })).toBe(true);
    expect(await repeats({ dry_sequence_breakers: ["xy"], dry_allowed_length: 1 })).toBe(false);
    expect(await repeats({ dry_sequence_breakers: ["xy"] })).toBe(true);
    expect(await repeats({ dry_sequence_breakers: ["w"] })).toBe(true);
    expect(await repeats({ dry_sequence_breakers: ["v"] })).toBe(false);
    expect(await repeats({ dry_penalty_last_n: 6 })).toBe(false);
    expect(await repeats({ dry_penalty_last_n: 5, dry_allowed_length: 2 })).toBe(true);
    expect(await repeats({ dry_penalty_last_n: 0 })).toBe(true);
    // multiplier · base ^ (3 − 2), against the bias.
    expect(await repeats({ dry_multiplier: 10, dry_base: 1.5 })).toBe(true);
    expect(await repeats({ dry_multiplier: 10, dry_base: 50 })).toBe(false);
  });
});

describe("tokens that an answer may have", () => {
  test("allowed_token_ids are all that it has, control tokens included", async () => {
    const allowed = [await idOf("a"), await idOf("b"), await idOf(" the")];
    for (const more of [
      { temperature: 0 },
      { temperature: 1, seed: 3 },
      { temperature: 1.5, seed: 4, top_k: 40, n_probs: 2 },
    ]) {
      const { tokens, stop_type } = await complete({
        prompt: PROMPT,
        n_predict: 24,
        allowed_token_ids: allowed,
        ...more,
      });
      expect(tokens).toHaveLength(24);
      expect(stop_type).toBe("limit");
      expect(tokens.filter((id) => !allowed.includes(id))).toEqual([]);
    }
    const [end] = await idsOf("<|eot_id|>");
    const one = await complete({ prompt: PROMPT, n_predict: 24, allowed_token_ids: [end] });
    expect([one.content, one.stop_type]).toEqual(["", "eos"]);
  });

  test("bad_words are not in it, at the beginning of a word or not, of one token or several", async () => {
    const free = (await server.chat(FRANCE)).choices[0]?.message.content as string;
    expect(free).toBe(PARIS);
    for (const words of [["Paris"], [" Paris", "."], ["capital of"], ["The capital"], ["of France is"]]) {
      const { choices } = await server.chat({ ...FRANCE, bad_words: words, max_tokens: 40 });
      for (const word of words) expect(choices[0]?.message.content).not.toContain(word.trim());
      const streamed = await server.stream({ ...FRANCE, bad_words: words, max_tokens: 40 });
      expect(streamedText(streamed)).toBe(choices[0]?.message.content as string);
    }
    // Only the end of a word is forbidden, and only after its beginning.
    const [x, y] = [await idOf("x"), await idOf("y")];
    expect(await idsOf("xy")).toEqual([x, y]);
    const body = {
      prompt: "z",
      n_predict: 4,
      logit_bias: [
        [y, 99],
        [x, 98],
      ],
      bad_words: ["xy"],
    };
    expect((await complete(body)).tokens).toEqual([y, y, y, y]);
    expect((await complete({ ...body, bad_words: ["yy"] })).tokens).toEqual([y, x, y, x]);
    expect((await complete({ ...body, prompt: "y", bad_words: ["yy"] })).tokens).toEqual([y, x, y, x]);
  });

  test("both hold beside a form, and an answer that has no way on says so", async () => {
    const form = { response_format: { type: "json_object" } };
    const { choices } = await server.chat({
      ...FRANCE,
      ...form,
      bad_words: [":"],
      max_tokens: 30,
      temperature: 1,
      seed: 1,
    });
    expect(choices[0]?.message.content).not.toContain(":");
    expect(await refusal(server, CHAT, { ...FRANCE, ...form, allowed_token_ids: [await idOf("a")] })).toEqual([
      400,
      null,
      "schema_too_complex",
    ]);
    const a = await idOf("a");
    expect((await refusal(server, CHAT, { ...FRANCE, allowed_token_ids: [a], bad_words: ["a"] }))[0]).toBe(400);
  });

  test("min_tokens keeps the end out of an answer that is restricted otherwise", async () => {
    const [end] = await idsOf("<|eot_id|>");
    const body = { prompt: PROMPT, logit_bias: [[end, 100]], bad_words: ["q"], n_predict: 20 };
    expect((await complete(body)).tokens).toEqual([]);
    expect((await complete({ ...body, min_tokens: 5 })).tokens).toHaveLength(5);
  });
});

describe("the end of an answer", () => {
  test("include_stop_str_in_output and no_stop_trim keep the stop string, streamed or not", async () => {
    const stop = [" France is", "Par"];
    for (const name of ["include_stop_str_in_output", "no_stop_trim"]) {
      const body = { ...FRANCE, stop, [name]: true };
      expect((await server.chat(body)).choices[0]).toMatchObject({
        message: { content: "The capital of France is" },
        finish_reason: "stop",
      });
      expect(streamedText(await server.stream(body))).toBe("The capital of France is");
    }
    const [end] = await idsOf(".");
    const ended = { ...FRANCE, stop_token_ids: [end] };
    expect((await server.chat(ended)).choices[0]?.message.content).toBe(PARIS.slice(0, -1));
    expect((await server.chat({ ...ended, include_stop_str_in_output: true })).choices[0]?.message.content).toBe(PARIS);
    // The token that ends every answer has no text, unless control tokens are asked for.
    const plain = { ...FRANCE, include_stop_str_in_output: true };
    expect((await server.chat(plain)).choices[0]?.message.content).toBe(PARIS);
    expect((await server.chat({ ...plain, skip_special_tokens: false })).choices[0]?.message.content).toStartWith(
      `${PARIS}<|`,
    );
    const body = { text: "The capital of", sampling_params: { stop: "i", no_stop_trim: true, max_new_tokens: 20 } };
    const generated = (await (await server.post("/generate", body)).json()) as { text: string };
    expect(generated.text).toEndWith("i");
  });

  test("skip_special_tokens: false spells control tokens", async () => {
    const body = { ...FRANCE, ignore_eos: true, max_tokens: 20 };
    expect((await server.chat(body)).choices[0]?.message.content).not.toContain("<|");
    expect((await server.chat({ ...body, skip_special_tokens: false })).choices[0]?.message.content).toContain(
      "<|eot_id|>",
    );
  });

  test("t_max_predict_ms ends an answer that has a line, and no other", async () => {
    const [line, letter] = [await idOf("\n"), await idOf("a")];
    const body = { prompt: "x", n_predict: 1500, ignore_eos: true, t_max_predict_ms: 1 };
    const cut = await complete({ ...body, logit_bias: [[line, 100]] });
    expect(cut.tokens.length).toBeLessThan(1500);
    expect(cut.stop_type).toBe("limit");
    const whole = await complete({ ...body, n_predict: 300, logit_bias: [[letter, 100]] });
    expect(whole.tokens).toHaveLength(300);
    expect(
      (await complete({ ...body, n_predict: 40, t_max_predict_ms: -1, logit_bias: [[line, 100]] })).tokens,
    ).toHaveLength(40);
  });
});

test("the same seed gives the same text, alone and among others, whatever else is set", async () => {
  const kinds = [
    { typical_p: 0.7 },
    { xtc_probability: 0.5, xtc_threshold: 0.05 },
    { top_n_sigma: 1.5, min_keep: 3, top_p: 0.5 },
    { dry_multiplier: 1.5, dry_allowed_length: 1, repeat_penalty: 1.2, repeat_last_n: 16 },
    { bad_words: ["the", "a", "once"], typical_p: 0.9, top_p: 0.95 },
    { allowed_token_ids: Array.from({ length: 200 }, (_, i) => i + 60), xtc_probability: 0.3 },
  ];
  const requests = kinds.flatMap((kind) =>
    [1, 2].map((seed) => ({ prompt: PROMPT, n_predict: 40, temperature: 1.1, ignore_eos: true, seed, ...kind })),
  );
  const alone = [];
  for (const request of requests) alone.push((await complete(request)).tokens);
  const together = await Promise.all(requests.map(complete));
  expect(together.map(({ tokens }) => tokens)).toEqual(alone);
  expect(new Set(alone.map(String)).size).toBe(requests.length);
});

test("breakers may be long, and there may be many, within bounds", async () => {
  const body = { prompt: "x y x y", n_predict: 2, dry_multiplier: 1 };
  const { tokens } = await complete({
    ...body,
    dry_sequence_breakers: ["User:", "Assistant:", "<|eot_id|>", "\n\n", "🚀"],
  });
  expect(tokens.length).toBeGreaterThan(0);
  const long = Array.from({ length: 5 }, (_, i) => `${i}`.repeat(250));
  expect(await refusal(server, "/completion", { ...body, dry_sequence_breakers: long })).toEqual([
    400,
    "dry_sequence_breakers",
    "string_above_max_length",
  ]);
});

describe("what is out of bounds is named", () => {
  test.each<[object, string, string]>([
    [{ typical_p: 0 }, "typical_p", "decimal_below_min_value"],
    [{ typical_p: 1.1 }, "typical_p", "decimal_above_max_value"],
    [{ xtc_probability: 2 }, "xtc_probability", "decimal_above_max_value"],
    [{ dry_base: 0.5 }, "dry_base", "decimal_below_min_value"],
    [{ dry_multiplier: -1 }, "dry_multiplier", "decimal_below_min_value"],
    [{ dry_allowed_length: 1.5 }, "dry_allowed_length", "invalid_type"],
    [{ repeat_last_n: -2 }, "repeat_last_n", "integer_below_min_value"],
    [{ min_keep: -1 }, "min_keep", "integer_below_min_value"],
    [{ bad_words: ["a", ""] }, "bad_words[1]", "string_below_min_length"],
    [{ bad_words: ["a", 5] }, "bad_words[1]", "invalid_type"],
    [{ bad_words: Array(257).fill("a") }, "bad_words", "array_above_max_length"],
    [{ dry_sequence_breakers: ["x".repeat(257)] }, "dry_sequence_breakers[0]", "string_above_max_length"],
    [{ allowed_token_ids: [] }, "allowed_token_ids", "empty_array"],
    [{ allowed_token_ids: [1e9] }, "allowed_token_ids[0]", "integer_above_max_value"],
    [{ t_max_predict_ms: "1" }, "t_max_predict_ms", "invalid_type"],
    [{ skip_special_tokens: "no" }, "skip_special_tokens", "invalid_type"],
  ])("%j", async (more, param, code) => {
    expect(await refusal(server, CHAT, { ...FRANCE, ...more })).toEqual([400, param, code]);
    const inside = await refusal(server, "/generate", { text: "x", sampling_params: more });
    expect(inside).toEqual([400, `sampling_params.${param}`, code]);
  });
});
