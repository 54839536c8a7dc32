/**
 * Clients as they come: with base URLs that lack the /v1, with names of models from elsewhere, with null for what they don't set; and
 * what the server tells people to paste at its start.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { networkInterfaces } from "node:os";
import OpenAI from "openai";
import { CHAT, FRANCE, PARIS, QUESTION } from "./support/chat.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

describe("a base URL without /v1", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server.stop());

  test("the OpenAI SDK chats, continues texts and lists models", async () => {
    const client = new OpenAI({ baseURL: server.url, apiKey: "none", maxRetries: 0 });
    const messages = [{ role: "user" as const, content: QUESTION }];
    const answer = await client.chat.completions.create({ model: "tiny", messages });
    expect(answer.choices[0]?.message.content).toBe(PARIS);
    const completion = await client.completions.create({ model: "tiny", prompt: "x", max_tokens: 2 });
    expect(completion.object).toBe("text_completion");
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(["tiny"]);
    expect((await client.models.retrieve("tiny")).id).toBe("tiny");
  });

  test("/completions is OpenAI's, /completion llama.cpp's; a slash at the end changes nothing", async () => {
    const request = { prompt: "x", max_tokens: 2 };
    const openAi = (await (await server.post("/completions", request)).json()) as { choices: { text: string }[] };
    const llamaCpp = (await (await server.post("/completion", request)).json()) as { content: string };
    expect(openAi.choices[0]?.text).toBe(llamaCpp.content);
    expect((await server.post("/chat/completions/", FRANCE)).status).toBe(200);
    expect((await fetch(`${server.url}/models/`)).status).toBe(200);
    const embeddings = await server.post("/embeddings", { input: "x" });
    expect([embeddings.status, await embeddings.json()]).toMatchObject([400, { error: { param: "model" } }]);
  });

  test("errors, the log and the counters know such a path by its full name", async () => {
    const wrong = await server.post("/chat/completions", {});
    expect(((await wrong.json()) as { error: { param: string } }).error.param).toBe("messages");
    expect((await fetch(`${server.url}/chat/completions`)).status).toBe(405);
    expect((await fetch(`${server.url}/models/other`)).status).toBe(404);
    for (const path of ["/modelsx", "/chat", "/completions/x"])
      expect((await fetch(server.url + path)).status).toBe(404);
    expect(server.log()).toContain("/v1/chat/completions");
    expect(server.log()).not.toContain(" /chat/completions");
  });

  test("an assistant that said nothing may have null as its content, or none", async () => {
    const user = { role: "user", content: QUESTION };
    for (const silent of [
      { role: "assistant", content: null, refusal: null, tool_calls: null },
      { role: "assistant" },
    ]) {
      const messages = [user, silent, user];
      expect((await server.chat({ messages })).choices[0]?.message.content.length).toBeGreaterThan(0);
    }
  });
});

test("null inside of what is sent is as good as nothing", async () => {
  const server = await startServer();
  const user = {
    role: "user",
    content: QUESTION,
    name: null,
    tool_calls: null,
    tool_call_id: null,
    refusal: null,
    audio: null,
  };
  const described = { name: "f", description: null, parameters: null, strict: null };
  const plain = await server.chat({ messages: [{ role: "user", content: QUESTION }] });
  for (const more of [
    { stream_options: null, response_format: null, tool_choice: null },
    { tools: [{ type: "function", function: described }], parallel_tool_calls: null, tool_choice: "none" },
    { chat_template_kwargs: { unknown: null } },
    { structured_outputs: { json: null, regex: null, choice: null, grammar: null } },
  ]) {
    const { choices } = await server.chat({ messages: [user], function_call: null, ...more });
    expect(choices[0]?.message.content).toBe(plain.choices[0]?.message.content as string);
  }
  const streamed = await server.stream({
    messages: [user],
    stream_options: { include_usage: null, include_obfuscation: null },
  });
  expect(streamed.length).toBeGreaterThan(2);
  const generated = await server.post("/generate", {
    text: "x",
    input_ids: null,
    sampling_params: { max_new_tokens: 2, n: null },
  });
  expect(generated.status).toBe(200);
  await server.stop();
});

describe("names of the model", () => {
  const idOf = async (server: TestServer, model: string) => {
    const response = await server.post(CHAT, { ...FRANCE, model, max_tokens: 1 });
    return response.status === 200 ? ((await response.json()) as { model: string }).model : response.status;
  };

  test("--alias adds names, --served-name is the one that is shown", async () => {
    const server = await startServer(["--served-name", "shown", "--alias", "gpt-4o", "--alias", "org/other"]);
    for (const name of ["shown", "gpt-4o", "org/other"]) {
      expect(await idOf(server, name)).toBe("shown");
      expect(await (await fetch(`${server.url}/v1/models/${name}`)).json()).toMatchObject({ id: "shown" });
    }
    expect(await idOf(server, "tiny")).toBe(404);
    const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: object[] };
    expect(data).toMatchObject([{ id: "shown", meta: { aliases: ["gpt-4o", "org/other"] } }]);
    await server.stop();
  });

  test("an alias leaves the model its own name; --any-model takes all others", async () => {
    const aliased = await startServer(["--alias", "gpt-4o"]);
    expect([await idOf(aliased, "gpt-4o"), await idOf(aliased, "tiny"), await idOf(aliased, "x")]).toEqual([
      "tiny",
      "tiny",
      404,
    ]);
    await aliased.stop();
    const any = await startServer(["--any-model"]);
    expect([await idOf(any, "whatever/it-is"), await idOf(any, "")]).toEqual(["tiny", "tiny"]);
    expect((await fetch(`${any.url}/v1/models/whatever`)).status).toBe(200);
    await any.stop();
  });
});

describe("the text at the start", () => {
  /** Runs the curl command that a server shows, with a key in the place of the placeholder. */
  async function paste(server: TestServer, key: string) {
    await Bun.sleep(0);
    const command = /^ {2}(curl .*)$/m.exec(server.log())?.[1] as string;
    const child = Bun.spawn(["sh", "-c", command.replace("KEY", key)], { stdout: "pipe", stderr: "ignore" });
    return [command, JSON.parse(await child.stdout.text())];
  }
  const answer = { choices: [{ message: { content: PARIS } }] };

  test("its curl works as it is pasted", async () => {
    const server = await startServer();
    expect((await paste(server, ""))[1]).toMatchObject(answer);
    await server.stop();
  });

  test("with a key it has a place for it; on all addresses it names those that there are", async () => {
    const server = await startServer(["--host", "0.0.0.0", "--api-key", "sk-secret"]);
    const [command, body] = await paste(server, "sk-secret");
    expect(body).toMatchObject(answer);
    expect(command).toContain(`http://127.0.0.1:${server.port}/v1`);
    expect(server.log()).not.toContain("sk-secret");
    expect(server.log()).not.toContain("0.0.0.0");
    const addresses = Object.values(networkInterfaces())
      .flatMap((all) => all ?? [])
      .filter(({ internal, family }) => !internal && family === "IPv4");
    for (const { address } of addresses) expect(server.log()).toContain(`http://${address}:${server.port}/v1`);
    await server.stop();
  });
});
