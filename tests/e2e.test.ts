/**
 * The compiled executable as a program: where it runs, how it starts and stops, and what it says when it can't.
 */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FRANCE, PARIS } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { goldens, tinyDirectory } from "./support/goldens.ts";
import { eventually, executable, parseEvents, runProgram, startServer, streamedText } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-e2e-"));
chmodSync(scratch, 0o755);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const STORY = goldens.chat.find(({ messages }) => messages.at(-1)?.content === "Tell me a story.");
/** Answers that take a while together. */
const LONG = { messages: STORY?.messages, ignore_eos: true, stream: true };
const PATH = process.env.PATH ?? "/usr/bin:/bin";

/** Why a test can't run here, or undefined. */
function lacking(...tools: string[]): string | undefined {
  const missing = tools.filter((tool) => Bun.which(tool) === null);
  if (missing.length > 0) return `without ${missing.join(" and ")}`;
  return process.getuid?.() === 0 ? undefined : "without being root";
}

/** A test with a condition: skipped with the reason in its name. */
function testUnless(reason: string | undefined, name: string, run: () => Promise<void>): void {
  if (reason === undefined) test(name, run);
  else test.skip(`${name} (not testable ${reason})`, run);
}

describe("where it runs", () => {
  test("from another directory, as a copy, without HOME, away from the sources", async () => {
    const elsewhere = join(scratch, "elsewhere");
    mkdirSync(elsewhere);
    const program = join(elsewhere, "wf");
    copyFileSync(executable, program);
    // Files that a runtime might pick up from the current directory.
    await Bun.write(join(elsewhere, ".env"), "WRINKLEFREE_CPU=nonsense\n");
    await Bun.write(join(elsewhere, "bunfig.toml"), 'preload = ["./missing.ts"]\n');
    await Bun.write(join(elsewhere, "package.json"), "{broken");
    const server = await startServer([], { program, cwd: elsewhere, env: { PATH } });
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
    await server.stop();
  });

  testUnless(lacking("setpriv"), "as another user, without HOME", async () => {
    const program = join(scratch, "wf-nobody");
    copyFileSync(executable, program);
    chmodSync(program, 0o755);
    const wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const server = await startServer([], { program, wrapper, env: { PATH } });
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
    await server.stop();
  });

  test("two of them at once", async () => {
    const servers = await Promise.all([startServer(), startServer()]);
    const answers = await Promise.all(servers.map((server) => server.chat(FRANCE)));
    expect(answers.map((answer) => answer.choices[0]?.message.content)).toEqual([PARIS, PARIS]);
    await Promise.all(servers.map((server) => server.stop()));
  });

  testUnless(lacking("unshare", "mount"), "a temporary directory that forbids programs is one clear line", async () => {
    const directory = join(scratch, "noexec");
    mkdirSync(directory);
    const script = `mount -t tmpfs -o noexec tmpfs ${directory} && exec "$0" "$@"`;
    const wrapper = ["unshare", "--mount", "sh", "-c", script];
    const env = { PATH, TMPDIR: directory, BUN_TMPDIR: directory };
    const probe = Bun.spawnSync([...wrapper, "/bin/true"], { env });
    if (probe.exitCode !== 0) {
      console.log(`skipped: mounting is not allowed here: ${probe.stderr.toString().trim()}`);
      return;
    }
    const { code, stderr, stdout } = await runProgram(["serve", "--port", "0"], { wrapper, env });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^wrinklefree: [^\n]*noexec[^\n]*BUN_TMPDIR[^\n]*\n$/);
  });
});

describe("serve", () => {
  test("says what it serves and how to ask", async () => {
    const server = await startServer(["--threads", "1"]);
    for (const word of ["4-million-parameter demo", "kernels", "1 thread", "KV cache", server.url, "curl "]) {
      expect(server.log()).toContain(word);
    }
    await server.stop();
  });

  test("says why no better kernels are used, at the start and in /health", async () => {
    const server = await startServer(["--threads", "1"], { env: { PATH, WRINKLEFREE_CPU: "scalar" } });
    expect(server.log()).toContain("\nkernels  scalar (WRINKLEFREE_CPU asks for it), 1 thread\n");
    expect(await (await fetch(`${server.url}/health`)).json()).toMatchObject({
      kernels: "scalar",
      kernels_reason: "WRINKLEFREE_CPU asks for it",
    });
    await server.stop();
  });

  test("a Hugging Face directory, under a name of the user's choice", async () => {
    const directory = join(scratch, "my-model");
    cpSync(tinyDirectory, directory, { recursive: true });
    const env = { PATH, WRINKLEFREE_CACHE: join(scratch, "cache") };
    const server = await startServer([directory, "--served-name", "org/mine", "--ctx", "256"], { env });
    const answer = await server.chat({ ...FRANCE, model: "org/mine" });
    expect([answer.model, answer.choices[0]?.message.content]).toEqual(["org/mine", PARIS]);
    expect(await (await fetch(`${server.url}/v1/models/org/mine`)).json()).toMatchObject({
      id: "org/mine",
      root: "my-model",
      max_model_len: 256,
    });
    expect((await server.post("/v1/chat/completions", { ...FRANCE, model: "my-model" })).status).toBe(404);
    await server.stop();
  });

  test.each([["--batch-tokens", "5"]])("%s %s computes the same answers in another way", async (option, value) => {
    const server = await startServer([option, value]);
    for (const { messages, greedy_ids, greedy_text } of goldens.chat) {
      const answer = await server.chat({ messages, max_tokens: greedy_ids.length });
      expect(answer.choices[0]?.message.content).toBe(greedy_text);
    }
    await server.stop();
  });

  test("--kv f16 and q8 take half and a quarter of the memory for keys and values", async () => {
    const bytes: number[] = [];
    for (const kind of ["f32", "f16", "q8"]) {
      const server = await startServer(["--kv", kind]);
      bytes.push(Number(/KV cache up to ([\d.]+) MB/.exec(server.log())?.[1]));
      expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
      await server.stop();
    }
    const [f32, f16, q8] = bytes as [number, number, number];
    expect(f16 / f32).toBeWithin(0.5, 0.53);
    expect(q8 / f32).toBeWithin(0.25, 0.3);
  });

  test.each(["--kv", "--log"])("%s with a word that it doesn't know is a usage error", async (option) => {
    const { code, stderr } = await runProgram(["serve", option, "maybe"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(new RegExp(`^wrinklefree serve: ${option} takes .*, not 'maybe'`));
  });

  test("a model with a chat template that never ends refuses the messages that start it, and serves on", async () => {
    const directory = join(scratch, "sly-model");
    cpSync(tinyDirectory, directory, { recursive: true });
    const bomb = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}";
    const { chat_template } = JSON.parse(readFileSync(join(directory, "tokenizer_config.json"), "utf8"));
    const template = `{% if messages | length > 1 %}${bomb}{% endif %}${chat_template}`;
    writeFileSync(join(directory, "chat_template.jinja"), template);
    const server = await startServer([directory], { env: { PATH, WRINKLEFREE_CACHE: join(scratch, "cache") } });
    const [question] = FRANCE.messages;
    const refused = await server.post("/v1/chat/completions", { messages: [question, question] });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { param: "messages", code: "invalid_value" } });
    expect((await server.chat(FRANCE)).choices[0]?.message.content).toBe(PARIS);
    await server.stop();
  });

  test("a model with a template of its own for tools, and a date for both", async () => {
    const directory = join(scratch, "dated-model");
    cpSync(tinyDirectory, directory, { recursive: true });
    const dated = (name: string) =>
      `${name} {{ strftime_now('%d %b %Y') }}{% for m in messages %} {{ m.content }}{% endfor %}`;
    writeFileSync(join(directory, "chat_template.jinja"), dated("chat"));
    mkdirSync(join(directory, "additional_chat_templates"));
    writeFileSync(join(directory, "additional_chat_templates/tool_use.jinja"), dated("{{ tools | length }} tool"));
    const server = await startServer([directory, "--template-date", "2026-11-05"], {
      env: { PATH, WRINKLEFREE_CACHE: join(scratch, "cache") },
    });
    const prompt = async (more: object) => {
      const messages = [{ role: "user", content: "Hi" }];
      return ((await (await server.post("/apply-template", { messages, ...more })).json()) as { prompt: string })
        .prompt;
    };
    expect(await prompt({})).toBe("chat 05 Nov 2026 Hi");
    const tools = [{ type: "function", function: { name: "f", parameters: {} } }];
    expect(await prompt({ tools })).toBe("1 tool 05 Nov 2026 Hi");
    await server.stop();
    for (const date of ["tomorrow", "2026-02-30", "2026-1-1"]) {
      const { code, stderr } = await runProgram(["serve", "--template-date", date]);
      expect([code, stderr]).toEqual([
        2,
        expect.stringContaining(`--template-date takes a date such as 2026-11-26, not '${date}'`),
      ]);
    }
  });

  test("--temperature is for requests that don't set one", async () => {
    const server = await startServer(["--temperature", "2"]);
    const texts = new Set<string>();
    const ask = async (more: object) =>
      (await server.chat({ messages: STORY?.messages, max_tokens: 40, ...more })).choices[0]?.message.content as string;
    for (let seed = 0; seed < 5; seed++) texts.add(await ask({ seed }));
    expect(texts.size).toBeGreaterThan(1);
    expect(STORY?.greedy_text).toStartWith(await ask({ temperature: 0 }));
    await server.stop();
  });

  test.each([
    ["1 thread", ["--threads", "1"], {}],
    ["pinned", ["--cpus", "0"], {}],
    ["the scalar tier", [], { WRINKLEFREE_CPU: "scalar" }],
    ["one at a time", ["--parallel", "1"], {}],
  ] as [string, string[], Record<string, string>][])("greedy texts are the same with %s", async (_, args, env) => {
    const server = await startServer(args, { env: { PATH, ...env } });
    await Promise.all(
      goldens.chat.map(async ({ messages, greedy_ids, greedy_text }) => {
        expect(streamedText(await server.stream({ messages, max_tokens: greedy_ids.length }))).toBe(greedy_text);
      }),
    );
    await server.stop();
  });

  test("a port that is taken is one clear line", async () => {
    const server = await startServer();
    const { code, stderr, stdout } = await runProgram(["serve", "--port", String(server.port)]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toBe(
      `wrinklefree: 127.0.0.1:${server.port} is already in use; stop the other server or choose another --port\n`,
    );
    await server.stop();
  });

  test("an address that others can reach needs --insecure", async () => {
    for (const host of ["0.0.0.0", "::", "192.0.2.1"]) {
      const { code, stderr } = await runProgram(["serve", "--port", "0", "--host", host]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^wrinklefree: refusing to listen on [^\n]*--insecure[^\n]*\n$/);
    }
    const server = await startServer(["--host", "0.0.0.0", "--insecure"]);
    const byName = await fetch(`http://127.0.0.1:${server.port}/health`, { headers: { host: "my-server.example" } });
    expect(byName.status).toBe(200);
    await server.stop();
  });

  test.each([
    [["--port", "70000"], "--port"],
    [["--port", "x"], "--port"],
    [["--threads", "0"], "--threads"],
    [["--threads", "257"], "--threads"],
    [["--cpus", "3-1"], "--cpus"],
    [["--cpus", "0,0"], "--cpus"],
    [["--cpus", "a"], "--cpus"],
    [["--cpus", "4095"], "core 4095"],
    [["--parallel", "0"], "--parallel"],
    [["--ctx", "-5"], "--ctx"],
    [["--temperature", "3"], "--temperature"],
    [["--nonsense"], "--nonsense"],
    [["one", "two"], "two"],
  ])("a command line that makes no sense: %p", async (args, word) => {
    const { code, stderr } = await runProgram(["serve", ...args]);
    expect(code).toBe(2);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toContain(word);
  });

  test("a model that is not there is one line", async () => {
    const { code, stderr } = await runProgram(["serve", "--port", "0", "/no/such/model.wf"]);
    expect(code).toBe(1);
    expect(stderr).toBe("wrinklefree: /no/such/model.wf: no such file or directory\n");
  });
});

describe("stopping", () => {
  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s: what runs is finished, new requests are turned away, the exit code is 0",
    async (signal) => {
      const server = await startServer([await deepModel(), "--threads", "1"]);
      const running = await server.post("/v1/chat/completions", { ...LONG, n: 6, max_tokens: 100 });
      const whole = server.chat({ ...LONG, n: 2, max_tokens: 100, stream: false });
      await eventually(async () => (await server.requests()).running > 0);
      server.signal(signal);
      await eventually(async () => (await fetch(`${server.url}/ready`)).status === 503);
      const refused = await server.post("/v1/chat/completions", FRANCE);
      expect(refused.status).toBe(503);
      expect(refused.headers.get("retry-after")).not.toBeNull();
      expect(((await refused.json()) as { error: { type: string } }).error.type).toBe("server_error");
      expect(await (await fetch(`${server.url}/health`)).json()).toMatchObject({ status: "ok", phase: "draining" });
      const chunks = parseEvents(await running.text()) as { choices: { finish_reason: string | null }[] }[];
      const reasons = chunks
        .flatMap((chunk) => chunk.choices.map((choice) => choice.finish_reason))
        .filter((reason) => reason !== null);
      expect(reasons).toEqual(Array(6).fill("length"));
      expect((await whole).choices).toHaveLength(2);
      expect(await server.exited).toBe(0);
    },
  );

  test("a second signal ends answers at once, with an error in the stream", async () => {
    const server = await startServer([await deepModel(), "--threads", "1"]);
    // They would be finished well before the server gives up waiting for them.
    const choices = { n: 64, max_tokens: 20 };
    const running = await server.post("/v1/chat/completions", { ...LONG, ...choices });
    const whole = server.post("/v1/chat/completions", { ...LONG, ...choices, stream: false });
    await eventually(async () => (await server.requests()).waiting > 64);
    server.signal("SIGTERM");
    await eventually(async () => (await fetch(`${server.url}/ready`)).status === 503);
    server.signal("SIGTERM");
    const events = parseEvents(await running.text());
    expect(events.at(-1)).toMatchObject({ error: { type: "server_error", param: null, code: null } });
    expect((await whole).status).toBe(503);
    expect(await server.exited).toBe(0);
    // The log tells it from a stream that ended well.
    expect(server.log()).toMatch(/ POST \/v1\/chat\/completions 200 .* tokens ended by server_error /);
    expect(server.log()).toMatch(/\nwrinklefree: stopped after \d+ requests, \d+ answers cut off\n$/);
  });

  test("with nothing to finish it ends at once, connections that idle notwithstanding", async () => {
    const server = await startServer();
    await server.chat(FRANCE);
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(server.log()).not.toContain("finishing");
    expect(server.log()).toMatch(/\nwrinklefree: stopped after \d+ requests?\n$/);
  });
});

describe("chat", () => {
  test("-p answers once: the text on stdout, the facts on stderr", async () => {
    const { code, stdout, stderr } = await runProgram(["chat", "-p", "What is the capital of France?"]);
    expect([code, stdout]).toEqual([0, `${PARIS}\n`]);
    expect(stderr).toContain("4-million-parameter demo");
    expect(stderr).toContain("per second");
  });

  test("a long answer arrives whole through a pipe", async () => {
    const { stdout } = await runProgram(["chat", "-p", "Tell me a story."]);
    expect(stdout).toBe(`${STORY?.greedy_text}\n`);
  });

  test("--system, --max-tokens, --temperature and --seed", async () => {
    const system = goldens.chat.find(
      ({ messages }) => messages[0]?.role === "system" && messages[1]?.content === "Hello",
    );
    const { stdout } = await runProgram(["chat", "--system", system?.messages[0]?.content as string, "-p", "Hello"]);
    expect(stdout).toBe(`${system?.greedy_text}\n`);
    const story = ["chat", "-p", "Tell me a story.", "--max-tokens", "20"];
    expect(STORY?.greedy_text).toStartWith((await runProgram(story)).stdout.trimEnd());
    const sampled = (seed: string) => runProgram([...story, "--temperature", "2", `--seed=${seed}`]);
    expect((await sampled("-5")).stdout).toBe((await sampled("-5")).stdout);
    expect((await sampled("1")).stdout).not.toBe((await sampled("2")).stdout);
  });

  test("a prompt that does not fit is one line", async () => {
    const { code, stdout, stderr } = await runProgram(["chat", "--ctx", "64", "-p", "a".repeat(500)]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("wrinklefree: This model's maximum context length is 64 tokens.");
  });
});
