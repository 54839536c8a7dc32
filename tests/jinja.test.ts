/**
 * Templates render as jinja2 renders them under the settings of Hugging Face's transformers. Debian's python3-jinja2 made the goldens
 * (tests/fixtures/jinja, where the programs are that made them): templates with the constructs of published models in conversations of
 * all kinds, small ones that show one thing each, and thousands at random.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { membersOf, parseExactly } from "../src/json.ts";
import { TemplateError } from "../src/text/jinja/errors.ts";
import { Template } from "../src/text/jinja/template.ts";

setDefaultTimeout(60_000);

const directory = join(import.meta.dir, "fixtures/jinja");
/** That of environment.py. */
const NOW = new Date("2026-03-07T09:05:02Z");

function readCompressed(name: string): unknown {
  return parseExactly(new TextDecoder().decode(Bun.zstdDecompressSync(readFileSync(join(directory, name)))));
}

/** A golden: null where jinja2 fails. */
type Output = string | null;

/** What a template makes of variables; null when it fails as templates do. */
function render(source: string, variables: Record<string, unknown>): Output {
  try {
    return new Template(source).render(variables, 1_000_000, NOW);
  } catch (error) {
    if (error instanceof TemplateError) return null;
    throw error;
  }
}

const fields = (value: unknown) => Object.fromEntries(membersOf(value) ?? []);
const goldens = fields(readCompressed("goldens.json.zst")) as {
  chats: [string, string, number, Output][];
  snippets: [string, Output][];
};

describe("templates with the constructs of published models", () => {
  const given = fields(parseExactly(readFileSync(join(directory, "conversations.json"), "utf8"))) as {
    tools: unknown;
    documents: unknown;
    conversations: Record<string, unknown>;
    variants: Record<string, unknown>[];
  };

  test.each(readdirSync(join(directory, "templates")))("%s", (file) => {
    const source = readFileSync(join(directory, "templates", file), "utf8");
    const cases = goldens.chats.filter(([name]) => `${name}.jinja` === file);
    expect(cases.length).toBe(Object.keys(given.conversations).length * given.variants.length);
    for (const [, conversation, number, output] of cases) {
      const variant = given.variants[number] ?? {};
      const variables = {
        ...variant,
        messages: given.conversations[conversation],
        tools: variant.tools === true ? given.tools : null,
        documents: variant.documents === true ? given.documents : null,
        bos_token: "<s>",
        eos_token: "</s>",
      };
      expect([conversation, number, render(source, variables)]).toEqual([conversation, number, output]);
    }
  });
});

test("small templates that show one thing each", () => {
  const variables = { messages: [{ role: "user", content: "Grüße 🚀" }], none_value: null };
  for (const [source, output] of goldens.snippets)
    expect([source, render(source, variables)]).toEqual([source, output]);
  expect(goldens.snippets.length).toBeGreaterThan(150);
});

test("templates at random", () => {
  const { contexts, cases } = fields(readCompressed("fuzz.json.zst")) as {
    contexts: unknown[];
    cases: [string, number, Output][];
  };
  for (const [source, context, output] of cases) {
    expect([source, render(source, fields(contexts[context]))]).toEqual([source, output]);
  }
  expect(cases.length).toBeGreaterThan(5000);
});
