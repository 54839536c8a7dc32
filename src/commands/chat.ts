/**
 * `wrinklefree chat`: talk to a model in the terminal. Only the model's words go to stdout, everything else to stderr, so that
 * `wrinklefree chat -p "…" > answer.txt` does what one expects.
 */

import { attachedText, readAttachments, readStdin } from "../chat/attachments.ts";
import type { ChatModel } from "../chat/chat_model.ts";
import { Conversation } from "../chat/conversation.ts";
import { HistoryFile, historyPath } from "../chat/history_file.ts";
import { LocalModel } from "../chat/local_model.ts";
import { RemoteModel } from "../chat/remote_model.ts";
import { settingOptions, settingsOf } from "../chat/settings.ts";
import { answerOnce, talk, talkInLines } from "../chat/talk.ts";
import { Failure, UsageError } from "../errors.ts";
import { requireAnswers, resolveModel } from "../models/resolve.ts";
import { file, type Kind, text } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { isHashed } from "../server/key_file.ts";
import { Service } from "../serving/service.ts";
import { notes } from "../terminal/output.ts";
import { hideKeys, keyOption } from "./api_keys.ts";
import { declareCommand } from "./command.ts";
import { chosenModel, modelChoice, modelOptions, serviceOptions } from "./model_options.ts";
import { modelHelp, resolveOptions, storeOptions } from "./store_options.ts";

const address: Kind<URL> = {
  read(value, label) {
    const url = URL.parse(value);
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new UsageError(`${label} takes an address such as http://localhost:30000, not '${value}'`);
    }
    return url;
  },
};

/** The options that chat and run share. */
const chatOptions = {
  prompt: {
    group: "Messages",
    short: "p",
    help: "answer this and exit; - reads it from stdin",
    place: "line",
    placeholder: "TEXT",
    kind: text,
  },
  file: {
    group: "Messages",
    short: "f",
    help: "put a text file before the first message",
    place: "line",
    placeholder: "FILE",
    kind: file,
    isList: true,
  },
  lines: {
    group: "Messages",
    help: "read messages from stdin, one a line; without it, all that comes through a pipe is one message",
    place: "line",
    isSwitch: true,
  },
  json: {
    group: "Messages",
    help: "write each answer as a JSON object on a line",
    place: "line",
    isSwitch: true,
  },
  system: {
    group: "Messages",
    help: "instructions that come before the conversation",
    place: "anywhere",
    placeholder: "TEXT",
    kind: text,
  },
  "no-history": {
    group: "Messages",
    help: "keep nothing of what is entered, in $XDG_STATE_HOME/wrinklefree/chat_history, else in ~/.local/state",
    place: "anywhere",
    isSwitch: true,
  },
  ...settingOptions,
  url: {
    group: "A running server",
    help: "talk to a running server instead; MODEL is a name that it has",
    place: "anywhere",
    placeholder: "URL",
    kind: address,
  },
  "api-key": { ...keyOption["api-key"], group: "A running server" },
  ...modelChoice,
  ...modelOptions,
  ...storeOptions,
} as const satisfies Options;

export const command = declareCommand({
  name: "chat",
  summary: "talk to a model in the terminal",
  synopsis: ["chat [MODEL] [options]"],
  description: [
    `${modelHelp} Without it, the demo model answers.`,
    "Ctrl-C stops an answer, Ctrl-D leaves, /help lists what else there is.",
  ],
  options: chatOptions,
  wordsMax: 1,
  words: ["model"],
  run: (given) => chat(given, chosenModel(given), []),
});

export const runCommand = declareCommand({
  name: "run",
  summary: "talk to a model, or answer the question behind it: 'wrinklefree run MODEL What is 7 + 5?'",
  synopsis: ["run [MODEL [PROMPT…]] [options]", "MODEL [PROMPT…] [options]"],
  description: [
    "Talks to a model, or answers PROMPT and exits. What comes through a pipe is put behind PROMPT. With --model, all words are PROMPT.",
    modelHelp,
    "Settings are those of chat: a configuration file has them below [chat].",
  ],
  options: chatOptions,
  settingsOf: "chat",
  wordsMax: Number.POSITIVE_INFINITY,
  words: ["model", "file"],
  run(given) {
    const { values, words, isOnLine } = given;
    return isOnLine("model") ? chat(given, values.model, words) : chat(given, chosenModel(given), words.slice(1));
  },
});

async function chat(given: Given<typeof chatOptions>, model: string | undefined, prompt: string[]): Promise<number> {
  const { values } = given;
  if (prompt.length > 0 && values.prompt !== undefined)
    throw new UsageError("--prompt and a PROMPT can't be had together");
  const isPiped = process.stdin.isTTY !== true;
  const isOnce = prompt.length > 0 || values.prompt !== undefined;
  if (values.lines && isOnce)
    throw new UsageError("--lines reads the messages from stdin; a prompt can't be had with it");
  const settings = settingsOf(values);
  const connect = connection(model, given);
  // Before the model is loaded: what can't be read ends the command at once.
  const message = await firstMessage(values.prompt, prompt.join(" "), isPiped && !values.lines);
  const attachments = await readAttachments(values.file);
  const opened = await connect();
  try {
    notes.write(`${opened.description}\n`);
    const conversation = new Conversation(opened, settings, values.system);
    const options = { isJson: values.json, attached: await attachedText(attachments, opened) };
    if (message !== undefined) {
      if (message === "" && attachments.length === 0) {
        throw new Failure(isOnce && values.prompt !== "-" ? "the message is empty" : "there is no message on stdin");
      }
      await answerOnce(conversation, message, options);
    } else if (isPiped) {
      await talkInLines(conversation, { ...options, isAsking: false });
    } else {
      await talk(conversation, values["no-history"] ? undefined : new HistoryFile(historyPath()), options);
    }
  } finally {
    await opened.close();
  }
  return 0;
}

/** The message that is answered once; undefined: there is a conversation. */
async function firstMessage(
  option: string | undefined,
  words: string,
  isStdinWanted: boolean,
): Promise<string | undefined> {
  if (option !== undefined) return option === "-" ? await readStdin() : option;
  if (!isStdinWanted) return words === "" ? undefined : words;
  return [words, await readStdin()].filter((part) => part !== "").join("\n\n");
}

/** Checks the options of where the model is, and gives the function that opens it. @throws UsageError. */
function connection(model: string | undefined, given: Given<typeof chatOptions>): () => Promise<ChatModel> {
  const { values, isOnLine } = given;
  const { url } = values;
  if (url === undefined) {
    if (isOnLine("api-key")) throw new UsageError("--api-key is for a server; give its --url");
    const [store, options] = [resolveOptions(given), serviceOptions(values, 1)];
    return async () => {
      const resolved = await resolveModel(model, store);
      requireAnswers(resolved);
      return new LocalModel(await Service.start(resolved, options));
    };
  }
  const local = [...Object.keys(modelOptions), ...Object.keys(storeOptions)].find((name) =>
    isOnLine(name as keyof typeof chatOptions),
  );
  if (local !== undefined) throw new UsageError(`--${local} is for a model in this process, and --url names a server`);
  hideKeys(given);
  // Those of all places stand in a list, the nearest last.
  const key = values["api-key"].at(-1);
  if (key !== undefined && isHashed(key)) {
    throw new UsageError("--api-key has the hash of a key, and the server at --url wants the key itself");
  }
  return () => RemoteModel.connect(url, key, model);
}
