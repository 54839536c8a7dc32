/**
 * `wrinklefree chat`: talk to a model in the terminal. Only the model's words go to stdout, everything else to stderr, so that
 * `wrinklefree chat -p "…" > answer.txt` does what one expects.
 */

import { createInterface } from "node:readline";
import { timings } from "../api/timings.ts";
import { defaultSampling, type Sampling } from "../engine/sampling.ts";
import { Failure, UsageError } from "../errors.ts";
import { resolveModel } from "../models/resolve.ts";
import { contextLengthExceeded } from "../serving/request_error.ts";
import { Service } from "../serving/service.ts";
import { notes, results } from "../terminal/output.ts";
import type { PromptText } from "../text/added_tokens.ts";
import type { TemplateMessage } from "../text/chat_template.ts";
import { type Counts, generate } from "../text/generation.ts";
import { TemplateError } from "../text/jinja/errors.ts";
import type { Command } from "./command.ts";
import { modelOptions, modelOptionsUsage, readModelOptions } from "./model_options.ts";
import { decimalNumber, parseOptions, wholeNumber } from "./options.ts";
import { modelUsage, readStoreOptions, storeOptions, storeOptionsUsage } from "./store_options.ts";

export const command: Command = {
  name: "chat",
  summary: "talk to a model in the terminal",
  usage: `usage: wrinklefree chat [MODEL] [options]

${modelUsage} Without it, the demo model answers.
Ctrl-C stops an answer, Ctrl-D leaves, /clear forgets what was said.

  -p, --prompt TEXT  answer this and exit
  --system TEXT      instructions that come before the conversation
  --temperature T    0 to 2 (default: 0, the likeliest token; 1 with --top-p, --top-k or --min-p)
  --top-p P, --top-k N, --min-p P, --repetition-penalty X
  --seed N           the same seed gives the same answers
  --max-tokens N     longest answer (default: to the end of the context)
${modelOptionsUsage}
${storeOptionsUsage}
`,
  run: chat,
};

async function chat(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...modelOptions,
      ...storeOptions,
      prompt: { type: "string", short: "p" },
      system: { type: "string" },
      temperature: { type: "string" },
      "top-p": { type: "string" },
      "top-k": { type: "string" },
      "min-p": { type: "string" },
      "repetition-penalty": { type: "string" },
      seed: { type: "string" },
      "max-tokens": { type: "string" },
    },
    1,
  );
  const sampling = readSampling(values);
  const service = await Service.start(
    await resolveModel(positionals[0], readStoreOptions(values)),
    readModelOptions(values, 1),
  );
  try {
    notes.write(`${service.name}: ${service.description}\n`);
    const conversation = new Conversation(service, sampling, values.system);
    if (values.prompt !== undefined) await answerOnce(conversation, values.prompt);
    else await talk(conversation);
  } finally {
    await service.close();
  }
  return 0;
}

interface SamplingValues {
  temperature?: string;
  "top-p"?: string;
  "top-k"?: string;
  "min-p"?: string;
  "repetition-penalty"?: string;
  seed?: string;
  "max-tokens"?: string;
}

function readSampling(values: SamplingValues): Sampling {
  const decimal = (name: keyof SamplingValues, low: number, high: number, otherwise: number) =>
    values[name] === undefined ? otherwise : decimalNumber(values[name], name, low, high);
  const isSampled = values["top-p"] !== undefined || values["top-k"] !== undefined || values["min-p"] !== undefined;
  const { seed, "max-tokens": maxTokens, "top-k": topK } = values;
  if (seed !== undefined && !/^-?\d{1,20}$/.test(seed))
    throw new UsageError(`--seed takes a whole number, not '${seed}'`);
  const random = crypto.getRandomValues(new BigUint64Array(1))[0] as bigint;
  return {
    ...defaultSampling(maxTokens === undefined ? 2 ** 31 - 1 : wholeNumber(maxTokens, "max-tokens", 1, 2 ** 31 - 1)),
    temperature: decimal("temperature", 0, 2, isSampled ? 1 : 0),
    topP: decimal("top-p", 0, 1, 1),
    topK: topK === undefined ? 0 : wholeNumber(topK, "top-k", 0, 2 ** 31 - 1),
    minP: decimal("min-p", 0, 1, 0),
    repetitionPenalty: decimal("repetition-penalty", 0.001, 1000, 1),
    seed: BigInt.asUintN(64, seed === undefined ? random : BigInt(seed)),
  };
}

/** What was said so far. */
class Conversation {
  readonly #service: Service;
  readonly #sampling: Sampling;
  readonly #beginning: TemplateMessage[];
  #turns: TemplateMessage[] = [];

  constructor(service: Service, sampling: Sampling, system: string | undefined) {
    this.#service = service;
    this.#sampling = sampling;
    this.#beginning = system === undefined ? [] : [{ role: "system", content: system }];
  }

  /** Forgets everything but the system's instructions. */
  clear(): void {
    this.#turns = [];
  }

  /** Says something and writes the answer to stdout as it comes. Resolves to what it cost. */
  async say(content: string, signal: AbortSignal): Promise<Counts> {
    this.#turns.push({ role: "user", content });
    let prompt: number[];
    try {
      prompt = await this.#prompt();
    } catch (error) {
      this.#turns.pop();
      throw error;
    }
    let answer = "";
    let counts: Counts | undefined;
    for await (const event of generate(this.#service, { prompt, sampling: this.#sampling, stops: [], signal })) {
      if (event.kind === "end") {
        counts = event.counts;
      } else if (event.kind === "text") {
        answer += event.text;
        results.write(event.text);
      }
    }
    results.write("\n");
    this.#turns.push({ role: "assistant", content: answer });
    return counts as Counts;
  }

  /** The ids of the conversation, of which the oldest turns are forgotten when it outgrows the context. */
  async #prompt(): Promise<number[]> {
    const { template, tokenizer, context } = this.#service;
    for (;;) {
      const encoding = await tokenizer.encode(this.#render(template), context - 1);
      if ("ids" in encoding) return encoding.ids;
      if ("indivisible" in encoding) {
        throw new Failure(`the tokenizer can't divide ${encoding.indivisible} characters in a row; break them up`);
      }
      if (this.#turns.length === 1) {
        throw new Failure(contextLengthExceeded("messages", context, encoding.tooLong, encoding.isExact).message);
      }
      this.#turns = this.#turns.slice(2);
      notes.write("(the conversation is longer than the context: its beginning is forgotten)\n");
    }
  }

  #render(template: Service["template"]): PromptText {
    try {
      return template.prompt([...this.#beginning, ...this.#turns]);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      throw new Failure(`the model's chat template does not accept this conversation: ${error.message}`);
    }
  }
}

async function answerOnce(conversation: Conversation, prompt: string): Promise<void> {
  const speed = timings([await conversation.say(prompt, new AbortController().signal)]);
  notes.write(
    `${speed.prompt_n} prompt tokens, ${speed.prompt_per_second} per second; ` +
      `${speed.predicted_n} tokens, ${speed.predicted_per_second} per second\n`,
  );
}

/** Reads lines and answers each, until the end of the input. */
async function talk(conversation: Conversation): Promise<void> {
  const isTerminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: isTerminal, prompt: "> " });
  let isOpen = true;
  let answering: AbortController | undefined;
  const showPrompt = () => {
    if (isTerminal && isOpen) lines.prompt();
  };
  lines.on("close", () => {
    isOpen = false;
  });
  lines.on("SIGINT", () => {
    if (answering !== undefined) {
      answering.abort();
      return;
    }
    notes.write("\n(Ctrl-D leaves)\n");
    showPrompt();
  });
  showPrompt();
  for await (const line of lines) {
    const text = line.trim();
    if (text === "/clear") {
      conversation.clear();
    } else if (text !== "") {
      answering = new AbortController();
      try {
        await conversation.say(text, answering.signal);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        notes.write(`${error.message}\n`);
      }
      answering = undefined;
    }
    showPrompt();
  }
}
