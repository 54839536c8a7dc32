/** The syntax tree of a template. */

import type { Value } from "./values.ts";

/** What has a value. */
export type Expression =
  | { kind: "constant"; value: Value }
  | { kind: "name"; name: string }
  | { kind: "tuple" | "list"; items: Expression[] }
  | { kind: "dict"; entries: { key: Expression; value: Expression }[] }
  | { kind: "condition"; test: Expression; value: Expression; otherwise: Expression | undefined; line: number }
  | { kind: "and" | "or"; left: Expression; right: Expression }
  | { kind: "not"; operand: Expression }
  | { kind: "sign"; operator: "+" | "-"; operand: Expression }
  | { kind: "arithmetic"; operator: ArithmeticOperator; left: Expression; right: Expression }
  | { kind: "comparison"; first: Expression; rest: { operator: ComparisonOperator; operand: Expression }[] }
  | { kind: "concatenation"; parts: Expression[] }
  | { kind: "attribute"; object: Expression; name: string }
  | { kind: "item"; object: Expression; index: Expression }
  | { kind: "slice"; object: Expression; start?: Expression; stop?: Expression; step?: Expression }
  | Call
  | Filtering
  | { kind: "test"; value: Expression; name: string; given: Arguments };

export type ArithmeticOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";
export type ComparisonOperator = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";

/** A call of a function. */
export interface Call {
  kind: "call";
  callee: Expression;
  given: Arguments;
}

/** A filter's work on a value, or on what a block writes where there is none. */
export interface Filtering {
  kind: "filter";
  value: Expression | undefined;
  name: string;
  given: Arguments;
}

/** The arguments of a call as they are written. */
export interface Arguments {
  positional: Expression[];
  named: { name: string; value: Expression }[];
  /** After an asterisk, and after two. */
  list: Expression | undefined;
  dict: Expression | undefined;
}

/** What can be assigned to. */
export type Target =
  | { kind: "name"; name: string }
  | { kind: "tuple"; items: Target[] }
  | { kind: "namespace"; name: string; attribute: string };

/** The parameters and the body of a macro or of a call block. */
export interface MacroDefinition {
  /** Undefined for what a call block gives to its macro. */
  name: string | undefined;
  parameters: string[];
  /** Of the last parameters. */
  defaults: Expression[];
  body: Body;
  /** Of "caller", "varargs" and "kwargs", those that the body reads and that are no parameters. */
  specials: ReadonlySet<string>;
}

/** Statements with variables of their own. */
export interface Body {
  statements: readonly Statement[];
  /** Names that have no value here until the body gives them one, even if they have one outside. */
  hidden: string[];
}

/** What a template does. */
export type Statement =
  | { kind: "text"; text: string }
  | { kind: "output"; value: Expression }
  | { kind: "set"; target: Target; value: Expression }
  | { kind: "set-block"; target: Target; filter: Filtering | undefined; body: Body }
  | For
  | { kind: "if"; branches: { test: Expression; statements: Statement[] }[]; otherwise: Statement[] }
  | { kind: "macro"; definition: MacroDefinition }
  | { kind: "call-block"; definition: MacroDefinition; call: Call }
  | { kind: "filter-block"; filter: Filtering; body: Body }
  | { kind: "with"; bindings: { target: Target; value: Expression }[]; body: Body }
  | { kind: "generation"; body: Body }
  | { kind: "block"; name: string; isScoped: boolean; isRequired: boolean; body: Body }
  | { kind: "break" | "continue" };

/** A loop. */
export interface For {
  kind: "for";
  target: Target;
  iterable: Expression;
  test: Expression | undefined;
  isRecursive: boolean;
  body: Body;
  otherwise: Body;
}
