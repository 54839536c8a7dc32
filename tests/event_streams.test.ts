/** Streams of events by themselves: silence, errors, names, and clients that left. */

import { describe, expect, spyOn, test } from "bun:test";
import { openAi } from "../src/api/openai/dialect.ts";
import { eventStream, serverSentEvent } from "../src/api/sse.ts";
import { eventually, parseEvents } from "./support/server.ts";

describe("event streams", () => {
  test("silence is filled with comments, and an error in mid-stream is an event", async () => {
    async function* slow() {
      yield { first: 1 };
      await Bun.sleep(120);
      throw new Error("the reason, which is nobody's business");
    }
    const stderr = spyOn(process.stderr, "write").mockImplementation(() => true);
    const response = eventStream(slow(), openAi.events, new AbortController().signal, { pingIntervalMs: 30 });
    const text = await response.text();
    expect(stderr.mock.calls.flat().join("")).toContain("nobody's business");
    stderr.mockRestore();
    expect(text).toStartWith('data: {"first":1}\n\n: ping\n\n: ping\n\n');
    const events = parseEvents(text);
    expect(events[1]).toMatchObject({ error: { type: "server_error", param: null, code: null } });
    expect(text).not.toContain("nobody's business");
  });

  test("events can have names, and no end of a line within them", () => {
    expect(serverSentEvent({ text: "a\u2028b" }, "delta")).toBe('event: delta\ndata: {"text":"a\\u2028b"}\n\n');
  });

  test("a client that left before anything was read ends the generation", async () => {
    let ended = false;
    async function* events() {
      try {
        for (;;) yield {};
      } finally {
        ended = true;
      }
    }
    const client = new AbortController();
    eventStream(events(), openAi.events, client.signal);
    client.abort();
    await eventually(() => ended);
  });
});
