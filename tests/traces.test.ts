/** Traces: what a collector is sent of requests to the executable, and that no collector, however it behaves, harms an answer. */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { AnswerRecord } from "../src/api/answer_record.ts";
import { requestParts } from "../src/tracing/request_spans.ts";
import { readTracingSettings, type Sampler } from "../src/tracing/settings.ts";
import { ask, CHAT, FRANCE, LONG } from "./support/chat.ts";
import { type Answer, type CollectedSpan, type Collector, startCollector } from "./support/collector.ts";
import { deepModel } from "./support/deep_model.ts";
import {
  engineHealth,
  eventually,
  freePort,
  logLines,
  runProgram,
  startServer,
  type TestServer,
} from "./support/server.ts";

setDefaultTimeout(60_000);

const PARENT = { trace: "0af7651916cd43dd8448eb211c80319c", span: "b7ad6b7169203331" };
const JSON_TYPE = { "content-type": "application/json" };

let collector: Collector;
let server: TestServer;
afterEach(async () => {
  await server?.stop();
  await collector?.stop();
});

/** Starts a collector, and a server that sends to it. Spans are sent soon, so that nothing waits for them. */
async function start(args: string[] = [], variables: Record<string, string> = {}, answer?: Answer): Promise<void> {
  collector = startCollector(answer);
  await startServerFor(collector.url, args, variables);
}

async function startServerFor(url: string, args: string[] = [], variables: Record<string, string> = {}): Promise<void> {
  const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", OTEL_BSP_SCHEDULE_DELAY: "20", ...variables };
  server = await startServer(["--otlp-endpoint", url, "--log", "json", ...args], { env });
}

const post = (body: object, headers: Record<string, string> = {}, more: RequestInit = {}) =>
  server.post(CHAT, body, { headers: { ...JSON_TYPE, ...headers }, ...more });

/** The spans of requests, once there are so many. */
async function requestSpans(count: number): Promise<CollectedSpan[]> {
  const found = () => collector.spans.filter(({ kind }) => kind === 2);
  await eventually(() => found().length >= count);
  return found();
}

/** The spans below one, as far as they are there, in the order of their beginnings. */
function partsOf({ spanId }: CollectedSpan): CollectedSpan[] {
  return collector.spans
    .filter(({ parentSpanId }) => parentSpanId === spanId)
    .sort((a, b) => Number(a.start - b.start));
}

const requests = () => logLines(server.log()).filter(({ event }) => event === "request");

describe("a request", () => {
  test("that is streamed is a span of its client's trace, with its parts below, and its log and its answer say which", async () => {
    const secret = "hunter2secret";
    const key = "sk-secretkey";
    await start(["--api-key", key], { OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" });
    const traceparent = `00-${PARENT.trace}-${PARENT.span}-01`;
    const headers = { authorization: `Bearer ${key}`, traceparent, tracestate: "vendor=1", "x-request-id": "mine" };
    const body = ask(secret, { max_tokens: 5, temperature: 0.5, top_p: 0.9, seed: 7, ignore_eos: true, stream: true });
    const answer = await post(body, headers);
    await answer.text();
    const [span] = await requestSpans(1);
    if (span === undefined) throw new Error("there is none");
    expect(span).toMatchObject({
      name: "POST /v1/chat/completions",
      traceId: PARENT.trace,
      parentSpanId: PARENT.span,
      status: 0,
      resource: { "service.name": "wrinklefree", "service.version": expect.any(String) },
    });
    const [line] = requests();
    expect(span.attributes).toEqual({
      "http.request.method": "POST",
      "http.route": CHAT,
      "http.response.status_code": 200,
      "client.address": "127.0.0.1",
      "gen_ai.request.id": "mine",
      "wrinklefree.key": line?.key,
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "wrinklefree",
      "gen_ai.request.model": "tiny",
      "gen_ai.response.model": "tiny",
      "gen_ai.request.max_tokens": 5,
      "gen_ai.request.temperature": 0.5,
      "gen_ai.request.top_p": 0.9,
      "gen_ai.request.stream": true,
      "gen_ai.usage.input_tokens": line?.prompt_tokens,
      "gen_ai.usage.cache_read.input_tokens": 0,
      "gen_ai.usage.output_tokens": 5,
      "gen_ai.response.finish_reasons": ["length"],
      "gen_ai.response.time_to_first_chunk": expect.any(Number),
    });
    expect(answer.headers.get("traceparent")).toBe(`00-${PARENT.trace}-${span.spanId}-01`);
    expect(line).toMatchObject({ request_id: "mine", trace_id: PARENT.trace, span_id: span.spanId });
    const parts = partsOf(span);
    expect(parts.map(({ name }) => name)).toEqual(["queue", "prefill", "decode"]);
    expect(parts[1]?.attributes).toMatchObject({ "gen_ai.usage.input_tokens": line?.prompt_tokens });
    expect(parts[2]?.attributes).toEqual({
      "gen_ai.usage.output_tokens": 5,
      "gen_ai.response.finish_reasons": ["length"],
    });
    const [queue, prefill, decode] = parts as [CollectedSpan, CollectedSpan, CollectedSpan];
    expect([queue.end, prefill.end, decode.traceId]).toEqual([prefill.start, decode.start, PARENT.trace]);
    const times = [span.start, queue.start, prefill.start, decode.start, decode.end, span.end];
    expect(times).toEqual(times.toSorted((a, b) => Number(a - b)));
    expect(Math.abs(Number(span.end / 1_000_000n) - Date.now())).toBeLessThan(60_000);
    const sent = JSON.stringify(collector.spans, (_, value) => (typeof value === "bigint" ? String(value) : value));
    for (const text of [secret, key]) expect(sent).not.toContain(text);
  });

  test("without a trace begins one; two at once have one each, and each choice its own parts", async () => {
    await start();
    const answers = await Promise.all([
      post({ ...FRANCE, n: 2, temperature: 1, seed: 1 }),
      server.post("/v1/completions", { prompt: "The capital", max_tokens: 2 }),
    ]);
    for (const answer of answers) await answer.text();
    const spans = await requestSpans(2);
    await eventually(() => spans.flatMap(partsOf).length === 9);
    const [chat, completion] = ["chat", "text_completion"].map((operation) =>
      spans.find(({ attributes }) => attributes["gen_ai.operation.name"] === operation),
    ) as [CollectedSpan, CollectedSpan];
    expect(chat.attributes["gen_ai.request.choice.count"]).toBe(2);
    expect(
      partsOf(chat)
        .map(({ name, attributes }) => `${name} ${attributes["wrinklefree.choice"]}`)
        .sort(),
    ).toEqual(["decode 0", "decode 1", "prefill 0", "prefill 1", "queue 0", "queue 1"]);
    expect(partsOf(completion).map(({ name }) => name)).toEqual(["queue", "prefill", "decode"]);
    expect(chat.traceId).not.toBe(completion.traceId);
    for (const [index, span] of [chat, completion].entries()) {
      expect(span.parentSpanId).toBe("");
      expect(answers[index]?.headers.get("traceparent")).toBe(`00-${span.traceId}-${span.spanId}-01`);
    }
  });

  test("whose client leaves ends there: one that is computed, and one that waits", async () => {
    collector = startCollector();
    await startServerFor(collector.url, [await deepModel(), "--parallel", "1"]);
    const read = (body: object) => {
      const leave = new AbortController();
      const answer = post(body, {}, { signal: leave.signal }).then((begun) => begun.text());
      answer.catch(() => undefined);
      return leave;
    };
    const computed = read({ ...LONG, stream: true });
    await eventually(async () => (await server.requests()).running === 1);
    const waiting = read(LONG);
    // Its prompt is tokenized by then, and the engine has it.
    await eventually(async () => (await engineHealth(server)).waiting === 1);
    waiting.abort();
    await requestSpans(1);
    computed.abort();
    const spans = await requestSpans(2);
    await eventually(() => spans.flatMap(partsOf).length === 4);
    const [other, one] = spans as [CollectedSpan, CollectedSpan];
    expect(partsOf(one).map(({ name }) => name)).toEqual(["queue", "prefill", "decode"]);
    expect(partsOf(other).map(({ name, end }) => [name, end <= other.end])).toEqual([["queue", true]]);
    for (const { attributes, status } of spans) {
      expect(attributes).toMatchObject({
        "http.response.status_code": 499,
        "gen_ai.response.finish_reasons": ["abort"],
      });
      expect([attributes["error.type"], status]).toEqual([undefined, 0]);
    }
  });

  test("that is refused says why by a word, and not by what it said; health that is well is not told", async () => {
    await start();
    await (await fetch(`${server.url}/health`)).text();
    await (await post({ ...FRANCE, model: "hunter2secret" })).text();
    await (await fetch(`${server.url}/hunter2secret`)).text();
    const [misnamed, unknown] = await requestSpans(2);
    expect(misnamed).toMatchObject({ name: "POST /v1/chat/completions", status: 0 });
    expect(misnamed?.attributes).toEqual({
      "http.request.method": "POST",
      "http.route": CHAT,
      "http.response.status_code": 404,
      "client.address": "127.0.0.1",
      "error.type": "model_not_found",
      "gen_ai.request.id": expect.stringMatching(/^req_/),
    });
    expect(unknown).toMatchObject({ name: "GET", status: 0, attributes: { "error.type": "unknown_url" } });
    expect(collector.spans.length).toBe(2);
  });

  test("that the server's end cuts off has failed, and is sent before the process ends", async () => {
    collector = startCollector();
    const variables = { OTEL_BSP_SCHEDULE_DELAY: "600000" };
    await startServerFor(collector.url, [await deepModel(), "--drain-timeout", "0"], variables);
    const received = post({ ...LONG, stream: true }).then((answer) => answer.text());
    await eventually(async () => (await server.requests()).running === 1);
    server.signal("SIGTERM");
    expect([await server.exited, await received]).toEqual([0, expect.stringContaining("shut down")]);
    const [span] = collector.spans.filter(({ kind }) => kind === 2);
    expect(span).toMatchObject({ status: 2, attributes: { "error.type": "503" } });
    expect(span?.attributes["gen_ai.response.finish_reasons"]).toEqual(["error"]);
  });

  test("that is not to be traced is not, and its answer says so", async () => {
    await start();
    const unsampled = await post(FRANCE, { traceparent: `00-${PARENT.trace}-${PARENT.span}-00` });
    expect(unsampled.headers.get("traceparent")).toMatch(new RegExp(`^00-${PARENT.trace}-[0-9a-f]{16}-00$`));
    for (const traceparent of [
      "nonsense",
      `00-${"0".repeat(32)}-${PARENT.span}-01`,
      `ff-${PARENT.trace}-${PARENT.span}-01`,
    ])
      expect((await post(FRANCE, { traceparent })).headers.get("traceparent")).not.toContain(PARENT.trace);
    await requestSpans(3);
    expect(collector.spans.filter(({ traceId }) => traceId === PARENT.trace)).toEqual([]);
  });
});

describe("the parts of a request", () => {
  const answered = (more: Partial<AnswerRecord>): AnswerRecord => ({
    submitted: 100,
    hasBegun: true,
    counts: { promptTokens: 9, cachedTokens: 4, completionTokens: 3, queueMs: 10, firstTokenMs: 30, totalMs: 50 },
    reason: "stop",
    ...more,
  });
  const parts = (answers: AnswerRecord[], hasLeft = false) =>
    requestParts({ answers, hasLeft, started: 90, milliseconds: 110 }).map(({ name, begin, end }) => [
      name,
      begin,
      end,
    ]);

  test("that gives a vector end with its computation", () => {
    const counts = { promptTokens: 9, cachedTokens: 0, completionTokens: 0, queueMs: 10, firstTokenMs: 0, totalMs: 50 };
    expect(parts([answered({ counts })])).toEqual([
      ["queue", 100, 110],
      ["prefill", 110, 150],
    ]);
  });

  test("that is cut off end with the request, and never before they began", () => {
    expect(parts([answered({ reason: undefined })], true)).toEqual([
      ["queue", 100, 110],
      ["prefill", 110, 130],
      ["decode", 130, 200],
    ]);
    const counts = { ...answered({}).counts, queueMs: 300, firstTokenMs: 200, totalMs: 400 };
    for (const [, begin, end] of parts([answered({ counts })]))
      expect(begin as number).toBeLessThanOrEqual(end as number);
  });

  test("with very many answers are those of the first", () => {
    expect(parts(Array.from({ length: 128 }, () => answered({}))).length).toBe(3 * 32);
  });
});

describe("the standard variables", () => {
  test("say where and how, once --traces is given", async () => {
    collector = startCollector();
    const variables = {
      OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/below/`,
      OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=alice,authorization=Bearer%20secret",
      OTEL_EXPORTER_OTLP_COMPRESSION: "none",
      OTEL_SERVICE_NAME: "llm",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
      OTEL_BSP_SCHEDULE_DELAY: "20",
      OTEL_TRACES_SAMPLER: "always_on",
    };
    const env = { PATH: process.env.PATH ?? "", ...variables };
    server = await startServer(["--traces"], { env });
    // always_on does not care what the client's trace does.
    await (await post(FRANCE, { traceparent: `00-${PARENT.trace}-${PARENT.span}-00` })).text();
    const [span] = await requestSpans(1);
    expect(span).toMatchObject({
      traceId: PARENT.trace,
      resource: { "service.name": "llm", "deployment.environment.name": "test" },
    });
    const [request] = collector.requests;
    expect(request?.path).toBe("/below/v1/traces");
    const headers = ["x-tenant", "authorization", "content-type"].map((name) => request?.headers.get(name) ?? null);
    expect(headers).toEqual(["alice", "Bearer secret", "application/x-protobuf"]);
    expect(server.log()).toContain(`\ntraces   to ${collector.url}/below/v1/traces\n`);
    expect(server.log()).not.toContain("secret");
  });

  test("switch nothing on by themselves, and what is off is off", async () => {
    collector = startCollector();
    const env = { PATH: process.env.PATH ?? "", OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
    for (const [args, more] of [
      [[], {}],
      [["--traces"], { OTEL_SDK_DISABLED: "true" }],
      [["--otlp-endpoint", collector.url, "--no-traces"], {}],
    ] as const) {
      server = await startServer([...args, "--log", "json"], { env: { ...env, ...more } });
      const answer = await post(FRANCE, { traceparent: `00-${PARENT.trace}-${PARENT.span}-01` });
      await answer.text();
      expect(answer.headers.get("traceparent")).toBeNull();
      await eventually(() => requests().length === 1);
      expect(requests()[0]).toMatchObject({ trace_id: null, span_id: null });
      server.signal("SIGTERM");
      await server.exited;
    }
    expect(collector.requests).toEqual([]);
  });

  test.each<[Record<string, string>, RegExp]>([
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317" },
      /^OTEL_EXPORTER_OTLP_ENDPOINT takes an address such as .*4318, not /,
    ],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "ftp://a" }, /^OTEL_EXPORTER_OTLP_TRACES_ENDPOINT takes an address/],
    [
      { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      /^OTEL_EXPORTER_OTLP_PROTOCOL takes http\/protobuf or http\/json, not 'grpc'/,
    ],
    [{ OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "x" }, /^OTEL_EXPORTER_OTLP_TRACES_PROTOCOL takes/],
    [{ OTEL_TRACES_SAMPLER: "sometimes" }, /^OTEL_TRACES_SAMPLER takes .* not 'sometimes'$/],
    [{ OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2" }, /^OTEL_TRACES_SAMPLER_ARG can't be '2'/],
    [{ OTEL_BSP_MAX_QUEUE_SIZE: "0" }, /^OTEL_BSP_MAX_QUEUE_SIZE can't be '0'; leave it out for 2048$/],
    [{ OTEL_BSP_SCHEDULE_DELAY: "soon" }, /^OTEL_BSP_SCHEDULE_DELAY can't be 'soon'/],
  ])("that can't be followed are named: %p", (variables, message) => {
    expect(() => readTracingSettings(undefined, variables)).toThrow(message);
  });

  test.each<[string | undefined, Record<string, string>, string]>([
    [undefined, {}, "http://localhost:4318/v1/traces"],
    [undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: "https://c.example:1/a/" }, "https://c.example:1/a/v1/traces"],
    [undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c/v1/traces" }, "http://c/v1/traces"],
    [
      undefined,
      { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://d/own" },
      "http://d/own",
    ],
    ["http://e:2", { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://d/own" }, "http://e:2/v1/traces"],
  ])("an address of %p with %p is %p", (endpoint, variables, url) => {
    expect(readTracingSettings(endpoint, variables)?.url).toBe(url);
  });

  test.each<[string, string, Sampler]>([
    ["always_on", "", { followsParent: false, share: 1 }],
    ["always_off", "", { followsParent: false, share: 0 }],
    ["traceidratio", "0.25", { followsParent: false, share: 0.25 }],
    ["parentbased_traceidratio", "", { followsParent: true, share: 1 }],
    ["parentbased_always_off", "0.5", { followsParent: true, share: 0 }],
    ["", "", { followsParent: true, share: 1 }],
  ])("the sampler %p with %p", (name, share, sampler) => {
    const variables = { OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: share };
    expect(readTracingSettings(undefined, variables)?.sampler).toEqual(sampler);
  });

  test("a fault in one, or in the option, ends the start with a line", async () => {
    const env = { PATH: process.env.PATH ?? "", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" };
    const failed = await runProgram(["serve", "--port", "0", "--traces"], { env });
    expect(failed).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^wrinklefree: OTEL_EXPORTER_OTLP_PROTOCOL takes .*\n$/),
    });
    const misspelt = await runProgram(["serve", "--otlp-endpoint", "collector:4318"]);
    expect(misspelt).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        /^wrinklefree serve: --otlp-endpoint takes an address such as http:\/\/localhost:4318/,
      ),
    });
  });
});

describe("a collector", () => {
  const warnings = () =>
    logLines(server.log())
      .filter(({ level }) => level === "warn")
      .map(({ message }) => message as string);

  test("that is not there costs its traces and nothing else; when it comes, it gets those that follow", async () => {
    const port = await freePort();
    // As soon as the time is over that a batch has, the next one is tried.
    await startServerFor(`http://127.0.0.1:${port}`, [], { OTEL_EXPORTER_OTLP_TIMEOUT: "200" });
    for (let i = 0; i < 3; i++) expect((await post(FRANCE)).status).toBe(200);
    await eventually(() => warnings().length > 0);
    expect(warnings()[0]).toMatch(
      new RegExp(`^traces: http://127.0.0.1:${port}/v1/traces does not take them, so they are lost: .*ECONNREFUSED`),
    );
    collector = startCollector(undefined, port);
    await (await post(FRANCE)).text();
    await eventually(() => warnings().length > 1);
    expect(warnings().slice(1)).toEqual([expect.stringMatching(/takes them again, after the loss of \d+ spans$/)]);
    expect((await requestSpans(1)).length).toBeGreaterThan(0);
  });

  /** What is said of traces between the first signal to stop and the end. */
  const saidAtEnd = async () => {
    const before = warnings().length;
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(logLines(server.log()).at(-1)).toMatchObject({ event: "stop" });
    return warnings().slice(before);
  };
  // A request is a span, with three of its parts below it.
  const LOST = (url: string) => `^traces: 8 spans could not be sent to ${url}/v1/traces: `;

  test.each<[string, string]>([
    ["were not tried yet", "600000"],
    ["are tried again and again", "20"],
  ])(
    "that is not there when the server ends, and its spans %s: how many are lost and why is said once",
    async (_, delay) => {
      const url = `http://127.0.0.1:${await freePort()}`;
      await startServerFor(url, [], { OTEL_BSP_SCHEDULE_DELAY: delay });
      for (let i = 0; i < 2; i++) expect((await post(FRANCE)).status).toBe(200);
      // By then the batches of the second case are on their way.
      await Bun.sleep(300);
      expect(await saidAtEnd()).toEqual([expect.stringMatching(new RegExp(`${LOST(url)}.*ECONNREFUSED`))]);
    },
  );

  test("that never answers when the server ends", async () => {
    await start([], { OTEL_BSP_SCHEDULE_DELAY: "600000" }, () => new Promise<Response>(() => undefined));
    for (let i = 0; i < 2; i++) expect((await post(FRANCE)).status).toBe(200);
    expect(await saidAtEnd()).toEqual([expect.stringMatching(new RegExp(`${LOST(collector.url)}Request timed out$`))]);
  });

  test("that refused some before, and refuses the rest at the end: all are told of", async () => {
    await start([], {}, () => new Response("no such tenant", { status: 401 }));
    await (await post(FRANCE)).text();
    await eventually(() => warnings().length === 1);
    await (await post(FRANCE)).text();
    expect(await saidAtEnd()).toEqual([
      expect.stringMatching(new RegExp(`${LOST(collector.url)}it answers 401 .*no such tenant$`)),
    ]);
  });

  test("that refused some before, and takes the rest at the end: why those were lost is told", async () => {
    let refuses = true;
    const answer = () => (refuses ? new Response("no such tenant", { status: 401 }) : undefined);
    await start([], { OTEL_BSP_SCHEDULE_DELAY: "1500" }, answer);
    await (await post(FRANCE)).text();
    await eventually(() => warnings().length === 1);
    await (await post(FRANCE)).text();
    refuses = false;
    expect(await saidAtEnd()).toEqual([
      expect.stringMatching(/^traces: 4 spans could not be sent to \S+: it answers 401 .*no such tenant$/),
    ]);
    expect(collector.spans.length).toBe(4);
  });

  test("that took all hears nothing more at the end, and nothing is said", async () => {
    await start([], { OTEL_BSP_SCHEDULE_DELAY: "600000" });
    await (await post(FRANCE)).text();
    expect(await saidAtEnd()).toEqual([]);
    expect(collector.spans.length).toBe(4);
    expect(collector.requests.length).toBe(1);
  });

  test("that refuses them is quoted once", async () => {
    const refuse = () => new Response("no such tenant", { status: 401 });
    await start([], {}, refuse);
    for (let i = 0; i < 3; i++) {
      const count = collector.requests.length;
      await (await post(FRANCE)).text();
      await eventually(() => collector.requests.length > count);
    }
    await eventually(() => warnings().length > 0);
    expect(warnings()).toEqual([
      expect.stringMatching(/does not take them, so they are lost: it answers 401 .*no such tenant$/),
    ]);
  });

  test("that answers in ever other words is quoted once, and not at length", async () => {
    let count = 0;
    const babble = () => {
      const word = String.fromCharCode(97 + (count++ % 26)).repeat(3000);
      if (count % 2 === 0) return new Response(word);
      return Response.json({ partialSuccess: { rejectedSpans: "1", errorMessage: `\u001b[31m\n${word}` } });
    };
    await start([], { OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" }, babble);
    for (let i = 0; i < 4; i++) {
      const before = collector.requests.length;
      await (await post(FRANCE)).text();
      await eventually(() => collector.requests.length > before);
    }
    await eventually(() => warnings().length > 1);
    expect(warnings()).toEqual([
      expect.stringMatching(/^traces: Received Partial Success response: /),
      expect.stringMatching(/^traces: Failed to parse trace export response: /),
    ]);
    for (const message of warnings()) expect(message.length).toBeLessThan(500);
  });

  test("that never answers holds up neither answers nor the end, and what waits for it is bounded", async () => {
    const asked = Promise.withResolvers<void>();
    const hang = () => {
      asked.resolve();
      return new Promise<Response>(() => undefined);
    };
    const bounds = {
      OTEL_BSP_MAX_QUEUE_SIZE: "8",
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "4",
      OTEL_EXPORTER_OTLP_TIMEOUT: "500",
    };
    await start([], bounds, hang);
    await (await post(FRANCE)).text();
    await asked.promise;
    for (let i = 0; i < 10; i++) expect((await post(FRANCE)).status).toBe(200);
    // Said when there is room again, once a batch was given up.
    await eventually(async () => {
      await (await post(FRANCE)).text();
      return warnings().some((message) => /^traces: Dropped \d+ spans because maxQueueSize reached$/.test(message));
    });
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(logLines(server.log()).at(-1)).toMatchObject({ event: "stop" });
  });
});
