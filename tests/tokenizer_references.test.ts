/**
 * Ids and texts are those of Hugging Face's own tokenizers: for real vocabularies with thousands of odd texts, and for every component
 * that a tokenizer.json may have. What is not supported is refused by name.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ChatTemplate } from "../src/text/chat_template.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { byteLevel, components, sentencePieces } from "./support/tokenizer_components.ts";
import {
  complete,
  componentTexts,
  readReferences,
  vocabularies,
  vocabularyConfiguration,
  vocabularyJson,
} from "./support/tokenizer_references.ts";

setDefaultTimeout(120_000);

const references = readReferences();

function tokenizerOf(json: string | Uint8Array): Tokenizer {
  const bytes = typeof json === "string" ? Buffer.from(json) : json;
  return Tokenizer.fromAssets(new Map([["tokenizer.json", bytes]]), "test", 2 ** 20);
}

/** The ids of a text, in one go. */
function encode(tokenizer: Tokenizer, text: string): number[] {
  const work = tokenizer.encodeInSlices(text, 1e9);
  let next = work.next();
  while (!next.done) next = work.next();
  if (!("ids" in next.value)) throw new Error(`not encoded: ${text}`);
  return next.value.ids;
}

test.each(vocabularies)("the vocabulary of %s has the ids and texts of the reference", async (name) => {
  const { beginning, cases } = references.vocabularies[name] as (typeof references.vocabularies)[string];
  const tokenizer = tokenizerOf(await vocabularyJson(name).bytes());
  expect(cases.length).toBeGreaterThanOrEqual(2000);
  expect(tokenizer.beginning).toEqual(beginning);
  for (const { text, ids, decoded } of cases) {
    const found = encode(tokenizer, text);
    // Compared as a whole: there are many.
    if (found.join() !== ids.join()) expect({ text, ids: found }).toEqual({ text, ids });
    const spelled = tokenizer.decode(ids);
    if (spelled !== decoded) expect({ text, decoded: spelled }).toEqual({ text, decoded });
  }
});

test.each(Object.keys(components))("%s has the ids and texts of the reference", (name) => {
  const tokenizer = tokenizerOf(complete(components[name] as object));
  const cases = references.components[name];
  const found = componentTexts().map((text, i) => ({
    text,
    ids: encode(tokenizer, text).join(),
    decoded: cases?.[i]?.decoded === undefined ? undefined : tokenizer.decode(cases[i].ids),
  }));
  const wanted = componentTexts().map((text, i) => ({
    text,
    ids: cases?.[i]?.ids.join(),
    decoded: cases?.[i]?.decoded,
  }));
  expect(found).toEqual(wanted as typeof found);
});

describe("what can't be done right is refused by name", () => {
  const stages: [string, object, string][] = [
    ...["BertNormalizer", "Precompiled", "Folding"].map(
      (type) => ["normalizer", { type }, `normalizer ${type} is not supported`] as [string, object, string],
    ),
    ...["UnicodeScripts", "Replace", "Words"].map(
      (type) => ["pre_tokenizer", { type }, `pre_tokenizer ${type} is not supported`] as [string, object, string],
    ),
    ...["WordPiece", "BPEDecoder", "CTC", "Spaces"].map(
      (type) => ["decoder", { type }, `decoder ${type} is not supported`] as [string, object, string],
    ),
    ["post_processor", { type: "Other" }, "post_processor Other is not supported"],
    [
      "pre_tokenizer",
      { type: "Split", pattern: { String: " " }, behavior: "removed", invert: false },
      'behavior is "removed"; supported: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous',
    ],
    [
      "pre_tokenizer",
      { type: "Metaspace", replacement: "▁", add_prefix_space: false, prepend_scheme: "first" },
      "Metaspace has add_prefix_space false, and prepend_scheme first; they contradict each other",
    ],
    [
      "pre_tokenizer",
      { type: "Split", pattern: { Regex: "(?<a" }, behavior: "Isolated", invert: false },
      "Split has the regular expression (?<a, which can't be used",
    ],
    [
      "decoder",
      { type: "Sequence", decoders: [{ type: "Fuse" }, { type: "ByteFallback" }] },
      "decoder ByteFallback after the tokens became one text is not supported",
    ],
    ["decoder", { type: "Strip", content: " ", start: -1, stop: 0 }, "start is -1"],
  ];
  test.each(stages)("a %s of the kind %j", (key, value, message) => {
    expect(() => tokenizerOf(complete({ ...byteLevel, [key]: value }))).toThrow(`test: tokenizer.json: ${message}`);
  });

  test.each<[object, string]>([
    [{ dropout: 0.1 }, "model.dropout is set"],
    [{ byte_fallback: "yes" }, 'model.byte_fallback is "yes"'],
    [{ merges: [["a", "q"]] }, "model.merges holds 'q', which is no token of the vocabulary"],
  ])("a model with %j", (value, message) => {
    expect(() => tokenizerOf(complete(sentencePieces(value)))).toThrow(`test: tokenizer.json: ${message}`);
  });
});

/** The templates that these vocabularies come with, or that their models are used with. */
const templates: Record<string, string> = {
  llama3:
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>" +
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
  qwen3:
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
  gemma3:
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}" +
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
  llama2: "{% for m in messages %}{{ bos_token }}[INST] {{ m.content }} [/INST]{% endfor %}",
};

describe("control tokens of real vocabularies, typed into a message", () => {
  test.each(vocabularies)("of %s are characters, and what is no control token stays what it is", async (name) => {
    const json = await vocabularyJson(name).json();
    const configuration = await vocabularyConfiguration(name).bytes();
    const assets = new Map([
      ["tokenizer.json", Buffer.from(JSON.stringify(json))],
      ["tokenizer_config.json", configuration],
    ]);
    const tokenizer = Tokenizer.fromAssets(assets, name, 2 ** 20);
    // Where no added token is special, their names are text.
    const added = json.added_tokens.filter(({ special }: { special: boolean }) => !special);
    const plain = tokenizerOf(JSON.stringify({ ...json, added_tokens: added, post_processor: null }));
    const template = new ChatTemplate(templates[name], tokenizer, name);
    const control = new Set(tokenizer.added.filter(({ special }) => special).map(({ id }) => id));
    const typed = json.added_tokens.map(({ content }: { content: string }) => content) as string[];
    const controlIdsOf = async (content: string) => {
      const encoding = await tokenizer.encode(template.prompt([{ role: "user", content }]), 1e6);
      if (!("ids" in encoding)) throw new Error("too long");
      return { ids: encoding.ids, control: encoding.ids.filter((id) => control.has(id)) };
    };
    const own = await controlIdsOf("Hello");
    expect(own.control.length).toBeGreaterThan(0);
    // Gemma's thousands are of a few kinds.
    for (const token of typed.length < 1000 ? typed : typed.filter((_, i) => i < 150 || i % 100 === 0)) {
      const content = `Hello${token}system ${token}`;
      const { ids, control: found } = await controlIdsOf(content);
      if (found.join() !== own.control.join()) expect({ token, found }).toEqual({ token, found: own.control });
      // All that lies between the template's control tokens is what the vocabulary without them makes of it.
      const { text } = template.prompt([{ role: "user", content }]);
      const at = text.indexOf(content);
      const before = ids.findLastIndex(
        (id, i) => control.has(id) && tokenizer.decode(ids.slice(0, i + 1)).length <= at,
      );
      const after = ids.findIndex((id, i) => i > before && control.has(id));
      const between = ids.slice(before + 1, after < 0 ? undefined : after);
      const start = before < 0 ? 0 : tokenizer.decode(ids.slice(0, before + 1)).length;
      const end = after < 0 ? text.length : text.length - tokenizer.decode(ids.slice(after)).length;
      const wanted = encode(plain, text.slice(start, end));
      if (between.join() !== wanted.join()) expect({ token, between }).toEqual({ token, between: wanted });
    }
  });
});

test("the vocabularies that are packed here have their reference", () => {
  const packed = JSON.parse(readFileSync(join(import.meta.dir, "../package.json"), "utf8"));
  expect(references.source).toContain(`@anush008/tokenizers ${packed.devDependencies["@anush008/tokenizers"]}`);
});
