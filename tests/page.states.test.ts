/** The page in all of its states: for everybody (axe-core), dark and light, on a phone, from right to left, and with much in it. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import {
  conversation,
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
import { eventually, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const MARKDOWN = `# Heading

A paragraph with **bold**, \`code\`, a [link](https://example.com) and <kbd>Ctrl</kbd>.

1. one
2. two
   - nested

- [x] done
- [ ] to do

> quoted

| left | right |
|---|---:|
| 1 | 2 |

\`\`\`python
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b  # plainly
\`\`\`

---

שלום עולם, זה טקסט מימין לשמאל.`;

/** Notes the milliseconds of the longest task. */
const NOTE_LONGEST_TASK = `globalThis.longest = 0;
new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) longest = Math.max(longest, duration); })
  .observe({ entryTypes: ["longtask"] });`;

describeInBrowser("the chat page", () => {
  let browser: Browser;
  let server: TestServer;
  beforeAll(async () => {
    [browser, server] = await Promise.all([startBrowser(), startServer(["--log", "off"])]);
  });
  afterAll(async () => {
    await browser.close();
    await server.stop();
  });
  const settings = (page: Page) => page.locator(".header").getByRole("button", { name: "Settings" });
  const rich = () => {
    const record = conversation("Everything", ["Show everything", MARKDOWN, "A tool", ""]) as { messages: object[] };
    Object.assign(record.messages[0] as object, { attachments: [{ name: "a.txt", text: "inside" }] });
    Object.assign(record.messages[1] as object, { reasoning: "Let me think." });
    const calls = [{ id: "call_1", name: "get_weather", arguments: '{"city":"Oslo"}' }];
    Object.assign(record.messages[3] as object, { calls, ending: "calls" });
    return record;
  };

  for (const colorScheme of ["light", "dark"] as const) {
    test(`can be used by everybody in every state, ${colorScheme}`, async () => {
      const { page, faults } = await openPage(browser, server.url, { colorScheme });
      await page.locator(".real-models").waitFor();
      await expectAccessible(page, "empty");
      await importText(page, exported(rich()));
      await page.locator(".hljs-keyword").first().waitFor();
      await page.locator(".thinking > summary").click();
      await page.locator(".attachment summary").click();
      await expectAccessible(page, "conversation");
      await page.locator("#message").press("ArrowUp");
      await expectAccessible(page, "editing");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Actions for Everything" }).click();
      await expectAccessible(page, "menu");
      await page.keyboard.press("Escape");
      await page.locator(".badge").click();
      await expectAccessible(page, "live panel");
      await page.locator(".badge").click();
      await settings(page).click();
      await page.getByLabel("Tools, as JSON").fill("[");
      await expectAccessible(page, "settings");
      await page.keyboard.press("Escape");
      await expectAccessible(page, "wrong tools");
      await page.getByRole("button", { name: "Open settings" }).click();
      await page.getByLabel("Tools, as JSON").fill("");
      await page.keyboard.press("Escape");
      await page.keyboard.press("Control+k");
      await say(page, QUESTION);
      await press(page, ".answer", "Show how likely each token was");
      await page.getByRole("button", { name: /^Paris, / }).hover();
      await page.locator(".alternatives").waitFor();
      await expectAccessible(page, "probabilities");
      await page.route("**/v1/chat/completions", (route) => route.abort());
      await page.route("**/health", (route) => route.abort());
      await send(page, QUESTION);
      await page.getByText("The answer goes on by itself").waitFor();
      await expectAccessible(page, "without a server");
      expect(faults).toEqual([]);
      await page.context().close();
    });
  }

  test("asks for a key in a way that everybody can use, and says errors in words", async () => {
    const keyed = await startServer(["--log", "off", "--api-key", "sk-1", "--ctx", "64"]);
    const { page } = await openPage(browser, keyed.url, { viewport: { width: 900, height: 700 } });
    await page.locator("input[type=password]").waitFor();
    await expectAccessible(page, "key");
    await page.locator("input[type=password]").fill("sk-1");
    await page.keyboard.press("Enter");
    await page.locator("dialog").waitFor({ state: "detached" });
    await send(page, "word ".repeat(200));
    await page
      .locator(".answer .fault")
      .getByText(/This conversation is too long for the model\. It has [\d,]+ tokens; the model can hold 64\./)
      .waitFor();
    await expectAccessible(page, "error");
    // Its title is longer than the window is wide.
    const badge = await page.locator(".badge").boundingBox();
    expect((badge?.x ?? Infinity) + (badge?.width ?? 0)).toBeLessThan(900);
    await page.context().close();
    await keyed.stop();
  });

  test("is light or dark as the system is, or as its reader wants, also after a reload", async () => {
    const { page } = await openPage(browser, server.url, { colorScheme: "dark" });
    const brightness = async () => {
      const color = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
      return Number(/\d+/.exec(color)?.[0]);
    };
    expect(await brightness()).toBeLessThan(60);
    await page.emulateMedia({ colorScheme: "light" });
    await eventually(async () => (await brightness()) > 240);
    await settings(page).click();
    await page.getByRole("radio", { name: "Dark" }).check();
    expect(await brightness()).toBeLessThan(60);
    await page.reload();
    expect(await brightness()).toBeLessThan(60);
    await page.context().close();
  });

  test("fits a phone: nothing is wider than the screen, the list is a drawer", async () => {
    const { page, faults } = await openPage(browser, server.url, {
      viewport: { width: 360, height: 740 },
      hasTouch: true,
      isMobile: true,
    });
    const expectFits = async () => {
      const width = await page.evaluate<number>("document.documentElement.scrollWidth");
      const inside = await page.evaluate<number>("document.querySelector('.transcript').scrollWidth");
      expect([width, inside]).toEqual([360, 360]);
    };
    await page.locator(".real-models").waitFor();
    await expectFits();
    await page.getByRole("button", { name: "Show conversations" }).click();
    await page.getByLabel("Search conversations").waitFor();
    await importText(
      page,
      exported(rich(), conversation("Long", ["x".repeat(3000), `\`\`\`\n${"y".repeat(3000)}\n\`\`\``])),
    );
    await page.getByRole("button", { name: "Hide conversations" }).first().click();
    await page.locator(".code").first().waitFor();
    await expectFits();
    await expectAccessible(page, "phone");
    await page.locator(".header").getByRole("button", { name: "New conversation" }).click();
    expect(await say(page, QUESTION)).toBe(PARIS);
    await expectFits();
    await settings(page).click();
    await expectFits();
    expect(faults).toEqual([]);
    await page.context().close();
  });

  test("shows each paragraph in the direction of its letters", async () => {
    const { page } = await openPage(browser, server.url);
    await importText(page, exported(conversation("שלום", ["שלום", MARKDOWN])));
    await page.locator(".markdown p").last().waitFor();
    const direction = (selector: string) =>
      page.evaluate<string>(
        `getComputedStyle([...document.querySelectorAll(${JSON.stringify(selector)})].at(-1)).direction`,
      );
    expect(await direction(".bubble")).toBe("rtl");
    expect(await direction(".markdown p")).toBe("rtl");
    expect(await direction(".markdown h1")).toBe("ltr");
    expect(await direction(".code pre")).toBe("ltr");
    await page.locator("#message").fill("مرحبا");
    expect(await direction("#message")).toBe("rtl");
    await page.context().close();
  });

  test("500 conversations, one of them with 2,000 messages: only what is near is made", async () => {
    const { page, faults } = await openPage(browser, server.url);
    const texts = Array.from({ length: 2000 }, (_, index) => `Message ${index}\n\n${MARKDOWN}`);
    const many = Array.from({ length: 499 }, (_, index) =>
      conversation(`Conversation ${index}`, ["hi", `answer ${index}`]),
    );
    await importText(page, exported(...many, conversation("Long one", texts)));
    await page.getByText("500 conversations imported.").waitFor();
    await page.addInitScript({ content: NOTE_LONGEST_TASK });
    await page.reload();
    await page.locator(".answer", { hasText: "Message 1999" }).waitFor();
    expect(await page.locator(".message").count()).toBeLessThan(50);
    await page.locator(".transcript").hover();
    // Earlier ones come as one scrolls, and what one reads stays where it is.
    await eventually(async () => {
      await page.mouse.wheel(0, -4000);
      return (await page.locator(".message", { hasText: "Message 1950" }).count()) > 0;
    });
    expect(await page.locator(".message").count()).toBeLessThan(300);
    await page.getByRole("button", { name: "To the end" }).click();
    expect(await page.locator(".item").count()).toBeLessThan(100);
    await page.locator(".conversations").hover();
    await eventually(async () => {
      await page.mouse.wheel(0, 4000);
      return (await page.locator(".item").count()) === 500;
    });
    await page.locator(".item a", { hasText: /^Conversation 42$/ }).click();
    await eventually(async () => (await lastAnswer(page)) === "answer 42");
    await page.getByLabel("Search conversations").fill("answer 123");
    await eventually(async () => (await page.locator(".item").count()) === 1);
    await page.getByLabel("Search conversations").fill("");
    await page.locator(".item a", { hasText: /^Long one$/ }).click();
    await page.locator(".answer", { hasText: "Message 1999" }).waitFor();
    await page.keyboard.press("Control+k");
    expect(await say(page, QUESTION)).toBe(PARIS);
    console.log(
      `longest task of the page with 500 conversations and 2,000 messages: ${Math.round(await page.evaluate<number>("longest"))} ms`,
    );
    expect(faults).toEqual([]);
    await page.context().close();
  });
});
