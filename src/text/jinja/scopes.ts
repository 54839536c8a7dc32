/**
 * Which variables belong to which part of a template. jinja2 makes functions of templates, and decides for each of their local
 * variables where its first value comes from: from the scope around it, from the variables of the rendering, or from nowhere. Looking
 * names up from the inside out gives the same, save for that last kind, which this finds: names that are assigned before anything
 * reads them are unknown until then, even to a block or macro that stands before or in the assignment.
 */

import type { Arguments, Body, Expression, MacroDefinition, Statement, Target } from "./syntax.ts";

/** Marks the hidden names of a template and of all scopes within it. */
export function hideNames(template: Body): void {
  new Frame(undefined).finish(template);
}

/** Where the first value of a variable comes from. */
type Origin = "parameter" | "outside" | "context" | "nowhere";

/** What is known of variables. */
interface Knowledge {
  origins: Map<string, Origin>;
  /** Those that are assigned. */
  stores: Set<string>;
}

/** The variables of one scope. */
class Frame {
  readonly #parent: Frame | undefined;
  /** What is known for certain, and above it what only holds in the branches that are being read, from the outermost one on. */
  readonly #layers: Knowledge[] = [{ origins: new Map(), stores: new Set() }];
  readonly #inner: (() => void)[] = [];

  constructor(parent: Frame | undefined) {
    this.#parent = parent;
  }

  /** Reads a body in this scope, marks its hidden names, and goes on to the scopes within. */
  finish(body: Body): void {
    this.#readAll(body.statements);
    for (const [name, origin] of this.#top.origins) if (origin === "nowhere") body.hidden.push(name);
    for (const finishInner of this.#inner) finishInner();
  }

  #knows(name: string): boolean {
    return this.#isOwn(name) || this.#isOutside(name);
  }

  get #top(): Knowledge {
    return this.#layers.at(-1) as Knowledge;
  }

  #isOwn(name: string): boolean {
    return this.#layers.some(({ origins }) => origins.has(name));
  }

  #isOutside(name: string): boolean {
    return this.#parent === undefined ? false : this.#parent.#knows(name);
  }

  #declare(name: string): void {
    this.#top.stores.add(name);
    this.#top.origins.set(name, "parameter");
  }

  #load(name: string): void {
    if (!this.#knows(name)) this.#top.origins.set(name, "context");
  }

  #store(name: string): void {
    this.#top.stores.add(name);
    if (!this.#isOwn(name)) this.#top.origins.set(name, this.#isOutside(name) ? "outside" : "nowhere");
  }

  #assign(target: Target, assignName = (name: string) => this.#store(name)): void {
    if (target.kind === "tuple") for (const item of target.items) this.#assign(item, assignName);
    else if (target.kind === "namespace") this.#load(target.name);
    else assignName(target.name);
  }

  #readAll(statements: readonly Statement[]): void {
    for (const statement of statements) this.#read(statement);
  }

  /** Has a scope within this one read once this one is known. */
  #open(body: Body, prepare: (frame: Frame) => void = () => {}, parent: Frame | undefined = this): void {
    this.#inner.push(() => {
      const frame = new Frame(parent);
      prepare(frame);
      frame.finish(body);
    });
  }

  #openMacro({ parameters, defaults, specials, body }: MacroDefinition): void {
    this.#open(body, (frame) => {
      for (const name of parameters) frame.#declare(name);
      for (const name of specials) frame.#declare(name);
      for (const value of defaults) frame.#evaluate(value);
    });
  }

  #read(statement: Statement): void {
    switch (statement.kind) {
      case "output":
        this.#evaluate(statement.value);
        break;
      case "set":
        this.#evaluate(statement.value);
        this.#assign(statement.target);
        break;
      case "set-block":
        this.#assign(statement.target);
        this.#open(statement.body);
        break;
      case "for":
        this.#evaluate(statement.iterable);
        this.#open(statement.body, (frame) => {
          frame.#declare("loop");
          frame.#assign(statement.target, (name) => frame.#declare(name));
        });
        this.#open(statement.otherwise);
        break;
      case "if":
        this.#branch(statement.branches, statement.otherwise);
        break;
      case "macro":
        this.#store(statement.definition.name as string);
        this.#openMacro(statement.definition);
        break;
      case "call-block":
        this.#evaluate(statement.call);
        this.#openMacro(statement.definition);
        break;
      case "filter-block":
        this.#evaluate(statement.filter);
        this.#open(statement.body);
        break;
      case "with":
        for (const { value } of statement.bindings) this.#evaluate(value);
        this.#open(statement.body, (frame) => {
          for (const { target } of statement.bindings) frame.#assign(target, (name) => frame.#declare(name));
        });
        break;
      case "generation":
        this.#open(statement.body);
        break;
      case "block":
        this.#open(statement.body, undefined, statement.isScoped ? this : undefined);
        break;
    }
  }

  #branch(
    [first, ...others]: readonly { test: Expression; statements: readonly Statement[] }[],
    otherwise: readonly Statement[],
  ): void {
    if (first === undefined) return;
    this.#evaluate(first.test);
    const branches = [
      this.#trial(() => this.#readAll(first.statements)),
      this.#trial(() => {
        for (const other of others) this.#branch([other], []);
      }),
      this.#trial(() => this.#readAll(otherwise)),
    ];
    const isStored = (name: string) => this.#layers.some(({ stores }) => stores.has(name));
    const counts = new Map<string, number>();
    for (const { stores } of branches) {
      for (const name of stores) if (!isStored(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    for (const { origins, stores } of branches) {
      for (const [name, origin] of origins) this.#top.origins.set(name, origin);
      for (const name of stores) this.#top.stores.add(name);
    }
    for (const [name, count] of counts) {
      if (count < branches.length) this.#top.origins.set(name, this.#isOutside(name) ? "outside" : "context");
    }
  }

  /** Reads something that may not happen, and says what is known then. */
  #trial(read: () => void): Knowledge {
    this.#layers.push({ origins: new Map(), stores: new Set() });
    read();
    return this.#layers.pop() as Knowledge;
  }

  #evaluate(expression: Expression | undefined): void {
    if (expression === undefined) return;
    switch (expression.kind) {
      case "name":
        this.#load(expression.name);
        break;
      case "tuple":
      case "list":
        for (const item of expression.items) this.#evaluate(item);
        break;
      case "dict":
        for (const { key, value } of expression.entries) {
          this.#evaluate(key);
          this.#evaluate(value);
        }
        break;
      case "condition":
        this.#evaluate(expression.test);
        this.#evaluate(expression.value);
        this.#evaluate(expression.otherwise);
        break;
      case "and":
      case "or":
      case "arithmetic":
        this.#evaluate(expression.left);
        this.#evaluate(expression.right);
        break;
      case "not":
      case "sign":
        this.#evaluate(expression.operand);
        break;
      case "comparison":
        this.#evaluate(expression.first);
        for (const { operand } of expression.rest) this.#evaluate(operand);
        break;
      case "concatenation":
        for (const part of expression.parts) this.#evaluate(part);
        break;
      case "attribute":
        this.#evaluate(expression.object);
        break;
      case "item":
        this.#evaluate(expression.object);
        this.#evaluate(expression.index);
        break;
      case "slice":
        this.#evaluate(expression.object);
        this.#evaluate(expression.start);
        this.#evaluate(expression.stop);
        this.#evaluate(expression.step);
        break;
      case "call":
        this.#evaluate(expression.callee);
        this.#evaluateArguments(expression.given);
        break;
      case "filter":
      case "test":
        this.#evaluate(expression.value);
        this.#evaluateArguments(expression.given);
        break;
    }
  }

  #evaluateArguments({ positional, named, list, dict }: Arguments): void {
    for (const value of positional) this.#evaluate(value);
    for (const { value } of named) this.#evaluate(value);
    this.#evaluate(list);
    this.#evaluate(dict);
  }
}
