/**
 * `wrinklefree chat`: talk to a model in the terminal. Only the model's words go to stdout, everything else to stderr, so that
 * `wrinklefree chat -p "…" > answer.txt` does what one expects.
 */

import { readAttachments, readStdin } from "../chat/attachments.ts";
import type { ChatModel } from "../chat/chat_model.ts";
import { Conversation } from "../chat/conversation.ts";
import { HistoryFile, historyPath } from "../chat/history_file.ts";
import { LocalModel } from "../chat/local_model.ts";
import { RemoteModel } from "../chat/remote_model.ts";
import { readSettings, settingOptions } from "../chat/settings.ts";
import { answerOnce, talk, talkInLines } from "../chat/talk.ts";
import { Failure, UsageError } from "../errors.ts";
import { resolveModel } from "../models/resolve.ts";
import { Service } from "../serving/service.ts";
import { notes } from "../terminal/output.ts";
import { readApiKeys } from "./api_keys.ts";
import type { Command } from "./command.ts";
import { modelOptions, modelOptionsUsage, readModelOptions } from "./model_options.ts";
import { parseOptions } from "./options.ts";
import { modelUsage, readStoreOptions, storeOptions, storeOptionsUsage } from "./store_options.ts";

/** Lines of --help that chat and run share. */
const optionsUsage = `  -p, --prompt TEXT  answer this and exit; - reads it from stdin
  -f, --file FILE    put a text file before the first message; may be given several times
  --lines            read messages from stdin, one a line (default: all that comes through a pipe is one message)
  --json             write each answer as a JSON object on a line
  --system TEXT      instructions that come before the conversation
  --temperature T    0 to 2 (default: 0, the likeliest token; 1 with --top-p, --top-k or --min-p)
  --top-p P, --top-k N, --min-p P, --repetition-penalty X
  --seed N           the same seed gives the same answers
  --max-tokens N     longest answer (default: to the end of the context)
  --no-history       keep nothing of what is entered ($XDG_STATE_HOME/wrinklefree/chat_history, else in ~/.local/state)
  --url URL          talk to a running server instead; MODEL is a name that it has
  --api-key KEY      its key, which WRINKLEFREE_API_KEY can hold as well
${modelOptionsUsage}
${storeOptionsUsage}
`;

export const command: Command = {
  name: "chat",
  summary: "talk to a model in the terminal",
  usage: `usage: wrinklefree chat [MODEL] [options]

${modelUsage} Without it, the demo model answers.
Ctrl-C stops an answer, Ctrl-D leaves, /help lists what else there is.

${optionsUsage}`,
  run: (args) => chat(args, 1),
};

export const runCommand: Command = {
  name: "run",
  summary: "talk to a model, or answer the question behind it: 'wrinklefree run MODEL What is 7 + 5?'",
  usage: `usage: wrinklefree run [MODEL [PROMPT…]] [options]
       wrinklefree MODEL [PROMPT…] [options]

Talks to a model, or answers PROMPT and exits. What comes through a pipe is put behind PROMPT.
${modelUsage}

${optionsUsage}`,
  run: (args) => chat(args, Infinity),
};

/** @param words how many words there may be: the model, and a prompt behind it. */
async function chat(args: string[], words: number): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...modelOptions,
      ...storeOptions,
      ...settingOptions,
      prompt: { type: "string", short: "p" },
      file: { type: "string", short: "f", multiple: true, default: [] },
      lines: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      system: { type: "string" },
      "no-history": { type: "boolean", default: false },
      url: { type: "string" },
      "api-key": { type: "string", multiple: true, default: [] },
    },
    words,
  );
  const [model, ...prompt] = positionals;
  if (prompt.length > 0 && values.prompt !== undefined)
    throw new UsageError("--prompt and a PROMPT can't be had together");
  const isPiped = process.stdin.isTTY !== true;
  const isOnce = prompt.length > 0 || values.prompt !== undefined;
  if (values.lines && isOnce)
    throw new UsageError("--lines reads the messages from stdin; a prompt can't be had with it");
  const settings = readSettings(values);
  const connect = await connection(model, values);
  // Before the model is loaded: what can't be read ends the command at once.
  const message = await firstMessage(values.prompt, prompt.join(" "), isPiped && !values.lines);
  const opened = await connect();
  try {
    notes.write(`${opened.description}\n`);
    const conversation = new Conversation(opened, settings, values.system);
    const options = { isJson: values.json, attached: await readAttachments(values.file, opened) };
    if (message !== undefined) {
      if (message === "" && options.attached === "") throw new Failure("there is no message on stdin");
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

interface ConnectionValues {
  url?: string;
  "api-key": string[];
  store?: string;
  pull?: boolean;
  offline?: boolean;
}

/** Checks the options of where the model is, and gives the function that opens it. @throws UsageError. */
async function connection(
  model: string | undefined,
  values: ConnectionValues & Parameters<typeof readModelOptions>[0],
): Promise<() => Promise<ChatModel>> {
  const { url, "api-key": keys } = values;
  if (url === undefined) {
    if (keys.length > 0) throw new UsageError("--api-key is for a server; give its --url");
    const [store, options] = [readStoreOptions(values), readModelOptions(values, 1)];
    return async () => new LocalModel(await Service.start(await resolveModel(model, store), options));
  }
  const local = [...Object.keys(modelOptions), ...Object.keys(storeOptions)].find(
    (name) => values[name as keyof typeof values],
  );
  if (local !== undefined) throw new UsageError(`--${local} is for a model in this process, and --url names a server`);
  const address = URL.parse(url);
  if (address === null || !/^https?:$/.test(address.protocol)) {
    throw new UsageError(`--url takes an address such as http://localhost:30000, not '${url}'`);
  }
  const [key] = readApiKeys(keys, []);
  return () => RemoteModel.connect(address, key, model);
}
