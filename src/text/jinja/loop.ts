/** What `loop` is inside a loop. */

import type { Budget } from "./budget.ts";
import { TemplateError } from "./errors.ts";
import { equals, lengthOf } from "./operators.ts";
import { Callable, Dict, DictView, HostFunction, isList, Range, Tuple, Undefined, type Value } from "./values.ts";

/** A loop at work. It takes an element in advance only if the template asks about the next one. */
export class Loop extends Callable {
  override readonly type = "LoopContext";
  #elements: Iterator<Value>;
  readonly #budget: Budget;
  readonly #depth0: number;
  readonly #recurse: ((elements: Value) => string) | undefined;
  #length: number | undefined;
  #index0 = -1;
  #before: Value | undefined;
  #current: Value | undefined;
  #after: IteratorResult<Value> | undefined;
  #changed: Tuple | undefined;

  /**
   * @param source what the loop goes through; undefined where its length is not that of the loop.
   * @param depth0 how many loops it is within, of those that it is a part of.
   * @param recurse does the same with other elements, for loops that may be called.
   */
  constructor(
    source: Value | undefined,
    elements: Iterable<Value>,
    depth0: number,
    recurse: ((elements: Value) => string) | undefined,
    budget: Budget,
  ) {
    super();
    this.#elements = elements[Symbol.iterator]();
    this.#depth0 = depth0;
    this.#recurse = recurse;
    this.#budget = budget;
    const hasLength =
      isList(source ?? null) ||
      typeof source === "string" ||
      source instanceof Tuple ||
      source instanceof Dict ||
      source instanceof DictView ||
      source instanceof Range;
    if (source !== undefined && hasLength) this.#length = lengthOf(source, budget);
  }

  /** Goes on to the next element; undefined when there is none. */
  next(): Value | undefined {
    const result = this.#after ?? this.#elements.next();
    this.#after = undefined;
    if (result.done) {
      this.#after = result;
      return undefined;
    }
    this.#index0++;
    this.#before = this.#current;
    this.#current = result.value;
    return result.value;
  }

  get description(): string {
    return `<LoopContext ${this.#index0 + 1}/${this.#count()}>`;
  }

  #peek(): IteratorResult<Value> {
    this.#after ??= this.#elements.next();
    return this.#after;
  }

  #count(): number {
    if (this.#length !== undefined) return this.#length;
    const rest: Value[] = [];
    for (let next = this.#elements.next(); !next.done; next = this.#elements.next()) {
      this.#budget.list(1);
      rest.push(next.value);
    }
    this.#elements = rest.values();
    this.#length = rest.length + this.#index0 + 1 + (this.#after === undefined || this.#after.done ? 0 : 1);
    return this.#length;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case "index0":
        return this.#index0;
      case "index":
        return this.#index0 + 1;
      case "length":
        return this.#count();
      case "revindex0":
        return this.#count() - this.#index0 - 1;
      case "revindex":
        return this.#count() - this.#index0;
      case "first":
        return this.#index0 === 0;
      case "last":
        return this.#peek().done === true;
      case "depth0":
        return this.#depth0;
      case "depth":
        return this.#depth0 + 1;
      case "previtem":
        return this.#index0 === 0 ? new Undefined("there is no previous item") : this.#before;
      case "nextitem": {
        const next = this.#peek();
        return next.done ? new Undefined("there is no next item") : next.value;
      }
      case "cycle":
        return new HostFunction(name, (values) => {
          if (values.length === 0) throw new TemplateError("no items for cycling given");
          return values[this.#index0 % values.length] as Value;
        });
      case "changed":
        return new HostFunction(name, (values) => {
          const value = new Tuple(values);
          if (this.#changed !== undefined && equals(this.#changed, value, this.#budget)) return false;
          this.#changed = value;
          return true;
        });
      default:
        return undefined;
    }
  }

  override call(positional: readonly Value[]): Value {
    if (this.#recurse === undefined) {
      throw new TemplateError("The loop must have the 'recursive' marker to be called recursively.");
    }
    if (positional[0] === undefined || positional.length > 1) throw new TemplateError("loop() takes one argument");
    return this.#recurse(positional[0]);
  }
}
