/**
 * Connections: how long idle ones are kept, and that they don't use up the descriptors of the process.
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { CHAT, FRANCE } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { type Connection, eventually, openConnection, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
let connections: Connection[] = [];
afterEach(async () => {
  for (const connection of connections) connection.close();
  connections = [];
  await server.stop();
});

function open(): Connection {
  const connection = openConnection(server.port);
  connections.push(connection);
  return connection;
}

function request(body: string): string {
  const head = `Host: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `POST ${CHAT} HTTP/1.1\r\n${head}\r\n\r\n${body}`;
}

test("idle ones are closed, those with a request or an answer under way are not", async () => {
  server = await startServer([await deepModel(), "--keep-alive", "1", "--log", "off"]);
  const body = JSON.stringify({ ...FRANCE, max_tokens: 1 });
  const endless = { ...FRANCE, max_tokens: 1900, ignore_eos: true };
  // A silent answer, a stream, and a request that is slow to come.
  const [whole, streamed, slow, unused, idle, answered] = Array.from({ length: 6 }, open) as Connection[];
  whole?.write(request(JSON.stringify(endless)));
  streamed?.write(request(JSON.stringify({ ...endless, stream: true })));
  slow?.write(request(body).slice(0, -10));
  expect((await idle?.ask("GET", "/health"))?.status).toBe(200);
  answered?.write(request(JSON.stringify({ ...FRANCE, max_tokens: 1, stream: true })));
  for (const connection of [idle, answered]) await eventually(() => connection?.isClosed() === true);
  expect([whole, streamed, slow].map((connection) => connection?.isClosed())).toEqual([false, false, false]);
  slow?.write(request(body).slice(-10));
  expect((await slow?.read())?.status).toBe(200);
  for (const connection of [slow, unused]) await eventually(() => connection?.isClosed() === true);
});

/** Bun 1.4.5 takes a client that has closed its own direction for one that has gone, so there is no answer; it costs nothing any more then. */
test.each([[false], [true]])("half-closed ones are gone; streamed: %p", async (stream) => {
  server = await startServer([await deepModel()]);
  const long = request(JSON.stringify({ ...FRANCE, max_tokens: 1900, ignore_eos: true, stream }));
  const received = await new Promise<string>((resolve) => {
    const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    let text = "";
    socket.on("data", (part) => {
      text += part;
    });
    socket.on("close", () => resolve(text));
    socket.write(long);
    eventually(async () => (await server.requests()).running === 1).then(() => socket.end());
    socket.on("end", () => socket.destroy());
  });
  // A client can tell that this is no whole answer.
  expect(received).not.toMatch(/\[DONE\]|\r\n0\r\n|"usage"/);
  await eventually(async () => (await server.requests()).running === 0);
  await eventually(() => / POST \/v1\/chat\/completions 499 /.test(server.log()));
  expect((await server.chat({ ...FRANCE, max_tokens: 9 })).choices[0]?.message.content).toBe(
    "The capital of France is Paris.",
  );
});

/**
 * Bun 1.4.5 ends a connection on which a second request, or anything else, comes while an answer is under way. That answer is lost;
 * what can be had is that its client can tell, that it is over here as well, and that nobody else notices.
 */
describe("what comes on a connection before the answer to what came earlier", () => {
  const long = { ...FRANCE, max_tokens: 1900, ignore_eos: true };
  const rows: [string, string, string][] = [
    ["a second request after a whole one", request(JSON.stringify(long)), request(JSON.stringify(FRANCE))],
    ["a second request in a stream", request(JSON.stringify({ ...long, stream: true })), request("{}")],
    ["an empty line in a stream", request(JSON.stringify({ ...long, stream: true })), "\r\n"],
  ];

  test.each(rows)("%s ends the connection, and only that", async (_, first, second) => {
    server = await startServer([await deepModel()]);
    let neighbour: ReturnType<TestServer["chat"]> | undefined;
    const received = await new Promise<string>((resolve) => {
      const socket = connect(server.port, "127.0.0.1");
      let text = "";
      socket.on("data", (part) => {
        text += part;
      });
      socket.on("close", () => resolve(text));
      socket.write(first);
      eventually(async () => (await server.requests()).running === 1).then(() => {
        neighbour = server.chat({ ...FRANCE, max_tokens: 9 });
        socket.write(second);
      });
    });
    // No end of a stream that was cut off, nor an answer that belongs to nothing.
    expect(received).not.toMatch(/\[DONE\]|\r\n0\r\n|HTTP\/1\.1 200.*HTTP\/1\.1 200/s);
    expect((await neighbour)?.choices[0]?.message.content).toBe("The capital of France is Paris.");
    await eventually(async () => (await server.requests()).running === 0);
    await eventually(() => / POST \/v1\/chat\/completions 499 /.test(server.log()));
  });

  test("an empty line between requests is answered with 400 and the end of the connection", async () => {
    server = await startServer(["--log", "off"]);
    const connection = open();
    expect((await connection.ask("GET", "/health")).status).toBe(200);
    connection.write("\r\n");
    const answer = await connection.read();
    expect([answer.status, answer.headers.get("connection")]).toEqual([400, "close"]);
    await eventually(() => connection.isClosed());
  });
});

describe("descriptors", () => {
  const limited = (limit: string) => ({ wrapper: ["/bin/bash", "-c", `ulimit ${limit} && exec "$0" "$@"`] });

  test("running short, answers are the last ones on their connections, and newcomers are served", async () => {
    server = await startServer(["--log", "off"], limited("-n 100"));
    expect(server.log()).toMatch(/^wrinklefree: warning: only 100 file descriptors .*ulimit -n/m);
    const headers = [];
    for (let i = 0; i < 150; i++) {
      const answer = await open().ask("GET", "/health");
      expect(answer.status).toBe(200);
      headers.push(answer.headers.get("connection"));
    }
    expect(headers[0]).not.toBe("close");
    expect(headers.slice(-50)).toEqual(Array(50).fill("close"));
    await eventually(() => connections.slice(-50).every((connection) => connection.isClosed()));
    const kept = connections.filter((connection) => !connection.isClosed());
    expect(kept.length).toBeWithin(20, 75);
    // Streams end as they should all the same.
    const last = open();
    last.write(request(JSON.stringify({ ...FRANCE, stream: true })));
    expect((await last.read()).headers.get("connection")).toBe("close");
    await eventually(() => last.isClosed());
  });

  test("running short, connections without a whole request are ended, those with one are not, and newcomers are served", async () => {
    server = await startServer([await deepModel(), "--log", "off", "--keep-alive", "255"], limited("-n 100"));
    const streamed = open();
    streamed.write(request(JSON.stringify({ ...FRANCE, max_tokens: 1900, ignore_eos: true, stream: true })));
    const uploading = open();
    const body = JSON.stringify({ ...FRANCE, max_tokens: 1 });
    uploading.write(request(body).slice(0, -10));
    await eventually(async () => (await server.requests()).running === 1);
    // Headers that come byte by byte and have no end, and connections that were never used.
    const slow = Array.from({ length: 70 }, open);
    const timer = setInterval(() => {
      for (const connection of slow.slice(0, 50)) if (!connection.isClosed()) connection.write("a");
    }, 200);
    try {
      for (const connection of slow.slice(0, 50)) connection.write("GET /health HTTP/1.1\r\nX-Slow: ");
      expect((await open().ask("GET", "/health")).status).toBe(200);
      await eventually(() => slow.filter((connection) => connection.isClosed()).length > 40);
    } finally {
      clearInterval(timer);
    }
    expect((await open().ask("POST", CHAT, { ...FRANCE, max_tokens: 1 })).status).toBe(200);
    uploading.write(body.slice(-10));
    expect((await uploading.read()).status).toBe(200);
    expect(streamed.isClosed()).toBe(false);
  });

  test("the soft limit is raised at the start", async () => {
    server = await startServer(["--log", "off"], limited("-Sn 100"));
    expect(server.log()).not.toContain("warning");
    const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m.exec(
      readFileSync(`/proc/${server.pid}/limits`, "utf8"),
    ) as RegExpExecArray;
    expect(soft).toBe(hard as string);
  });
});
