/**
 * Many requests at once, against the compiled executable with the demo model: what they share, what they must not share, what
 * happens when there is no room for them, and that nothing of one shows in another's answer.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { connect } from "node:net";
import { Engine } from "../src/engine/engine.ts";
import { Model } from "../src/engine/model.ts";
import { defaultSampling } from "../src/engine/sampling.ts";
import { readDemoModel } from "../src/models/demo.ts";
import { Jobs } from "../src/serving/jobs.ts";
import { Connection } from "./soak/connection.ts";
import { CHAT, FRANCE, PARIS } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { goldens } from "./support/goldens.ts";
import {
  type ChatChunk,
  engineHealth,
  eventually,
  parseEvents,
  runProgram,
  startServer,
  streamedText,
  type TestServer,
  untilEngineIdle,
} from "./support/server.ts";

setDefaultTimeout(90_000);

const user = (content: string) => ({ role: "user", content });
const RULES = Array.from({ length: 40 }, (_, i) => `Rule ${i}: never say the number ${i * 37} twice.`).join(" ");
const STORY = { messages: [user("Tell me a story.")], ignore_eos: true };

/** What a client of a stream is told, without what differs between any two answers. */
function deltas(chunks: ChatChunk[]): (string | undefined)[] {
  return chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content));
}

async function errorOf(
  response: Response,
): Promise<{ message: string; type: string; param: string | null; code: string | null }> {
  return (
    (await response.json()) as { error: { message: string; type: string; param: string | null; code: string | null } }
  ).error;
}

describe("what is shared", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server.stop());

  test("the choices of a request share its prompt", async () => {
    const before = await engineHealth(server);
    const answer = await server.chat({ messages: [user(`${RULES} Once upon a time`)], n: 4, max_tokens: 4 });
    const after = await engineHealth(server);
    const prompt = answer.usage.prompt_tokens;
    expect(prompt).toBeGreaterThan(500);
    expect(after.prompt_tokens - before.prompt_tokens).toBe(4 * prompt);
    // A choice may begin when the first has nearly all of the prompt, and computes the last token of it in any case.
    const computed = 4 * prompt - (after.cached_tokens - before.cached_tokens);
    expect(computed).toBeWithin(prompt, prompt + 3 * 17);
  });

  test("the second turn of a chat computes only what is new", async () => {
    const first = [user(`My rules are: ${RULES.slice(0, 1000)}`)];
    const answer = await server.chat({ messages: first, max_tokens: 20 });
    const reply = { role: "assistant", content: answer.choices[0]?.message.content };
    const second = { messages: [...first, reply, user("And what else?")], max_tokens: 8 };
    const { usage } = await server.chat(second);
    const { cached_tokens: cached } = (usage as unknown as { prompt_tokens_details: { cached_tokens: number } })
      .prompt_tokens_details;
    expect(cached).toBeGreaterThanOrEqual(answer.usage.prompt_tokens - 32);
    expect(cached).toBeLessThan(usage.prompt_tokens);
    const chunks = await server.stream({ ...second, stream_options: { include_usage: true } });
    expect(chunks.at(-1)?.usage).toMatchObject({
      prompt_tokens_details: { cached_tokens: Math.floor((usage.prompt_tokens - 1) / 32) * 32 },
    });
  });

  test("different scopes share nothing", async () => {
    const model = Model.fromBytes(await readDemoModel(), "the demo");
    const engine = await Engine.create(model, {
      threads: 1,
      maxSequences: 2,
      context: 0,
      kvTokens: 0,
      batchTokens: 0,
      cpus: [],
    });
    const prompt = Uint32Array.from({ length: 200 }, (_, i) => 300 + ((i * 7) % 500));
    const run = async (scope: bigint) => {
      const tokens: number[] = [];
      let cached = -1;
      for await (const event of engine.generate(prompt, { ...defaultSampling(12), ignoreEos: true, scope })) {
        if (event.kind === "token") tokens.push(event.token);
        if (event.kind === "progress") cached = event.cached;
      }
      return { tokens, cached };
    };
    const first = await run(1n);
    expect(first.cached).toBe(0);
    expect(await run(2n)).toEqual(first);
    expect(await run(1n)).toEqual({ ...first, cached: 192 });
    // At the same time, too: neither waits for the other's prompt.
    const together = await Promise.all([run(3n), run(4n), run(3n)]);
    expect(together.map(({ cached }) => cached > 0)).toEqual([false, false, true]);
    for (const { tokens } of together) expect(tokens).toEqual(first.tokens);
    await engine.close();
    model.close();
  });
});

describe("little memory", () => {
  test("many requests in a pool of one context: all end, with the right texts", async () => {
    const server = await startServer(["--ctx", "512", "--memory", "4M", "--parallel", "8"]);
    expect(server.log()).toMatch(/KV cache up to 4\.\d+ MB: 25 blocks of 32 tokens/);
    const story = { ...STORY, max_tokens: 200 };
    const seeds = Array.from({ length: 24 }, (_, seed) => seed);
    const ask = async (seed: number) =>
      (await server.chat({ ...story, temperature: 1, seed })).choices[0]?.message.content;
    const alone: (string | undefined)[] = [];
    for (const seed of seeds) alone.push(await ask(seed));
    expect((await engineHealth(server)).pauses).toBe(0);
    expect(await Promise.all(seeds.map(ask))).toEqual(alone);
    const { pauses, blocks, running, waiting } = await engineHealth(server);
    expect(pauses).toBeGreaterThan(0);
    expect([running, waiting, blocks.used]).toEqual([0, 0, 0]);
    await server.stop();
  });

  test.each([
    [["--memory", "1M"], 1, "--memory"],
    [["--memory", "0"], 2, "--memory"],
    [["--memory", "much"], 2, "--memory"],
    [["--memory", "5X"], 2, "--memory"],
    [["--batch-tokens", "0"], 2, "--batch-tokens"],
    [["--batch-tokens", "4097"], 2, "--batch-tokens"],
    [["--queue", "-1"], 2, "--queue"],
    [["--queue", "x"], 2, "--queue"],
    [["--queue-tokens", "0"], 2, "--queue-tokens"],
  ] as [string[], number, string][])("%p is one clear line", async (args, expectedCode, word) => {
    const { code, stderr, stdout } = await runProgram(["serve", "--port", "0", ...args]);
    expect([code, stdout]).toEqual([expectedCode, ""]);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toContain(word);
  });

  test.each(["1", "7", "4096"])("prompts in pieces of %s tokens at most give the same texts", async (size) => {
    const server = await startServer(["--batch-tokens", size]);
    await Promise.all(
      goldens.chat.map(async ({ messages, greedy_ids, greedy_text }) => {
        expect(streamedText(await server.stream({ messages, max_tokens: greedy_ids.length }))).toBe(greedy_text);
      }),
    );
    await server.stop();
  });
});

describe("a full queue", () => {
  test("more requests are turned away with a time to come back, and harm nobody", async () => {
    const server = await startServer([await deepModel(), "--parallel", "1", "--queue", "2"]);
    await eventually(() => server.log().includes(" tokens for 1 request of up to "));
    const long = { ...STORY, max_tokens: 200 };
    const expected = deltas(await server.stream(long));
    const admitted = Array.from({ length: 3 }, () => server.stream(long));
    await eventually(async () => {
      const { running, waiting } = await server.requests();
      return running + waiting === 3;
    });
    const refused = await Promise.all(Array.from({ length: 20 }, () => server.post(CHAT, FRANCE)));
    for (const response of refused) {
      expect(response.status).toBe(429);
      expect(Number(response.headers.get("retry-after"))).toBeWithin(1, 61);
      expect(await errorOf(response)).toMatchObject({ code: "rate_limit_exceeded", param: null });
    }
    for (const chunks of await Promise.all(admitted)) expect(deltas(chunks)).toEqual(expected);
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
    await server.stop();
  });

  test("answers that are finished and not read keep nobody out", async () => {
    // The name is in every chunk: so long that the answers are far beyond what sockets hold.
    const name = "m".repeat(20_000);
    const server = await startServer(["--parallel", "1", "--queue", "1", "--served-name", name]);
    const body = JSON.stringify({ ...FRANCE, min_tokens: 800, max_tokens: 800, n: 2, stream: true });
    const socket = connect(server.port, "127.0.0.1");
    socket.pause();
    socket.write(
      `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await eventually(async () => (await engineHealth(server)).generated_tokens > 100);
    await untilEngineIdle(server);
    await Bun.sleep(500);
    const unread = async () => {
      const { running, waiting } = await server.requests();
      return running + waiting;
    };
    expect(await unread()).toBeGreaterThan(0);
    expect((await server.chat({ ...FRANCE, n: 2 })).choices.map(({ message }) => message.content)).toEqual([
      PARIS,
      PARIS,
    ]);
    socket.destroy();
    await eventually(async () => (await unread()) === 0);
    await server.stop();
  });

  test("more choices than there is ever room for are a bad request", async () => {
    const server = await startServer(["--parallel", "1", "--queue", "2"]);
    const response = await server.post(CHAT, { ...FRANCE, n: 4 });
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ code: "integer_above_max_value", param: "n" });
    expect((await server.chat({ ...FRANCE, n: 3 })).choices).toHaveLength(3);
    const prompts = await server.post("/v1/completions", { prompt: ["a", "b"], n: 2, max_tokens: 1 });
    expect(prompts.status).toBe(400);
    expect(await errorOf(prompts)).toMatchObject({ code: "array_above_max_length", param: "prompt" });
    await server.stop();
  });

  test("--queue-tokens bounds the prompts that wait; one that never fits is a bad request", async () => {
    const server = await startServer([await deepModel(), "--parallel", "1", "--queue-tokens", "100"]);
    const tooLong = await server.post(CHAT, { messages: [user(RULES)] });
    expect(tooLong.status).toBe(400);
    expect(await errorOf(tooLong)).toEqual({
      message: expect.stringMatching(
        /^This server takes requests with up to 100 prompt tokens, .*: its --queue-tokens says so\. However, your messages resulted in \d+ tokens\./,
      ),
      type: "invalid_request_error",
      param: "messages",
      code: "queue_tokens_exceeded",
    });
    // Whoever shortens prompts by the context's limit is told of it by that alone, and of no other, in no dialect.
    const words = "The capital of France is Paris. ".repeat(6);
    const prompts = Array<string>(3).fill(words);
    for (const [path, body, param] of [
      ["/v1/completions", { prompt: prompts, truncate_prompt_tokens: -1 }, "prompt"],
      ["/completion", { prompt: prompts }, "prompt"],
      ["/generate", { text: prompts }, "text"],
    ] as const) {
      const refused = await server.post(path, body);
      const error = await errorOf(refused);
      expect([path, refused.status, error.code, error.param]).toEqual([path, 400, "queue_tokens_exceeded", param]);
      expect(Object.keys(error).filter((key) => key.startsWith("n_"))).toEqual([]);
      expect(error.message).not.toContain("context length");
    }
    const tooLongForBoth = await server.post("/completion", { prompt: "a ".repeat(5000) });
    expect(await errorOf(tooLongForBoth)).toMatchObject({ code: "context_length_exceeded", n_ctx: expect.any(Number) });

    const running = server.stream({ ...STORY, max_tokens: 300 });
    await eventually(async () => (await server.requests()).running === 1);
    // Each takes 14 tokens when it is counted, and some 60 until then.
    const waiting = Array.from({ length: 20 }, () => server.post(CHAT, FRANCE));
    const statuses = (await Promise.all(waiting)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 429]));
    expect(streamedText(await running)).not.toBe("");
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
    await server.stop();
  });

  /** What admit or setPromptTokens throws, as a client sees it. */
  function refusal(run: () => unknown): { status: number; code?: string; retryAfter: number } | undefined {
    try {
      run();
      return undefined;
    } catch (error) {
      const { status, details } = error as { status: number; details: { code?: string; headers?: object } };
      return { status, code: details.code, retryAfter: Number(Object.values(details.headers ?? {})[0]) };
    }
  }
  const client = new AbortController().signal;

  test("prompt tokens are reserved at once, corrected when they are counted, and freed by the first token", () => {
    const jobs = new Jobs({ answers: 100, promptTokens: 1000 }, () => 0);
    const [first] = jobs.admit(1, client, 700);
    expect(refusal(() => jobs.admit(1, client, 700))).toMatchObject({ status: 429, code: "rate_limit_exceeded" });
    first?.setPromptTokens(200, "messages");
    expect(jobs.waitingTokens).toBe(200);
    const [second, third] = jobs.admit(2, client, 700);
    expect(jobs.waitingTokens).toBe(900);
    // Any of the answers may be the first, and the prompt counts once.
    third?.start();
    expect(jobs.waitingTokens).toBe(200);
    second?.start();
    second?.finish();
    third?.finish();
    first?.finish();
    first?.finish();
    expect([jobs.waitingTokens, jobs.waiting, jobs.running]).toEqual([0, 0, 0]);
  });

  test("answers count while they are tokenized and while the engine has them; unread ones are bounded, too", () => {
    let load = 0;
    const jobs = new Jobs({ answers: 2, promptTokens: 1000 }, () => load);
    const status = () => refusal(() => jobs.admit(1, client))?.status;
    const [first, second] = jobs.admit(2, client);
    expect(status()).toBe(429);
    first?.setPromptTokens(1, "messages");
    load = 2;
    expect(status()).toBe(429);
    load = 0;
    const [third] = jobs.admit(1, client);
    load = 1;
    expect(status()).toBe(429);
    for (const job of [first, second, third]) job?.finish();
    load = 0;
    for (let pair = 0; pair < 513; pair++) jobs.admit(2, client)[0]?.setPromptTokens(0, "messages");
    expect(jobs.waiting).toBe(2 + 1024);
    expect(status()).toBe(429);
  });

  test("a limit of one is told as one", () => {
    const jobs = new Jobs({ answers: 1, promptTokens: 1 }, () => 0);
    jobs.admit(1, client, 1);
    expect(() => jobs.admit(1, client)).toThrow("at its limit of 1 answer at once.");
    jobs.limits = { answers: 2, promptTokens: 1 };
    expect(() => jobs.admit(1, client, 1)).toThrow("at its limit of 1 prompt token in the queue.");
  });

  test("an answer that ends before its first token gives its reservation back", () => {
    const jobs = new Jobs({ answers: 100, promptTokens: 1000 }, () => 0);
    const [one, two] = jobs.admit(2, client, 600);
    one?.finish();
    expect(jobs.waitingTokens).toBe(600);
    two?.finish();
    expect(jobs.waitingTokens).toBe(0);
  });

  test("a prompt that may fit is admitted to an empty queue; one that never fits is a bad request", () => {
    const jobs = new Jobs({ answers: 100, promptTokens: 1000 }, () => 0);
    const [job] = jobs.admit(1, client, 5000);
    expect(jobs.waitingTokens).toBe(1000);
    expect(refusal(() => job?.setPromptTokens(1001, "messages"))).toMatchObject({
      status: 400,
      code: "queue_tokens_exceeded",
    });
    job?.setPromptTokens(1000, "messages");
    job?.finish();
    expect(jobs.waitingTokens).toBe(0);
  });

  test("a request keeps the bound that held when it was admitted", () => {
    const jobs = new Jobs({ answers: 100, promptTokens: 1000 }, () => 0);
    const [job] = jobs.admit(1, client, 800);
    jobs.limits = { answers: 100, promptTokens: 100 };
    job?.setPromptTokens(800, "messages");
    job?.finish();
    const [next] = jobs.admit(1, client);
    expect(refusal(() => next?.setPromptTokens(101, "messages"))?.status).toBe(400);
  });

  test("the time to come back follows the speed", async () => {
    const clock = spyOn(performance, "now").mockReturnValue(1000);
    const jobs = new Jobs({ answers: 50, promptTokens: 1000 }, () => 0);
    const crowd = jobs.admit(50, client);
    // Nothing is known yet.
    expect(refusal(() => jobs.admit(1, client))?.retryAfter).toBe(1);
    for (const job of crowd.slice(0, 10)) {
      job.start();
      job.finish();
    }
    jobs.admit(10, client);
    clock.mockReturnValue(2100);
    // Some nine a second were seen.
    expect(refusal(() => jobs.admit(1, client))?.retryAfter).toBe(1);
    expect(refusal(() => jobs.admit(40, client))?.retryAfter).toBe(5);
    const slow = new Jobs({ answers: 10, promptTokens: 100_000 }, () => 0);
    const [first] = slow.admit(1, client, 100);
    first?.start();
    slow.admit(1, client, 90_000);
    expect(refusal(() => slow.admit(1, client, 90_000))?.retryAfter).toBe(60);
    clock.mockRestore();
  });
});

describe("a client that leaves", () => {
  let server: TestServer;
  const neighbour = { ...STORY, max_tokens: 200 };
  const longPrompt = { messages: [user(`${RULES} ${RULES}`)], max_tokens: 5, stream: true };
  let alone: (string | undefined)[];
  beforeAll(async () => {
    // Small pieces of a model that takes its time, so that a prompt takes long enough to leave in the midst of it.
    server = await startServer([await deepModel(), "--parallel", "2", "--batch-tokens", "4"]);
    alone = deltas(await server.stream(neighbour));
  });
  afterAll(() => server.stop());

  /** A request that can be left, whose answer may be of any kind. */
  function leavable(body: object) {
    const leave = new AbortController();
    const headers = { "content-type": "application/json" };
    const response = server.post(CHAT, body, { signal: leave.signal, headers });
    response.catch(() => undefined);
    return { leave: () => leave.abort(), response };
  }

  async function untilEngine(condition: (engine: Awaited<ReturnType<typeof engineHealth>>) => boolean): Promise<void> {
    await eventually(async () => condition(await engineHealth(server)));
  }

  /** Runs `leave` beside neighbours, whose answers must not change, and sees that nothing is left of it. */
  async function beside(neighbours: number, leave: () => Promise<void>): Promise<void> {
    const beside = Array.from({ length: neighbours }, () => server.stream(neighbour));
    await eventually(async () => (await server.requests()).running === neighbours);
    await leave();
    for (const chunks of await Promise.all(beside)) expect(deltas(chunks)).toEqual(alone);
    await untilEngineIdle(server);
    expect((await engineHealth(server)).blocks.used).toBe(0);
    await eventually(async () => {
      const { running, waiting } = await server.requests();
      return running + waiting === 0;
    });
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
  }

  for (const stream of [true, false]) {
    test(`while it waits, ${stream ? "streamed" : "whole"}`, () =>
      beside(2, async () => {
        const { leave } = leavable({ ...FRANCE, stream });
        await untilEngine(({ waiting }) => waiting === 1);
        leave();
        await untilEngine(({ waiting, running }) => waiting === 0 && running === 2);
      }));

    test(`while its prompt is computed, ${stream ? "streamed" : "whole"}`, () =>
      beside(1, async () => {
        const { leave } = leavable({ ...longPrompt, messages: [user(`${stream} ${RULES} ${RULES}`)], stream });
        await untilEngine(({ running }) => running === 2);
        expect((await server.requests()).waiting).toBe(1);
        leave();
        await untilEngine(({ running }) => running === 1);
      }));

    test(`while its answer is written, ${stream ? "streamed" : "whole"}`, () =>
      beside(1, async () => {
        const { leave } = leavable({ ...STORY, temperature: 1, seed: 1, stream });
        await eventually(async () => (await server.requests()).running === 2);
        leave();
        await untilEngine(({ running }) => running === 1);
      }));
  }

  test("when its answer is finished, but not read", () =>
    beside(1, async () => {
      const body = JSON.stringify({ ...FRANCE, stream: true });
      const before = await engineHealth(server);
      const socket = connect(server.port, "127.0.0.1");
      socket.pause();
      socket.write(
        `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      await untilEngine(({ running, prompt_tokens }) => prompt_tokens > before.prompt_tokens && running === 1);
      socket.destroy();
    }));

  test("a slow reader gets every byte", async () => {
    const connection = await Connection.open({ kind: "tcp", port: server.port });
    const body = Buffer.from(JSON.stringify({ ...neighbour, stream: true }));
    const headers = { "content-type": "application/json" };
    const answer = await connection.ask({ method: "POST", path: CHAT, headers, body }, { readsSlowly: true });
    connection.close();
    const text = String(answer?.body);
    expect(deltas(parseEvents(text) as ChatChunk[])).toEqual(alone);
  });
});

describe("check", () => {
  test("passes on the demo, a line for each check", async () => {
    const { code, stdout, stderr } = await runProgram(["check"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^tiny, 4 million parameters: \w+ kernels, \d+ threads, 512 tokens of context$/);
    for (const line of lines.slice(1, -1)) expect(line).toMatch(/^pass {2}[a-z0-9 %]+: .* \(\d+\.\d s\)$/);
    expect(lines).toHaveLength(11);
    expect(lines.at(-1)).toBe("all is well");
  });

  test.each([
    [["--concurrent", "1"], 2, "--concurrent"],
    [["--ctx", "100"], 2, "--ctx"],
    [["--ctx", "100000"], 1, "context of 2048"],
    [["/no/such/model.wf"], 1, "/no/such/model.wf"],
    [["--nonsense"], 2, "--nonsense"],
  ] as [string[], number, string][])("%p is one clear line", async (args, expectedCode, word) => {
    const { code, stderr, stdout } = await runProgram(["check", ...args]);
    expect([code, stdout]).toEqual([expectedCode, ""]);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toContain(word);
  });
});
