/**
 * The chat page in a real browser against the executable: what is said, kept, changed, exported and read again. The answers are the
 * demo's own.
 */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Download, Page } from "playwright-core";
import { unpackFixtures } from "./support/archive.ts";
import {
  conversation,
  countKept,
  describeInBrowser,
  expectAccessible,
  exported,
  importText,
  lastAnswer,
  openPage,
  press,
  say,
  send,
  startBrowser,
} from "./support/browser.ts";
import { PARIS, QUESTION } from "./support/chat.ts";
import { writeScriptedModel } from "./support/scripted_model.ts";
import { type ChatChunk, eventually, parseEvents, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

/** What the browser does when somebody lets go of a file over the page. */
const DROP_A_FILE = `{
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["A dropped note."], "dropped.txt"));
  for (const type of ["dragover", "drop"]) {
    document.querySelector(".page").dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  }
}`;

describeInBrowser("the chat page", () => {
  let server: TestServer;
  let browser: Browser;
  beforeAll(async () => {
    [server, browser] = await Promise.all([startServer(["--log", "off"]), startBrowser()]);
  });
  afterAll(async () => {
    await browser.close();
    await server.stop();
  });
  const open = (options = {}) => openPage(browser, server.url, options);
  const answers = (page: Page) => page.locator(".answer .markdown").allInnerTexts();
  const text = (page: Page, text: string) => page.locator(".answer .markdown", { hasText: text });
  const bodies = (page: Page): object[] => {
    const sent: object[] = [];
    page.on("request", (request) => {
      if (request.url().endsWith("/chat/completions")) sent.push(request.postDataJSON());
    });
    return sent;
  };

  test("shows the demo's answers, with what they cost and what answers", async () => {
    const { page, faults } = await open();
    expect(await page.locator(".badge").innerText()).toMatch(/^tiny\s+\w+\s+ready$/);
    expect(await page.locator(".real-models").innerText()).toContain("microsoft/bitnet-b1.58-2B-4T");
    await page.getByRole("button", { name: QUESTION }).click();
    expect(await lastAnswer(page)).toBe(PARIS);
    expect(await say(page, "Say hello in Japanese.")).toBe("こんにちは");
    const figures = await page.locator(".answer.last .figures").innerText();
    expect(figures).toMatch(/^3 tokens.* ms.*tok\/s.*first after .* ms.*\d+ of 32 prompt tokens cached$/s);
    expect(await page.title()).toBe(`${QUESTION} · wrinklefree`);
    expect(faults).toEqual([]);
    await page.context().close();
  });

  test("keeps conversations over a reload, one per address, and goes back and forth between them", async () => {
    const { page } = await open();
    const said = await say(page, "My name is Zoe.");
    await page.reload();
    expect(await lastAnswer(page)).toBe(said);
    expect(await say(page, "What is my name?")).toContain("Zoe");
    await page.keyboard.press("Control+k");
    await page.locator(".welcome").waitFor();
    await say(page, QUESTION);
    expect(await page.locator(".item a").allInnerTexts()).toEqual([QUESTION, "My name is Zoe."]);
    await page.goBack();
    await page.goBack();
    await eventually(async () => (await answers(page)).length === 2);
    await page.context().close();
  });

  test("answers again and pages through the versions; each keeps what followed it", async () => {
    const { page } = await open();
    await say(page, QUESTION);
    await press(page, ".answer", "Answer again");
    await page.getByText("2 / 2").waitFor();
    await page.getByText("At temperature 0 the same question has the same answer.").waitFor();
    expect(await lastAnswer(page)).toBe(PARIS);
    await say(page, "Say hello in Japanese.");
    await page.locator(".answer").first().hover();
    await page.getByRole("button", { name: "Earlier version" }).click();
    await page.getByText("1 / 2").waitFor();
    expect(await answers(page)).toEqual([PARIS]);
    await page.getByRole("button", { name: "Later version" }).click();
    await eventually(async () => (await answers(page)).join() === [PARIS, "こんにちは"].join());
    await page.context().close();
  });

  test("sends an edited message in the place of the old one, also by the arrow key", async () => {
    const { page } = await open();
    await say(page, QUESTION);
    await page.locator("#message").press("ArrowUp");
    const field = page.getByRole("textbox", { name: "Edit message" });
    expect(await field.inputValue()).toBe(QUESTION);
    await field.fill("What is the capital of Italy?");
    await field.press("Enter");
    await text(page, "The capital of Italy is Rome.").waitFor();
    await page.locator(".user").first().hover();
    await page.getByRole("button", { name: "Earlier version" }).click();
    await text(page, PARIS).waitFor();
    expect(await page.locator(".user .bubble").allInnerTexts()).toEqual([QUESTION]);
    await page.context().close();
  });

  test("goes on with an answer that reached its limit, and the figures add up", async () => {
    const { page } = await open();
    const sent = bodies(page);
    await page.locator(".header").getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Max tokens", { exact: false }).first().fill("5");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Escape");
    expect(await say(page, QUESTION)).toBe("The capital of France");
    expect(await page.locator(".ending").innerText()).toContain("limit");
    await press(page, ".answer", "Continue the answer");
    await text(page, PARIS).waitFor();
    expect(await page.locator(".figures").innerText()).toContain("9 tokens");
    expect(sent).toMatchObject([
      { max_tokens: 5 },
      { messages: [{}, { role: "assistant", content: "The capital of France" }] },
    ]);
    await page.context().close();
  });

  test("settings reach the request, a reset takes them back, and they are kept", async () => {
    const { page } = await open();
    const sent = bodies(page);
    const openSettings = () => page.locator(".header").getByRole("button", { name: "Settings" }).click();
    await openSettings();
    for (const [field, value] of [
      ["Temperature", "0.5"],
      ["Top-p", "0.9"],
      ["Min-p", "7"],
      ["Repetition penalty", "1.1"],
      ["Seed", "42"],
    ] as const) {
      await page.getByLabel(field).first().fill(value);
    }
    await page.getByLabel("Streaming").first().uncheck();
    await page.getByLabel("Preset", { exact: true }).selectOption("Concise");
    await page.keyboard.press("Escape");
    await say(page, "Who are you?");
    expect(sent[0]).toEqual({
      messages: [
        { role: "system", content: "Answer in as few words as possible." },
        { role: "user", content: "Who are you?" },
      ],
      temperature: 0.5,
      top_p: 0.9,
      min_p: 1,
      repetition_penalty: 1.1,
      seed: 42,
      stream: false,
    });
    await page.reload();
    await openSettings();
    expect(await page.getByLabel("Temperature").first().inputValue()).toBe("0.5");
    await page.getByRole("button", { name: "Reset answer settings" }).click();
    await page.keyboard.press("Escape");
    await say(page, "Who are you?");
    expect(Object.keys(sent[1] as object).sort()).toEqual(["messages", "return_progress", "stream", "stream_options"]);
    await page.context().close();
  });

  test("a reset of the answers' settings leaves the tools, and what the settings lose comes back with Undo", async () => {
    const { page } = await open();
    await page.locator(".header").getByRole("button", { name: "Settings" }).click();
    const temperature = page.getByLabel("Temperature").first();
    const system = page.getByRole("textbox", { name: "System prompt" });
    const preset = page.getByLabel("Preset", { exact: true });
    await page.getByLabel("Tools, as JSON").fill('[{"type":"function"}]');
    await temperature.fill("0.5");
    await page.getByRole("button", { name: "Reset answer settings" }).click();
    expect(await temperature.inputValue()).toBe("");
    expect(await page.getByLabel("Tools, as JSON").inputValue()).toBe('[{"type":"function"}]');
    const undo = async (text: string) => {
      const notice = page.locator(".notices p", { hasText: text });
      await notice.getByRole("button", { name: "Undo" }).click();
      await notice.waitFor({ state: "detached" });
    };
    await undo("Answer settings are at their defaults again.");
    expect(await temperature.inputValue()).toBe("0.5");
    await system.fill("Answer in rhyme.");
    await preset.selectOption("Concise");
    await undo("System prompt replaced.");
    expect(await system.inputValue()).toBe("Answer in rhyme.");
    await page.getByRole("button", { name: "Clear" }).click();
    await undo("System prompt cleared.");
    expect(await system.inputValue()).toBe("Answer in rhyme.");
    await page.getByLabel("Name of the preset").fill("Teacher");
    await page.getByRole("button", { name: "Save preset" }).click();
    await undo("Preset Teacher replaced.");
    const names = ["Own text", "Concise", "Teacher", "Programmer"];
    expect(await preset.locator("option").allInnerTexts()).toEqual(names);
    await preset.selectOption("Teacher");
    await page.getByRole("button", { name: "Delete preset" }).click();
    await undo("Preset Teacher deleted.");
    expect(await preset.locator("option").allInnerTexts()).toEqual(["Own text", ...names.slice(1)]);
    expect(await system.inputValue()).toContain("step by step");
    await page.context().close();
  });

  test("renames, pins, searches and deletes conversations", async () => {
    const { page } = await open();
    await importText(
      page,
      exported(conversation("Apples", ["red fruit", "yes"]), conversation("Pears", ["green", "ok"])),
    );
    const items = page.locator(".item a");
    const act = async (title: string, action: string) => {
      await page.locator(".item", { hasText: title }).hover();
      await page.getByRole("button", { name: `Actions for ${title}` }).click();
      await page.getByRole("menuitem", { name: action, exact: true }).click();
    };
    await act("Apples", "Pin");
    await eventually(async () => (await page.locator(".conversations h2").allInnerTexts())[0] === "Pinned");
    await act("Pears", "Rename");
    await page.getByLabel("Title").fill("Plums");
    await page.keyboard.press("Enter");
    await page.getByLabel("Search conversations").fill("FRUIT");
    await eventually(async () => (await items.allInnerTexts()).join() === "Apples");
    await page.getByLabel("Search conversations").fill("plum");
    await eventually(async () => (await items.allInnerTexts()).join() === "Plums");
    await page.getByLabel("Search conversations").fill("");
    await act("Apples", "Delete");
    await eventually(async () => (await items.count()) === 1);
    await page.reload();
    await items.first().waitFor();
    expect(await items.allInnerTexts()).toEqual(["Plums"]);
    await page.context().close();
  });

  test("what was deleted comes back with Undo, also for the browser's database", async () => {
    const { page } = await open();
    await importText(page, exported(conversation("Apples", ["red fruit", "yes", "green fruit", "no"])));
    const messages = page.locator(".message");
    await eventually(async () => (await messages.count()) === 4);
    await page.locator(".message").first().hover();
    await page.getByRole("button", { name: "Delete message and what follows" }).first().click();
    await page.getByText("4 messages deleted.").waitFor();
    await eventually(async () => (await countKept(page, "messages")) === 0);
    await page.getByRole("button", { name: "Undo" }).click();
    await eventually(async () => (await messages.count()) === 4);
    await page.getByRole("button", { name: "Actions for Apples" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.locator(".welcome").waitFor();
    await eventually(async () => (await countKept(page, "messages")) === 0);
    await page.getByRole("button", { name: "Undo" }).click();
    await eventually(async () => (await messages.count()) === 4);
    expect(await page.getByRole("button", { name: "Undo" }).count()).toBe(0);
    await page.reload();
    await eventually(async () => (await messages.count()) === 4);
    await page.context().close();
  });

  test("exports and imports everything, versions included, and Markdown for people", async () => {
    const { page } = await open();
    await say(page, QUESTION);
    await press(page, ".answer", "Answer again");
    await page.getByText("2 / 2").waitFor();
    const saved = async (click: () => Promise<void>): Promise<Download> => {
      const coming = page.waitForEvent("download");
      await click();
      return await coming;
    };
    const file = await saved(() => page.getByRole("button", { name: "Export all" }).click());
    const text = readFileSync(await file.path(), "utf8");
    const markdown = await saved(async () => {
      await page.getByRole("button", { name: /^Actions for/ }).click();
      await page.getByRole("menuitem", { name: "Export as Markdown" }).click();
    });
    expect(readFileSync(await markdown.path(), "utf8")).toBe(
      `# ${QUESTION}\n\n**You**\n\n${QUESTION}\n\n**tiny**\n\n${PARIS}\n`,
    );
    await page.context().close();

    const { page: other, faults } = await open();
    await importText(other, text);
    expect(await lastAnswer(other)).toBe(PARIS);
    await other.getByText("2 / 2").waitFor();
    await importText(other, "{}");
    await other.getByText("This file holds no conversations.").waitFor();
    await importText(other, "nonsense");
    await other.getByText("This file is no JSON.").waitFor();
    await importText(other, text.replaceAll('"parent": null', '"parent": "nobody"'));
    await other.getByText("has a message that follows none").waitFor();
    expect(await other.locator(".item").count()).toBe(1);
    expect(faults).toEqual([]);
    await other.context().close();
  });

  test("counts tokens as one types, and takes text files as far as the context goes", async () => {
    const { page } = await open();
    await page.locator("#message").fill("The capital of France");
    await page.getByText(/^11 of 2,048 tokens$/).waitFor();
    const attach = (name: string, buffer: Buffer) =>
      page.getByLabel("Files to attach").setInputFiles({ name, mimeType: "text/plain", buffer });
    await attach("long.txt", Buffer.from("word ".repeat(5000)));
    await page.getByText(/long\.txt has [\d,]+ tokens; the model can hold 2,036 more\./).waitFor();
    await attach("picture.png", Buffer.from([0x89, 0x50, 0, 0xff]));
    await page.getByText("picture.png is no text.").waitFor();
    await attach("note.txt", Buffer.from("A note."));
    await page.locator(".attachments li", { hasText: "note.txt" }).waitFor();
    const sent = bodies(page);
    await send(page, "What is this?");
    await page.locator(".answer[aria-busy=false]").waitFor();
    expect(sent).toMatchObject([{ messages: [{ content: "note.txt:\n```\nA note.\n```\n\nWhat is this?" }] }]);
    await page.context().close();
  });

  test("counts all that will be sent: what was said, the system prompt, tools and files, as the model reads them", async () => {
    const { page } = await open();
    const sent = bodies(page);
    const shown: number[] = [];
    const ask = async (text: string) => {
      const counted = page.waitForResponse((response) => {
        if (!response.url().endsWith("/tokenize")) return false;
        const { messages } = response.request().postDataJSON() as { messages?: { content: string }[] };
        return messages?.at(-1)?.content.endsWith(text.trim()) === true;
      });
      await page.locator("#message").fill(text);
      const { count } = (await (await counted).json()) as { count: number };
      await page.getByText(`${count} of 2,048 tokens`, { exact: true }).waitFor();
      shown.push(count);
      await page.locator("#message").press("Enter");
      await eventually(() => sent.length === shown.length);
      await page.locator(".send[aria-label=Send]").waitFor();
    };
    await ask(QUESTION);
    await page.locator(".header").getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Preset", { exact: true }).selectOption("Concise");
    await page.getByLabel("Tools, as JSON").fill('[{"type":"function","function":{"name":"get_time"}}]');
    await page.keyboard.press("Escape");
    await page
      .getByLabel("Files to attach")
      .setInputFiles({ name: "note.txt", mimeType: "text/plain", buffer: Buffer.from("A note of a few words.") });
    await page.locator(".attachments li", { hasText: "note.txt" }).waitFor();
    await ask("  What is this?\n");
    const taken: (number | undefined)[] = [];
    for (const body of sent) {
      const answer = await server.post("/v1/chat/completions", body);
      const chunks = parseEvents(await answer.text()) as ChatChunk[];
      taken.push(chunks.at(-1)?.usage?.prompt_tokens);
    }
    expect(taken).toEqual(shown);
    await page.context().close();
  });

  test("shows how likely each token was, and goes on from another one", async () => {
    const { page, faults } = await open();
    await say(page, QUESTION);
    await press(page, ".answer", "Show how likely each token was");
    await page.locator(".token").first().waitFor();
    expect((await page.locator(".token").allInnerTexts()).join("")).toBe(PARIS);
    await page.getByRole("button", { name: /^Paris, / }).hover();
    const alternatives = page.locator(".alternatives button");
    await alternatives.nth(4).waitFor();
    expect(await alternatives.first().innerText()).toMatch(/^·Paris/);
    const other = (await alternatives.nth(1).locator("code").innerText()).replaceAll("·", " ");
    // By keyboard too: the token itself can't be chosen.
    await page.getByRole("button", { name: /^Paris, / }).press("Enter");
    await page.keyboard.press("Enter");
    await page.getByText("2 / 2").waitFor();
    expect(await lastAnswer(page)).toStartWith(`The capital of France is${other}`.trimEnd());
    expect(faults).toEqual([]);
    await page.context().close();
  });

  test("shows calls of tools as cards, takes their results, and goes on", async () => {
    const { page } = await open();
    const sent = bodies(page);
    await page.locator(".header").getByRole("button", { name: "Settings" }).click();
    const tool = {
      type: "function",
      function: {
        name: "get_weather",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    };
    await page.getByLabel("Tools, as JSON").fill("[{");
    await page.locator("dialog").getByText("This is no JSON").waitFor();
    for (const wrong of [1, null, { type: "web_search" }, { type: "function", function: {} }]) {
      await page.getByLabel("Tools, as JSON").fill(JSON.stringify([tool, wrong]));
      await page.locator("dialog").getByText("Number 2 is no tool").waitFor();
    }
    await page.getByLabel("Tools, as JSON").fill("[{");
    await page.keyboard.press("Escape");
    // Nothing is sent without the tools that somebody wanted.
    const fault = page.locator(".composer").getByRole("alert");
    expect(await fault.innerText()).toContain(
      "Nothing can be sent while the tools in the settings are wrong. This is no JSON",
    );
    await page.locator("#message").fill(QUESTION);
    await page.locator("#message").press("Enter");
    expect(await page.locator("#message").inputValue()).toBe(QUESTION);
    for (const button of [page.locator(".send"), page.locator(".questions button").first()]) {
      expect(await button.isDisabled()).toBe(true);
    }
    await fault.getByRole("button", { name: "Open settings" }).click();
    await page.getByLabel("Tools, as JSON").fill(JSON.stringify([tool]));
    await page.keyboard.press("Escape");
    await send(page, "What is the weather in Oslo?");
    const card = page.locator(".tool");
    await card.getByRole("button", { name: "Give result" }).waitFor();
    expect(sent[0]).toMatchObject({ messages: [{ content: "What is the weather in Oslo?" }], tools: [tool] });
    expect(await card.innerText()).toMatch(/get_weather\s+city\s+Oslo/);
    await card.getByRole("textbox").fill("sunny");
    await card.getByRole("button", { name: "Give result" }).click();
    await page.locator(".answer.last[aria-busy=false]").nth(0).waitFor();
    await eventually(() => sent.length === 2);
    expect(sent[1]).toMatchObject({
      messages: [{}, { tool_calls: [{ function: { name: "get_weather" } }] }, { role: "tool", content: "sunny" }],
    });
    expect(await card.first().innerText()).toContain("sunny");
    await page.context().close();
  });

  test("of a server that gives embeddings says what that is for, and has nothing to send with", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-embeddings-"));
    await unpackFixtures("embeddings", directory);
    const embedder = await startServer([join(directory, "embedding-qwen3.I2_S.gguf"), "--log", "off"], {
      env: { PATH: process.env.PATH as string, WRINKLEFREE_STORE: join(directory, "store") },
    });
    const { page, faults } = await openPage(browser, embedder.url, { shows: ".embedding-server" });
    const text = await page.locator(".embedding-server").innerText();
    expect(text).toContain("embedding-qwen3.I2_S gives embeddings: a text of up to 512 tokens becomes 256 numbers");
    expect(await page.locator("form.composer, .questions").count()).toBe(0);
    await expectAccessible(page, "of embeddings");
    // The command is what a shell takes.
    const command = await page.locator(".embedding-server pre").innerText();
    const answer = Bun.spawnSync(["sh", "-c", command], { stderr: "ignore" }).stdout.toString();
    expect((JSON.parse(answer) as { data: [{ embedding: number[] }] }).data[0].embedding.length).toBe(256);
    await page.evaluate(DROP_A_FILE);
    // What was said with another model can be read, and taken away.
    await importText(page, exported(conversation("Apples", ["red fruit", "yes"])));
    await page.getByText("This conversation can be read here").waitFor();
    expect(await page.locator("form.composer, .drop").count()).toBe(0);
    await page.locator(".answer").hover();
    for (const name of [
      "Edit and send again",
      "Answer again",
      "Continue the answer",
      "Show how likely each token was",
    ]) {
      expect([name, await page.getByRole("button", { name }).isDisabled()]).toEqual([name, true]);
    }
    await press(page, ".answer", "Delete answer and what follows");
    await eventually(async () => (await page.locator(".message").count()) === 1);
    expect(faults).toEqual([]);
    await page.context().close();
    await embedder.stop();
    rmSync(directory, { recursive: true });
  });

  test("folds away what the model thinks, and gives it back with the history", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-thinker-"));
    writeScriptedModel(
      join(directory, "model"),
      [["<|says|>", "<think>", "They", " greet", " me.", "</think>", "Hello", " you!"]],
      "{% for m in messages %}{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|says|>{% endif %}",
    );
    const thinker = await startServer([join(directory, "model"), "--log", "off"], {
      env: { PATH: process.env.PATH as string, WRINKLEFREE_STORE: join(directory, "store") },
    });
    const { page } = await openPage(browser, thinker.url);
    const sent = bodies(page);
    await send(page, "Hi");
    const answer = page.locator(".answer.last[aria-busy=false]");
    await answer.locator("> .markdown", { hasText: "Hello you!" }).waitFor();
    const thought = answer.locator(".thinking .markdown");
    expect(await thought.isVisible()).toBe(false);
    await answer.getByText("Thought").click();
    expect(await thought.innerText()).toBe("They greet me.");
    await send(page, "Again");
    await eventually(() => sent.length === 2);
    expect(sent[1]).toMatchObject({
      messages: [{}, { content: "Hello you!", reasoning_content: "They greet me." }, {}],
    });
    await page.context().close();
    await thinker.stop();
    rmSync(directory, { recursive: true });
  });

  test("copies, takes dropped files, deletes, and has its keys", async () => {
    const { page, faults } = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    await page.getByRole("button", { name: "Copy command for microsoft" }).click();
    const copied = () => page.evaluate<string>("navigator.clipboard.readText()");
    const model = "microsoft/bitnet-b1.58-2B-4T";
    expect(await copied()).toBe(`wrinklefree pull ${model} && wrinklefree serve ${model}`);
    await say(page, "Can you write code?");
    await page.getByRole("button", { name: "Copy code" }).click();
    expect(await copied()).toBe('print("hello")');
    await press(page, ".answer", "Copy answer");
    await eventually(async () => (await copied()) === 'Only this much:\n```python\nprint("hello")\n```');
    await page.evaluate(DROP_A_FILE);
    await page.locator(".attachments li", { hasText: "dropped.txt" }).waitFor();
    await page.getByRole("button", { name: "Remove dropped.txt" }).click();
    await press(page, ".answer", "Delete answer and what follows");
    await eventually(async () => (await page.locator(".message").count()) === 1);
    await page.locator(".conversations").click();
    await page.keyboard.press("/");
    expect(await page.evaluate<string>("document.activeElement.id")).toBe("message");
    await page.locator("#message").fill("first");
    await page.locator("#message").press("Shift+Enter");
    expect(await page.locator("#message").inputValue()).toBe("first\n");
    expect(faults).toEqual([]);
    await page.context().close();
  });

  test("the live panel shows what the engine does, and closes", async () => {
    const { page } = await open();
    await page.locator(".badge").click();
    await page.locator(".live .sparkline .line").first().waitFor({ state: "attached" });
    const text = await page.locator(".live").innerText();
    for (const name of ["Speed", "Requests", "KV cache", "Prompts kept", "Memory", "Kernels", "Threads", "Context"]) {
      expect(text).toContain(name);
    }
    await page.getByRole("button", { name: "Close" }).click();
    expect(await page.locator(".live").count()).toBe(0);
    await page.locator(".badge").click();
    await page.locator(".live").waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".live").waitFor({ state: "detached" });
    await page.context().close();
  });
});
