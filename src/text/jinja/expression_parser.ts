/** Parses what has a value, with the precedence of operators that jinja2 has, which isn't always Python's. */

import { FILTERS, REFUSED_FILTERS } from "./filters.ts";
import type { Token } from "./lexer.ts";
import type { Arguments, ArithmeticOperator, ComparisonOperator, Expression, Filtering, Target } from "./syntax.ts";
import { TESTS } from "./tests.ts";
import { describe, TokenStream } from "./token_stream.ts";

const COMPARISONS = ["==", "!=", "<", "<=", ">", ">="];
const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);

/** Reads of names that a macro gives a meaning to, if its body has them. */
export class SpecialNames {
  readonly read = new Set<string>();
  readonly #hidden = new Set<string>();

  reads(name: string): void {
    if ((name === "caller" || name === "varargs" || name === "kwargs") && !this.#hidden.has(name)) this.read.add(name);
  }

  assigns(name: string): void {
    if (!this.read.has(name)) this.#hidden.add(name);
  }
}

/** A parser of expressions, on which that of statements stands. */
export class ExpressionParser {
  protected readonly stream: TokenStream;
  /** Those of the macros around the current place. */
  protected specials: SpecialNames[] = [];
  /** Whether filters and tests that don't exist matter only once they are used, as within conditions. */
  protected isConditional = false;
  #unknown: string[] = [];
  #isInTarget = false;

  constructor(tokens: readonly Token[]) {
    this.stream = new TokenStream(tokens);
  }

  /** @throws TemplateError when a filter or test that doesn't exist would be used. */
  protected checkNames(): void {
    if (this.#unknown[0] !== undefined) throw this.stream.error(this.#unknown[0]);
  }

  protected parseExpression(hasConditions = true): Expression {
    return this.stream.within(() => (hasConditions ? this.#parseCondition() : this.#parseOr()));
  }

  #parseCondition(): Expression {
    const unknown = this.#unknown.length;
    let { line } = this.stream.current;
    let value = this.#parseOr();
    while (this.stream.skipName("if")) {
      const test = this.#parseOr();
      const otherwise = this.stream.skipName("else") ? this.stream.within(() => this.#parseCondition()) : undefined;
      value = { kind: "condition", test, value, otherwise, line };
      this.#unknown.length = unknown;
      line = this.stream.current.line;
    }
    return value;
  }

  #parseOr(): Expression {
    let left = this.#parseAnd();
    while (this.stream.skipName("or")) left = { kind: "or", left, right: this.#parseAnd() };
    return left;
  }

  #parseAnd(): Expression {
    let left = this.#parseNot();
    while (this.stream.skipName("and")) left = { kind: "and", left, right: this.#parseNot() };
    return left;
  }

  #parseNot(): Expression {
    if (!this.stream.skipName("not")) return this.#parseComparison();
    return { kind: "not", operand: this.stream.within(() => this.#parseNot()) };
  }

  #parseComparison(): Expression {
    const first = this.#parseSum();
    const rest: { operator: ComparisonOperator; operand: Expression }[] = [];
    for (;;) {
      let operator: ComparisonOperator;
      if (this.stream.isOperator(...COMPARISONS)) {
        operator = this.stream.next().text as ComparisonOperator;
      } else if (this.stream.skipName("in")) {
        operator = "in";
      } else if (
        this.stream.isName("not") &&
        this.stream.following.kind === "name" &&
        this.stream.following.text === "in"
      ) {
        this.stream.next();
        this.stream.next();
        operator = "not in";
      } else {
        break;
      }
      rest.push({ operator, operand: this.#parseSum() });
    }
    return rest.length === 0 ? first : { kind: "comparison", first, rest };
  }

  #parseSum(): Expression {
    return this.#parseArithmetic(["+", "-"], () => this.#parseConcatenation());
  }

  #parseConcatenation(): Expression {
    const first = this.#parseProduct();
    const parts = [first];
    while (this.stream.skipOperator("~")) parts.push(this.#parseProduct());
    return parts.length === 1 ? first : { kind: "concatenation", parts };
  }

  #parseProduct(): Expression {
    return this.#parseArithmetic(["*", "/", "//", "%"], () => this.#parseArithmetic(["**"], () => this.#parseUnary()));
  }

  #parseArithmetic(operators: ArithmeticOperator[], parseOperand: () => Expression): Expression {
    let left = parseOperand();
    while (this.stream.isOperator(...operators)) {
      const operator = this.stream.next().text as ArithmeticOperator;
      left = { kind: "arithmetic", operator, left, right: parseOperand() };
    }
    return left;
  }

  #parseUnary(hasFilters = true): Expression {
    let value: Expression;
    if (this.stream.isOperator("+", "-")) {
      const operator = this.stream.next().text as "+" | "-";
      value = { kind: "sign", operator, operand: this.stream.within(() => this.#parseUnary(false)) };
    } else {
      value = this.parsePrimary();
    }
    value = this.#parsePostfixes(value);
    return hasFilters ? this.#parseFiltersAndTests(value) : value;
  }

  protected parsePrimary(): Expression {
    const { stream } = this;
    const token = stream.current;
    if (token.kind === "name") {
      stream.next();
      const constant = CONSTANTS.get(token.text);
      if (constant !== undefined) return { kind: "constant", value: constant };
      if (!this.#isInTarget) for (const special of this.specials) special.reads(token.text);
      return { kind: "name", name: token.text };
    }
    if (token.kind === "string") {
      let text = "";
      while (stream.current.kind === "string") text += stream.next().text;
      return { kind: "constant", value: text };
    }
    if (token.kind === "integer" || token.kind === "float") return { kind: "constant", value: stream.next().value };
    if (stream.skipOperator("(")) {
      const value = this.parseTuple({ isInParentheses: true });
      stream.expectOperator(")");
      return value;
    }
    if (stream.isOperator("["))
      return { kind: "list", items: this.#parseItems("[", "]", () => this.parseExpression()) };
    if (!stream.isOperator("{")) throw stream.error(`unexpected '${describe(token)}'`);
    const entries = this.#parseItems("{", "}", () => {
      const key = this.parseExpression();
      stream.expectOperator(":");
      return { key, value: this.parseExpression() };
    });
    return { kind: "dict", entries };
  }

  #parseItems<Item>(open: string, close: string, parseItem: () => Item): Item[] {
    this.stream.expectOperator(open);
    const items: Item[] = [];
    while (!this.stream.isOperator(close)) {
      if (items.length > 0) this.stream.expectOperator(",");
      if (this.stream.isOperator(close)) break;
      items.push(parseItem());
    }
    this.stream.next();
    return items;
  }

  /** Parses an expression, or several with commas between them. */
  protected parseTuple({
    isInParentheses = false,
    isTarget = false,
    hasConditions = true,
    end = "",
  }: {
    isInParentheses?: boolean;
    isTarget?: boolean;
    hasConditions?: boolean;
    /** A name that ends it. */
    end?: string;
  } = {}): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.stream.expectOperator(",");
      if (this.stream.current.kind === "end" || this.stream.isOperator(")") || this.stream.isName(end)) break;
      items.push(isTarget ? this.parsePrimary() : this.parseExpression(hasConditions));
      if (!this.stream.isOperator(",")) break;
      isTuple = true;
    }
    if (isTuple) return { kind: "tuple", items };
    if (items[0] !== undefined) return items[0];
    if (!isInParentheses) throw this.stream.error(`Expected an expression, got '${describe(this.stream.current)}'`);
    return { kind: "tuple", items };
  }

  #parsePostfixes(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.stream.isOperator(".", "[")) value = this.#parseSubscript(value);
      else if (this.stream.isOperator("(")) value = this.#parseCall(value);
      else return value;
    }
  }

  #parseFiltersAndTests(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.stream.isOperator("|")) value = this.parseFilters(value);
      else if (this.stream.isName("is")) value = this.#parseTest(value);
      else if (this.stream.isOperator("(")) value = this.#parseCall(value);
      else return value;
    }
  }

  #parseSubscript(object: Expression): Expression {
    const { stream } = this;
    if (stream.next().text === ".") {
      const name = stream.next();
      if (name.kind === "name") return { kind: "attribute", object, name: name.text };
      if (name.kind !== "integer") throw stream.error("expected name or number", name.line);
      return { kind: "item", object, index: { kind: "constant", value: name.value } };
    }
    const indices: (Expression | { start?: Expression; stop?: Expression; step?: Expression })[] = [];
    while (!stream.isOperator("]")) {
      if (indices.length > 0) stream.expectOperator(",");
      indices.push(this.#parseIndex());
    }
    stream.next();
    const [index] = indices;
    if (indices.length === 1 && index !== undefined) {
      return "kind" in index ? { kind: "item", object, index } : { kind: "slice", object, ...index };
    }
    const items = indices.map((item) => {
      if ("kind" in item) return item;
      throw stream.error("slices with commas are not supported");
    });
    return { kind: "item", object, index: { kind: "tuple", items } };
  }

  #parseIndex(): Expression | { start?: Expression; stop?: Expression; step?: Expression } {
    const { stream } = this;
    const slice: { start?: Expression; stop?: Expression; step?: Expression } = {};
    if (!stream.isOperator(":")) {
      const index = this.parseExpression();
      if (!stream.isOperator(":")) return index;
      slice.start = index;
    }
    stream.next();
    if (!stream.isOperator(":", "]", ",")) slice.stop = this.parseExpression();
    if (stream.skipOperator(":") && !stream.isOperator("]", ",")) slice.step = this.parseExpression();
    return slice;
  }

  #parseCall(callee: Expression): Expression {
    return { kind: "call", callee, given: this.#parseArguments() };
  }

  #parseArguments(): Arguments {
    const { stream } = this;
    const given: Arguments = { positional: [], named: [], list: undefined, dict: undefined };
    const names = new Set<string>();
    const { line } = stream.current;
    const ensure = (holds: boolean) => {
      if (!holds) throw stream.error("invalid syntax for function call expression", line);
    };
    stream.expectOperator("(");
    for (let isFirst = true; !stream.isOperator(")"); isFirst = false) {
      if (!isFirst) {
        stream.expectOperator(",");
        if (stream.isOperator(")")) break;
      }
      if (stream.skipOperator("*")) {
        ensure(given.list === undefined && given.dict === undefined);
        given.list = this.parseExpression();
      } else if (stream.skipOperator("**")) {
        ensure(given.dict === undefined);
        given.dict = this.parseExpression();
      } else if (
        stream.current.kind === "name" &&
        stream.following.kind === "operator" &&
        stream.following.text === "="
      ) {
        ensure(given.dict === undefined);
        const name = stream.next().text;
        stream.next();
        if (names.has(name)) throw stream.error(`keyword argument repeated: ${name}`);
        names.add(name);
        given.named.push({ name, value: this.parseExpression() });
      } else {
        ensure(given.list === undefined && given.dict === undefined && given.named.length === 0);
        given.positional.push(this.parseExpression());
      }
    }
    stream.next();
    return given;
  }

  /** Parses filters with their bars. @param isBlock whether the first one has no bar before it, nor a value. */
  protected parseFilters(value: Expression): Filtering;
  protected parseFilters(value: undefined, isBlock?: boolean): Filtering | undefined;
  protected parseFilters(value: Expression | undefined, isBlock = false): Filtering | undefined {
    let filtered: Filtering | undefined;
    for (let hasBar = !isBlock; !hasBar || this.stream.isOperator("|"); hasBar = true) {
      if (hasBar) this.stream.next();
      const name = this.#parseDottedName();
      const given = this.#parseOptionalArguments();
      const refused = REFUSED_FILTERS.get(name);
      if (refused !== undefined) throw this.stream.error(`the filter '${name}' is not supported: ${refused}`);
      if (!FILTERS.has(name)) this.#noteUnknown(`No filter named '${name}'.`);
      filtered = { kind: "filter", value: filtered ?? value, name, given };
    }
    return filtered;
  }

  #parseTest(value: Expression): Expression {
    const { stream } = this;
    stream.next();
    const isNegated = stream.skipName("not");
    const name = this.#parseDottedName();
    let given = this.#parseOptionalArguments();
    const { kind, text } = stream.current;
    const beginsArgument =
      ["name", "string", "integer", "float"].includes(kind) || (kind === "operator" && (text === "[" || text === "{"));
    if (!given.isWritten && beginsArgument && !stream.isName("else", "or", "and")) {
      if (stream.isName("is")) throw stream.error("You cannot chain multiple tests with is");
      const argument = this.#parsePostfixes(this.parsePrimary());
      given = { ...NO_ARGUMENTS, positional: [argument], isWritten: true };
    }
    if (!TESTS.has(name)) this.#noteUnknown(`No test named '${name}'.`);
    const test: Expression = { kind: "test", value, name, given };
    return isNegated ? { kind: "not", operand: test } : test;
  }

  #parseDottedName(): string {
    let name = this.stream.expect("name").text;
    while (this.stream.skipOperator(".")) name += `.${this.stream.expect("name").text}`;
    return name;
  }

  #parseOptionalArguments(): Arguments & { isWritten: boolean } {
    if (!this.stream.isOperator("(")) return { ...NO_ARGUMENTS, isWritten: false };
    return { ...this.#parseArguments(), isWritten: true };
  }

  #noteUnknown(message: string): void {
    if (!this.isConditional) this.#unknown.push(message);
  }

  /** Parses what is assigned to: a name, or several with commas between them. */
  protected parseTarget(end = ""): Target {
    this.#isInTarget = true;
    const target = this.parseTuple({ isTarget: true, end });
    this.#isInTarget = false;
    return this.#targetOf(target);
  }

  #targetOf(expression: Expression): Target {
    if (expression.kind === "tuple") {
      return { kind: "tuple", items: expression.items.map((item) => this.#targetOf(item)) };
    }
    if (expression.kind !== "name") throw this.stream.error(`can't assign to '${expression.kind}'`);
    for (const special of this.specials) special.assigns(expression.name);
    return { kind: "name", name: expression.name };
  }

  protected parseTargetName(): string {
    const { text } = this.stream.expect("name");
    if (CONSTANTS.has(text)) throw this.stream.error(`can't assign to '${text}'`);
    return text;
  }
}

const NO_ARGUMENTS: Arguments = { positional: [], named: [], list: undefined, dict: undefined };
