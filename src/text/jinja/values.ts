/**
 * The values that templates work with: Python's, as far as jinja2 shows them to templates. None, booleans and texts are JavaScript's
 * own; an int is a number that is a safe integer, or else a bigint; lists are arrays. Values never change, save for namespaces,
 * iterators and loops.
 */

import { JsonNumber } from "../../json.ts";
import { TemplateError } from "./errors.ts";

/** Any value. */
export type Value =
  | null
  | boolean
  | Int
  | string
  | Float
  | Markup
  | readonly Value[]
  | Tuple
  | Dict
  | DictView
  | Range
  | Stream
  | Undefined
  | Namespace
  | Thing;

/** An int of Python's. A bigint only where a number can't hold it. */
export type Int = number | bigint;

/** A float of Python's. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** A text that `escape` or `safe` made: what is added to it is escaped. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A tuple, of which the members may have names. */
export class Tuple {
  readonly items: readonly Value[];
  readonly names: readonly string[];
  /** How many values and tuples there are in it, itself among them; each as often as it is there. */
  readonly size: number;
  #identity: string | undefined;

  constructor(items: readonly Value[], names: readonly string[] = []) {
    this.items = items;
    this.names = names;
    this.size = items.reduce<number>((sum, item) => sum + (item instanceof Tuple ? item.size : 1), 1);
  }

  /** What stands for it inside a Map. @throws TemplateError when it can't be a key. */
  get identity(): string {
    this.#identity ??= `\0t(${this.items.map(partOf).join()})`;
    return this.#identity;
  }
}

/** Most values in a tuple that is a key. */
const KEY_SIZE_MAX = 1000;

/** What stands for a key inside a Map: equal for keys that Python takes for the same. */
type Identity = string | number | bigint | null | typeof Undefined;

/** A dict. Not to be changed once others have it. */
export class Dict {
  readonly #entries = new Map<Identity, readonly [Value, Value]>();

  get size(): number {
    return this.#entries.size;
  }

  /** @throws TemplateError when the key is a list or a dict. */
  get(key: Value): Value | undefined {
    return this.#entries.get(identityOf(key))?.[1];
  }

  /** @throws TemplateError when the key is a list or a dict. */
  has(key: Value): boolean {
    return this.#entries.has(identityOf(key));
  }

  /** For whoever makes the dict. */
  set(key: Value, value: Value): void {
    const identity = identityOf(key);
    this.#entries.set(identity, [this.#entries.get(identity)?.[0] ?? key, value]);
  }

  *keys(): Generator<Value> {
    for (const [key] of this.#entries.values()) yield key;
  }

  *values(): Generator<Value> {
    for (const [, value] of this.#entries.values()) yield value;
  }

  entries(): Iterable<readonly [Value, Value]> {
    return this.#entries.values();
  }
}

/** Whether a value can be a key. */
export function isHashable(value: Value): boolean {
  if (value instanceof Tuple) return isKey(value) && value.items.every(isHashable);
  return !(Array.isArray(value) || value instanceof Dict || value instanceof DictView);
}

const objectNumbers = new WeakMap<object, number>();
let objects = 0;

/** @throws TemplateError when the value can't be a key. */
export function identityOf(key: Value): Identity {
  if (typeof key === "string") return key.startsWith("\0") ? `\0s${key}` : key;
  if (typeof key === "number" || typeof key === "bigint" || key === null) return key;
  if (typeof key === "boolean") return Number(key);
  if (key instanceof Markup) return identityOf(key.text);
  if (key instanceof Undefined) return Undefined;
  if (key instanceof Float) {
    const { value } = key;
    if (!Number.isInteger(value)) return value;
    return Number.isSafeInteger(value) ? value + 0 : BigInt(value);
  }
  if (key instanceof Tuple) return isKey(key) && key.identity;
  if (!isHashable(key)) throw new TemplateError(`unhashable type: '${typeName(key)}'`);
  const number = objectNumbers.get(key as object) ?? ++objects;
  objectNumbers.set(key as object, number);
  return `\0o${number}`;
}

/** Whether a tuple may be a key. @throws TemplateError when it holds too much: tuples in tuples may be larger than any memory. */
function isKey(tuple: Tuple): true {
  if (tuple.size <= KEY_SIZE_MAX) return true;
  throw new TemplateError(`the chat template makes a key of more than ${KEY_SIZE_MAX} values`);
}

/** A member of a tuple in its identity. The length before a text says where it ends. */
function partOf(item: Value): string {
  const identity = identityOf(item);
  return typeof identity === "string"
    ? `"${identity.length}:${identity}`
    : String(identity === Undefined ? "U" : identity);
}

/** What keys(), values() and items() of a dict give. */
export class DictView {
  readonly dict: Dict;
  readonly kind: "keys" | "values" | "items";
  constructor(dict: Dict, kind: DictView["kind"]) {
    this.dict = dict;
    this.kind = kind;
  }

  *[Symbol.iterator](): Generator<Value> {
    if (this.kind === "keys") yield* this.dict.keys();
    else if (this.kind === "values") yield* this.dict.values();
    else for (const entry of this.dict.entries()) yield new Tuple(entry);
  }
}

/** What range() gives. */
export class Range {
  readonly start: number;
  readonly stop: number;
  readonly step: number;
  readonly length: number;
  constructor(start: number, stop: number, step: number) {
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): number {
    return this.start + index * this.step;
  }

  *[Symbol.iterator](): Generator<Value> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}

/** A generator: its values come when they are asked for, and once. */
export class Stream {
  readonly #values: Iterator<Value>;
  constructor(values: Iterator<Value>) {
    this.#values = values;
  }

  [Symbol.iterator](): Iterator<Value> {
    // Not to be closed by a loop that is left: what was not taken is still there.
    return { next: () => this.#values.next() };
  }
}

/** What a name or an attribute that isn't there gives. It prints as nothing, and almost everything else done with it is an error. */
export class Undefined {
  readonly message: string;
  constructor(message: string) {
    this.message = message;
  }

  static named(name: string): Undefined {
    return new Undefined(`'${name}' is undefined`);
  }

  /** The one of an object that lacks an attribute or an element. @param name as it is written in messages. */
  static missing(object: Value, name: string, isAttribute: boolean): Undefined {
    const type = object === null ? "None" : `${typeName(object)} object`;
    return new Undefined(isAttribute ? `'${type}' has no attribute '${name}'` : `${type} has no element ${name}`);
  }

  fail(): never {
    throw new TemplateError(this.message);
  }
}

/** What namespace() gives: the only thing with attributes that templates may set. */
export class Namespace {
  readonly attributes = new Map<string, Value>();
}

/** Everything else: functions, methods, macros, loops. */
export abstract class Thing {
  /** As str() writes it. */
  abstract readonly description: string;
  readonly type: string = "function";

  /** Undefined where there is no such attribute. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }
}

/** Arguments with names. */
export type Keywords = ReadonlyMap<string, Value>;

/** What can be called. */
export abstract class Callable extends Thing {
  abstract call(positional: readonly Value[], keywords: Keywords): Value;
}

/** A function of the host. */
export class HostFunction extends Callable {
  readonly name: string;
  readonly #run: (positional: readonly Value[], keywords: Keywords) => Value;

  constructor(name: string, run: (positional: readonly Value[], keywords: Keywords) => Value) {
    super();
    this.name = name;
    this.#run = run;
  }

  get description(): string {
    return `<function ${this.name}>`;
  }

  override call(positional: readonly Value[], keywords: Keywords): Value {
    return this.#run(positional, keywords);
  }
}

/** The name of a value's type in Python. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number" || typeof value === "bigint") return "int";
  if (typeof value === "string") return "str";
  if (value instanceof Float) return "float";
  if (value instanceof Markup) return "Markup";
  if (value instanceof Tuple) return "tuple";
  if (value instanceof Dict) return "dict";
  if (value instanceof DictView) return `dict_${value.kind}`;
  if (value instanceof Range) return "range";
  if (value instanceof Stream) return "generator";
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Namespace) return "Namespace";
  if (value instanceof Thing) return value.type;
  return "list";
}

/** Whether a value is a list. Unlike Array.isArray, this is known to TypeScript for readonly arrays. */
export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** The elements of a list or a tuple; undefined for everything else. */
export function itemsOf(value: Value): readonly Value[] | undefined {
  return isList(value) ? value : value instanceof Tuple ? value.items : undefined;
}

/** Whether a value is an int other than a boolean. */
export function isInt(value: Value): value is Int {
  return typeof value === "number" || typeof value === "bigint";
}

/** The text of a str or Markup; undefined for everything else. */
export function textOf(value: Value): string | undefined {
  return typeof value === "string" ? value : value instanceof Markup ? value.text : undefined;
}

/** An int, as it is kept. */
export function toInt(value: bigint): Int {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** Most digits of an int that is read or written, as in Python. */
export const DIGITS_MAX = 4300;

/** The number that a JSON text means to Python. @throws TemplateError when it is an int of too many digits. */
function fromJsonNumber(text: string): Int | Float {
  if (/^-?\d+$/.test(text) && text.length - (text.startsWith("-") ? 1 : 0) > DIGITS_MAX) {
    throw new TemplateError(`a number has more than ${DIGITS_MAX} digits`);
  }
  return /[.eE]/.test(text) ? new Float(Number(text)) : toInt(BigInt(text));
}

/**
 * A value of the host's as templates see it.
 *
 * @param value null, boolean, string, number, bigint, JsonNumber, or an array, plain object or Map of such; fields that are undefined
 * are left out.
 * @throws TemplateError for an int of more digits than Python reads.
 */
export function fromHost(value: unknown): Value {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") return Number.isSafeInteger(value) ? value + 0 : new Float(value);
  if (typeof value === "bigint") return toInt(value);
  if (value instanceof JsonNumber) return fromJsonNumber(value.text);
  if (Array.isArray(value)) return value.map(fromHost);
  if (typeof value !== "object") throw new TypeError(`templates know no ${typeof value}`);
  const dict = new Dict();
  for (const [key, field] of value instanceof Map ? value : Object.entries(value)) {
    if (field !== undefined) dict.set(key, fromHost(field));
  }
  return dict;
}
