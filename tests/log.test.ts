/** The lines of the access log, to the letter: people grep them and programs parse them. */

import { afterEach, beforeEach, describe, expect, setSystemTime, spyOn, test } from "bun:test";
import { LOG_FORMATS, type LogEntry, type LogFormat, logRequest } from "../src/server/log.ts";
import type { Counts } from "../src/text/generation.ts";

const NOW = new Date("2026-05-04T03:02:01.007Z");

beforeEach(() => {
  setSystemTime(NOW);
});
afterEach(() => {
  setSystemTime();
});

const counts = (promptTokens: number, cachedTokens: number, completionTokens: number): Counts => ({
  promptTokens,
  cachedTokens,
  completionTokens,
  queueMs: 1,
  firstTokenMs: 2,
  totalMs: 3,
});

const CHAT: LogEntry = {
  id: "req_1",
  method: "POST",
  route: "/v1/chat/completions",
  status: 200,
  milliseconds: 12.345,
  client: "192.0.2.7",
  key: "3f9a0c2b",
  counts: [counts(20, 0, 5), counts(20, 19, 7)],
};
/** A request that nothing was computed for, by nobody in particular. */
const REFUSED: LogEntry = {
  ...CHAT,
  method: "GET",
  route: "other",
  status: 404,
  milliseconds: 0.04,
  key: undefined,
  counts: [],
};

/** What is written about a request. */
function written(format: LogFormat, entry: LogEntry): string {
  const stderr = spyOn(process.stderr, "write").mockImplementation(() => true);
  try {
    logRequest(format, entry);
    return stderr.mock.calls.map(([text]) => text).join("");
  } finally {
    stderr.mockRestore();
  }
}

describe("text", () => {
  test("the counts are those of all answers together", () => {
    expect(written("text", CHAT)).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 POST /v1/chat/completions 200 12.3 ms 40 prompt (19 cached) + 12 tokens key 3f9a0c2b req_1\n",
    );
  });

  test("what a request has none of is left out", () => {
    expect(written("text", REFUSED)).toBe("2026-05-04T03:02:01.007Z 192.0.2.7 GET other 404 0.0 ms req_1\n");
  });

  test("an answer without tokens is an answer", () => {
    expect(written("text", { ...REFUSED, key: "00000000", counts: [counts(3, 0, 0)] })).toBe(
      "2026-05-04T03:02:01.007Z 192.0.2.7 GET other 404 0.0 ms 3 prompt (0 cached) + 0 tokens key 00000000 req_1\n",
    );
  });
});

describe("JSON", () => {
  test("one object in a line, always with the same names", () => {
    const line = written("json", CHAT);
    expect(line.endsWith("}\n") && !line.slice(0, -1).includes("\n")).toBe(true);
    expect(JSON.parse(line)).toEqual({
      time: "2026-05-04T03:02:01.007Z",
      request_id: "req_1",
      client: "192.0.2.7",
      method: "POST",
      path: "/v1/chat/completions",
      status: 200,
      duration_ms: 12.3,
      prompt_tokens: 40,
      cached_tokens: 19,
      completion_tokens: 12,
      key: "3f9a0c2b",
    });
    expect(Object.keys(JSON.parse(written("json", REFUSED)))).toEqual(Object.keys(JSON.parse(line)));
  });

  test("no key is null, no tokens are 0", () => {
    expect(JSON.parse(written("json", REFUSED))).toMatchObject({
      status: 404,
      duration_ms: 0,
      prompt_tokens: 0,
      cached_tokens: 0,
      completion_tokens: 0,
      key: null,
    });
  });
});

test("off: nothing", () => {
  expect(written("off", CHAT)).toBe("");
});

test("every format writes at most one line", () => {
  for (const format of LOG_FORMATS) expect(written(format, CHAT).split("\n").length).toBeLessThanOrEqual(2);
});
