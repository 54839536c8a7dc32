/**
 * The description of the API: that it is well formed and complete, that answers are what it says, and that whatever is sent, made
 * from it or not, gets a status that it names, a JSON body, and leaves the server alive.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import type { OpenApiDocument, Operation, Schema } from "../src/api/openapi.ts";
import { faultsOf, faultsOfSchema, resolve, valuesOf } from "./support/json_schema.ts";
import { eventually, parseEvents, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(120_000);

let server: TestServer;
let description: OpenApiDocument;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
  description = (await (await fetch(`${server.url}/openapi.json`)).json()) as OpenApiDocument;
});
afterAll(() => server.stop());

function operations(): { path: string; method: string; operation: Operation }[] {
  return Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation: operation as Operation })),
  );
}

/** Checks an answer against what its operation says of that status. */
function expectDescribed(operation: Operation, status: number, type: string, text: string): void {
  const described = operation.responses[status];
  if (described === undefined) throw new Error(`${operation.operationId} answered ${status}: ${text.slice(0, 300)}`);
  const content = described.content ?? {};
  const mediaType = type.split(";")[0] as string;
  const schema = content[mediaType]?.schema as Schema;
  expect(Object.keys(content)).toContain(mediaType);
  const { schemas } = description.components;
  if (mediaType === "application/json") {
    expect(faultsOf(JSON.parse(text), schema, schemas)).toEqual([]);
  } else if (mediaType === "text/event-stream") {
    // llama.cpp's streams end without a mark.
    const events = parseEvents(text.endsWith("[DONE]\n\n") ? text : `${text}data: [DONE]\n\n`);
    for (const event of events) expect(faultsOf(event, schema, schemas)).toEqual([]);
  }
}

describe("the description", () => {
  test("is well formed", () => {
    const { schemas } = description.components;
    expect(description.openapi).toBe("3.1.0");
    expect(description.servers).toEqual([{ url: "/" }]);
    for (const [name, schema] of Object.entries(schemas)) expect(faultsOfSchema(schema, schemas, name)).toEqual([]);
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, method, operation } of operations()) {
      expect(operation.summary.length).toBeGreaterThan(5);
      expect(operation.responses["200"]).toBeDefined();
      expect(operation.requestBody !== undefined).toBe(method === "post");
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      expect((operation.parameters ?? []).map((parameter) => (parameter as { name: string }).name)).toEqual(
        named as string[],
      );
      const contents = [operation.requestBody, ...Object.values(operation.responses)].map(
        (part) => part?.content ?? {},
      );
      for (const { schema } of contents.flatMap((content) => Object.values(content))) {
        expect(faultsOfSchema(schema, schemas, `${method} ${path}`)).toEqual([]);
      }
    }
    // Every schema is used.
    const text = JSON.stringify(description);
    for (const name of Object.keys(schemas)) expect(text).toContain(`"#/components/schemas/${name}"`);
  });

  test("names the paths that exist, with their methods", async () => {
    for (const { path, method } of operations()) {
      const url = server.url + path.replace("{model}", "tiny");
      const response = await fetch(url, { method: method.toUpperCase() });
      expect([404, 405]).not.toContain(response.status);
      const other = await fetch(url, { method: method === "get" ? "POST" : "GET" });
      expect(other.status).toBe(405);
      expect(other.headers.get("allow")).toStartWith(method.toUpperCase());
    }
  });

  test.each([
    ["/v1/completions", "prompt", 256],
    ["/completion", "prompt", 256],
    ["/v1/embeddings", "input", 2048],
    ["/embedding", "content", 2048],
  ])("allows %s as many texts as it takes", (path, name, most) => {
    const content = description.paths[path]?.post?.requestBody?.content ?? {};
    const schema = content["application/json"]?.schema as Schema;
    const { anyOf = [] } = resolve(schema, description.components.schemas).properties?.[name] ?? {};
    expect(anyOf.flatMap(({ maxItems }) => maxItems ?? [])).toEqual([most]);
  });

  test("is right about plain requests, streamed or not", async () => {
    const messages = [{ role: "user", content: "What is the weather in Oslo?" }];
    const tool = { type: "function", function: { name: "get_weather", parameters: { properties: { city: {} } } } };
    const progress = { stream: true, return_progress: true };
    const usage = { stream: true, stream_options: { include_usage: true } };
    const bodies: Record<string, object[]> = {
      "/v1/chat/completions": [
        { messages, logprobs: true, top_logprobs: 2, n: 2 },
        { messages, tools: [tool] },
        { messages, tools: [tool], ...usage },
        { messages, logprobs: true, ...progress },
        {},
      ],
      "/v1/completions": [
        { prompt: ["x", [5]], echo: true, logprobs: 1, max_tokens: 3 },
        { prompt: "x", echo: true, logprobs: 1, max_tokens: 3, ...usage },
        { prompt: "x", max_tokens: 3, ...progress },
        { prompt: "x".repeat(9000) },
      ],
      "/completion": [
        { prompt: "x", n_predict: 3, n_probs: 1 },
        { prompt: ["x", "y"], n_predict: 3 },
        { prompt: "x", n_predict: 3, n_probs: 1, ...progress },
      ],
      "/generate": [
        { text: "x", return_logprob: true, logprob_start_len: 0, top_logprobs_num: 1, sampling_params: { n: 2 } },
        { input_ids: [1, 2], stream: true },
      ],
      // The demo has no embeddings; tests/families.test.ts asks a model that has.
      "/v1/embeddings": [{ input: "x" }],
      "/embedding": [{ content: "x" }],
      "/tokenize": [{ content: "a b" }, { prompt: "🚀", with_pieces: true, return_token_strs: true }, { messages }],
      "/detokenize": [{ tokens: [1, 2] }],
      "/apply-template": [{ messages, tools: [tool] }],
    };
    for (const { path, method, operation } of operations()) {
      const requests = method === "get" ? [undefined] : bodies[path];
      expect(requests).toBeDefined();
      for (const body of requests ?? []) {
        const response =
          body === undefined
            ? await fetch(server.url + path.replace("{model}", "tiny"))
            : await server.post(path, body);
        const type = response.headers.get("content-type") ?? "";
        expectDescribed(operation, response.status, type, await response.text());
      }
    }
  });
});

describe("whatever is sent", () => {
  /** Keeps answers short: the time goes into the variety of requests. */
  function short(path: string, body: unknown): unknown {
    if (typeof body !== "object" || body === null || Array.isArray(body)) return body;
    const limited: Record<string, unknown> = { ...body };
    if (path === "/generate") {
      const params = limited.sampling_params;
      if (typeof params === "object" && !Array.isArray(params))
        limited.sampling_params = { ...params, max_new_tokens: 2 };
    } else if (path === "/completion") limited.n_predict = 2;
    else if (limited.max_tokens !== 0) limited.max_tokens = 2;
    for (const name of ["max_completion_tokens", "min_tokens"])
      if (typeof limited[name] === "number") delete limited[name];
    // Most lists of messages are wrong somewhere, which would leave the rest untried.
    const { messages } = limited;
    if (Array.isArray(messages) && messages.length > 1) limited.messages = [{ role: "user", content: "x" }];
    return limited;
  }

  test.each([
    "/v1/chat/completions",
    "/v1/completions",
    "/completion",
    "/generate",
    "/tokenize",
    "/detokenize",
    "/apply-template",
  ])("%s", async (path) => {
    const operation = description.paths[path]?.post as Operation;
    const schema = operation.requestBody?.content["application/json"]?.schema as Schema;
    const seen = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(valuesOf(schema, description.components.schemas), async (body) => {
        const response = await server.post(path, JSON.stringify(short(path, body)));
        const { status, headers } = response;
        seen.set(status, (seen.get(status) ?? 0) + 1);
        const text = await response.text();
        expect([200, 400, 404]).toContain(status);
        expectDescribed(operation, status, headers.get("content-type") ?? "", text);
        expect(text).not.toContain('"server_error"');
      }),
      { numRuns: 300 },
    );
    // It would be no test if nearly nothing were accepted.
    expect(seen.get(200) ?? 0).toBeGreaterThan(20);
    expect(server.log()).not.toContain("internal error");
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    await eventually(async () => {
      const { running, waiting } = await server.requests();
      return running + waiting === 0;
    });
  });

  /** Objects that pass for what they aren't where code takes them for text, a list or a number. */
  const HOSTILE: unknown[] = [
    { toString: 1 },
    { valueOf: 1, toString: null },
    { length: 1e9 },
    [[{ toString: 1 }, 1]],
    [{ toString: 1 }],
    { a: { toString: 1 }, $ref: { toString: 1 }, type: { toString: 1 } },
  ];

  test.each([
    ["/v1/chat/completions", { messages: [{ role: "user", content: "x" }], max_tokens: 1 }],
    ["/v1/completions", { prompt: "x", max_tokens: 1 }],
    ["/completion", { prompt: "x", n_predict: 1 }],
    ["/generate", { text: "x", sampling_params: { max_new_tokens: 1 } }],
    ["/tokenize", { content: "x" }],
    ["/detokenize", { tokens: [1] }],
    ["/apply-template", { messages: [{ role: "user", content: "x" }] }],
  ])("objects in the place of any value: %s", async (path, body) => {
    const operation = description.paths[path]?.post as Operation;
    const schema = operation.requestBody?.content["application/json"]?.schema as Schema;
    const names = [...propertiesOf(schema), "logit_bias", "stop", "seed", "response_format", "tools", "tool_choice"];
    for (const name of new Set(names)) {
      for (const value of HOSTILE) {
        const sent = [{ ...body, [name]: value }];
        if (path === "/generate")
          sent.push({ ...body, sampling_params: { max_new_tokens: 1, [name]: value } } as never);
        for (const request of sent) {
          const response = await server.post(path, request);
          const text = await response.text();
          expect([request, [200, 400, 404].includes(response.status), text.includes("server_error")]).toEqual([
            request,
            true,
            false,
          ]);
        }
      }
    }
    expect(server.log()).not.toContain("internal error");
  });

  /** Names of an object's properties, whatever its schema is put together from. */
  function propertiesOf(schema: Schema): string[] {
    const { $ref, properties = {}, allOf = [] } = schema as Schema & { allOf?: Schema[] };
    const referred = $ref === undefined ? [] : [description.components.schemas[$ref.split("/").at(-1) as string]];
    return [
      ...Object.keys(properties),
      ...[...allOf, ...referred].flatMap((part) => (part === undefined ? [] : propertiesOf(part as Schema))),
    ];
  }
});
