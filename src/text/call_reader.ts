/**
 * One call of a tool, `{"name": …, "arguments": {…}}`, read while a model writes it: its name is known as soon as it
 * is complete, and its arguments are handed on as they come.
 *
 * Models write this JSON by themselves, so it may be wrong. What is wrong before the name is complete makes it no call. After that, it
 * is a call with what there is of its arguments. Some write a literal of Python's instead; their quotes and words are made JSON's.
 */

/** A coroutine that is resumed when there is more text. */
type Reading<Result> = Generator<void, Result, void>;

/** Names of the member that holds the arguments. */
const ARGUMENTS = new Set(["arguments", "parameters"]);

/** What words and numbers end before; "<" only stands in the mark after a call. */
const MARKS = "{}[],:<";

/** Characters of a word or a number. */
const WORD = /[^ \n\t\r"'{}[\],:<]+/y;

/** Characters of a string that stand for themselves in any kind of it. */
const PLAIN = /[^"'\\\p{Cc}]+/uy;

/** Words of Python's, and what JSON has for them. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
]);

/** Reads one call. */
export class CallReader {
  readonly #tools: ReadonlySet<string>;
  readonly #reading: Reading<void>;
  /** The text that is being read, and how much of it was. */
  #text = "";
  #at = 0;
  #name: string | undefined;
  #hasArguments = false;
  /** What was read of the arguments and not taken yet. */
  #arguments = "";
  #isOver = false;

  /** @param tools names that may be called. */
  constructor(tools: ReadonlySet<string>) {
    this.#tools = tools;
    this.#reading = this.#read();
  }

  /** The tool that is called, once its name is complete: only then is this a call. */
  get name(): string | undefined {
    return this.#name;
  }

  /** Whether nothing more belongs to it: it is complete, or it is no call, or its JSON can't go on like this. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Reads a text. Returns how much of it belongs to the call, in UTF-16 code units. */
  push(text: string): number {
    this.#text = text;
    this.#at = 0;
    this.#isOver = this.#reading.next().done === true;
    return this.#at;
  }

  /** Takes what came of the arguments: JSON text without white space around its marks. */
  takeArguments(): string {
    const taken = this.#arguments;
    this.#arguments = "";
    return taken;
  }

  *#read(): Reading<void> {
    if ((yield* this.#next()) === "[") this.#at++; // of several calls
    if ((yield* this.#next()) !== "{") return;
    this.#at++;
    for (;;) {
      if ((yield* this.#next()) === ",") this.#at++;
      const first = yield* this.#next();
      if (first === "}") break;
      if (!isQuote(first)) return;
      const key = yield* this.#readString();
      if ((yield* this.#next()) !== ":") return;
      this.#at++;
      if (key === "name" && this.#name === undefined) {
        if (!isQuote(yield* this.#next())) return;
        const name = yield* this.#readString();
        if (!this.#tools.has(name)) return;
        this.#name = name;
      } else if (ARGUMENTS.has(key) && !this.#hasArguments) {
        yield* this.#readArguments();
      } else {
        yield* this.#value(() => undefined);
      }
    }
    this.#at++;
  }

  *#readArguments(): Reading<void> {
    const first = yield* this.#next();
    if (first === "n" || first === "N") return yield* this.#value(() => undefined); // null: there are none
    this.#hasArguments = true;
    // Some models write the object into a string.
    const convert = isQuote(first) ? unescaped : (piece: string) => piece;
    const read = isQuote(first) ? this.#string.bind(this) : this.#value.bind(this);
    yield* read((piece) => {
      this.#arguments += convert(piece);
    });
  }

  /** The next character that is no white space, which isn't read yet. */
  *#next(): Reading<string> {
    for (;;) {
      while (isSpace(this.#text[this.#at])) this.#at++;
      const character = this.#text[this.#at];
      if (character !== undefined) return character;
      yield;
    }
  }

  /** The next character, which is read. */
  *#take(): Reading<string> {
    while (this.#at === this.#text.length) yield;
    return this.#text[this.#at++] as string;
  }

  /** The text of a string. */
  *#readString(): Reading<string> {
    let text = "";
    yield* this.#string((piece) => {
      text += unescaped(piece);
    });
    return text;
  }

  /** Reads a string: emits it in pieces, each a single character, a whole escape, or plain characters. */
  *#string(emit: (piece: string) => void): Reading<void> {
    const quote = yield* this.#take();
    for (;;) {
      const plain = run(PLAIN, this.#text, this.#at);
      this.#at += plain.length;
      if (plain !== "") emit(plain);
      let piece = yield* this.#take();
      if (piece === quote) return;
      if (piece === "\\") {
        piece += yield* this.#take();
        if (piece === "\\u") for (let digit = 0; digit < 4; digit++) piece += yield* this.#take();
      }
      emit(piece);
    }
  }

  /** Reads a value: emits it without white space between its parts. It may end anywhere. */
  *#value(emit: (piece: string) => void): Reading<void> {
    let depth = 0;
    do {
      const first = yield* this.#next();
      if (isQuote(first)) {
        emit('"');
        yield* this.#string((piece) => emit(escaped(piece)));
        emit('"');
      } else if (MARKS.includes(first)) {
        const opens = "{[".includes(first);
        if (first === "<" || (depth === 0 && !opens)) return;
        this.#at++;
        emit(first);
        if (opens) depth++;
        else if ("}]".includes(first)) depth--;
      } else {
        const word = yield* this.#word();
        emit(WORDS.get(word) ?? word);
      }
    } while (depth > 0);
  }

  /** Reads a word or a number. */
  *#word(): Reading<string> {
    let word = "";
    for (;;) {
      const part = run(WORD, this.#text, this.#at);
      word += part;
      this.#at += part.length;
      if (this.#at < this.#text.length) return word;
      yield;
    }
  }
}

const isQuote = (character: string) => character === '"' || character === "'";

const isSpace = (character: string | undefined) =>
  character === " " || character === "\n" || character === "\t" || character === "\r";

/** What a sticky pattern matches at a place in a text. */
function run(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

/** A piece of a string's text, as the characters that it stands for. */
function unescaped(piece: string): string {
  if (!piece.startsWith("\\")) return piece;
  if (piece === "\\'") return "'";
  try {
    return JSON.parse(`"${piece}"`);
  } catch {
    return piece;
  }
}

/** A piece of a string's text as JSON allows it. Models write control characters as they are. */
function escaped(piece: string): string {
  if (piece === "\\'") return "'";
  return piece < " " || piece === '"' ? JSON.stringify(piece).slice(1, -1) : piece;
}
