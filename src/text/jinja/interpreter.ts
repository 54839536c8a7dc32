/** Renders templates: goes through the syntax tree, within the bounds of a budget. */

import { attribute, item } from "./attributes.ts";
import { type Budget, TextBuilder } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import type { FilterContext } from "./filter.ts";
import { FILTERS } from "./filters.ts";
import { Loop } from "./loop.ts";
import { calculate, compare, isTrue, iterate, listOf, readKey, signed, slice } from "./operators.ts";
import { str } from "./repr.ts";
import { bind } from "./signature.ts";
import type {
  Arguments,
  Body,
  Call,
  Expression,
  Filtering,
  For,
  MacroDefinition,
  Statement,
  Target,
} from "./syntax.ts";
import { TESTS } from "./tests.ts";
import { Callable, Dict, type Keywords, Namespace, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";

/** Stands for a variable that has no value yet, whatever its namesakes outside have. */
const HIDDEN = Symbol("hidden");

/** The variables of a part of a template. */
class Scope {
  readonly #values = new Map<string, Value | typeof HIDDEN>();
  readonly #parent: Scope | undefined;

  constructor(parent: Scope | undefined, hidden: readonly string[] = []) {
    this.#parent = parent;
    for (const name of hidden) this.#values.set(name, HIDDEN);
  }

  /** Undefined where there is no value. */
  get(name: string): Value | undefined {
    const own = this.#values.get(name);
    return own === undefined ? this.#parent?.get(name) : own === HIDDEN ? undefined : own;
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }

  hide(name: string): void {
    this.#values.set(name, HIDDEN);
  }
}

/** How a loop's body ended, if not at its end. */
type Leave = "break" | "continue" | undefined;

/** What is given to a call. */
interface Given {
  positional: Value[];
  keywords: Map<string, Value>;
}

/** Renders a template. @param variables by name. @throws TemplateError. */
export function render(template: Body, variables: ReadonlyMap<string, Value>, budget: Budget): string {
  const context = new Scope(undefined);
  for (const [name, value] of variables) context.set(name, value);
  return new Interpreter(budget, new Scope(context, template.hidden)).run(template.statements);
}

class Interpreter implements FilterContext {
  readonly budget: Budget;
  readonly #template: Scope;

  constructor(budget: Budget, template: Scope) {
    this.budget = budget;
    this.#template = template;
  }

  run(statements: readonly Statement[]): string {
    const output = new TextBuilder(this.budget);
    this.#executeAll(statements, this.#template, output);
    return output.text;
  }

  #executeAll(statements: readonly Statement[], scope: Scope, output: TextBuilder): Leave {
    for (const statement of statements) {
      const leave = this.#execute(statement, scope, output);
      if (leave !== undefined) return leave;
    }
    return undefined;
  }

  #execute(statement: Statement, scope: Scope, output: TextBuilder): Leave {
    this.budget.spend(1);
    switch (statement.kind) {
      case "text":
        output.add(statement.text);
        return undefined;
      case "output":
        output.add(str(this.#evaluate(statement.value, scope), this.budget));
        return undefined;
      case "set":
        this.#assign(statement.target, scope, () => this.#evaluate(statement.value, scope));
        return undefined;
      case "if": {
        const chosen = statement.branches.find(({ test }) => isTrue(this.#evaluate(test, scope)));
        return this.#executeAll(chosen?.statements ?? statement.otherwise, scope, output);
      }
      case "for":
        return this.#executeFor(statement, scope, output);
      case "break":
      case "continue":
        return statement.kind;
      case "macro":
        scope.set(statement.definition.name as string, this.#macro(statement.definition, scope));
        return undefined;
      case "set-block":
      case "filter-block":
        return this.#executeCapture(statement, scope, output);
      case "with": {
        const inner = new Scope(scope, statement.body.hidden);
        for (const { target, value } of statement.bindings)
          this.#assign(target, inner, () => this.#evaluate(value, scope));
        return this.#executeAll(statement.body.statements, inner, output);
      }
      case "call-block": {
        const caller = this.#macro(statement.definition, scope);
        output.add(this.#written(this.#call(statement.call, scope, caller)));
        return undefined;
      }
      case "generation":
        return this.#executeAll(statement.body.statements, new Scope(scope, statement.body.hidden), output);
      case "block": {
        if (statement.isRequired) throw new TemplateError(`Required block '${statement.name}' not found`);
        const parent = statement.isScoped ? scope : this.#template;
        return this.#executeAll(statement.body.statements, new Scope(parent, statement.body.hidden), output);
      }
    }
  }

  /** Executes a block whose output goes elsewhere. */
  #executeCapture(
    statement: Statement & { kind: "set-block" | "filter-block" },
    scope: Scope,
    output: TextBuilder,
  ): Leave {
    const inner = new Scope(scope, statement.body.hidden);
    const captured = new TextBuilder(this.budget);
    const leave = this.#executeAll(statement.body.statements, inner, captured);
    if (leave !== undefined) return leave;
    const filtered = () =>
      statement.filter === undefined ? captured.text : this.#filter(statement.filter, inner, captured.text);
    if (statement.kind === "set-block") this.#assign(statement.target, scope, filtered);
    else output.add(this.#written(filtered()));
    return undefined;
  }

  /** What a block gave, which isn't made a text of. @throws TemplateError when it is none. */
  #written(value: Value): string {
    const text = textOf(value);
    if (text === undefined) throw new TemplateError(`expected str instance, ${typeName(value)} found`);
    return text;
  }

  #executeFor(node: For, scope: Scope, output: TextBuilder): Leave {
    const elements = this.#evaluate(node.iterable, scope);
    if (!node.isRecursive) return this.#loop(node, elements, scope, output, 0);
    output.add(this.#renderLoop(node, elements, scope, 0));
    return undefined;
  }

  #renderLoop(node: For, elements: Value, scope: Scope, depth: number): string {
    return this.budget.deeper(() => {
      const output = new TextBuilder(this.budget);
      this.#loop(node, elements, scope, output, depth);
      return output.text;
    });
  }

  #loop(node: For, elements: Value, scope: Scope, output: TextBuilder, depth: number): Leave {
    const all = iterate(elements, this.budget);
    const { test } = node;
    const chosen = test === undefined ? all : this.#chosen(node.target, test, all, scope);
    const recurse = node.isRecursive ? (others: Value) => this.#renderLoop(node, others, scope, depth + 1) : undefined;
    const loop = new Loop(test === undefined ? elements : undefined, chosen, depth, recurse, this.budget);
    // As in jinja2, a loop of which no round came to its end has not been gone through.
    let hasEnded = false;
    for (let element = loop.next(); element !== undefined; element = loop.next()) {
      this.budget.spend(1);
      const inner = new Scope(scope, node.body.hidden);
      inner.set("loop", loop);
      this.#bind(node.target, element, inner);
      const leave = this.#executeAll(node.body.statements, inner, output);
      if (leave === "break") break;
      if (leave === undefined) hasEnded = true;
    }
    if (hasEnded) return undefined;
    return this.#executeAll(node.otherwise.statements, new Scope(scope, node.otherwise.hidden), output);
  }

  /** The elements that a loop's condition is true of. */
  *#chosen(target: Target, test: Expression, elements: Iterable<Value>, scope: Scope): Generator<Value> {
    for (const element of elements) {
      const inner = new Scope(scope);
      this.#bind(target, element, inner);
      if (isTrue(this.#evaluate(test, inner))) yield element;
    }
  }

  /** Assigns what an expression gives. A namespace is looked for first. */
  #assign(target: Target, scope: Scope, evaluate: () => Value): void {
    if (target.kind !== "namespace") {
      this.#bind(target, evaluate(), scope);
      return;
    }
    const namespace = scope.get(target.name);
    if (!(namespace instanceof Namespace)) throw new TemplateError("cannot assign attribute on non-namespace object");
    namespace.attributes.set(target.attribute, evaluate());
  }

  #bind(target: Target, value: Value, scope: Scope): void {
    if (target.kind === "name") {
      scope.set(target.name, value);
    } else if (target.kind === "tuple") {
      const values = listOf(value, this.budget);
      if (values.length < target.items.length) {
        throw new TemplateError(`not enough values to unpack (expected ${target.items.length}, got ${values.length})`);
      }
      if (values.length > target.items.length) {
        throw new TemplateError(`too many values to unpack (expected ${target.items.length})`);
      }
      for (const [i, part] of target.items.entries()) this.#bind(part, values[i] as Value, scope);
    }
  }

  #macro(definition: MacroDefinition, scope: Scope): Macro {
    return new Macro(definition, (values) =>
      this.budget.deeper(() => {
        const inner = new Scope(scope, definition.body.hidden);
        for (const name of definition.parameters) inner.hide(name);
        for (const [name, value] of values) inner.set(name, value);
        const { parameters, defaults } = definition;
        for (const [i, name] of parameters.entries()) {
          if (values.has(name)) continue;
          const otherwise = defaults[i - parameters.length + defaults.length];
          if (otherwise !== undefined) inner.set(name, this.#evaluate(otherwise, inner));
          else inner.set(name, new Undefined(`parameter '${name}' was not provided`));
        }
        const output = new TextBuilder(this.budget);
        this.#executeAll(definition.body.statements, inner, output);
        return output.text;
      }),
    );
  }

  #evaluate(expression: Expression, scope: Scope): Value {
    this.budget.spend(1);
    switch (expression.kind) {
      case "constant":
        return expression.value;
      case "name":
        return this.#lookUp(expression.name, scope);
      case "tuple":
        return new Tuple(this.#evaluateAll(expression.items, scope));
      case "list":
        return this.#evaluateAll(expression.items, scope);
      case "dict": {
        const dict = new Dict();
        for (const { key, value } of expression.entries) {
          const evaluated = this.#evaluate(key, scope);
          readKey(evaluated, this.budget);
          dict.set(evaluated, this.#evaluate(value, scope));
        }
        return dict;
      }
      case "condition":
        if (isTrue(this.#evaluate(expression.test, scope))) return this.#evaluate(expression.value, scope);
        if (expression.otherwise !== undefined) return this.#evaluate(expression.otherwise, scope);
        return new Undefined(
          `the inline if-expression on line ${expression.line} evaluated to false and no else section was defined.`,
        );
      case "and": {
        const left = this.#evaluate(expression.left, scope);
        return isTrue(left) ? this.#evaluate(expression.right, scope) : left;
      }
      case "or": {
        const left = this.#evaluate(expression.left, scope);
        return isTrue(left) ? left : this.#evaluate(expression.right, scope);
      }
      case "not":
        return !isTrue(this.#evaluate(expression.operand, scope));
      case "sign":
        return signed(expression.operator, this.#evaluate(expression.operand, scope));
      case "arithmetic": {
        const left = this.#evaluate(expression.left, scope);
        return calculate(expression.operator, left, this.#evaluate(expression.right, scope), this.budget);
      }
      case "comparison": {
        let left = this.#evaluate(expression.first, scope);
        for (const { operator, operand } of expression.rest) {
          const right = this.#evaluate(operand, scope);
          if (!compare(operator, left, right, this.budget)) return false;
          left = right;
        }
        return true;
      }
      case "concatenation": {
        const parts = expression.parts.map((part) => this.#evaluate(part, scope));
        const texts = parts.map((part) => str(part, this.budget));
        this.budget.join(texts.reduce((sum, { length }) => sum + length, 0));
        return texts.join("");
      }
      case "attribute":
        return attribute(this.#evaluate(expression.object, scope), expression.name, this.budget);
      case "item": {
        const object = this.#evaluate(expression.object, scope);
        return item(object, this.#evaluate(expression.index, scope), this.budget);
      }
      case "slice": {
        const object = this.#evaluate(expression.object, scope);
        const [start = null, stop = null, step = null] = [expression.start, expression.stop, expression.step].map(
          (part) => (part === undefined ? null : this.#evaluate(part, scope)),
        );
        return slice(object, start, stop, step, this.budget);
      }
      case "call":
        return this.#call(expression, scope);
      case "filter":
        return this.#filter(expression, scope, null);
      case "test": {
        const value = this.#evaluate(expression.value, scope);
        const { positional, keywords } = this.#given(expression.given, scope);
        return this.test(expression.name, value, positional, keywords);
      }
    }
  }

  #lookUp(name: string, scope: Scope): Value {
    const value = scope.get(name);
    return value === undefined ? Undefined.named(name) : value;
  }

  #evaluateAll(items: readonly Expression[], scope: Scope): Value[] {
    return items.map((part) => this.#evaluate(part, scope));
  }

  /** @param caller what a call block gives to its macro. */
  #call(call: Call, scope: Scope, caller?: Macro): Value {
    const callee = this.#evaluate(call.callee, scope);
    const { positional, keywords } = this.#given(call.given, scope);
    if (caller !== undefined) {
      if (keywords.has("caller")) throw new TemplateError("got multiple values for keyword argument 'caller'");
      keywords.set("caller", caller);
    }
    if (callee instanceof Undefined) callee.fail();
    if (!(callee instanceof Callable)) throw new TemplateError(`'${typeName(callee)}' object is not callable`);
    return callee.call(positional, keywords);
  }

  #given(given: Arguments, scope: Scope): Given {
    const positional = this.#evaluateAll(given.positional, scope);
    const keywords = new Map<string, Value>();
    for (const { name, value } of given.named) keywords.set(name, this.#evaluate(value, scope));
    if (given.list !== undefined) positional.push(...listOf(this.#evaluate(given.list, scope), this.budget));
    if (given.dict !== undefined) {
      const dict = this.#evaluate(given.dict, scope);
      if (!(dict instanceof Dict))
        throw new TemplateError(`argument after ** must be a mapping, not ${typeName(dict)}`);
      for (const [key, value] of dict.entries()) {
        const name = textOf(key);
        if (name === undefined) throw new TemplateError("keywords must be strings");
        if (keywords.has(name)) throw new TemplateError(`got multiple values for keyword argument '${name}'`);
        keywords.set(name, value);
      }
    }
    return { positional, keywords };
  }

  /** @param captured what a block wrote, for a filter without a value. */
  #filter(node: Filtering, scope: Scope, captured: Value): Value {
    const value =
      node.value === undefined
        ? captured
        : node.value.kind === "filter"
          ? this.#filter(node.value, scope, captured)
          : this.#evaluate(node.value, scope);
    this.budget.spend(1);
    const { positional, keywords } = this.#given(node.given, scope);
    return this.filter(node.name, value, positional, keywords);
  }

  filter(name: Value, value: Value, positional: readonly Value[], keywords: Keywords): Value {
    const text = textOf(name);
    const filter = text === undefined ? undefined : FILTERS.get(text);
    if (filter === undefined) throw new TemplateError(`No filter named '${str(name, this.budget)}'.`);
    return filter(value, positional, keywords, this, text as string);
  }

  test(name: Value, value: Value, positional: readonly Value[], keywords: Keywords): boolean {
    const text = textOf(name);
    const test = text === undefined ? undefined : TESTS.get(text);
    if (test === undefined) throw new TemplateError(`No test named '${str(name, this.budget)}'.`);
    const [argument = null] = bind(text as string, test.parameters, positional, keywords);
    return test.holds(value, argument, this.budget);
  }
}

/** A macro, or what a call block gives to one. */
class Macro extends Callable {
  override readonly type = "Macro";
  readonly #definition: MacroDefinition;
  readonly #render: (values: ReadonlyMap<string, Value>) => string;

  /** @param render executes the body with the values of parameters, of which some may be missing. */
  constructor(definition: MacroDefinition, render: (values: ReadonlyMap<string, Value>) => string) {
    super();
    this.#definition = definition;
    this.#render = render;
  }

  get description(): string {
    const { name } = this.#definition;
    return name === undefined ? "<Macro anonymous>" : `<Macro '${name}'>`;
  }

  override attribute(name: string): Value | undefined {
    const { parameters, specials } = this.#definition;
    switch (name) {
      case "name":
        return this.#definition.name ?? null;
      case "arguments":
        return new Tuple(parameters);
      case "catch_kwargs":
        return specials.has("kwargs");
      case "catch_varargs":
        return specials.has("varargs");
      case "caller":
        return specials.has("caller");
      default:
        return undefined;
    }
  }

  override call(positional: readonly Value[], keywords: Keywords): Value {
    const { parameters, specials } = this.#definition;
    const name = this.#definition.name ?? "None";
    const values = new Map<string, Value>();
    const rest = new Map(keywords);
    for (const [i, parameter] of parameters.entries()) {
      const value = i < positional.length ? positional[i] : rest.get(parameter);
      if (value !== undefined) values.set(parameter, value);
      if (i >= positional.length) rest.delete(parameter);
    }
    if (specials.has("caller")) {
      values.set("caller", rest.get("caller") ?? new Undefined("No caller defined"));
      rest.delete("caller");
    }
    if (specials.has("kwargs")) {
      const dict = new Dict();
      for (const [key, value] of rest) dict.set(key, value);
      values.set("kwargs", dict);
    } else if (rest.size > 0) {
      const [first] = rest.keys();
      throw new TemplateError(`macro '${name}' takes no keyword argument '${first}'`);
    }
    if (specials.has("varargs")) values.set("varargs", new Tuple(positional.slice(parameters.length)));
    else if (positional.length > parameters.length) {
      throw new TemplateError(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
    }
    return this.#render(values);
  }
}
