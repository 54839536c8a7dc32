/**
 * Writing at a terminal: every key, the window's size, and what is pasted. The executable runs in a pseudo-terminal, and the tests look at
 * the screen that comes of it.
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { PARIS, QUESTION } from "./support/chat.ts";
import {
  alt,
  BACKSPACE,
  chat,
  closeTerminals,
  ctrl,
  DELETE,
  DOWN,
  END,
  ENTER,
  HOME,
  input,
  LEFT,
  leaves,
  RIGHT,
  says,
  types,
  UP,
} from "./support/terminal_chat.ts";

setDefaultTimeout(120_000);

afterEach(closeTerminals);

describe("the beginning", () => {
  test("says who answers and which keys there are", async () => {
    const terminal = await chat();
    expect(terminal.rows.join(" ")).toContain("4-million-parameter demo model");
    expect(terminal.rows.join(" ")).toContain("/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves.");
    await says(terminal, QUESTION, PARIS);
    expect(terminal.rows.at(-3)).toBe(`> ${QUESTION}`);
    await leaves(terminal);
  });

  test.each([
    ["NO_COLOR", { NO_COLOR: "1" }],
    ["TERM=dumb", { TERM: "dumb" }],
  ])("%s keeps it plain", async (_, env) => {
    const terminal = await chat([], { env });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences of colours.
    expect(terminal.raw).not.toMatch(/\u001b\[[0-9;]*m/);
  });
});

describe("keys", () => {
  /** What was typed before, keys, and what comes of it. */
  const keys: [string, string, string, string][] = [
    ["Left and Right", "abc", LEFT + LEFT + RIGHT, "ab▏c"],
    ["Ctrl-B and Ctrl-F", "abc", ctrl("b") + ctrl("b") + ctrl("f"), "ab▏c"],
    ["Home and End", "abc", `${HOME}x${END}y`, "xabcy▏"],
    ["Home and End in another form", "abc", "\u001b[1~x\u001b[4~y", "xabcy▏"],
    ["Home and End of the application mode", "abc", "\u001bOHx\u001bOFy", "xabcy▏"],
    ["Ctrl-A and Ctrl-E", "abc", `${ctrl("a")}x${ctrl("e")}y`, "xabcy▏"],
    ["Alt-B and Alt-F", "one two.three", `${alt("b") + alt("b")}x${alt("f")}y`, "one xtwoy▏.three"],
    ["Ctrl-Left and Ctrl-Right", "one two.three", "\u001b[1;5D\u001b[1;5Dx\u001b[1;5Cy", "one xtwoy▏.three"],
    ["Backspace", "abc", LEFT + BACKSPACE, "a▏c"],
    ["Delete", "abc", LEFT + LEFT + DELETE, "a▏c"],
    ["Ctrl-D in a text", "abc", LEFT + LEFT + ctrl("d"), "a▏c"],
    ["Ctrl-K", "abc", LEFT + ctrl("k"), "ab▏"],
    ["Ctrl-U", "abc", LEFT + ctrl("u"), "▏c"],
    ["Ctrl-W", "one two.three", `${ctrl("w")}x`, "one x▏"],
    ["Alt-Backspace", "one two.three", `${alt(BACKSPACE)}x`, "one two.x▏"],
    ["Alt-D", "one two", `${HOME}${alt("d")}`, "▏ two"],
    ["Ctrl-Y", "one two", `${ctrl("w")}${HOME}${ctrl("y")} `, "two ▏one"],
    ["Ctrl-Y of what went piece by piece", "a b c", ctrl("w") + ctrl("w") + ctrl("y") + ctrl("y"), "a b cb c▏"],
    ["keys that mean nothing", "abc", "\u001b[24~\u001b[1;2P\u001b[200;5H\u001bOP", "abc▏"],
    ["an answer to a question that was not asked", "abc", "\u001b]11;rgb:0000/0000/0000\u0007", "abc▏"],
  ];

  test("each does what it does in a shell", async () => {
    const terminal = await chat();
    for (const [name, text, pressed, wanted] of keys) {
      await types(terminal, text, `${text}▏`);
      terminal.type(pressed);
      await terminal
        .until(() => input(terminal) === wanted)
        .catch(() => expect([name, input(terminal)]).toEqual([name, wanted]));
      await types(terminal, ctrl("c"), "▏");
    }
  });

  test("a sequence that comes in pieces is one key", async () => {
    const terminal = await chat();
    await types(terminal, "abc", "abc▏");
    terminal.type("\u001b[1;");
    await types(terminal, "5Dx", "x▏abc");
  });

  test("Ctrl-L clears the screen and keeps the line", async () => {
    const terminal = await chat();
    await types(terminal, "abc", "abc▏");
    terminal.type(ctrl("l"));
    await terminal.until(() => terminal.rows.join() === "> abc");
  });

  test("Ctrl-C clears a line, and leaves when pressed twice on an empty one", async () => {
    const terminal = await chat();
    await types(terminal, "abc", "abc▏");
    await types(terminal, ctrl("c"), "▏");
    terminal.type(ctrl("c"));
    await terminal.until(() => terminal.rows.at(-2) === "(Ctrl-C again or Ctrl-D leaves)");
    await types(terminal, "abc", "abc▏");
    await types(terminal, ctrl("c"), "▏");
    terminal.type(`/bogus${ENTER}`);
    await terminal.until(() => terminal.rows.join(" ").includes("there is no command '/bogus'"));
    terminal.type(ctrl("c"));
    await terminal.until(() => terminal.rows.at(-2) === "(Ctrl-C again or Ctrl-D leaves)");
    await leaves(terminal, ctrl("c"));
  });

  test("Ctrl-C stops an answer, which is then a part of the conversation; keys meanwhile wait for their turn", async () => {
    // The slow tier, so that there is time to stop the answer, which would count to several hundred.
    const terminal = await chat([], { env: { WRINKLEFREE_CPU: "scalar" } });
    terminal.type(`Count from 3 to 12.${ENTER}`);
    await terminal.until(() => terminal.rows.join("").includes("9, 10, 11"));
    terminal.type(ctrl("c"));
    await terminal.until(() => terminal.rows.at(-1) === ">");
    expect(terminal.rows.at(-2)).toBe("(stopped)");
    expect(terminal.rows.join("")).not.toContain("300, ");
    terminal.type(`/set max-tokens 30${ENTER}Count from 3 to 12.${ENTER}`);
    await terminal.until(() => terminal.rows.slice(-3).join("").includes("3, 4, 5, 6"));
    terminal.type(`/clear${ENTER}`);
    await says(terminal, QUESTION, PARIS);
    expect(terminal.rows.slice(-6, -2)).toEqual([
      "(cut off where the context or max-tokens ends)",
      "> /clear",
      "(forgotten)",
      `> ${QUESTION}`,
    ]);
  });
});

describe("several lines", () => {
  test("a backslash at the end of a line, and Alt-Enter", async () => {
    const terminal = await chat();
    terminal.type(`one\\${ENTER}two${alt(ENTER)}three`);
    await terminal.until(() => terminal.rows.slice(-3).join("|") === "> one|  two|  three");
    await types(terminal, UP + UP, "one▏");
    await types(terminal, `${END}!${DOWN}?`, "two?▏");
    await types(terminal, HOME + BACKSPACE, "one!▏two?");
    await types(terminal, DOWN + HOME + LEFT, "one!two?▏");
    await types(terminal, ctrl("k"), "one!two?▏three");
  });

  test("three quotation marks, which are no part of the message", async () => {
    const terminal = await chat();
    terminal.type(`"""${ENTER}${QUESTION}${ENTER}"""${ENTER}`);
    await terminal.until(() => terminal.rows.at(-2) === PARIS);
    expect(terminal.rows.slice(-5, -2)).toEqual(['> """', `  ${QUESTION}`, '  """']);
  });

  test("what is pasted is one message, and its last line can be edited", async () => {
    const terminal = await chat();
    terminal.paste("What is the\ncapital\nof France");
    await types(terminal, "?", "of France?▏");
    terminal.type(`${ENTER}/stats${ENTER}`);
    await terminal.until(() => terminal.rows.join(" ").includes("all 1: ") && terminal.rows.at(-1) === ">");
    terminal.type(UP + UP);
    await terminal.until(() => terminal.rows.slice(-3).join("|") === "> What is the|  capital|  of France?");
  });

  test("10,000 pasted lines are one message, and one error when the context does not hold them", async () => {
    const terminal = await chat();
    const lines = Array.from({ length: 10_000 }, (_, index) => `line ${index}`);
    terminal.paste(lines.join("\n"));
    await types(terminal, " ends", "line 9999 ends▏");
    // The screen shows the end of it, and moves with the cursor.
    expect(terminal.rows.slice(-3)).toEqual(["  line 9997", "  line 9998", "  line 9999 ends"]);
    terminal.type(`${alt("<")}first `);
    await terminal.until(() => input(terminal) === "first ▏line 0");
    expect(terminal.rows.slice(1, 4)).toEqual(["> first line 0", "  line 1", "  line 2"]);
    terminal.type(ENTER);
    await terminal.until(() => terminal.rows.at(-1) === ">" && terminal.rows.at(-2) !== "");
    const rows = terminal.allRows;
    const end = rows.indexOf("  … and 9,980 more lines");
    expect(rows.slice(end - 20, end - 18)).toEqual(["> first line 0", "  line 1"]);
    expect(rows.slice(end + 1, -1).join("")).toMatch(
      /^This model's maximum context length is 2048 tokens\.[^.]*\.[^.]*\.$/,
    );
    await says(terminal, QUESTION, PARIS);
  });
});

describe("what the screen shows", () => {
  test("wide, combined and invisible characters have their cells, and are one for the cursor", async () => {
    const terminal = await chat();
    const family = "👩‍👩‍👧";
    await types(terminal, `日本e\u0301🚀${family}x`, `日本e\u0301🚀${family}x▏`);
    expect(terminal.cursor.column).toBe(2 + 4 + 1 + 2 + 2 + 1);
    await types(terminal, LEFT + LEFT, `日本e\u0301🚀▏${family}x`);
    await types(terminal, BACKSPACE + LEFT, `日本▏e\u0301${family}x`);
    await types(terminal, DELETE + DELETE, "日本▏x");
    await types(terminal, "\u0000", "日本▏x");
    terminal.type(`${ctrl("u")}${ctrl("k")}`);
    await says(terminal, "Say hello in Japanese.", "こんにちは");
    await says(terminal, "Show me a rocket as an emoji.", "🚀");
  });

  test("a wide character that has no room at the end of a row goes to the next", async () => {
    const terminal = await chat([], { columns: 20 });
    terminal.type("日".repeat(20));
    await terminal.until(
      () => terminal.rows.slice(-3).join("|") === `> ${"日".repeat(8)}|  ${"日".repeat(8)}|  日日日日`,
    );
    await types(terminal, UP, `${"日".repeat(4)}▏${"日".repeat(4)}`);
    await types(terminal, END + LEFT, "日日日▏日");
  });

  test("a line that is longer than the window goes on in the next row, and is whole when the window changes", async () => {
    const terminal = await chat([], { columns: 40, rows: 12 });
    const text = Array.from({ length: 20 }, (_, index) => `word${index}`).join(" ");
    terminal.type(text);
    const shown = () =>
      terminal.rows.slice(terminal.rows.findIndex((row) => row.startsWith("> "))).map((row) => row.slice(2));
    const isWhole = (columns: number) => () =>
      shown().join("").replaceAll(" ", "") === text.replaceAll(" ", "") && shown()[0]?.length === columns - 3;
    await terminal.until(isWhole(40));
    for (const [columns, rows] of [
      [30, 12],
      [61, 20],
      [20, 15],
      [80, 10],
    ] as const) {
      terminal.resize(columns, rows);
      await terminal.until(isWhole(columns));
      expect(terminal.rows.filter((row) => row.startsWith("> "))).toHaveLength(1);
    }
    await types(terminal, HOME, `▏${text.slice(0, 77)}`);
    await says(terminal, ctrl("k") + QUESTION, PARIS);
  });

  test("escape sequences that are pasted are shown, and do nothing", async () => {
    const terminal = await chat();
    terminal.paste("a\u001b[2Jb\u0007\u009b31mc\u001b]0;title\u0007");
    await terminal.until(() => input(terminal) === "a^[[2Jb^G<9b>31mc^[]0;title^G▏");
    await types(terminal, LEFT + LEFT + BACKSPACE, "a^[[2Jb^G<9b>31mc^[]0;tit▏e^G");
    terminal.type(ENTER);
    await terminal.until(() => terminal.rows.includes("> a^[[2Jb^G<9b>31mc^[]0;tite^G"));
  });
});
