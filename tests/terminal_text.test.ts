/**
 * What a terminal sends and shows, for texts that nobody would think of: keys that are cut anywhere, lines of any characters, and edits of
 * them in any order.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { EditBuffer } from "../src/terminal/edit_buffer.ts";
import { HarmlessText, harmless } from "../src/terminal/harmless.ts";
import { type Key, KeyDecoder } from "../src/terminal/keys.ts";
import { clusterAfter, clusterBefore, textWidth, wrapLine } from "../src/terminal/text_rows.ts";

/** Characters that stand for all kinds: plain, wide, combining, joined, control, and above ASCII. */
const pieces = fc.constantFrom(
  ..."ab 1_.\t日🚀",
  "e\u0301",
  "👩‍👩‍👧",
  "\u0301",
  "\u200d",
  "\u001b",
  "\u0007",
  "\u009b",
  "ß",
  "ع",
  "\ud800",
);
const line = fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join(""));

describe("keys", () => {
  const sequences = fc.constantFrom(
    ..."aé日\r\t\u0003\u007f",
    "\u001b[A",
    "\u001b[1;5D",
    "\u001b[3~",
    "\u001bOH",
    "\u001b]11;rgb:00/00/00\u0007",
    "\u001bb",
    "\u001b\r",
    "\u001b[200~pasted \u001b[31m\r\nlines\u001b[201~",
  );

  /** Text that came in pieces is the same text. */
  function joined(keys: Key[]): Key[] {
    const all: Key[] = [];
    for (const key of keys) {
      const last = all.at(-1);
      if (key.kind === "text" && last?.kind === "text") last.text += key.text;
      else all.push({ ...key });
    }
    return all;
  }

  test("are the same wherever they are cut", () => {
    fc.assert(
      fc.property(fc.array(sequences, { maxLength: 12 }), fc.array(fc.nat(200), { maxLength: 8 }), (parts, cuts) => {
        const text = parts.join("");
        const whole = new KeyDecoder().push(text);
        const decoder = new KeyDecoder();
        const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
        const cut = places.flatMap((place, index) => decoder.push(text.slice(place, places[index + 1] ?? text.length)));
        expect(joined(cut)).toEqual(joined(whole));
        expect(decoder.isUnfinished).toBe(false);
      }),
    );
  });

  test("of any bytes end, and none of them is text with control characters", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(sequences, fc.string({ unit: "binary", maxLength: 5 }))), (parts) => {
        const decoder = new KeyDecoder();
        const keys = [...decoder.push(parts.join("")), ...decoder.flush()];
        // biome-ignore lint/suspicious/noControlCharactersInRegex: what no typed text has.
        for (const key of keys) if (key.kind === "text") expect(key.text).not.toMatch(/[\u0000-\u001f\u007f]/);
        expect(decoder.isUnfinished).toBe(false);
      }),
    );
  });

  test.each([
    ["\u001b[13;2u", "shift-enter"],
    ["\u001b[27;5;97~", "ctrl-a"],
    ["\u001b[97;5u", "ctrl-a"],
    ["\u001b[1;3D", "alt-left"],
    ["\u001b[Z", "shift-tab"],
    ["\n", "enter"],
    ["\u0008", "backspace"],
    ["\u001b\u007f", "alt-backspace"],
    ["\u001bB", "alt-b"],
  ])("%j is %s", (text, name) => {
    expect(new KeyDecoder().push(text)).toEqual([{ kind: "press", name }]);
  });

  test("the escape key is one when nothing follows", () => {
    const decoder = new KeyDecoder();
    expect(decoder.push("\u001b")).toEqual([]);
    expect(decoder.flush()).toEqual([{ kind: "press", name: "escape" }]);
  });
});

describe("rows", () => {
  test("hold all of a line in order, and none is too wide unless one character is", () => {
    fc.assert(
      fc.property(line, fc.integer({ min: 1, max: 12 }), (text, width) => {
        const rows = wrapLine(text, width);
        expect(rows.map(({ start, end }) => text.slice(start, end)).join("")).toBe(text);
        expect(rows.reduce((sum, row) => sum + row.width, 0)).toBe(textWidth(text));
        for (const row of rows) {
          const [first] = new Intl.Segmenter().segment(text.slice(row.start, row.end));
          expect(row.width <= width || first?.segment.length === row.end - row.start).toBe(true);
          expect(harmless(row.shown)).toBe(row.shown);
        }
      }),
    );
  });
});

describe("characters", () => {
  /** Where they begin, and where the last one ends. */
  const boundaries = (text: string) => [
    ...[...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text)].map(({ index }) => index),
    text.length,
  ];

  test("are gone through in both directions as Unicode has them", () => {
    fc.assert(
      fc.property(line, (text) => {
        const forward = [0];
        while ((forward.at(-1) as number) < text.length) forward.push(clusterAfter(text, forward.at(-1) as number));
        const backward = [text.length];
        while ((backward[0] as number) > 0) backward.unshift(clusterBefore(text, backward[0] as number));
        expect(forward).toEqual(boundaries(text));
        expect(backward).toEqual(boundaries(text));
      }),
    );
  });

  test.each(["a", "é", "日", "한", "🚀", "e\u0301", "👩‍👩‍👧"])(
    "%s, a hundred thousand times, is wrapped whole",
    (character) => {
      const text = character.repeat(100_000);
      const rows = wrapLine(text, 70);
      const each = 70 / Bun.stringWidth(character);
      expect(rows).toHaveLength(Math.ceil(100_000 / each));
      for (const row of rows.slice(0, -1)) expect(row.end - row.start).toBe(character.length * each);
    },
  );

  test("of a word of a megabyte are not looked for anew at each step", () => {
    const buffer = new EditBuffer();
    buffer.insert("x".repeat(1 << 20));
    buffer.wordLeft();
    expect(buffer.column).toBe(0);
    buffer.wordRight();
    expect(buffer.column).toBe(1 << 20);
  });
});

describe("edits", () => {
  type Edit = [string, (buffer: EditBuffer) => void];
  const edits = fc.oneof(
    line.map((text): Edit => [`insert ${JSON.stringify(text)}`, (buffer) => buffer.insert(text)]),
    fc.constantFrom<Edit>(
      ["newline", (buffer) => buffer.insert("\n")],
      ["left", (buffer) => buffer.left()],
      ["right", (buffer) => buffer.right()],
      ["word left", (buffer) => buffer.wordLeft()],
      ["word right", (buffer) => buffer.wordRight()],
      ["up", (buffer) => void buffer.moveRows(-1, 7)],
      ["down", (buffer) => void buffer.moveRows(1, 7)],
      ["delete before", (buffer) => buffer.deleteBefore()],
      ["delete after", (buffer) => buffer.deleteAfter()],
      ["kill to the end", (buffer) => buffer.kill(buffer.toLineEnd)],
      ["kill to the start", (buffer) => buffer.kill(buffer.toLineStart)],
      ["kill a word", (buffer) => buffer.kill(buffer.toSpaceBefore)],
      ["yank", (buffer) => buffer.yank()],
    ),
  );

  test("in any order leave the cursor in the text, and what is killed comes back", () => {
    fc.assert(
      fc.property(fc.array(edits, { maxLength: 30 }), (sequence) => {
        const buffer = new EditBuffer();
        for (const [, edit] of sequence) {
          edit(buffer);
          const current = buffer.lines[buffer.line] as string;
          expect(current).toBeDefined();
          expect(buffer.column >= 0 && buffer.column <= current.length).toBe(true);
          expect(buffer.text).toBe(buffer.lines.join("\n"));
        }
        const before = buffer.text;
        buffer.left();
        buffer.kill(buffer.toLineEnd);
        buffer.yank();
        expect(buffer.text).toBe(before);
      }),
    );
  });
});

test("text for a terminal is the same in pieces, and has no control characters", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(line, fc.constantFrom("\r", "\n", "\r\n"))), (parts) => {
      const stream = new HarmlessText();
      const text = parts.map((part) => stream.push(part)).join("") + stream.finish();
      expect(text).toBe(harmless(parts.join("").replaceAll("\r\n", "\n")));
      // biome-ignore lint/suspicious/noControlCharactersInRegex: all but tab and newline.
      expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
    }),
  );
});
