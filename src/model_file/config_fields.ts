/**
 * Reads JSON that strangers wrote, one field at a time: every value has a type and a range, and every fault names its key. The
 * fault gets the file's name where that is known, so that the checks themselves need not carry paths around.
 */

import { Failure } from "../errors.ts";

/** Something wrong in a file, without the file's name. `naming` turns it into a Failure. */
export class Fault extends Error {
  override name = "Fault";
}

/**
 * Runs a check and puts the file's name before whatever fault it finds.
 *
 * @throws Failure `path: fault`
 */
export function naming<Result>(path: string, check: () => Result): Result {
  try {
    return check();
  } catch (error) {
    throw error instanceof Fault ? new Failure(`${path}: ${error.message}`) : error;
  }
}

/** Runs a check and puts the name of an inner object before whatever fault it finds. */
export function inside<Result>(key: string, check: () => Result): Result {
  try {
    return check();
  } catch (error) {
    throw error instanceof Fault ? new Fault(`${key}: ${error.message}`) : error;
  }
}

/**
 * Parses the bytes of a JSON file.
 *
 * @throws Fault when they are not UTF-8 or not JSON
 */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Fault("it is not JSON");
  }
}

/** A name from a stranger's file as it can stand in a one-line message. */
export function printable(text: string): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, "\ufffd");
  return plain.length > 120 ? `${plain.slice(0, 117)}…` : plain;
}

/** The smallest normal fp32. */
const FLOAT_MIN = 1.1754943508222875e-38;

/** Reads the fields of a parsed JSON object one by one, each with its type and range, naming the key in every fault. */
export class ConfigFields {
  private readonly fields: Map<string, unknown>;

  /**
   * @param value what JSON.parse returned
   * @param name what to call the object in a fault
   * @throws Fault when the value is no JSON object
   */
  constructor(
    value: unknown,
    private readonly name: string,
  ) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Fault(`${name} is not a JSON object`);
    }
    this.fields = new Map(Object.entries(value));
  }

  /** All keys. */
  keys(): string[] {
    return [...this.fields.keys()];
  }

  /** Whether the key is there with a value that is not null. */
  has(key: string): boolean {
    return (this.fields.get(key) ?? null) !== null;
  }

  /** The value as it is; undefined when absent. */
  raw(key: string): unknown {
    return this.fields.get(key);
  }

  /** A whole number within [low, high]. */
  whole(key: string, low: number, high: number, fallback?: number): number {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.required(key);
    if (!isWhole(value, low, high)) {
      throw new Fault(`${key} is ${show(value)}; a whole number from ${low} to ${high} is needed`);
    }
    return value;
  }

  /** An array of whole numbers within [low, high], or one such number. */
  wholes(key: string, low: number, high: number): number[] {
    const value = this.required(key);
    const list: unknown[] = Array.isArray(value) ? value : [value];
    return list.map((element) => {
      if (isWhole(element, low, high)) return element;
      throw new Fault(`${key} holds ${show(element)}; whole numbers from ${low} to ${high} are needed`);
    });
  }

  /** A number above 0 and below `below`, as fp32 too. */
  positive(key: string, below: number, fallback?: number): number {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.required(key);
    if (!isPositive(value, below)) {
      throw new Fault(`${key} is ${show(value)}; a number above 0 and below ${below} is needed`);
    }
    return value;
  }

  /** An array of such numbers. */
  positives(key: string, below: number): number[] {
    const value = this.required(key);
    if (!Array.isArray(value)) throw new Fault(`${key} is ${show(value)}; a list is needed`);
    return value.map((element: unknown) => {
      if (isPositive(element, below)) return element;
      throw new Fault(`${key} holds ${show(element)}; numbers above 0 and below ${below} are needed`);
    });
  }

  /** true or false. */
  flag(key: string, fallback?: boolean): boolean {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.required(key);
    if (typeof value !== "boolean") throw new Fault(`${key} is ${show(value)}; true or false is needed`);
    return value;
  }

  /** A string that is not empty. */
  text(key: string): string {
    const value = this.required(key);
    if (typeof value !== "string" || value === "") throw new Fault(`${key} is ${show(value)}; a string is needed`);
    return value;
  }

  /** One of a few strings. */
  oneOf<Choice extends string>(key: string, choices: readonly Choice[], fallback?: Choice): Choice {
    if (fallback !== undefined && !this.has(key)) return fallback;
    const value = this.required(key);
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) throw new Fault(`${key} is ${show(value)}; supported: ${choices.join(", ")}`);
    return choice;
  }

  private required(key: string): unknown {
    if (!this.has(key)) throw new Fault(`${this.name} lacks ${key}`);
    return this.fields.get(key);
  }
}

function isWhole(value: unknown, low: number, high: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= low && value <= high;
}

function isPositive(value: unknown, below: number): value is number {
  return typeof value === "number" && value >= FLOAT_MIN && Math.fround(value) < below;
}

/** A value as it can stand in a one-line message. */
function show(value: unknown): string {
  const text = printable(JSON.stringify(value) ?? "undefined");
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
