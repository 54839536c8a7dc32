/**
 * The options of every command that runs a model: which one, how many cores, how much memory.
 */

import { KV_KINDS } from "../engine/engine.ts";
import { BATCH_TOKENS_MAX, CONTEXT_MAX, THREADS_MAX } from "../engine/symbols.ts";
import { UsageError } from "../errors.ts";
import { allowedCpus, parseCpuList } from "../machine/cores.ts";
import { date, filledText, type Kind, oneOf, size, wholeNumber } from "../options/kinds.ts";
import type { Options, ValuesOf } from "../options/option.ts";
import type { Given, Setting } from "../options/settings.ts";
import type { ServiceOptions } from "../serving/service_plan.ts";
import type { TemplateSettings } from "../text/chat_template.ts";

/** Cores to pin to, in the kernel's notation. */
const cpuList: Kind<number[]> = {
  read(text, label) {
    const cpus = parseCpuList(text);
    if (cpus === undefined) throw new UsageError(`${label} takes a list such as 0-3,6, not '${text}'`);
    const allowed = allowedCpus();
    const stranger = cpus.find((cpu) => allowed !== undefined && !allowed.includes(cpu));
    if (stranger !== undefined) {
      throw new UsageError(`${label} names core ${stranger}; this process may run on ${allowed?.join(", ")}`);
    }
    if (new Set(cpus).size !== cpus.length) throw new UsageError(`${label} names a core twice: '${text}'`);
    return cpus;
  },
  isNumber: true,
};

/** Which model, where a command line need not name one. */
export const modelChoice = {
  model: {
    group: "Model",
    help: "the model, if it does not stand on the command line as MODEL",
    place: "anywhere",
    placeholder: "MODEL",
    kind: { ...filledText("a model"), completion: "model" } as Kind<string>,
    otherwise: "the demo",
  },
} as const satisfies Options;

/** The model of a command line whose first word may name it. @throws UsageError when it is named twice, or by nothing. */
export function chosenModel({ values, words, isOnLine }: Given<typeof modelChoice>): string | undefined {
  if (words[0] !== undefined && isOnLine("model")) {
    throw new UsageError(`the model is named twice: '${words[0]}' and --model ${values.model}`);
  }
  // A shell makes nothing of a variable that is not set.
  return words[0] === undefined ? values.model : modelChoice.model.kind.read(words[0], "MODEL");
}

/** The settings, with the MODEL that stands among the words of a command line. */
export function settingsWithModel<All extends Options>({ settings, words: [model] }: Given<All>): Setting[] {
  if (model === undefined) return settings;
  return settings.map((one) =>
    one.name === "model" ? { ...one, value: [model], sources: [{ kind: "option" }] } : one,
  );
}

/** The cores that compute. */
export const threadOptions = {
  threads: {
    group: "Cores and memory",
    help: "threads that compute",
    place: "anywhere",
    placeholder: "N",
    kind: wholeNumber(1, THREADS_MAX),
    otherwise: "one for each core",
  },
  cpus: {
    group: "Cores and memory",
    help: "pin the threads to these cores, as in 0-3,6",
    place: "anywhere",
    placeholder: "LIST",
    kind: cpuList,
  },
} as const satisfies Options;

/** How keys and values are kept. */
export const kvOption = {
  kv: {
    group: "Cores and memory",
    help: "how keys and values are kept: f32; f16 and q8 take half and a quarter of the memory and change answers slightly",
    place: "anywhere",
    placeholder: "KIND",
    kind: oneOf(KV_KINDS),
    default: "f32",
  },
} as const satisfies Options;

/** All of them. */
export const modelOptions = {
  ...threadOptions,
  ctx: {
    group: "Cores and memory",
    help: "tokens that one request may hold, prompt and answer",
    place: "anywhere",
    placeholder: "N",
    kind: wholeNumber(16, CONTEXT_MAX),
    otherwise: "what the model was made for: the most, unless LongRoPE stretched it",
  },
  memory: {
    group: "Cores and memory",
    help: "bytes for keys and values, as in 2G or 512M; one context at least",
    place: "anywhere",
    placeholder: "SIZE",
    kind: size,
    otherwise: "what all requests that are answered together can need",
  },
  "memory-budget": {
    group: "Cores and memory",
    help:
      "bytes that are kept at most, as in 2G or 900M: weights, copies of them that make steps faster, keys and values, and the program. " +
      "Of these, copies are made and prompts remembered as far as there is room. What requests hold comes on top, and so do pages of the " +
      "file that the system can take back",
    place: "anywhere",
    placeholder: "SIZE",
    kind: size,
    otherwise: "what the machine has, or this process' control group",
  },
  "batch-tokens": {
    group: "Cores and memory",
    help: "prompt tokens that one step computes at most",
    place: "anywhere",
    placeholder: "N",
    kind: wholeNumber(1, BATCH_TOKENS_MAX),
    otherwise: "as many as take a moment, 64 to 512",
  },
  ...kvOption,
  "parse-special-in-messages": {
    group: "Prompts",
    help:
      "control tokens such as <|eot_id|> that messages spell act as such; without it they are only characters there, " +
      "and nobody can end a turn but the chat template",
    place: "anywhere",
    isReloadable: true,
    isSwitch: true,
  },
  "template-date": {
    group: "Prompts",
    help: "the date that chat templates write into prompts, as in 2026-11-26",
    place: "anywhere",
    isReloadable: true,
    placeholder: "DATE",
    kind: date,
    otherwise: "that of each request, by UTC",
  },
} as const satisfies Options;

/** How a service is run that was given these. */
export function serviceOptions(values: ValuesOf<typeof modelOptions>, parallel: number): ServiceOptions {
  return {
    threads: values.threads ?? 0,
    cpus: values.cpus ?? [],
    context: values.ctx ?? 0,
    parallel,
    batchTokens: values["batch-tokens"] ?? 0,
    memory: values.memory ?? 0,
    kvKind: values.kv,
    memoryBudget: values["memory-budget"] ?? 0,
    wantsCopies: true,
    prompts: templateSettings(values),
  };
}

/** How prompts are made of messages. */
export function templateSettings(values: ValuesOf<typeof modelOptions>): TemplateSettings {
  return { messagesAreLiteral: !values["parse-special-in-messages"], date: values["template-date"] };
}
