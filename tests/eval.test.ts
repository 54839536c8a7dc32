/**
 * `wrinklefree eval perplexity`: the same figure as scoring windows by HTTP gives, texts of any length in bounded memory, and every token
 * scored once.
 */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { tokenizerFromGguf } from "../convert/gguf_tokenizer.ts";
import { strideMax, type Window, Windows } from "../src/eval/perplexity.ts";
import { textOf } from "../src/eval/text_file.ts";
import { textIds } from "../src/eval/text_ids.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { goldens, readAssets, tinyDirectory } from "./support/goldens.ts";
import { runProgram, startServer } from "./support/server.ts";

setDefaultTimeout(120_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-eval-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function fileOf(name: string, content: string | Uint8Array): string {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
}

const BEGIN = "<|begin_of_text|>";

/** What the demo model has seen, and what it has not. */
const text = [...goldens.chat.map(({ greedy_text }) => greedy_text), ...goldens.tokenizer.map((golden) => golden.text)]
  .join("\n")
  .repeat(2);

interface Result {
  tokens: number;
  scored_tokens: number;
  windows: number;
  negative_log_likelihood: number;
  perplexity: number;
  standard_error: number;
  bits_per_byte: number;
}

interface Completion {
  choices: { logprobs: { token_logprobs: number[] } }[];
}

async function evaluate(path: string, ...options: string[]): Promise<Result> {
  const { code, stdout, stderr } = await runProgram(["eval", "perplexity", "--file", path, "--json", ...options]);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

describe("perplexity", () => {
  test("equals what echo scoring gives, window by window and for a text that fits into one", async () => {
    const server = await startServer(["--log", "off"]);
    const scoresOf = async (prompt: string | number[]): Promise<number[]> => {
      const request = { prompt, echo: true, logprobs: 0, max_tokens: 0 };
      const answer = (await (await server.post("/v1/completions", request)).json()) as Completion;
      return (answer.choices[0] as Completion["choices"][0]).logprobs.token_logprobs.slice(1);
    };
    const tokenized = await server.post("/tokenize", { content: text });
    const { tokens } = (await tokenized.json()) as { tokens: number[] };
    const [context, stride, begin] = [96, 40, 2040];
    const scores: number[] = [];
    let windows = 0;
    for (let start = 0; scores.length < tokens.length; start += stride) {
      const end = Math.min(start + context - 1, tokens.length);
      const all = await scoresOf([begin, ...tokens.slice(start, end)]);
      scores.push(...all.slice(scores.length - end));
      windows++;
    }
    expect(scores.length).toBe(tokens.length);
    const sum = -scores.reduce((total, score) => total + score, 0);
    const mean = sum / scores.length;
    const deviation = Math.sqrt(scores.reduce((total, score) => total + (score + mean) ** 2, 0) / scores.length);

    const path = fileOf("windows.txt", text);
    const found = await evaluate(path, "--ctx", `${context}`, "--stride", `${stride}`);
    expect(found).toMatchObject({ tokens: tokens.length, scored_tokens: tokens.length, windows });
    expect(found.negative_log_likelihood).toBeCloseTo(sum, 6);
    expect(found.perplexity).toBeCloseTo(Math.exp(mean), 6);
    expect(found.standard_error).toBeCloseTo((Math.exp(mean) * deviation) / Math.sqrt(scores.length - 1), 6);
    expect(found.bits_per_byte).toBeCloseTo(sum / Math.LN2 / Buffer.byteLength(text), 6);

    const whole = (await scoresOf(text)).reduce((total, score) => total - score, 0);
    expect((await evaluate(path)).negative_log_likelihood).toBeCloseTo(whole, 6);
    await server.stop();
  });

  test("is the same for a text that spells its beginning, or has a byte-order mark", async () => {
    const plain = await evaluate(fileOf("plain.txt", text), "--ctx", "64");
    for (const before of [BEGIN, "\ufeff"]) {
      const other = await evaluate(fileOf("begun.txt", before + text), "--ctx", "64");
      expect(other.negative_log_likelihood).toBe(plain.negative_log_likelihood);
    }
  });

  test("is printed for people too", async () => {
    const path = fileOf("people.txt", text);
    const { code, stdout, stderr } = await runProgram(["eval", "perplexity", "--file", path, "--ctx", "64"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(
      /^perplexity \d+\.\d{4} ± \d+\.\d{4}: .*\n {2}\d+ tokens, .*\n {2}\d+ windows of 64 tokens, one every 32;/,
    );
  });

  const command = (...args: string[]) => runProgram(["eval", ...args]);
  test.each([
    ["an empty file", "", ": is empty"],
    [
      "a file of one word that has no tokens before it",
      BEGIN,
      ": has 0 tokens, and none that another one comes before",
    ],
    [
      "a binary file",
      readFileSync(join(tinyDirectory, "model.safetensors")).subarray(0, 4096),
      ": is no text: there is a zero byte at ",
    ],
    ["a text in Latin-1", Buffer.from("caf\u00e9", "latin1"), ": is not UTF-8: bytes 0 to 4 "],
    [
      "letters without a space in the third line",
      `a\nb c\nd ${"e".repeat(60_000)}`,
      ":3: near byte 32775: 60001 characters in a row that this model's tokenizer can't divide; it takes up to 32768; break them up, ",
    ],
    ["a text that breaks off", Buffer.from("café").subarray(0, 4), ": is not UTF-8: bytes 0 to 4 "],
  ] as [string, string | Uint8Array, string][])("of %s is an error", async (_, content, fault) => {
    const path = fileOf("bad.txt", content);
    const { code, stdout, stderr } = await command("perplexity", "--file", path);
    expect(stderr).toStartWith(`wrinklefree: ${path}${fault}`);
    expect([code, stdout, stderr.split("\n").length]).toEqual([1, "", 2]);
  });

  test("of one token that another one comes before speaks of one", async () => {
    const { stdout } = await command("perplexity", "--file", fileOf("short.txt", " the"));
    expect(stdout).toContain("\n  1 token, ");
    expect(stdout).toContain("\n  1 window of ");
  });

  test.each([
    [1, ["perplexity", "--file", "/nowhere/text"], "/nowhere/text: no such file"],
    [1, ["perplexity", "--file", scratch], "is a directory"],
    [1, ["perplexity", "/nowhere/model", "--file", import.meta.path], "/nowhere/model: no such file"],
    [1, ["perplexity", "--file", import.meta.path, "--ctx", "4096"], "whose context has 2048 tokens"],
    [2, ["perplexity", "--file", import.meta.path, "--ctx", "8"], "--ctx takes a whole number from 16"],
    [
      2,
      ["perplexity", "--file", import.meta.path, "--ctx", "64", "--stride", "64"],
      "from 1 to 63 with --ctx 64, not '64'",
    ],
    [2, ["perplexity", "--file", import.meta.path, "--stride", "0"], "--stride takes a whole number"],
    [2, ["perplexity"], "needs --file"],
    [2, ["accuracy"], "perplexity, not 'accuracy'"],
    [2, [], "eval takes what to measure: perplexity"],
  ] as [number, string[], string][])("exit code %d for %p", async (wanted, args, fault) => {
    const { code, stdout, stderr } = await command(...args);
    expect(stderr).toContain(fault);
    expect([code, stdout]).toEqual([wanted, ""]);
  });
});

test("windows score every token once, with enough before it", () => {
  const options = fc
    .record({ context: fc.integer({ min: 2, max: 12 }), beginning: fc.constantFrom<number[]>([], [900]) })
    .chain((window) => fc.record({ ...constants(window), stride: fc.integer({ min: 1, max: strideMax(window) }) }));
  fc.assert(
    fc.property(options, fc.integer({ min: 0, max: 50 }), fc.integer({ min: 1, max: 50 }), (window, count, cut) => {
      const { context, stride, beginning } = window;
      if (strideMax(window) < 1) return;
      const ids = Array.from({ length: count }, (_, id) => id);
      const windows = new Windows(window);
      const all: Window[] = [...windows.push(ids.slice(0, cut)), ...windows.push(ids.slice(cut)), ...windows.finish()];
      const scored = all.flatMap((one) => one.ids.slice(one.ids.length - one.scored));
      expect(scored).toEqual(beginning.length > 0 ? ids : ids.slice(1));
      for (const [index, one] of all.entries()) {
        expect(one.ids.length).toBeLessThanOrEqual(context);
        expect(one.ids.slice(0, beginning.length)).toEqual(beginning);
        if (index > 0) expect(one.ids.length - one.scored).toBeGreaterThanOrEqual(context - stride);
      }
    }),
  );
});

function constants<Fields extends object>(fields: Fields) {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, fc.constant(value)])) as {
    [Name in keyof Fields]: fc.Arbitrary<Fields[Name]>;
  };
}

describe("the ids of a long text", () => {
  const sentencePiece = (name: string) => {
    const { metadata } = JSON.parse(
      readFileSync(join(import.meta.dir, "fixtures/sentencepiece", `${name}.json`), "utf8"),
    );
    return Tokenizer.fromAssets(tokenizerFromGguf(new Map(Object.entries(metadata))).assets, name, 4096);
  };
  const tokenizers = {
    tiny: Tokenizer.fromAssets(readAssets(tinyDirectory), "tiny", 2048),
    llama: sentencePiece("llama"),
    gemma: sentencePiece("gemma"),
  };
  const piece = fc.constantFrom(
    ..."the model,token, bytes,\n,\n\n,\r\n, ,  ,     ,\t,1,2345,1234567,é,日本語,🚀,👩‍👩‍👧,'s,don't,—,!!,</s>,▁,\u3000,\u0085,aaaa,<|eot_id|>,x".split(
      ",",
    ),
  );
  const texts = fc.oneof(
    fc.array(piece, { minLength: 900, maxLength: 2500 }).map((parts) => parts.join("")),
    // Without lines, without spaces, and of one character.
    fc
      .array(fc.constantFrom("the ", "model ", "is ", "9"), { minLength: 900, maxLength: 2000 })
      .map((parts) => parts.join("")),
    fc
      .array(fc.constantFrom("日", "本", "語", "🚀"), { minLength: 2500, maxLength: 5000 })
      .map((parts) => parts.join("")),
  );

  test.each(["tiny", "llama", "gemma"] as const)("are those of the whole, in pieces: %s", async (name) => {
    const tokenizer = tokenizers[name];
    await fc.assert(
      fc.asyncProperty(texts, fc.integer({ min: 1, max: 3000 }), async (whole, read) => {
        const parts = Array.from({ length: Math.ceil(whole.length / read) }, (_, i) =>
          whole.slice(i * read, (i + 1) * read),
        );
        const ids: number[] = [];
        let [pieces, bytes] = [0, 0];
        for await (const found of textIds(tokenizer, parts, "text", 1024)) {
          ids.push(...found.ids);
          bytes += found.bytes;
          pieces++;
        }
        const encoding = await tokenizer.encode(whole, 1e9);
        expect({ ids }).toEqual(encoding as { ids: number[] });
        expect(bytes).toBe(Buffer.byteLength(whole));
        expect(pieces).toBeGreaterThanOrEqual(Math.floor(whole.length / 2048));
      }),
      { numRuns: 60 },
    );
  });

  test("are refused with the place of what can't be divided, behind what was read before", async () => {
    const parts = ["four\n".repeat(30_000), "e".repeat(60_000)];
    const read = async () => {
      for await (const _ of textIds(tokenizers.tiny, parts, "text"));
    };
    await expect(read()).rejects.toThrow("text:30001: near byte 182768: 60000 characters in a row that ");
  });

  test("come while the file is read, a little at a time", async () => {
    let read = 0;
    const line = Buffer.from("The model is small.\n");
    const source = {
      name: "endless",
      size: 2 ** 40,
      read(position: number, target: Uint8Array) {
        read = Math.max(read, position + target.length);
        for (let i = 0; i < target.length; i++) target[i] = line[(position + i) % line.length] as number;
      },
      close() {},
    };
    let bytes = 0;
    for await (const found of textIds(tokenizers.tiny, textOf(source), "endless")) {
      bytes += found.bytes;
      expect(found.bytes).toBeLessThan(2 ** 18);
      expect(read - bytes).toBeLessThan(2 ** 20);
      if (bytes > 2 ** 20) break;
    }
  });
});
