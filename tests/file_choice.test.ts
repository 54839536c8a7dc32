/** Which file of a repository on the hub is taken: by listings like those of published repositories. */

import { describe, expect, test } from "bun:test";
import { addressesOf, isPrivateAddress } from "../src/hub/addresses.ts";
import { chooseFiles } from "../src/hub/file_choice.ts";
import { parseHubName } from "../src/hub/hub_name.ts";
import { cachedSnapshot } from "../src/hub/snapshot.ts";

const GB = 1_000_000_000;
const SMALL = { "config.json": 900, "tokenizer.json": 9_000_000, "tokenizer_config.json": 50_000, "README.md": 20_000 };

/** The chosen file, or the names of all files of a checkpoint. */
function choose(sizes: Record<string, number>, wanted?: string): string | string[] {
  const files = Object.entries(sizes).map(([path, size]) => ({ path, size }));
  const { file, files: needed } = chooseFiles("acme/model", files, wanted);
  return file ?? needed.map(({ path }) => path).sort();
}

describe("the best form of a model", () => {
  test.each([
    [
      "packed safetensors",
      { ...SMALL, "model.safetensors": 1.18 * GB },
      ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"],
    ],
    [
      "packed safetensors beside a GGUF of about their size",
      { "config.json": 1, "model.safetensors": 1.2 * GB, "ggml-model-i2_s.gguf": 1.1 * GB },
      ["config.json", "model.safetensors"],
    ],
    [
      "a ternary GGUF beside master weights",
      { "config.json": 1, "model.safetensors": 4.8 * GB, "ggml-model-i2_s.gguf": 1.1 * GB },
      "ggml-model-i2_s.gguf",
    ],
    [
      "master weights beside GGUFs that are not ternary",
      { "config.json": 1, "model.safetensors": 4.8 * GB, "m-Q4_K_M.gguf": 1 * GB, "m-f16.gguf": 5 * GB },
      ["config.json", "model.safetensors"],
    ],
    [
      "I2_S before the others",
      { "m.TQ1_0.gguf": 1, "m.TQ2_0.gguf": 1, "m.i2_s.gguf": 1, "m-F16.gguf": 1, "m-TL1.gguf": 1 },
      "m.i2_s.gguf",
    ],
    ["TQ2_0 before TQ1_0", { "m-TQ1_0.gguf": 1, "m-TQ2_0.gguf": 1 }, "m-TQ2_0.gguf"],
    [
      "an embedding's type in front of the weights'",
      { "bitnet-embeddings-0.6b-bf16-i2_s.gguf": 1 },
      "bitnet-embeddings-0.6b-bf16-i2_s.gguf",
    ],
    ["the only GGUF, whatever it is called", { "model.gguf": 1, "README.md": 1 }, "model.gguf"],
    [
      "floats that may be ternary when there is nothing else",
      { "m-Q8_0.gguf": 1, "m-BF16.gguf": 2, "m-F32.gguf": 4 },
      "m-BF16.gguf",
    ],
    [
      "no projector, importance matrix or vocabulary",
      { "mmproj-i2_s.gguf": 1, "imatrix-i2_s.gguf": 1, "ggml-vocab-i2_s.gguf": 1, "m-i2_s.gguf": 1 },
      "m-i2_s.gguf",
    ],
    [
      "packed safetensors with what else says what is made of them",
      { "config.json": 1, "model.safetensors": 1, "dlm_config.json": 1, "modules.json": 1, "1_Pooling/config.json": 1 },
      ["1_Pooling/config.json", "config.json", "dlm_config.json", "model.safetensors", "modules.json"],
    ],
    [
      "all parts of a checkpoint",
      {
        "config.json": 1,
        "model.safetensors.index.json": 1,
        "model-00001-of-00002.safetensors": 1,
        "model-00002-of-00002.safetensors": 1,
        "consolidated.safetensors": 9,
      },
      [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
      ],
    ],
    [
      "a packed file of our own before all",
      { ...SMALL, "model.safetensors": GB, "m-i2_s.gguf": GB, "m.wf": GB },
      "m.wf",
    ],
  ] as [string, Record<string, number>, string | string[]][])("%s", (_, sizes, expected) => {
    expect(choose(sizes)).toEqual(expected);
  });

  test("all parts of a split GGUF are needed, and one that lacks a part is none", () => {
    const parts = { "q/m-i2_s-00001-of-00002.gguf": 5, "q/m-i2_s-00002-of-00002.gguf": 5 };
    const files = Object.entries(parts).map(([path, size]) => ({ path, size }));
    const { file, files: needed } = chooseFiles("acme/model", files);
    expect([file, needed.length]).toEqual(["q/m-i2_s-00001-of-00002.gguf", 2]);
    expect(chooseFiles("acme/model", files, "m-i2_s-00002-of-00002.gguf").files.length).toBe(2);
    expect(() => chooseFiles("acme/model", files.slice(0, 1))).toThrow("no ternary model that can be read here");
  });

  test("Bonsai's types with a scale for each group, the widest first, before the same in floats", () => {
    const sizes = { "B-8B-F16.gguf": 9, "B-8B-Q2_0.gguf": 1, "B-8B-Q2_0_g64.gguf": 1, "B-8B-PQ2_0.gguf": 1 };
    expect(choose(sizes)).toBe("B-8B-PQ2_0.gguf");
    expect(choose({ "B-8B-Q2_0.gguf": 1, "B-8B-Q2_0_g64.gguf": 1 })).toBe("B-8B-Q2_0_g64.gguf");
    expect(choose({ "B-8B-F16.gguf": 9, "B-8B-Q2_0.gguf": 1, "B-8B-PTQ1_0.gguf": 1 })).toBe("B-8B-Q2_0.gguf");
    expect(choose({ ...sizes, "B-8B-TQ2_0.gguf": 2 })).toBe("B-8B-TQ2_0.gguf");
    expect(choose({ "config.json": 1, "model.safetensors": 16, "B-PQ2_0.gguf": 2 })).toBe("B-PQ2_0.gguf");
  });

  test("several that are equally good are for the user to choose from", () => {
    const sizes = { "a/1b-i2_s.gguf": 1000, "a/3b-i2_s.gguf": 3000 };
    expect(() => choose(sizes)).toThrow(
      "has several models: a/1b-i2_s.gguf (1.00 kB), a/3b-i2_s.gguf (3.00 kB); choose one with --file NAME",
    );
    expect(choose(sizes, "3b-i2_s.gguf")).toBe("a/3b-i2_s.gguf");
  });
});

test("names on the hub, and texts that are none", () => {
  const good = [
    "microsoft/bitnet-b1.58-2B-4T",
    "1bitLLM/bitnet_b1_58-3B",
    "a/b@refs/pr/1",
    "a/b@v1.0",
    "a/b@feature/a+b,(c)=d_é",
    `a/b@${"0".repeat(40)}`,
  ];
  for (const text of good) expect([text, parseHubName(text) !== null]).toEqual([text, true]);
  const bad = [
    "a",
    "a/b/c",
    "/a/b",
    "a/",
    "/b",
    "./b",
    "../b",
    "a/..",
    "a/b@",
    "a/b@..",
    "a/b@x/../y",
    "a/b@/x",
    "a/b@x//y",
    "-a/b",
    ".a/b",
    "a/b c",
    "a/b\n",
    "a/b@x\n",
    "a/b@c d",
    "a/b@x..y",
    "a/b@x.",
    "a/b@x.lock",
    "a/b@x/.y",
    "a/b@x\0",
    "a/b.",
    "a--b/c",
    "https://hub/a",
  ];
  for (const text of bad) expect([text, parseHubName(text)]).toEqual([text, null]);
});

test("a cache that is not there has no snapshot", () => {
  expect(cachedSnapshot("/nowhere", { repository: "a/b", revision: "main" })).toBe(null);
});

describe("addresses", () => {
  test.each([
    ["127.0.0.1", true],
    ["10.0.0.1", true],
    ["172.31.255.255", true],
    ["172.32.0.1", false],
    ["192.168.1.1", true],
    ["169.254.169.254", true],
    ["100.64.0.1", true],
    ["100.128.0.1", false],
    ["0.0.0.0", true],
    ["255.255.255.255", true],
    ["8.8.8.8", false],
    ["::", true],
    ["::1", true],
    ["fe80::1", true],
    ["fd12::1", true],
    ["ff02::1", true],
    ["::ffff:10.0.0.1", true],
    ["::ffff:0a00:0001", true],
    ["0:0:0:0:0:ffff:7f00:1", true],
    ["::ffff:8.8.8.8", false],
    ["64:ff9b::7f00:1", true],
    ["2002:7f00:1::", true],
    ["2606:4700::1111", false],
    ["no address", true],
  ] as [string, boolean][])("%s", (address, isPrivate) => {
    expect(isPrivateAddress(address)).toBe(isPrivate);
  });

  test("of a host that is one are that one", async () => {
    expect(await addressesOf(new URL("http://[::1]:80/"))).toEqual(["::1"]);
    expect(await addressesOf(new URL("http://2130706433/"))).toEqual(["127.0.0.1"]);
  });
});
