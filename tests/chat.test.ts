/**
 * `wrinklefree chat` and `run` without a terminal: pipes, files, JSON, and a conversation with a running server. How they are at a
 * terminal is tested in chat.terminal.test.ts.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PARIS, QUESTION } from "./support/chat.ts";
import { fixtures } from "./support/command_line.ts";
import { executable, freePort, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const SUM = "What is 7 + 5?";

let scratch: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "wrinklefree-chat-"));
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs the program with a text on its stdin. */
async function pipe(args: string[], input: string | Uint8Array, env: Record<string, string> = {}) {
  const child = Bun.spawn([executable, ...args], {
    cwd: scratch,
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", WRINKLEFREE_STORE: join(scratch, "store"), ...env },
    stdin: new Blob([input as string]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { stdout, stderr, code };
}

describe("what comes through a pipe", () => {
  test("is one message, whatever lines it has", async () => {
    const { stdout, stderr, code } = await pipe(["chat"], `${QUESTION}\n`);
    expect([code, stdout]).toEqual([0, `${PARIS}\n`]);
    expect(stderr).not.toContain("\u001b");
    const two = await pipe(["chat", "--json"], `${SUM}\n${QUESTION}\n`);
    expect(two.stdout.match(/\n/g)).toHaveLength(1);
    const said = await pipe(["chat", "--json", "-p", `${SUM}\n${QUESTION}`], "");
    expect(JSON.parse(two.stdout).usage.prompt_tokens).toBe(JSON.parse(said.stdout).usage.prompt_tokens);
  });

  test("-p - reads it too", async () => {
    expect((await pipe(["chat", "-p", "-"], `${QUESTION}\r\n`)).stdout).toBe(`${PARIS}\n`);
  });

  test("with --lines has a message in each line, and a history", async () => {
    const lines = `My name is Zoe.\n\nWhat is my name?\n/clear\n${QUESTION}\n`;
    const { stdout, code } = await pipe(["chat", "--lines"], lines);
    expect([code, stdout.split("\n").slice(1)]).toEqual([0, ["Your name is Zoe.", PARIS, ""]]);
  });

  test("with --lines and --json has an object for each message, those that fail too", async () => {
    const { stdout, code } = await pipe(
      ["chat", "--lines", "--json"],
      `${QUESTION}\n${"a".repeat(30_000)}\n${QUESTION}\n`,
    );
    const [first, failed, last] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(code).toBe(0);
    expect(first).toMatchObject({
      model: "tiny",
      message: { role: "assistant", content: PARIS },
      finish_reason: "stop",
      usage: { prompt_tokens: 14, completion_tokens: 9, total_tokens: 23 },
      timings: { prompt_n: 14, predicted_n: 9 },
    });
    expect(failed.error.message).toContain("maximum context length is 2048 tokens");
    expect(last.message.content).toBe(PARIS);
  });

  test("is handed on to programs as the model wrote it, without colour", async () => {
    const { stdout, stderr } = await pipe(["chat", "--lines"], "Can you write code?\n/stats\n");
    expect(stdout).toBe('Only this much:\n```python\nprint("hello")\n```\n');
    expect(stdout + stderr).not.toContain("\u001b");
  });

  test.each([
    ["nothing", "", "there is no message on stdin"],
    ["bytes that are no text", new Uint8Array([0x80, 0xff]), "stdin: is no text in UTF-8"],
    ["too much", "a".repeat((8 << 20) + 1), "stdin: is larger than 8.39 MB"],
  ])("%s is an error of one line", async (_, input, message) => {
    const { stdout, stderr, code } = await pipe(["chat"], input);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`wrinklefree: ${message}`);
  });
});

describe("-f", () => {
  test("puts files before the message", async () => {
    writeFileSync(join(scratch, "one.txt"), "first\n");
    writeFileSync(join(scratch, "two.txt"), "second\n");
    const prompt = async (...args: string[]) =>
      JSON.parse((await pipe(["chat", "--json", ...args], "")).stdout).usage.prompt_tokens;
    const written = await prompt("-p", `one.txt:\n\nfirst\n\ntwo.txt:\n\nsecond\n\n${QUESTION}`);
    expect(await prompt("-f", "one.txt", "-f", "two.txt", "-p", QUESTION)).toBe(written);
  });

  test("with --lines goes with the first message only", async () => {
    writeFileSync(join(scratch, "one.txt"), "first\n");
    const { stdout } = await pipe(["chat", "--lines", "--json", "-f", "one.txt"], `${SUM}\n/clear\n${QUESTION}\n`);
    const [, second] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(second).toMatchObject({ message: { content: PARIS }, usage: { prompt_tokens: 14 } });
  });

  test.each([
    ["missing.txt", () => undefined, "missing.txt: no such file or directory"],
    [".", () => undefined, ".: is a directory; attach a text file"],
    ["binary", () => new Uint8Array([0x61, 0, 0x62]), "binary: is no text (it has bytes that are zero)"],
    ["latin1.txt", () => new Uint8Array([0x63, 0xe9]), "latin1.txt: is no text in UTF-8"],
    ["long.txt", () => "word ".repeat(3000), "long.txt: has 3003 tokens, and the model's context holds 2048"],
    ["huge.txt", () => "a".repeat((8 << 20) + 1), "huge.txt: is larger than 8.39 MB"],
  ])("%s is an error of one line", async (name, content, message) => {
    const bytes = content();
    if (bytes !== undefined) writeFileSync(join(scratch, name), bytes);
    const { stdout, stderr, code } = await pipe(["chat", "-f", name, "-p", QUESTION], "");
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`wrinklefree: ${message}`);
  });
});

test("a file that can't be read is said before a model is opened", async () => {
  writeFileSync(join(scratch, "broken.wf"), "no model");
  const { stderr } = await pipe(["chat", "broken.wf", "-f", "missing.txt", "-p", QUESTION], "");
  expect(stderr).toBe("wrinklefree: missing.txt: no such file or directory\n");
});

test.each([
  ["", "the message is empty"],
  ["-", "there is no message on stdin"],
])("-p '%s' without a message", async (prompt, message) => {
  expect((await pipe(["chat", "-p", prompt], "")).stderr).toContain(`wrinklefree: ${message}\n`);
});

describe("a command line that begins with a model", () => {
  const model = join(fixtures, "tiny");

  test("chats with it: the question behind it, or through the pipe, or both", async () => {
    expect((await pipe([model, ...QUESTION.split(" ")], "")).stdout).toBe(`${PARIS}\n`);
    expect((await pipe(["run", model, QUESTION], "")).stdout).toBe(`${PARIS}\n`);
    expect((await pipe(["run", model], QUESTION)).stdout).toBe(`${PARIS}\n`);
    const both = await pipe(["run", model, "--json", "Answer this:"], QUESTION);
    const said = await pipe(["chat", model, "--json", "-p", `Answer this:\n\n${QUESTION}`], "");
    expect(JSON.parse(both.stdout).usage.prompt_tokens).toBe(JSON.parse(said.stdout).usage.prompt_tokens);
  });

  test("takes a name that is in the store", async () => {
    symlinkSync(model, join(scratch, "linked"));
    await pipe(["run", "linked", QUESTION], "");
    rmSync(join(scratch, "linked"));
    const { stdout: list } = await pipe(["list"], "");
    const name = list
      .split("\n")
      .find((line) => line.startsWith("tiny"))
      ?.split(" ")[0] as string;
    expect((await pipe([name, QUESTION], "")).stdout).toBe(`${PARIS}\n`);
    const { code, stderr } = await pipe([name.slice(0, -1), QUESTION], "");
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining(`there is no command '${name.slice(0, -1)}' (did you mean '${name}'?)`),
    ]);
  });

  test.each([
    ["model.wf", 1, "wrinklefree: model.wf: no such file or directory"],
    ["acme/tiny", 1, "wrinklefree: acme/tiny: no such file or directory, and not pulled yet"],
    ["chta", 2, "wrinklefree: there is no command 'chta' (did you mean 'chat'?)"],
  ])("%s, which is not there", async (name, wanted, message) => {
    const { code, stdout, stderr } = await pipe([name], "");
    expect([code, stdout, stderr]).toEqual([wanted, "", expect.stringContaining(message)]);
  });

  test("has the options of run", async () => {
    const { code, stdout } = await pipe([model, "--help"], "");
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^usage: wrinklefree run /)]);
    const wrong = await pipe([model, "--nonsense"], "");
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      expect.stringContaining("'wrinklefree run --help' shows the options"),
    ]);
  });
});

describe("--url", () => {
  const KEY = "sk-terminal";
  let server: TestServer;

  beforeAll(async () => {
    server = await startServer([], { env: { PATH: process.env.PATH ?? "", WRINKLEFREE_API_KEY: `${KEY} sk-other` } });
  });

  afterAll(() => server.stop());

  test("talks to a server: the key from the environment or the command line, the address with or without /v1", async () => {
    for (const path of ["", "/", "/v1", "/v1/"]) {
      const { stdout, stderr, code } = await pipe(["chat", "--url", server.url + path, "-p", QUESTION], "", {
        WRINKLEFREE_API_KEY: KEY,
      });
      expect([code, stdout]).toEqual([0, `${PARIS}\n`]);
      expect(stderr).toContain(`tiny at ${server.url}/v1`);
      expect(stderr).toContain("14 prompt tokens");
    }
    // One on the command line comes before any other.
    const elsewhere: Record<string, string>[] = [{}, { WRINKLEFREE_API_KEY: "sk-wrong" }];
    for (const env of elsewhere) {
      const { stdout } = await pipe(["chat", "--url", server.url, "--api-key", KEY, "-p", QUESTION], "", env);
      expect(stdout).toBe(`${PARIS}\n`);
    }
  });

  test("has the server's history, settings and usage", async () => {
    const lines = "My name is Zoe.\nWhat is my name?\n/set max-tokens 3\n/retry\n";
    const { stdout } = await pipe(["chat", "--url", server.url, "--lines", "--json"], lines, {
      WRINKLEFREE_API_KEY: KEY,
    });
    const [, second, third] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(second).toMatchObject({ message: { content: "Your name is Zoe." }, finish_reason: "stop" });
    expect(third).toMatchObject({ finish_reason: "length", usage: { completion_tokens: 3 } });
    const { prompt_tokens } = second.usage;
    const local = await pipe(["chat", "--lines", "--json"], "My name is Zoe.\nWhat is my name?\n");
    expect(JSON.parse(local.stdout.split("\n")[1] as string).usage.prompt_tokens).toBe(prompt_tokens);
  });

  test("forgets the beginning of a conversation that outgrows the server's context", async () => {
    const long = "word ".repeat(1200);
    const { stdout, stderr, code } = await pipe(
      ["chat", "--url", server.url, "--lines", "--max-tokens", "5"],
      `${long}\n${long}\n${QUESTION}\n`,
      { WRINKLEFREE_API_KEY: KEY },
    );
    expect([code, stdout.trimEnd().split("\n")]).toEqual([
      0,
      [expect.any(String), expect.any(String), expect.any(String)],
    ]);
    expect(stderr).toContain("its beginning is forgotten");
  });

  test.each([
    ["no key", {}, [], "wants a key; give one with WRINKLEFREE_API_KEY in the environment, or --api-key"],
    ["a wrong key", { WRINKLEFREE_API_KEY: "sk-wrong" }, [], "does not take this key"],
    ["a model that is not there", { WRINKLEFREE_API_KEY: KEY }, ["gpt-9"], "gpt-9"],
  ])("%s is an error in words", async (_, env, model, message) => {
    const { code, stdout, stderr } = await pipe(
      ["chat", ...model, "--url", server.url, "-p", QUESTION],
      "",
      env as Record<string, string>,
    );
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^wrinklefree: [^\n]+\n$/m);
    expect(stderr).toContain(message);
  });

  test("where nothing listens, or something else, is an error in words", async () => {
    const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("<html>\u001b[31mhello") });
    const moved = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.redirect("http://x.invalid/") });
    const failure = async (url: string) => (await pipe(["chat", "--url", url, "-p", QUESTION], "")).stderr;
    expect(await failure(`http://127.0.0.1:${await freePort()}`)).toContain(
      "nothing listens there; 'wrinklefree serve' starts a server",
    );
    expect(await failure("http://no.such.host.invalid")).toContain("there is no host 'no.such.host.invalid'");
    expect(await failure(String(other.url))).toContain(
      "/v1/models is no JSON: is this the address of a model's server?",
    );
    expect(await failure(String(moved.url))).toContain("it sends to another address; give that one");
    await Promise.all([other.stop(true), moved.stop(true)]);
  });

  test("a server that leaves in the middle of an answer is an error; what came stays", async () => {
    const leaving = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => {
        if (request.method === "GET") return Response.json({ data: [{ id: "m\u001b[31m" }] });
        const stream = new ReadableStream({
          start(controller) {
            controller.enqueue('data: {"choices":[{"delta":{"content":"half an ans"}}]}\n\n');
            controller.close();
          },
        });
        return new Response(stream, { headers: { "content-type": "text/event-stream" } });
      },
    });
    const { code, stdout, stderr } = await pipe(["chat", "--url", String(leaving.url), "-p", QUESTION], "");
    expect([code, stdout]).toEqual([1, "half an ans"]);
    expect(stderr).toContain("broke off in the middle of the answer");
    expect(stderr).toContain("m^[[31m at ");
    await leaving.stop(true);
  });

  test.each([
    [["--url", "localhost:30000"], "--url takes an address such as http://localhost:30000, not 'localhost:30000'"],
    [["--url", "http://localhost", "--threads", "2"], "--threads is for a model in this process"],
    [["--url", "http://localhost", "--pull"], "--pull is for a model in this process"],
    [["--api-key", "sk"], "--api-key is for a server; give its --url"],
    [["--lines", "-p", "x"], "--lines reads the messages from stdin"],
  ])("%p makes no sense", async (args, message) => {
    const { code, stdout, stderr } = await pipe(["chat", ...args], "");
    expect([code, stdout, stderr]).toEqual([2, "", expect.stringContaining(`wrinklefree chat: ${message}`)]);
  });
});
