/**
 * What a terminal sends, as keys. Special keys come as escape sequences (ECMA-48; xterm's forms of modifiers), pasted text between two
 * of them, and any of this may be cut anywhere.
 */

/** Text that was typed, text that was pasted, or another key by its name: "enter", "ctrl-a", "alt-b", "ctrl-left". */
export type Key = { kind: "text" | "paste"; text: string } | { kind: "press"; name: string };

const ESCAPE = "\u001b";
const PASTE_START = "200";
const PASTE_END = "\u001b[201~";

// biome-ignore-start lint/suspicious/noControlCharactersInRegex: they are what terminals send.
const CONTROL_SEQUENCE = /\u001b\[([0-?]*)[ -/]*([@-~])/y;
const SINGLE_SHIFT = /\u001bO([ -~])/y;
/** Answers to questions that a terminal was asked by somebody else. */
const CONTROL_STRING = /\u001b[\]P_^][^\u0007\u001b]*(?:\u0007|\u001b\\)/y;
const WITH_ALT = /\u001b([^\u001b])/uy;
const UNFINISHED = /^\u001b(?:\[[0-?]*[ -/]*|O|[\]P_^][^\u0007\u001b]*\u001b?)?$/;
const TEXT = /[^\u0000-\u001f\u007f]+/y;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: as above.

const BY_LETTER: Readonly<Record<string, string>> = {
  A: "up",
  B: "down",
  C: "right",
  D: "left",
  H: "home",
  F: "end",
  Z: "shift-tab",
  M: "enter",
};

const BY_NUMBER: Readonly<Record<string, string>> = {
  1: "home",
  2: "insert",
  3: "delete",
  4: "end",
  5: "page-up",
  6: "page-down",
  7: "home",
  8: "end",
};

/** Reads what a terminal sends. */
export class KeyDecoder {
  #rest = "";
  /** Pieces of the text that is being pasted. */
  #pasted: string[] | undefined;

  /** Whether a sequence has begun that may go on, or be the escape key. */
  get isUnfinished(): boolean {
    return this.#rest !== "" && this.#pasted === undefined;
  }

  /** The keys that are complete with this. */
  push(text: string): Key[] {
    const keys: Key[] = [];
    this.#rest += text;
    while (this.#rest !== "") {
      const key = this.#pasted === undefined ? this.#next() : this.#nextPasted(this.#pasted);
      if (key === "unfinished") break;
      if (key !== undefined) keys.push(key);
    }
    return keys;
  }

  /** The keys that are complete if nothing follows for a moment. */
  flush(): Key[] {
    if (!this.isUnfinished) return [];
    const [, ...letters] = this.#rest;
    this.#rest = "";
    // Alt and a letter with which longer sequences begin.
    if (letters.length === 1) return [{ kind: "press", name: `alt-${letters[0]}` }];
    return letters.length === 0 ? [{ kind: "press", name: "escape" }] : [];
  }

  /** Takes the next key; undefined for what is none that anybody needs. */
  #next(): Key | "unfinished" | undefined {
    const sequence = this.#match(CONTROL_SEQUENCE);
    if (sequence !== undefined) return this.#named(sequence[1] ?? "", sequence[2] ?? "");
    const shifted = this.#match(SINGLE_SHIFT);
    if (shifted !== undefined) return pressed(BY_LETTER[shifted[1] ?? ""]);
    if (this.#match(CONTROL_STRING) !== undefined) return undefined;
    if (UNFINISHED.test(this.#rest)) return "unfinished";
    const alt = this.#match(WITH_ALT);
    if (alt !== undefined) return pressed(`alt-${controlName(alt[1] as string) ?? (alt[1] as string).toLowerCase()}`);
    const text = this.#match(TEXT);
    if (text !== undefined) return { kind: "text", text: text[0] };
    const control = this.#rest[0] as string;
    this.#rest = this.#rest.slice(1);
    return pressed(control === ESCAPE ? "escape" : controlName(control));
  }

  /** Goes on with pasted text, of which only what came last can hold its end. */
  #nextPasted(pasted: string[]): Key | "unfinished" {
    const end = this.#rest.indexOf(PASTE_END);
    if (end < 0) {
      const certain = Math.max(0, this.#rest.length - PASTE_END.length + 1);
      pasted.push(this.#rest.slice(0, certain));
      this.#rest = this.#rest.slice(certain);
      return "unfinished";
    }
    pasted.push(this.#rest.slice(0, end));
    this.#rest = this.#rest.slice(end + PASTE_END.length);
    this.#pasted = undefined;
    return { kind: "paste", text: pasted.join("").replace(/\r\n?/g, "\n") };
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = 0;
    const match = pattern.exec(this.#rest);
    if (match === null) return undefined;
    this.#rest = this.#rest.slice(match[0].length);
    return match;
  }

  /** The key of a control sequence: a letter or a number names it, the second number its modifiers. */
  #named(parameters: string, final: string): Key | undefined {
    const [first = "", second = "", third = ""] = parameters.split(";");
    if (final === "~" && first === PASTE_START) {
      this.#pasted = [];
      return undefined;
    }
    if (final === "u") return pressed(withModifiers(codeName(first), second));
    if (final === "~" && first === "27") return pressed(withModifiers(codeName(third), second));
    return pressed(withModifiers(final === "~" ? BY_NUMBER[first] : BY_LETTER[final], second));
  }
}

function pressed(name: string | undefined): Key | undefined {
  return name === undefined ? undefined : { kind: "press", name };
}

/** The name of a control character; undefined for another. */
function controlName(character: string): string | undefined {
  const code = character.charCodeAt(0);
  if (code === 0x0d || code === 0x0a) return "enter";
  if (code === 0x09) return "tab";
  if (code === 0x7f || code === 0x08) return "backspace";
  return code < 0x20 ? `ctrl-${String.fromCharCode(code + 0x40).toLowerCase()}` : undefined;
}

/** The name of a key whose code point a terminal sends. */
function codeName(code: string): string | undefined {
  const value = Number(code.split(":")[0]);
  if (!(value > 0 && value <= 0x10ffff)) return undefined;
  if (value === 27) return "escape";
  const character = String.fromCodePoint(value);
  return controlName(character) ?? character.toLowerCase();
}

/** @param modifiers a sum of bits, plus one: shift 1, alt 2, control 4. */
function withModifiers(name: string | undefined, modifiers: string): string | undefined {
  const bits = Math.max(0, Number(modifiers.split(":")[0] || 1) - 1);
  const held = [bits & 4 ? "ctrl-" : "", bits & 2 ? "alt-" : "", bits & 1 ? "shift-" : ""].join("");
  return name === undefined ? undefined : held + name;
}
