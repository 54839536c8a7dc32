/** What the values of options can be: each kind reads a text strictly, and says what is wrong with one that is none. */

import { UsageError } from "../errors.ts";
import { suggestion } from "./suggestion.ts";

/** What completes a value in a shell. */
export type Completion = "file" | "directory" | "model" | "command" | readonly string[];

/** A kind of value. */
export interface Kind<Value> {
  /**
   * Reads a value.
   *
   * @param label what the option is called where the text stands: "--port", "WRINKLEFREE_PORT".
   * @throws UsageError naming the label and what it takes.
   */
  read(text: string, label: string): Value;
  /** What people are shown of a value that may hold a password; absent: all of it. */
  shown?(text: string): string;
  /** Absent: nothing is known. */
  completion?: Completion;
  /** Whether a configuration file may write it as a number. */
  isNumber?: boolean;
}

/** Any text. */
export const text: Kind<string> = { read: (value) => value };

/** A text that says something. @param what it is, as in "a host name". */
export function filledText(what: string): Kind<string> {
  return {
    read(value, label) {
      if (value.trim() === "") throw new UsageError(`${label} takes ${what}, not '${value}'`);
      return value;
    },
  };
}

/** The path of a file. */
export const file: Kind<string> = { ...filledText("the path of a file"), completion: "file" };

/** The path of a directory. */
export const directory: Kind<string> = { ...filledText("a directory"), completion: "directory" };

/** Whole numbers within [low, high]. */
export function wholeNumber(low: number, high: number): Kind<number> {
  return {
    read(value, label) {
      const number = Number(value);
      if (!/^\d+$/.test(value) || number < low || number > high) {
        throw new UsageError(`${label} takes a whole number from ${low} to ${high}, not '${value}'`);
      }
      return number;
    },
    isNumber: true,
  };
}

/** Decimal numbers within [low, high]. */
export function decimalNumber(low: number, high: number): Kind<number> {
  return {
    read(value, label) {
      const number = Number(value);
      if (value.trim() === "" || !(number >= low && number <= high)) {
        throw new UsageError(`${label} takes a number from ${low} to ${high}, not '${value}'`);
      }
      return number;
    },
    isNumber: true,
  };
}

/** Lists of different values, with commas between them. */
export function listOf<Value>(kind: Kind<Value>): Kind<Value[]> {
  return {
    read: (value, label) => [...new Set(value.split(",").map((part) => kind.read(part.trim(), label)))],
    isNumber: kind.isNumber ?? false,
  };
}

/** One of several words. */
export function oneOf<Word extends string>(words: readonly Word[]): Kind<Word> {
  return {
    read(value, label) {
      const word = words.find((one) => one === value);
      if (word === undefined) {
        throw new UsageError(`${label} takes ${words.join(", ")}, not '${value}'${suggestion(value, words)}`);
      }
      return word;
    },
    completion: words,
  };
}

/** Numbers of bytes, with K, M, G or T behind them for powers of 1024. */
export const size: Kind<number> = {
  read(value, label) {
    const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(value) ?? [];
    const bytes = Math.floor(Number(digits) * 1024 ** " KMGT".indexOf((unit || " ").toUpperCase()));
    if (!(bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER)) {
      throw new UsageError(`${label} takes a number of bytes such as 2G or 512M, not '${value}'`);
    }
    return bytes;
  },
  isNumber: true,
};

/** A number of bytes as such an option takes it, rounded up: "90M". */
export function writtenSize(bytes: number): string {
  for (const [index, unit] of [..."TGMK"].entries()) {
    const count = bytes / 1024 ** (4 - index);
    if (count >= 10 || (count >= 1 && Number.isInteger(count))) return `${Math.ceil(count)}${unit}`;
  }
  return String(bytes);
}

/** Days: the beginning of each, by UTC. */
export const date: Kind<Date> = {
  read(value, label) {
    const day = new Date(`${value}T00:00:00Z`);
    const isDay = /^\d{4}-\d{2}-\d{2}$/.test(value) && !Number.isNaN(day.getTime());
    if (!isDay || day.toISOString().slice(0, 10) !== value) {
      throw new UsageError(`${label} takes a date such as 2026-11-26, not '${value}'`);
    }
    return day;
  },
};
