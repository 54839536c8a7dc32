/** What happens to a request, on its way from the engine to whoever asked. */

/** "grammar": the answer could not be continued within its grammar. */
export type FinishReason = "stop" | "length" | "cancelled" | "grammar";

/** A token that could stand in a place, and its log-probability there. */
export interface TokenLogprob {
  token: number;
  /** Natural logarithm; 0 when the request did not ask for log-probabilities. */
  logprob: number;
}

/**
 * Something that happened to a request; times are in milliseconds since it was submitted. "progress" says how many of the prompt's
 * tokens are computed, and how many of those were found in the prefix cache; "prompt" scores one token of the prompt, `rank` among all
 * tokens in its place (1: the likeliest). `top` holds the likeliest tokens in the place, best first. The last event is the only "done".
 */
export type EngineEvent =
  | ({ kind: "token" | "prompt"; rank?: number; top: TokenLogprob[]; elapsedMs: number } & TokenLogprob)
  | { kind: "progress"; computed: number; cached: number; elapsedMs: number }
  | { kind: "done"; reason: FinishReason; elapsedMs: number };

type TokenEvent = Extract<EngineEvent, { kind: "token" | "prompt" }>;

/** One request's events between the engine and its consumer. At most one per token and an end: bounded by the context. */
export class RequestEvents {
  private readonly waiting: EngineEvent[] = [];
  private incomplete: { event: TokenEvent; missing: number } | undefined;
  private wake: (() => void) | undefined;

  push(event: EngineEvent): void {
    this.waiting.push(event);
    this.wake?.();
  }

  /** Adds a token whose `alternatives` follow one by one; it is handed out when the last of them is there. */
  pushToken(event: TokenEvent, alternatives: number): void {
    this.incomplete = { event, missing: alternatives };
    this.releaseIfComplete();
  }

  addAlternative(alternative: TokenLogprob): void {
    if (this.incomplete === undefined) return;
    this.incomplete.event.top.push(alternative);
    this.incomplete.missing--;
    this.releaseIfComplete();
  }

  private releaseIfComplete(): void {
    if (this.incomplete?.missing !== 0) return;
    this.push(this.incomplete.event);
    this.incomplete = undefined;
  }

  async next(): Promise<EngineEvent> {
    while (this.waiting.length === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    this.wake = undefined;
    return this.waiting.shift() as EngineEvent;
  }
}
