/**
 * Schemas as Zod 4 and pydantic 2 write them (tests/fixtures/schemas): each is followed, and what is answered by it is valid by ajv with
 * its formats, and by Zod itself.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { librarySchemas, validator } from "./support/library_schemas.ts";
import { startServer, type TestServer } from "./support/server.ts";
import { zodJsonSchemas, zodSchemas } from "./tools/zod-schemas.ts";

setDefaultTimeout(120_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

/** Answers that are needed of each schema, and the seeds that are tried for them: some may want more tokens than there are. */
const ANSWERS = 2;
const SEEDS = 8;

/** Answers by a schema, sampled so wildly that whatever is allowed comes. */
async function answersBy(schema: unknown): Promise<string[]> {
  const answers: string[] = [];
  for (let seed = 0; seed < SEEDS && answers.length < ANSWERS; seed++) {
    const { choices } = await server.chat({
      messages: [{ role: "user", content: "Hello" }],
      response_format: { type: "json_schema", json_schema: { name: "answer", schema } },
      temperature: 1.5,
      seed,
      max_tokens: 700,
    });
    if (choices[0]?.finish_reason === "stop") answers.push(choices[0].message.content);
  }
  expect(answers.length).toBe(ANSWERS);
  return answers;
}

/** Of these Zod asks more than what its JSON Schema says: http, and names that are safe integers. */
const SAYS_LESS = new Set(["url of the web", "record of numbers"]);

describe("Zod 4", () => {
  const cases = librarySchemas("zod.json");

  test("the schemas are those that the library makes", () => {
    expect(JSON.stringify(cases)).toBe(JSON.stringify(zodJsonSchemas()));
    expect(Object.keys(zodSchemas).length).toBeGreaterThanOrEqual(60);
  });

  test.each(cases.map((one) => [one.name, one.target as string, one] as const))("%s, %s", async (name, _, one) => {
    const isValid = validator(one);
    for (const answer of await answersBy(one.schema)) {
      const value = JSON.parse(answer);
      expect([answer, isValid(value)]).toEqual([answer, true]);
      if (SAYS_LESS.has(name)) continue;
      expect([answer, zodSchemas[name]?.safeParse(value).success]).toEqual([answer, true]);
    }
  });
});

describe("pydantic 2", () => {
  test.each(librarySchemas("pydantic.json").map((one) => [one.name, one] as const))("%s", async (_, one) => {
    const isValid = validator(one);
    for (const answer of await answersBy(one.schema)) {
      expect([answer, isValid(JSON.parse(answer))]).toEqual([answer, true]);
    }
  });
});
