/** What one can ask of the chat itself: lines that begin with a slash. */

import { readdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { Failure, UsageError } from "../errors.ts";
import { nearest } from "../hub/nearest.ts";
import { harmless } from "../terminal/harmless.ts";
import type { Completion } from "../terminal/line_editor.ts";
import { notes } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import { describeOutcome } from "./answer_output.ts";
import type { Conversation } from "./conversation.ts";
import { loadConversation, saveConversation } from "./conversation_file.ts";
import { defaultOf, findSetting, readSetting, settingNames } from "./settings.ts";

/** What a command asks its caller to do: to say something to the model, or to leave. */
export type Request = { kind: "say"; text: string } | { kind: "leave" } | undefined;

interface SlashCommand {
  /** What follows it, for /help. */
  takes: string;
  summary: string;
  run(conversation: Conversation, rest: string): Request;
  /** What may follow it. */
  complete?(rest: string): string[];
}

/** Resets a setting, and takes instructions away. */
const DEFAULT = "default";
const OFF = "off";

const commands: Readonly<Record<string, SlashCommand>> = {
  help: { takes: "", summary: "this list", run: showHelp },
  system: {
    takes: "[TEXT | off]",
    summary: "show or change the instructions to the model",
    run: changeSystem,
    complete: (rest) => startingWith([OFF], rest),
  },
  set: {
    takes: "[NAME VALUE]",
    summary: "show or change how answers are chosen; 'default' resets",
    run: changeSetting,
    complete: (rest) =>
      startingWith(
        settingNames.map((name) => `${name} `),
        rest,
      ),
  },
  show: { takes: "", summary: "the conversation so far", run: showConversation },
  clear: { takes: "", summary: "forget the conversation", run: (conversation) => clear(conversation) },
  retry: { takes: "", summary: "answer the last message again", run: retry },
  undo: { takes: "", summary: "take back the last message and its answer", run: undo },
  save: { takes: "FILE", summary: "write the conversation to a file", run: save, complete: pathsStartingWith },
  load: { takes: "FILE", summary: "go on with a conversation that was saved", run: load, complete: pathsStartingWith },
  stats: { takes: "", summary: "what the answers took", run: showStatistics },
  bye: { takes: "", summary: "leave; so does Ctrl-D", run: () => ({ kind: "leave" }) },
};

/** Other words for them, as elsewhere. */
const aliases: Readonly<Record<string, string>> = { "?": "help", exit: "bye", quit: "bye", reset: "clear" };

/** Whether a text is meant for the chat itself: a path begins with a slash as well, but has another. */
export function isSlashCommand(text: string): boolean {
  return /^\/[a-z?]+(\s|$)/i.test(text);
}

/** Does what a line asks for. @throws Failure. */
export function runSlashCommand(text: string, conversation: Conversation): Request {
  const [, word = "", rest = ""] = /^\/(\S+)\s*(.*)$/s.exec(text.trim()) ?? [];
  const lower = word.toLowerCase();
  const name = Object.hasOwn(aliases, lower) ? (aliases[lower] as string) : lower;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    const [near] = nearest(name, Object.keys(commands));
    const hint = near === undefined ? "" : ` (did you mean '/${near}'?)`;
    throw new Failure(
      `there is no command '/${word}'${hint}; /help lists them, a space in front sends the line as a message`,
    );
  }
  if (command.takes === "" && rest !== "") throw new Failure(`/${name} takes nothing behind it`);
  return command.run(conversation, rest);
}

/** Completes commands, names of settings and files. */
export function completeSlashCommand(before: string): Completion {
  const found = /^\/(\S+)\s+(.*)$/.exec(before);
  if (found === null) {
    const names = Object.entries(commands).map(([name, { takes }]) => `/${name}${takes === "" ? "" : " "}`);
    return { start: 0, candidates: before.startsWith("/") ? startingWith(names, before) : [] };
  }
  const [, name = "", rest = ""] = found;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  return { start: before.length - rest.length, candidates: command?.complete?.(rest) ?? [] };
}

function startingWith(words: readonly string[], start: string): string[] {
  return words.filter((word) => word.startsWith(start));
}

function pathsStartingWith(start: string): string[] {
  const directory = start.endsWith("/") ? start : start.includes("/") ? dirname(start) : ".";
  const written = start.slice(0, start.lastIndexOf("/") + 1);
  try {
    const entries = readdirSync(expanded(directory), { withFileTypes: true });
    const names = entries.map((entry) => `${written}${entry.name}${entry.isDirectory() ? "/" : ""}`);
    return startingWith(names.sort(), start).filter((name) => harmless(name) === name);
  } catch {
    return [];
  }
}

/** A path with the home directory for a tilde, which no shell sees here. */
function expanded(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

function say(text: string): undefined {
  notes.write(`${text}\n`);
}

function showHelp(): undefined {
  const lines = Object.entries(commands).map(([name, { takes, summary }]) => {
    const others = Object.keys(aliases).filter((alias) => aliases[alias] === name);
    const same = others.length === 0 ? "" : `; also ${others.map((alias) => `/${alias}`).join(", ")}`;
    return [`/${name} ${takes}`, summary + same] as const;
  });
  const width = Math.max(...lines.map(([usage]) => usage.length));
  say(lines.map(([usage, summary]) => `  ${usage.padEnd(width)}  ${summary}`).join("\n"));
  say(`
  Enter sends. Several lines: Alt-Enter, a backslash at the end of a line, or
  """ before and after.
  Arrows go through what was entered before, Ctrl-R searches it, Tab completes.
  Ctrl-C clears the line or stops an answer.`);
}

function changeSystem(conversation: Conversation, rest: string): undefined {
  if (rest === "") return say(harmless(conversation.system ?? "(there are no instructions)"));
  conversation.system = rest === OFF ? undefined : rest;
  return say(rest === OFF ? "(no instructions from now on)" : "(from now on)");
}

function changeSetting(conversation: Conversation, rest: string): undefined {
  const [word, value, extra] = rest.split(/\s+/);
  if (!word) return say(settingNames.map((name) => `  ${describeSetting(conversation, name)}`).join("\n"));
  const name = findSetting(word);
  if (name === undefined) {
    const [near] = nearest(word, settingNames);
    throw new Failure(
      `there is no setting '${harmless(word)}'${near === undefined ? "" : ` (did you mean '${near}'?)`}; /set lists them`,
    );
  }
  if (value === undefined) return say(`  ${describeSetting(conversation, name)}`);
  if (extra !== undefined) throw new Failure(`/set ${name} takes one value`);
  if (value === DEFAULT) {
    const { [name]: _, ...others } = conversation.settings;
    conversation.settings = others;
  } else {
    conversation.settings = { ...conversation.settings, [name]: readValue(name, value) };
  }
  return say(`  ${describeSetting(conversation, name)}`);
}

function readValue(name: (typeof settingNames)[number], value: string): number | bigint {
  try {
    return readSetting(name, value, name);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new Failure(harmless(error.message));
  }
}

function describeSetting({ settings, model }: Conversation, name: (typeof settingNames)[number]): string {
  const value = settings[name];
  return `${name}: ${value ?? `default (${model.isRemote ? "the server's" : defaultOf(name)})`}`;
}

function showConversation({ model, messages }: Conversation): undefined {
  say(model.description);
  for (const { role, content } of messages) say(`\n${role}: ${harmless(content)}`);
}

function clear(conversation: Conversation): undefined {
  conversation.clear();
  return say("(forgotten)");
}

function retry(conversation: Conversation): Request {
  const text = conversation.again();
  if (text === undefined) throw new Failure("there is nothing to answer again");
  return { kind: "say", text };
}

function undo(conversation: Conversation): undefined {
  const text = conversation.undo();
  if (text === undefined) throw new Failure("there is nothing to take back");
  const [line = ""] = text.split("\n");
  return say(`(taken back: ${harmless(line.slice(0, 60))}${line === text && line.length <= 60 ? "" : "…"})`);
}

function save(conversation: Conversation, rest: string): undefined {
  if (rest === "") throw new Failure("/save takes a FILE");
  if (conversation.messages.length === 0) throw new Failure("there is nothing to save yet");
  saveConversation(expanded(rest), conversation.model.name, conversation.messages);
  return say(`(saved ${plural(conversation.messages.length, "message")} in ${harmless(rest)})`);
}

function load(conversation: Conversation, rest: string): undefined {
  if (rest === "") throw new Failure("/load takes a FILE");
  conversation.replace(loadConversation(expanded(rest)));
  return say(`(loaded ${plural(conversation.messages.length, "message")}; /show shows them)`);
}

function showStatistics({ statistics }: Conversation): undefined {
  const { last, answers, promptTokens, completionTokens } = statistics;
  if (last === undefined) return say("(no answer yet)");
  say(`the last answer: ${describeOutcome(last)}; the first token after ${inSeconds(last.counts.firstTokenMs)}`);
  return say(`all ${answers}: ${plural(promptTokens, "prompt token")}, ${plural(completionTokens, "token")}`);
}

function inSeconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
