/** What an examination found. */

import type { Failure } from "../errors.ts";

/** "warn": it works, but not as well as it could; "fail": it doesn't. */
export type State = "ok" | "warn" | "fail";

export interface Finding {
  /** What was looked at, in a word or two. */
  name: string;
  state: State;
  /** What was found. */
  text: string;
  /** What to do about it. */
  remedy?: string;
}

export function ok(name: string, text: string): Finding {
  return { name, state: "ok", text };
}

export function warn(name: string, text: string, remedy: string): Finding {
  return { name, state: "warn", text, remedy };
}

/** A failure whose message says what to do behind its last semicolon. */
export function failure(name: string, { message }: Failure, state: State = "fail"): Finding {
  const end = message.lastIndexOf("; ");
  if (end < 0) return { name, state, text: message };
  return { name, state, text: message.slice(0, end), remedy: message.slice(end + 2) };
}

export function fail(name: string, text: string, remedy: string): Finding {
  return { name, state: "fail", text, remedy };
}
