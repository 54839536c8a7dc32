/** The checks of `wrinklefree check`: each computes the same answers in different ways. */

import type { Engine, EngineOptions } from "../engine/engine.ts";
import type { FinishReason } from "../engine/events.ts";
import { defaultSampling, greedySampling } from "../engine/sampling.ts";
import { KV_BLOCK } from "../engine/symbols.ts";
import { Failure } from "../errors.ts";
import { plural } from "../terminal/plural.ts";
import type { TemplateMessage } from "../text/chat_template.ts";
import { type Answer, answer, gain, type Request, require, requireSame, type Subject } from "./subject.ts";

/** What is to be checked: returns what there is to say when all is well, throws Difference when it isn't. */
export type Check = (subject: Subject) => Promise<string>;

export const checks: [name: string, check: Check][] = [
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

async function checkPrefixCache(subject: Subject): Promise<string> {
  const sampling = greedySampling(24);
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
    const request = { prompt: secondPrompt, sampling: greedySampling(16) };
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
  const request = { prompt, sampling: greedySampling(subject.context) };
  const found = await subject.fresh(request);
  require(found.tokens.length === room &&
    found.reason ===
      "length", `${plural(found.tokens.length, "token")} (${found.reason}) after a prompt of ${prompt.length}; there was room for ${room}`);
  // In pieces of another size.
  requireSame("the prompt in other pieces", await subject.fresh(request, { batchTokens: 23 }), found);
  return `${prompt.length} tokens of prompt leave room for ${room}, which are written`;
}

async function checkOverflow(subject: Subject): Promise<string> {
  const prompt = subject.prompt(subject.context);
  return subject.withEngine(async (engine) => {
    let refusal: string | undefined;
    try {
      engine.generate(prompt, greedySampling(1));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      refusal = error.message;
    }
    require(refusal !== undefined, `a prompt of ${prompt.length} tokens was not refused`);
    const longest = await answer(engine, { prompt: prompt.subarray(1), sampling: greedySampling(subject.context) });
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
  const request = { prompt: subject.prompt(48, 7), sampling: { ...greedySampling(24), temperature: 1, seed: 7n } };
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
      // They show which weights matter. Some of them are made when the first token is drawn.
      await engine.copiesMade();
      for (const { prompt, sampling } of requests.filter(({ sampling }) => sampling.temperature > 0).slice(0, 1))
        await answer(engine, { prompt, sampling: { ...sampling, maxTokens: 1 } });
      await engine.copiesMade();
      const before = engine.stats().head_bytes;
      const answers = await Promise.all(requests.map((request) => answer(engine, request)));
      return { answers, headBytes: engine.stats().head_bytes - before };
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
  const long = greedySampling(subject.context);
  const neighbour = { prompt: subject.prompt(40, 50), sampling: greedySampling(48) };
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
