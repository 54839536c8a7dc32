/**
 * Work for one request that would hold everybody up, were it done in one go: the event loop goes round in between. What tokenizing does
 * about that is in tokenizing.test.ts, and JSON in pieces in answers.test.ts.
 */

import { describe, expect, test } from "bun:test";
import { readAnswerGrammar } from "../src/api/answer_form.ts";
import { Exchange } from "../src/api/exchange.ts";
import { completion as llamaCompletion } from "../src/api/llama_cpp/completion.ts";
import { chatCompletion } from "../src/api/openai/chat.ts";
import { openAi } from "../src/api/openai/dialect.ts";
import { generateText } from "../src/api/sglang/generate.ts";
import { eventStream } from "../src/api/sse.ts";
import type { EngineEvent } from "../src/engine/events.ts";
import type { Service } from "../src/serving/service.ts";
import { ServerState } from "../src/serving/state.ts";
import { ChatTemplate } from "../src/text/chat_template.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { readAssets, tinyDirectory } from "./support/goldens.ts";

const VOCABULARY = 2048;

/** Counts the rounds of the event loop while something is done. */
async function countingRounds<Result>(work: (rounds: () => number) => Promise<Result>): Promise<Result> {
  let rounds = 0;
  let isOver = false;
  const round = () => {
    rounds++;
    if (!isOver) setImmediate(round);
  };
  setImmediate(round);
  try {
    return await work(() => rounds);
  } finally {
    isOver = true;
  }
}

test("a stream whose reader takes all there is lets the loop go round after some of it", async () => {
  const text = "x".repeat(1000);
  const longest = await countingRounds(async (rounds) => {
    const lengths = new Map<number, number>();
    async function* events() {
      for (let i = 0; i < 4000; i++) {
        lengths.set(rounds(), (lengths.get(rounds()) ?? 0) + text.length);
        yield { text };
      }
    }
    await eventStream(events(), openAi.events, new AbortController().signal).text();
    return Math.max(...lengths.values());
  });
  // Four megabytes in all; the first turn needs no wait, so that two may come in one round.
  expect(longest).toBeLessThan(140_000);
});

test("grammars for many requests at once are made one in each round", async () => {
  const client = new AbortController().signal;
  const made = await countingRounds((rounds) =>
    Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const guided_json = { type: "integer", multipleOf: 7 + i, minimum: 0, maximum: 1e6 };
        expect(await readAnswerGrammar({ guided_json }, client)).toBeInstanceOf(Uint8Array);
        return rounds();
      }),
    ),
  );
  expect(new Set(made).size).toBe(made.length);
});

const TOP = 20;

/** A request to a server whose engine answers with so many equal tokens, each with the same likeliest ones. */
function exchangeWith(tokenizer: Tokenizer, tokens: number): Exchange {
  const engine = {
    stats: () => ({ running: 0, waiting: 0 }),
    async *generate(): AsyncGenerator<EngineEvent> {
      const top = Array.from({ length: TOP }, (_, i) => ({ token: 51 + i, logprob: -1 - i }));
      for (let i = 0; i < tokens; i++) {
        await new Promise(setImmediate);
        yield { kind: "token", token: 51, logprob: -1, top, elapsedMs: i };
      }
      yield { kind: "done", reason: "length", elapsedMs: tokens };
    },
  };
  const service = {
    engine,
    tokenizer,
    template: new ChatTemplate(undefined, tokenizer, "tiny"),
    config: { vocabSize: VOCABULARY, eosTokenIds: [] },
    context: VOCABULARY,
    plan: { requests: { bodies: 1_000_000, answers: 100_000_000 } },
    promptTokensAtMost: () => 100,
  } as unknown as Service;
  const state = new ServerState({
    temperature: 0,
    names: { served: "tiny" },
    limits: { answers: 4, promptTokens: 1000 },
  });
  state.setReady(service);
  const request = new Request("http://localhost/");
  return new Exchange(state, { request, path: "/", dialect: openAi }, () => undefined);
}

test("a stream that repeats all of its log-probabilities does so ever more rarely", async () => {
  const tokens = 1500;
  const tokenizer = Tokenizer.fromAssets(readAssets(tinyDirectory), "tiny", VOCABULARY);
  const body = { text: "Hi", stream: true, return_logprob: true, top_logprobs_num: TOP };
  const response = await generateText(exchangeWith(tokenizer, tokens), {
    ...body,
    sampling_params: { max_new_tokens: tokens },
  });
  let length = 0;
  let last = "";
  for await (const bytes of response.body as ReadableStream<Uint8Array>) {
    const piece = Buffer.from(bytes).toString();
    length += piece.length;
    if (piece.includes('"finish_reason":{')) last = piece;
  }
  const whole = JSON.parse(last.slice("data: ".length, last.indexOf("\n\n")));
  expect(whole.meta_info.output_top_logprobs.length).toBe(tokens);
  // 750 times, half the number of tokens, if a state followed each of them.
  expect(length).toBeLessThan(150 * last.length);
});

describe("log-probabilities take their form as their tokens come, not all of them at the end", () => {
  const TOKENS = 300;

  /** Answers with a fake engine, and gives the most tokens that were spelled in one round of the loop. */
  async function mostSpelled(answer: (exchange: Exchange, body: object) => Promise<Response>, body: object) {
    const tokenizer = Tokenizer.fromAssets(readAssets(tinyDirectory), "tiny", VOCABULARY);
    const exchange = exchangeWith(tokenizer, TOKENS);
    return countingRounds(async (rounds) => {
      const spelled = new Map<number, number>();
      const bytes = tokenizer.bytes.bind(tokenizer);
      tokenizer.bytes = (id) => {
        spelled.set(rounds(), (spelled.get(rounds()) ?? 0) + 1);
        return bytes(id);
      };
      const whole = (await (await answer(exchange, body)).json()) as object;
      expect(JSON.stringify(whole).match(/"logprob":-20/g)?.length).toBe(TOKENS);
      return Math.max(...spelled.values());
    });
  }

  test("in a chat", async () => {
    const body = { messages: [{ role: "user", content: "Hi" }], logprobs: true, top_logprobs: TOP };
    expect(await mostSpelled((exchange, wanted) => chatCompletion(exchange, { ...wanted }), body)).toBeLessThan(
      (TOKENS * TOP) / 10,
    );
  });

  test("in llama.cpp's words", async () => {
    const body = { prompt: "Hi", n_probs: TOP };
    expect(await mostSpelled((exchange, wanted) => llamaCompletion(exchange, { ...wanted }), body)).toBeLessThan(
      (TOKENS * TOP) / 10,
    );
  });
});
