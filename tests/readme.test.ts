/**
 * README's examples, as they stand there: curl's are run by a shell against the executable, the one in JavaScript by Bun, and the answer is
 * what README says.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { OpenApiDocument } from "../src/api/openapi.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const README = readFileSync(join(import.meta.dir, "../README.md"), "utf8");
const HOST = "http://localhost:30000";

interface Example {
  command: string;
  /** What follows `#`: JSON of which the answer holds at least that, an event of a stream, or a line of a text. */
  answers: string[];
}

/** The commands in README's indented blocks, each with the lines after it that begin with #. */
function readExamples(): Example[] {
  const examples: Example[] = [];
  for (const [block] of README.matchAll(/^ {4}curl .*(?:\n {4}.*)*/gm)) {
    const lines = block.split("\n").map((line) => line.slice(4));
    const comments = lines.filter((line) => line.startsWith("#")).map((line) => line.slice(2));
    // A line that is indented further goes on with the one before it.
    const answers = comments.join("\n").replaceAll("\n  ", "").split("\n");
    examples.push({ command: lines.filter((line) => !line.startsWith("#")).join("\n"), answers });
  }
  return examples;
}

/** Whether a value holds what is wanted; numbers with a fraction are rounded in README to two digits. */
function holds(value: unknown, wanted: unknown): boolean {
  if (typeof wanted === "number" && typeof value === "number") {
    return Number.isInteger(value) ? value === wanted : Math.abs(value - wanted) <= 0.005;
  }
  if (typeof wanted !== "object" || wanted === null) return value === wanted;
  if (typeof value !== "object" || value === null) return false;
  if (Array.isArray(wanted) && (value as unknown[]).length !== wanted.length) return false;
  return Object.entries(wanted).every(([name, part]) => holds((value as Record<string, unknown>)[name], part));
}

/** Whether a text is an answer of which README shows a part. */
function isAnswer(text: string, shown: string): boolean {
  const lines = text.split("\n");
  if (shown.startsWith("data: {")) {
    const events = lines.filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)));
    return events.some((event) => holds(event, JSON.parse(shown.slice(6))));
  }
  return shown.startsWith("{") ? holds(JSON.parse(text), JSON.parse(shown)) : lines.includes(shown);
}

const examples = readExamples();

describe.skipIf(Bun.which("curl") === null)("the examples", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer(["--log", "off"]);
  });
  afterAll(() => server.stop());

  test.each(examples.map(({ command, answers }) => [command, answers] as const))("%s", async (command, answers) => {
    expect(command).toContain(HOST);
    const child = Bun.spawn(["sh", "-c", command.replaceAll(HOST, server.url)], { stderr: "ignore" });
    const text = await child.stdout.text();
    expect(await child.exited).toBe(0);
    expect(answers.filter((shown) => !isAnswer(text, shown))).toEqual([]);
  });

  test("the client of OpenAI's", async () => {
    const [block = ""] = /^ {4}import OpenAI .*(?:\n {4}.*)*/m.exec(README) ?? [];
    const [, shown] = /^ {4}\/\/ (.*)$/m.exec(block) ?? [];
    const program = block.replaceAll("http://127.0.0.1:30000", server.url);
    const child = Bun.spawn([process.execPath, "-e", program], { cwd: join(import.meta.dir, ".."), stderr: "inherit" });
    expect(await child.stdout.text()).toBe(`${shown}\n`);
  });

  test("there is one for every path", async () => {
    const { paths } = (await (await fetch(`${server.url}/openapi.json`)).json()) as OpenApiDocument;
    const shown = examples.map(({ command }) => /http:\/\/[^/]+([^ ]*)/.exec(command)?.[1] as string);
    for (const path of Object.keys(paths)) if (!path.includes("{")) expect(shown).toContain(path);
    expect(shown.filter((path) => path === "/v1/chat/completions").length).toBe(2);
  });
});
