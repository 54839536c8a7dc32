/** Digits and order of what a request says in JSON reach the grammar and the prompt, where JavaScript's own values would lose them. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeScriptedModel } from "./support/scripted_model.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

/** Sends a body as text. @returns the answer as text, since its digits count as well. */
async function answerOf(path: string, body: string, to = server): Promise<string> {
  const response = await to.post(path, body);
  const text = await response.text();
  expect([response.status, text]).toEqual([200, text]);
  return text;
}

/** The text of an answer by a schema. */
async function contentBy(schema: string, seed = 0): Promise<string> {
  const body = `{"messages":[{"role":"user","content":"Hello"}],"temperature":2,"seed":${seed},"max_tokens":500,
    "response_format":{"type":"json_schema","json_schema":{"name":"x","schema":${schema}}}}`;
  const { choices } = JSON.parse(await answerOf("/v1/chat/completions", body));
  expect(choices[0].finish_reason).toBe("stop");
  return choices[0].message.content;
}

const ORDERED = `{"type":"object","properties":{"10":{"const":1},"2":{"const":{"7":1,"b":2,"3":4}},"a":{"$ref":"#/$defs/1"}},
  "required":["2","10","a"],"additionalProperties":false,"$defs":{"z":false,"1":{"const":"x"}}}`;
const IN_ORDER = '{"10":1,"2":{"7":1,"b":2,"3":4},"a":"x"}';

test("properties and constants come in the order in which they are declared, also those whose names are numbers", async () => {
  for (let seed = 0; seed < 5; seed++) expect((await contentBy(ORDERED, seed)).replaceAll(" ", "")).toBe(IN_ORDER);
  const merged = `{"allOf":[${ORDERED.replace(/,\s*"\$defs".*/s, "}")}],"$defs":{"1":{"const":"x"}}}`;
  expect((await contentBy(merged)).replaceAll(" ", "")).toBe(IN_ORDER);
});

test("the same of a schema that is sent as text", async () => {
  const wanted = JSON.stringify(ORDERED);
  const body = `{"text":"x","sampling_params":{"max_new_tokens":200,"json_schema":${wanted}}}`;
  expect(JSON.parse(await answerOf("/generate", body)).text.replaceAll(" ", "")).toBe(IN_ORDER);
});

test("constants keep their digits", async () => {
  const values = ["12345678901234567890", "1.50", "-0.10e+2", "123456789012345678901234567890.125", '"a"', "7"];
  const seen = new Set<string>();
  for (let seed = 0; seed < 40; seed++) seen.add(await contentBy(`{"enum":[${values.join()}]}`, seed));
  expect([...seen].filter((text) => !values.includes(text))).toEqual([]);
  expect(seen.size).toBeGreaterThan(3);
  expect(await contentBy('{"const":[18446744073709551615,{"1":1.0}]}')).toMatch(
    /^\[18446744073709551615, ?\{"1": ?1\.0\}\]$/,
  );
  expect(await contentBy('{"type":"integer","enum":[1.5,100000000000000000001,"a"]}')).toBe("100000000000000000001");
});

test("bounds of integers are exact beyond 2^53", async () => {
  const cases: [string, (value: bigint) => boolean][] = [
    ['"minimum":9223372036854775806,"maximum":9223372036854775807', (n) => n >= 2n ** 63n - 2n && n < 2n ** 63n],
    ['"exclusiveMinimum":18446744073709551613,"exclusiveMaximum":18446744073709551615', (n) => n === 2n ** 64n - 2n],
    ['"minimum":-9223372036854775808,"maximum":-9223372036854775807', (n) => n <= 1n - 2n ** 63n && n >= -(2n ** 63n)],
    ['"minimum":9007199254740993,"multipleOf":2', (n) => n > 2n ** 53n + 1n && n % 2n === 0n],
    ['"maximum":-1e20', (n) => n <= -(10n ** 20n)],
    ['"minimum":0,"maximum":340282366920938463463374607431768211455', (n) => n >= 0n && n < 2n ** 128n],
  ];
  for (const [bounds, isRight] of cases) {
    for (let seed = 0; seed < 4; seed++) {
      const text = await contentBy(`{"type":"integer",${bounds}}`, seed);
      expect([bounds, text, isRight(BigInt(text))]).toEqual([bounds, text, true]);
    }
  }
});

test("alternatives that are one number in two spellings are not told apart", async () => {
  const body = `{"messages":[{"role":"user","content":"x"}],"guided_json":{"oneOf":[{"const":1},{"const":1.0}]}}`;
  const response = await server.post("/v1/chat/completions", body);
  expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([
    400,
    "unsupported_schema",
  ]);
});

test("tools: the order of their parameters in the prompt, and the digits of their arguments", async () => {
  const tools = `[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":
    {"b":{"const":1.0},"10":{"const":12345678901234567890},"2":{"type":"null"}},"required":["b","10","2"]}}}]`;
  const messages = '"messages":[{"role":"user","content":"Hello"}]';
  const { prompt } = JSON.parse(await answerOf("/apply-template", `{${messages},"tools":${tools}}`));
  expect(prompt).toContain("f(b, 10, 2)");
  const body = `{${messages},"tools":${tools},"tool_choice":"required","parallel_tool_calls":false,"max_tokens":300}`;
  const { choices } = JSON.parse(await answerOf("/v1/chat/completions", body));
  const [call] = choices[0].message.tool_calls;
  expect(call.function.arguments.replaceAll(" ", "")).toBe('{"b":1.0,"10":12345678901234567890,"2":null}');
});

test("templates get tools, the arguments of calls and their own variables as they were written", async () => {
  const directory = mkdtempSync(join(tmpdir(), "wrinklefree-exact-"));
  const template =
    "{% for tool in tools or [] %}{{ tool.function.parameters | tojson }}{% endfor %} " +
    "{% for message in messages %}{% for call in message.tool_calls or [] %}{{ call.function.arguments | tojson }}" +
    "{% endfor %}{% endfor %} {{ size }}";
  writeScriptedModel(directory, [["a", "b"]], template);
  const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", WRINKLEFREE_STORE: join(directory, "store") };
  const other = await startServer([directory, "--log", "off"], { env });
  try {
    const parameters =
      '{"type": "object", "properties": {"10": {"minimum": 1.0}, "2": {"maximum": 12345678901234567890}}}';
    const args = '{"b": 1.0, "10": 9007199254740993, "2": []}';
    const call = `{"id":"c","type":"function","function":{"name":"f","arguments":${JSON.stringify(args)}}}`;
    const { prompt } = JSON.parse(
      await answerOf(
        "/apply-template",
        `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"","tool_calls":[${call}]},
          {"role":"tool","tool_call_id":"c","content":"y"}],
          "tools":[{"type":"function","function":{"name":"f","parameters":${parameters}}}],
          "chat_template_kwargs":{"size":3.0}}`,
        other,
      ),
    );
    expect(prompt).toBe(`${parameters} ${args} 3.0`);
  } finally {
    await other.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});
