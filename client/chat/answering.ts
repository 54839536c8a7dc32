/**
 * Asking the model: sending, stopping, answering anew, going on. An answer that is cut off because the server went away waits for it
 * to come back and goes on from where it was.
 */

import { batch, effect } from "@preact/signals";
import { complete, promptOf } from "../api/completion.ts";
import { KeyNeeded, NotReady, Refused, Unreachable } from "../api/connection.ts";
import { requestKey } from "../api/model.ts";
import { health, untilReady } from "../api/status.ts";
import { type Attachment, type Ending, type Message, pathTo } from "../model/conversation.ts";
import { newId } from "../model/id.ts";
import { settings } from "../storage/preferences.ts";
import { tellTabs } from "../storage/tabs.ts";
import { changeConversation, conversationFor, putMessages } from "./conversations.ts";
import { FigureSum } from "./figure_sum.ts";
import { announce, conversations, type Live, live, messages, notify, open, openId, path } from "./state.ts";

/** What is kept of an answer that comes, this often: a page that is closed loses no more. */
const KEEP_MS = 500;

/** How often a server that says it is ready is asked in vain, and the milliseconds after the first time; they double. */
const TRIES_MAX = 5;
const FIRST_WAIT_MS = 250;

/** A frame of most screens. */
const FRAME_MS = 16;

/** An answer that comes. */
interface Run {
  conversation: string;
  stop: AbortController;
  /** Keeps what has come. */
  keep: () => void;
}

const runs = new Map<string, Run>();

addEventListener("pagehide", () => {
  for (const [id, { keep }] of runs) {
    keep();
    // Another tab must not wait for what nobody makes any more.
    tellTabs({ kind: "answering", message: id, isOver: true });
  }
});

// Nobody waits for the answers of a conversation that is deleted, here or in another tab.
effect(() => {
  const ids = new Set(conversations.value.map(({ id }) => id));
  for (const { conversation, stop } of runs.values()) if (!ids.has(conversation)) stop.abort();
});

/** Sends a message. */
export function send(content: string, attachments: Attachment[]): void {
  const conversation = conversationFor(content || (attachments[0]?.name ?? ""));
  const message = newMessage(conversation.id, conversation.leaf, "user", content);
  if (attachments.length > 0) message.attachments = attachments.map(({ name, text }) => ({ name, text }));
  putMessages(message);
  answerTo(message);
}

/** Sends a changed message in the place of one that was sent; the old one stays as a version. */
export function resend(message: Message, content: string): void {
  const changed = newMessage(message.conversation, message.parent, "user", content);
  if (message.attachments !== undefined) changed.attachments = message.attachments;
  putMessages(changed);
  answerTo(changed);
}

/** Gives the model the result of a tool that it called; it answers once all calls have theirs. */
export function giveResult(answer: Message, callId: string, content: string): void {
  const parent = open.value?.leaf ?? answer.id;
  const result = { ...newMessage(answer.conversation, parent, "tool", content), callId };
  putMessages(result);
  changeConversation(answer.conversation, { leaf: result.id, updated: result.created });
  const given = new Set(pathTo(messages.value, result.id).map((message) => message.callId));
  if ((answer.calls ?? []).every(({ id }) => given.has(id))) answerTo(result);
}

/** Answers the same message again; the old answer stays as a version. */
export function regenerate(answer: Message): void {
  const parent = answer.parent === null ? undefined : messages.value.get(answer.parent);
  if (parent === undefined) return;
  const { temperature, topP, minP } = settings.value;
  const isDrawn = (topP ?? 1) < 1 || (minP ?? 0) > 0;
  if ((temperature ?? (isDrawn ? 1 : (health.value?.default_temperature ?? 0))) === 0) {
    notify("At temperature 0 the same question has the same answer. The settings have the temperature.");
  }
  answerTo(parent);
}

/** Goes on with an answer that ended early. */
export function goOn(answer: Message): void {
  const { ending: _, error: __, ...rest } = answer;
  putMessages(rest);
  void run(rest);
}

/** A new version of an answer that begins with a text. */
export function answerFrom(answer: Message, beginning: string): void {
  begin(newMessage(answer.conversation, answer.parent, "assistant", beginning));
}

/** Stops the answer that comes in the open conversation. */
export function stopAnswer(): void {
  for (const { id } of path.value) runs.get(id)?.stop.abort();
}

function answerTo(message: Message): void {
  begin(newMessage(message.conversation, message.id, "assistant", ""));
}

function begin(answer: Message): void {
  batch(() => {
    putMessages({ ...answer, ending: "cut" });
    changeConversation(answer.conversation, { leaf: answer.id, updated: answer.created });
  });
  void run(answer);
}

function newMessage(conversation: string, parent: string | null, role: Message["role"], content: string): Message {
  return { id: newId(), conversation, parent, role, content, created: Date.now() };
}

/** Runs an answer to its end. What the message holds already is its beginning. */
async function run(message: Message): Promise<void> {
  const { conversation, id } = message;
  const stop = new AbortController();
  const before = pathTo(messages.value, message.parent);
  const system = conversations.value.find((each) => each.id === conversation)?.system ?? "";
  const now: Live = { content: message.content, reasoning: message.reasoning ?? "", calls: [...(message.calls ?? [])] };
  const figures = new FigureSum(message.figures);
  let model = message.model;
  let keptAt = performance.now();
  /** Requests in a row that brought nothing. */
  let failures = 0;

  const written = (ending: Ending, error?: string): Message => ({
    ...message,
    content: now.content,
    ...(now.reasoning === "" ? {} : { reasoning: now.reasoning }),
    ...(now.calls.length === 0 ? {} : { calls: now.calls }),
    ...(model === undefined ? {} : { model }),
    ...(figures.sum === undefined ? {} : { figures: figures.sum }),
    ending,
    ...(error === undefined ? {} : { error }),
  });
  const keep = () => putMessages(written("cut"));
  runs.set(id, { conversation, stop, keep });
  const show = shownSoon(id, now);
  tellTabs({ kind: "answering", message: id, isOver: false });

  /** One request. @returns how the answer ended. */
  async function once(): Promise<Ending> {
    let ending: Ending = "stop";
    // A call that was begun, and thoughts without an answer, can't be gone on with: they are made again.
    now.calls = [];
    if (now.content === "") now.reasoning = "";
    const soFar: Message[] = now.content === "" ? [] : [written("cut")];
    figures.begin();
    const prompt = promptOf(system, [...before, ...soFar], settings.value);
    for await (const piece of complete(prompt, settings.value, stop.signal)) {
      now.pause = undefined;
      failures = 0;
      if (piece.kind !== "progress" && piece.kind !== "end") {
        now.progress = undefined;
        figures.note();
      }
      if (piece.kind === "text") now.content += piece.text;
      else if (piece.kind === "reasoning") now.reasoning += piece.text;
      else if (piece.kind === "progress") now.progress = piece;
      else if (piece.kind === "call") {
        const call = now.calls[piece.index] ?? { id: "", name: "", arguments: "" };
        now.calls[piece.index] = {
          ...call,
          ...piece.call,
          arguments: call.arguments + (piece.call.arguments ?? ""),
        };
      } else {
        ({ model } = piece);
        figures.add(piece.figures);
        ending = piece.reason === "length" ? "length" : piece.reason === "tool_calls" ? "calls" : "stop";
      }
      show();
      if (performance.now() - keptAt > KEEP_MS) {
        keptAt = performance.now();
        keep();
      }
    }
    return ending;
  }

  let ending: Ending = "stop";
  let error: string | undefined;
  for (;;) {
    try {
      ending = await once();
    } catch (caught) {
      figures.stop();
      if (stop.signal.aborted) ending = "stopped";
      else if ((caught instanceof Unreachable || caught instanceof NotReady) && ++failures < TRIES_MAX) {
        now.pause = caught.message;
        now.progress = undefined;
        show();
        keep();
        try {
          await untilReady(stop.signal);
          await pause(FIRST_WAIT_MS * 2 ** (failures - 1), stop.signal);
          continue;
        } catch {
          ending = "stopped";
        }
      } else {
        ending = "error";
        error = isInWords(caught) ? caught.message : String(caught);
        if (caught instanceof KeyNeeded) requestKey(caught);
      }
    }
    break;
  }
  runs.delete(id);
  const finished = written(ending, error);
  batch(() => {
    putMessages(finished);
    changeConversation(conversation, { updated: Date.now() });
    const rest = new Map(live.value);
    rest.delete(id);
    live.value = rest;
  });
  tellTabs({ kind: "answering", message: id, isOver: true });
  if (conversation === openId.value) announce(error ?? finished.content);
}

function isInWords(error: unknown): error is Error {
  return [Refused, KeyNeeded, Unreachable, NotReady].some((kind) => error instanceof kind);
}

/** Waits. @throws the signal's reason. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Shows an answer at once, and then, whenever it is called, what has become of it, once a frame at most. */
function shownSoon(id: string, now: Live): () => void {
  const show = () => {
    live.value = new Map(live.value).set(id, { ...now });
  };
  show();
  let isPlanned = false;
  return () => {
    if (isPlanned) return;
    isPlanned = true;
    setTimeout(() => {
      isPlanned = false;
      // It may have ended since.
      if (runs.has(id)) show();
    }, FRAME_MS);
  };
}
