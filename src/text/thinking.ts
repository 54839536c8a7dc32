/**
 * What models think before they answer, between `<think>` and `</think>`: whether a model does, by its chat template, whether a prompt has
 * begun it, and where it ends in a text that arrives in pieces.
 */

import { THOUGHTS_CLOSE as CLOSE, THOUGHTS_OPEN as OPEN, partialMarkLength } from "./marks.ts";

/** Whether a chat template is that of a model that writes what it thinks. */
export function thinks(template: string): boolean {
  return template.includes(CLOSE);
}

/** What the end of a prompt has of the next message: the marks of thoughts that it begins, or that it has closed. */
export function begunThoughts(prompt: string): string {
  const end = prompt.trimEnd();
  return end.endsWith(OPEN) ? OPEN : end.endsWith(CLOSE) ? OPEN + CLOSE : "";
}

/** The beginning of a message that is thought about. */
export function openThoughts(thoughts: string): string {
  return OPEN + thoughts;
}

/**
 * A prompt without what its template puts after the thoughts of the last message, so that these are continued; undefined where it doesn't
 * end with those thoughts, closed.
 */
export function upToThoughts(prompt: string, thoughts: string): string | undefined {
  const text = prompt.slice(0, Math.max(0, prompt.lastIndexOf(CLOSE))).trimEnd();
  return thoughts.trim() !== "" && text.endsWith(thoughts.trim()) ? text : undefined;
}

/** What may come next of thoughts, after what there is of a message: the rest of them, or whole ones or none. */
export function thoughtsAfter(begun: string): "open" | "possible" | undefined {
  const parser = new ThinkingParser(true);
  parser.continueFrom(begun);
  return parser.isThinking ? "open" : parser.isBefore ? "possible" : undefined;
}

/** A piece of an answer's text. */
export interface ThinkingPart {
  kind: "thinking" | "answer";
  text: string;
}

/**
 * Takes the thoughts at the beginning of a text apart from what follows. White space around them belongs to neither. One per answer;
 * not to be shared.
 */
export class ThinkingParser {
  #state: "before" | "thinking" | "after" = "before";
  /** White space that may stand before a mark. */
  #space = "";
  /** What may be the beginning of a mark. */
  #mark = "";
  /** Code units of it that were there before the answer and are not to be let out with it. */
  #hidden = 0;
  /** Whether nothing but white space came since thoughts began. */
  #isAtStart = true;
  /** Whether there were thoughts, if only empty ones. */
  #isAfterThoughts = false;
  /** Whether there was text in them. */
  #hasThought = false;

  /** @param thinks whether there may be thoughts; else everything is the answer. */
  constructor(thinks: boolean) {
    if (!thinks) this.#state = "after";
  }

  /** Another parser that has read the same. */
  fork(): ThinkingParser {
    const parser = new ThinkingParser(true);
    parser.#state = this.#state;
    parser.#space = this.#space;
    parser.#mark = this.#mark;
    parser.#hidden = this.#hidden;
    parser.#isAtStart = this.#isAtStart;
    parser.#isAfterThoughts = this.#isAfterThoughts;
    parser.#hasThought = this.#hasThought;
    return parser;
  }

  /** Whether the text so far has no thoughts yet and may begin with some. */
  get isBefore(): boolean {
    return this.#state === "before" && !this.#isAfterThoughts;
  }

  /** Whether the text so far ends within thoughts. */
  get isThinking(): boolean {
    return this.#state === "thinking";
  }

  /** Reads a text that the answer continues, before anything else. Returns what follows the thoughts in it. */
  continueFrom(text: string): string {
    const parts = this.push(text);
    this.#space = "";
    this.#hidden = this.#mark.length;
    return parts.map((part) => (part.kind === "answer" ? part.text : "")).join("");
  }

  /** Adds a piece of text and returns what is certain now. */
  push(text: string): ThinkingPart[] {
    const parts: ThinkingPart[] = [];
    let rest = text;
    while (rest !== "") {
      if (this.#state === "before") rest = this.#readBefore(parts, rest);
      else if (this.#state === "thinking") rest = this.#readThoughts(parts, rest);
      else {
        parts.push({ kind: "answer", text: rest });
        rest = "";
      }
    }
    return parts;
  }

  /**
   * Ends the text and returns the rest of it.
   *
   * @param isCut whether it was ended from outside: the beginning of a mark at its end is then left out.
   */
  finish(isCut: boolean): ThinkingPart[] {
    const mark = isCut ? "" : this.#mark.slice(this.#hidden);
    if (this.#state !== "thinking") {
      const text = isCut && this.#mark !== "" ? "" : this.#space + mark;
      return text === "" ? [] : [{ kind: "answer", text }];
    }
    return mark === "" ? [] : [{ kind: "thinking", text: this.#space + mark }];
  }

  /** Reads up to the first character that says whether there are thoughts. Returns the rest. */
  #readBefore(parts: ThinkingPart[], text: string): string {
    const graphic = this.#mark === "" ? text.trimStart() : text;
    if (!this.#isAfterThoughts) this.#space += text.slice(0, text.length - graphic.length);
    const begun = this.#mark + graphic;
    if (begun !== OPEN && OPEN.startsWith(begun)) {
      this.#mark = begun;
      return "";
    }
    if (begun.startsWith(OPEN)) {
      this.#state = "thinking";
      this.#isAtStart = true;
      this.#reset();
      return begun.slice(OPEN.length);
    }
    parts.push({ kind: "answer", text: this.#space + begun.slice(this.#hidden) });
    this.#state = "after";
    this.#reset();
    return "";
  }

  /** Reads up to the end of the thoughts. Returns the rest. */
  #readThoughts(parts: ThinkingPart[], text: string): string {
    const all = this.#mark + text;
    const close = all.indexOf(CLOSE);
    const end = close < 0 ? all.length - partialMarkLength(all, [CLOSE]) : close;
    if (end > 0) {
      this.#think(parts, all.slice(this.#hidden, end));
      this.#hidden = 0;
    }
    if (close < 0) {
      this.#mark = all.slice(end);
      return "";
    }
    // Some models think once more, above all where the prompt has closed empty thoughts.
    this.#state = "before";
    this.#isAfterThoughts = true;
    this.#reset();
    return all.slice(close + CLOSE.length);
  }

  #think(parts: ThinkingPart[], text: string): void {
    const thought = this.#isAtStart ? text.trimStart() : text;
    const length = thought.trimEnd().length;
    if (length > 0) {
      const between = this.#isAtStart && this.#hasThought ? "\n\n" : this.#space;
      parts.push({ kind: "thinking", text: between + thought.slice(0, length) });
      this.#isAtStart = false;
      this.#hasThought = true;
      this.#space = "";
    }
    this.#space += thought.slice(length);
  }

  /** Nothing is held back after a mark. */
  #reset(): void {
    this.#space = "";
    this.#mark = "";
    this.#hidden = 0;
  }
}
