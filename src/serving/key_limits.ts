/**
 * What each API key may use: requests and tokens a minute, and requests at once. A minute's worth may be used at once and comes back
 * evenly. Tokens are counted as they come, so a request may use more than is left; the key then waits until that is made up for.
 */

import { plural } from "../terminal/plural.ts";
import type { ApiKey, KeyLimits } from "./api_key.ts";
import { RequestError } from "./request_error.ts";

const MINUTE_MS = 60_000;

/** Seconds after which to try again when requests are under way whose end nobody knows. */
const RUNNING_RETRY_S = 1;

/** A minute's worth of something, which comes back evenly. */
class Allowance {
  #left: number | undefined;
  #updated = 0;

  /** Milliseconds until this much is there, by a limit and a clock; 0: it is. */
  waitFor(amount: number, limit: number, now: number): number {
    this.#refill(limit, now);
    return Math.max(0, ((amount - (this.#left as number)) * MINUTE_MS) / limit);
  }

  take(amount: number, limit: number, now: number): void {
    this.#refill(limit, now);
    this.#left = (this.#left as number) - amount;
  }

  #refill(limit: number, now: number): void {
    const since = now - this.#updated;
    this.#left = Math.min(limit, this.#left === undefined ? limit : this.#left + (since * limit) / MINUTE_MS);
    this.#updated = now;
  }
}

/** What one key has used lately. */
interface Use {
  requests: Allowance;
  tokens: Allowance;
  running: number;
  /** Those that its latest request came with. They may have changed since others began, which count by them too. */
  limits: KeyLimits;
}

/** A request that was let in. */
export interface Charged {
  /** So many tokens were used for it. */
  charge(tokens: number): void;
  /** It is over. */
  end(): void;
}

/** What the keys of a server have used. */
export class KeyAccounts {
  /** By the keys' hashes: a key that changes its place, or its limits, has used what it has used. */
  readonly #uses = new Map<string, Use>();
  readonly #now: () => number;

  /** @param now a clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Lets a request in. @throws RequestError 429 when its key has used too much. */
  begin({ hash, limits }: ApiKey): Charged {
    const use = this.#uses.getOrInsertComputed(hash, () => ({
      requests: new Allowance(),
      tokens: new Allowance(),
      running: 0,
      limits,
    }));
    use.limits = limits;
    const { requests, tokens, running } = limits;
    const now = this.#now();
    if (running !== undefined && use.running >= running)
      throw refusal(`${plural(running, "request")} at once`, RUNNING_RETRY_S);
    if (requests !== undefined) refuseUntil(use.requests.waitFor(1, requests, now), plural(requests, "request"));
    if (tokens !== undefined) refuseUntil(use.tokens.waitFor(1, tokens, now), plural(tokens, "token"));
    if (requests !== undefined) use.requests.take(1, requests, now);
    use.running++;
    return {
      charge: (count) => {
        if (use.limits.tokens !== undefined) use.tokens.take(count, use.limits.tokens, this.#now());
      },
      end: () => {
        use.running--;
      },
    };
  }
}

function refuseUntil(milliseconds: number, amount: string): void {
  if (milliseconds > 0) throw refusal(`${amount} a minute`, Math.ceil(milliseconds / 1000));
}

function refusal(limit: string, seconds: number): RequestError {
  return new RequestError(429, `This API key is at its limit of ${limit}. Please try again in ${seconds} s.`, {
    code: "rate_limit_exceeded",
    headers: { "retry-after": String(seconds) },
  });
}
