/** The tokens of a template, one after the other, for the parsers. */

import { TemplateError } from "./errors.ts";
import type { Token } from "./lexer.ts";

/** Most levels of blocks and expressions within each other; Python, which jinja2 compiles to, has no more levels of blocks. */
const DEPTH_MAX = 100;

/** A place among tokens. */
export class TokenStream {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  /** @param tokens the last of them is "eof". */
  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get current(): Token {
    return this.#tokens[this.#at] as Token;
  }

  /** The token after the current one. */
  get following(): Token {
    return this.#tokens[Math.min(this.#at + 1, this.#tokens.length - 1)] as Token;
  }

  /** Takes a token. */
  next(): Token {
    const token = this.current;
    if (token.kind !== "eof") this.#at++;
    return token;
  }

  isName(...names: string[]): boolean {
    return this.current.kind === "name" && names.includes(this.current.text);
  }

  isOperator(...operators: string[]): boolean {
    return this.current.kind === "operator" && operators.includes(this.current.text);
  }

  /** Takes a name if it is the next token. */
  skipName(name: string): boolean {
    if (!this.isName(name)) return false;
    this.next();
    return true;
  }

  /** Takes an operator if it is the next token. */
  skipOperator(operator: string): boolean {
    if (!this.isOperator(operator)) return false;
    this.next();
    return true;
  }

  /** Takes a token of a kind. @throws TemplateError when the next one is another. */
  expect(kind: Token["kind"], text?: string): Token {
    const { current } = this;
    if (current.kind === kind && (text === undefined || current.text === text)) return this.next();
    const expected = text ?? DESCRIPTIONS[kind];
    if (current.kind === "eof") throw this.error(`unexpected end of template, expected '${expected}'.`);
    throw this.error(`expected token '${expected}', got '${describe(current)}'`);
  }

  expectOperator(operator: string): void {
    this.expect("operator", operator);
  }

  /** A fault at the current token. */
  error(message: string, line = this.current.line): TemplateError {
    return new TemplateError(`${message} (line ${line})`);
  }

  /** Parses what stands within something else. */
  within<Result>(parse: () => Result): Result {
    if (++this.#depth > DEPTH_MAX) throw this.error(`more than ${DEPTH_MAX} levels within each other`);
    const result = parse();
    this.#depth--;
    return result;
  }
}

const DESCRIPTIONS: Readonly<Record<Token["kind"], string>> = {
  text: "template data / text",
  name: "name",
  string: "string",
  integer: "integer",
  float: "float",
  operator: "operator",
  block: "begin of statement block",
  output: "begin of print statement",
  end: "end of tag",
  eof: "end of template",
};

/** A token in words. */
export function describe(token: Token): string {
  return token.kind === "name" || token.kind === "operator" ? token.text : DESCRIPTIONS[token.kind];
}
