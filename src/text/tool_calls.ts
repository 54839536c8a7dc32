/**
 * Calls of tools as models write them: `<tool_call>`, a JSON object with "name" and "arguments", `</tool_call>`. Reads them out of
 * a text that arrives in pieces, and writes them for models whose chat template knows nothing of tools.
 */

const OPEN = "<tool_call>";
const CLOSE = "</tool_call>";

/** Longest call, in UTF-16 code units; what is longer is text like any other. */
const CALL_LENGTH_MAX = 1_000_000;

/** What TypeScript doesn't know yet of JSON: the text of a value, and values that are written as a given text. */
const json = JSON as unknown as {
  parse(text: string, reviver: (key: string, value: unknown, context: { source: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
};

/** Parses JSON. Numbers keep their digits, of which a JavaScript number may not hold all. */
function parseExactly(text: string): unknown {
  return json.parse(text, (_, value, { source }) => (typeof value === "number" ? json.rawJSON(source) : value));
}

/** A call that a model wrote. */
export interface WrittenCall {
  name: string;
  /** The arguments as JSON text. */
  arguments: string;
}

/** What an answer is made of. Text is never empty. */
export type AnswerPart = { kind: "content"; text: string } | { kind: "call"; call: WrittenCall };

/**
 * Takes one answer apart. What looks like a call and is none (no JSON, no tool of that name, no end) stays text. White space next
 * to calls belongs to neither. One per answer; not to be shared.
 */
export class CallParser {
  readonly #tools: ReadonlySet<string>;
  readonly #callsMax: number;
  #calls = 0;
  /** Whether nothing but white space came since the last call. */
  #isAfterCall = false;
  /** Text that is or may be the beginning of a call, or white space that may stand before one. */
  #held = "";

  /**
   * @param tools names that may be called; none: everything is text.
   * @param callsMax calls after which nothing more is wanted.
   */
  constructor(tools: ReadonlySet<string>, callsMax = Number.POSITIVE_INFINITY) {
    this.#tools = tools;
    this.#callsMax = callsMax;
  }

  /** Adds a piece of text and returns what is certain now. */
  push(text: string): AnswerPart[] {
    if (this.#tools.size === 0) return text === "" ? [] : [{ kind: "content", text }];
    this.#held += text;
    const parts: AnswerPart[] = [];
    while (this.#takeCall(parts));
    if (!this.#held.includes(OPEN)) {
      const beginning = beginningLength(this.#held);
      const keep = this.#held.slice(0, this.#held.length - beginning).trimEnd().length;
      this.#addContent(parts, this.#held.slice(0, keep));
      this.#held = this.#held.slice(keep);
    }
    return parts;
  }

  /** Ends the answer and returns the rest of it. A call that only lacks its end is one. */
  finish(): AnswerPart[] {
    const parts: AnswerPart[] = [];
    const start = this.#held.indexOf(OPEN);
    const call = start < 0 ? undefined : readCall(this.#held.slice(start + OPEN.length), this.#tools);
    if (call === undefined) this.#addContent(parts, this.#held);
    else this.#addCall(parts, this.#held.slice(0, start), call);
    this.#held = "";
    return parts;
  }

  /** Takes what has the form of a call, and the text before it, off the held text; false when there is no such thing yet. */
  #takeCall(parts: AnswerPart[]): boolean {
    const start = this.#held.indexOf(OPEN);
    if (start < 0) return false;
    const end = endOfCall(this.#held, start + OPEN.length);
    const isTooLong = (end < 0 ? this.#held.length : end) - start > CALL_LENGTH_MAX;
    if (end < 0 && !isTooLong) return false;
    const after = end < 0 ? this.#held.length : end + CLOSE.length;
    const call = isTooLong ? undefined : readCall(this.#held.slice(start + OPEN.length, end), this.#tools);
    if (call === undefined) this.#addContent(parts, this.#held.slice(0, after));
    else this.#addCall(parts, this.#held.slice(0, start), call);
    this.#held = this.#held.slice(after);
    return true;
  }

  #addContent(parts: AnswerPart[], text: string): void {
    const content = this.#isAfterCall ? text.trimStart() : text;
    if (content === "" || this.#calls >= this.#callsMax) return;
    this.#isAfterCall = false;
    parts.push({ kind: "content", text: content });
  }

  #addCall(parts: AnswerPart[], textBefore: string, call: WrittenCall): void {
    this.#addContent(parts, textBefore.trimEnd());
    if (this.#calls >= this.#callsMax) return;
    this.#calls++;
    this.#isAfterCall = true;
    parts.push({ kind: "call", call });
  }
}

/** Where a call that begins at `start` has its end mark; -1 when that isn't there yet. A mark within one of its strings is none. */
function endOfCall(text: string, start: number): number {
  let isInString = false;
  let at = start;
  for (let end = text.indexOf(CLOSE, start); end >= 0; end = text.indexOf(CLOSE, end + 1)) {
    for (; at < end; at++) {
      if (text[at] === '"') isInString = !isInString;
      else if (isInString && text[at] === "\\") at++;
    }
    if (!isInString) return end;
  }
  return -1;
}

/** Length of the longest end of a text that could be the beginning of a call's mark. */
function beginningLength(text: string): number {
  for (let length = Math.min(OPEN.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(OPEN.slice(0, length))) return length;
  }
  return 0;
}

function readCall(text: string, tools: ReadonlySet<string>): WrittenCall | undefined {
  let call: unknown;
  try {
    call = parseExactly(text);
  } catch {
    return undefined;
  }
  if (typeof call !== "object" || call === null) return undefined;
  const { name, arguments: values = {} } = call as { name?: unknown; arguments?: unknown };
  if (typeof name !== "string" || !tools.has(name)) return undefined;
  if (typeof values === "string") return { name, arguments: values };
  if (typeof values !== "object" || values === null || Array.isArray(values)) return undefined;
  return { name, arguments: JSON.stringify(values) };
}

/** A call as models write it. @param args as JSON text; what is no JSON is written as a string. */
export function writeCall({ name, arguments: args }: WrittenCall): string {
  let values: unknown = args;
  try {
    values = parseExactly(args);
  } catch {
    // Written as the string that it is.
  }
  return `${OPEN}\n${spacedJson({ name, arguments: values })}\n${CLOSE}`;
}

/** JSON with a space after commas and colons, as Python's json.dumps writes it and models have read it. */
function spacedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spacedJson).join(", ")}]`;
  if (typeof value !== "object" || value === null || json.isRawJSON(value)) return JSON.stringify(value);
  const fields = Object.entries(value).map(([key, field]) => `${JSON.stringify(key)}: ${spacedJson(field)}`);
  return `{${fields.join(", ")}}`;
}

/** A tool as a request describes it. */
export interface Tool {
  name: string;
  /** Names of its parameters. */
  parameters: string[];
}

/** What is said to models whose template knows nothing of tools: "You can call tools. Tools: get_weather(city)". */
export function describeTools(tools: readonly Tool[]): string {
  const list = tools.map(({ name, parameters }) => `${name}(${parameters.join(", ")})`).join(", ");
  return `You can call tools. Tools: ${list}`;
}
