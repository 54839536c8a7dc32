/**
 * Reads the key-value pairs of a GGUF one by one: every value has a type and a range, and every fault names its key. What a reader of
 * the format has made of the bytes is not trusted to be of the type that a key should have.
 */

import { Fault, printable } from "../src/model_file/config_fields.ts";
import { plural } from "../src/terminal/plural.ts";

/** Ids that stand for none: −1 in 32 bits, signed or not. */
const NO_ID = [-1, 0xffff_ffff];

/** The key-value pairs of a file. */
export class GgufFields {
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(values: ReadonlyMap<string, unknown>) {
    this.#values = values;
  }

  /** All keys that begin with a text. */
  keys(prefix: string): string[] {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix));
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** A text; undefined when the key is not there. @throws Fault. */
  text(key: string): string | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "string") return value;
    throw new Fault(`${printable(key)} is no text`);
  }

  /** A boolean. @throws Fault. */
  flag(key: string, fallback: boolean): boolean {
    const value = this.#values.get(key) ?? fallback;
    if (typeof value === "boolean") return value;
    throw new Fault(`${key} is ${show(value)}; true or false is needed`);
  }

  /** A token's id; undefined when the key is not there or stands for none. @throws Fault for one that is not below `count`. */
  id(key: string, count: number): number | undefined {
    const value = this.#values.get(key);
    if (value === undefined || NO_ID.includes(value as number)) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < count) return value;
    throw new Fault(`${key} is ${show(value)}; the file has ${count} tokens`);
  }

  /** A list of texts; undefined when the key is not there. @throws Fault. */
  texts(key: string, limit: number): readonly string[] | undefined {
    const list = this.#list(key, limit);
    const odd = list?.findIndex((element) => typeof element !== "string") ?? -1;
    if (odd >= 0) throw new Fault(`${key} holds ${show(list?.[odd])} where a text is needed`);
    return list as readonly string[] | undefined;
  }

  /** A list of `length` finite numbers; undefined when the key is not there. @throws Fault. */
  numbers(key: string, length: number): ArrayLike<number> | undefined {
    const list = this.#list(key, length);
    if (list === undefined) return undefined;
    if (list.length !== length)
      throw new Fault(`${key} has ${plural(list.length, "element")} for ${plural(length, "token")}`);
    const odd = list.findIndex((element) => typeof element !== "number" || !Number.isFinite(element));
    if (odd >= 0) throw new Fault(`${key} holds ${show(list[odd])} where a number is needed`);
    return list as unknown as ArrayLike<number>;
  }

  /** A list, which may be a typed array. */
  #list(key: string, limit: number): readonly unknown[] | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
    if (!isList) throw new Fault(`${key} is ${show(value)}; a list is needed`);
    const list = value as unknown as readonly unknown[];
    if (list.length > limit) throw new Fault(`${key} has ${list.length} elements; ${limit} are the limit`);
    return list;
  }
}

/** A value as it can stand in a one-line message. */
function show(value: unknown): string {
  if (typeof value === "string") return `'${printable(value)}'`;
  return typeof value === "object" ? "a list" : String(value);
}
