/**
 * The text layer: prompts in, ids out, and back. What the goldens of the trained model say, what properties hold for any text and
 * any way of cutting it into pieces, and what hostile templates and texts may cost.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { readGenerationParameters } from "../src/api/sampling.ts";
import type { EngineEvent } from "../src/engine/events.ts";
import { defaultSampling } from "../src/engine/sampling.ts";
import { Failure } from "../src/errors.ts";
import { JsonNumber } from "../src/json.ts";
import { ChatTemplate, type TemplateMessage } from "../src/text/chat_template.ts";
import { Detokenizer } from "../src/text/detokenizer.ts";
import { generate } from "../src/text/generation.ts";
import { TemplateError } from "../src/text/jinja/errors.ts";
import { StopStrings } from "../src/text/stop_strings.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { decodeAll } from "./support/decoding.ts";
import { goldens, readAssets, tinyDirectory } from "./support/goldens.ts";

setDefaultTimeout(60_000);

const assets = readAssets(tinyDirectory);
const tokenizer = Tokenizer.fromAssets(assets, "tiny", 2048);
const template = ChatTemplate.fromAssets(assets, tokenizer, "tiny");
const ANY = 10_000_000;

async function encode(text: string): Promise<number[]> {
  const encoding = await tokenizer.encode(text, ANY);
  if (!("ids" in encoding)) throw new Error("too long");
  return encoding.ids;
}

const decode = (ids: readonly number[]) => decodeAll(tokenizer, ids);

/** Texts with all that makes tokenizers and decoders stumble. */
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc
    .array(
      fc.constantFrom(
        "word",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "1",
        "2345",
        "é",
        "日本",
        "🚀",
        "👩‍👩‍👧",
        "'s",
        "'LL",
        "—",
        "a",
        "\0",
        "\ufeff",
      ),
    )
    .map((parts) => parts.join("")),
);

describe("tokenizer", () => {
  test("texts have the ids of the goldens", async () => {
    for (const { text, ids } of goldens.tokenizer) expect(await encode(text)).toEqual(ids);
  });

  test("prompts have the ids of the goldens, without a second beginning-of-text", async () => {
    for (const { prompt, prompt_ids } of goldens.chat) expect(await encode(prompt)).toEqual(prompt_ids);
  });

  test("any text survives the way to ids and back", async () => {
    await fc.assert(
      fc.asyncProperty(anyText, async (text) => {
        expect(decode(await encode(text))).toBe(text.toWellFormed());
      }),
      { numRuns: 500 },
    );
  });

  test("a text that can't fit is given up before it is encoded", async () => {
    const encoding = await tokenizer.encode("a".repeat(5_000_000), 2047);
    expect(encoding).toEqual({ tooLong: expect.any(Number), isExact: false });
    expect((encoding as { tooLong: number }).tooLong).toBeGreaterThan(2047);
  });

  test("a text that is a little too long is counted", async () => {
    expect(await tokenizer.encode("word ".repeat(100), 50)).toEqual({
      tooLong: (await encode("word ".repeat(100))).length,
      isExact: true,
    });
  });

  test("a file that is no tokenizer, or none that is known, is one clear line", () => {
    const broken = (json: string) => () =>
      Tokenizer.fromAssets(new Map([["tokenizer.json", Buffer.from(json)]]), "model.wf", 2048);
    expect(broken("{")).toThrow(Failure);
    expect(broken("{}")).toThrow(/^model\.wf: /);
    expect(broken('{"model":{"type":"Unigram","vocab":[]}}')).toThrow(
      "model.wf: tokenizer.json: model type Unigram is not supported",
    );
    expect(() => Tokenizer.fromAssets(new Map(), "model.wf", 2048)).toThrow("model.wf: no tokenizer.json inside");
  });

  test("a vocabulary of the SentencePiece kind reads back too", () => {
    const vocab = { "<unk>": 0, "<0xF0>": 1, "<0x9F>": 2, "<0x9A>": 3, "<0x80>": 4, "▁Hello": 5, "▁": 6 };
    const description = {
      added_tokens: [{ id: 0, content: "<unk>", special: true }],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: { type: "BPE", vocab, merges: [], byte_fallback: true },
    };
    const other = Tokenizer.fromAssets(
      new Map([["tokenizer.json", Buffer.from(JSON.stringify(description))]]),
      "other",
      7,
    );
    const detokenizer = new Detokenizer(other);
    expect([5, 0, 1, 2, 3, 4, 6].map((id) => detokenizer.push(id))).toEqual([" Hello", "", "", "", "", "🚀", " "]);
  });
});

describe("detokenizer", () => {
  test("greedy ids have the goldens' text, without the token that ends it", () => {
    for (const { greedy_ids, greedy_text } of goldens.chat) expect(decode(greedy_ids)).toBe(greedy_text);
  });

  test("pieces are whole characters and their sum is the text of all bytes at once", () => {
    // Any ids at all: most of these sequences are invalid UTF-8 somewhere.
    const ids = fc.array(fc.oneof(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 2039 })));
    fc.assert(
      fc.property(ids, (list) => {
        const detokenizer = new Detokenizer(tokenizer);
        const pieces = [...list.map((id) => detokenizer.push(id)), detokenizer.finish()];
        for (const piece of pieces) expect(piece.isWellFormed()).toBe(true);
        const bytes = Buffer.concat(list.map((id) => tokenizer.bytes(id)));
        expect(pieces.join("")).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  test("a character that never ends becomes U+FFFD", () => {
    const ids = [172, 253, 248, 222]; // the four bytes of a rocket
    const detokenizer = new Detokenizer(tokenizer);
    expect(ids.map((id) => detokenizer.push(id))).toEqual(["", "", "", "🚀"]);
    expect(decode(ids.slice(0, 3))).toBe("\ufffd");
  });

  test("ids outside the vocabulary have no text", () => {
    expect(decode([999_999, 51])).toBe("T");
  });
});

describe("stop strings", () => {
  /** What the words say: the text before the first place at which a stop string begins. */
  function cut(text: string, stops: readonly string[]): string {
    const places = stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    return places.length === 0 ? text : text.slice(0, Math.min(...places));
  }

  /** Few letters, so that stop strings occur, overlap and nearly occur. */
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "🚀", " "), maxLength: 40 });
  const stopList = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "🚀", " "), minLength: 1, maxLength: 6 }), {
    maxLength: 4,
  });

  test("whatever the pieces, the text is that of the whole, cut at the earliest stop; nothing leaks", () => {
    fc.assert(
      fc.property(letters, stopList, fc.array(fc.nat({ max: 40 })), (text, stops, cuts) => {
        const wanted = cut(text, stops);
        const matcher = new StopStrings(stops);
        let out = "";
        for (const piece of pieces(text, cuts)) {
          if (matcher.found) break;
          out += matcher.push(piece);
          // Whatever is out is right already: a stream can't take anything back.
          expect(wanted.startsWith(out)).toBe(true);
        }
        out += matcher.finish();
        expect(out).toBe(wanted);
        expect(matcher.found !== undefined).toBe(wanted.length < text.length);
      }),
      { numRuns: 5000 },
    );
  });

  test("text that can't be part of a stop string isn't held back", () => {
    const matcher = new StopStrings(["<end>"]);
    expect(matcher.push("Hello <")).toBe("Hello ");
    expect(matcher.push("en")).toBe("");
    expect(matcher.push("x")).toBe("<enx");
  });

  test("a stop string that begins inside another one waits for it", () => {
    const matcher = new StopStrings(["abcd", "bc"]);
    expect(matcher.push("xabc")).toBe("x");
    expect(matcher.found).toBeUndefined();
    expect(matcher.push("e")).toBe("a");
    expect(matcher.found).toBe("bc");
  });

  test("long stop strings that the text repeats, and ones far longer than the text", () => {
    const long = `${"ab".repeat(5000)}c`;
    const matcher = new StopStrings([long, "x".repeat(8_000_000)]);
    const text = `${"ab".repeat(7000)}c!`;
    let out = "";
    for (let i = 0; i < text.length && matcher.found === undefined; i += 7) out += matcher.push(text.slice(i, i + 7));
    expect(out).toBe("ab".repeat(2000));
    expect(matcher.found).toBe(long);
  });

  test("half a character never stops an answer", () => {
    const context = { vocabularySize: 1, context: 1, defaultTemperature: 0 };
    const matcher = new StopStrings(readGenerationParameters({ stop: "\ud83d" }, context).text.stops);
    expect(matcher.push("🚀") + matcher.finish()).toBe("🚀");
  });

  function pieces(text: string, cuts: readonly number[]): string[] {
    const places = [0, ...cuts.filter((place) => place < text.length).sort((a, b) => a - b), text.length];
    return places.slice(1).map((place, i) => text.slice(places[i], place));
  }
});

describe("an answer", () => {
  /** An engine that writes these tokens, and counts those that were taken. */
  function scripted(ids: readonly number[]) {
    const engine = {
      taken: 0,
      async *generate(): AsyncGenerator<EngineEvent> {
        for (const token of ids) {
          engine.taken++;
          yield { kind: "token", token, logprob: -1, top: [], elapsedMs: engine.taken };
        }
        yield { kind: "done", reason: "length", elapsedMs: ids.length };
      },
    };
    return engine;
  }

  /** Tokens of the vocabulary, of which many are single bytes, and parts of characters with them. */
  const anyIds = fc.array(fc.nat(2047), { maxLength: 30 });
  /** Where in the text stop strings are taken from, and how long they are. */
  const places = fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 8 })), { maxLength: 3 });

  test("whatever the tokens and the stop strings, its text is all tokens' text, cut; tokens never run ahead", async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyIds, anyText), places, async (from, taken) => {
        const ids = typeof from === "string" ? await encode(from) : from;
        const whole = decode(ids);
        const stops = taken.map(([at, length]) => whole.slice(at, at + length).toWellFormed());
        const useful = stops.filter((stop) => stop !== "");
        const found = useful.map((stop) => whole.indexOf(stop)).filter((place) => place >= 0);
        const wanted = found.length === 0 ? whole : whole.slice(0, Math.min(...found));
        const engine = scripted(ids);
        const request = {
          prompt: [1],
          sampling: { ...defaultSampling(100), logprobs: true, ignoreEos: true },
          stops: useful,
          signal: new AbortController().signal,
        };
        let text = "";
        const tokens: number[] = [];
        let reason = "";
        for await (const event of generate({ engine, tokenizer, config: { eosTokenIds: [] } }, request)) {
          if (event.kind === "end") reason = event.reason;
          if (event.kind !== "text") continue;
          expect(event.text.isWellFormed()).toBe(true);
          text += event.text;
          tokens.push(...event.tokens.map(({ token }) => token));
          expect(wanted).toStartWith(text);
        }
        expect([text, reason]).toEqual([wanted, found.length === 0 ? "length" : "stop"]);
        expect(ids.slice(0, tokens.length)).toEqual(tokens);
        expect(wanted).toStartWith(decode(tokens).replace(/\ufffd+$/, ""));
        if (found.length === 0) expect([tokens.length, engine.taken]).toEqual([ids.length, ids.length]);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("chat template", () => {
  test("messages have the prompts of the goldens", () => {
    for (const { messages, prompt } of goldens.chat) expect(template.render(messages)).toBe(prompt);
  });

  test("models without a template have the format of BitNet-b1.58-2B-4T", () => {
    const fallback = new ChatTemplate(undefined, tokenizer, "tiny");
    for (const { messages, prompt } of goldens.chat) expect(fallback.render(messages)).toBe(prompt);
  });

  const configured = (chat_template: unknown) => ({ "tokenizer_config.json": JSON.stringify({ chat_template }) });
  const both = [
    { name: "tool_use", template: "tools" },
    { name: "default", template: "chat" },
  ];
  test.each([
    ["one template in tokenizer_config.json", configured("chat"), ["chat", "chat"]],
    ["a list of them", configured(both), ["chat", "tools"]],
    ["an object of them", configured({ tool_use: "tools", rag: "no", default: "chat" }), ["chat", "tools"]],
    ["a list without a default", configured([{ name: "rag", template: "first" }]), ["first", "first"]],
    ["chat_template.jinja before the others", { ...configured(both), "chat_template.jinja": "file" }, ["file", "file"]],
    [
      "a template for tools in a directory",
      { "chat_template.jinja": "file", "additional_chat_templates/tool_use.jinja": "more" },
      ["file", "more"],
    ],
    ["chat_template.json", { "chat_template.json": '{"chat_template": "json"}' }, ["json", "json"]],
    [
      "chat_template.json after the others",
      { ...configured("chat"), "chat_template.json": '{"chat_template": "json"}' },
      ["chat", "chat"],
    ],
  ] as [string, Record<string, string>, [string, string]][])("templates are found: %s", (_, files, wanted) => {
    const notices: string[] = [];
    const found = new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]));
    const made = ChatTemplate.fromAssets(found, tokenizer, "m", {}, (notice) => notices.push(notice));
    const messages = [{ role: "user", content: "x" }];
    expect([made.render(messages), made.render(messages, { tools: [{}] })]).toEqual(wanted);
    expect(made.takesTools).toBe(wanted[0] !== wanted[1]);
    expect(notices).toEqual([]);
  });

  test.each([
    ["chat_template.json", "{", "m: chat_template.json: it is not JSON"],
    ["chat_template.json", "[]", "m: chat_template.json: it is not a JSON object"],
    ["chat_template.json", '{"chat_template": 5}', "m: chat_template.json: chat_template: a text is needed"],
    [
      "tokenizer_config.json",
      '{"chat_template": [{"template": "x"}]}',
      "m: tokenizer_config.json: chat_template: a text",
    ],
    ["chat_template.jinja", Buffer.from([0xff]), "m: chat_template.jinja: it is not UTF-8"],
    ["additional_chat_templates/tool_use.jinja", Buffer.from([0xff]), "tool_use.jinja: it is not UTF-8"],
  ])("%s that is none is refused: %j", (file, text, message) => {
    const make = () => ChatTemplate.fromAssets(new Map([[file, Buffer.from(text)]]), tokenizer, "m");
    expect(make).toThrow(Failure);
    expect(make).toThrow(message);
  });

  test("a missing template is told", () => {
    const notices: string[] = [];
    ChatTemplate.fromAssets(new Map(), tokenizer, "m", {}, (notice) => notices.push(notice));
    expect(notices).toEqual([expect.stringContaining("there is no chat template")]);
  });

  test("templates see the date of the request, or the one that is given", () => {
    const source = "{{ strftime_now('%Y-%m-%d %H:%M') }}";
    const messages = [{ role: "user", content: "x" }];
    const date = new Date("2024-02-29T00:00:00Z");
    expect(new ChatTemplate(source, tokenizer, "m", { date }).render(messages)).toBe("2024-02-29 00:00");
    const before = Date.now();
    const seen = Date.parse(`${new ChatTemplate(source, tokenizer, "m").render(messages).replace(" ", "T")}:00Z`);
    expect(seen).toBeWithin(before - 60_000, Date.now() + 1);
  });

  const calls = (written: string) =>
    `{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}${written}{% endfor %}{{ m.content }}{% endfor %}{{ tools }}`;
  test.each([
    ["as JSON of its own", calls("{{ c.function.arguments | tojson }}"), false, ""],
    ["one by one", calls("{% for k, v in c.function.arguments.items() %}{{ k }}: {{ v }}{% endfor %}"), false, ""],
    ["as they are", calls("{{ c.function.arguments }}"), true, ""],
    ["added to other text", calls("{{ '(' + c.function.arguments + ')' }}"), true, ""],
    [
      "whatever they are",
      calls("{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}"),
      true,
      "",
    ],
    [
      "in messages without content",
      `{% for m in messages %}{% if m.content is none %}${"{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments }}{% endfor %}"}{% endif %}{% endfor %}`,
      true,
      null,
    ],
    ["not at all", "{% for m in messages %}{{ m.content }}{% endfor %}", false, ""],
  ] as [string, string, boolean, "" | null][])(
    "templates that write arguments %s get them so",
    (_, source, text, empty) => {
      expect(new ChatTemplate(source, tokenizer, "m").callForm).toEqual({
        argumentsAreText: text,
        emptyContent: empty,
      });
    },
  );

  test("a last message of the assistant is continued, whatever the template puts after messages", () => {
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: " The capital is " },
    ];
    expect(template.render(messages)).toBe("<|begin_of_text|>User: Hi<|eot_id|>Assistant: The capital is ");
    const chatml =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}the end";
    const other = new ChatTemplate(chatml, tokenizer, "m");
    expect(other.render(messages)).toBe("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n The capital is ");
    const deaf = new ChatTemplate("nothing of it", tokenizer, "m");
    expect(() => deaf.render(messages)).toThrow(TemplateError);
  });

  test("what a template refuses is said in its words", () => {
    const strict =
      "{% if messages[0].role != 'user' %}{{ raise_exception('the user speaks first') }}{% endif %}{{ messages[0].content }}";
    const refusing = new ChatTemplate(strict, tokenizer, "m");
    expect(refusing.render([{ role: "user", content: "x" }])).toBe("x");
    expect(() => refusing.render([{ role: "system", content: "x" }])).toThrow(
      new TemplateError("the user speaks first"),
    );
  });

  const user = [{ role: "user", content: "a" }];
  /** `x.s` becomes so many a's. */
  const letters = (doublings: number) =>
    `{% set x = namespace(s='a') %}{% for i in range(${doublings}) %}{% set x.s = x.s + x.s %}{% endfor %}`;
  const nested = "{% set x = namespace(s=[1]) %}{% for i in range(60) %}{% set x.s = [x.s, x.s] %}{% endfor %}";
  test.each([
    ["a long loop", "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}", "steps"],
    ["loops over nothing", "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "steps"],
    ["long lists, again and again", "{% for i in range(90000) %}{% set x = range(90000) %}{% endfor %}", "steps"],
    [
      "searching long lists",
      "{% set x = range(90000) %}{% for i in range(90000) %}{% if -1 in x %}{% endif %}{% endfor %}",
      "steps",
    ],
    [
      "long texts, again and again",
      `${letters(19)}{% for i in range(90000) %}{% set y = x.s | upper %}{% endfor %}`,
      "steps",
    ],
    [
      "attributes of long ranges",
      "{% set x = range(100000) %}{% for i in range(90000) %}{{ x.y }}{{ x.count }}{% endfor %}",
      "steps",
    ],
    [
      "the first word of many",
      "{% set x = 'a ' * 499999 %}{% for i in range(90000) %}{% set y = x.split(none, 1) %}{% endfor %}",
      "steps",
    ],
    [
      "the last word of many",
      "{% set x = 'a ' * 499999 %}{% for i in range(90000) %}{% set y = x.rsplit(none, 1) %}{% endfor %}",
      "steps",
    ],
    ["a long list", "{{ range(1000000000) | length }}", "Range too big"],
    ["an endless list", "{{ range(0, 10, 0) | length }}", "range()"],
    [
      "doubling lists",
      "{% set x = namespace(s=[1]) %}{% for i in range(60) %}{% set x.s = x.s + x.s %}{% endfor %}",
      "elements",
    ],
    ["doubling", letters(60), "characters"],
    ["replacing each letter by many", `${letters(16)}{{ x.s | replace('a', x.s) }}`, "characters"],
    ["the same as a method", `${letters(16)}{{ x.s.replace('a', x.s) }}`, "characters"],
    ["a long separator", `${letters(16)}{{ range(90000) | join(x.s) }}`, "characters"],
    ["a wide indent", "{{ messages[0].content | indent(1000000000, first=true) }}", "characters"],
    ["a wide indent in JSON", "{{ range(1000) | list | tojson(indent=1000000) }}", "characters"],
    ["lists of lists as JSON", `${nested}{{ x.s | tojson }}`, "steps"],
    ["lists of lists as text", `${nested}{{ x.s }}`, "steps"],
    ["lists of lists with a text", `${nested}{% set y = 'a' ~ x.s %}`, "steps"],
    ["endless recursion", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "levels deep"],
    ["a loop without end", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "levels deep"],
    ["a text times a thousand million", "{{ 'x' * 10**9 }}", "characters"],
    ["a list times a thousand million", "{{ [1] * 10**9 }}", "elements"],
    ["a power with many digits", "{{ 10 ** (10 ** 8) }}", "bits"],
    [
      "squaring on and on",
      "{% set x = namespace(n=3) %}{% for i in range(60) %}{% set x.n = x.n * x.n %}{% endfor %}",
      "bits",
    ],
    ["a number too long to be read", "{{ ('9' * 100000) | int }}", "infinity"],
    [
      "title case, again and again",
      `${letters(19)}{% for i in range(2000) %}{% set y = x.s | title %}{% endfor %}`,
      "steps",
    ],
    // One of these, or a few, are work enough to be stopped.
    ["title case of letters", `${letters(19)}{{ x.s.title() | length }}`, "steps"],
    ["lines of words", `${letters(19)}{{ x.s | wordwrap(20) | length }}`, "steps"],
    ["counting", `${letters(19)}{% for i in range(8) %}{% set y = x.s.count('aa') %}{% endfor %}`, "steps"],
    ["quoting", `${letters(19)}{% for i in range(9) %}{% set y = [x.s] | string %}{% endfor %}`, "steps"],
    ["dates", "{% for i in range(200) %}{% set y = strftime_now('%c' * 150) %}{% endfor %}", "steps"],
    ["large numbers", "{% for i in range(1000) %}{% set y = (2 ** 14000) | string %}{% endfor %}", "steps"],
    ["many digits", "{% for i in range(2000) %}{% set y = '%.1000f' % 1e-300 %}{% endfor %}", "steps"],
    ["a wide format", "{{ '%1000000000d' % 1 }}", "characters"],
    ["a precise format", "{{ '{:.2000f}'.format(1.5) }}", "digits"],
    ["a wide field", "{{ 'x'.center(1000000000) }}", "characters"],
    ["wide tabs", "{{ ('\t' * 1000).expandtabs(1000000000) }}", "characters"],
    ["many slices", "{{ [1] | slice(1000000000) | list }}", "steps"],
    ["a wide batch", "{{ [1] | batch(1000000000, 1) | list }}", "elements"],
    [
      "a key of tuples in tuples",
      "{% set n = namespace(t=('\"',)) %}{% for i in range(64) %}{% set n.t = (n.t, n.t) %}{% endfor %}{{ {n.t: 1} }}",
      "key of more than",
    ],
    [
      "keys of long texts",
      `${letters(19)}{% for i in range(80000) %}{% if (x.s, i) in {} %}{% endif %}{% endfor %}`,
      "steps",
    ],
    [
      "joining each letter",
      `${letters(19)}{% for i in range(2000) %}{% set y = ','.join(x.s) %}{% endfor %}`,
      "elements",
    ],
  ])("%s ends with an error", (_, source, word) => {
    // It behaves for the check at the start and misbehaves with a second message.
    const sly = new ChatTemplate(`{% if messages | length > 1 %}${source}{% endif %}`, tokenizer, "m");
    expect(() => sly.render([...user, ...user])).toThrow(TemplateError);
    expect(() => sly.render([...user, ...user])).toThrow(word);
  });

  test("large templates of odd shapes are read", () => {
    const numbers = Array.from({ length: 20_000 }, (_, i) => i);
    for (const source of [
      " ".repeat(999_999),
      "\n".repeat(999_999),
      `{{${" ".repeat(999_000)}1}}`,
      "{##}".repeat(240_000),
      "{% raw %}{% endraw %}".repeat(45_000),
      `{% if messages | length > 1 %}${"{{x}}".repeat(190_000)}{% endif %}`,
      numbers.map((i) => `{% if 0 %}{% set a${i} = 1 %}{% endif %}`).join(""),
      `{% if 0 %}${numbers.map((i) => `{% elif a${i} %}`).join("")}{% endif %}`,
      `{% if 0 %}{{ f(${numbers.map((i) => `a${i}=1`).join(",")}) }}{% endif %}`,
      `{% macro f(${numbers.map((i) => `a${i}`).join(",")}) %}{% endmacro %}`,
    ]) {
      expect(source.length).toBeLessThan(1_000_001);
      new ChatTemplate(source, tokenizer, "m");
    }
    for (const source of [
      "{% if 1 %}".repeat(90_000),
      `{{${"(".repeat(900_000)}`,
      `{{ ${"not ".repeat(200_000)}1 }}`,
    ]) {
      expect(() => new ChatTemplate(source, tokenizer, "m")).toThrow("levels within each other");
    }
  });

  test("long conversations, long messages and many tools are within the bounds", () => {
    const source =
      "{% if tools %}{% for tool in tools %}{{ tool | tojson(indent=2) }}{% endfor %}{% endif %}" +
      "{% for m in messages[::-1] %}{% set index = messages | length - 1 - loop.index0 %}{% endfor %}" +
      "{% for m in messages %}{% if loop.first or messages[loop.index0 - 1].role != m.role %}{{ m.role + ': ' }}{% endif %}" +
      "{{ m.content.split('</think>')[-1] | trim | replace('<image>', '<|image_start|><|image|><|image_end|>') }}{% endfor %}";
    const usual = new ChatTemplate(source, tokenizer, "m");
    const parameters = { type: "object", properties: { city: { type: "string", description: "x".repeat(2000) } } };
    const tools = Array.from({ length: 100 }, (_, i) => ({
      type: "function",
      function: { name: `f${i}`, parameters },
    }));
    for (const [count, length] of [
      [2000, 100],
      [2, 1_000_000],
    ] as const) {
      const messages = Array.from({ length: count }, () => ({ role: "user", content: "a".repeat(length) }));
      expect(usual.render(messages, { tools }).length).toBeGreaterThan(count * length);
    }
  });

  test("what a template may make grows with everything that it is given", () => {
    const long = "a ".repeat(1_500_000);
    const source =
      "{% for m in messages %}{{ m.reasoning_content }}" +
      "{% for call in m.tool_calls %}{{ call.function.arguments.text }}{% endfor %}{% endfor %}{{ messages | length }}";
    const template = new ChatTemplate(source, tokenizer, "m");
    const call = { type: "function", function: { name: "f", arguments: { text: long } } };
    for (const field of [{ reasoning_content: long }, { tool_calls: [call] }]) {
      const messages = [{ role: "assistant", content: "", ...field }, ...user];
      expect(template.render(messages)).toBe(`${long}2`);
    }
  });

  test("whole numbers have as many digits as Python reads", () => {
    const template = new ChatTemplate("{{ messages[0].x }}", tokenizer, "m");
    const given = (digits: number) =>
      [{ ...user[0], x: new JsonNumber(`-${"1".repeat(digits)}`) }] as TemplateMessage[];
    expect(template.render(given(4300))).toBe(`-${"1".repeat(4300)}`);
    expect(() => template.render(given(1_000_000))).toThrow("4300 digits");
  });

  test.each(["constructor", "__proto__", "prototype", "toString", "process", "Bun", "globalThis"])(
    "templates see no %s",
    (name) => {
      for (const source of [
        `{{ ${name} }}`,
        `{{ messages.${name} }}`,
        `{{ messages[0]['${name}'] }}`,
        `{{ raise_exception.${name} }}`,
        `{{ ''.${name} }}`,
      ]) {
        expect(new ChatTemplate(source, tokenizer, "m").render(user)).toBe("");
      }
    },
  );

  test("a template that can't be used is one clear line", () => {
    expect(() => new ChatTemplate("{% if %}", tokenizer, "model.wf")).toThrow(
      /^model\.wf: its chat template can't be used: /,
    );
  });
});
