/**
 * The hub as the environment names it, and requests to it. Redirects are followed one by one, each checked: https (or the endpoint's own
 * scheme), no address of a private network (unless the endpoint has one), and the token for the endpoint alone.
 */

import { Failure } from "../errors.ts";
import { printable } from "../model_file/config_fields.ts";
import { notes } from "../terminal/output.ts";
import { version } from "../version.ts";
import { addressesOf, isPrivateAddress } from "./addresses.ts";

const REDIRECTS_MAX = 8;

/** How often something that may pass is tried again when nothing comes of it. */
const ATTEMPTS_MAX = 6;

/** The longest that a server's Retry-After is obeyed. */
const WAIT_MAX_S = 600;

/** A request that brings nothing for so long is given up. */
const SILENCE_MAX_MS = 60_000;

/** A reason to try again later: the connection broke, or the server asks for it. */
export class PassingFault extends Error {
  override name = "PassingFault";

  /** @param waitS seconds that the server wants to be left alone for. */
  constructor(
    message: string,
    readonly waitS?: number,
  ) {
    super(message);
  }
}

/** Ends a request when nothing came for too long, or the user wants it. */
export class Patience {
  readonly #controller = new AbortController();
  readonly #end: () => void;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(private readonly user: AbortSignal) {
    this.#end = () => this.#controller.abort();
    if (user.aborted) this.#end();
    user.addEventListener("abort", this.#end);
    this.renew();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something came. */
  renew(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#controller.abort();
    }, SILENCE_MAX_MS);
  }

  /** To be called at the end in any case. */
  close(): void {
    clearTimeout(this.#timer);
    this.user.removeEventListener("abort", this.#end);
    this.#end();
  }

  /** What an error of the request means. */
  explain(error: unknown, host: string): Error {
    if (this.user.aborted) return new Failure("interrupted");
    if (error instanceof Failure || error instanceof PassingFault) return error;
    const reason = this.#isOver ? `silent for ${SILENCE_MAX_MS / 1000} s` : describeConnectionError(error);
    return new PassingFault(`${host}: ${reason}`);
  }
}

function describeConnectionError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const words: Record<string, string> = {
    ConnectionRefused: "refused the connection",
    ECONNREFUSED: "refused the connection",
    ECONNRESET: "closed the connection",
    ConnectionClosed: "closed the connection",
    FailedToOpenSocket: "cannot be reached",
    ENOTFOUND: "there is no such host, or no network",
    DNS_ENOTFOUND: "there is no such host, or no network",
    EAI_AGAIN: "its address cannot be looked up now",
  };
  return words[code ?? ""] ?? printable(message);
}

/** The hub. */
export class Hub {
  readonly #token: string | undefined;
  #endpointIsPrivate: Promise<boolean> | undefined;

  private constructor(
    readonly endpoint: URL,
    token: string | undefined,
  ) {
    this.#token = token;
  }

  /** The hub of the environment: HF_ENDPOINT, HF_TOKEN. @throws Failure for an endpoint that is none. */
  static fromEnvironment(): Hub {
    const text = process.env.HF_ENDPOINT || "https://huggingface.co";
    const endpoint = URL.parse(text.endsWith("/") ? text : `${text}/`);
    if (endpoint === null || !["https:", "http:"].includes(endpoint.protocol) || endpoint.username !== "") {
      throw new Failure(`HF_ENDPOINT is no address of a hub such as https://huggingface.co: '${printable(text)}'`);
    }
    const token = process.env.HF_TOKEN?.trim() || undefined;
    if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
      throw new Failure("HF_TOKEN holds characters that no token has");
    return new Hub(endpoint, token);
  }

  get hasToken(): boolean {
    return this.#token !== undefined;
  }

  /** An address at the hub. */
  url(path: string): URL {
    return new URL(path, this.endpoint);
  }

  /**
   * Makes a GET request and follows redirects. The answer may have any status but those of redirects.
   *
   * @throws Failure for a redirect to where no request may go; PassingFault when the connection breaks
   */
  async get(start: URL, headers: Record<string, string>, patience: Patience): Promise<Response> {
    let url = start;
    for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
      await this.#check(url);
      const own: Record<string, string> = {
        "user-agent": `wrinklefree/${version}`,
        "accept-encoding": "identity",
        ...headers,
      };
      if (this.#token !== undefined && url.origin === this.endpoint.origin) own.authorization = `Bearer ${this.#token}`;
      let response: Response;
      try {
        response = await fetch(url.href, { headers: own, redirect: "manual", signal: patience.signal });
      } catch (error) {
        throw patience.explain(error, url.host);
      }
      patience.renew();
      if (![301, 302, 303, 307, 308].includes(response.status)) return response;
      const location = response.headers.get("location");
      await response.body?.cancel();
      const next = location === null ? null : URL.parse(location, url.href);
      if (next === null) throw new Failure(`${url.host} redirects to nowhere`);
      url = next;
    }
    throw new Failure(`${start.host} redirects again and again: ${printable(start.pathname)}`);
  }

  /**
   * Does something that asks the hub, again and again while faults are passing.
   *
   * @param progress counts what came so far: where that grows, patience begins anew
   * @param say gets a line before each wait
   * @throws Failure
   */
  async persist<Result>(
    work: () => Promise<Result>,
    signal: AbortSignal,
    progress: () => number = () => 0,
    say: (line: string) => void = (line) => notes.write(`${line}\n`),
  ): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      const before = progress();
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof PassingFault)) throw error;
        if (progress() > before) attempt = 0;
        if (attempt >= ATTEMPTS_MAX) throw new Failure(`${error.message}; tried ${attempt} times, try again later`);
        if ((error.waitS ?? 0) > WAIT_MAX_S) {
          throw new Failure(`${error.message}; it wants to be asked again in ${error.waitS} s`);
        }
        const waitS = error.waitS ?? 2 ** Math.max(0, attempt - 1) / 2;
        say(`${error.message}; going on in ${waitS} s`);
        await sleep(waitS, signal);
      }
    }
  }

  /** Refuses addresses to which no request may go. */
  async #check(url: URL): Promise<void> {
    if (url.protocol !== "https:" && url.protocol !== this.endpoint.protocol) {
      throw new Failure(`${this.endpoint.host} redirects to ${printable(url.origin)}, which is not https: refused`);
    }
    if (url.username !== "" || url.password !== "") {
      throw new Failure(`${this.endpoint.host} redirects to an address with a user's name in it: refused`);
    }
    if (url.origin === this.endpoint.origin) return;
    this.#endpointIsPrivate ??= hasPrivateAddress(this.endpoint);
    if ((await this.#endpointIsPrivate) || !(await hasPrivateAddress(url))) return;
    throw new Failure(
      `${this.endpoint.host} redirects to ${printable(url.host)}, an address in a private network: refused`,
    );
  }
}

/** Whether a host has an address in a private network. Behind a proxy names may have none here, and then the proxy is who connects. */
async function hasPrivateAddress(url: URL): Promise<boolean> {
  let addresses: string[];
  try {
    addresses = await addressesOf(url);
  } catch (error) {
    const { HTTPS_PROXY, https_proxy, HTTP_PROXY, http_proxy } = process.env;
    if (HTTPS_PROXY || https_proxy || HTTP_PROXY || http_proxy) return false;
    throw new PassingFault(`${url.host}: ${describeConnectionError(error)}`);
  }
  return addresses.some(isPrivateAddress);
}

/** The seconds of a Retry-After header, which may hold a date. */
export function retryAfter(response: Response): number | undefined {
  const text = response.headers.get("retry-after");
  if (text === null) return undefined;
  const seconds = /^\d{1,9}$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : undefined;
}

async function sleep(seconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw new Failure("interrupted");
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", done);
  });
  if (signal.aborted) throw new Failure("interrupted");
}
