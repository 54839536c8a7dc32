/**
 * The endpoints beside OpenAI's: the tokenizer and the template, the model's facts, the progress of a prompt, and the shapes of
 * llama.cpp and SGLang.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { goldens } from "./support/goldens.ts";
import { parseEvents, refusal, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

const FRANCE = goldens.chat[0] as (typeof goldens.chat)[number];
const STORY = goldens.chat.find(
  ({ messages }) => messages.at(-1)?.content === "Tell me a story.",
) as (typeof goldens.chat)[number];

// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
type Answer = any;

async function send(path: string, body: object): Promise<Answer> {
  const response = await server.post(path, body);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
  return JSON.parse(text);
}

describe("tokenizer", () => {
  test.each(goldens.tokenizer.map(({ text, ids }) => [text, ids] as const))("%p there and back", async (text, ids) => {
    expect((await send("/tokenize", { content: text })).tokens).toEqual(ids);
    expect((await send("/tokenize", { prompt: text, add_special_tokens: false })).tokens).toEqual(ids);
    const back = await send("/detokenize", { tokens: ids });
    expect(back).toEqual({ content: text, prompt: text });
  });

  test("special tokens are added to prompts, not to content, and as asked", async () => {
    const { tokens } = await send("/tokenize", { content: "Hello" });
    const begin = goldens.logits[0]?.ids[0] as number;
    expect((await send("/tokenize", { content: "Hello", add_special: true })).tokens).toEqual([begin, ...tokens]);
    expect(await send("/tokenize", { prompt: "Hello" })).toEqual({
      tokens: [begin, ...tokens],
      count: tokens.length + 1,
      max_model_len: 2048,
    });
    expect((await send("/tokenize", { content: "" })).tokens).toEqual([]);
  });

  test("parse_special: false reads the characters of control tokens", async () => {
    const text = "Hi<|eot_id|>System: x";
    const [end] = (await send("/tokenize", { content: "<|eot_id|>" })).tokens;
    for (const name of ["content", "prompt"]) {
      expect((await send("/tokenize", { [name]: text, parse_special: true })).tokens).toContain(end);
      const { tokens } = await send("/tokenize", { [name]: text, parse_special: false, add_special: false });
      expect(tokens).not.toContain(end);
      expect((await send("/detokenize", { tokens })).content).toBe(text);
    }
  });

  test("pieces: text, or bytes where they are none", async () => {
    const { tokens } = await send("/tokenize", { content: "Hi 🚀", with_pieces: true });
    const bytes = tokens.flatMap(({ piece }: Answer) =>
      typeof piece === "string" ? [...new TextEncoder().encode(piece)] : piece,
    );
    expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe("Hi 🚀");
    expect((await send("/tokenize", { content: "Hi", return_token_strs: true })).token_strs.join("")).toBe("Hi");
  });

  test("messages, through the template", async () => {
    for (const { messages, prompt, prompt_ids } of goldens.chat) {
      expect(await send("/apply-template", { messages })).toEqual({ prompt });
      expect((await send("/tokenize", { messages })).tokens).toEqual(prompt_ids);
    }
  });

  test.each<[string, object, (string | number | null)[]]>([
    ["/tokenize", {}, [400, "content", "missing_required_parameter"]],
    ["/tokenize", { content: 5 }, [400, "content", "invalid_type"]],
    ["/tokenize", { content: "x", add_special: 1 }, [400, "add_special", "invalid_type"]],
    ["/tokenize", { content: "x", model: "y" }, [404, "model", "model_not_found"]],
    ["/detokenize", {}, [400, "tokens", "missing_required_parameter"]],
    ["/detokenize", { tokens: "x" }, [400, "tokens", "invalid_type"]],
    ["/detokenize", { tokens: [1, 2048] }, [400, "tokens[1]", "integer_above_max_value"]],
    ["/detokenize", { tokens: [0.5] }, [400, "tokens[0]", "invalid_type"]],
    ["/apply-template", { messages: "x" }, [400, "messages", "invalid_type"]],
  ])("%s %j is refused", async (path, body, wanted) => {
    expect(await refusal(server, path, body)).toEqual(wanted);
  });
});

test("a text whose parts are too long to be tokenized, in every place", async () => {
  const run = "a".repeat(40_000);
  for (const [path, body, param] of [
    ["/tokenize", { content: run }, "content"],
    ["/tokenize", { prompt: run }, "prompt"],
    ["/tokenize", { messages: [{ role: "user", content: run }] }, "messages"],
    ["/v1/completions", { prompt: run }, "prompt"],
    ["/v1/completions", { prompt: ["x", run] }, "prompt"],
    ["/completion", { prompt: run }, "prompt"],
    ["/completion", { prompt: "x", logit_bias: [[run, 1]] }, "logit_bias[0]"],
    ["/generate", { text: run }, "text"],
    ["/v1/chat/completions", { messages: [{ role: "user", content: run }] }, "messages"],
  ] as const) {
    expect([path, await refusal(server, path, body)]).toEqual([path, [400, param, "string_above_max_length"]]);
  }
});

test("a text that is too long to be tokenized", async () => {
  expect(await refusal(server, "/tokenize", { content: "a".repeat(4_000_000) })).toEqual([
    400,
    "content",
    "string_above_max_length",
  ]);
});

describe("progress of a prompt", () => {
  const content = `${"word ".repeat(250)}x`;
  const request = (salt: string) => ({
    messages: [{ role: "user", content }],
    max_tokens: 2,
    return_progress: true,
    cache_salt: salt,
  });

  test("in a chat stream: up to the whole, with what the cache had", async () => {
    const first = (await server.stream(request("progress"))) as Answer[];
    const steps = first.flatMap(({ prompt_progress }) => prompt_progress ?? []);
    expect(steps.length).toBeGreaterThan(2);
    expect(steps.at(-1)).toMatchObject({ total: steps[0].total, processed: steps[0].total, cache: 0 });
    for (const [i, step] of steps.entries()) {
      expect(step.processed).toBeGreaterThanOrEqual(steps[i - 1]?.processed ?? 0);
      expect(step.time_ms).toBeGreaterThanOrEqual(0);
    }
    const again = (await server.stream(request("progress"))) as Answer[];
    expect(again.find(({ prompt_progress }) => prompt_progress !== undefined).prompt_progress.cache).toBeGreaterThan(
      100,
    );
    expect(first.findIndex((chunk) => chunk.prompt_progress !== undefined)).toBeLessThan(
      first.findIndex((chunk) => chunk.choices[0]?.delta.content),
    );
  });

  test("in the other streams", async () => {
    const body = { prompt: content, max_tokens: 2, n_predict: 2, stream: true, return_progress: true };
    for (const path of ["/v1/completions", "/completion"]) {
      const text = await (await server.post(path, body)).text();
      expect(text).toContain('"prompt_progress":{"total":');
    }
  });
});

describe("/completion", () => {
  test("a whole answer", async () => {
    expect(await send("/completion", { prompt: FRANCE.prompt, n_predict: 50, return_tokens: true })).toMatchObject({
      index: 0,
      content: FRANCE.greedy_text,
      tokens: FRANCE.greedy_ids.slice(0, -1),
      stop: true,
      model: "tiny",
      prompt: FRANCE.prompt,
      tokens_predicted: FRANCE.greedy_ids.length,
      tokens_evaluated: FRANCE.prompt_ids.length,
      stop_type: "eos",
      stopping_word: "",
      truncated: false,
      generation_settings: { n_predict: 50, temperature: 0 },
      timings: { prompt_n: FRANCE.prompt_ids.length },
    });
  });

  test("a stream, which ends without a mark", async () => {
    const response = await server.post("/completion", { prompt: FRANCE.prompt_ids, stream: true });
    const events: Answer[] = (await response.text())
      .split("\n\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line.slice("data: ".length)));
    expect(events.map(({ content }) => content).join("")).toBe(FRANCE.greedy_text);
    expect(events.map(({ stop }) => stop)).toEqual([...Array(events.length - 1).fill(false), true]);
    expect(events.flatMap(({ tokens }) => tokens)).toEqual(FRANCE.greedy_ids.slice(0, -1));
    expect(events.at(-1)).toMatchObject({ content: "", stop_type: "eos", tokens_predicted: FRANCE.greedy_ids.length });
  });

  test("a seed that the server chose is told exactly: sent back, it gives the same text", async () => {
    const request = { prompt: STORY.prompt, n_predict: 40, temperature: 2 };
    const chosen = await send("/completion", request);
    const { seed } = chosen.generation_settings;
    expect(Number.isSafeInteger(seed)).toBe(true);
    expect((await send("/completion", { ...request, seed })).content).toBe(chosen.content);
  });

  test("how it ended", async () => {
    const word = await send("/completion", { prompt: STORY.prompt, stop: ["zebra", " a"] });
    expect(word).toMatchObject({ stop_type: "word", stopping_word: " a", content: STORY.greedy_text.split(" a")[0] });
    expect(await send("/completion", { prompt: STORY.prompt, n_predict: 3 })).toMatchObject({ stop_type: "limit" });
    expect(await send("/completion", { prompt: STORY.prompt, n_predict: 0 })).toMatchObject({
      content: "",
      tokens_predicted: 0,
      stop_type: "limit",
    });
  });

  test("llama.cpp's own words: -1, pairs of biases, probabilities, several prompts", async () => {
    const paris = FRANCE.greedy_ids[6] as number;
    const biased = await send("/completion", {
      prompt: FRANCE.prompt,
      n_predict: -1,
      seed: -1,
      logit_bias: [[paris, false]],
    });
    expect(biased.content).not.toContain("Paris");
    const [first] = (await send("/completion", { prompt: FRANCE.prompt, n_predict: 1, n_probs: 3 }))
      .completion_probabilities;
    expect(first).toMatchObject({ id: FRANCE.greedy_ids[0], token: "T", bytes: [84], logprob: expect.any(Number) });
    expect(first.top_logprobs.length).toBe(3);
    const both = await send("/completion", { prompt: [FRANCE.prompt, STORY.prompt], n_predict: 5 });
    expect(both.map(({ index }: Answer) => index)).toEqual([0, 1]);
    expect(STORY.greedy_text).toStartWith(both[1].content);
  });

  test("a bias of a text is one of each of its tokens, even if the text is a number; those of one token add up", async () => {
    const ids = async (content: string): Promise<number[]> => (await send("/tokenize", { content })).tokens;
    const [twelve] = await ids("12");
    expect(twelve).not.toBe(12);
    // A token that is forced is all that is written.
    const forced = async (logit_bias: unknown) => {
      const answer = await send("/completion", {
        prompt: FRANCE.prompt,
        n_predict: 3,
        logit_bias,
        ignore_eos: true,
        return_tokens: true,
      });
      return answer.tokens;
    };
    expect(await forced([["12", 100]])).toEqual([twelve, twelve, twelve]);
    expect(await forced([[12, 100]])).toEqual([12, 12, 12]);
    expect(await forced({ 12: 100 })).toEqual([12, 12, 12]);
    // Both tokens of a text are forbidden as both were forced.
    const two = await ids("2345x");
    expect(two.length).toBeGreaterThan(1);
    for (const bias of [[["2345x", 100]], { "2345x": 100 }]) {
      for (const id of await forced(bias)) expect(two).toContain(id);
    }
    const greedy = FRANCE.greedy_ids.slice(0, 3);
    expect(
      await forced([
        ["2345x", 100],
        ["2345x", -100],
      ]),
    ).toEqual(greedy);
    expect(
      await forced([
        ["2345x", 100],
        ["2345x", false],
      ]),
    ).toEqual(greedy);
  });

  test.each<[object, (string | number | null)[]]>([
    [{}, [400, "prompt", "missing_required_parameter"]],
    [{ prompt: "x", n_predict: -2 }, [400, "n_predict", "integer_below_min_value"]],
    [{ prompt: "x", n_probs: 21 }, [400, "n_probs", "integer_above_max_value"]],
    [{ prompt: "x", mirostat: 2 }, [400, "mirostat", "unsupported_parameter"]],
    [{ prompt: "x", grammar: "root ::= x" }, [400, "grammar", "unsupported_parameter"]],
    [{ prompt: "x", json_schema: 5 }, [400, "json_schema", "invalid_type"]],
    [{ prompt: "x", json_schema: { if: {} } }, [400, "json_schema", "unsupported_schema"]],
    [{ prompt: "x", logit_bias: [[1]] }, [400, "logit_bias[0]", "invalid_type"]],
    [{ prompt: "x", logit_bias: [[{ toString: 1 }, 1]] }, [400, "logit_bias[0]", "invalid_type"]],
    [{ prompt: "x", logit_bias: [[[5], 1]] }, [400, "logit_bias[0]", "invalid_type"]],
    [{ prompt: "x", logit_bias: [[2048, 1]] }, [400, "logit_bias[0]", "integer_above_max_value"]],
    [{ prompt: "x", logit_bias: [[1.5, 1]] }, [400, "logit_bias[0]", "invalid_type"]],
    [{ prompt: "x", logit_bias: [["word", "1"]] }, [400, "logit_bias[0]", "invalid_type"]],
    [{ prompt: "x", logit_bias: [["word", true]] }, [400, "logit_bias[0]", "invalid_type"]],
    [{ prompt: "x", logit_bias: [["word", 101]] }, [400, "logit_bias[0]", "decimal_above_max_value"]],
    [{ prompt: "x", logit_bias: "word" }, [400, "logit_bias", "invalid_type"]],
    [{ prompt: "x", logit_bias: { 2048: 1 } }, [400, "logit_bias", "integer_above_max_value"]],
    [{ prompt: "x", logit_bias: Array(2049).fill([1, 1]) }, [400, "logit_bias", "array_above_max_length"]],
    [{ prompt: "x", logit_bias: Array(1025).fill(["a", 1]) }, [400, "logit_bias", "array_above_max_length"]],
    [{ prompt: "x", logit_bias: [["a".repeat(70_000), 1]] }, [400, "logit_bias", "string_above_max_length"]],
  ])("%j is refused", async (body, wanted) => {
    expect(await refusal(server, "/completion", body)).toEqual(wanted);
  });
});

describe("/generate", () => {
  test("a whole answer", async () => {
    expect(await send("/generate", { text: FRANCE.prompt, sampling_params: { max_new_tokens: 50 } })).toMatchObject({
      text: FRANCE.greedy_text,
      output_ids: FRANCE.greedy_ids,
      meta_info: {
        id: expect.any(String),
        finish_reason: { type: "stop", matched: FRANCE.greedy_ids.at(-1) },
        prompt_tokens: FRANCE.prompt_ids.length,
        completion_tokens: FRANCE.greedy_ids.length,
        cached_tokens: expect.any(Number),
        e2e_latency: expect.any(Number),
      },
    });
  });

  test("a stream: each chunk holds all of the text so far", async () => {
    const response = await server.post("/generate", { input_ids: FRANCE.prompt_ids, stream: true });
    const events = parseEvents(await response.text()) as Answer[];
    let before = "";
    for (const { text, meta_info } of events) {
      expect(text).toStartWith(before);
      before = text;
      if (text !== FRANCE.greedy_text) expect(meta_info.finish_reason).toBeNull();
    }
    expect(events.at(-1)).toMatchObject({ text: FRANCE.greedy_text, meta_info: { finish_reason: { type: "stop" } } });
  });

  test("how it ended, several prompts, several answers", async () => {
    const params = { max_new_tokens: 3 };
    const short = await send("/generate", { text: STORY.prompt, sampling_params: params });
    expect(short.meta_info.finish_reason).toEqual({ type: "length", length: 3 });
    const stopped = await send("/generate", { text: STORY.prompt, sampling_params: { stop: " a" } });
    expect(stopped.meta_info.finish_reason).toEqual({ type: "stop", matched: " a" });
    expect((await send("/generate", { text: STORY.prompt })).meta_info.completion_tokens).toBe(128);
    const both = await send("/generate", { text: [STORY.prompt, FRANCE.prompt], sampling_params: { ...params, n: 2 } });
    expect(both.map(({ text }: Answer) => text)).toEqual([short.text, short.text, both[2].text, both[2].text]);
    expect(Array.isArray(await send("/generate", { input_ids: [FRANCE.prompt_ids], sampling_params: params }))).toBe(
      true,
    );
  });

  test("log-probabilities of the prompt and the answer", async () => {
    const { ids } = goldens.logits[0] as (typeof goldens.logits)[number];
    const { meta_info } = await send("/generate", {
      input_ids: ids,
      return_logprob: true,
      logprob_start_len: 0,
      top_logprobs_num: 2,
      sampling_params: { max_new_tokens: 2, ignore_eos: true },
    });
    const scored = await send("/v1/completions", {
      prompt: ids,
      echo: true,
      logprobs: 2,
      max_tokens: 2,
      ignore_eos: true,
    });
    const { token_logprobs } = scored.choices[0].logprobs;
    const all = [...meta_info.input_token_logprobs, ...meta_info.output_token_logprobs];
    expect(all.map(([logprob]: Answer) => logprob)).toEqual(token_logprobs);
    expect(meta_info.input_token_logprobs.map(([, id]: Answer) => id)).toEqual(ids);
    expect(meta_info.output_top_logprobs[0].length).toBe(2);
    expect(meta_info.input_top_logprobs[0]).toBeNull();
    const later = await send("/generate", {
      input_ids: ids,
      return_logprob: true,
      logprob_start_len: 5,
      top_logprobs_num: 2,
    });
    expect(later.meta_info.input_token_logprobs).toEqual(meta_info.input_token_logprobs.slice(5));
  });

  test.each<[object, (string | number | null)[]]>([
    [{}, [400, "text", "missing_required_parameter"]],
    [{ text: 5 }, [400, "text", "invalid_type"]],
    [{ input_ids: [-1] }, [400, "input_ids[0]", "integer_below_min_value"]],
    [{ text: "x", sampling_params: 5 }, [400, "sampling_params", "invalid_type"]],
    [
      { text: "x", sampling_params: { temperature: 9 } },
      [400, "sampling_params.temperature", "decimal_above_max_value"],
    ],
    [{ text: "x", sampling_params: { regex: "a" } }, [400, "sampling_params.regex", "unsupported_parameter"]],
    [{ text: ["x", "y"], stream: true }, [400, "stream", "invalid_value"]],
    [{ text: "x", top_logprobs_num: 21 }, [400, "top_logprobs_num", "integer_above_max_value"]],
  ])("%j is refused", async (body, wanted) => {
    expect(await refusal(server, "/generate", body)).toEqual(wanted);
  });

  test("more answers than there is ever room for", async () => {
    const small = await startServer(["--parallel", "1", "--queue", "1"]);
    for (const [text, wanted] of [
      ["x", { param: "sampling_params.n", code: "integer_above_max_value" }],
      [["x", "y"], { param: "text", code: "array_above_max_length" }],
    ] as const) {
      const answer = await (await small.post("/generate", { text, sampling_params: { n: 3 } })).json();
      expect(answer).toMatchObject({ error: wanted });
    }
    await small.stop();
  });
});

test("the model's facts", async () => {
  const model = (await (await fetch(`${server.url}/v1/models/tiny`)).json()) as Answer;
  expect(model).toMatchObject({
    id: "tiny",
    object: "model",
    owned_by: "wrinklefree",
    root: "tiny",
    parent: null,
    max_model_len: 2048,
    meta: { n_params: 4464384, n_vocab: 2048, n_ctx_train: 2048, takes_tools: false },
  });
});
