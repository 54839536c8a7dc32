/**
 * Calls of tools as models write them: `<tool_call>`, a JSON object with "name" and "arguments", `</tool_call>`. Reads them out of
 * a text that arrives in pieces, and writes them for models whose chat template knows nothing of tools.
 */

import { CallReader } from "./call_reader.ts";
import { CALL_CLOSE as CLOSE, firstMark, CALL_OPEN as OPEN, partialMarkLength } from "./marks.ts";

/** A call that a model wrote. */
export interface WrittenCall {
  name: string;
  /** The arguments as JSON text. */
  arguments: string;
}

/** What an answer is made of. Texts are never empty. "arguments" are a piece of those of the call before them. */
export type CallPart =
  | { kind: "content"; text: string }
  | { kind: "call"; name: string }
  | { kind: "arguments"; text: string };

/**
 * Takes one answer apart. What looks like a call and is none (no JSON, no tool of that name) stays text. White space next to calls
 * belongs to neither. One per answer; not to be shared.
 */
export class CallParser {
  readonly #tools: ReadonlySet<string>;
  readonly #callsMax: number;
  #calls = 0;
  /** Whether nothing but white space came since the last call. */
  #isAfterCall = false;
  /** Whether the last call still lacks its end mark. */
  #lacksEnd = false;
  /** White space that may stand before a call. */
  #space = "";
  /** What may be the beginning of a mark. */
  #mark = "";
  /** The call that is being written, what was written of it until it was one, and whether it was let out as one. */
  #reader: CallReader | undefined;
  #written = "";
  #isCall = false;
  #hasArguments = false;
  /** Code units that were there before the answer and are not to be let out with it. */
  #hidden = 0;

  /**
   * @param tools names that may be called; none: everything is text.
   * @param callsMax calls after which nothing more is wanted.
   */
  constructor(tools: ReadonlySet<string>, callsMax = Number.POSITIVE_INFINITY) {
    this.#tools = tools;
    this.#callsMax = callsMax;
  }

  /** Another parser that has read the same. */
  fork(): CallParser {
    const parser = new CallParser(this.#tools, this.#callsMax);
    parser.#calls = this.#calls;
    parser.#isAfterCall = this.#isAfterCall;
    parser.#lacksEnd = this.#lacksEnd;
    parser.#space = this.#space;
    parser.#mark = this.#mark;
    parser.#reader = this.#reader?.fork();
    parser.#written = this.#written;
    parser.#isCall = this.#isCall;
    parser.#hasArguments = this.#hasArguments;
    parser.#hidden = this.#hidden;
    return parser;
  }

  /** Whether the text so far ends within a call, which may not be certain yet. */
  get isWithinCall(): boolean {
    return this.#reader !== undefined;
  }

  /** Whether the last call that is wanted was made, so that nothing follows any more. */
  get isDone(): boolean {
    return this.#reader === undefined && this.#calls >= this.#callsMax;
  }

  /**
   * Reads a text that the answer continues, before anything else. Returns the parts of a call that is open at its end; nothing else
   * of it is a part of the answer.
   */
  continueFrom(text: string): CallPart[] {
    this.#calls = Number.NEGATIVE_INFINITY; // none of those before the answer counts
    const parts = this.push(text);
    const isOpen = this.#isCall || (this.#lacksEnd && this.#isAfterCall);
    this.#calls = isOpen ? 1 : 0;
    this.#space = "";
    this.#hidden = (this.#reader === undefined ? this.#mark : this.#written).length;
    return isOpen ? parts.slice(parts.findLastIndex(({ kind }) => kind === "call")) : [];
  }

  /** Adds a piece of text and returns what is certain now. */
  push(text: string): CallPart[] {
    if (this.#tools.size === 0) return text === "" ? [] : [{ kind: "content", text }];
    const parts: CallPart[] = [];
    let rest = text;
    while (rest !== "" && !this.isDone) {
      rest = this.#reader === undefined ? this.#readContent(parts, rest) : this.#readCall(parts, this.#reader, rest);
    }
    return parts;
  }

  /**
   * Ends the answer and returns the rest of it. A call whose name is known is one, with what there is of its arguments.
   *
   * @param isCut whether the answer was ended from outside. The beginning of a call, down to that of its mark, is then left out; else
   * it is text.
   */
  finish(isCut: boolean): CallPart[] {
    const parts: CallPart[] = [];
    if (this.#reader?.name !== undefined) {
      this.#letOut(parts, this.#reader, this.#reader.name);
      if (!isCut && !this.#hasArguments) parts.push({ kind: "arguments", text: "{}" });
    } else if (!isCut || (this.#reader === undefined && this.#mark === "")) {
      this.#addContent(parts, this.#reader === undefined ? this.#mark : this.#written);
      if (this.#space !== "" && !this.isDone) parts.push({ kind: "content", text: this.#space });
    }
    return parts;
  }

  /** Reads text up to the next call or mark. Returns the rest. */
  #readContent(parts: CallPart[], text: string): string {
    if (this.#lacksEnd && this.#isAfterCall && this.#mark === "") {
      // Some models close more braces than they have opened, and some write several calls between two marks.
      const start = text.search(/[^\s}\],]/);
      if (text[start] === "{") this.#begin("");
      if (start !== 0) return start < 0 ? "" : text.slice(start);
      if (text[start] === "{") return text;
    }
    const marks = this.#lacksEnd ? [OPEN, CLOSE] : [OPEN];
    const all = this.#mark + text;
    const found = firstMark(all, marks);
    if (found === undefined) {
      const end = all.length - partialMarkLength(all, marks);
      this.#mark = all.slice(end);
      this.#addContent(parts, all.slice(0, end));
      return "";
    }
    this.#mark = "";
    this.#addContent(parts, all.slice(0, found.start));
    if (found.mark === CLOSE) {
      this.#lacksEnd = false;
      this.#hidden = 0;
    } else {
      this.#begin(OPEN);
    }
    return all.slice(found.start + found.mark.length);
  }

  /** Begins to read a call. @param written what stands before it. */
  #begin(written: string): void {
    this.#reader = new CallReader(this.#tools);
    this.#written = written;
    this.#isCall = false;
  }

  /** Reads what belongs to a call. Returns the rest. */
  #readCall(parts: CallPart[], reader: CallReader, text: string): string {
    const length = reader.push(text);
    if (reader.name !== undefined) this.#letOut(parts, reader, reader.name);
    else this.#written += text.slice(0, length);
    if (reader.isOver) {
      this.#reader = undefined;
      this.#isCall = false;
      if (reader.name !== undefined) {
        this.#isAfterCall = true;
        this.#lacksEnd = true;
        if (!this.#hasArguments) parts.push({ kind: "arguments", text: "{}" });
      } else {
        this.#addContent(parts, this.#written);
      }
      this.#written = "";
    }
    return text.slice(length);
  }

  /** Lets out what is new of a call. */
  #letOut(parts: CallPart[], reader: CallReader, name: string): void {
    if (!this.#isCall) {
      this.#calls++;
      this.#isCall = true;
      this.#hasArguments = false;
      this.#space = "";
      this.#hidden = 0;
      this.#written = "";
      parts.push({ kind: "call", name });
    }
    const text = reader.takeArguments();
    if (text === "") return;
    this.#hasArguments = true;
    parts.push({ kind: "arguments", text });
  }

  #addContent(parts: CallPart[], text: string): void {
    let shown = text.slice(this.#hidden);
    this.#hidden -= text.length - shown.length;
    if (this.#isAfterCall) shown = shown.trimStart();
    const end = shown.trimEnd().length;
    if (end > 0 && !this.isDone) {
      parts.push({ kind: "content", text: this.#space + shown.slice(0, end) });
      this.#space = "";
      this.#isAfterCall = false;
    }
    this.#space += shown.slice(end);
  }
}

/** A call as models write it. @param args as JSON text; what is no JSON is written as a string. */
export function writeCall({ name, arguments: args }: WrittenCall): string {
  return `${writeBeginning(name)}${isJson(args) ? spacedJson(args) : JSON.stringify(args)}}\n${CLOSE}`;
}

/** Arguments as models write them. @param args as JSON text; what is no JSON stays as it is. */
export function writeArguments(args: string): string {
  return isJson(args) ? spacedJson(args) : args;
}

/** The beginning of a call, to be continued. @param args what there is of its arguments. */
export function writeOpenCall({ name, arguments: args }: WrittenCall): string {
  // Without arguments, the space is left to the model: most tokens that begin an object have it.
  return args === "" ? writeBeginning(name).trimEnd() : writeBeginning(name) + spacedJson(args);
}

function writeBeginning(name: string): string {
  return `${OPEN}\n{"name": ${JSON.stringify(name)}, "arguments": `;
}

/** Whether a text is JSON. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * JSON with a space after commas and colons, as Python's json.dumps writes it and models have read it. Everything else is as it was,
 * order and digits included. The text may end anywhere.
 */
function spacedJson(text: string): string {
  const pieces: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      for (at++; at < text.length && text.charCodeAt(at) !== QUOTE; at++) if (text.charCodeAt(at) === BACKSLASH) at++;
    } else if (code === COMMA || code === COLON) {
      pieces.push(text.slice(start, at + 1), at + 1 < text.length ? " " : "");
      start = at + 1;
    } else if (isSpace(code)) {
      if (start < at) pieces.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return pieces.join("") + text.slice(start);
}

const [QUOTE, BACKSLASH, COMMA, COLON] = [...'"\\,:'].map((character) => character.charCodeAt(0));

/** Whether a code is that of one of JSON's spaces. */
function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
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
