/**
 * Answers in a form that was asked for: that they are valid by their schema, whatever the schema and however they are sampled, that what
 * can't be followed is refused by name, and that calls which are required come.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import fc from "fast-check";
import OpenAI from "openai";
import { goldens } from "./support/goldens.ts";
import { type ChatAnswer, startServer, streamedText, type TestServer } from "./support/server.ts";

setDefaultTimeout(120_000);

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

type Schema = Record<string, unknown>;

const JSON_GOLDEN = goldens.chat.find(({ greedy_text }) =>
  greedy_text.startsWith("{"),
) as (typeof goldens.chat)[number];
const ANN = JSON_GOLDEN.messages;

/** Checks of formats that share nothing with those of the server; what is not here is ajv-formats'. */
const FORMATS: Record<string, (text: string) => boolean> = {
  date: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && new Date(`${text}T00:00:00Z`).toISOString().startsWith(text),
  time: (text) => !Number.isNaN(Date.parse(`2020-01-01T${text}`)),
  "date-time": (text) => /^\d{4}-\d\d-\d\dT\d\d:/.test(text) && !Number.isNaN(Date.parse(text)),
  uuid: (text) => /^[\da-f]{8}-([\da-f]{4}-){3}[\da-f]{12}$/i.test(text),
  ipv4: (text) =>
    text.split(".").length === 4 &&
    text.split(".").every((part) => String(Number(part)) === part && Number(part) < 256),
  email: (text) => /^[^@\s]+@[^@\s]+\.[a-z]+$/i.test(text),
  uri: (text) => URL.canParse(text),
};

function validator(schema: Schema) {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  for (const [name, validate] of Object.entries(FORMATS)) ajv.addFormat(name, validate);
  return ajv.compile(schema);
}

function format(schema: Schema): object {
  return { response_format: { type: "json_schema", json_schema: { name: "answer", schema } } };
}

/** Sampled as wildly as can be: whatever is allowed comes. */
function wild(schema: Schema, seed: number): object {
  return { messages: ANN, ...format(schema), temperature: 2, seed, max_tokens: 1500 };
}

/** Checks that an answer is valid. Returns it. */
function expectValid(schema: Schema, text: string): unknown {
  expect(text.isWellFormed()).toBe(true);
  const value = JSON.parse(text);
  const validate = validator(schema);
  if (!validate(value))
    throw new Error(`${text} is not valid by ${JSON.stringify(schema)}: ${JSON.stringify(validate.errors)}`);
  return value;
}

async function errorOf(path: string, body: unknown) {
  const response = await server.post(path, body);
  const { error } = (await response.json()) as { error: { message: string; param: string; code: string } };
  return { status: response.status, ...error };
}

describe("answers are valid by their schema", () => {
  const closed = (properties: Schema, more: Schema = {}) => ({
    type: "object",
    properties,
    required: Object.keys(properties),
    additionalProperties: false,
    ...more,
  });
  const short = { type: "string", maxLength: 5 };
  test.each<[string, Schema]>([
    ["null", { type: "null" }],
    ["boolean", { type: "boolean" }],
    ["several types", { type: ["boolean", "null", "integer"], maximum: 9, minimum: -9 }],
    ["no type", { maxLength: 4 }],
    ["lengths in code points", { type: "string", minLength: 3, maxLength: 6 }],
    ["an exact length", { type: "string", minLength: 4, maxLength: 4 }],
    ["an integer", { type: "integer" }],
    ["an integer between bounds", { type: "integer", minimum: -17, maximum: 1234 }],
    ["an integer between exclusive bounds", { type: "integer", exclusiveMinimum: 98, exclusiveMaximum: 101 }],
    ["an integer of the bounds of 64 bits", { type: "integer", minimum: 0, maximum: 2 ** 63 }],
    ["a negative integer", { type: "integer", maximum: -5 }],
    ["multiples", { type: "integer", multipleOf: 7, minimum: 10, maximum: 1000 }],
    ["a number", { type: "number" }],
    ["a number between bounds", { type: "number", minimum: -0.25, maximum: 0.5 }],
    ["a positive number", { type: "number", exclusiveMinimum: 0 }],
    ["a negative number", { type: "number", exclusiveMaximum: 0 }],
    ["a number under a small bound", { type: "number", minimum: 1e-7, maximum: 2.5e-7 }],
    ["a number within one", { type: "number", minimum: 0.1, exclusiveMaximum: 0.2 }],
    ["multiples of numbers", { type: "number", multipleOf: 5, maximum: 100 }],
    ["multiples of decimals", { type: "number", multipleOf: 0.25, minimum: -9, maximum: 9 }],
    ["the largest multiple without bounds", { type: "integer", multipleOf: 365 }],
    ["constants", { const: { a: [1, "x", null, { b: 1.5 }] } }],
    ["enums", { enum: ["red", "green", 'quo"te', "naïve 🚀", 1, -2.5, null, true, [1], { a: 1 }] }],
    ["enums with a type", { type: "string", enum: ["red", 1, "reddish"] }],
    ["arrays", { type: "array", items: { type: "boolean" }, minItems: 2, maxItems: 4 }],
    ["empty arrays", { type: "array", maxItems: 0 }],
    ["tuples", { type: "array", prefixItems: [{ const: 1 }, { type: "boolean" }], items: false }],
    ["tuples with more", { type: "array", prefixItems: [{ const: 1 }], items: { const: 2 }, minItems: 3, maxItems: 4 }],
    [
      "objects",
      closed({ a: { type: "integer", maximum: 9, minimum: 0 }, b: { type: "boolean" }, "c d": { type: "null" } }),
    ],
    ["optional properties", closed({ a: { const: 1 }, b: { const: 2 }, c: { const: 3 } }, { required: ["b"] })],
    ["only optional properties", closed({ a: { const: 1 }, b: { const: 2 } }, { required: [] })],
    ["no properties", closed({})],
    [
      "names that need escapes",
      closed({ 'a"b': { const: 1 }, "\n": { const: 2 }, é: { const: 3 }, constructor: { const: 4 } }),
    ],
    ["other properties", { type: "object", maxProperties: 3, additionalProperties: { type: "boolean" } }],
    ["some property", { type: "object", minProperties: 1, maxProperties: 2, additionalProperties: { const: 1 } }],
    [
      "a required property that is not described",
      { type: "object", required: ["x"], additionalProperties: { const: 1 } },
    ],
    ["patterns", { type: "string", pattern: "^[A-Z]{2}-\\d{3,5}(?:/[^\\W\\d_])?$" }],
    ["patterns with quotes and line ends", { type: "string", pattern: '^("|\\\\|\\n|\\u{1F680}|[\\x00-\\x1f]){4}$' }],
    ["patterns with alternatives", { type: "string", pattern: "^(a+b?|(?:cd){2}|e.?)$|^f{2,3}$", minLength: 1 }],
    ["a date", { type: "string", format: "date" }],
    ["a time", { type: "string", format: "time" }],
    ["a date and time", { type: "string", format: "date-time" }],
    ["a uuid", { type: "string", format: "uuid" }],
    ["an address", { type: "string", format: "ipv4" }],
    ["a mail address", { type: "string", format: "email" }],
    ["a duration", { type: "string", format: "duration" }],
    ["an address of version 6", { type: "string", format: "ipv6" }],
    ["a host name", { type: "string", format: "hostname" }],
    ["a URI", { type: "string", format: "uri", maxLength: 2083, minLength: 1 }],
    ["a URI reference", { type: "string", format: "uri-reference" }],
    ["a JSON pointer", { type: "string", format: "json-pointer" }],
    ["a regular expression", { type: "string", format: "regex" }],
    ["base64", { type: "string", format: "byte", maxLength: 20 }],
    ["a format beside a pattern", { type: "string", format: "email", pattern: "^[a-z.]+@example\\.(?:org|com)$" }],
    ["a format beside lengths", { type: "string", format: "email", minLength: 12, maxLength: 14 }],
    ["a pattern beside lengths", { type: "string", pattern: "^(?:ab|c)*$", minLength: 3, maxLength: 7 }],
    ["a class beside lengths", { type: "string", pattern: "^[^<>]*$", maxLength: 5 }],
    ["looking ahead", { type: "string", pattern: "^(?=.*\\d)(?!.*(\\d)0)(?=[^a-f]*[a-f])[\\da-f]{4,6}$" }],
    ["word boundaries", { type: "string", pattern: "^[a-c .]{0,4}\\bword\\b[a-c .]{1,4}$" }],
    ["properties of characters", { type: "string", pattern: "^\\p{Lu}\\P{L}{1,3}$" }],
    ["several patterns", { type: "string", allOf: [{ pattern: "^a" }, { pattern: "b$" }, { maxLength: 4 }] }],
    [
      "names by a pattern",
      { propertyNames: { pattern: "^[a-c]$" }, additionalProperties: { const: 1 }, maxProperties: 3 },
    ],
    [
      "names that are listed",
      { propertyNames: { enum: ["a", "b", "c"] }, additionalProperties: { const: 1 }, minProperties: 2 },
    ],
    [
      "properties by patterns",
      {
        type: "object",
        properties: { xa: { type: "integer", maximum: 9 } },
        patternProperties: { "^x": { type: "integer", minimum: 5 }, "^y$": { const: "y" } },
        additionalProperties: false,
        required: ["xa"],
        maxProperties: 3,
      },
    ],
    [
      "so many properties",
      closed({ a: {}, b: {}, c: {}, d: {} }, { required: ["b"], minProperties: 2, maxProperties: 3, type: "object" }),
    ],
    ["elements that differ", { type: "array", items: { enum: ["a", "b", 1, null] }, uniqueItems: true, minItems: 2 }],
    ["booleans that differ", { type: "array", items: { type: ["boolean", "null"] }, uniqueItems: true }],
    ["alternatives beside a bound", { anyOf: [{ type: "integer", maximum: 3 }, { type: "null" }], minimum: 1 }],
    [
      "bounds of allOf",
      {
        type: "integer",
        allOf: [
          { minimum: 1, maximum: 9 },
          { minimum: 5, maximum: 20 },
        ],
      },
    ],
    ["a reference beside a bound", { $ref: "#/$defs/a", $defs: { a: { type: "integer", maximum: 7 } }, minimum: 5 }],
    ["never", closed({ a: { not: {} }, b: { const: 1 } }, { required: ["b"] })],
    ["unknown annotations", { type: "null", "x-order": 1, "x-": {}, discriminator: { propertyName: "a" } }],
    ["anyOf", { anyOf: [{ type: "integer", minimum: 5, maximum: 7 }, { type: "null" }, closed({ a: { const: 1 } })] }],
    [
      "anyOf with a type",
      { type: "object", anyOf: [closed({ a: { const: 1 } }), { required: ["b"], additionalProperties: { const: 2 } }] },
    ],
    ["oneOf of different types", { oneOf: [{ type: "boolean" }, { type: "array", items: { const: 1 }, maxItems: 2 }] }],
    [
      "oneOf with a mark",
      { oneOf: [closed({ kind: { const: "a" }, x: { const: 1 } }), closed({ kind: { enum: ["b", "c"] } })] },
    ],
    [
      "allOf",
      {
        allOf: [
          { type: "object", properties: { a: { const: 1 } }, required: ["a"] },
          { properties: { b: { const: 2 } }, required: ["b"] },
        ],
      },
    ],
    ["allOf of one reference", { allOf: [{ $ref: "#/$defs/x" }], $defs: { x: { type: "boolean", title: "x" } } }],
    [
      "references",
      {
        ...closed({ a: { $ref: "#/$defs/p~1q" }, b: { $ref: "#/definitions/r" } }),
        $defs: { "p/q": { const: 1 } },
        definitions: { r: { const: 2 } },
      },
    ],
    [
      "recursion",
      {
        $ref: "#/$defs/tree",
        $defs: { tree: closed({ value: { const: 1 }, left: { anyOf: [{ type: "null" }, { $ref: "#/$defs/tree" }] } }) },
      },
    ],
    [
      "annotations",
      {
        type: "boolean",
        title: "t",
        description: "d",
        default: true,
        examples: [true],
        $comment: "c",
        deprecated: false,
        $schema: "https://json-schema.org/draft/2020-12/schema",
      },
    ],
    [
      "nested objects",
      closed({ a: closed({ b: closed({ c: short }), d: { type: "array", items: short, maxItems: 2 } }) }),
    ],
  ])("%s", async (_, schema) => {
    const seen = new Set<string>();
    // The grammar does not say more than the schema, as far as can be seen: two answers differ, sooner or later.
    const isOpen = "pattern" in schema || "format" in schema;
    for (let seed = 0; seed < 6 || (isOpen && seen.size < 2 && seed < 60); seed++) {
      const answer = await server.chat(wild(schema, seed));
      const [choice] = answer.choices;
      expect(choice?.finish_reason).toBe("stop");
      expectValid(schema, choice?.message.content as string);
      seen.add(choice?.message.content as string);
    }
    if (isOpen) expect(seen.size).toBeGreaterThan(1);
  });

  test.each<[string, RegExp]>([
    ["\\A(?P<a>\\d)\\!{2}[\\w-.]\\Z", /^\d!!(?:\w|-|\.)$/],
    ["^{\\@}[\\&\\-]]$", /^\{@\}[&-]\]$/],
  ])("what Python writes and JavaScript refuses: %s", async (pattern, meant) => {
    for (let seed = 0; seed < 4; seed++) {
      const { choices } = await server.chat(wild({ type: "string", pattern }, seed));
      expect(JSON.parse(choices[0]?.message.content as string)).toMatch(meant);
    }
  });

  const name = fc.constantFrom("a", "b", "long name", "é", 'q"', "city");
  const leaf: fc.Arbitrary<Schema> = fc.oneof(
    fc.record({
      type: fc.constant("string"),
      minLength: fc.nat({ max: 2 }),
      maxLength: fc.integer({ min: 2, max: 8 }),
    }),
    fc
      .tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat({ max: 500 }))
      .map(([minimum, more]) => ({ type: "integer", minimum, maximum: minimum + more })),
    fc
      .tuple(
        fc.integer({ min: -5000, max: 5000 }),
        fc.integer({ min: 1, max: 4000 }),
        fc.constantFrom(1, 10, 100, 1000),
      )
      .map(([from, more, scale]) => ({
        type: "number",
        exclusiveMinimum: from / scale,
        maximum: (from + more) / scale,
      })),
    fc.constantFrom<Schema>(
      { type: "boolean" },
      { type: "null" },
      { type: ["null", "boolean"] },
      { type: "string", format: "date" },
    ),
    fc.constantFrom<Schema>(
      { type: "string", pattern: "^[a-c]{1,4}(x|yz)?$" },
      { type: "string", pattern: "^\\d{2}:\\d{2}$" },
    ),
    fc
      .uniqueArray(fc.jsonValue({ maxDepth: 1 }), {
        minLength: 1,
        maxLength: 5,
        selector: (value) => JSON.stringify(value),
      })
      .map((values) => ({ enum: JSON.parse(JSON.stringify(values)) })),
    fc.string({ unit: "grapheme", maxLength: 6 }).map((value) => ({ const: value })),
  );
  const { schema: anySchema } = fc.letrec<{ schema: Schema }>((tie) => ({
    schema: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      leaf,
      fc
        .tuple(fc.dictionary(name, tie("schema"), { maxKeys: 4 }), fc.infiniteStream(fc.boolean()), fc.boolean())
        .map(([properties, choices, isClosed]) => ({
          type: "object",
          properties,
          required: Object.keys(properties).filter(() => choices.next().value),
          ...(isClosed || Object.keys(properties).length === 0 ? { additionalProperties: false } : {}),
        })),
      fc
        .tuple(tie("schema"), fc.nat({ max: 2 }), fc.nat({ max: 2 }))
        .map(([items, minItems, more]) => ({ type: "array", items, minItems, maxItems: minItems + more })),
      fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
      fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((prefixItems) => ({ type: "array", prefixItems })),
    ),
  }));

  test("200 schemas at random, sampled wildly", async () => {
    let ended = 0;
    await fc.assert(
      fc.asyncProperty(anySchema, fc.nat(), async (schema, seed) => {
        const { choices } = await server.chat(wild(schema, seed));
        // Nothing but the length may keep an answer from its end.
        if (choices[0]?.finish_reason === "length") return;
        expect(choices[0]?.finish_reason).toBe("stop");
        expectValid(schema, choices[0]?.message.content as string);
        ended++;
      }),
      { numRuns: 200 },
    );
    expect(ended).toBeGreaterThan(190);
  });

  test("any object, and only objects", async () => {
    for (let seed = 0; seed < 30; seed++) {
      const request = {
        messages: ANN,
        response_format: { type: "json_object" },
        temperature: 1,
        seed,
        max_tokens: 300,
      };
      const { choices } = await server.chat(request);
      const text = choices[0]?.message.content as string;
      expect(text).toStartWith("{");
      if (choices[0]?.finish_reason === "stop") expect(typeof JSON.parse(text)).toBe("object");
    }
  });

  test("bounds of numbers, every one", async () => {
    // One schema for every number within the bounds: those just outside can't be written.
    for (const [low, high] of [
      [-1, 1],
      [9, 11],
      [99, 100],
      [-101, -99],
      [0, 0],
    ] as const) {
      const seen = new Set<number>();
      const schema = { type: "integer", minimum: low, maximum: high };
      for (let seed = 0; seed < 12; seed++) {
        const { choices } = await server.chat(wild(schema, seed));
        seen.add(expectValid(schema, choices[0]?.message.content as string) as number);
      }
      expect(seen.size).toBeLessThanOrEqual(high - low + 1);
    }
  });
});

describe("forms and everything else", () => {
  const schema = {
    type: "object",
    properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer", minimum: 0, maximum: 150 } },
    required: ["name", "age"],
    additionalProperties: false,
  };

  test("what the model writes as JSON by itself stays as it is", async () => {
    for (const more of [
      { response_format: { type: "json_object" } },
      format(schema),
      { guided_json: schema },
      { structured_outputs: { json: schema } },
    ]) {
      const { choices } = await server.chat({ messages: ANN, ...more });
      expect(choices[0]?.message.content).toBe(JSON_GOLDEN.greedy_text);
      expect(choices[0]?.finish_reason).toBe("stop");
    }
  });

  test("the other endpoints", async () => {
    const prompt = JSON_GOLDEN.prompt;
    const ids = JSON_GOLDEN.prompt_ids;
    const bodies: [string, object, (answer: never) => string][] = [
      [
        "/v1/completions",
        { prompt: ids, max_tokens: 100, ...format(schema) },
        (answer: { choices: { text: string }[] }) => answer.choices[0]?.text as string,
      ],
      [
        "/completion",
        { prompt: ids, n_predict: 100, json_schema: schema },
        (answer: { content: string }) => answer.content,
      ],
      [
        "/generate",
        { input_ids: ids, sampling_params: { max_new_tokens: 100, json_schema: JSON.stringify(schema) } },
        (answer: { text: string }) => answer.text,
      ],
    ];
    expect(prompt.length).toBeGreaterThan(0);
    for (const [path, body, textOf] of bodies) {
      const response = await server.post(path, body);
      expect(response.status).toBe(200);
      expect(textOf((await response.json()) as never)).toBe(JSON_GOLDEN.greedy_text);
    }
  });

  test("streamed and whole are the same, and so are choices", async () => {
    for (let seed = 0; seed < 10; seed++) {
      const request = { ...wild(schema, seed), n: 3 };
      const whole = await server.chat(request);
      const chunks = await server.stream(request);
      for (const { index, message, finish_reason } of whole.choices) {
        expect(finish_reason).toBe("stop");
        expectValid(schema, message.content);
        expect(streamedText(chunks, index)).toBe(message.content);
      }
    }
  });

  test("the engine's threads and neighbours change nothing; every request keeps to its own schema", async () => {
    const schemas: Schema[] = [
      schema,
      { type: "array", items: { type: "integer", minimum: 0, maximum: 99 }, minItems: 3, maxItems: 6 },
      { type: "string", pattern: "^[a-f]{3,9}$" },
      { enum: ["one", "two", "three"] },
    ];
    const requests = Array.from({ length: 24 }, (_, i) => ({ schema: schemas[i % 4] as Schema, seed: i }));
    const alone: string[] = [];
    for (const { schema: own, seed } of requests)
      alone.push((await server.chat(wild(own, seed))).choices[0]?.message.content as string);
    const free = server.chat({ messages: goldens.chat[0]?.messages });
    const together = await Promise.all(requests.map(({ schema: own, seed }) => server.chat(wild(own, seed))));
    expect(together.map(({ choices }) => choices[0]?.message.content as string)).toEqual(alone);
    for (const [i, { schema: own }] of requests.entries()) expectValid(own, alone[i] as string);
    expect((await free).choices[0]?.message.content).toBe(goldens.chat[0]?.greedy_text as string);
    const single = await startServer(["--log", "off", "--threads", "1", "--parallel", "1"]);
    try {
      for (const [i, { schema: own, seed }] of requests.slice(0, 8).entries()) {
        expect((await single.chat(wild(own, seed))).choices[0]?.message.content).toBe(alone[i] as string);
      }
    } finally {
      await single.stop();
    }
  });

  test("penalties, biases, truncation, log-probabilities, min_tokens and stop ids leave it valid", async () => {
    const others: object[] = [
      { repetition_penalty: 1.5 },
      { frequency_penalty: 2, presence_penalty: 2 },
      { logit_bias: { 5: 100, 6: -100, 300: 50 } },
      { top_k: 1 },
      { top_k: 40, top_p: 0.3 },
      { min_p: 0.5 },
      { logprobs: true, top_logprobs: 5 },
      { min_tokens: 200, max_tokens: 1500 },
      { ignore_eos: true },
      { temperature: 0 },
    ];
    for (const [seed, more] of others.entries()) {
      const { choices } = await server.chat({ ...wild(schema, seed), ...more });
      expect(choices[0]?.finish_reason).toBe("stop");
      expectValid(schema, choices[0]?.message.content as string);
    }
  });

  test("log-probabilities are those of the model, not of the form", async () => {
    const request = { model: "tiny", messages: ANN as never, logprobs: true, top_logprobs: 3 };
    const free = await client.chat.completions.create(request);
    const formed = await client.chat.completions.create({ ...request, ...(format(schema) as object) });
    const tokens = formed.choices[0]?.logprobs?.content ?? [];
    expect(tokens.length).toBeGreaterThan(5);
    expect(tokens).toEqual((free.choices[0]?.logprobs?.content ?? []).slice(0, tokens.length));
  });

  test("what is cut off says so", async () => {
    const { choices } = await server.chat({ messages: ANN, ...format(schema), max_tokens: 3 });
    expect(choices[0]?.finish_reason).toBe("length");
  });

  test("the SDK parses an answer", async () => {
    const answer = await client.chat.completions.parse({
      model: "tiny",
      messages: ANN as never,
      ...(format(schema) as object),
    } as never);
    expect((answer as unknown as ChatAnswer).choices[0]?.message).toMatchObject({ content: JSON_GOLDEN.greedy_text });
  });
});

describe("what can't be followed is refused by name", () => {
  test.each<[Schema, string, string]>([
    [{ not: { type: "null" } }, "not", "unsupported_schema"],
    [{ if: {}, type: "string" }, "if", "unsupported_schema"],
    [{ type: "object", dependentRequired: {} }, "dependentRequired", "unsupported_schema"],
    [{ type: "object", unevaluatedProperties: false }, "unevaluatedProperties", "unsupported_schema"],
    [{ type: "array", contains: {} }, "contains", "unsupported_schema"],
    [{ type: "array", uniqueItems: true }, "uniqueItems", "unsupported_schema"],
    [{ type: "array", items: { type: "integer" }, uniqueItems: true }, "uniqueItems", "unsupported_schema"],
    [
      { type: "array", items: { enum: [1, 2, 3, 4, 5, 6, 7, 8, 9] }, uniqueItems: true },
      "uniqueItems",
      "unsupported_schema",
    ],
    [{ type: "array", prefixItems: [{}], uniqueItems: true }, "uniqueItems", "unsupported_schema"],
    [{ type: "array", uniqueItems: 1 }, "uniqueItems", "invalid_json_schema"],
    [{ type: "number", multipleOf: 10.01 }, "multipleOf", "unsupported_schema"],
    [{ type: "integer", multipleOf: 366 }, "multipleOf", "unsupported_schema"],
    [{ type: "number", multipleOf: -1 }, "multipleOf", "invalid_json_schema"],
    [{ type: "string", pattern: "(a)\\1" }, "pattern", "unsupported_schema"],
    [{ type: "string", pattern: "(?<=a)b" }, "pattern", "unsupported_schema"],
    [{ type: "string", pattern: "(?i)a" }, "pattern", "invalid_json_schema"],
    [{ type: "string", pattern: "(?=[ab]*a[ab]{40})[ab]*c" }, "pattern", "unsupported_schema"],
    [{ type: "string", pattern: "(" }, "pattern", "invalid_json_schema"],
    [
      { type: "string", pattern: `^${"(?:".repeat(63)}a${"{100000})".repeat(63)}{0}$`, minLength: 5 },
      "nothing",
      "invalid_json_schema",
    ],
    [{ type: "string", minLength: -1 }, "minLength", "invalid_json_schema"],
    [{ type: "string", maxLength: "5" }, "maxLength", "invalid_json_schema"],
    [{ type: "text" }, "type", "invalid_json_schema"],
    [{ type: [] }, "type", "invalid_json_schema"],
    [{ type: ["null", "null"] }, "type", "invalid_json_schema"],
    [{ type: ["null", "null"], anyOf: [{ const: null }] }, "type", "invalid_json_schema"],
    [{ anyOf: [] }, "anyOf", "invalid_json_schema"],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, "oneOf", "unsupported_schema"],
    [{ oneOf: [{ type: "object" }, { type: "object", required: ["a"] }] }, "oneOf", "unsupported_schema"],
    [{ $ref: "https://example.com/schema" }, "$ref", "unsupported_schema"],
    [{ $ref: "#/$defs/none" }, "$ref", "invalid_json_schema"],
    [{ $ref: 5 }, "$ref", "invalid_json_schema"],
    [{ enum: [] }, "enum", "invalid_json_schema"],
    [{ enum: ["a"], minLength: 5 }, "minLength", "unsupported_schema"],
    [{ enum: ["\ud800"] }, "surrogate", "unsupported_schema"],
    [{ type: "object", properties: [] }, "properties", "invalid_json_schema"],
    [{ type: "object", required: [1] }, "required", "invalid_json_schema"],
    [{ type: "object", required: ["a"], additionalProperties: false }, "required", "invalid_json_schema"],
    [{ type: "object", minProperties: 2 }, "minProperties", "unsupported_schema"],
    [{ type: "object", propertyNames: { maxLength: 2 }, required: ["abc"] }, "propertyNames", "invalid_json_schema"],
    [{ type: "object", propertyNames: { minimum: 2 } }, "propertyNames", "unsupported_schema"],
    [{ type: "object", patternProperties: [] }, "patternProperties", "invalid_json_schema"],
    [{ type: "object", patternProperties: { "(": {} } }, "pattern", "invalid_json_schema"],
    [{ type: "string", nullable: "yes" }, "nullable", "invalid_json_schema"],
    [
      { type: "object", properties: { a: { properties: { b: { unknown: true } } } } },
      "#/properties/a/properties/b",
      "unsupported_schema",
    ],
    [{ type: "string", pattern: "[" }, "missing terminating ]", "invalid_json_schema"],
    [
      { type: "integer", multipleOf: 1001 },
      "'multipleOf' is only supported with digits up to 1000",
      "unsupported_schema",
    ],
    [
      { type: "integer", minimum: 5, maximum: 4 },
      "at #: nothing is valid by it: no integer lies",
      "invalid_json_schema",
    ],
    [{ type: "number", minimum: 5, exclusiveMaximum: 5 }, "no number lies within its bounds", "invalid_json_schema"],
    ...Object.entries<Schema>({
      "'minLength' is over 'maxLength'": { type: "string", minLength: 5, maxLength: 2 },
      "no string has its 'pattern'": { type: "string", pattern: "^a{3}$", maxLength: 2 },
      "'minItems' is over 'maxItems'": { type: "array", minItems: 3, maxItems: 2 },
      "'minItems' asks for more items than 'prefixItems' has": {
        ...{ type: "array", prefixItems: [{}], items: false, minItems: 2 },
      },
      "'minItems' asks for items, which 'items' forbids": { type: "array", items: false, minItems: 1 },
      "'minProperties' asks for more properties": {
        ...{ type: "object", properties: { b: {} }, additionalProperties: false, minProperties: 5 },
      },
      "'required' names more properties than 'maxProperties'": {
        ...{ type: "object", properties: { b: {}, c: {} }, required: ["b", "c"], maxProperties: 1 },
      },
      "'minProperties' is over 'maxProperties'": { type: "object", minProperties: 1, maxProperties: 0 },
      "the schemas of 'allOf' have no type": { allOf: [{ type: "string" }, { type: "integer" }] },
      "'enum', 'const' and 'type' have no value in common": { type: "string", enum: [1, 2] },
      "'not' forbids every value": { not: {} },
    }).map(([words, inner]): [Schema, string, string] => [
      { type: "object", properties: { a: inner }, required: ["a"] },
      `at #/properties/a: nothing is valid by it: ${words}`,
      "invalid_json_schema",
    ]),
    [
      { $ref: "#/$defs/a", $defs: { a: { type: "array", items: { $ref: "#/$defs/a" }, minItems: 1 } } },
      "at #: nothing that has an end is valid",
      "invalid_json_schema",
    ],
    [{ type: "integer", minimum: 1e300 }, "nothing", "invalid_json_schema"],
  ])("%j", async (schema, word, code) => {
    const error = await errorOf("/v1/chat/completions", { messages: ANN, ...format(schema) });
    expect(error).toMatchObject({ status: 400, param: "response_format", code });
    expect(error.message).toContain(word);
  });

  test.each<[object, string, string]>([
    [{ response_format: {} }, "response_format.type", "missing_required_parameter"],
    [
      { response_format: { type: "json_schema", json_schema: {} } },
      "response_format.json_schema.name",
      "missing_required_parameter",
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: "x" } } },
      "response_format.json_schema.schema",
      "missing_required_parameter",
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: "x", schema: 5 } } },
      "response_format.json_schema.schema",
      "invalid_type",
    ],
    [{ response_format: { type: "json_object" }, guided_json: {} }, "guided_json", "invalid_value"],
    [{ guided_json: "{" }, "guided_json", "invalid_value"],
    [{ guided_regex: "a" }, "guided_regex", "unsupported_parameter"],
    [{ structured_outputs: { regex: "a" } }, "structured_outputs.regex", "unsupported_parameter"],
    [{ structured_outputs: { json_object: "x" } }, "structured_outputs.json_object", "invalid_type"],
    [{ structured_outputs: { json: {}, json_object: true } }, "structured_outputs.json_object", "invalid_value"],
    [{ structured_outputs: { json: 5 } }, "structured_outputs.json", "invalid_type"],
    [{ grammar: "root ::= x" }, "grammar", "unsupported_parameter"],
  ])("%j", async (more, param, code) => {
    expect(await errorOf("/v1/chat/completions", { messages: ANN, ...more })).toMatchObject({
      status: 400,
      param,
      code,
    });
  });
});

test("a schema as text that nests deeper than any stack can bear is refused", async () => {
  const guided_json = `{"const":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  const error = await errorOf("/v1/chat/completions", { messages: ANN, guided_json });
  expect(error).toMatchObject({ status: 400, param: "guided_json", code: "invalid_value" });
});

describe("schemas from strangers", () => {
  const nested = (depth: number, wrap: (inner: Schema) => Schema): Schema => {
    let schema: Schema = { type: "null" };
    for (let i = 0; i < depth; i++) schema = wrap(schema);
    return schema;
  };
  const LONG_NAMES = Object.fromEntries(
    Array.from({ length: 370 }, (_, i) => [`${i.toString(36)}x`.repeat(250).slice(0, 500), true]),
  );
  const doubling = Object.fromEntries(
    Array.from({ length: 16 }, (_, i) => [
      `s${i}`,
      i === 15
        ? { type: "null" }
        : {
            anyOf: ["x", "y"].map((last) => ({
              type: "object",
              properties: { a: { $ref: `#/$defs/s${i + 1}` }, [last]: { type: "null" } },
              required: ["a", last],
            })),
          },
    ]),
  );
  test.each<[string, Schema]>([
    ["deep nesting", nested(60, (items) => ({ type: "array", items, maxItems: 1 }))],
    ["deeper nesting", nested(2000, (items) => ({ type: "array", items }))],
    ["a huge enum", { enum: Array.from({ length: 9000 }, (_, i) => `value ${i}`) }],
    ["a larger enum", { enum: Array.from({ length: 20_000 }, (_, i) => i) }],
    [
      "many properties",
      {
        type: "object",
        properties: Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`p${i}`, { const: i }])),
      },
    ],
    ["ways that double", { $ref: "#/$defs/s0", $defs: doubling }],
    ["a costly pattern", { type: "string", pattern: "^(((a+)+)+)+$" }],
    ["a costly pattern with counts", { type: "string", pattern: "^((a{1,100}){1,100}){1,100}b$" }],
    ["looking ahead at much", { type: "string", pattern: "(?=[ab]*a[ab]{40})[ab]*c" }],
    ["looking ahead in loops", { type: "string", pattern: "^(?:(?=a*b)(?!c*d)[abcd]){1,200}$" }],
    [
      "looking ahead within looking ahead",
      { type: "string", pattern: `${"(?=a*".repeat(60)}b${")".repeat(60)}[ab]{4}$` },
    ],
    ["anchors in loops", { type: "string", pattern: "^(?:(?:^|$|\\b)*a?)*$", maxLength: 3 }],
    [
      "many properties of characters",
      {
        type: "string",
        pattern: "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z"
          .split(" ")
          .map((name) => `(?=.*\\p{${name}})`)
          .join(""),
      },
    ],
    ["a pattern beside a large count", { type: "string", pattern: "^(?:ab|c)*$", maxLength: 900_000 }],
    [
      "many names beside patterns of names",
      {
        type: "object",
        properties: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`n${i}`, { const: i }])),
        patternProperties: Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`^n.*${i}$`, true])),
        propertyNames: { pattern: "^n" },
      },
    ],
    [
      "many patterns together",
      { type: "string", allOf: Array.from({ length: 400 }, (_, i) => ({ pattern: `(?=.*a)b{${i}}` })) },
    ],
    ["a long unanchored pattern", { type: "string", pattern: "[ab]*a[ab]{20}" }],
    [
      "endless recursion",
      {
        $ref: "#/$defs/a",
        $defs: { a: { type: "object", properties: { a: { $ref: "#/$defs/a" } }, required: ["a"] } },
      },
    ],
    [
      "references in a circle",
      {
        $ref: "#/$defs/a",
        $defs: { a: { $ref: "#/$defs/b" }, b: { anyOf: [{ $ref: "#/$defs/a" }, { $ref: "#/$defs/b" }] } },
      },
    ],
    ["allOf in a circle", { $ref: "#/$defs/a", $defs: { a: { allOf: [{ $ref: "#/$defs/a" }] } } }],
    [
      "allOf that doubles",
      {
        $ref: "#/$defs/s0",
        $defs: Object.fromEntries(
          Array.from({ length: 60 }, (_, i) => [
            `s${i}`,
            i === 59 ? { type: "null" } : { allOf: [{ $ref: `#/$defs/s${i + 1}` }, { $ref: `#/$defs/s${i + 1}` }] },
          ]),
        ),
      },
    ],
    [
      "allOf of many references to much",
      {
        $defs: {
          a: { properties: Object.fromEntries(Array.from({ length: 6000 }, (_, i) => [i.toString(36), true])) },
          b: { allOf: Array(2000).fill({ $ref: "#/$defs/a" }) },
        },
        allOf: Array(50).fill({ $ref: "#/$defs/b" }),
      },
    ],
    [
      "oneOf of many references to much",
      {
        $defs: { a: { enum: Array.from({ length: 30_000 }, (_, i) => i) } },
        oneOf: Array(256).fill({ $ref: "#/$defs/a" }),
      },
    ],
    ["a long const beside a long enum", { enum: Array(60_000).fill(0), const: "x".repeat(130_000) }],
    ["many long names", { type: "object", properties: LONG_NAMES }],
    ["many long names and no others", { type: "object", properties: LONG_NAMES, additionalProperties: false }],
    ["huge counts", { type: "array", items: { type: "string", minLength: 999_999 }, minItems: 999_999 }],
    ["strange names", { type: "object", properties: { ["x".repeat(5000)]: {}, "\ud800": {}, constructor: {} } }],
    ["a reference to a prototype", { $ref: "#/constructor" }],
  ])("%s: refused or bounded", async (_, schema) => {
    const before = server.residentMegabytes();
    const response = await server.post("/v1/chat/completions", { ...wild(schema, 1), max_tokens: 40 });
    const text = await response.text();
    expect([200, 400]).toContain(response.status);
    expect(text).not.toContain("server_error");
    // Far more than it takes, far less than without a bound.
    expect(server.residentMegabytes() - before).toBeLessThan(500);
    expect((await server.chat({ messages: goldens.chat[0]?.messages })).choices[0]?.message.content).toBe(
      goldens.chat[0]?.greedy_text as string,
    );
  });

  test("memory stays bounded over many schemas", async () => {
    const before = server.residentMegabytes();
    for (let i = 0; i < 150; i++)
      await server.chat({ ...wild({ type: "string", pattern: `^[a-z]{5}${i}$` }, i), max_tokens: 30 });
    expect(server.residentMegabytes() - before).toBeLessThan(150);
  });
});

describe("calls that have to be made", () => {
  const tool = (name: string, parameters?: Schema) => ({ type: "function" as const, function: { name, parameters } });
  const weather = tool("get_weather", {
    type: "object",
    properties: { city: { type: "string", maxLength: 20 } },
    required: ["city"],
  });
  const rate = tool("rate", {
    type: "object",
    properties: { stars: { type: "integer", minimum: 1, maximum: 5 } },
    required: ["stars"],
    additionalProperties: false,
  });
  const question = [{ role: "user" as const, content: "What is the weather in Oslo?" }];
  const hello = [{ role: "user" as const, content: "Hello" }];

  test("the model's own call stays as it is", async () => {
    const answer = await client.chat.completions.create({
      model: "tiny",
      messages: question,
      tools: [weather],
      tool_choice: "required",
    });
    expect(answer.choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { content: null, tool_calls: [{ function: { name: "get_weather", arguments: '{"city":"Oslo"}' } }] },
    });
  });

  test("required: at least one call, valid by its schema; without parallel calls exactly one", async () => {
    const schemas: Record<string, Schema> = {
      get_weather: weather.function.parameters as Schema,
      rate: rate.function.parameters as Schema,
    };
    for (let seed = 0; seed < 24; seed++) {
      const isParallel = seed % 2 === 0;
      const answer = await client.chat.completions.create({
        model: "tiny",
        messages: hello,
        tools: [weather, rate],
        tool_choice: "required",
        parallel_tool_calls: isParallel,
        temperature: 2,
        seed,
        max_tokens: 600,
      });
      const [choice] = answer.choices;
      const calls = choice?.message.tool_calls ?? [];
      if (choice?.finish_reason === "length") continue;
      expect(choice?.finish_reason).toBe("tool_calls");
      expect(choice?.message.content).toBeNull();
      expect(calls.length).toBeGreaterThan(0);
      if (!isParallel) expect(calls.length).toBe(1);
      for (const call of calls) {
        if (call.type !== "function") throw new Error("no function");
        expectValid(schemas[call.function.name] as Schema, call.function.arguments);
      }
    }
  });

  test("several calls, where the model does not end after the first", async () => {
    const request = {
      model: "tiny",
      messages: hello,
      tools: [rate],
      tool_choice: "required" as const,
      // Before so many tokens nothing may end the answer, but what can't go on.
      min_tokens: 100,
      max_tokens: 400,
    };
    const answer = await client.chat.completions.create(request);
    const calls = answer.choices[0]?.message.tool_calls ?? [];
    expect(calls.length).toBeGreaterThan(2);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
    const single = await client.chat.completions.create({ ...request, parallel_tool_calls: false });
    expect(single.choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
    expect(single.choices[0]?.message.tool_calls?.length).toBe(1);
    const final = await client.chat.completions.stream(request).finalChatCompletion();
    const functionsOf = (made: readonly object[]) => made.map((call) => (call as { function: object }).function);
    expect(functionsOf(final.choices[0]?.message.tool_calls ?? [])).toMatchObject(functionsOf(calls));
  });

  test("a named function, streamed and not", async () => {
    const request = {
      model: "tiny",
      messages: question,
      tools: [weather, rate],
      tool_choice: { type: "function" as const, function: { name: "rate" } },
      temperature: 1,
      seed: 7,
    };
    const whole = await client.chat.completions.create(request);
    const [call, ...more] = whole.choices[0]?.message.tool_calls ?? [];
    expect(more).toEqual([]);
    expect(whole.choices[0]?.finish_reason).toBe("tool_calls");
    if (call?.type !== "function") throw new Error("no function");
    expect(call.function.name).toBe("rate");
    expectValid(rate.function.parameters as Schema, call.function.arguments);

    const final = await client.chat.completions.stream(request).finalChatCompletion();
    expect(final.choices[0]?.message.tool_calls?.[0]).toMatchObject({ function: call.function });
    let args = "";
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
      expect(choices[0]?.delta.content ?? "").toBe("");
      for (const delta of choices[0]?.delta.tool_calls ?? []) {
        expect(delta.index).toBe(0);
        args += delta.function?.arguments ?? "";
      }
    }
    expect(args).toBe(call.function.arguments);
  });

  test("tools without parameters, and with marks of calls in their values", async () => {
    const marks = tool("say", {
      type: "object",
      properties: { text: { const: '"</tool_call>\n<tool_call>' } },
      required: ["text"],
    });
    for (const offered of [tool("now"), tool("now", {}), marks]) {
      const answer = await client.chat.completions.create({
        model: "tiny",
        messages: hello,
        tools: [offered],
        tool_choice: "required",
        parallel_tool_calls: false,
        max_tokens: 400,
      });
      const [call] = answer.choices[0]?.message.tool_calls ?? [];
      if (answer.choices[0]?.finish_reason === "length" && offered !== marks) continue;
      expect(call).toMatchObject({ function: { name: offered.function.name } });
      if (offered === marks)
        expect(call).toMatchObject({ function: { arguments: JSON.stringify({ text: '"</tool_call>\n<tool_call>' }) } });
    }
  });

  test("a form and tools: the answer is one or the other", async () => {
    const schema = { type: "object", properties: { answer: { type: "boolean" } }, required: ["answer"] };
    const seen = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const { choices } = await server.chat({
        ...wild(schema, seed),
        temperature: 1.5,
        messages: seed % 2 ? question : hello,
        tools: [rate],
        max_tokens: 400,
      });
      const [choice] = choices;
      seen.add(choice?.finish_reason as string);
      if (choice?.finish_reason === "stop") expectValid(schema, choice.message.content);
    }
    expect([...seen].every((reason) => ["stop", "tool_calls", "length"].includes(reason))).toBe(true);
    expect(seen.has("stop") || seen.has("tool_calls")).toBe(true);
  });

  test("a tool's schema that can't be followed is named, when it has to be", async () => {
    const tools = [rate, tool("f", { type: "object", if: {} })];
    const body = { messages: hello, tools, max_tokens: 20 };
    expect(await errorOf("/v1/chat/completions", { ...body, tool_choice: "required" })).toMatchObject({
      status: 400,
      param: "tools[1].function.parameters",
      code: "unsupported_schema",
    });
    expect((await server.post("/v1/chat/completions", body)).status).toBe(200);
    const named = { type: "function", function: { name: "rate" } };
    expect((await server.post("/v1/chat/completions", { ...body, tool_choice: named })).status).toBe(200);
  });
});
