/** A conversation with whoever sits at the terminal, or with lines that come through a pipe. */

import { createInterface } from "node:readline";
import { Failure } from "../errors.ts";
import { InputHistory } from "../terminal/input_history.ts";
import { LineEditor } from "../terminal/line_editor.ts";
import { notes, results } from "../terminal/output.ts";
import { dim } from "../terminal/style.ts";
import { TerminalInput } from "../terminal/terminal_input.ts";
import { describeOutcome, writeAnswer } from "./answer_output.ts";
import type { Conversation } from "./conversation.ts";
import type { HistoryFile } from "./history_file.ts";
import { continuedText, messageOf } from "./message_lines.ts";
import { completeSlashCommand, isSlashCommand, runSlashCommand } from "./slash_commands.ts";

/** How to talk. */
export interface TalkOptions {
  /** Each answer is one JSON object. */
  isJson: boolean;
  /** Text that goes before the first message. */
  attached: string;
}

/** @param newLine what starts a new line of a message. */
const hint = (newLine: string) =>
  `Enter sends, ${newLine} starts a new line.\n/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves.\n`;

/** Answers one message. */
export async function answerOnce(conversation: Conversation, text: string, options: TalkOptions): Promise<void> {
  const answer = conversation.say(options.attached + text, new AbortController().signal);
  notes.write(`${describeOutcome(await writeAnswer(answer, conversation.model.name, options.isJson))}\n`);
}

/** Whether there is a terminal that an editor can draw on. */
function canEdit(): boolean {
  return process.stdin.isTTY === true && notes.canDraw;
}

/** Talks with the person at the terminal. @param history entries of earlier chats; undefined: they are of no interest. */
export async function talk(
  conversation: Conversation,
  history: HistoryFile | undefined,
  options: TalkOptions,
): Promise<void> {
  if (!canEdit()) {
    notes.write(hint("a backslash before it"));
    return await talkInLines(conversation, { ...options, isAsking: true });
  }
  notes.write(dim(hint("Alt-Enter")));
  const input = TerminalInput.open();
  const editor = new LineEditor(input, {
    history: new InputHistory(history?.read() ?? [], history),
    complete: completeSlashCommand,
    continuation: continuedText,
  });
  const session = new Session(conversation, options);
  input.onInterrupt = () => session.stop();
  try {
    for (let interrupts = 0; interrupts < 2; ) {
      const entered = await editor.read();
      if (entered.kind === "end") break;
      if (entered.kind === "interrupt") {
        if (++interrupts === 1) notes.write("(Ctrl-C again or Ctrl-D leaves)\n");
        continue;
      }
      interrupts = 0;
      if (!(await session.take(entered.text))) break;
    }
  } finally {
    input.close();
    await history?.close();
  }
}

/**
 * Talks in lines: one message a line, as they come through a pipe; or with a person at a terminal that can't be drawn on, whose messages may
 * go on over several lines.
 */
export async function talkInLines(
  conversation: Conversation,
  options: TalkOptions & { isAsking: boolean },
): Promise<void> {
  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
  const session = new Session(conversation, options);
  const ask = (prompt: string) => {
    if (options.isAsking) notes.write(prompt);
  };
  let text = "";
  const onInterrupt = () => {
    if (session.stop()) return;
    text = "";
    notes.write("\n(Ctrl-D leaves)\n");
    ask("> ");
  };
  if (options.isAsking) process.on("SIGINT", onInterrupt);
  try {
    ask("> ");
    for await (const line of lines) {
      text += line;
      const longer = options.isAsking ? continuedText(text) : undefined;
      if (longer !== undefined) {
        text = longer;
        ask("  ");
        continue;
      }
      const complete = text;
      text = "";
      if (!(await session.take(complete))) break;
      ask("> ");
    }
    ask("\n");
  } finally {
    process.off("SIGINT", onInterrupt);
    lines.close();
  }
}

/** Acts on what was entered. */
class Session {
  readonly #conversation: Conversation;
  readonly #isJson: boolean;
  /** Goes before the next message. */
  #attached: string;
  #answering: AbortController | undefined;

  constructor(conversation: Conversation, { isJson, attached }: TalkOptions) {
    this.#conversation = conversation;
    this.#isJson = isJson;
    this.#attached = attached;
  }

  /** Stops the answer; false when there is none. */
  stop(): boolean {
    this.#answering?.abort();
    return this.#answering !== undefined;
  }

  /** Does what a text asks for, or answers it. @returns false when that was to leave. */
  async take(text: string): Promise<boolean> {
    // A space in front makes a message of what would be a command.
    const isCommand = isSlashCommand(text);
    const message = isCommand ? "" : messageOf(text);
    if (!isCommand && message === "") return true;
    try {
      const request = isCommand ? runSlashCommand(text, this.#conversation) : { kind: "say" as const, text: message };
      if (request?.kind === "leave") return false;
      if (request?.kind === "say") await this.#answer(request.text);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      notes.write(`${error.message}\n`);
      if (this.#isJson && !isCommand) results.write(`${JSON.stringify({ error: { message: error.message } })}\n`);
    }
    return true;
  }

  async #answer(text: string): Promise<void> {
    this.#answering = new AbortController();
    try {
      const answer = this.#conversation.say(this.#attached + text, this.#answering.signal);
      const { reason } = await writeAnswer(answer, this.#conversation.model.name, this.#isJson);
      this.#attached = "";
      if (reason === "cancelled") notes.write(dim("(stopped)\n"));
      else if (reason === "length") notes.write(dim("(cut off where the context or max-tokens ends)\n"));
    } finally {
      this.#answering = undefined;
    }
  }
}
