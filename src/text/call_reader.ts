/**
 * One call of a tool, `{"name": …, "arguments": {…}}`, read one character at a time while a model writes it: its name is known as soon as it
 * is complete, and its arguments are handed on as they come.
 *
 * Models write this JSON by themselves, so it may be wrong. What is wrong before the name is complete makes it no call. After that, it
 * is a call with what there is of its arguments. Some write a literal of Python's instead; their quotes and words are made JSON's.
 */

/** A coroutine that is sent one character after the other. */
type Reading<Result> = Generator<void, Result, string>;

/** Names of the member that holds the arguments. */
const ARGUMENTS = new Set(["arguments", "parameters"]);

/** Reads one call. */
export class CallReader {
  readonly #tools: ReadonlySet<string>;
  readonly #reading: Reading<void>;
  #name: string | undefined;
  #hasArguments = false;
  /** What was read of the arguments and not taken yet. */
  #arguments = "";
  #isOver = false;
  #isComplete = false;

  /** @param tools names that may be called. */
  constructor(tools: ReadonlySet<string>) {
    this.#tools = tools;
    this.#reading = this.#read();
    this.#reading.next();
  }

  /** The tool that is called, once its name is complete: only then is this a call. */
  get name(): string | undefined {
    return this.#name;
  }

  /** Whether nothing more belongs to it: it is complete, or it is no call, or its JSON can't go on like this. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether its last brace was read. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Reads a text. Returns how much of it belongs to the call, in UTF-16 code units. */
  push(text: string): number {
    for (let i = 0; i < text.length; i++) {
      if (this.#reading.next(text[i] as string).done) {
        this.#isOver = true;
        return this.#isComplete ? i + 1 : i;
      }
    }
    return text.length;
  }

  /** Takes what came of the arguments: JSON text without white space around its marks. */
  takeArguments(): string {
    const taken = this.#arguments;
    this.#arguments = "";
    return taken;
  }

  *#read(): Reading<void> {
    if ((yield* graphic()) !== "{") return;
    let next: string | undefined = yield* graphic();
    while (next !== "}") {
      if (next === ",") next = yield* graphic();
      if (!isQuote(next)) return;
      let key = "";
      yield* string(next, (piece) => {
        key += unescaped(piece);
      });
      if ((yield* graphic()) !== ":") return;
      const first = yield* graphic();
      if (key === "name" && this.#name === undefined) next = yield* this.#readName(first);
      else if (ARGUMENTS.has(key) && !this.#hasArguments) next = yield* this.#readArguments(first);
      else next = yield* value(first, () => undefined);
      if (next === undefined) return;
    }
    this.#isComplete = this.#name !== undefined;
  }

  /** @returns the character after it; undefined when nothing of that name may be called. */
  *#readName(first: string): Reading<string | undefined> {
    if (!isQuote(first)) return undefined;
    let name = "";
    yield* string(first, (piece) => {
      name += unescaped(piece);
    });
    if (!this.#tools.has(name)) return undefined;
    this.#name = name;
    return yield* graphic();
  }

  /** @returns the character after them. */
  *#readArguments(first: string): Reading<string> {
    if (first === "n" || first === "N") return yield* value(first, () => undefined); // null: there are none
    this.#hasArguments = true;
    if (!isQuote(first)) {
      return yield* value(first, (piece) => {
        this.#arguments += piece;
      });
    }
    // Some models write the object into a string.
    yield* string(first, (piece) => {
      this.#arguments += unescaped(piece);
    });
    return yield* graphic();
  }
}

/** What words and numbers end before; "<" only stands in the mark after a call. */
const MARKS = "{}[],:<";

/** Words of Python's, and what JSON has for them. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
]);

const isQuote = (character: string) => character === '"' || character === "'";

const isSpace = (character: string) =>
  character === " " || character === "\n" || character === "\t" || character === "\r";

/** The next character that is no white space. */
function* graphic(): Reading<string> {
  for (;;) {
    const character = yield;
    if (!isSpace(character)) return character;
  }
}

/** The rest of a string, up to and with the quote that closes it: emits it in pieces of a character or a whole escape. */
function* string(quote: string, emit: (piece: string) => void): Reading<void> {
  for (;;) {
    let piece = yield;
    if (piece === quote) return;
    if (piece === "\\") {
      piece += yield;
      if (piece === "\\u") for (let digit = 0; digit < 4; digit++) piece += yield;
    }
    emit(piece);
  }
}

/** A value that begins with `first`: emits it without white space between its parts. Returns the character after it. */
function* value(first: string, emit: (piece: string) => void): Reading<string> {
  let depth = 0;
  let character = first;
  for (;;) {
    if (isQuote(character)) {
      emit('"');
      yield* string(character, (piece) => emit(escaped(piece)));
      emit('"');
      if (depth === 0) return yield* graphic();
      character = yield;
    } else if (MARKS.includes(character)) {
      if (character === "<" || (depth === 0 && !"{[".includes(character))) return character;
      emit(character);
      if ("{[".includes(character)) depth++;
      if ("}]".includes(character) && --depth === 0) return yield* graphic();
      character = yield;
    } else {
      let word = "";
      for (; !isSpace(character) && !isQuote(character) && !MARKS.includes(character); character = yield)
        word += character;
      emit(WORDS.get(word) ?? word);
      if (isSpace(character)) character = yield* graphic();
      if (depth === 0) return character;
    }
  }
}

/** A piece of a string's text, as the character that it stands for. */
function unescaped(piece: string): string {
  if (piece.length === 1 || piece === "\\'") return piece.slice(-1);
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
