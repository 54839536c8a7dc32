/**
 * What is refused, and how: wrong values, prompts and bodies that are too large, strange hosts and broken HTTP; and what looks wrong and is
 * none of it.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ask, CHAT, FRANCE, LONG, QUESTION } from "./support/chat.ts";
import { rawExchange, startServer, type TestServer, untilIdle } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

async function errorOf(response: Response) {
  const { error } = (await response.json()) as { error: Record<string, unknown> };
  for (const key of ["message", "type", "param", "code"]) expect(error).toHaveProperty(key);
  expect(response.headers.get("x-request-id")).not.toBeNull();
  return error as { message: string; type: string; param: string | null; code: string | null; [key: string]: unknown };
}

describe("errors", () => {
  const user = { role: "user", content: "x" };
  const messages = (value: unknown) => ({ messages: value });
  const first = (message: unknown) => messages([message]);
  const withParameter = (more: object) => ({ messages: [user], ...more });
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  const withTools = (parameters: string) =>
    `{"messages":[{"role":"user","content":"x"}],"max_tokens":1,"tools":[{"type":"function","function":{"name":"f","parameters":{"x":${parameters}}}}]}`;

  test.each<[string, unknown, number, string | null, string | null]>([
    ["messages missing", {}, 400, "messages", "missing_required_parameter"],
    ["messages null", messages(null), 400, "messages", "invalid_type"],
    ["messages a string", messages("hello"), 400, "messages", "invalid_type"],
    ["messages empty", messages([]), 400, "messages", "empty_array"],
    ["a message that is a number", first(123), 400, "messages[0]", "invalid_type"],
    ["a message without a role", first({}), 400, "messages[0].role", "missing_required_parameter"],
    ["a role that is a number", first({ role: 123, content: "x" }), 400, "messages[0].role", "invalid_type"],
    ["an unknown role", first({ role: "wizard", content: "x" }), 400, "messages[0].role", "invalid_value"],
    ["content missing", first({ role: "user" }), 400, "messages[0].content", "missing_required_parameter"],
    ["content a number", first({ role: "user", content: 123 }), 400, "messages[0].content", "invalid_type"],
    ["content null", first({ role: "user", content: null }), 400, "messages[0].content", "invalid_type"],
    [
      "content of a system message null",
      first({ role: "system", content: null }),
      400,
      "messages[0].content",
      "invalid_type",
    ],
    [
      "a name that is a number",
      messages([user, { role: "user", content: "x", name: 5 }]),
      400,
      "messages[1].name",
      "invalid_type",
    ],
    [
      "a result with a number as the call's id",
      first({ role: "tool", content: "x", tool_call_id: 5 }),
      400,
      "messages[0].tool_call_id",
      "invalid_type",
    ],
    [
      "a tool call with a number as its id",
      first({ role: "assistant", tool_calls: [{ id: 5, function: { name: "f", arguments: "{}" } }] }),
      400,
      "messages[0].tool_calls[0].id",
      "invalid_type",
    ],
    [
      "a fault in a later message",
      messages([user, { role: "user", content: {} }]),
      400,
      "messages[1].content",
      "invalid_type",
    ],
    ["a part that is a string", first({ role: "user", content: ["x"] }), 400, "messages[0].content[0]", "invalid_type"],
    [
      "a part without a type",
      first({ role: "user", content: [{}] }),
      400,
      "messages[0].content[0].type",
      "missing_required_parameter",
    ],
    [
      "an image",
      first({ role: "user", content: [{ type: "image_url", image_url: {} }] }),
      400,
      "messages[0].content[0].type",
      "invalid_value",
    ],
    [
      "a part without text",
      first({ role: "user", content: [{ type: "text" }] }),
      400,
      "messages[0].content[0].text",
      "missing_required_parameter",
    ],
    [
      "a tool call without a function",
      first({ role: "assistant", content: "", tool_calls: [{}] }),
      400,
      "messages[0].tool_calls[0].function",
      "missing_required_parameter",
    ],
    [
      "a tool call with an object as arguments",
      first({ role: "assistant", tool_calls: [{ function: { name: "f", arguments: {} } }] }),
      400,
      "messages[0].tool_calls[0].function.arguments",
      "invalid_type",
    ],
    [
      "a tool call that nothing follows",
      first({ role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{}" } }] }),
      400,
      "messages[0]",
      "invalid_value",
    ],
    ["temperature 200", withParameter({ temperature: 200 }), 400, "temperature", "decimal_above_max_value"],
    ["temperature -1", withParameter({ temperature: -1 }), 400, "temperature", "decimal_below_min_value"],
    ["temperature a string", withParameter({ temperature: "1" }), 400, "temperature", "invalid_type"],
    [
      "temperature beyond numbers",
      '{"messages":[{"role":"user","content":"x"}],"temperature":1e999}',
      400,
      "temperature",
      "decimal_above_max_value",
    ],
    ["top_p 1.1", withParameter({ top_p: 1.1 }), 400, "top_p", "decimal_above_max_value"],
    ["top_k -2", withParameter({ top_k: -2 }), 400, "top_k", "integer_below_min_value"],
    ["top_k 1.5", withParameter({ top_k: 1.5 }), 400, "top_k", "invalid_type"],
    ["min_p -0.1", withParameter({ min_p: -0.1 }), 400, "min_p", "decimal_below_min_value"],
    ["n 0", withParameter({ n: 0 }), 400, "n", "integer_below_min_value"],
    ["n 129", withParameter({ n: 129 }), 400, "n", "integer_above_max_value"],
    ["max_tokens 0", withParameter({ max_tokens: 0 }), 400, "max_tokens", "integer_below_min_value"],
    ["max_tokens -5", withParameter({ max_tokens: -5 }), 400, "max_tokens", "integer_below_min_value"],
    ["max_tokens 1.5", withParameter({ max_tokens: 1.5 }), 400, "max_tokens", "invalid_type"],
    [
      "max_completion_tokens 0",
      withParameter({ max_completion_tokens: 0 }),
      400,
      "max_completion_tokens",
      "integer_below_min_value",
    ],
    [
      "min_tokens over max_tokens",
      withParameter({ min_tokens: 5, max_tokens: 4 }),
      400,
      "min_tokens",
      "integer_above_max_value",
    ],
    [
      "frequency_penalty 3",
      withParameter({ frequency_penalty: 3 }),
      400,
      "frequency_penalty",
      "decimal_above_max_value",
    ],
    [
      "presence_penalty -3",
      withParameter({ presence_penalty: -3 }),
      400,
      "presence_penalty",
      "decimal_below_min_value",
    ],
    [
      "repetition_penalty 0",
      withParameter({ repetition_penalty: 0 }),
      400,
      "repetition_penalty",
      "decimal_below_min_value",
    ],
    ["repeat_penalty -1", withParameter({ repeat_penalty: -1 }), 400, "repeat_penalty", "decimal_below_min_value"],
    ["seed 1.5", withParameter({ seed: 1.5 }), 400, "seed", "invalid_type"],
    ["logit_bias an array", withParameter({ logit_bias: [] }), 400, "logit_bias", "invalid_type"],
    [
      "logit_bias out of the vocabulary",
      withParameter({ logit_bias: { 2048: 1 } }),
      400,
      "logit_bias",
      "invalid_value",
    ],
    ["logit_bias of no id", withParameter({ logit_bias: { "-1": 1 } }), 400, "logit_bias", "invalid_value"],
    ["logit_bias 101", withParameter({ logit_bias: { 5: 101 } }), 400, "logit_bias", "decimal_above_max_value"],
    ["logit_bias a string", withParameter({ logit_bias: { 5: "1" } }), 400, "logit_bias", "invalid_type"],
    ["stop a number", withParameter({ stop: 5 }), 400, "stop", "invalid_type"],
    ["stop with a number", withParameter({ stop: ["a", 5] }), 400, "stop[1]", "invalid_type"],
    ["stop empty", withParameter({ stop: [""] }), 400, "stop[0]", "string_below_min_length"],
    ["too many stops", withParameter({ stop: Array(65).fill("x") }), 400, "stop", "array_above_max_length"],
    [
      "stop_token_ids out of the vocabulary",
      withParameter({ stop_token_ids: [2048] }),
      400,
      "stop_token_ids[0]",
      "integer_above_max_value",
    ],
    ["ignore_eos a string", withParameter({ ignore_eos: "yes" }), 400, "ignore_eos", "invalid_type"],
    ["stream a string", withParameter({ stream: "true" }), 400, "stream", "invalid_type"],
    ["stream_options without stream", withParameter({ stream_options: {} }), 400, "stream_options", null],
    ["user a number", withParameter({ user: 5 }), 400, "user", "invalid_type"],
    ["model a number", withParameter({ model: 5 }), 400, "model", "invalid_type"],
    ["an unknown model", withParameter({ model: "gpt-4o" }), 404, "model", "model_not_found"],
    ["a model that looks like a path", withParameter({ model: "../../etc/passwd" }), 404, "model", "model_not_found"],
    [
      "top_logprobs 21",
      withParameter({ logprobs: true, top_logprobs: 21 }),
      400,
      "top_logprobs",
      "integer_above_max_value",
    ],
    ["logprobs a number", withParameter({ logprobs: 3 }), 400, "logprobs", "invalid_type"],
    ["top_logprobs without logprobs", withParameter({ top_logprobs: 2 }), 400, "top_logprobs", null],
    ["a tool without a type", withParameter({ tools: [{}] }), 400, "tools[0].type", "missing_required_parameter"],
    ["another kind of tool", withParameter({ tools: [{ type: "x" }] }), 400, "tools[0].type", "invalid_value"],
    [
      "a tool without a name",
      withParameter({ tools: [{ type: "function", function: {} }] }),
      400,
      "tools[0].function.name",
      "missing_required_parameter",
    ],
    [
      "a tool with a bad name",
      withParameter({ tools: [{ type: "function", function: { name: "a b" } }] }),
      400,
      "tools[0].function.name",
      "invalid_value",
    ],
    ["too many tools", withParameter({ tools: Array(129).fill({}) }), 400, "tools", "array_above_max_length"],
    [
      "a tool_choice of no tool",
      withParameter({ tool_choice: { type: "function", function: { name: "f" } } }),
      400,
      "tool_choice.function.name",
      "invalid_value",
    ],
    [
      "a tool_choice without a name",
      withParameter({ tool_choice: { type: "function" } }),
      400,
      "tool_choice.function",
      "missing_required_parameter",
    ],
    ["a tool_choice that is a number", withParameter({ tool_choice: 1 }), 400, "tool_choice", "invalid_type"],
    ["an unknown tool_choice", withParameter({ tool_choice: "maybe" }), 400, "tool_choice", "invalid_value"],
    [
      "functions beside tools",
      withParameter({ functions: [{ name: "f" }], tools: [{}] }),
      400,
      "functions",
      "invalid_value",
    ],
    [
      "a function without a name",
      withParameter({ functions: [{}] }),
      400,
      "functions[0].name",
      "missing_required_parameter",
    ],
    [
      "a function_call of no function",
      withParameter({ functions: [{ name: "f" }], function_call: { name: "g" } }),
      400,
      "function_call.name",
      "invalid_value",
    ],
    [
      "a function_call that is a number",
      withParameter({ functions: [{ name: "f" }], function_call: 1 }),
      400,
      "function_call",
      "invalid_value",
    ],
    [
      "a function_call in a message without arguments",
      first({ role: "assistant", function_call: { name: "f" } }),
      400,
      "messages[0].function_call.arguments",
      "missing_required_parameter",
    ],
    [
      "allowed tools without a mode",
      withParameter({ tool_choice: { type: "allowed_tools", allowed_tools: { tools: [] } } }),
      400,
      "tool_choice.allowed_tools.mode",
      "missing_required_parameter",
    ],
    [
      "no allowed tools",
      withParameter({ tool_choice: { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [] } } }),
      400,
      "tool_choice.allowed_tools.tools",
      "empty_array",
    ],
    [
      "an allowed tool that is not there",
      withParameter({
        tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "f" }] },
      }),
      400,
      "tool_choice.tools[0].name",
      "invalid_value",
    ],
    ["audio", withParameter({ modalities: ["text", "audio"] }), 400, "modalities", "unsupported_parameter"],
    ["cache_salt a number", withParameter({ cache_salt: 5 }), 400, "cache_salt", "invalid_type"],
    [
      "a long cache_salt",
      withParameter({ cache_salt: "x".repeat(1025) }),
      400,
      "cache_salt",
      "string_above_max_length",
    ],
    ["return_progress without stream", withParameter({ return_progress: true }), 400, "return_progress", null],
    [
      "tool_choice required without tools",
      withParameter({ tool_choice: "required" }),
      400,
      "tool_choice",
      "invalid_value",
    ],
    [
      "an unknown response_format",
      withParameter({ response_format: { type: "xml" } }),
      400,
      "response_format.type",
      "invalid_value",
    ],
    [
      "response_format without a schema",
      withParameter({ response_format: { type: "json_schema" } }),
      400,
      "response_format.json_schema",
      "missing_required_parameter",
    ],
    ["a grammar", withParameter({ grammar: 'root ::= "x"' }), 400, "grammar", "unsupported_parameter"],
    ["response_format a string", withParameter({ response_format: "json" }), 400, "response_format", "invalid_type"],
    [
      "chat_template_kwargs that shadow messages",
      withParameter({ chat_template_kwargs: { messages: [] } }),
      400,
      "chat_template_kwargs",
      "invalid_value",
    ],
    [
      "chat_template_kwargs with a strange name",
      '{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"__proto__":{}}}',
      400,
      "chat_template_kwargs",
      "invalid_value",
    ],
    [
      "chat_template_kwargs that shadow a function",
      withParameter({ chat_template_kwargs: { namespace: 1 } }),
      400,
      "chat_template_kwargs",
      "invalid_value",
    ],
    [
      "large chat_template_kwargs",
      withParameter({ chat_template_kwargs: { a: "x".repeat(20_000) } }),
      400,
      "chat_template_kwargs",
      "string_above_max_length",
    ],
    ["invalid JSON", "{bad", 400, null, null],
    ["an empty body", "", 400, null, null],
    ["a body that is an array", "[]", 400, null, null],
    ["a body that is a number", "5", 400, null, null],
    ["JSON that is nested without end", "[".repeat(200_000), 400, null, null],
    ["tools nested deeper than the stack", withTools(nested(200_000)), 400, null, null],
    [
      "chat_template_kwargs nested deeper than the stack",
      `{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"a":${nested(200_000)}}}`,
      400,
      null,
      null,
    ],
  ])("%s", async (_, body, status, param, code) => {
    const response = await server.post(CHAT, body);
    expect(response.status).toBe(status);
    const error = await errorOf(response);
    expect([error.param, error.code]).toEqual([param, code]);
    expect(error.type).toBe("invalid_request_error");
  });

  test("what needs no honouring is accepted", async () => {
    const harmless = [
      { tools: [] },
      { tools: [{ type: "function", function: { name: "f" } }], tool_choice: "none" },
      { chat_template_kwargs: { enable_thinking: false } },
      { cache_salt: "mine" },
      { modalities: ["text"], store: false, functions: [] },
      { tool_choice: "auto" },
      { response_format: { type: "text" } },
      { top_logprobs: 0 },
      { logprobs: false },
      { messages: [{ role: "user", content: QUESTION, name: null, tool_call_id: null }] },
    ];
    for (const more of harmless)
      expect((await server.post(CHAT, ask(QUESTION, { ...more, max_tokens: 1 }))).status).toBe(200);
  });

  test("brackets in a text are no nesting, nor are the levels of honest tools", async () => {
    const brackets = `${'["\\'.repeat(150)}${"[".repeat(500)}`;
    expect((await server.post(CHAT, ask(brackets, { max_tokens: 1 }))).status).toBe(200);
    expect((await server.post(CHAT, withTools(nested(200)))).status).toBe(200);
  });

  test("a prompt that is too long", async () => {
    for (const content of ["word ".repeat(2500), "word ".repeat(100_000), "a".repeat(4_000_000), "1".repeat(36_000)]) {
      const response = await server.post(CHAT, ask(content));
      expect(response.status).toBe(400);
      const error = await errorOf(response);
      expect(error).toMatchObject({ param: "messages", code: "context_length_exceeded", n_ctx: 2048 });
      expect(error.message).toStartWith("This model's maximum context length is 2048 tokens.");
      expect(error.n_prompt_tokens as number).toBeGreaterThan(2047);
    }
  });

  test("more messages than the context has tokens are refused at once, fewer are rendered", async () => {
    const many = (count: number) => ({ messages: Array(count).fill({ role: "user", content: "" }) });
    for (const count of [2047, 2048, 50_000]) {
      const error = await errorOf(await server.post(CHAT, many(count)));
      expect(error.code).toBe("context_length_exceeded");
    }
  });

  test("a prompt that just fits leaves room for one token", async () => {
    // " word" is one token or several: find the number of repetitions that fills the context.
    const length = async (count: number) => {
      const response = await server.post(CHAT, ask("a".repeat(count), { max_tokens: 1 }));
      return response.status === 200
        ? ((await response.json()) as { usage: { prompt_tokens: number } }).usage.prompt_tokens
        : -1;
    };
    const frame = (await length(100)) - 100;
    expect(await length(2047 - frame)).toBe(2047);
    expect(await length(2048 - frame)).toBe(-1);
    const full = await server.chat(ask("a".repeat(2047 - frame)));
    expect(full.choices[0]?.finish_reason).toMatch(/length|stop/);
    expect(full.usage.completion_tokens).toBeLessThanOrEqual(1);
  });

  test("errors come before a stream begins", async () => {
    const response = await server.post(CHAT, ask("x", { stream: true, temperature: 200 }));
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toContain("application/json");
  });

  test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""])(
    "content type '%s'",
    async (type) => {
      const response = await server.post(CHAT, JSON.stringify(ask("x")), {
        headers: type === "" ? {} : { "content-type": type },
      });
      expect(response.status).toBe(400);
      const error = await errorOf(response);
      expect([error.param, error.code]).toEqual([null, null]);
    },
  );

  test.each(["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])(
    "content type %s will do",
    async (type) => {
      const response = await server.post(CHAT, ask("x", { max_tokens: 1 }), { headers: { "content-type": type } });
      expect(response.status).toBe(200);
    },
  );

  test.each([
    ["GET", "/nowhere", 404],
    ["POST", "/v1", 404],
    ["GET", "/v1/chat", 404],
    ["GET", "/%ff", 404],
    ["GET", "//", 404],
    ["GET", CHAT, 405],
    ["DELETE", CHAT, 405],
    ["POST", "/v1/models", 405],
    ["DELETE", "/v1/models/tiny", 405],
    ["POST", "/health", 405],
    ["PUT", "/ready", 405],
  ])("%s %s is %d", async (method, path, status) => {
    const response = await fetch(server.url + path, { method });
    expect(response.status).toBe(status);
    const error = await errorOf(response);
    expect([error.param, error.code]).toEqual([null, status === 404 ? "unknown_url" : null]);
    if (status === 405) expect(response.headers.get("allow")).not.toBeNull();
  });

  test.each(["org/model", "org%2Fmodel", "%ff", "..%2f..%2fetc%2fpasswd"])("the unknown model %s", async (name) => {
    const response = await fetch(`${server.url}/v1/models/${name}`);
    expect(response.status).toBe(404);
    expect(await errorOf(response)).toMatchObject({ param: "model", code: "model_not_found" });
  });

  test("a body that is too large, announced or not", async () => {
    const announced = await server.post(CHAT, ask("x".repeat(9_000_000)));
    expect(announced.status).toBe(413);
    expect(await errorOf(announced)).toMatchObject({ param: null, code: null });
    let sent = 0;
    const endless = new ReadableStream({
      pull(controller) {
        sent++;
        controller.enqueue(new Uint8Array(65536).fill(32));
      },
    });
    const streamed = await fetch(server.url + CHAT, {
      method: "POST",
      body: endless,
      headers: { "content-type": "application/json" },
      duplex: "half",
    } as RequestInit);
    expect(streamed.status).toBe(413);
    expect(sent).toBeLessThan(1000);
  });

  test("too many answers at once", async () => {
    const leave = new AbortController();
    const crowd = Array.from({ length: 8 }, () =>
      server.post(
        CHAT,
        { ...LONG, n: 128, stream: true },
        { headers: { "content-type": "application/json" }, signal: leave.signal },
      ),
    );
    await Promise.all(crowd);
    const response = await server.post(CHAT, ask("x"));
    leave.abort();
    expect(response.status).toBe(429);
    expect(await errorOf(response)).toMatchObject({
      type: "rate_limit_error",
      code: "rate_limit_exceeded",
      param: null,
    });
    expect(Number(response.headers.get("retry-after"))).toBeWithin(1, 61);
    await untilIdle(server);
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe("The capital of France is Paris.");
  });

  test("nothing of a bad request is repeated", async () => {
    const secret = "hunter2secret";
    const bad = [
      { messages: secret },
      first({ role: secret, content: "x" }),
      withParameter({ stop: { [secret]: 1 } }),
      withParameter({ model: `a prompt, ${secret}` }),
      `{"messages": ${secret}`,
      `{"messages": "${secret}" "${secret}"`,
    ];
    for (const body of bad) expect(await (await server.post(CHAT, body)).text()).not.toContain(secret);
    expect(server.log()).not.toContain(secret);
  });

  test("a path that is not there: what there is instead", async () => {
    const advice = {
      "/v1/responses": "This server has no Responses API; use /v1/chat/completions.",
      "/v1/responses/resp_1/cancel": "This server has no Responses API; use /v1/chat/completions.",
      "/v1/audio/speech": "This server reads and writes text only; use /v1/chat/completions.",
      "/v1/messages": "This server has no Messages API; use /v1/chat/completions.",
      "/v1/messages/count_tokens": "This server has no Messages API; /tokenize counts the tokens of a text.",
      "/api/chat": "This server has no Ollama API; use /v1/chat/completions.",
      "/api/generate": "This server has no Ollama API; use /v1/completions.",
      "/api/tags": "This server has no Ollama API; use /v1/models.",
      "/api/embed": "This server has no Ollama API; use /v1/embeddings.",
      "/props": "/v1/models describes the model, and /health says how it is run.",
      "/slots/0": "/metrics and /health count the requests under way.",
      "/v1/rerank":
        "This server ranks and classifies no texts; /v1/embeddings gives vectors by which texts can be compared.",
      "/generate_stream": 'Use /generate with "stream": true.',
      "/v1/v1/chat/completions": "Use /v1/chat/completions.",
      "/openai/deployments/gpt/chat/completions": "Use /v1/chat/completions.",
      "/v1/tokenize": "Use /tokenize.",
      "/v1/nothing": "GET /openapi.json tells which there are.",
      "/propspects": "GET /openapi.json tells which there are.",
    };
    for (const [path, sentence] of Object.entries(advice)) {
      const response = await server.post(path, {});
      expect(response.status).toBe(404);
      const { message, code } = await errorOf(response);
      expect([message, code]).toEqual([`Unknown request URL: POST ${path}. ${sentence}`, "unknown_url"]);
      // What is named is there.
      for (const named of sentence.match(/\/[a-z0-9_/.]+[a-z]/g) ?? []) {
        const { status } = await fetch(server.url + named, { method: "OPTIONS" });
        expect([named, status]).toEqual([named, 405]);
      }
    }
  });

  test.each<[string, unknown, string]>([
    ["no body", "", "The body of your request is empty; send a JSON object."],
    [
      "a comma too many",
      '{"messages": [],}',
      "of your request: line 1, column 17: a name in double quotes is missing.",
    ],
    [
      "a word in its second line",
      '{"messages":\n  maybe}',
      "of your request: line 2, column 3: that is no value of JSON.",
    ],
    ["half of a string", '{"messages": "x', "of your request: line 1, column 14: a string has no end."],
    [
      "a control character",
      '{"messages": "\u0001"}',
      "line 1, column 14: a string holds a control character that is not escaped.",
    ],
    [
      "an unknown model",
      withParameter({ model: "gpt-4o" }),
      "The model 'gpt-4o' does not exist: this server has 'tiny'; ask for that, or leave 'model' out.",
    ],
    [
      "a bias of a text",
      withParameter({ logit_bias: { x: 1 } }),
      "Invalid key 'x' in 'logit_bias': expected token ids from 0 to ",
    ],
    ["too deep", nested(300), "levels deep; send fewer objects and arrays within each other."],
    ["too large", `"${"x".repeat(9 * 1024 * 1024)}"`, "bytes; send less at once."],
    [
      "two tools of one name",
      withParameter({ tools: ["a", "b", "a"].map((name) => ({ type: "function", function: { name } })) }),
      "Invalid value for 'tools[2].function.name': expected a name of its own: tools[0].function has the same one.",
    ],
  ])("a refusal says what to change: %s", async (_, body, message) => {
    const { error } = (await (await server.post(CHAT, body)).json()) as { error: { message: string } };
    expect(error.message).toContain(message);
  });

  test("a stranger's host name (DNS rebinding) is refused", async () => {
    const get = (host: string) =>
      rawExchange(server.port, `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    for (const host of [
      "evil.example",
      "evil.example:30000",
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "10.0.0.1",
    ]) {
      expect(await get(host)).toStartWith("HTTP/1.1 403 ");
    }
    for (const host of ["localhost", "LOCALHOST:1", "127.0.0.1:30000", "[::1]:30000", "app.localhost"]) {
      expect(await get(host)).toStartWith("HTTP/1.1 200 ");
    }
  });

  test("broken HTTP is refused and harms nobody", async () => {
    const broken = [
      "nonsense\r\n\r\n",
      `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n`,
      "GET / HTTP/9.9\r\n\r\n",
      "\0\0\0\0",
    ];
    for (const bytes of broken) await rawExchange(server.port, bytes, 200);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });

  test("any JSON at all gets a documented status and a living server", async () => {
    const names = [
      "messages",
      "model",
      "temperature",
      "top_p",
      "top_k",
      "n",
      "stop",
      "seed",
      "logit_bias",
      "stream",
      "stream_options",
      "max_tokens",
      "tools",
      "response_format",
      "__proto__",
    ];
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.string({ unit: "binary" }),
      fc.double(),
      fc.constant("\ud800\0"),
    );
    const messagesOf = fc.array(
      fc.record({
        role: fc.constantFrom("user", "assistant", "system", "tool"),
        content: fc.string({ unit: "binary" }),
      }),
      { maxLength: 3 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 4 }),
        fc.option(messagesOf, { nil: undefined }),
        async (body, list) => {
          const response = await server.post(CHAT, {
            ...body,
            ...(list === undefined ? {} : { messages: list }),
            max_tokens: 2,
          });
          expect([200, 400, 404]).toContain(response.status);
          const text = await response.text();
          if (response.status !== 200) expect(JSON.parse(text)).toHaveProperty("error.message");
        },
      ),
      { numRuns: 500 },
    );
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe("The capital of France is Paris.");
    expect(server.log()).not.toContain("internal error");
  });
});
