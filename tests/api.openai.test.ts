/** OpenAI's own SDK against the compiled executable with the demo model. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import OpenAI from "openai";
import { expectEndedEarly, LONG } from "./support/chat.ts";
import { goldens } from "./support/goldens.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

describe("the OpenAI SDK", () => {
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });

  test.each(["Show me a rocket as an emoji.", "Say hello in Japanese.", "Tell me a story."])(
    "completes and streams: %s",
    async (content) => {
      const golden = goldens.chat.find(({ messages }) => messages.at(-1)?.content === content);
      const request = { model: "tiny", messages: [{ role: "user" as const, content }] };
      const whole = await client().chat.completions.create(request);
      expect(whole.choices[0]?.message.content).toBe(golden?.greedy_text as string);

      let text = "";
      for await (const chunk of await client().chat.completions.create({ ...request, stream: true })) {
        text += chunk.choices[0]?.delta.content ?? "";
      }
      expect(text).toBe(golden?.greedy_text as string);

      const final = await client().chat.completions.stream(request).finalChatCompletion();
      expect(final.choices[0]?.message.content).toBe(golden?.greedy_text as string);
    },
  );

  test("lists and retrieves models", async () => {
    const names: string[] = [];
    for await (const model of client().models.list()) names.push(model.id);
    expect(names).toEqual(["tiny"]);
    expect((await client().models.retrieve("tiny")).id).toBe("tiny");
    const other = async () => await client().models.retrieve("org/other");
    await expect(other()).rejects.toThrow(OpenAI.NotFoundError);
  });

  test("throws its own kinds of errors", async () => {
    const create = async (more: object) =>
      await client().chat.completions.create({ model: "tiny", messages: [{ role: "user", content: "x" }], ...more });
    await expect(create({ temperature: 200 })).rejects.toThrow(OpenAI.BadRequestError);
    await expect(create({ model: "gpt-4o" })).rejects.toThrow(OpenAI.NotFoundError);
  });

  test("aborting ends the generation", async () => {
    await expectEndedEarly(server, 16, async () => {
      const stream = await client().chat.completions.create({
        model: "tiny",
        stream: true,
        n: 16,
        ...(LONG as object),
      } as never);
      for await (const _ of stream as unknown as AsyncIterable<unknown>) break;
    });
  });
});
