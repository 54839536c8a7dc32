/**
 * The chat page and its server: stopping, a server that loads, goes away and comes back, keys, reverse proxies that put it under a
 * prefix, and the page in two tabs. Answers come slowly here, so that something can happen to them.
 */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { resolveModel } from "../src/models/resolve.ts";
import { Service } from "../src/serving/service.ts";
import { ServerState } from "../src/serving/state.ts";
import {
  countKept,
  describeInBrowser,
  lastAnswer,
  openPage,
  press,
  say,
  send,
  startBrowser,
} from "./support/browser.ts";
import { PARIS, QUESTION } from "./support/chat.ts";
import { deepModel } from "./support/deep_model.ts";
import { listenWith } from "./support/listening_state.ts";
import {
  accepts,
  engineHealth,
  eventually,
  freePort,
  startServer,
  type TestServer,
  untilIdle,
} from "./support/server.ts";

setDefaultTimeout(60_000);

const STORY = "Tell me a story.";
const KEY = "sk-page";

/** How the story that the model tells begins and ends, whatever is in the middle: that depends on where it is gone on from. */
const BEGINNING = /^Once upon a time there was a child called Noah who lived near /;
const END = /The end\.$/;

/** Waits until some words of the last answer are there, while it comes. @returns what is there. */
async function untilBegun(page: Page): Promise<string> {
  const answer = page.locator(".answer.last[aria-busy=true] .markdown", { hasText: BEGINNING });
  await answer.waitFor();
  return await answer.innerText();
}

/** Waits until the last answer is the whole story. @returns it. */
async function untilTold(page: Page): Promise<string> {
  await eventually(async () => END.test(await lastAnswer(page)));
  return await lastAnswer(page);
}

describeInBrowser("the chat page and its server", () => {
  let browser: Browser;
  let slow: TestServer;
  beforeAll(async () => {
    [browser, slow] = await Promise.all([
      startBrowser(),
      deepModel().then((model) => startServer([model, "--log", "off"])),
    ]);
  });
  afterAll(async () => {
    await browser.close();
    await slow.stop();
  });

  test("an answer that is stopped stays, the engine is free at once, and it can be gone on with", async () => {
    const { page, faults } = await openPage(browser, slow.url);
    const before = (await engineHealth(slow)).generated_tokens;
    await send(page, STORY);
    await untilBegun(page);
    await page.keyboard.press("Escape");
    await page.getByText("Stopped.").waitFor();
    await untilIdle(slow);
    expect((await engineHealth(slow)).generated_tokens - before).toBeLessThan(150);
    const stopped = await lastAnswer(page);
    expect(stopped).toMatch(BEGINNING);
    expect(await page.locator(".figures").innerText()).toMatch(/^\d+ tokens/);
    await press(page, ".answer", "Continue the answer");
    expect(await untilTold(page)).toStartWith(stopped);
    expect(await page.getByText("Stopped.").count()).toBe(0);
    expect(faults).toEqual([]);
    await page.context().close();
  });

  test("the end of an answer stays in sight while it comes, unless its reader scrolls away", async () => {
    const { page } = await openPage(browser, slow.url, { viewport: { width: 700, height: 380 } });
    await say(page, STORY);
    const toEnd = page.getByRole("button", { name: "To the end" });
    expect(await toEnd.count()).toBe(0);
    await page.locator(".answer.last .figures").hover({ trial: true });
    await send(page, STORY);
    await untilBegun(page);
    await page.locator(".transcript").hover();
    await page.mouse.wheel(0, -300);
    await toEnd.waitFor();
    await untilTold(page);
    expect(await toEnd.count()).toBe(1);
    await toEnd.click();
    expect(await toEnd.count()).toBe(0);
    await page.context().close();
  });

  test("says how far it is with a long prompt", async () => {
    const { page } = await openPage(browser, slow.url);
    await send(page, "word ".repeat(1500));
    await page.getByText(/Reading [\d,]+ of 1,5\d\d tokens/).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("Stopped.").waitFor();
    await untilIdle(slow);
    await page.context().close();
  });

  test("a conversation that is deleted in mid-answer is gone for good, and the engine is free", async () => {
    const { page } = await openPage(browser, slow.url);
    await send(page, STORY);
    await untilBegun(page);
    await page.getByRole("button", { name: /^Actions for/ }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.locator(".welcome").waitFor();
    await untilIdle(slow);
    expect(await countKept(page, "messages")).toBe(0);
    await page.context().close();
  });

  test("a page that is reloaded in mid-answer keeps what had come", async () => {
    const { page } = await openPage(browser, slow.url);
    await send(page, STORY);
    await untilBegun(page);
    await page.reload();
    await page.getByText("The answer was cut off.").waitFor();
    await untilIdle(slow);
    const cut = await lastAnswer(page);
    await press(page, ".answer", "Continue the answer");
    expect(await untilTold(page)).toStartWith(cut);
    await page.context().close();
  });

  test("a server that goes away in mid-answer and comes back: the answer goes on from where it was", async () => {
    const port = String(await freePort());
    const model = await deepModel();
    const start = () => startServer([model, "--log", "off", "--port", port]);
    let server = await start();
    const { page } = await openPage(browser, server.url);
    await send(page, STORY);
    const begun = await untilBegun(page);
    await server.stop();
    await page.getByText("The answer goes on by itself").waitFor();
    expect(await page.locator(".badge").innerText()).toContain("not reachable");
    server = await start();
    expect(await untilTold(page)).toStartWith(begun);
    expect(await page.locator(".badge").innerText()).toContain("ready");
    await server.stop();
    // So does one that is asked while there is no server.
    await send(page, QUESTION);
    await page.getByText("The answer goes on by itself").waitFor();
    server = await start();
    await eventually(async () => (await lastAnswer(page)) === PARIS);
    await page.context().close();
    await server.stop();
  });

  test("a server that comes back with another model of the same name is asked what it can hold", async () => {
    const port = String(await freePort());
    const start = (context: string) =>
      startServer(["--log", "off", "--port", port, "--served-name", "llm", "--ctx", context]);
    const first = await start("1024");
    const { page } = await openPage(browser, first.url);
    await page.locator("#message").fill(QUESTION);
    await page.locator("#room", { hasText: "of 1,024 tokens" }).waitFor();
    await first.stop();
    const second = await start("512");
    await page.locator("#room", { hasText: "of 512 tokens" }).waitFor();
    await page.context().close();
    await second.stop();
  });

  test("a server that says it is ready and never answers is asked a few times, and then the fault is said", async () => {
    const { page } = await openPage(browser, slow.url);
    let asked = 0;
    await page.route("**/v1/chat/completions", (route) => {
      asked++;
      return route.fulfill({ status: 503, json: { error: { message: "Out of order.", type: "server_error" } } });
    });
    await send(page, QUESTION);
    await page.locator(".answer .fault", { hasText: "Out of order." }).waitFor();
    expect(asked).toBe(5);
    await page.context().close();
  });

  test("while the model loads the badge says how far it is, and a message that was sent is answered afterwards", async () => {
    const state = new ServerState({ temperature: 0, names: {}, limits: { answers: 4, promptTokens: 4096 } });
    const listening = await listenWith(state);
    state.loading = { what: "converting", done: 500_000_000, total: 2_000_000_000 };
    const { page } = await openPage(browser, listening.urls[0] as string);
    await page.getByText("converting: 25 % of 2.00 GB").waitFor();
    await send(page, QUESTION);
    await page.getByText("The model is still being loaded.").waitFor();
    const options = {
      threads: 1,
      cpus: [],
      context: 0,
      parallel: 1,
      batchTokens: 0,
      memory: 0,
      memoryBudget: 0,
      wantsCopies: true,
      kvKind: "f32",
      prompts: {},
    } as const;
    const service = await Service.start(await resolveModel(undefined), { ...options, cpus: [] });
    state.setReady(service);
    expect(await lastAnswer(page)).toBe(PARIS);
    // Looked at, it asks more often.
    await page.locator(".badge").click();
    state.drain();
    await page.getByText("shutting down").waitFor();
    await page.context().close();
    await listening.stop(true);
    await service.close();
  });

  test("asks for the key where there is one, says when it is wrong, and keeps it for the tab", async () => {
    const server = await startServer(["--log", "off", "--api-key", KEY]);
    const { page, faults, requests } = await openPage(browser, server.url);
    const field = page.getByLabel("API key", { exact: true }).locator("input[type=password]");
    await field.fill("sk-wrong");
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.getByText("The server does not know this key.").waitFor();
    await field.fill(KEY);
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.locator("dialog").waitFor({ state: "detached" });
    expect(await say(page, QUESTION)).toBe(PARIS);
    await page.reload();
    expect(await say(page, QUESTION)).toBe(PARIS);
    expect(await page.evaluate("JSON.stringify(localStorage)")).not.toContain(KEY);
    expect(requests.filter((path) => path.includes(KEY))).toEqual([]);
    const { page: tab } = await openPage(browser, server.url, { beside: page });
    await tab.getByRole("button", { name: "Use this key" }).waitFor();
    expect(faults).toEqual([]);
    await page.context().close();
    await server.stop();
  });

  test.each<
    [string, string, string[], (port: number, target: number) => string, (file: string, directory: string) => string[]]
  >([
    [
      "caddy, which takes the prefix off",
      "caddy",
      [],
      (port, target) =>
        `{\n admin off\n auto_https off\n}\nhttp://:${port} {\n redir /llm /llm/\n handle_path /llm/* {\n reverse_proxy 127.0.0.1:${target}\n }\n}\n`,
      (file) => ["run", "--adapter", "caddyfile", "--config", file],
    ],
    [
      "nginx, which leaves it",
      "nginx",
      ["--base-path", "/llm/"],
      (port, target) =>
        `daemon off; pid DIRECTORY/pid; error_log stderr; events {}
        http { access_log off; ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path DIRECTORY/${name};`).join(" ")}
        server { listen 127.0.0.1:${port}; location /llm { proxy_http_version 1.1; proxy_pass http://127.0.0.1:${target}; } } }`,
      (file, directory) => ["-p", directory, "-e", "stderr", "-c", file],
    ],
  ])("works under a prefix behind %s", async (_, name, args, configuration, command) => {
    const program = Bun.which(name, { PATH: `${process.env.PATH}:/usr/sbin:/sbin` });
    if (program === null)
      return console.log(`skipping ${name}: apt-get install ${name === "nginx" ? "nginx-light" : name}`);
    const server = await startServer(["--log", "off", ...args]);
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-prefix-"));
    const port = await freePort();
    writeFileSync(
      join(directory, "configuration"),
      configuration(port, server.port).replaceAll("DIRECTORY", directory),
    );
    const proxy = Bun.spawn([program, ...command(join(directory, "configuration"), directory)], {
      env: { PATH: "/usr/bin:/bin", HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
      stdout: "ignore",
      stderr: "ignore",
    });
    await eventually(() => accepts(port));
    const { page, faults, requests } = await openPage(browser, `http://127.0.0.1:${port}`, { path: "/llm" });
    expect(page.url()).toBe(`http://127.0.0.1:${port}/llm/`);
    expect(await say(page, QUESTION)).toBe(PARIS);
    await page.reload();
    expect(await lastAnswer(page)).toBe(PARIS);
    expect(requests.filter((path) => !path.startsWith("/llm"))).toEqual([]);
    expect(faults).toEqual([]);
    await page.context().close();
    proxy.kill();
    await proxy.exited;
    await server.stop();
    rmSync(directory, { recursive: true });
  });

  test("two tabs show the same conversations; an answer that comes in one is seen in the other when it is there", async () => {
    const { page, faults } = await openPage(browser, slow.url);
    await say(page, QUESTION);
    const { page: other, faults: otherFaults } = await openPage(browser, slow.url, { beside: page });
    await other.locator(".item a").click();
    expect(await lastAnswer(other)).toBe(PARIS);
    await send(page, STORY);
    await other.getByText("This answer comes in another tab.").waitFor();
    await untilTold(other);
    expect(await other.getByText("another tab").count()).toBe(0);
    await other.locator(".header .title").click();
    await other.getByLabel("Title").fill("Renamed there");
    await other.keyboard.press("Enter");
    await page.locator(".item", { hasText: "Renamed there" }).waitFor();
    await other.keyboard.press("Control+k");
    await Promise.all([say(page, QUESTION), say(other, "Who are you?")]);
    await eventually(async () => (await page.locator(".item").count()) === 2);
    expect([...faults, ...otherFaults]).toEqual([]);
    await page.context().close();
  });

  test("an idle page asks for nothing but the state", async () => {
    const { page, requests } = await openPage(browser, slow.url);
    await page.getByText("ready").waitFor();
    await eventually(() => requests.includes("/v1/models"));
    const before = requests.length;
    await eventually(() => requests.length > before);
    expect(requests.slice(before).every((path) => path === "/health")).toBe(true);
    expect(requests.filter((path) => path === "/v1/models").length).toBe(1);
    await page.context().close();
  });
});
