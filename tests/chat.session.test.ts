/**
 * A conversation at a terminal: its history, its commands, a server behind it, answers that try to act on the terminal, and the ways
 * to it: `wrinklefree` alone, `wrinklefree MODEL`, and the question whether to pull.
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PARIS, QUESTION } from "./support/chat.ts";
import { fixtures } from "./support/command_line.ts";
import { writeScriptedModel } from "./support/scripted_model.ts";
import { executable, runProgram, startServer, untilEngineIdle, untilIdle } from "./support/server.ts";
import {
  alt,
  chat,
  closeTerminals,
  ctrl,
  DOWN,
  ENTER,
  input,
  LEFT,
  leaves,
  newDirectory,
  says,
  start,
  TAB,
  types,
  UP,
} from "./support/terminal_chat.ts";

setDefaultTimeout(120_000);

afterEach(closeTerminals);

/** Of scripted models, which all answer the same. */
const TEMPLATE =
  "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|says|>{% endif %}";

/** Of sentence-transformers. */
const MODULE_TYPES = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"];

const SUM = "What is 7 + 5?";
const TWELVE = "7 + 5 = 12";

describe("the history", () => {
  const inState = (state: string) => ({ env: { XDG_STATE_HOME: state } });
  const fileIn = (state: string) => join(state, "wrinklefree", "chat_history");

  test("comes back with the arrows, in this chat and the next, for nobody else to read", async () => {
    const state = newDirectory();
    const first = await chat([], inState(state));
    await says(first, QUESTION, PARIS);
    await says(first, SUM, TWELVE);
    await types(first, "a draft", "a draft▏");
    await types(first, UP, `${SUM}▏`);
    await types(first, UP, `${QUESTION}▏`);
    await types(first, UP, `${QUESTION}▏`);
    await types(first, DOWN + DOWN, "a draft▏");
    await leaves(first, ctrl("c") + ctrl("d"));
    expect(statSync(fileIn(state)).mode & 0o777).toBe(0o600);
    expect(statSync(join(state, "wrinklefree")).mode & 0o777).toBe(0o700);

    const second = await chat([], inState(state));
    await types(second, UP + UP, `${QUESTION}▏`);
    second.type(ENTER);
    await second.until(() => second.rows.at(-2) === PARIS);
    await leaves(second);
  });

  test("is searched with Ctrl-R", async () => {
    const terminal = await chat();
    for (const text of ["first capital", "second", "third capital"]) terminal.type(`/system ${text}${ENTER}`);
    await terminal.until(() => terminal.rows.filter((row) => row === "(from now on)").length === 3);
    terminal.type(`${ctrl("r")}capital`);
    await terminal.until(() => terminal.rows.at(-1) === "(search) capital: /system third capital");
    terminal.type(ctrl("r"));
    await terminal.until(() => terminal.rows.at(-1) === "(search) capital: /system first capital");
    await types(terminal, LEFT, "/system first capita▏l");
    await types(terminal, ctrl("c"), "▏");
    terminal.type(`${ctrl("r")}nowhere`);
    await terminal.until(() => terminal.rows.at(-1) === "(search: nothing found) nowhere:");
    await types(terminal, ctrl("g"), "▏");
  });

  test("is not kept with --no-history, but is there until the end", async () => {
    const state = newDirectory();
    const terminal = await chat(["--no-history"], inState(state));
    await says(terminal, QUESTION, PARIS);
    await types(terminal, UP, `${QUESTION}▏`);
    await leaves(terminal, ctrl("c") + ctrl("d"));
    expect(existsSync(join(state, "wrinklefree"))).toBe(false);
  });

  test("of two chats at once is all kept", async () => {
    const state = newDirectory();
    const [one, two] = await Promise.all([chat([], inState(state)), chat([], inState(state))]);
    const write = (terminal: typeof one, name: string) =>
      terminal.type(Array.from({ length: 20 }, (_, index) => `/system ${name} ${index}${ENTER}`).join(""));
    write(one, "one");
    write(two, "two");
    await Promise.all([leaves(one), leaves(two)]);
    const lines = readFileSync(fileIn(state), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(40);
    for (const name of ["one", "two"]) {
      const own = lines.filter((line: string) => line.includes(name));
      expect(own).toEqual(Array.from({ length: 20 }, (_, index) => `/system ${name} ${index}`));
    }
    expect(existsSync(`${fileIn(state)}.lock`)).toBe(false);
  });

  test("is bounded, and what is damaged in it does no harm", async () => {
    const state = newDirectory();
    mkdirSync(join(state, "wrinklefree"));
    const entry = (index: number) => JSON.stringify(`${index} ${"x".repeat(1000)}`);
    const lines = Array.from({ length: 1100 }, (_, index) => (index % 100 === 50 ? "{damaged\u0000" : entry(index)));
    writeFileSync(fileIn(state), `${lines.join("\n")}\n`, { mode: 0o644 });
    const terminal = await chat([], inState(state));
    await types(terminal, `/system off${ENTER}`, "▏");
    terminal.paste("long ".repeat(20_000));
    await terminal.until(() => input(terminal).endsWith("long▏") || input(terminal).endsWith("long ▏"));
    await leaves(terminal, `${ENTER}${ctrl("d")}`);
    const { size, mode } = statSync(fileIn(state));
    expect(size).toBeLessThan(1 << 20);
    expect(mode & 0o777).toBe(0o600);
    const kept = readFileSync(fileIn(state), "utf8").trimEnd().split("\n");
    expect(kept.at(-1)).toBe('"/system off"');
    expect(kept.at(-2)).toBe(entry(1099));
  });

  test("that can't be kept is said once", async () => {
    const state = newDirectory();
    writeFileSync(join(state, "wrinklefree"), "");
    const terminal = await chat([], inState(state));
    await says(terminal, QUESTION, PARIS);
    await says(terminal, SUM, TWELVE);
    await leaves(terminal);
    const said = terminal.allRows.join("").match(/can't keep the history in/g);
    expect(said).toHaveLength(1);
  });
});

describe("commands", () => {
  test("/help names all; Tab completes them, their settings and files", async () => {
    const directory = newDirectory();
    writeFileSync(join(directory, "talk-one.json"), "");
    mkdirSync(join(directory, "talks"));
    const terminal = await chat([], { cwd: directory, rows: 50, columns: 200 });
    terminal.type(`/help${ENTER}`);
    await terminal.until(() => terminal.rows.at(-2)?.includes("Ctrl-C clears the line") ?? false);
    for (const name of ["help", "system", "set", "show", "clear", "retry", "undo", "save", "load", "stats", "bye"]) {
      expect(terminal.rows.join("\n")).toContain(`\n  /${name} `);
    }
    for (const alias of ["?", "exit", "quit", "reset"]) {
      expect(terminal.rows.some((row) => row.split("; also ")[1]?.split(", ").includes(`/${alias}`))).toBe(true);
    }
    const help = terminal.rows.slice(terminal.rows.indexOf("> /help"));
    expect(help.filter((row) => row.length > 80)).toEqual([]);
    await types(terminal, `/sy${TAB}`, "/system ▏");
    await types(terminal, `${ctrl("u")}/s${TAB}`, "/s▏");
    expect(terminal.rows.at(-2)).toBe("/system  /set  /show  /save  /stats");
    await types(terminal, `${ctrl("u")}/set rep${TAB}`, "/set repetition-penalty ▏");
    await types(terminal, `${ctrl("u")}/load ta${TAB}`, "/load talk▏");
    await types(terminal, `-${TAB}`, "/load talk-one.json▏");
    await types(terminal, `${ctrl("u")}text${TAB}`, "text▏");
  });

  test("/system, /show, /clear, /undo, /retry, /stats", async () => {
    const terminal = await chat([], { rows: 60, columns: 200 });
    await says(terminal, "/system You are a helpful assistant.", "(from now on)");
    await says(terminal, "Hello", "Hello! How can I help you?");
    terminal.type(`/show${ENTER}`);
    await terminal.until(() =>
      terminal.rows.slice(-6).join("|").endsWith("user: Hello||assistant: Hello! How can I help you?|>"),
    );
    expect(terminal.rows.join("\n")).toContain("\nsystem: You are a helpful assistant.\n");
    await says(terminal, "/retry", "Hello! How can I help you?");
    await says(terminal, "/undo", "(taken back: Hello)");
    await says(terminal, "/undo", "there is nothing to take back");
    await says(terminal, "/retry", "there is nothing to answer again");
    await says(terminal, "/system off", "(no instructions from now on)");
    await says(terminal, "/system", "(there are no instructions)");
    await says(terminal, QUESTION, PARIS);
    await says(terminal, "/clear", "(forgotten)");
    await says(terminal, "/undo", "there is nothing to take back");
    terminal.type(`/stats${ENTER}`);
    await terminal.until(() => terminal.rows.at(-2)?.startsWith("all 3: ") ?? false);
    expect(terminal.rows.join(" ")).toMatch(/the last answer: 14 prompt tokens.*; 9 tokens, [\d.]+ per second;/);
    await leaves(terminal, `/bye${ENTER}`);
  });

  test("/set shows and changes how answers are chosen", async () => {
    const terminal = await chat(["--temperature", "0.5"], { rows: 60, columns: 200 });
    terminal.type(`/set${ENTER}`);
    await terminal.until(() => terminal.rows.at(-2) === "  max-tokens: default (to the end of the context)");
    expect(terminal.rows).toContain("  temperature: 0.5");
    await says(
      terminal,
      "/set temperature default",
      "  temperature: default (0, the likeliest token; 1 with top-p, top-k or min-p)",
    );
    await says(terminal, "/set max_tokens 3", "  max-tokens: 3");
    await says(terminal, QUESTION, "(cut off where the context or max-tokens ends)");
    await says(terminal, "/set temperature hot", "temperature takes a number from 0 to 2, not 'hot'");
    await says(
      terminal,
      "/set temprature 1",
      "there is no setting 'temprature' (did you mean 'temperature'?); /set lists them",
    );
    await says(terminal, "/set seed 18446744073709551615", "  seed: 18446744073709551615");
  });

  test("/save and /load", async () => {
    const directory = newDirectory();
    writeFileSync(join(directory, "notes.txt"), "mine");
    const terminal = await chat([], { cwd: directory, rows: 60, columns: 200 });
    await says(terminal, "/save talk.json", "there is nothing to save yet");
    await says(terminal, "/system Be brief.", "(from now on)");
    await says(terminal, "/save brief.json", "(saved 1 message in brief.json)");
    await says(terminal, "/system off", "(no instructions from now on)");
    await says(terminal, QUESTION, PARIS);
    await says(terminal, "/save talk.json", "(saved 2 messages in talk.json)");
    expect(statSync(join(directory, "talk.json")).mode & 0o777).toBe(0o600);
    // Whoever lets others read it has meant it.
    chmodSync(join(directory, "talk.json"), 0o644);
    await says(terminal, SUM, TWELVE);
    await says(terminal, "/save talk.json", "(saved 4 messages in talk.json)");
    await says(terminal, "/save notes.txt", "notes.txt: is there already, and is no conversation; give another name");
    expect(readFileSync(join(directory, "notes.txt"), "utf8")).toBe("mine");
    await says(terminal, "/load missing.json", "missing.json: no such file or directory");
    await says(terminal, "/load notes.txt", "notes.txt: is no JSON; /load takes what /save wrote");
    writeFileSync(join(directory, "odd.json"), '{"messages":[{"role":"user","content":1}]}');
    await says(
      terminal,
      "/load odd.json",
      "odd.json: messages[0] is no message of a chat: a role (user or assistant) and a content",
    );
    await leaves(terminal);
    const path = join(directory, "talk.json");
    expect(statSync(path).mode & 0o777).toBe(0o644);
    const saved = JSON.parse(readFileSync(path, "utf8"));
    expect(saved.messages.at(-1)).toEqual({ role: "assistant", content: TWELVE });

    const next = await chat([], { cwd: directory });
    await says(next, "/load talk.json", "(loaded 4 messages; /show shows them)");
    await says(next, "/undo", `(taken back: ${SUM})`);
    await says(next, "/undo", `(taken back: ${QUESTION})`);
  });

  test("one that is unknown is named; a path, or a space in front, is a message", async () => {
    const terminal = await chat(["--max-tokens", "1"], { rows: 60, columns: 200 });
    terminal.type(`/sav x${ENTER}`);
    await terminal.until(() => terminal.rows.join("").includes("there is no command '/sav' (did you mean '/save'?)"));
    await says(terminal, "/usr/bin/env is what?", "(cut off where the context or max-tokens ends)");
    await says(terminal, " /sav x", "(cut off where the context or max-tokens ends)");
  });
});

describe("a terminal that can't be drawn on", () => {
  test("has lines, and several of them for one message", async () => {
    const terminal = await chat([], { env: { TERM: "dumb" } });
    await says(terminal, QUESTION, PARIS);
    const goesOn = () => terminal.cursorRow.before === "  ";
    terminal.type(`What is\\${ENTER}`);
    await terminal.until(goesOn);
    terminal.type(`7 + 5?${ENTER}`);
    await terminal.until(() => terminal.rows.at(-1) === ">" && terminal.cursorRow.before === "> ");
    expect(terminal.rows.at(-2)).not.toBe(PARIS);
    terminal.type(`"""${ENTER}`);
    await terminal.until(goesOn);
    terminal.type(ctrl("c"));
    await terminal.until(() => terminal.rows.at(-2) === "(Ctrl-D leaves)");
    await says(terminal, QUESTION, PARIS);
    await leaves(terminal);
  });
});

describe("answers", () => {
  test("that try to act on the terminal are only shown", async () => {
    const hostile = [
      "\u001b]0;owned\u0007",
      "\u001b[2J\u001b[",
      "31mred\u009b1m",
      "\r",
      "\nback\bspace\r",
      "over\u001bc",
    ];
    const directory = newDirectory();
    writeScriptedModel(join(directory, "hostile"), [["<|says|>", ...hostile]], TEMPLATE);
    const terminal = await chat(["hostile"], { cwd: directory });
    await says(terminal, "Hello", "back^Hspace^Mover^[c");
    expect(terminal.rows.at(-3)).toBe("^[]0;owned^G^[[2J^[[31mred<9b>1m");
    await says(terminal, "/show", "back^Hspace^Mover^[c");
  });

  test("of a model that thinks have its thoughts above them, which a pipe does not get", async () => {
    const script = ["<|says|>", "<think>", "\n", "They", " greet", " me.\n", "</think>", "\n\n", "Hel", "lo", " you!"];
    const directory = newDirectory();
    const env = { PATH: process.env.PATH ?? "", WRINKLEFREE_STORE: join(directory, "store") };
    const opening = TEMPLATE.replace("<|says|>", "<|says|><think>");
    for (const [name, template] of [
      ["thinker", TEMPLATE],
      ["opened", opening],
    ] as const) {
      writeScriptedModel(join(directory, name), [script], `${template}{# </think> #}`);
      const terminal = await chat([name], { cwd: directory, env });
      await says(terminal, "Hello", "Hello you!");
      expect(terminal.rows.slice(-4, -2)).toEqual(["> Hello", "They greet me."]);
      const { stdout } = await runProgram(["chat", name, "-p", "Hello"], { cwd: directory, env });
      expect(stdout).toBe("Hello you!\n");
      const json = await runProgram(["chat", name, "-p", "Hello", "--json"], { cwd: directory, env });
      expect(JSON.parse(json.stdout).message).toEqual({
        role: "assistant",
        content: "Hello you!",
        reasoning_content: "They greet me.",
      });
      const server = await startServer([name], { cwd: directory, env });
      const remote = await chat(["--url", server.url], { cwd: directory, env });
      await says(remote, "Hello", "Hello you!");
      expect(remote.rows.slice(-4, -2)).toEqual(["> Hello", "They greet me."]);
      await server.stop();
    }
  });

  test("of a server stop at Ctrl-C, and its engine is free; a server that is gone is an error, after which the chat goes on", async () => {
    const server = await startServer([], { env: { PATH: process.env.PATH ?? "", WRINKLEFREE_CPU: "scalar" } });
    const terminal = await chat(["--url", server.url]);
    terminal.type(`Count from 3 to 12.${ENTER}`);
    await terminal.until(() => terminal.rows.join("").includes("9, 10, 11"));
    terminal.type(ctrl("c"));
    await terminal.until(() => terminal.rows.at(-2) === "(stopped)" && terminal.rows.at(-1) === ">");
    await untilIdle(server);
    await untilEngineIdle(server);
    await says(terminal, "/clear", "(forgotten)");
    await says(terminal, QUESTION, PARIS);
    await server.stop();
    terminal.type(`${SUM}${ENTER}`);
    await terminal.until(
      () => terminal.rows.slice(-3).join("").includes("nothing listens there") && terminal.rows.at(-1) === ">",
    );
    await leaves(terminal);
  });
});

describe("ways to it", () => {
  test("`wrinklefree` alone shows what one can do", async () => {
    const terminal = start([executable]);
    await terminal.until(() => terminal.rows.at(-1)?.includes("or Enter to leave:") ?? false);
    terminal.type(`99${ENTER}`);
    await terminal.until(() => terminal.rows.includes("There is no '99' in the list."));
    terminal.type(`1${ENTER}`);
    await terminal.until(() => terminal.rows.at(-1) === ">");
    await says(terminal, QUESTION, PARIS);
    await leaves(terminal);

    const other = start([executable]);
    await other.until(() => other.rows.at(-1)?.includes("or Enter to leave:") ?? false);
    await leaves(other, ENTER);
  });

  test("`wrinklefree` alone offers to chat with the models of the store that answer, and serves those that don't", async () => {
    const directory = newDirectory();
    const embedding = join(directory, "embedding");
    cpSync(join(fixtures, "tiny"), embedding, { recursive: true });
    mkdirSync(join(embedding, "1_Pooling"));
    const modules = [0, 1].map((index) => ({ path: index === 0 ? "" : "1_Pooling", type: MODULE_TYPES[index] }));
    writeFileSync(join(embedding, "modules.json"), JSON.stringify(modules));
    writeFileSync(join(embedding, "1_Pooling", "config.json"), JSON.stringify({ pooling_mode_mean_tokens: true }));
    const env = { WRINKLEFREE_STORE: join(directory, "store") };
    const choices = async () => {
      const terminal = start([executable], { env });
      await terminal.until(() => terminal.rows.at(-1)?.includes("or Enter to leave:") ?? false);
      const rows = terminal.rows.filter((row) => /^ +\d/.test(row)).map((row) => row.trim().slice(3));
      await leaves(terminal, ENTER);
      return rows.slice(0, 3);
    };
    expect((await runProgram(["serve", embedding, "--dry-run"], { env })).code).toBe(0);
    const demo = "chat with the demo model, which knows a few capitals and little else";
    expect((await choices()).slice(0, 2)).toEqual([demo, "serve embedding to programs, for embeddings"]);
    expect((await runProgram(["serve", join(fixtures, "tiny"), "--dry-run"], { env })).code).toBe(0);
    const serving = "serve tiny to web browsers and other programs";
    expect(await choices()).toEqual(["chat with tiny", demo, serving]);
  });

  test("`wrinklefree MODEL` chats with it", async () => {
    const terminal = start([executable, join(fixtures, "tiny")]);
    await terminal.until(() => terminal.rows.at(-1) === ">");
    await says(terminal, QUESTION, PARIS);
    await leaves(terminal);
  });

  test("a first message is edited as any other when a file is attached to it", async () => {
    const directory = newDirectory();
    writeFileSync(join(directory, "one.txt"), "first\n");
    const terminal = await chat(["-f", "one.txt"], { cwd: directory });
    expect(terminal.rows).toContain("(attached: one.txt, 6 bytes)");
    await types(terminal, `Hello${alt("b")}`, "▏Hello");
    terminal.type(`${ENTER}/show${ENTER}`);
    await terminal.until(() => terminal.rows.join("\n").includes("\nuser: one.txt:\n\nfirst\n\nHello\n"));
  });
});
