/**
 * What an option is. Every command declares its options once; the reading of command lines, of the environment and of configuration
 * files, `--help`, the completions of shells and the manual pages are all made of these declarations.
 */

import type { Kind } from "./kinds.ts";

interface Declared {
  /** The heading under which help lists it. */
  group: string;
  /** What it does: a sentence without its full stop, of any length. */
  help: string;
  /** Its letter. */
  short?: string;
  /**
   * Where it may stand. "anywhere": a setting, on the command line, in the environment and in a configuration file. "environment": not in
   * a file. "line": what one asks for this time only.
   */
  place: "anywhere" | "environment" | "line";
  /** Its variables in the environment, the first that is set counts; absent: WRINKLEFREE_ and its name. */
  variables?: readonly string[];
  /** Whether a server that runs takes a change of it over at SIGHUP; for a change of the others it has to be restarted. */
  isReloadable?: boolean;
}

/** An option that is there or not. */
export interface Switch extends Declared {
  isSwitch: true;
}

/** An option with a value. */
export interface ValueOption<Value> extends Declared {
  isSwitch?: never;
  kind: Kind<Value>;
  /** What stands for its value in help. */
  placeholder: string;
  /** The text of the value that holds without it. */
  default?: string;
  /** What holds without it, in words. */
  otherwise?: string;
  /** Whether it may be given several times. */
  isList?: boolean;
  /** Whether its value is for nobody's eyes. */
  isSecret?: boolean;
  /** Whether the lists of all places count together, instead of the nearest one alone. */
  addsUp?: boolean;
}

export type Option = Switch | ValueOption<unknown>;

/** The options of a command, by name without the dashes. */
export type Options = Readonly<Record<string, Option>>;

/** The type of an option's value. */
export type ValueOf<One extends Option> = One extends Switch
  ? boolean
  : One extends ValueOption<infer Value>
    ? One extends { isList: true }
      ? Value[]
      : One extends { default: string }
        ? Value
        : Value | undefined
    : never;

/** The values of a command's options. */
export type ValuesOf<All extends Options> = { [Name in keyof All]: ValueOf<All[Name]> };

/** Whether an option is a setting, which a configuration file may hold. */
export function isSetting({ place }: Option): boolean {
  return place === "anywhere";
}

/** The names of the settings that a server which runs takes over at SIGHUP, in alphabetical order. */
export function reloadableNames(options: Options): string[] {
  return Object.keys(options)
    .filter((name) => options[name]?.isReloadable)
    .sort();
}

/** The variables of an option in the environment. */
export function variablesOf(name: string, option: Option): readonly string[] {
  if (option.place === "line") return [];
  return option.variables ?? [`WRINKLEFREE_${name.toUpperCase().replaceAll("-", "_")}`];
}

/** An option as one writes it: "--port N". */
export function written(name: string, option: Option): string {
  return option.isSwitch ? `--${name}` : `--${name} ${option.placeholder}`;
}

/** What holds without an option, in words; undefined when that is nothing. */
export function otherwiseOf(option: Option): string | undefined {
  if (option.isSwitch) return undefined;
  return option.otherwise ?? option.default;
}
