/**
 * What answers may cost: how much they may hold until they are sent, what n choices cost, and JSON that is written in pieces.
 */

import { heapStats } from "bun:jsc";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { answer, type Prompts } from "../src/api/answers.ts";
import { EventQueue } from "../src/api/event_queue.ts";
import { Exchange } from "../src/api/exchange.ts";
import { jsonResponse, writeJson } from "../src/api/json.ts";
import { openAi } from "../src/api/openai/dialect.ts";
import type { EngineEvent } from "../src/engine/events.ts";
import { defaultSampling } from "../src/engine/sampling.ts";
import type { RequestError } from "../src/serving/request_error.ts";
import type { Service } from "../src/serving/service.ts";
import { ServerState } from "../src/serving/state.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { CHAT } from "./support/chat.ts";
import { readAssets, tinyDirectory } from "./support/goldens.ts";
import { eventually, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const messages = [{ role: "user", content: "Tell me a long story." }];

describe("what answers may hold", () => {
  let server: TestServer;
  beforeAll(async () => {
    // All are answered side by side, so that nobody waits for the large ones.
    server = await startServer(["--log", "off", "--parallel", "32"]);
  });
  afterAll(() => server.stop());

  const scored = { logprobs: true, top_logprobs: 20 };
  const prompts = Array(64).fill("a");
  test.each<[string, string, object]>([
    ["a chat", CHAT, { messages, n: 128, max_tokens: 1900, ...scored }],
    ["a streamed chat", CHAT, { messages, n: 128, max_tokens: 1900, ...scored, stream: true }],
    ["a chat without a limit", CHAT, { messages, n: 128, ...scored }],
    ["completions", "/v1/completions", { prompt: "a", n: 128, max_tokens: 1900, logprobs: 20 }],
    [
      "scores of prompts",
      "/v1/completions",
      { prompt: Array(60).fill("a b c d ".repeat(250)), max_tokens: 0, echo: true, logprobs: 20 },
    ],
    ["llama.cpp's words", "/completion", { prompt: prompts, n_predict: -1, n_probs: 20, stream: true }],
    [
      "SGLang's words",
      "/generate",
      { text: prompts, sampling_params: { max_new_tokens: 1900 }, return_logprob: true, top_logprobs_num: 20 },
    ],
  ])("more than a request may ask for is refused: %s", async (_, path, body) => {
    const response = await server.post(path, body);
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe("answers_too_large");
    expect(error.message).toContain("Lower 'n', the maximum number of tokens or the number of log-probabilities");
  });

  /** Sends a request and never reads the answer. */
  function openUnread(path: string, body: object): Socket {
    const text = JSON.stringify(body);
    const socket = connect(server.port, "127.0.0.1");
    const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}`;
    socket.write(`POST ${path} HTTP/1.1\r\n${head}\r\n\r\n${text}`);
    socket.pause();
    return socket;
  }

  // Four of them are as much as all that large ones may take, or nearly.
  const large = { messages, n: 4, max_tokens: 1900, logprobs: true, top_logprobs: 20, ignore_eos: true };

  test.each([true, false])(
    "answers that nobody reads keep others out until they are given up; streamed: %p",
    async (stream) => {
      const unread = Array.from({ length: 4 }, () => openUnread(CHAT, { ...large, stream }));
      await eventually(async () => {
        const { running, waiting } = await server.requests();
        return running + waiting === 16;
      });
      const refused = await server.post(CHAT, { ...large, stream: !stream });
      expect(refused.status).toBe(429);
      expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 61);
      const { error } = (await refused.json()) as { error: { code: string; message: string } };
      expect(error.code).toBe("rate_limit_exceeded");
      expect(error.message).toContain("Lower 'n'");
      // What holds little goes on.
      expect((await server.chat({ messages, max_tokens: 5 })).choices.length).toBe(1);
      for (const socket of unread) socket.destroy();
      await eventually(async () => {
        const leave = new AbortController();
        const headers = { "content-type": "application/json" };
        const { status } = await server.post(CHAT, { ...large, stream: true }, { headers, signal: leave.signal });
        leave.abort();
        return status === 200;
      });
      await eventually(async () => {
        const { running, waiting } = await server.requests();
        return running + waiting === 0;
      });
    },
  );
});

describe("choices", () => {
  const tokenizer = Tokenizer.fromAssets(readAssets(tinyDirectory), "tiny", 2048);

  /** A prompt of one token. @param repeatedBytes of its text that each answer repeats. */
  function promptOf(repeatedBytes: number): Prompts {
    const encode = async () => [[51]];
    return { count: 1, tokensAtMost: 1, repeatedBytes, param: "prompt", choicesParam: "n", encode };
  }

  test("that repeat a long prompt count it, each for itself", async () => {
    const service = { tokenizer, config: { eosTokenIds: [] }, context: 100 } as unknown as Service;
    const state = new ServerState({ temperature: 0, names: {}, limits: { answers: 128, promptTokens: 100 } });
    const ask = (choices: number, repeatedBytes: number) => {
      const exchange = new Exchange(
        state,
        { request: new Request("http://localhost/"), path: "/", dialect: openAi },
        () => undefined,
      );
      const parameters = { sampling: defaultSampling(1), choices, text: { stops: [] } };
      return answer(exchange, service, parameters, promptOf(repeatedBytes), async (events) => {
        await events.return();
        exchange.sent();
        return new Response();
      });
    };
    expect((await ask(100, 1_000_000)).status).toBe(200);
    expect(await ask(128, 1_100_000).catch((error: RequestError) => error.details.code)).toBe("answers_too_large");
    expect(state.jobs.answerBytes).toBe(0);
  });

  test("the events of one leave nothing behind with the others", async () => {
    const choices = 64;
    const events = 4000;
    let silent = 0;
    /** The first request that is submitted writes; the others are silent until it is done. */
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let submitted = 0;
    const engine = {
      async *generate(): AsyncGenerator<EngineEvent> {
        if (submitted++ > 0) {
          silent++;
          await finished;
        } else {
          for (let i = 0; i < events; i++) {
            await new Promise(setImmediate);
            yield { kind: "token", token: 51, logprob: 0, top: [], elapsedMs: i };
          }
        }
        yield { kind: "done", reason: "length", elapsedMs: events };
      },
    };
    const service = { engine, tokenizer, config: { eosTokenIds: [] }, context: 100_000 } as unknown as Service;
    const state = new ServerState({ temperature: 0, names: {}, limits: { answers: choices, promptTokens: 100 } });
    const exchange = new Exchange(
      state,
      { request: new Request("http://localhost/"), path: "/", dialect: openAi },
      () => undefined,
    );
    const prompts = promptOf(0);
    const parameters = { sampling: defaultSampling(events), choices, text: { stops: [] } };
    let reactions = 0;
    const seen = new Map<number, number>();
    const count = () =>
      Object.entries(heapStats().objectTypeCounts)
        .filter(([type]) => type.includes("PromiseReaction"))
        .reduce((sum, [, number]) => sum + number, 0);
    await answer(exchange, service, parameters, prompts, async (all) => {
      let before = 0;
      for await (const { choice, kind } of all) {
        if (kind === "end") continue;
        const texts = (seen.get(choice) ?? 0) + 1;
        seen.set(choice, texts);
        if (texts === 100) before = count();
        if (texts === events - 100) {
          reactions = count() - before;
          finish();
        }
      }
      return new Response();
    });
    expect([silent, seen.get(0)]).toEqual([choices - 1, events]);
    // A wait for any of them that asked each of them anew would have left 63 at every event.
    expect(reactions).toBeLessThan(events);
  });

  test("a queue's events come in their order, and what it failed with after them", async () => {
    const queue = new EventQueue<number>();
    const taken: number[] = [];
    const reader = (async () => {
      for await (const event of queue.drain()) taken.push(event);
    })();
    for (let i = 0; i < 3; i++) {
      queue.push(i);
      if (i === 1) await new Promise(setImmediate);
    }
    queue.fail(new Error("broken"));
    expect(await reader.catch((error: Error) => error.message)).toBe("broken");
    expect(taken).toEqual([0, 1, 2]);
  });
});

describe("JSON in pieces", () => {
  test("is the JSON of the whole", () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 4 }),
        fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 200 }),
        (value, list) => {
          const whole = { value, list, none: undefined, inner: [{ list, value }, null, ...list] };
          expect([...writeJson(whole)].join("")).toBe(JSON.stringify(whole));
        },
      ),
    );
  });

  test("no piece is large, and the answer is over when the client has taken the last one", async () => {
    const value = { list: Array.from({ length: 50_000 }, (_, i) => ({ index: i, text: "é".repeat(20) })) };
    let ends = 0;
    const options = { onStream: () => undefined, onEnd: () => ends++ };
    const response = jsonResponse(value, new AbortController().signal, options);
    const parts: Uint8Array[] = [];
    for await (const part of response.body as ReadableStream<Uint8Array>) {
      expect(part.length).toBeLessThan(300_000);
      if (parts.length === 3) expect(ends).toBe(0);
      parts.push(part);
    }
    expect(parts.length).toBeGreaterThan(20);
    expect(JSON.parse(Buffer.concat(parts).toString())).toEqual(value);
    expect(ends).toBe(1);
  });

  test("a client that leaves ends it", async () => {
    let ends = 0;
    const client = new AbortController();
    const options = { onStream: () => undefined, onEnd: () => ends++ };
    const response = jsonResponse(Array(10_000).fill("word"), client.signal, options);
    expect(ends).toBe(0);
    client.abort();
    expect(ends).toBe(1);
    await response.body?.cancel();
    expect(ends).toBe(1);
  });
});
