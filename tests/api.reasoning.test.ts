/**
 * Models that think before they answer: their thoughts are a field of their own, cut anywhere, streamed and not, with forms and calls
 * after them. The models are scripted, with templates by the constructs of Qwen3's and of those that begin the thoughts in the prompt.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import fc from "fast-check";
import { ThinkingParser, type ThinkingPart } from "../src/text/thinking.ts";
import { fixtures } from "./support/command_line.ts";
import { writeScriptedModel } from "./support/scripted_model.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const SAYS = ["<|says|>", "<think>", "\n", "They", " greet", " me.\n", "</think>", "\n\n", "Hel", "lo", " you!"];

/** The same with marks that no token holds alone, and a call. */
const CALLS = [
  ...[
    "<|calls|>",
    "<thi",
    "nk>\nThe weather:",
    " I ask.",
    "\n</th",
    "ink>\n",
    "\n<tool",
    '_call>\n{"name": "get',
    '_weather", "argu',
  ],
  ...['ments": {"', 'city": "Os', 'lo"}}', "\n</tool", "_call>"],
];

const TEMPLATE = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}{% if tools %}<|calls|>{% else %}<|says|>{% endif %}{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% elif effort_shown %}{{ reasoning_effort }}{% elif opens %}<think>
{% endif %}{% endif %}`;

const scratch = mkdtempSync(join(tmpdir(), "reasoning-"));
const directory = join(scratch, "thinker");
const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", WRINKLEFREE_STORE: join(scratch, "store") };

let server: TestServer;
beforeAll(async () => {
  writeScriptedModel(directory, [SAYS, CALLS], TEMPLATE);
  server = await startServer([directory, "--log", "off"], { env });
});
afterAll(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true });
});

const MESSAGES = [{ role: "user", content: "Hello" }];
const TOOLS = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

/** An answer, streamed or not. */
interface Answer {
  content: string | null;
  thoughts: string | undefined;
  calls: { name: string; arguments: string }[];
  reason: string;
}

/** A message, and a piece of one. */
interface Message {
  content?: string | null;
  reasoning_content?: string;
  tool_calls?: { index: number; function: { name?: string; arguments: string } }[];
}

/** An answer that comes whole. */
async function whole(request: object, to = server): Promise<Answer> {
  const { message, finish_reason } = (await to.chat({ messages: MESSAGES, ...request })).choices[0] as unknown as {
    message: Message;
    finish_reason: string;
  };
  return {
    content: message.content as string | null,
    thoughts: message.reasoning_content,
    calls: (message.tool_calls ?? []).map(({ function: called }) => called as Answer["calls"][number]),
    reason: finish_reason,
  };
}

/** The deltas of an answer that is streamed. */
async function deltas(request: object, to = server): Promise<Message[]> {
  const chunks = await to.stream({ messages: MESSAGES, ...request });
  return chunks.map(({ choices }) => (choices[0]?.delta ?? {}) as Message);
}

/** An answer that is streamed, put together. */
async function streamed(request: object, to = server): Promise<Answer> {
  const chunks = await to.stream({ messages: MESSAGES, ...request });
  const answer: Answer = { content: "", thoughts: undefined, calls: [], reason: "" };
  for (const { choices } of chunks) {
    const { delta, finish_reason } = choices[0] as unknown as { delta: Message; finish_reason: string | null };
    answer.content += delta.content ?? "";
    if (delta.reasoning_content !== undefined) answer.thoughts = (answer.thoughts ?? "") + delta.reasoning_content;
    for (const { index, function: called } of delta.tool_calls ?? []) {
      answer.calls[index] ??= { name: called.name as string, arguments: "" };
      (answer.calls[index] as { arguments: string }).arguments += called.arguments;
    }
    answer.reason = finish_reason ?? answer.reason;
  }
  if (answer.content === "" && answer.calls.length > 0) answer.content = null;
  return answer;
}

const HELLO: Answer = { content: "Hello you!", thoughts: "They greet me.", calls: [], reason: "stop" };
const WEATHER: Answer = {
  content: null,
  thoughts: "The weather: I ask.",
  calls: [{ name: "get_weather", arguments: '{"city":"Oslo"}' }],
  reason: "tool_calls",
};

async function promptOf(request: object): Promise<string> {
  const response = await server.post("/apply-template", { messages: MESSAGES, ...request });
  return ((await response.json()) as { prompt: string }).prompt;
}

describe("thoughts", () => {
  test("are beside the content, streamed and not", async () => {
    expect(await whole({})).toEqual(HELLO);
    expect(await streamed({})).toEqual(HELLO);
  });

  test("come in deltas of their own, before those of the content", async () => {
    const pieces = (await deltas({})).map((delta) => Object.keys(delta).join());
    expect(pieces[0]).toBe("role,content");
    expect(pieces.slice(1, -1)).toEqual([...Array(3).fill("reasoning_content"), ...Array(3).fill("content")]);
  });

  test("come before a call", async () => {
    expect(await whole({ tools: TOOLS })).toEqual(WEATHER);
    expect(await streamed({ tools: TOOLS })).toEqual(WEATHER);
  });

  test("wherever the answer is cut, no marks are left, and while it thinks the content is empty", async () => {
    for (const [tools, full] of [
      [undefined, HELLO],
      [TOOLS, WEATHER],
    ] as const) {
      for (let maxTokens = 1; maxTokens <= 15; maxTokens++) {
        const request = { tools, max_tokens: maxTokens };
        const answer = await whole(request);
        expect(await streamed(request)).toEqual(answer);
        if (answer.reason !== "length") expect(answer).toEqual(full);
        expect(full.thoughts).toStartWith(answer.thoughts ?? "");
        expect(full.content ?? "").toStartWith(answer.content ?? "");
        if (answer.thoughts !== full.thoughts) expect(answer.content).toBe("");
        expect(full.calls[0]?.arguments ?? "").toStartWith(answer.calls[0]?.arguments ?? "");
      }
    }
  });

  test("which the prompt has begun are the same", async () => {
    const request = { chat_template_kwargs: { opens: true } };
    expect(await promptOf(request)).toEndWith("<think>\n");
    expect(await whole(request)).toEqual(HELLO);
    expect(await streamed(request)).toEqual(HELLO);
  });

  test("which the last message has begun are continued", async () => {
    const begun = (content: string) => ({ messages: [...MESSAGES, { role: "assistant", content }] });
    expect(await whole(begun("<think>"))).toEqual(HELLO);
    const cut = await whole({ max_tokens: 4 });
    const message = { role: "assistant", content: cut.content, reasoning_content: cut.thoughts };
    expect(await promptOf({ messages: [...MESSAGES, message] })).toEndWith("<think>\nThey greet");
    expect(await whole({ messages: [...MESSAGES, message] })).toEqual({ ...HELLO, thoughts: " me." });
    expect(await whole(begun("<think>\nThey"))).toEqual({ ...HELLO, thoughts: " greet me." });
    expect(await streamed(begun("<think>\nThey greet"))).toEqual({ ...HELLO, thoughts: " me." });
    expect(await whole(begun("<think>\nThey greet me.\n</think>\n\n"))).toEqual({ ...HELLO, thoughts: undefined });
    expect(await whole(begun("Hello lo"))).toEqual({ ...HELLO, content: " you!", thoughts: undefined });
  });

  test("end at a stop string like any text", async () => {
    const request = { stop: " greet" };
    const cut = { content: "", thoughts: "They", calls: [], reason: "stop" };
    expect(await whole(request)).toEqual(cut);
    expect(await streamed(request)).toEqual(cut);
    expect(await whole({ stop: "</think>" })).toEqual({ ...HELLO, content: "" });
    expect(await whole({ stop: "lo" })).toEqual({ ...HELLO, content: "Hel" });
  });

  test("have their log-probabilities among those of the answer, and their number in the usage", async () => {
    const { choices, usage } = (await server.chat({ messages: MESSAGES, logprobs: true })) as unknown as {
      choices: { logprobs: { content: { token: string }[] } }[];
      usage: object;
    };
    const tokens = choices[0]?.logprobs.content.map(({ token }) => token);
    expect(tokens).toEqual(["<think>", "\n", "They", " greet", " me.\n", "</think>", "\n\n", "Hel", "lo", " you!"]);
    expect(usage).toMatchObject({ completion_tokens: 11, completion_tokens_details: { reasoning_tokens: 6 } });
    const streamed = await server.stream({ messages: MESSAGES, stream_options: { include_usage: true } });
    expect(streamed.at(-1)?.usage).toMatchObject({ completion_tokens_details: { reasoning_tokens: 6 } });
  });
});

test("the AI SDK has thoughts for reasoning", async () => {
  const provider = createOpenAICompatible({ name: "wrinklefree", baseURL: `${server.url}/v1` });
  const request = { model: provider("thinker"), prompt: "Hello" };
  const { text, reasoningText, usage } = await generateText(request);
  expect({ text, reasoningText }).toEqual({ text: "Hello you!", reasoningText: "They greet me." });
  expect(usage.outputTokenDetails.reasoningTokens).toBe(6);
  const result = streamText(request);
  const kinds: string[] = [];
  for await (const { type } of result.fullStream) if (type.endsWith("-delta")) kinds.push(type);
  expect(kinds).toEqual([...Array(3).fill("reasoning-delta"), ...Array(3).fill("text-delta")]);
  expect(await result.reasoningText).toBe("They greet me.");
});

describe("thinking is switched", () => {
  test.each([
    { chat_template_kwargs: { enable_thinking: false } },
    { enable_thinking: false },
    { thinking: { type: "disabled" } },
    { reasoning: { enabled: false } },
    { reasoning: { effort: "none" } },
    { reasoning_effort: "none" },
  ])("off by %j", async (request) => {
    expect(await promptOf(request)).toEndWith("<think>\n\n</think>\n\n");
    expect(await whole(request)).toEqual({ ...HELLO, thoughts: undefined });
    expect(await streamed(request)).toEqual({ ...HELLO, thoughts: undefined });
  });

  test.each([
    { enable_thinking: true },
    { thinking: { type: "enabled" } },
    { reasoning: { effort: "low" } },
    { reasoning_effort: "high" },
    { reasoning_effort: "none", chat_template_kwargs: { enable_thinking: true } },
    { thinking: null, reasoning: null, enable_thinking: null },
  ])("on by %j", async (request) => {
    expect(await promptOf(request)).toEndWith("<|says|>");
  });

  test("a template that knows efforts gets them", async () => {
    const chat_template_kwargs = { effort_shown: true };
    expect(await promptOf({ chat_template_kwargs, reasoning_effort: "low" })).toEndWith("low");
    expect(await promptOf({ chat_template_kwargs, reasoning: { effort: "high" } })).toEndWith("high");
  });

  test.each<[object, string]>([
    [{ reasoning: { max_tokens: 100 } }, "reasoning.max_tokens"],
    [{ reasoning: { enabled: "yes" } }, "reasoning.enabled"],
    [{ reasoning: { exclude: 1 } }, "reasoning.exclude"],
    [{ reasoning: { effort: 1 } }, "reasoning.effort"],
    [{ thinking: {} }, "thinking.type"],
    [{ thinking: { type: "on" } }, "thinking.type"],
    [{ thinking: { type: "enabled", budget_tokens: 100 } }, "thinking.budget_tokens"],
    [{ reasoning_format: "deepseek-legacy" }, "reasoning_format"],
  ])("%j is refused by its name", async (request, param) => {
    const response = await server.post("/v1/chat/completions", { messages: MESSAGES, ...request });
    expect(response.status).toBe(400);
    expect(((await response.json()) as { error: { param: string } }).error.param).toBe(param);
  });
});

test("thoughts in the history are handed to the template, under either name", async () => {
  for (const field of ["reasoning_content", "reasoning"]) {
    const assistant = { role: "assistant", content: "Hello you!", [field]: "They greet me." };
    expect(await promptOf({ messages: [...MESSAGES, assistant, ...MESSAGES] })).toContain(
      "assistant\n<think>\nThey greet me.\n</think>\n\nHello you!<|im_end|>",
    );
  }
});

describe("a form", () => {
  const response_format = {
    type: "json_schema",
    json_schema: {
      name: "x",
      schema: { type: "object", properties: { ok: { const: true } }, required: ["ok"], additionalProperties: false },
    },
  };

  test.each<[string, object, string | undefined]>([
    ["after thoughts", {}, "They greet me."],
    ["after thoughts that the prompt has begun", { opens: true }, "They greet me."],
    ["at once, where the prompt has none", { enable_thinking: false }, undefined],
  ])("begins %s", async (_, chat_template_kwargs, thoughts) => {
    const request = { response_format, chat_template_kwargs, max_tokens: 50 };
    const answer = await whole(request);
    expect({ ...answer, content: (answer.content as string).replace(" ", "") }).toEqual({
      content: '{"ok":true}',
      thoughts,
      calls: [],
      reason: "stop",
    });
    expect(await streamed(request)).toEqual(answer);
  });

  test("of calls that are required comes after thoughts", async () => {
    const request = { tools: TOOLS, tool_choice: "required", parallel_tool_calls: false };
    expect(await whole(request)).toEqual(WEATHER);
    expect(await streamed(request)).toEqual(WEATHER);
  });
});

describe("where thoughts go", () => {
  const text = { ...HELLO, content: "<think>\nThey greet me.\n</think>\n\nHello you!", thoughts: undefined };

  test.each<[object, Answer]>([
    [{ reasoning_format: "none" }, text],
    [{ separate_reasoning: false }, text],
    [{ reasoning_format: "deepseek" }, HELLO],
    [{ reasoning_format: "auto", include_reasoning: true, separate_reasoning: true }, HELLO],
    [{ include_reasoning: false }, { ...HELLO, thoughts: undefined }],
    [{ reasoning: { exclude: true } }, { ...HELLO, thoughts: undefined }],
  ])("by %j", async (request, wanted) => {
    expect(await whole(request)).toEqual(wanted);
    expect(await streamed(request)).toEqual(wanted);
  });

  test("serve --reasoning-format none: into the text, unless a request says otherwise", async () => {
    const other = await startServer([directory, "--log", "off", "--reasoning-format", "none"], { env });
    try {
      expect(await whole({}, other)).toEqual(text);
      expect(await streamed({ reasoning_format: "auto" }, other)).toEqual(HELLO);
    } finally {
      await other.stop();
    }
  });
});

describe("with Qwen3's template", () => {
  const CALL = [
    "\n\n",
    "<tool",
    '_call>\n{"name": "get',
    '_weather"',
    ', "arguments":',
    ' {"city',
    '": "Os',
    'lo"}}',
    "\n</tool_call>",
  ];
  const QWEN = ["assistant\n", "<think>", "\nThe weather:", " I ask.", "\n</think>", ...CALL];
  const directory = join(scratch, "qwen");
  let qwen: TestServer;
  beforeAll(async () => {
    const template = readFileSync(join(fixtures, "jinja/templates/qwen3.jinja"), "utf8");
    writeScriptedModel(directory, [QWEN], template);
    qwen = await startServer([directory, "--log", "off"], { env });
  });
  afterAll(() => qwen?.stop());

  test("thoughts and a call, and the call alone where thinking is off", async () => {
    for (const answer of [whole, streamed]) {
      expect(await answer({ tools: TOOLS }, qwen)).toEqual(WEATHER);
      const off = { tools: TOOLS, reasoning_effort: "none" };
      expect(await answer(off, qwen)).toEqual({ ...WEATHER, thoughts: undefined });
    }
  });

  test("wherever the answer is cut, sending it back gives the rest of the thoughts and the whole of the call", async () => {
    for (let maxTokens = 2; maxTokens <= 11; maxTokens++) {
      const cut = await whole({ tools: TOOLS, max_tokens: maxTokens }, qwen);
      expect(cut.reason).toBe("length");
      const { content, thoughts = "", calls } = cut;
      const tool_calls = calls.map((called, i) => ({ id: String(i), type: "function", function: called }));
      const message = { role: "assistant", content, reasoning_content: thoughts, tool_calls };
      // Once the call is complete, nothing of it is to be continued.
      if (calls[0]?.arguments === '{"city":"Oslo"}') continue;
      const rest = await whole({ tools: TOOLS, messages: [...MESSAGES, message] }, qwen);
      expect(rest.calls).toEqual(WEATHER.calls);
      expect(rest.reason).toBe("tool_calls");
      if (thoughts !== "") expect(thoughts + (rest.thoughts ?? "")).toBe(WEATHER.thoughts as string);
    }
  });

  test("thoughts, a call and its result in the history are as the model would have written them", async () => {
    const called = { id: "1", type: "function", function: WEATHER.calls[0] };
    const messages = [
      ...MESSAGES,
      { role: "assistant", content: null, reasoning_content: WEATHER.thoughts, tool_calls: [called] },
      { role: "tool", tool_call_id: "1", content: "9" },
    ];
    const response = await qwen.post("/apply-template", { messages, tools: TOOLS });
    expect(((await response.json()) as { prompt: string }).prompt).toEndWith(
      `<|im_start|>${QWEN.join("")}<|im_end|>\n` +
        "<|im_start|>user\n<tool_response>\n9\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    );
  });
});

test("a vocabulary may have the marks as control tokens", async () => {
  const marks = ["<think>", "</think>", "<tool_call>", "</tool_call>"];
  const call = ["<tool_call>", '\n{"name": "get_weather", ', '"arguments": {"city": "Oslo"}}\n', "</tool_call>"];
  const script = ["<|says|>", "<think>", "\n", "The weather: I ask.", "</think>", "\n\n", ...call];
  const marked = join(scratch, "marked");
  writeScriptedModel(marked, [script], "{{ tools }}{{ '</think>' in messages[-1].content }}<|says|>", marks);
  const other = await startServer([marked, "--log", "off"], { env });
  try {
    expect(await whole({ tools: TOOLS }, other)).toEqual(WEATHER);
    const formed = { tools: TOOLS, tool_choice: "required", parallel_tool_calls: false };
    expect(await whole(formed, other)).toEqual(WEATHER);
  } finally {
    await other.stop();
  }
});

describe("the parser of thoughts", () => {
  /** Thoughts and answer, for any way of cutting a text. */
  function parse(text: string, cuts: number[] = [], begun = "", isCut = false): { thinking: string; answer: string } {
    const parser = new ThinkingParser(true);
    parser.continueFrom(begun);
    const places = [...new Set([0, ...cuts.map((cut) => cut % (text.length + 1)), text.length])].sort((a, b) => a - b);
    const joined = { thinking: "", answer: "" };
    const add = (parts: ThinkingPart[]) => {
      for (const part of parts) joined[part.kind] += part.text;
    };
    for (let i = 1; i < places.length; i++) add(parser.push(text.slice(places[i - 1], places[i])));
    add(parser.finish(isCut));
    return joined;
  }

  test.each<[string, string, string, string]>([
    ["none", " a </think> b ", "", " a </think> b "],
    ["some", "\n<think>\n a\n b \n</think>\n\nc \n", "a\n b", "c \n"],
    ["empty ones", "<think>\n\n</think>\n\nc", "", "c"],
    ["ones without an end", "<think> a </thin", "a </thin", ""],
    ["only the beginning of a mark", " <thin", "", " <thin"],
    ["again and at once", "<think>\n\n</think>\n\n<think>a</think> <think> b</think>\n c", "a\n\nb", "c"],
    ["a second time", "<think>a</think>b<think>c</think>", "a", "b<think>c</think>"],
    ["nothing", "", "", ""],
    ["white space", " \n", "", " \n"],
  ])("%s", (_, text, thinking, answer) => {
    expect(parse(text)).toEqual({ thinking, answer });
  });

  test("however the text is cut into pieces, the parts are the same", () => {
    const piece = fc.constantFrom("a", " ", "\n", "<", "<think>", "</think>", "</", "🚀");
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(text, fc.array(fc.nat({ max: 80 })), (answer, cuts) => {
        expect(parse(answer, cuts)).toEqual(parse(answer));
      }),
      { numRuns: 2000 },
    );
  });

  test("wherever it is cut off, no part of a mark is left", () => {
    const text = "<think>\na b\n</think>\n\nc";
    for (let length = 1; length <= text.length; length++) {
      const { thinking, answer } = parse(text.slice(0, length), [], "", true);
      expect("a b").toStartWith(thinking);
      expect("c").toStartWith(answer);
    }
  });

  test("wherever a message breaks off, the rest is the rest", () => {
    const text = "<think>\na b\n</think>\n\nc";
    for (let length = 0; length <= text.length; length++) {
      const { thinking, answer } = parse(text.slice(length), [], text.slice(0, length));
      expect("a b").toEndWith(thinking);
      expect(answer).toBe(length < text.length ? "c" : "");
    }
    expect(parse("ing goes on", [], "<think>a </think")).toEqual({ thinking: "ing goes on", answer: "" });
  });
});
