/** The lines of the access log, to the letter: people grep them and programs parse them. */

import { afterEach, beforeEach, describe, expect, setSystemTime, spyOn, test } from "bun:test";
import type { AnswerRecord } from "../src/api/answer_record.ts";
import type { RequestRecord } from "../src/api/request_record.ts";
import { LOG_FORMATS, type LogFormat, logRequest, speakAs } from "../src/server/log.ts";
import { RequestError } from "../src/serving/request_error.ts";

const NOW = new Date("2026-05-04T03:02:01.007Z");

beforeEach(() => {
  setSystemTime(NOW);
});
afterEach(() => {
  setSystemTime();
});

const answer = (promptTokens: number, cachedTokens: number, completionTokens: number): AnswerRecord => ({
  submitted: 0,
  hasBegun: true,
  counts: { promptTokens, cachedTokens, completionTokens, queueMs: 1.24, firstTokenMs: 2.26, totalMs: 3 },
  reason: "stop",
});

const CHAT: RequestRecord = {
  id: "req_1",
  method: "POST",
  route: "/v1/chat/completions",
  status: 200,
  milliseconds: 12.345,
  client: "192.0.2.7",
  key: "3f9a0c2b",
  model: "tiny",
  parameters: undefined,
  isEventStream: false,
  started: 0,
  hasLeft: false,
  error: undefined,
  trace: undefined,
  answers: [answer(20, 0, 5), answer(20, 19, 7)],
};
/** A request that nothing was computed for, by nobody in particular. */
const REFUSED: RequestRecord = {
  ...CHAT,
  method: "GET",
  route: "other",
  status: 404,
  milliseconds: 0.04,
  key: undefined,
  model: undefined,
  error: new RequestError(404, "No secret here."),
  answers: [],
};

/** What is written about a request. */
function written(format: LogFormat, entry: RequestRecord): string {
  const stderr = spyOn(process.stderr, "write").mockImplementation(() => true);
  try {
    speakAs(format);
    logRequest(entry);
    return stderr.mock.calls.map(([text]) => text).join("");
  } finally {
    stderr.mockRestore();
    speakAs("off");
  }
}

describe("text", () => {
  test("the counts are those of all answers together", () => {
    expect(written("text", CHAT)).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 POST /v1/chat/completions 200 12.3 ms 40 prompt (19 cached) + 12 tokens key 3f9a0c2b req_1\n",
    );
  });

  test("what a request has none of is left out", () => {
    expect(written("text", { ...REFUSED, status: 200, error: undefined })).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 GET other 200 0.0 ms req_1\n",
    );
  });

  test("a refusal says why: by the error's code, or else its type, and never by its message", () => {
    expect(written("text", REFUSED)).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 GET other 404 0.0 ms error invalid_request_error req_1\n",
    );
    const error = new RequestError(429, "No secret here.", { code: "rate_limit_exceeded", param: "secret" });
    expect(written("text", { ...REFUSED, status: 429, key: "alice", error })).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 GET other 429 0.0 ms error rate_limit_exceeded key alice req_1\n",
    );
  });

  test("an answer without tokens is an answer", () => {
    const entry = { ...CHAT, milliseconds: 0.04, key: "00000000", answers: [answer(3, 0, 0)] };
    expect(written("text", entry)).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 POST /v1/chat/completions 200 0.0 ms 3 prompt (0 cached) + 0 tokens key 00000000 req_1\n",
    );
  });
});

describe("JSON", () => {
  test("one object in a line, always with the same names", () => {
    const line = written("json", CHAT);
    expect(line.endsWith("}\n") && !line.slice(0, -1).includes("\n")).toBe(true);
    expect(JSON.parse(line)).toEqual({
      time: "2026-05-04T03:02:01.007Z",
      level: "info",
      event: "request",
      request_id: "req_1",
      trace_id: null,
      span_id: null,
      client: "192.0.2.7",
      key: "3f9a0c2b",
      method: "POST",
      path: "/v1/chat/completions",
      model: "tiny",
      status: 200,
      error_type: null,
      error_code: null,
      finish_reasons: ["stop"],
      prompt_tokens: 40,
      cached_tokens: 19,
      completion_tokens: 12,
      queue_ms: 1.2,
      first_token_ms: 2.3,
      duration_ms: 12.3,
    });
    expect(Object.keys(JSON.parse(written("json", REFUSED)))).toEqual(Object.keys(JSON.parse(line)));
  });

  test("no key is null, no tokens are 0", () => {
    expect(JSON.parse(written("json", REFUSED))).toMatchObject({
      status: 404,
      error_type: "invalid_request_error",
      error_code: null,
      finish_reasons: [],
      duration_ms: 0,
      prompt_tokens: 0,
      cached_tokens: 0,
      completion_tokens: 0,
      queue_ms: null,
      first_token_ms: null,
      key: null,
      model: null,
    });
  });

  test("an error is told by its kind and its code, and never by its message", () => {
    const error = new RequestError(503, "'secret' is not served.", { code: "model_gone", param: "secret" });
    const line = written("json", { ...REFUSED, status: 503, error });
    expect(JSON.parse(line)).toMatchObject({ level: "error", error_type: "server_error", error_code: "model_gone" });
    expect(line).not.toContain("secret");
  });

  test("an error in mid-stream is one whatever the status was", () => {
    const error = new RequestError(503, "The server shut down.");
    const cut: AnswerRecord = { ...answer(20, 0, 5), reason: "cancelled" };
    expect(JSON.parse(written("json", { ...CHAT, error, answers: [cut] }))).toMatchObject({
      level: "error",
      status: 200,
      error_type: "server_error",
      finish_reasons: ["error"],
    });
  });

  test("each reason for an end is told once; what the client did not wait for is an abort", () => {
    const ended = (reason: AnswerRecord["reason"]): AnswerRecord => ({ ...answer(1, 0, 1), reason });
    const reasons = (...answers: AnswerRecord[]) =>
      JSON.parse(written("json", { ...CHAT, status: 499, hasLeft: true, answers })).finish_reasons;
    expect(reasons(ended("stop"), ended("length"), ended("stop"))).toEqual(["stop", "length"]);
    expect(reasons(ended("length"), ended("cancelled"), ended(undefined))).toEqual(["length", "abort"]);
  });

  test("a request that is traced says where", () => {
    const trace = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
    const ids = { trace_id: trace.traceId, span_id: trace.spanId };
    expect(JSON.parse(written("json", { ...CHAT, trace }))).toMatchObject(ids);
  });

  test("what has not begun has no times", () => {
    const waiting: AnswerRecord = { ...answer(9, 0, 0), hasBegun: false, reason: undefined };
    expect(JSON.parse(written("json", { ...CHAT, answers: [waiting] }))).toMatchObject({
      queue_ms: null,
      first_token_ms: null,
    });
  });
});

test("off: nothing", () => {
  expect(written("off", CHAT)).toBe("");
});

test("every format writes at most one line", () => {
  for (const format of LOG_FORMATS) expect(written(format, CHAT).split("\n").length).toBeLessThanOrEqual(2);
});
