/** Many requests at once: each gets its own answer, whoever else is served, leaves or does not read. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { ask, CHAT, expectEndedEarly, FRANCE, LONG } from "./support/chat.ts";
import { goldens } from "./support/goldens.ts";
import { eventually, startServer, streamedText, type TestServer, untilIdle } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

describe("many at once", () => {
  /** Sends a chat request over a socket of its own, with a length that may be longer than what is sent. */
  function openPost(body: string, length = body.length): Socket {
    const socket = connect(server.port, "127.0.0.1");
    const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}`;
    socket.write(`POST ${CHAT} HTTP/1.1\r\n${head}\r\n\r\n${body}`);
    return socket;
  }

  test("answers are those of requests alone, whoever else is served or leaves", async () => {
    const short = goldens.chat.filter(({ finish_reason }) => finish_reason === "stop");
    const leaving = Array.from({ length: 8 }, async (_, i) => {
      const leave = new AbortController();
      setTimeout(() => leave.abort(), 10 * i);
      await server
        .post(
          CHAT,
          { ...LONG, n: 2, stream: i % 2 === 0 },
          { headers: { "content-type": "application/json" }, signal: leave.signal },
        )
        .then((response) => response.text())
        .catch(() => undefined);
    });
    const staying = Array.from({ length: 6 }, () => short)
      .flat()
      .map(async ({ messages, greedy_text }, i) => {
        const text =
          i % 2 === 0
            ? streamedText(await server.stream({ messages }))
            : (await server.chat({ messages })).choices[0]?.message.content;
        expect(text).toBe(greedy_text);
      });
    await Promise.all([...staying, ...leaving]);
    await untilIdle(server);
  });

  test("a client that leaves ends its generation: streaming, waiting for a whole answer, or not yet begun", async () => {
    for (const stream of [true, false]) {
      for (const afterMs of [0, 5, 300]) {
        await expectEndedEarly(server, 64, async () => {
          const socket = openPost(JSON.stringify({ ...LONG, n: 64, stream }));
          if (afterMs === 300) await eventually(async () => (await server.requests()).running > 0);
          else await Bun.sleep(afterMs);
          socket.destroy();
        });
      }
    }
    expect(server.log()).not.toContain("internal error");
  });

  test("a client that leaves in the middle of its own request is no error of the server", async () => {
    const socket = openPost('{"messages":', 1000);
    await Bun.sleep(50);
    socket.destroy();
    await Bun.sleep(50);
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe("The capital of France is Paris.");
    expect(server.log()).not.toContain("internal error");
  });

  test("health answers while long prompts and many answers are computed", async () => {
    const leave = new AbortController();
    const init = { headers: { "content-type": "application/json" }, signal: leave.signal };
    const load = Array.from({ length: 8 }, () =>
      server.post(CHAT, { ...ask("a".repeat(1500)), ignore_eos: true, n: 8 }, init).catch(() => undefined),
    );
    await eventually(async () => (await server.requests()).running > 0);
    // Each answer comes before the load is over: it says that there still is some.
    for (let i = 0; i < 30; i++) {
      const { running, waiting } = await server.requests();
      expect(running + waiting).toBeGreaterThan(0);
    }
    leave.abort();
    await Promise.all(load);
  });

  test("a reader that does not read costs little memory", async () => {
    await server.stream({ ...LONG, n: 4, max_tokens: 100 });
    const before = server.residentMegabytes();
    const socket = openPost(JSON.stringify({ ...LONG, n: 64, stream: true }));
    socket.pause();
    await Bun.sleep(4000);
    // All 64 answers would be some 40 MB of events.
    expect(server.residentMegabytes() - before).toBeLessThan(100);
    socket.destroy();
    await untilIdle(server);
  });
});
