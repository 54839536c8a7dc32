/**
 * Calls of tools through the clients that people have: whole rounds (call, result, answer) and answers that are cut after every number of
 * tokens, streamed and not. What a model writes to call is never a part of what clients take for its words.
 */

import { afterAll, beforeAll, describe, expect, mock, setDefaultTimeout, spyOn, test } from "bun:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { type AIMessageChunk, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as langChainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { Agent, tool as agentTool, run, setTracingDisabled } from "@openai/agents-core";
import { OpenAIChatCompletionsModel } from "@openai/agents-openai";
import { tool as aiTool, generateText, isStepCount, streamText } from "ai";
import OpenAI from "openai";
import { z } from "zod";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(120_000);

let server: TestServer;
let openAi: OpenAI;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
  openAi = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  setTracingDisabled(true);
  // LangChain takes the half of a call for one of an older package of its own.
  spyOn(console, "warn").mockImplementation(() => undefined);
});
afterAll(async () => {
  mock.restore();
  await server.stop();
});

const QUESTION = "What is the weather in Oslo?";
const NAME = "get_weather";
const DESCRIPTION = "The weather in a city";
const CITY = z.object({ city: z.string() });

/** Tokens of the demo's call, with the one that ends it. */
const CALL_TOKENS = 25;

/** An exchange of a client with the server, and what comes of it. */
class Exchange {
  readonly isStreamed: boolean;
  /** Most tokens of an answer. */
  readonly maxTokens: number | undefined;
  /** Answers that are asked for: one where it has to be cut, since nobody knows what the demo makes of the half of a call. */
  readonly turns: number;
  /** The words of all answers. */
  words = "";
  /** The arguments of all calls that were made. */
  readonly asked: unknown[] = [];

  constructor(isStreamed: boolean, maxTokens?: number) {
    this.isStreamed = isStreamed;
    this.maxTokens = maxTokens;
    this.turns = (maxTokens ?? CALL_TOKENS) < CALL_TOKENS ? 1 : 2;
  }

  /** The tool. */
  readonly answer = (values: unknown): string => {
    this.asked.push(values);
    return '{"temperature": 9, "sky": "rainy"}';
  };
}

/** A client: asks, calls the tool, sends its result, and gets the answer. */
type Client = (exchange: Exchange) => Promise<void>;

const clients: Record<string, Client> = {
  async "the OpenAI SDK's runTools"(exchange) {
    const request = {
      model: "tiny",
      messages: [{ role: "user" as const, content: QUESTION }],
      max_tokens: exchange.maxTokens ?? null,
      tools: [
        {
          type: "function" as const,
          function: {
            name: NAME,
            description: DESCRIPTION,
            parameters: z.toJSONSchema(CITY) as Record<string, unknown>,
            parse: (text: string) => JSON.parse(text) as object,
            function: (values: object) => exchange.answer(values),
          },
        },
      ],
    };
    const options = { maxChatCompletions: exchange.turns };
    if (exchange.isStreamed) {
      const runner = openAi.chat.completions.runTools({ ...request, stream: true }, options);
      for await (const { choices } of runner) exchange.words += choices[0]?.delta.content ?? "";
    } else {
      const runner = openAi.chat.completions.runTools(request, options);
      runner.on("message", (message) => {
        if (message.role === "assistant") exchange.words += message.content ?? "";
      });
      await runner.done();
    }
  },

  async "the AI SDK"(exchange) {
    const provider = createOpenAICompatible({ name: "wrinklefree", baseURL: `${server.url}/v1` });
    const request = {
      model: provider("tiny"),
      prompt: QUESTION,
      maxOutputTokens: exchange.maxTokens,
      stopWhen: isStepCount(exchange.turns),
      tools: {
        [NAME]: aiTool({
          description: DESCRIPTION,
          inputSchema: CITY,
          execute: async (input) => exchange.answer(input),
        }),
      },
    };
    if (!exchange.isStreamed) {
      for (const { text } of (await generateText(request)).steps) exchange.words += text;
      return;
    }
    for await (const piece of streamText(request).textStream) exchange.words += piece;
  },

  async "LangChain's bindTools"(exchange) {
    const model = langChain(exchange.maxTokens).bindTools([
      langChainTool(exchange.answer, { name: NAME, description: DESCRIPTION, schema: CITY }),
    ]);
    const say = async (messages: (HumanMessage | AIMessageChunk | ToolMessage)[]): Promise<AIMessageChunk> => {
      if (!exchange.isStreamed) return model.invoke(messages);
      let message: AIMessageChunk | undefined;
      for await (const piece of await model.stream(messages)) message = message?.concat(piece) ?? piece;
      return message as AIMessageChunk;
    };
    const question = new HumanMessage(QUESTION);
    const first = await say([question]);
    exchange.words += first.text;
    const results = (first.tool_calls ?? []).map(
      ({ id, args }) => new ToolMessage({ content: exchange.answer(args), tool_call_id: id as string }),
    );
    if (results.length > 0 && exchange.turns > 1) exchange.words += (await say([question, first, ...results])).text;
  },

  async "the Agents SDK"(exchange) {
    const agent = new Agent({
      name: "weather",
      model: new OpenAIChatCompletionsModel(openAi, "tiny"),
      modelSettings: exchange.maxTokens === undefined ? {} : { maxTokens: exchange.maxTokens },
      tools: [
        agentTool({
          name: NAME,
          description: DESCRIPTION,
          parameters: CITY,
          execute: async (input) => exchange.answer(input),
        }),
      ],
    });
    if (exchange.isStreamed) {
      const result = await run(agent, QUESTION, { stream: true, maxTurns: exchange.turns });
      for await (const piece of result.toTextStream()) exchange.words += piece;
      await result.completed;
      return;
    }
    for (const { output } of (await run(agent, QUESTION, { maxTurns: exchange.turns })).rawResponses) {
      for (const item of output) {
        if (item.type !== "message" || item.role !== "assistant") continue;
        for (const part of item.content) if (part.type === "output_text") exchange.words += part.text;
      }
    }
  },
};

/** LangChain's model. */
function langChain(maxTokens?: number): ChatOpenAI {
  return new ChatOpenAI({
    model: "tiny",
    apiKey: "none",
    configuration: { baseURL: `${server.url}/v1` },
    maxTokens,
    maxRetries: 0,
    temperature: 0,
  });
}

/** What clients throw at an answer that was cut off, or at a second one with another call. */
const CUT_OFF = ["LengthFinishReasonError", "ModelBehaviorError", "MaxTurnsExceededError"];

/** Nothing of how a call is written. */
const NO_CALL = /^[^<>{}"_]*$/;

describe.each(Object.entries(clients))("%s", (_, client) => {
  test.each([false, true])("the whole round, streamed: %p", async (isStreamed) => {
    const exchange = new Exchange(isStreamed);
    await client(exchange);
    expect(exchange.asked).toEqual([{ city: "Oslo" }]);
    expect(exchange.words).toMatch(NO_CALL);
    expect(exchange.words).toContain("rainy");
  });

  test.each([false, true])("cut after 1 to 40 tokens, streamed: %p", async (isStreamed) => {
    for (let maxTokens = 1; maxTokens <= 40; maxTokens++) {
      const exchange = new Exchange(isStreamed, maxTokens);
      await client(exchange).catch((error: Error) => {
        expect(CUT_OFF).toContain(error.constructor.name);
      });
      expect(exchange.words).toMatch(NO_CALL);
      if (maxTokens >= CALL_TOKENS) expect(exchange.asked).toEqual([{ city: "Oslo" }]);
    }
  });
});

describe("LangChain's withStructuredOutput", () => {
  const PERSON = z.object({ name: z.string(), age: z.number().int() });
  const REQUEST = "Write JSON for Ann, age 31.";

  test.each(["functionCalling", "jsonSchema", "jsonMode"] as const)("by %s, streamed and not", async (method) => {
    const model = langChain().withStructuredOutput(PERSON, { method, name: "person" });
    const person = await model.invoke(REQUEST);
    // The demo has never called for a person, so what it says in a call is valid and no more.
    if (method === "functionCalling") expect(PERSON.safeParse(person).success).toBe(true);
    else expect(person).toEqual({ name: "Ann", age: 31 });
    let last: unknown;
    for await (const piece of await model.stream(REQUEST)) last = piece;
    expect(last).toEqual(person);
  });

  test("a call that is cut after 1 to 40 tokens has no words", async () => {
    for (let maxTokens = 1; maxTokens <= 40; maxTokens++) {
      const model = langChain(maxTokens).withStructuredOutput(PERSON, { method: "functionCalling", includeRaw: true });
      expect((await model.invoke(REQUEST)).raw.text).toBe("");
    }
  });
});
