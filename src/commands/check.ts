/**
 * `wrinklefree check`: whether a model's answers are the same however they are computed on this machine: from the prefix cache or
 * anew, alone or in a crowd, with one thread or all, with all weights or those that matter, with memory to spare or without. What the
 * cache and the crowd gain is measured on the way.
 */

import {
  defaultSampling,
  Engine,
  type EngineOptions,
  type FinishReason,
  Model,
  type Sampling,
} from "../engine/engine.ts";
import { cpuCores, cpuTier } from "../engine/library.ts";
import { KV_BLOCK, THREADS_MAX } from "../engine/symbols.ts";
import { Failure } from "../errors.ts";
import { type ModelConfig, parameterCount } from "../model_file/model_config.ts";
import { type ResolvedModel, resolveModel } from "../models/resolve.ts";
import { notice, results } from "../terminal/output.ts";
import type { ChatTemplate, TemplateMessage } from "../text/chat_template.ts";
import { openModelText } from "../text/model_text.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Command } from "./command.ts";
import { parseOptions, wholeNumber } from "./options.ts";

/** Context of the check unless --ctx says otherwise: large enough for several blocks, small enough for large models. */
const DEFAULT_CONTEXT = 512;

/** The smallest context in which every check has its blocks. */
const CONTEXT_MIN = 256;

export const command: Command = {
  name: "check",
  summary: "see whether a model's answers are the same however they are computed",
  usage: `usage: wrinklefree check [MODEL] [options]

Computes the same answers in different ways and compares them token by token: with and without the prefix cache, alone and
together, with one thread and all, with all weights and those that matter, with little memory, at the end of the context, after
cancelled requests. Prints a line for each, and the speed-up seen. MODEL is a packed file (.wf) or a Hugging Face directory;
without it, the demo model is checked. The exit code is 0 when all is well, 1 when anything differs.

  --concurrent N     requests that are answered together (default: 4)
  --threads N        threads that compute (default: one for each core)
  --ctx N            tokens of the context to check, from ${CONTEXT_MIN} (default: ${DEFAULT_CONTEXT}, or the model's if that is less)
  --help             show this text
`,
  run: check,
};

async function check(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      concurrent: { type: "string", default: "4" },
      threads: { type: "string" },
      ctx: { type: "string" },
    },
    1,
  );
  const concurrent = wholeNumber(values.concurrent, "concurrent", 2, 64);
  const threads = values.threads === undefined ? cpuCores() : wholeNumber(values.threads, "threads", 1, THREADS_MAX);
  const wantedContext = values.ctx === undefined ? undefined : wholeNumber(values.ctx, "ctx", CONTEXT_MIN, 1 << 24);
  const resolved = await resolveModel(positionals[0]);
  const { config } = resolved.packed;
  const context = wantedContext ?? Math.min(DEFAULT_CONTEXT, config.context);
  if (context > config.context || context < CONTEXT_MIN) {
    throw new Failure(
      `${resolved.name} has a context of ${config.context} tokens; the check takes ${CONTEXT_MIN} to that many, not ${context}`,
    );
  }
  const size = `${(parameterCount(config) / 1e6).toFixed(0)} million parameters`;
  const model = await openModel(resolved);
  try {
    const subject = new Subject(model, resolved, { threads, context, concurrent });
    results.write(
      `${resolved.name}, ${size}: ${cpuTier()} kernels, ${threads} threads, ${context} tokens of context\n`,
    );
    return (await runChecks(subject)) ? 0 : 1;
  } finally {
    model.close();
  }
}

async function openModel({ packed, path, bytes, name }: ResolvedModel): Promise<Model> {
  return bytes === undefined ? Model.open(path ?? packed.path) : Model.fromBytes(bytes, name);
}

/** What is to be checked: returns what there is to say when all is well, throws Difference when it isn't. */
type Check = (subject: Subject) => Promise<string>;

const checks: [name: string, check: Check][] = [
  ["prefix cache", checkPrefixCache],
  ["second turn", checkSecondTurn],
  ["context at 80 %", checkNearlyFullContext],
  ["context overflow", checkOverflow],
  ["together", checkTogether],
  ["threads", checkThreads],
  ["weights left out", checkWeightsLeftOut],
  ["little memory", checkLittleMemory],
  ["cancelling", checkCancelling],
];

/** Runs all checks, printing a line for each. Returns whether all passed. */
async function runChecks(subject: Subject): Promise<boolean> {
  let failures = 0;
  for (const [name, run] of checks) {
    const started = performance.now();
    let line: string;
    try {
      line = `pass  ${name}: ${await run(subject)}`;
    } catch (error) {
      if (!(error instanceof Difference || error instanceof Failure)) throw error;
      failures++;
      line = `FAIL  ${name}: ${error.message}`;
    }
    results.write(`${line} (${((performance.now() - started) / 1000).toFixed(1)} s)\n`);
  }
  results.write(failures === 0 ? "all is well\n" : `${failures} of ${checks.length} checks failed\n`);
  return failures === 0;
}

/** Something is not as it has to be; the message says what. */
class Difference extends Error {}

function require(condition: boolean, message: string): void {
  if (!condition) throw new Difference(message);
}

/** One finished request. */
interface Answer {
  tokens: number[];
  reason: FinishReason;
  /** Prompt tokens that came from the prefix cache. */
  cached: number;
  /** Milliseconds from submitting to the first token, and to the end. */
  firstTokenMs: number;
  totalMs: number;
}

/** A request: its prompt and how its tokens are chosen. */
interface Request {
  prompt: Uint32Array;
  sampling: Sampling;
}

/** The model that is checked, and what the checks need of it. */
class Subject {
  readonly context: number;
  readonly concurrent: number;
  readonly #model: Model;
  readonly #threads: number;
  readonly #config: ModelConfig;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;

  constructor(
    model: Model,
    { packed, given }: ResolvedModel,
    options: { threads: number; context: number; concurrent: number },
  ) {
    this.#model = model;
    this.#threads = options.threads;
    this.context = options.context;
    this.concurrent = options.concurrent;
    this.#config = packed.config;
    const { tokenizer, template } = openModelText(packed, given, (text) => notice(given, text));
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  /** Runs `use` with an engine of its own, whose cache is empty. */
  async withEngine<T>(use: (engine: Engine) => Promise<T>, options: Partial<EngineOptions> = {}): Promise<T> {
    const engine = await Engine.create(this.#model, {
      threads: this.#threads,
      maxSequences: this.concurrent,
      context: this.context,
      kvTokens: 0,
      batchTokens: 0,
      cpus: [],
      ...options,
    });
    try {
      return await use(engine);
    } finally {
      await engine.close();
    }
  }

  /** The answer of an engine that has seen nothing before. */
  fresh(request: Request, options: Partial<EngineOptions> = {}): Promise<Answer> {
    return this.withEngine((engine) => answer(engine, request), options);
  }

  /** A prompt of `length` tokens; different numbers give prompts that differ from the first token on. */
  prompt(length: number, number = 0): Uint32Array {
    let state = number + 1;
    // A linear congruential generator with the constants of Numerical Recipes; its upper bits are random enough.
    return Uint32Array.from({ length }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * this.#config.vocabSize);
    });
  }

  /** The prompt of a conversation, as the server makes it. */
  async chatPrompt(messages: TemplateMessage[]): Promise<Uint32Array> {
    const encoding = await this.#tokenizer.encode(this.#template.render(messages), this.context - 1);
    if ("ids" in encoding) return Uint32Array.from(encoding.ids);
    throw new Failure(`a conversation of ${this.context} tokens or more does not fit; raise --ctx`);
  }

  /** The text of an answer, without control tokens. */
  text(tokens: number[]): string {
    const visible = tokens.filter((token) => !this.#tokenizer.isSpecial(token));
    return Buffer.concat(visible.map((token) => this.#tokenizer.bytes(token))).toString();
  }

  /**
   * Requests of `promptTokens` tokens each that write `answerTokens`: greedy ones and ones with a seed by turns. So many in turn have
   * the same prompt.
   */
  requests(promptTokens: number, answerTokens: number, withSamePrompt: number): Request[] {
    return Array.from({ length: this.concurrent }, (_, i) => ({
      prompt: this.prompt(promptTokens, 100 + Math.floor(i / withSamePrompt)),
      sampling: { ...greedy(answerTokens), temperature: i % 2, seed: BigInt(i) },
    }));
  }
}

/** The likeliest tokens, exactly so many. */
function greedy(tokens: number): Sampling {
  return { ...defaultSampling(tokens), ignoreEos: true };
}

async function answer(engine: Engine, { prompt, sampling }: Request, signal?: AbortSignal): Promise<Answer> {
  const result: Answer = { tokens: [], reason: "cancelled", cached: 0, firstTokenMs: 0, totalMs: 0 };
  for await (const event of engine.generate(prompt, sampling, signal)) {
    result.totalMs = event.elapsedMs;
    if (event.kind === "progress") result.cached = event.cached;
    if (event.kind === "done") result.reason = event.reason;
    if (event.kind !== "token") continue;
    if (result.tokens.length === 0) result.firstTokenMs = event.elapsedMs;
    result.tokens.push(event.token);
  }
  return result;
}

function requireSame(what: string, found: Answer, expected: Answer): void {
  const at = expected.tokens.findIndex((token, i) => found.tokens[i] !== token);
  require(at < 0, `${what}: token ${at} of the answer is ${found.tokens[at]}, not ${expected.tokens[at]}`);
  require(found.tokens.length === expected.tokens.length &&
    found.reason ===
      expected.reason, `${what}: ended after ${found.tokens.length} tokens (${found.reason}), not ${expected.tokens.length} (${expected.reason})`);
}

/** How many times as fast, in words. */
function gain(slow: number, fast: number): string {
  return `${(slow / fast).toFixed(1)} times as fast`;
}

async function checkPrefixCache(subject: Subject): Promise<string> {
  const sampling = greedy(24);
  const prompt = subject.prompt(Math.floor(subject.context * 0.4));
  const middle = prompt.length >> 1;
  // The same as far as the middle, and another prompt from there on.
  const branch = prompt.map((token, i) => (i < middle ? token : (subject.prompt(prompt.length, 1)[i] as number)));
  const alone = await subject.fresh({ prompt: branch, sampling });
  return subject.withEngine(async (engine) => {
    const first = await answer(engine, { prompt, sampling });
    const second = await answer(engine, { prompt, sampling });
    const other = await answer(engine, { prompt: branch, sampling });
    const foreign = await answer(engine, { prompt, sampling: { ...sampling, scope: 1n } });
    requireSame("the same prompt again", second, first);
    requireSame("a prompt with the same beginning", other, alone);
    requireSame("the same prompt in another scope", foreign, first);
    // The last token is always computed, for its logits, and what is found are whole blocks.
    const findable = (tokens: number) => Math.floor(tokens / KV_BLOCK) * KV_BLOCK;
    const found = [first.cached, second.cached, other.cached, foreign.cached];
    const expected = [0, findable(prompt.length - 1), findable(middle), 0];
    require(found.join() ===
      expected.join(), `found ${found.join(", ")} tokens in the cache, not ${expected.join(", ")}`);
    const times = `${first.firstTokenMs.toFixed(1)} ms, then ${second.firstTokenMs.toFixed(1)} ms`;
    return `same tokens; ${prompt.length} prompt tokens take ${times}, ${gain(first.firstTokenMs, second.firstTokenMs)}`;
  });
}

async function checkSecondTurn(subject: Subject): Promise<string> {
  const messages: TemplateMessage[] = [
    {
      role: "user",
      content:
        "I am planning a week by the sea with two children. We like boats, old castles and long walks on the beach, but not crowds. " +
        "What is the capital of France, and how far is it from there to the sea?",
    },
  ];
  const next: TemplateMessage = { role: "user", content: "What should we take along?" };
  return subject.withEngine(async (engine) => {
    const prompt = await subject.chatPrompt(messages);
    const first = await answer(engine, { prompt, sampling: defaultSampling(32) });
    const reply: TemplateMessage = { role: "assistant", content: subject.text(first.tokens) };
    const secondPrompt = await subject.chatPrompt([...messages, reply, next]);
    const request = { prompt: secondPrompt, sampling: greedy(16) };
    const second = await answer(engine, request);
    const alone = await subject.fresh(request);
    requireSame("the second turn", second, alone);
    // An answer's last token was never computed, and its text may be cut into other tokens when it comes back.
    const known = [...prompt, ...first.tokens.slice(0, -1)];
    const differing = secondPrompt.findIndex((token, i) => token !== known[i]);
    const expected = Math.floor(Math.min(differing, secondPrompt.length - 1) / KV_BLOCK) * KV_BLOCK;
    const prefilled = secondPrompt.length - second.cached;
    require(second.cached ===
      expected, `${prefilled} of ${secondPrompt.length} prompt tokens were computed; ${differing} were known, so ${secondPrompt.length - expected} should have been`);
    return `${prefilled} of ${secondPrompt.length} prompt tokens are computed, the first token comes ${gain(alone.firstTokenMs, second.firstTokenMs)}`;
  });
}

async function checkNearlyFullContext(subject: Subject): Promise<string> {
  const prompt = subject.prompt(Math.floor(subject.context * 0.8));
  const room = subject.context - prompt.length;
  const request = { prompt, sampling: greedy(subject.context) };
  const found = await subject.fresh(request);
  require(found.tokens.length === room &&
    found.reason ===
      "length", `${found.tokens.length} tokens (${found.reason}) after a prompt of ${prompt.length}; there was room for ${room}`);
  // In pieces of another size.
  requireSame("the prompt in other pieces", await subject.fresh(request, { batchTokens: 23 }), found);
  return `${prompt.length} tokens of prompt leave room for ${room}, which are written`;
}

async function checkOverflow(subject: Subject): Promise<string> {
  const prompt = subject.prompt(subject.context);
  return subject.withEngine(async (engine) => {
    let refusal: string | undefined;
    try {
      engine.generate(prompt, greedy(1));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      refusal = error.message;
    }
    require(refusal !== undefined, `a prompt of ${prompt.length} tokens was not refused`);
    const longest = await answer(engine, { prompt: prompt.subarray(1), sampling: greedy(subject.context) });
    require(longest.tokens.length === 1 &&
      longest.reason ===
        "length", `a prompt of ${prompt.length - 1} tokens gave ${longest.tokens.length} tokens (${longest.reason}), not one`);
    return `${prompt.length} tokens of prompt are refused, ${prompt.length - 1} leave room for one`;
  });
}

async function checkTogether(subject: Subject): Promise<string> {
  // Two of each prompt: the second begins with what the first has computed of it, within a block too.
  const requests = subject.requests(KV_BLOCK + 15, 32, 2);
  const { answers: serial, ms: serialMs } = await subject.withEngine((engine) =>
    timed(async () => {
      const answers: Answer[] = [];
      for (const request of requests) answers.push(await answer(engine, request));
      return answers;
    }),
  );
  const { answers: together, ms: togetherMs } = await subject.withEngine((engine) =>
    timed(() => Promise.all(requests.map((request) => answer(engine, request)))),
  );
  for (const [i, found] of together.entries()) requireSame(`request ${i}`, found, serial[i] as Answer);
  return `${requests.length} requests, ${gain(serialMs, togetherMs)} as one after the other`;
}

async function timed(run: () => Promise<Answer[]>): Promise<{ answers: Answer[]; ms: number }> {
  const started = performance.now();
  const answers = await run();
  return { answers, ms: performance.now() - started };
}

async function checkThreads(subject: Subject): Promise<string> {
  const request = { prompt: subject.prompt(48, 7), sampling: { ...greedy(24), temperature: 1, seed: 7n } };
  const all = await subject.fresh(request);
  const one = await subject.fresh(request, { threads: 1 });
  const odd = await subject.fresh(request, { threads: 3 });
  requireSame("one thread", one, all);
  requireSame("three threads", odd, all);
  return `same tokens with one thread, three and all; all are ${gain(one.totalMs, all.totalMs)} as one`;
}

async function checkWeightsLeftOut(subject: Subject): Promise<string> {
  const requests = subject.requests(KV_BLOCK, subject.context >> 1, 1);
  const run = (options: Partial<EngineOptions>) =>
    subject.withEngine(async (engine) => {
      // They show which weights matter.
      await engine.copiesMade();
      const answers = await Promise.all(requests.map((request) => answer(engine, request)));
      return { answers, headBytes: engine.stats().head_bytes };
    }, options);
  const all = await run({ head: "exact", zeros: "multiply" });
  const some = await run({});
  for (const [i, found] of some.answers.entries()) requireSame(`request ${i}`, found, all.answers[i] as Answer);
  const tokens = some.answers.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const share = Math.round((100 * some.headBytes) / all.headBytes);
  return `same ${tokens} tokens, greedy and drawn, from ${share} % of the head's bytes`;
}

async function checkLittleMemory(subject: Subject): Promise<string> {
  // Together they need more than the pool has when they are about half done.
  const tokens = Math.floor(subject.context / 4);
  const requests = subject.requests(tokens, tokens + Math.ceil(KV_BLOCK * 1.5), 1);
  const expected = await subject.withEngine((engine) =>
    Promise.all(requests.map((request) => answer(engine, request))),
  );
  return subject.withEngine(
    async (engine) => {
      const found = await Promise.all(requests.map((request) => answer(engine, request)));
      for (const [i, one] of found.entries()) requireSame(`request ${i}`, one, expected[i] as Answer);
      const { pauses, blocks } = engine.stats();
      return `${requests.length} requests in ${blocks} blocks, ${pauses} put aside for a while; same tokens`;
    },
    { kvTokens: subject.context },
  );
}

async function checkCancelling(subject: Subject): Promise<string> {
  const long = greedy(subject.context);
  const neighbour = { prompt: subject.prompt(40, 50), sampling: greedy(48) };
  const alone = await subject.fresh(neighbour);
  return subject.withEngine(
    async (engine) => {
      const kept = answer(engine, neighbour);
      const [queued, prefilling, decoding] = [new AbortController(), new AbortController(), new AbortController()];
      const cancelled = [
        cancelAt(engine, { prompt: subject.prompt(8, 51), sampling: long }, decoding, "token"),
        cancelAt(engine, { prompt: subject.prompt(subject.context >> 1, 52), sampling: long }, prefilling, "progress"),
        answer(engine, { prompt: subject.prompt(8, 53), sampling: long }, queued.signal),
      ];
      queued.abort();
      for (const reason of (await Promise.all(cancelled)).map((one) => one.reason)) {
        require(reason === "cancelled", `a cancelled request ended with '${reason}'`);
      }
      requireSame("the request beside them", await kept, alone);
      const { running, waiting, blocks_used: used, blocks_cached: cached, blocks } = engine.stats();
      require(running === 0 &&
        waiting === 0 &&
        used === 0, `afterwards ${running} run, ${waiting} wait, ${used} of ${blocks} blocks are in use`);
      return `three requests at three stages; no block is in use afterwards, ${cached} of ${blocks} hold what may come again`;
    },
    // The last of them has to wait.
    { maxSequences: 3 },
  );
}

/** Cancels a request as soon as an event of this kind comes. */
async function cancelAt(
  engine: Engine,
  { prompt, sampling }: Request,
  controller: AbortController,
  kind: "token" | "progress",
): Promise<Pick<Answer, "reason">> {
  let reason: FinishReason = "stop";
  for await (const event of engine.generate(prompt, sampling, controller.signal)) {
    if (event.kind === kind) controller.abort();
    if (event.kind === "done") reason = event.reason;
  }
  return { reason };
}
