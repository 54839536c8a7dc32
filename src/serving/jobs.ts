/**
 * Who is being served: counts the answers that wait for their first token and those that are being written, bounds their number, the
 * prompts that wait with them and the memory that they take, and knows how to wait for all of them or to end them, which is what shutting down needs.
 *
 * Places are taken before a prompt is tokenized, for the most tokens that its text can have, and corrected afterwards: what is
 * checked is what is counted, however many requests arrive meanwhile. Nothing waits here. Who is admitted goes on to the engine,
 * whose queue is first come, first served; who is not is told at once, and when to come back.
 *
 * An answer that the engine has finished is still under way until its reader has taken it, but keeps nobody else out: readers may
 * take as long as they like.
 */

import { plural } from "../terminal/plural.ts";
import { invalid, queueTokensExceeded, RequestError } from "./request_error.ts";

/** Finished answers that wait for their readers at once; each holds its tokens in memory. */
const UNREAD_MAX = 1024;

/** What answers may take together until they are sent, in bytes, where there is room for them. */
export const ANSWER_BYTES_MAX = 512 * 1024 * 1024;

/** The part of that which answers of requests for much may take: slow readers of a few of them must not keep everybody else out. */
const LARGE_ANSWERS_SHARE = 0.75;

/** A request asks for much when its answers may take more bytes: those to a plain question never do. */
const SMALL_ANSWER_BYTES_MAX = 8 * 1024 * 1024;

/** What the answers to one request may take at most: they are written in one go. */
const REQUEST_ANSWER_BYTES_MAX = 128 * 1024 * 1024;

/** How much may be under way. */
export interface JobLimits {
  /** Answers in the engine at once, waiting and being written. */
  answers: number;
  /** Tokens of the prompts whose answers have not begun. */
  promptTokens: number;
}

/** One answer's place. */
export interface Job {
  /** Fires when the answer has to end: the client left, or the server stops waiting for it. */
  readonly signal: AbortSignal;
  /** Ends the answer. */
  abort(): void;
  /** The first token came. */
  start(): void;
  /** The answer is over. Further calls do nothing. */
  finish(): void;
  /**
   * How many tokens the prompt really has, before the answers go on to the engine. Said of one answer of a request it holds for
   * all of them.
   *
   * @param param the request's parameter that holds the prompt.
   * @throws RequestError 400 when that many are never admitted.
   */
  setPromptTokens(tokens: number, param: string): void;
}

/** The prompt that the answers to one request share. */
interface SharedPrompt {
  /** While it waits; 0 afterwards. */
  tokens: number;
  /** Answers that have neither begun nor ended. */
  waiting: number;
  /** Answers that have not gone on to the engine: all of them until the tokens are counted, then none. */
  unsubmitted: number;
  /** The most tokens that it may have: what held when it was admitted. */
  readonly tokensMax: number;
}

/** Retry-After stays within these, in seconds. */
const RETRY_AFTER_MIN_S = 1;
const RETRY_AFTER_MAX_S = 60;

/** The answers of one server. */
export class Jobs {
  /** Answers without a token yet. */
  waiting = 0;
  /** Answers being written, or finished and not read to their end. */
  running = 0;
  /** Tokens of the prompts whose answers have not begun, or the most that they can have where that is not known yet. */
  waitingTokens = 0;
  /** Whether answers are ended because the server stops. */
  areCutOff = false;
  /** The most bytes that the answers take which are not sent. */
  answerBytes = 0;
  /** What holds for requests that come from now on. */
  limits: JobLimits;
  /** What answers may take together until they are sent. */
  answerBytesMax = ANSWER_BYTES_MAX;
  readonly #engineLoad: () => number;
  /** Answers whose prompts are being tokenized. */
  #unsubmitted = 0;
  /** Ends an answer, and when it was admitted; the oldest first. */
  readonly #underWay = new Map<AbortController, number>();
  readonly #finishedAnswers = new Speed();
  readonly #begunTokens = new Speed();
  readonly #sentBytes = new Speed();
  #idleListeners: (() => void)[] = [];

  /** @param engineLoad the requests that the engine has, waiting ones included. */
  constructor(limits: JobLimits, engineLoad: () => number) {
    this.limits = limits;
    this.#engineLoad = engineLoad;
  }

  /**
   * Takes places for the answers to one request, all or none, and ends them when the client leaves.
   *
   * @param promptTokens the most tokens that the request's prompt can have.
   * @param asking the request's parameter that asks for so many answers, and the error's code when that is never possible.
   * @throws RequestError 429 when there is not enough room left, 400 when there never is.
   */
  admit(
    count: number,
    client: AbortSignal,
    promptTokens = 0,
    asking = { param: "n", code: "integer_above_max_value" },
  ): Job[] {
    const { answers: answersMax, promptTokens: tokensMax } = this.limits;
    if (count > answersMax) {
      const { param, code } = asking;
      const message = `Invalid '${param}': ${count} answers were asked for; this server takes ${answersMax} at once.`;
      throw invalid(param, code, message);
    }
    // The text may turn out to have far fewer tokens, so it is not refused for good before they are counted.
    const tokens = Math.min(promptTokens, tokensMax);
    const underWay = this.waiting + this.running;
    // The others are finished, and their readers slow.
    const unfinished = Math.min(underWay, this.#unsubmitted + this.#engineLoad());
    const answersOver = count + Math.max(unfinished - answersMax, underWay - answersMax - UNREAD_MAX);
    if (answersOver > 0) {
      throw this.#full(`${plural(answersMax, "answer")} at once`, this.#finishedAnswers.secondsFor(answersOver));
    }
    const tokensOver = this.waitingTokens + tokens - tokensMax;
    if (tokensOver > 0) {
      throw this.#full(`${plural(tokensMax, "prompt token")} in the queue`, this.#begunTokens.secondsFor(tokensOver));
    }
    const prompt = { tokens, waiting: count, unsubmitted: count, tokensMax };
    this.waitingTokens += tokens;
    this.#unsubmitted += count;
    return Array.from({ length: count }, () => this.#take(client, prompt));
  }

  /**
   * Takes room for the answers to a request, until they are sent; it is given back by calling what is returned.
   *
   * @param bytes the most that they can take.
   * @throws RequestError 400 when one request may never take so much, 429 when there is not enough left.
   */
  holdAnswers(bytes: number): () => void {
    const advice = "Lower 'n', the maximum number of tokens or the number of log-probabilities";
    const large = this.answerBytesMax * LARGE_ANSWERS_SHARE;
    const mostOfOne = Math.min(REQUEST_ANSWER_BYTES_MAX, large);
    if (bytes > mostOfOne) {
      const share = Math.floor((100 * mostOfOne) / bytes);
      const message =
        `The answers that you ask for may take ${megabytes(bytes)} MB; this server takes requests for up to ` +
        `${megabytes(mostOfOne)} MB. ${advice} to less than ${share} % of their product.`;
      throw new RequestError(400, message, { code: "answers_too_large" });
    }
    const most = bytes > SMALL_ANSWER_BYTES_MAX ? large : this.answerBytesMax;
    const over = this.answerBytes + bytes - most;
    if (over > 0) {
      const limit = `${megabytes(most)} MB of answers that are not sent`;
      throw this.#full(limit, this.#sentBytes.secondsFor(over), ` ${advice} for more room.`);
    }
    this.answerBytes += bytes;
    return once(() => {
      this.answerBytes -= bytes;
      this.#sentBytes.add(bytes);
    });
  }

  /** Ends all answers, because the server stops. */
  abortAll(): void {
    this.areCutOff = true;
    for (const controller of this.#underWay.keys()) controller.abort();
  }

  /** Resolves as soon as there is no answer left. */
  async idle(): Promise<void> {
    if (this.#underWay.size > 0) await new Promise<void>((resolve) => this.#idleListeners.push(resolve));
  }

  #take(client: AbortSignal, prompt: SharedPrompt): Job {
    const controller = new AbortController();
    this.#underWay.set(controller, performance.now());
    this.waiting++;
    let state: "waiting" | "running" | "finished" = "waiting";
    const onLeave = () => controller.abort();
    if (client.aborted) controller.abort();
    client.addEventListener("abort", onLeave, { once: true });
    return {
      signal: controller.signal,
      abort: onLeave,
      start: () => {
        if (state !== "waiting") return;
        state = "running";
        this.waiting--;
        this.running++;
        prompt.waiting--;
        // The first answer's first token says that the prompt is computed, for the others too.
        this.#begunTokens.add(prompt.tokens);
        this.#correct(prompt, 0);
      },
      finish: () => {
        if (state === "finished") return;
        if (state === "waiting") {
          this.waiting--;
          if (--prompt.waiting === 0) this.#correct(prompt, 0);
        } else {
          this.running--;
          this.#finishedAnswers.add(1);
        }
        state = "finished";
        if (prompt.unsubmitted > 0) this.#submit(prompt, 1);
        client.removeEventListener("abort", onLeave);
        this.#underWay.delete(controller);
        if (this.#underWay.size > 0) return;
        const listeners = this.#idleListeners;
        this.#idleListeners = [];
        for (const listener of listeners) listener();
      },
      setPromptTokens: (tokens, param) => {
        if (tokens > prompt.tokensMax) throw queueTokensExceeded(param, prompt.tokensMax, tokens);
        this.#correct(prompt, tokens);
        this.#submit(prompt, prompt.unsubmitted);
      },
    };
  }

  /** So many answers are the engine's now, or over. */
  #submit(prompt: SharedPrompt, answers: number): void {
    prompt.unsubmitted -= answers;
    this.#unsubmitted -= answers;
  }

  #correct(prompt: SharedPrompt, tokens: number): void {
    this.waitingTokens += tokens - prompt.tokens;
    prompt.tokens = tokens;
  }

  /** @param seconds until there is room, from the speed so far; undefined when there is none yet. */
  #full(limit: string, seconds: number | undefined, advice = ""): RequestError {
    // What has been under way for so long without an end is good for as long again.
    const oldest = this.#underWay.values().next().value ?? performance.now();
    const wait = Math.ceil(seconds ?? (performance.now() - oldest) / 1000);
    const retryAfter = Math.min(Math.max(wait, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S);
    return new RequestError(
      429,
      `The server is at its limit of ${limit}. Please try again in ${retryAfter} s.${advice}`,
      {
        code: "rate_limit_exceeded",
        headers: { "retry-after": String(retryAfter) },
      },
    );
  }
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024);
}

/** Does it, but only the first time. */
function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    action();
  };
}

/** How long a measured speed looks back, in seconds. */
const SPEED_WINDOW_S = 30;

/** How fast something happens: an average over time that forgets exponentially. */
class Speed {
  #amount = 0;
  #since: number | undefined;
  #updated = 0;

  add(amount: number): void {
    this.#decay();
    this.#since ??= this.#updated;
    this.#amount += amount;
  }

  /** Seconds that `amount` takes; undefined when nothing has happened lately. */
  secondsFor(amount: number): number | undefined {
    this.#decay();
    if (this.#since === undefined || this.#amount < 1e-6) return undefined;
    // The window that has been filled so far; a second at least, so that the first event counts as no stampede.
    const age = Math.max((this.#updated - this.#since) / 1000, 1);
    const window = SPEED_WINDOW_S * (1 - Math.exp(-age / SPEED_WINDOW_S));
    return (amount * window) / this.#amount;
  }

  #decay(): void {
    const now = performance.now();
    this.#amount *= Math.exp(-(now - this.#updated) / 1000 / SPEED_WINDOW_S);
    this.#updated = now;
  }
}
