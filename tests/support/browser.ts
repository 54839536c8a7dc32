/** Opens the chat page in a headless Chromium, Debian's, and uses it as a person does. */

import { describe, expect } from "bun:test";
import axe from "axe-core";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const program = Bun.which("chromium");
if (program === null) console.log("skipping the chat page: apt-get install chromium");

/** Milliseconds after which something on the page counts as not happening. */
const PATIENCE_MS = 15_000;

/** The content security policy's word for what it kept from happening. */
const REPORT_VIOLATIONS = `document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error("policy: " + violatedDirective + " " + blockedURI));`;

/** Waits for all animations that have an end. */
const FADED_IN = `Promise.all(document.getAnimations().filter(({ effect }) => effect.getTiming().iterations !== Infinity)
  .map(({ finished }) => finished.catch(() => undefined)))`;

/** A group of tests that need the browser. */
export const describeInBrowser = describe.skipIf(program === null);

/** Starts the browser. */
export function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: program as string, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page and what went wrong on it. */
export interface OpenPage {
  page: Page;
  /** Errors, violations of the content security policy, and requests to other servers. */
  faults: string[];
  /** Paths that were asked for, below the page's own. */
  requests: string[];
}

/** Opens the page of a server in a profile of its own, or in that of another page. @param options `shows`: what is there once it is. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions & { beside?: Page; path?: string; shows?: string } = {},
): Promise<OpenPage> {
  const { beside, path = "/", shows = "#message", ...contextOptions } = options;
  const context =
    beside?.context() ?? (await browser.newContext({ viewport: { width: 1280, height: 840 }, ...contextOptions }));
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const faults: string[] = [];
  const requests: string[] = [];
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    // Chromium says by itself that a server can't be reached or refuses; the page says it in its own words.
    if (message.type() === "error" && !/^Failed to load resource/.test(text)) faults.push(`console: ${text}`);
  });
  page.on("request", (request) => {
    const asked = request.url();
    if (asked.startsWith(url)) requests.push(asked.slice(url.length));
    else if (!/^(?:data|blob):/.test(asked)) faults.push(`request to ${asked}`);
  });
  page.on("dialog", async (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  await page.addInitScript({ content: REPORT_VIOLATIONS });
  await page.goto(url + path);
  await page.locator(shows).waitFor();
  return { page, faults, requests };
}

/** Writes a message and sends it. */
export async function send(page: Page, text: string): Promise<void> {
  await page.locator("#message").fill(text);
  await page.locator("#message").press("Enter");
}

/** The last answer, once it is whole. */
export async function lastAnswer(page: Page): Promise<string> {
  return await page.locator(".answer.last[aria-busy=false] .markdown").innerText();
}

/** Sends a message and waits for its answer. */
export async function say(page: Page, text: string): Promise<string> {
  await page.locator("#message").waitFor();
  const before = await page.locator(".message").count();
  await send(page, text);
  await page
    .locator(".message")
    .nth(before + 1)
    .waitFor();
  return await lastAnswer(page);
}

/** A button of a message, which shows itself when the message is pointed at. */
export async function press(page: Page, message: string, button: string): Promise<void> {
  const place = page.locator(message).last();
  await place.hover();
  await place.getByRole("button", { name: button, exact: true }).click();
}

/** Reads a file into the page as one that a person chose to import. */
export async function importText(page: Page, text: string): Promise<void> {
  await page
    .getByLabel("File to import")
    .setInputFiles({ name: "conversations.json", mimeType: "application/json", buffer: Buffer.from(text) });
}

/** How many conversations or messages the browser's database holds. */
export function countKept(page: Page, what: "conversations" | "messages"): Promise<number> {
  return page.evaluate<number>(`new Promise((resolve) => {
    const opened = indexedDB.open("wrinklefree");
    opened.onsuccess = () => {
      const counted = opened.result.transaction("${what}").objectStore("${what}").count();
      counted.onsuccess = () => resolve(counted.result);
    };
  })`);
}

/** Checks that nothing on the page keeps people with disabilities from using it. */
export async function expectAccessible(page: Page, state: string): Promise<void> {
  // What fades in has no contrast before it is there.
  await page.evaluate(FADED_IN);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>("axe.run({ resultTypes: ['violations'] })");
  const found = violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
  expect([state, found]).toEqual([state, []]);
}

/** An exported conversation: messages that follow each other, the reader's first. */
export function conversation(title: string, texts: readonly string[], more: object = {}): object {
  const messages = texts.map((content, index) => ({
    id: String(index),
    parent: index === 0 ? null : String(index - 1),
    role: index % 2 === 0 ? "user" : "assistant",
    content,
    created: 1_700_000_000_000 + index,
    ...(index % 2 === 0 ? {} : { ending: "stop" }),
  }));
  return {
    conversation: {
      title,
      leaf: String(texts.length - 1),
      created: 1_700_000_000_000,
      updated: 1_700_000_000_000,
      ...more,
    },
    messages,
  };
}

/** Conversations as an exported file has them. */
export function exported(...conversations: object[]): string {
  return JSON.stringify({ format: "wrinklefree-conversations", version: 1, conversations });
}
