/**
 * Tools: offered, called, answered; through OpenAI's own SDK, and the parser of calls piece by piece.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import OpenAI from "openai";
import { Exchange } from "../src/api/exchange.ts";
import { readChatPrompt } from "../src/api/openai/chat_prompt.ts";
import { openAi } from "../src/api/openai/dialect.ts";
import type { Service } from "../src/serving/service.ts";
import { ServerState } from "../src/serving/state.ts";
import { ChatTemplate } from "../src/text/chat_template.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { type AnswerPart, CallParser, writeCall } from "../src/text/tool_calls.ts";
import { readAssets, tinyDirectory } from "./support/goldens.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

const WEATHER = {
  type: "function" as const,
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const QUESTION = { role: "user" as const, content: "What is the weather in Oslo?" };
const REQUEST = { model: "tiny", messages: [QUESTION], tools: [WEATHER] };

describe("calls", () => {
  test("an answer that calls", async () => {
    const answer = await client.chat.completions.create({ ...REQUEST, tool_choice: "auto" });
    expect(answer.choices[0]).toEqual({
      index: 0,
      message: {
        role: "assistant",
        content: null,
        refusal: null,
        tool_calls: [
          {
            id: expect.stringMatching(/^call_\w+$/),
            type: "function",
            function: { name: "get_weather", arguments: '{"city":"Oslo"}' },
          },
        ],
      },
      logprobs: null,
      finish_reason: "tool_calls",
    });
  });

  test("a stream that calls: the name first, then the arguments, all with the index", async () => {
    const deltas: OpenAI.Chat.ChatCompletionChunk.Choice.Delta.ToolCall[] = [];
    let reason: string | null = null;
    for await (const { choices } of await client.chat.completions.create({ ...REQUEST, stream: true })) {
      expect(choices[0]?.delta.content ?? "").toBe("");
      deltas.push(...(choices[0]?.delta.tool_calls ?? []));
      reason = choices[0]?.finish_reason ?? reason;
    }
    expect(reason as string | null).toBe("tool_calls");
    expect(deltas[0]).toMatchObject({ index: 0, type: "function", function: { name: "get_weather", arguments: "" } });
    expect(deltas.slice(1).every((delta) => delta.index === 0 && delta.id === undefined)).toBe(true);
    expect(deltas.map((delta) => delta.function?.arguments).join("")).toBe('{"city":"Oslo"}');

    const final = await client.chat.completions.stream(REQUEST).finalChatCompletion();
    expect(final.choices[0]?.message.tool_calls?.[0]).toMatchObject({
      function: { name: "get_weather", arguments: '{"city":"Oslo"}' },
    });
  });

  test("the whole round: the SDK calls the function and gets an answer from its result", async () => {
    const asked: unknown[] = [];
    const runner = client.chat.completions.runTools({
      model: "tiny",
      messages: [QUESTION],
      tools: [
        {
          type: "function",
          function: {
            ...WEATHER.function,
            parse: JSON.parse,
            function: (values: object) => {
              asked.push(values);
              return '{"temperature": 9, "sky": "rainy"}';
            },
          },
        },
      ],
    });
    const answer = await runner.finalContent();
    expect(asked).toEqual([{ city: "Oslo" }]);
    expect(answer).toContain("9");
    expect(answer).toContain("rainy");
  });

  test("the prompt is that of the model's training, call and result included", async () => {
    const { prompt } = (await (
      await server.post("/apply-template", {
        tools: [WEATHER],
        messages: [
          QUESTION,
          {
            role: "assistant",
            content: null,
            tool_calls: [
              { id: "1", type: "function", function: { name: "get_weather", arguments: '{"city":"Oslo"}' } },
            ],
          },
          { role: "tool", tool_call_id: "1", content: "9" },
        ],
      })
    ).json()) as { prompt: string };
    expect(prompt).toBe(
      "<|begin_of_text|>System: You can call tools. Tools: get_weather(city)<|eot_id|>User: What is the weather in Oslo?" +
        '<|eot_id|>Assistant: <tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call><|eot_id|>' +
        "Tool: 9<|eot_id|>Assistant: ",
    );
  });

  test("the system's own message stays, after the tools", async () => {
    const { prompt } = (await (
      await server.post("/apply-template", {
        tools: [WEATHER, { type: "function", function: { name: "now" } }],
        messages: [{ role: "system", content: "Be brief." }, QUESTION],
      })
    ).json()) as { prompt: string };
    expect(prompt).toStartWith(
      "<|begin_of_text|>System: You can call tools. Tools: get_weather(city), now()\nBe brief.<|eot_id|>",
    );
  });

  test("tool_choice none: no tools, and what looks like a call is text", async () => {
    const system = { role: "system" as const, content: "You can call tools. Tools: get_weather(city)" };
    const answer = await client.chat.completions.create({
      ...REQUEST,
      messages: [system, QUESTION],
      tool_choice: "none",
    });
    expect(answer.choices[0]?.message.content).toStartWith("<tool_call>");
    expect(answer.choices[0]?.message.tool_calls).toBeUndefined();
    expect(answer.choices[0]?.finish_reason).toBe("stop");
  });

  test("a call of a tool that was not offered is text", async () => {
    const system = { role: "system" as const, content: "You can call tools. Tools: get_weather(city)" };
    const other = { type: "function" as const, function: { name: "other" } };
    const answer = await server.chat({ messages: [system, QUESTION], tools: [other], tool_choice: "auto" });
    expect(answer.choices[0]?.finish_reason).not.toBe("tool_calls");
  });

  test("an answer that is cut off says so", async () => {
    const answer = await server.chat({ messages: [QUESTION], tools: [WEATHER], max_tokens: 8 });
    expect(answer.choices[0]).toMatchObject({
      finish_reason: "length",
      message: { content: expect.stringContaining("<tool_call>") },
    });
  });

  test("the tokens of a call have their log-probabilities", async () => {
    const request = { ...REQUEST, logprobs: true };
    const whole = await client.chat.completions.create(request);
    const tokens = whole.choices[0]?.logprobs?.content ?? [];
    expect(tokens.map(({ token }) => token).join("")).toContain("get_weather");
    const streamed: unknown[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
      streamed.push(...(choices[0]?.logprobs?.content ?? []));
    }
    expect(streamed).toEqual(tokens);
  });
});

describe("templates", () => {
  test("one that takes tools gets them, and calls with their arguments as objects", () => {
    const tokenizer = Tokenizer.fromAssets(readAssets(tinyDirectory), "tiny", 2048);
    const source =
      "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}{% for m in messages %}{{ m.content }}" +
      "{% for c in m.tool_calls or [] %}({{ c.function.arguments.city }}){% endfor %}{% endfor %}{{ mood }}";
    const template = new ChatTemplate(source, tokenizer, "test");
    expect(template.takesTools).toBe(true);
    const messages = [
      { role: "user", content: "hi " },
      { role: "assistant", content: "", tool_calls: [{ function: { name: "f", arguments: { city: "Oslo" } } }] },
      { role: "tool", content: " 9" },
    ];
    expect(template.render(messages, { tools: [WEATHER], variables: { mood: "!" } })).toBe("[get_weather]hi (Oslo) 9!");
    expect(template.render(messages)).toBe("hi (Oslo) 9");
  });

  test("arguments that are nested deeper than any stack can bear stay text, and too many values are refused", async () => {
    const tokenizer = Tokenizer.fromAssets(readAssets(tinyDirectory), "tiny", 2048);
    const source =
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}" +
      "{{ tools | length if tools }}";
    const service = { template: new ChatTemplate(source, tokenizer, "test"), context: 2048 } as Service;
    const args = "[".repeat(100_000) + "]".repeat(100_000);
    const call = { type: "function", function: { name: "f", arguments: args } };
    const messages = [
      { role: "assistant", tool_calls: [call] },
      { role: "tool", content: "9" },
    ];
    const state = new ServerState(0, undefined, { answers: 1, promptTokens: 1 });
    const exchange = new Exchange(
      state,
      { request: new Request("http://localhost/"), path: "/", dialect: openAi },
      () => undefined,
    );
    expect((await readChatPrompt(exchange, service, { messages })).text).toBe(`"${args}"`);
    call.function.arguments = `[${"1,".repeat(100_000)}1]`;
    // Nor are they read for a template that knows nothing of tools.
    const withoutTools = { template: new ChatTemplate(undefined, tokenizer, "test"), context: 2048 } as Service;
    for (const its of [service, withoutTools]) {
      const refused = await readChatPrompt(exchange, its, { messages }).catch((error) => error);
      expect(refused).toMatchObject({ status: 400, details: { param: "messages", code: "invalid_value" } });
    }
  });
});

describe("the parser of calls", () => {
  const tools = new Set(["f", "g"]);

  /** What an answer is made of, texts joined, for any way of cutting it. */
  function parse(text: string, cuts: number[] = [], callsMax?: number): (string | { name: string; args: string })[] {
    const parser = new CallParser(tools, callsMax);
    const places = [...new Set([0, ...cuts.map((cut) => cut % (text.length + 1)), text.length])].sort((a, b) => a - b);
    const parts: AnswerPart[] = [];
    for (let i = 1; i < places.length; i++) parts.push(...parser.push(text.slice(places[i - 1], places[i])));
    parts.push(...parser.finish());
    const joined: (string | { name: string; args: string })[] = [];
    for (const part of parts) {
      if (part.kind === "call") joined.push({ name: part.call.name, args: part.call.arguments });
      else if (typeof joined.at(-1) === "string") joined[joined.length - 1] += part.text;
      else joined.push(part.text);
    }
    return joined;
  }

  const call = (name: string, args = "{}") => `<tool_call>\n{"name": "${name}", "arguments": ${args}}\n</tool_call>`;

  test.each<[string, string, unknown[]]>([
    ["no call", "a < b\n ", ["a < b\n "]],
    ["one call", call("f"), [{ name: "f", args: "{}" }]],
    ["text around", `a \n${call("f")}\n b`, ["a", { name: "f", args: "{}" }, "b"]],
    [
      "two calls",
      `${call("f")}\n${call("g")} `,
      [
        { name: "f", args: "{}" },
        { name: "g", args: "{}" },
      ],
    ],
    ["no arguments", '<tool_call>{"name":"f"}</tool_call>', [{ name: "f", args: "{}" }]],
    ["without its end", '<tool_call>{"name":"f"}', [{ name: "f", args: "{}" }]],
    ["cut off", '<tool_call>{"name":"f', ['<tool_call>{"name":"f']],
    ["another tool", call("h"), [call("h")]],
    ["no JSON", "<tool_call>f()</tool_call> x", ["<tool_call>f()</tool_call> x"]],
    ["a number", "<tool_call>5</tool_call>", ["<tool_call>5</tool_call>"]],
    ["an array for arguments", call("f", "[1]"), [call("f", "[1]")]],
    ["the beginning of a mark", "a <tool_cal", ["a <tool_cal"]],
    [
      "digits",
      call("f", '{"id": 12345678901234567890, "x": 1.50}'),
      [{ name: "f", args: '{"id":12345678901234567890,"x":1.50}' }],
    ],
    ["marks in strings", call("f", '{"a": "<tool_call>"}'), [{ name: "f", args: '{"a":"<tool_call>"}' }]],
    [
      "end marks in strings",
      call("f", '{"a": "\\"</tool_call>", "b": "</tool_call>"}'),
      [{ name: "f", args: '{"a":"\\"</tool_call>","b":"</tool_call>"}' }],
    ],
  ])("%s", (_, text, wanted) => {
    expect(parse(text)).toEqual(wanted as never);
  });

  test("however the answer is cut into pieces, the parts are the same", () => {
    const piece = fc.constantFrom("a", " ", "\n", "<", "<tool_call>", "</tool_call>", call("f"), call("h"), "🚀");
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(text, fc.array(fc.nat({ max: 400 })), (answer, cuts) => {
        expect(parse(answer, cuts)).toEqual(parse(answer));
      }),
      { numRuns: 2000 },
    );
  });

  test("after the last call that is wanted nothing comes", () => {
    expect(parse(`a ${call("f")} b ${call("g")} c`, [], 1)).toEqual(["a", { name: "f", args: "{}" }]);
  });

  test("a call that was written reads the same", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (values) => {
        const args = JSON.stringify(values);
        expect(parse(writeCall({ name: "f", arguments: args }))).toEqual([{ name: "f", args }]);
      }),
    );
  });
});
