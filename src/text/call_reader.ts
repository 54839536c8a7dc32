/**
 * One call of a tool, `{"name": …, "arguments": {…}}`, read while a model writes it: its name is known as soon as it
 * is complete, and its arguments are handed on as they come.
 *
 * Models write this JSON by themselves, so it may be wrong. What is wrong before the name is complete makes it no call. After that, it
 * is a call with what there is of its arguments. Some write a literal of Python's instead; their quotes and words are made JSON's, and so
 * are escapes.
 */

/** Names of the member that holds the arguments. */
const ARGUMENTS = new Set(["arguments", "parameters"]);

/** What words and numbers end before; "<" only stands in the mark after a call. */
const MARKS = "{}[],:<";

/** Characters of a word or a number. */
const WORD = /[^ \n\t\r"'{}[\],:<]+/y;

/** Characters of a string that stand for themselves in any kind of it. */
const PLAIN = /[^"'\\\p{Cc}]+/uy;

/** An escape that JSON has, and a digit of one. */
const ESCAPE = /^\\(?:["\\/bfnrt]|u[\da-fA-F]{4})$/;
const HEX = /^[\da-fA-F]$/;

/** Words of Python's, and what JSON has for them. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
]);

/** What comes next: in the order in which these stand in a call, or a string or word within one of them. */
type Place = "list" | "object" | "comma" | "key" | "colon" | "name" | "arguments" | "value" | "string" | "word";

/** What a string is: the name of a member, that of the tool, all arguments, or a part of a value. */
type StringRole = "key" | "name" | "arguments" | "value";

/** All that a reader knows between two pieces of text. */
interface State {
  place: Place;
  /** The tool that is called. */
  name: string | undefined;
  /** The name of the member that is read. */
  key: string;
  hasArguments: boolean;
  /** What was read of the arguments and not taken yet. */
  arguments: string;
  isOver: boolean;
  /** Whether the value that is read is that of the arguments, and how many objects and lists are open in it. */
  isArguments: boolean;
  depth: number;
  /** Of the string that is read: what it is, its quote, an escape that is not complete, and the text of a name. */
  role: StringRole;
  quote: string;
  escape: string;
  text: string;
  /** The beginning of a word or a number. */
  word: string;
}

/** Reads one call. */
export class CallReader {
  readonly #tools: ReadonlySet<string>;
  /** The text that is being read, and how much of it was. */
  #text = "";
  #at = 0;
  #state: State = {
    place: "list",
    name: undefined,
    key: "",
    hasArguments: false,
    arguments: "",
    isOver: false,
    isArguments: false,
    depth: 0,
    role: "key",
    quote: "",
    escape: "",
    text: "",
    word: "",
  };

  /** @param tools names that may be called. */
  constructor(tools: ReadonlySet<string>) {
    this.#tools = tools;
  }

  /** Another reader that has read the same. */
  fork(): CallReader {
    const reader = new CallReader(this.#tools);
    reader.#state = { ...this.#state };
    return reader;
  }

  /** The tool that is called, once its name is complete: only then is this a call. */
  get name(): string | undefined {
    return this.#state.name;
  }

  /** Whether nothing more belongs to it: it is complete, or it is no call, or its JSON can't go on like this. */
  get isOver(): boolean {
    return this.#state.isOver;
  }

  /** Reads a text. Returns how much of it belongs to the call, in UTF-16 code units. */
  push(text: string): number {
    this.#text = text;
    this.#at = 0;
    while (!this.#state.isOver && this.#read());
    return this.#at;
  }

  /** Takes what came of the arguments: JSON text without white space around its marks. */
  takeArguments(): string {
    const taken = this.#state.arguments;
    this.#state.arguments = "";
    return taken;
  }

  /** Reads a little. Returns whether there was something to read. */
  #read(): boolean {
    const { place } = this.#state;
    if (place === "string") return this.#readString();
    if (place === "word") return this.#readWord();
    while (isSpace(this.#text[this.#at])) this.#at++;
    const character = this.#text[this.#at];
    if (character === undefined) return false;
    this.#readMark(place, character);
    return true;
  }

  /** Reads what a place begins with. @param next the next character, which is no white space. */
  #readMark(place: Place, next: string): void {
    const state = this.#state;
    switch (place) {
      case "list": // of several calls
        if (next === "[") this.#at++;
        state.place = "object";
        break;
      case "object":
        this.#goOn(next === "{", "comma");
        break;
      case "comma":
        if (next === ",") this.#at++;
        state.place = "key";
        break;
      case "key":
        if (isQuote(next)) this.#beginString("key");
        else this.#goOn(next === "}", "key", true);
        break;
      case "colon":
        this.#goOn(next === ":", this.#placeOfValue());
        break;
      case "name":
        if (isQuote(next)) this.#beginString("name");
        else state.isOver = true;
        break;
      case "arguments":
        this.#beginArguments(next);
        break;
      default:
        this.#readValue(next);
    }
  }

  /** Takes a mark and goes on, or ends where it is not the right one. @param isLast whether it ends the call as well. */
  #goOn(isRight: boolean, place: Place, isLast = false): void {
    if (isRight) this.#at++;
    this.#state.isOver = !isRight || isLast;
    this.#state.place = place;
  }

  /** What comes after the colon behind a name. */
  #placeOfValue(): Place {
    const { key, name, hasArguments } = this.#state;
    this.#state.isArguments = false;
    this.#state.depth = 0;
    if (key === "name" && name === undefined) return "name";
    return ARGUMENTS.has(key) && !hasArguments ? "arguments" : "value";
  }

  #beginArguments(next: string): void {
    const state = this.#state;
    state.place = "value";
    if (next === "n" || next === "N") return; // null: there are none
    state.hasArguments = true;
    state.isArguments = true;
    // Some models write the object into a string.
    if (isQuote(next)) this.#beginString("arguments");
  }

  /** Reads a value, without white space between its parts. It may end anywhere. */
  #readValue(next: string): void {
    const state = this.#state;
    if (isQuote(next)) {
      this.#emit('"');
      this.#beginString("value");
    } else if (MARKS.includes(next)) {
      const opens = "{[".includes(next);
      if (next === "<" || (state.depth === 0 && !opens)) {
        state.place = "comma";
        return;
      }
      this.#at++;
      this.#emit(next);
      if (opens) state.depth++;
      else if ("}]".includes(next)) state.depth--;
      this.#endPart();
    } else {
      state.place = "word";
    }
  }

  /** A part of a value has ended. */
  #endPart(): void {
    this.#state.place = this.#state.depth > 0 ? "value" : "comma";
  }

  #emit(text: string): void {
    if (this.#state.isArguments) this.#state.arguments += text;
  }

  /** Reads the quote before a string. */
  #beginString(role: StringRole): void {
    Object.assign(this.#state, { place: "string", role, quote: this.#text[this.#at], text: "" });
    this.#at++;
  }

  /** Reads a string in pieces, each a single character, a whole escape, or plain characters. */
  #readString(): boolean {
    const state = this.#state;
    while (this.#at < this.#text.length) {
      const plain = state.escape === "" ? run(PLAIN, this.#text, this.#at) : "";
      if (plain !== "") {
        this.#at += plain.length;
        this.#readPiece(plain);
        continue;
      }
      // Never half a character: what follows is read from where a character begins.
      const character = String.fromCodePoint(this.#text.codePointAt(this.#at) as number);
      if (state.escape.startsWith("\\u") && !HEX.test(character)) {
        this.#readPiece(state.escape);
        state.escape = "";
        continue;
      }
      this.#at += character.length;
      const piece = state.escape + character;
      if (piece === state.quote) {
        this.#endString();
        return true;
      }
      const isWhole = !piece.startsWith("\\") || piece.length >= (piece[1] === "u" ? 6 : 2);
      state.escape = isWhole ? "" : piece;
      if (isWhole) this.#readPiece(piece);
    }
    return false;
  }

  #readPiece(piece: string): void {
    const { role } = this.#state;
    if (role === "value") this.#emit(escaped(piece));
    else if (role === "arguments") this.#emit(unescaped(piece));
    else this.#state.text += unescaped(piece);
  }

  #endString(): void {
    const state = this.#state;
    if (state.role === "key") {
      state.key = state.text;
      state.place = "colon";
    } else if (state.role === "name") {
      if (this.#tools.has(state.text)) state.name = state.text;
      else state.isOver = true;
      state.place = "comma";
    } else {
      if (state.role === "value") this.#emit('"');
      this.#endPart();
    }
  }

  /** Reads a word or a number. */
  #readWord(): boolean {
    const state = this.#state;
    const part = run(WORD, this.#text, this.#at);
    state.word += part;
    this.#at += part.length;
    if (this.#at === this.#text.length) return false;
    this.#emit(WORDS.get(state.word) ?? state.word);
    state.word = "";
    this.#endPart();
    return true;
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

/** A piece of a string's text as JSON allows it. Models write control characters as they are, and escapes that there are none of. */
function escaped(piece: string): string {
  if (piece === "\\'") return "'";
  if (ESCAPE.test(piece)) return piece;
  return piece < " " || piece === '"' || piece.startsWith("\\") ? JSON.stringify(piece).slice(1, -1) : piece;
}
