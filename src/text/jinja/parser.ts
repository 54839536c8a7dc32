/**
 * Parses templates: the language of jinja2 3.1 with what Hugging Face adds to it, which is `break`, `continue` and `generation`. What
 * needs other templates, or would escape for HTML, is refused by name.
 */

import { isSpace } from "./characters.ts";
import { ExpressionParser, SpecialNames } from "./expression_parser.ts";
import { tokenize } from "./lexer.ts";
import { hideNames } from "./scopes.ts";
import type { Body, Expression, MacroDefinition, Statement, Target } from "./syntax.ts";

/** Tags that jinja2 knows and this doesn't. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ["include", "a chat template is all there is"],
  ["import", "a chat template is all there is"],
  ["from", "a chat template is all there is"],
  ["extends", "a chat template is all there is"],
  ["autoescape", "prompts are no HTML"],
]);

/** Parses a template. @throws TemplateError. */
export function parse(source: string): Body {
  return new Parser(tokenize(source)).parse();
}

class Parser extends ExpressionParser {
  /** How many loops are around the current place. */
  #loops = 0;
  /** Whether there is a loop that can be left here. */
  #isInLoop = false;
  readonly #blocks = new Set<string>();

  parse(): Body {
    const statements = this.#parseUntil([]);
    this.checkNames();
    const body = { statements, hidden: [] };
    hideNames(body);
    return body;
  }

  /** Parses up to a tag with one of these names, which is taken as far as its name; without names, up to the end. */
  #parseUntil(ends: readonly string[]): Statement[] {
    const { stream } = this;
    const statements: Statement[] = [];
    for (;;) {
      const token = stream.next();
      switch (token.kind) {
        case "text":
          statements.push({ kind: "text", text: token.text });
          break;
        case "output":
          statements.push({ kind: "output", value: this.parseTuple() });
          stream.expect("end", "}}");
          break;
        case "block": {
          if (stream.current.kind === "name" && ends.includes(stream.current.text)) return statements;
          const statement = stream.within(() => this.#parseStatement(ends));
          if (Array.isArray(statement)) statements.push(...statement);
          else statements.push(statement);
          stream.expect("end", "%}");
          break;
        }
        default:
          if (ends.length === 0) return statements;
          throw stream.error(`Unexpected end of template. Jinja was looking for the following tags: ${wordsOf(ends)}.`);
      }
    }
  }

  /** Parses what is inside a tag and its end, and takes the name of the tag that ends it. */
  #parseBlock(...ends: string[]): Statement[] {
    this.stream.skipOperator(":");
    this.stream.expect("end", "%}");
    const statements = this.#parseUntil(ends);
    if (ends.length === 1) this.stream.next();
    return statements;
  }

  /** Parses something whose filters and tests have to exist whether or not it runs, or not. */
  #inConditional<Result>(isConditional: boolean, parse: () => Result): Result {
    const before = this.isConditional;
    this.isConditional = isConditional;
    const result = parse();
    this.isConditional = before;
    return result;
  }

  #parseBody(...ends: string[]): Body {
    return { statements: this.#inConditional(false, () => this.#parseBlock(...ends)), hidden: [] };
  }

  #parseStatement(ends: readonly string[]): Statement | Statement[] {
    const { stream } = this;
    const tag = stream.current;
    if (tag.kind !== "name") throw stream.error("tag name expected");
    stream.next();
    const refusal = REFUSED.get(tag.text);
    if (refusal !== undefined) throw stream.error(`{% ${tag.text} %} is not supported: ${refusal}`, tag.line);
    switch (tag.text) {
      case "for":
        return this.#parseFor();
      case "if":
        return this.#parseIf();
      case "set":
        return this.#parseSet();
      case "with":
        return this.#parseWith();
      case "macro":
        return { kind: "macro", definition: this.#parseMacro(this.parseTargetName(), "endmacro") };
      case "call":
        return this.#parseCallBlock();
      case "filter":
        return this.#parseFilterBlock();
      case "print":
        return this.#parsePrint();
      case "block":
        return this.#parseNamedBlock();
      case "generation":
        return { kind: "generation", body: this.#outsideLoops(() => this.#parseBody("endgeneration")) };
      case "break":
      case "continue":
        if (!this.#isInLoop) throw stream.error(`'${tag.text}' outside loop`, tag.line);
        return { kind: tag.text };
      default: {
        const looking = ends.length === 0 ? "" : ` Jinja was looking for the following tags: ${wordsOf(ends)}.`;
        throw stream.error(`Encountered unknown tag '${tag.text}'.${looking}`, tag.line);
      }
    }
  }

  /** Parses a function's body, which can't leave the loops around it. */
  #outsideLoops<Result>(parse: () => Result): Result {
    return this.#withLoops(this.#loops, false, parse);
  }

  #withLoops<Result>(loops: number, isInLoop: boolean, parse: () => Result): Result {
    const before = [this.#loops, this.#isInLoop] as const;
    this.#loops = loops;
    this.#isInLoop = isInLoop;
    const result = parse();
    [this.#loops, this.#isInLoop] = before;
    return result;
  }

  #parseFor(): Statement {
    const { stream } = this;
    return this.#withLoops(this.#loops + 1, this.#isInLoop, () => {
      const target = this.#parseTarget("in");
      stream.expect("name", "in");
      const iterable = this.parseTuple({ hasConditions: false, end: "recursive" });
      const test = stream.skipName("if") ? this.#inConditional(false, () => this.parseExpression()) : undefined;
      const isRecursive = stream.skipName("recursive");
      const isInLoop = this.#isInLoop && !isRecursive;
      const body = this.#withLoops(this.#loops, true, () => this.#parseBody("endfor", "else"));
      const otherwise: Body = { statements: [], hidden: [] };
      if (stream.next().text === "else") {
        otherwise.statements = this.#withLoops(this.#loops, isInLoop, () => this.#parseBody("endfor")).statements;
      }
      return { kind: "for", target, iterable, test, isRecursive, body, otherwise };
    });
  }

  #parseIf(): Statement {
    return this.#inConditional(true, () => {
      const branches: { test: Expression; statements: Statement[] }[] = [];
      const parseBranch = () => {
        const test = this.parseTuple({ hasConditions: false });
        branches.push({ test, statements: this.#parseBlock("elif", "else", "endif") });
      };
      parseBranch();
      for (;;) {
        const { text } = this.stream.next();
        if (text === "endif") return { kind: "if", branches, otherwise: [] };
        if (text === "else") return { kind: "if", branches, otherwise: this.#parseBlock("endif") };
        parseBranch();
      }
    });
  }

  #parseSet(): Statement {
    const { stream } = this;
    let target: Target;
    if (stream.following.kind === "operator" && stream.following.text === ".") {
      const name = stream.expect("name").text;
      stream.next();
      target = { kind: "namespace", name, attribute: stream.expect("name").text };
    } else {
      target = this.#parseTarget();
    }
    if (stream.skipOperator("=")) return { kind: "set", target, value: this.parseTuple() };
    const filter = this.#inConditional(false, () =>
      stream.isOperator("|") ? this.parseFilters(undefined) : undefined,
    );
    return { kind: "set-block", target, filter, body: this.#parseBody("endset") };
  }

  #parseWith(): Statement {
    const { stream } = this;
    const bindings: { target: Target; value: Expression }[] = [];
    while (stream.current.kind !== "end") {
      if (bindings.length > 0) stream.expectOperator(",");
      const target = this.parseTarget();
      stream.expectOperator("=");
      bindings.push({ target, value: this.parseExpression() });
    }
    return { kind: "with", bindings, body: this.#parseBody("endwith") };
  }

  #parseCallBlock(): Statement {
    const { stream } = this;
    const start = stream.current;
    const parameters = stream.isOperator("(") ? this.#parseParameters() : { names: [], defaults: [] };
    const call = this.parseExpression();
    if (call.kind !== "call") throw stream.error("expected call", start.line);
    const definition = this.#parseMacroBody(undefined, parameters, "endcall");
    return { kind: "call-block", definition, call };
  }

  #parseMacro(name: string, end: string): MacroDefinition {
    return this.#parseMacroBody(name, this.#parseParameters(), end);
  }

  #parseMacroBody(
    name: string | undefined,
    { names, defaults }: { names: string[]; defaults: Expression[] },
    end: string,
  ): MacroDefinition {
    const special = new SpecialNames();
    this.specials.push(special);
    const body = this.#outsideLoops(() => this.#parseBody(end));
    this.specials.pop();
    const specials = new Set([...special.read].filter((read) => !names.includes(read)));
    if (
      special.read.has("caller") &&
      names.includes("caller") &&
      names.length - names.indexOf("caller") > defaults.length
    ) {
      const rule = 'the special "caller" argument must be omitted or be given a default.';
      throw this.stream.error(`When defining macros or call blocks ${rule}`);
    }
    return { name, parameters: names, defaults, body, specials };
  }

  #parseParameters(): { names: string[]; defaults: Expression[] } {
    const { stream } = this;
    const names = new Set<string>();
    const defaults: Expression[] = [];
    stream.expectOperator("(");
    while (!stream.isOperator(")")) {
      if (names.size > 0) stream.expectOperator(",");
      const name = this.parseTargetName();
      if (names.has(name)) throw stream.error(`duplicate argument '${name}' in function definition`);
      names.add(name);
      if (stream.skipOperator("=")) defaults.push(this.#inConditional(false, () => this.parseExpression()));
      else if (defaults.length > 0) throw stream.error("non-default argument follows default argument");
    }
    stream.next();
    return { names: [...names], defaults };
  }

  #parseFilterBlock(): Statement {
    const filter = this.#inConditional(false, () => this.parseFilters(undefined, true));
    if (filter === undefined) throw this.stream.error("expected a filter");
    return { kind: "filter-block", filter, body: this.#parseBody("endfilter") };
  }

  #parsePrint(): Statement[] {
    const values: Expression[] = [];
    while (this.stream.current.kind !== "end") {
      if (values.length > 0) this.stream.expectOperator(",");
      values.push(this.parseExpression());
    }
    return values.map((value) => ({ kind: "output", value }));
  }

  #parseNamedBlock(): Statement {
    const { stream } = this;
    const { text: name } = stream.expect("name");
    if (this.#blocks.has(name)) throw stream.error(`block '${name}' defined twice`);
    this.#blocks.add(name);
    const isScoped = stream.skipName("scoped");
    const isRequired = stream.skipName("required");
    if (stream.isOperator("-"))
      throw stream.error("Block names in Jinja may not contain hyphens, use an underscore instead.");
    const body = this.#outsideLoops(() => this.#parseBody("endblock"));
    if (isRequired && !body.statements.every((statement) => statement.kind === "text" && isSpace(statement.text))) {
      throw stream.error("Required blocks can only contain comments or whitespace");
    }
    stream.skipName(name);
    return { kind: "block", name, isScoped, isRequired, body };
  }

  #parseTarget(end = ""): Target {
    const target = this.parseTarget(end);
    const check = (part: Target) => {
      if (part.kind === "tuple") part.items.forEach(check);
      else if (part.name === "loop" && this.#loops > 0) {
        throw this.stream.error("Can't assign to special loop variable in for-loop target");
      }
    };
    check(target);
    return target;
  }
}

function wordsOf(tags: readonly string[]): string {
  return tags.map((tag) => `'${tag}'`).join(" or ");
}
