/**
 * Tools: offered, called, answered; through OpenAI's own SDK, and the parser of calls piece by piece.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import fc from "fast-check";
import OpenAI from "openai";
import { Exchange } from "../src/api/exchange.ts";
import { Choice } from "../src/api/openai/chat_choice.ts";
import { readChatPrompt } from "../src/api/openai/chat_prompt.ts";
import { openAi } from "../src/api/openai/dialect.ts";
import type { Service } from "../src/serving/service.ts";
import { ServerState } from "../src/serving/state.ts";
import { ChatTemplate } from "../src/text/chat_template.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { CallParser, type CallPart, writeCall } from "../src/text/tool_calls.ts";
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

  test("a call without arguments, as cut answers have them, has none in the prompt", async () => {
    const called = { id: "1", type: "function", function: { name: "get_weather", arguments: "" } };
    const messages = [
      QUESTION,
      { role: "assistant", content: null, tool_calls: [called, called] },
      { role: "tool", tool_call_id: "1", content: "9" },
    ];
    const { prompt } = (await (await server.post("/apply-template", { messages })).json()) as { prompt: string };
    const written = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>';
    expect(prompt).toContain(`Assistant: ${written}\n${written}<|eot_id|>Tool: 9`);
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

  /** An answer as it comes streamed. */
  async function streamed(request: object): Promise<unknown> {
    const chunks = await client.chat.completions.create({ ...REQUEST, ...request, stream: true });
    const message = { content: "", tool_calls: [] as { name: string; arguments: string }[] };
    let reason: string | null = null;
    for await (const { choices } of chunks) {
      const [choice] = choices;
      message.content += choice?.delta.content ?? "";
      for (const { index, id, function: called } of choice?.delta.tool_calls ?? []) {
        expect(id === undefined).toBe(index < message.tool_calls.length);
        message.tool_calls[index] ??= { name: called?.name as string, arguments: "" };
        (message.tool_calls[index] as { arguments: string }).arguments += called?.arguments ?? "";
      }
      reason = choice?.finish_reason ?? reason;
    }
    return { ...message, reason };
  }

  /** The same of one that comes whole. */
  async function whole(request: object): Promise<Record<string, unknown>> {
    const body = { ...REQUEST, ...request } as OpenAI.ChatCompletionCreateParamsNonStreaming;
    const [choice] = (await client.chat.completions.create(body)).choices;
    const calls = choice?.message.tool_calls ?? [];
    return {
      content: choice?.message.content ?? "",
      tool_calls: calls.map((call) => (call.type === "function" ? call.function : call)),
      reason: choice?.finish_reason,
    };
  }

  test("wherever max_tokens cuts a call, it is nothing or a call, and says length; streamed and not", async () => {
    const seen = new Set<string>();
    for (let maxTokens = 1; maxTokens <= 40; maxTokens++) {
      const answer = await whole({ max_tokens: maxTokens });
      expect(await streamed({ max_tokens: maxTokens })).toEqual(answer);
      const calls = answer.tool_calls as { name: string; arguments: string }[];
      expect(answer.content).toBe("");
      expect('{"city":"Oslo"}').toStartWith(calls[0]?.arguments ?? "");
      // 25 tokens with the one that ends it.
      expect(answer.reason).toBe(maxTokens < 25 ? "length" : "tool_calls");
      seen.add(calls[0] === undefined ? "nothing" : calls[0].arguments);
    }
    expect([...seen].length).toBeGreaterThan(4);
  });

  test("after the only call that is wanted nothing is cut, however long the model goes on", async () => {
    const request = { parallel_tool_calls: false, min_tokens: 40, max_tokens: 40 };
    const answer = await whole(request);
    expect(answer.reason).toBe("tool_calls");
    expect(answer.tool_calls).toEqual([{ name: "get_weather", arguments: '{"city":"Oslo"}' }]);
    expect(await streamed(request)).toEqual(answer);
  });

  test.each<[string, string, string, string | undefined]>([
    ["before the name is complete", "_weather", "stop", undefined],
    ["in the mark", "call", "stop", undefined],
    ["in the arguments", "Osl", "stop", '{"city":"'],
    ["after the call", "</tool_call>", "tool_calls", '{"city":"Oslo"}'],
  ])("a stop string %s", async (_, stop, reason, args) => {
    const calls = args === undefined ? [] : [{ name: "get_weather", arguments: args }];
    const answer = { content: "", tool_calls: calls, reason };
    expect(await whole({ stop })).toEqual(answer);
    expect(await streamed({ stop })).toEqual(answer);
  });

  test("whatever the model says, it is the same streamed and not", async () => {
    const strange = { name: "say", parameters: { type: "object", properties: { text: { type: "string" }, more: {} } } };
    const tools = [WEATHER, { type: "function", function: strange }];
    const seen = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const tool_choice = seed % 2 === 0 ? "required" : "auto";
      const request = { tools, tool_choice, seed, temperature: 1.5, max_tokens: 20 + seed };
      const answer = await whole(request);
      expect(await streamed(request)).toEqual(answer);
      seen.add(answer.reason as string);
    }
    expect(seen).toContain("length");
    expect(seen).toContain("tool_calls");
  });

  test("a stop token cuts a call like a stop string", async () => {
    const content = '{"city": "Oslo';
    const { tokens } = (await (await server.post("/tokenize", { content })).json()) as { tokens: number[] };
    const request = { stop_token_ids: [tokens.at(-1)] };
    const calls = [{ name: "get_weather", arguments: '{"city":"' }];
    const answer = { content: "", tool_calls: calls, reason: "stop" };
    expect(await whole(request)).toEqual(answer);
    expect(await streamed(request)).toEqual(answer);
  });

  test("arguments come as they are written, one piece after the other", async () => {
    const pieces: string[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...REQUEST, stream: true })) {
      for (const { function: called } of choices[0]?.delta.tool_calls ?? []) pieces.push(called?.arguments ?? "");
    }
    expect(pieces[0]).toBe("");
    expect(pieces.length).toBeGreaterThan(4);
    expect(pieces.slice(1)).not.toContain("");
  });

  test("a call that the last message began is continued, and comes as one", async () => {
    const text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
    const wanted = {
      content: "",
      tool_calls: [{ name: "get_weather", arguments: '{"city":"Oslo"}' }],
      reason: "tool_calls",
    };
    for (const end of ["<tool", '"name', '"get', '{"city', "Oslo", '"}']) {
      const content = text.slice(0, text.indexOf(end) + end.length);
      const messages = [QUESTION, { role: "assistant", content }];
      expect(await whole({ messages })).toEqual(wanted);
      expect(await streamed({ messages })).toEqual(wanted);
    }
    for (const args of ["", '{"city":"', '{"city":"Oslo']) {
      const call = { id: "1", type: "function", function: { name: "get_weather", arguments: args } };
      expect(await whole({ messages: [QUESTION, { role: "assistant", tool_calls: [call] }] })).toEqual(wanted);
    }
  });

  test("what all choices repeat of a call counts among the memory of answers", async () => {
    const begun = `<tool_call>{"name":"get_weather","arguments":{"city":"${"the capital of ".repeat(60_000)}`;
    const messages = [QUESTION, { role: "assistant", content: begun }];
    const request = { ...REQUEST, messages, max_tokens: 1, truncate_prompt_tokens: 10 };
    expect((await server.post("/v1/chat/completions", { ...request, n: 2 })).status).toBe(200);
    const refused = await server.post("/v1/chat/completions", { ...request, n: 128 });
    expect(refused.status).toBe(400);
    expect(((await refused.json()) as { error: { message: string } }).error.message).toContain("128 MB");
  });

  describe("which tools may be called", () => {
    const other = { type: "function" as const, function: { name: "other" } };
    const allowed = (mode: "auto" | "required", name: string) => ({
      type: "allowed_tools" as const,
      allowed_tools: { mode, tools: [{ type: "function", function: { name } }] },
    });

    test("those of allowed_tools that are allowed, which are all that the model hears of", async () => {
      const tools = [other, WEATHER];
      const call = { name: "get_weather", arguments: '{"city":"Oslo"}' };
      const wanted = { content: "", tool_calls: [call], reason: "tool_calls" };
      for (const mode of ["auto", "required"] as const) {
        expect(await whole({ tools, tool_choice: allowed(mode, "get_weather") })).toEqual(wanted);
      }
      const flat = { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "get_weather" }] };
      expect(await whole({ tools, tool_choice: flat })).toEqual(wanted);
      const body = { messages: [QUESTION], tools, tool_choice: allowed("auto", "other") };
      const { prompt } = (await (await server.post("/apply-template", body)).json()) as { prompt: string };
      expect(prompt).toContain("Tools: other()<");
    });

    test("with allowed_tools that are required, one of those is", async () => {
      const tools = [WEATHER, other];
      const answer = await whole({ tools, tool_choice: allowed("required", "other"), parallel_tool_calls: false });
      expect(answer).toEqual({ content: "", tool_calls: [{ name: "other", arguments: "{}" }], reason: "tool_calls" });
    });

    test.each<[string, object]>([
      ["no parameters", {}],
      ["null", { parameters: null }],
      ["an empty schema", { parameters: {} }],
      ["an object of nothing", { parameters: { type: "object", properties: {} } }],
      [
        "what Zod makes of nothing",
        { parameters: { $schema: "x", type: "object", properties: {}, additionalProperties: false } },
      ],
    ])("a tool with %s is called without arguments", async (_, described) => {
      const tools = [{ type: "function", function: { name: "now", ...described } }];
      const answer = await whole({ tools, tool_choice: "required", parallel_tool_calls: false });
      expect(answer).toEqual({ content: "", tool_calls: [{ name: "now", arguments: "{}" }], reason: "tool_calls" });
    });
  });

  describe("functions, as they were before tools", () => {
    const body = { model: "tiny", messages: [QUESTION], functions: [WEATHER.function] };
    const called = { name: "get_weather", arguments: '{"city":"Oslo"}' };

    test.each(["auto" as const, { name: "get_weather" }])("an answer that calls, by %j", async (choice) => {
      const { choices } = await client.chat.completions.create({ ...body, function_call: choice });
      expect(choices[0]).toEqual({
        index: 0,
        message: { role: "assistant", content: null, refusal: null, function_call: called },
        logprobs: null,
        finish_reason: "function_call",
      });
    });

    test("a stream that calls", async () => {
      const message = { name: "", arguments: "" };
      let reason: string | null = null;
      let deltas = 0;
      for await (const { choices } of await client.chat.completions.create({ ...body, stream: true })) {
        const { delta, finish_reason } = choices[0] as OpenAI.ChatCompletionChunk.Choice;
        expect(delta).not.toHaveProperty("tool_calls");
        message.name += delta.function_call?.name ?? "";
        message.arguments += delta.function_call?.arguments ?? "";
        deltas += delta.function_call === undefined ? 0 : 1;
        reason = finish_reason ?? reason;
      }
      expect({ message, reason }).toEqual({ message: called, reason: "function_call" as string | null });
      expect(deltas).toBeGreaterThan(4);
    });

    test("none: they are not offered", async () => {
      const { choices } = await client.chat.completions.create({ ...body, function_call: "none" });
      expect(choices[0]?.message.function_call).toBeUndefined();
    });

    test("a call and its result in the history are those of tools", async () => {
      const promptOf = async (more: object) =>
        ((await (await server.post("/apply-template", more)).json()) as { prompt: string }).prompt;
      const result = '{"temperature": 9, "sky": "rainy"}';
      const messages = [
        QUESTION,
        { role: "assistant", content: null, function_call: called },
        { role: "function", name: "get_weather", content: result },
      ];
      const calls = [{ id: "1", type: "function", function: called }];
      const newer = [
        QUESTION,
        { role: "assistant", content: null, tool_calls: calls },
        { role: "tool", tool_call_id: "1", content: result },
      ];
      const { functions } = body;
      expect(await promptOf({ functions, messages })).toBe(await promptOf({ tools: [WEATHER], messages: newer }));
      const answer = await server.chat({ functions, messages });
      expect(answer.choices[0]?.message.content).toContain("rainy");
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
    const state = new ServerState({ temperature: 0, names: {}, limits: { answers: 1, promptTokens: 1 } });
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
  function parse(
    text: string,
    cuts: number[] = [],
    callsMax?: number,
    isCut = false,
  ): (string | { name: string; args: string })[] {
    const parser = new CallParser(tools, callsMax);
    const places = [...new Set([0, ...cuts.map((cut) => cut % (text.length + 1)), text.length])].sort((a, b) => a - b);
    const parts: CallPart[] = [];
    for (let i = 1; i < places.length; i++) parts.push(...parser.push(text.slice(places[i - 1], places[i])));
    parts.push(...parser.finish(isCut));
    const joined: (string | { name: string; args: string })[] = [];
    for (const part of parts) {
      const last = joined.at(-1);
      if (part.kind === "call") joined.push({ name: part.name, args: "" });
      else if (part.kind === "arguments") (last as { args: string }).args += part.text;
      else if (typeof last === "string") joined[joined.length - 1] += part.text;
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
    ["an array for arguments", call("f", "[1]"), [{ name: "f", args: "[1]" }]],
    ["a word for arguments", call("f", "yes"), [{ name: "f", args: "yes" }]],
    ["the beginning of a mark", "a <tool_cal", ["a <tool_cal"]],
    ["arguments before the name", '<tool_call>{"arguments": {"a": 1}, "name": "f"}', [{ name: "f", args: '{"a":1}' }]],
    ["a string of arguments", call("f", '"{\\"a\\": \\"\\u00e9\\"}"'), [{ name: "f", args: '{"a": "é"}' }]],
    ["null for arguments", call("f", "null"), [{ name: "f", args: "{}" }]],
    ["parameters", '<tool_call>{"name": "f", "parameters": {"a": 1}}', [{ name: "f", args: '{"a":1}' }]],
    [
      "other members",
      '<tool_call>{"id": 7, "x": [{"name": "}"}], "name": "f", "y": "]", "arguments": {}}</tool_call> b',
      [{ name: "f", args: "{}" }, "b"],
    ],
    ["line breaks in strings", call("f", '{"a": "b\n\tc"}'), [{ name: "f", args: '{"a":"b\\n\\tc"}' }]],
    [
      "Python's literals",
      `<tool_call>{'arguments': {'a': 'it\\'s "b"', 'c': [True, None, -1.5 ]}, 'name': 'f'}</tool_call>`,
      [{ name: "f", args: '{"a":"it\'s \\"b\\"","c":[true,null,-1.5]}' }],
    ],
    ["None for arguments", `<tool_call>{'name': 'f', 'arguments': None}</tool_call>`, [{ name: "f", args: "{}" }]],
    ["apostrophes", call("f", `{"a": "it's"}`), [{ name: "f", args: `{"a":"it's"}` }]],
    ["braces too many", `a ${call("f", "{}}")} b`, ["a", { name: "f", args: "{}" }, "b"]],
    [
      "braces too few",
      '<tool_call>{"name": "f", "arguments": {"a": [1</tool_call> b',
      [{ name: "f", args: '{"a":[1' }, "b"],
    ],
    ["a call that is none before one", `<tool_call>x ${call("f")}`, ["<tool_call>x", { name: "f", args: "{}" }]],
    [
      "no end mark before the next call",
      '<tool_call>{"name": "f"}\n<tool_call>{"name": "g"}</tool_call>',
      [
        { name: "f", args: "{}" },
        { name: "g", args: "{}" },
      ],
    ],
    [
      "several calls between two marks",
      '<tool_call>[{"name": "f"},\n {"name": "g"}]</tool_call>\n<tool_call>{"name": "g"}, {"name": "f"} </tool_call> c',
      [...["f", "g", "g", "f"].map((name) => ({ name, args: "{}" })), "c"],
    ],
    [
      "a call and what is none between two marks",
      '<tool_call>{"name": "f"}, {"x": 1}</tool_call> c',
      [{ name: "f", args: "{}" }, '{"x": 1} c'],
    ],
    [
      "digits",
      call("f", '{"id": 12345678901234567890, "x": 1.50}'),
      [{ name: "f", args: '{"id":12345678901234567890,"x":1.50}' }],
    ],
    [
      "a backslash before a character of two units",
      call("f", '{"a": "\\😀b", \'c\': "\\u00😀"}'),
      [{ name: "f", args: '{"a":"\\\\😀b","c":"\\\\u00😀"}' }],
    ],
    [
      "escapes that JSON hasn't",
      call("f", '{"a": "\\d+\\.\\n C:\\users\\x\\u00e9\\u12", "b": 1}'),
      [{ name: "f", args: '{"a":"\\\\d+\\\\.\\n C:\\\\users\\\\x\\u00e9\\\\u12","b":1}' }],
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
    const marks = ["<", "<tool_call>", "</tool_call>", "{", "}", "],", '"', "'", "\\"];
    const begun = '<tool_call>{"name": "f", "arguments": {"a": ';
    const piece = fc.constantFrom("a", " ", "\n", ...marks, '{"name": "f"}', call("f"), call("h"), begun, "🚀");
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(text, fc.array(fc.nat({ max: 400 })), (answer, cuts) => {
        // What comes is whole characters.
        const between = cuts.filter((cut) => !/^[\udc00-\udfff]/.test(answer.slice(cut % (answer.length + 1))));
        expect(parse(answer, between)).toEqual(parse(answer));
      }),
      { numRuns: 2000 },
    );
  });

  const SAID = '{"a": "<tool_call>", "b": [1, {"c": "\\"}"}], "d": -1.50e3}';
  const KEPT = '{"a":"<tool_call>","b":[1,{"c":"\\"}"}],"d":-1.50e3}';

  test("wherever a call is cut, it is nothing, or a call with what there is of its arguments", () => {
    const text = `a ${call("f", SAID)}`;
    const named = text.indexOf('"f"') + 3;
    for (let length = 2; length <= text.length; length++) {
      const [content, made, ...more] = parse(text.slice(0, length), [], undefined, true);
      // Without the beginning of a mark, white space is content.
      expect(content).toBe(length === 2 ? "a " : "a");
      expect(more).toEqual([]);
      if (length < named) expect(made).toBeUndefined();
      else expect(made).toEqual({ name: "f", args: expect.stringMatching(/^(\{|$)/) });
      if (typeof made === "object") expect(KEPT).toStartWith(made.args);
    }
  });

  test("wherever a message breaks off, the answer has the whole of the call that it began and nothing else of it", () => {
    const before = `a ${call("g")} b `;
    const text = `${before}${call("f", SAID)}\n c`;
    for (let length = before.length + 1; length <= text.length; length++) {
      const parser = new CallParser(tools);
      const parts = [
        ...parser.continueFrom(text.slice(0, length)),
        ...parser.push(text.slice(length)),
        ...parser.finish(false),
      ];
      const joined = (wanted: string) =>
        parts.map((part) => (part.kind === wanted ? (part as { text: string }).text : ""));
      const isOpen = length < text.length - "\n c".length;
      expect(parts.filter(({ kind }) => kind === "call")).toEqual(isOpen ? [{ kind: "call", name: "f" }] : []);
      expect(joined("arguments").join("")).toBe(isOpen ? KEPT : "");
      expect(joined("content").join("").trim()).toBe(length < text.length ? "c" : "");
    }
    const parser = new CallParser(tools);
    expect(parser.continueFrom("a <tool_call>{")).toEqual([]);
    expect(
      [...parser.push("x} <"), ...parser.finish(false)].map((part) => (part as { text: string }).text).join(""),
    ).toBe("x} <");
  });

  test("a parser that was forked goes on as the first one does, wherever that was", () => {
    const text = `a <tool_call> ${call("f", SAID)} b ${call("g", `{'x': ["\\u0041", {"y": nul`)}{"name": 'g'} <tool_`;
    for (let length = 0; length <= text.length; length++) {
      const parser = new CallParser(tools);
      parser.continueFrom(text.slice(0, length));
      const fork = parser.fork();
      const rest = (one: CallParser) => [...one.push(text.slice(length)), ...one.finish(false)];
      expect(rest(fork)).toEqual(rest(parser));
    }
  });

  test("a message that is continued is read once, however many choices continue it", () => {
    const reads = spyOn(CallParser.prototype, "continueFrom");
    const prompt = { tools, begun: 'a <tool_call>{"name": "f", "arguments": {"x": 1', callsMax: 1, thinks: false };
    const service = { config: { eosTokenIds: [] } };
    const request = { service, prompt: prompt as never, thoughts: "field" as const, isFormed: false };
    const choices = Choice.all(request, 128);
    expect(reads).toHaveBeenCalledTimes(1);
    for (const [i, choice] of choices.entries()) choice.grow(`${i}}}</tool_call>`, 1);
    const args = choices.map(({ message }) => (message as OpenAI.ChatCompletionMessage).tool_calls?.[0]);
    expect(args.map((made) => made?.type === "function" && made.function.arguments)).toEqual(
      choices.map((_, i) => `{"x":1${i}}`),
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
