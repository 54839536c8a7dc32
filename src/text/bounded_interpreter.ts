/**
 * Jinja's interpreter with bounds on its time and memory. A chat template is a program that came with a model; a bad one must not
 * stop the server, however few words it needs for that.
 *
 * All work passes through `evaluate`, which is called for every node of the syntax tree. It counts steps, and what a single step may
 * cost is bounded before it is taken: lists by their length, and what turns values into text, or multiplies a text by another one,
 * by the size that its operands have when they arrive.
 */

import { type Environment, Interpreter } from "@huggingface/jinja";

/** The messages can't be made into a prompt: the template said so, or it went over a limit. */
export class TemplateError extends Error {
  override name = "TemplateError";
}

/** Steps that one rendering may take, in one turn on the event loop: enough for thousands of messages, some 70 ms. */
const STEPS_MAX = 150_000;

/** Longest list that a template may make. */
export const LIST_LENGTH_MAX = 100_000;

/** Longest text, in UTF-16 code units, that one filter may make on the way; the limit of what it may return is lower. */
const FILTERED_LENGTH_MAX = 2 ** 26;

/** A list costs a step for so many elements when it is looked at, and one for each when it is made or looped over. */
const ELEMENTS_PER_STEP = 256;

/** A text costs a step for so many code units. */
const CHARACTERS_PER_STEP = 4096;

type Value = ReturnType<Interpreter["evaluate"]>;

/** A node of the syntax tree, as far as it matters here. */
interface SyntaxNode {
  type: string;
  /** A filter's name, or the call with its name. */
  filter?: { value?: unknown; callee?: { value?: unknown } };
  operator?: { value?: unknown };
  callee?: { property?: { value?: unknown } };
}

/** What a node does with the values of the nodes right below it. */
type Use = "spells" | "loops" | "multiplies" | "selects" | "reads";

/** A node that is being evaluated. */
interface Frame {
  use: Use;
  /** The two largest sizes of what a node that multiplies has got. */
  largest: number;
  second: number;
  /** What a node that selects has selected from. */
  source: Value | undefined;
}

/** Filters whose result is the operand as text, or may be as long as the operand times an argument. */
const MULTIPLYING = new Set<unknown>(["tojson", "string", "join", "replace", "indent"]);

function useOf(node: SyntaxNode): Use {
  switch (node.type) {
    case "For":
      return "loops";
    case "Program":
    case "If":
    case "Set":
    case "Macro":
    case "CallStatement":
    case "FilterStatement":
    case "BinaryExpression":
      return "spells";
    case "FilterExpression":
      return MULTIPLYING.has(node.filter?.callee?.value ?? node.filter?.value) ? "multiplies" : "reads";
    case "CallExpression":
      return node.callee?.property?.value === "replace" ? "multiplies" : "reads";
    case "MemberExpression":
      return "selects";
    default:
      return "reads";
  }
}

/** The interpreter of one rendering. */
export class BoundedInterpreter extends Interpreter {
  #steps = 0;
  #frame: Frame | undefined;
  readonly #lists = new WeakSet<readonly unknown[]>();
  readonly #charactersMax: number;

  /** @param charactersMax longest text, in UTF-16 code units, that any node may make. */
  constructor(environment: Environment, charactersMax: number) {
    super(environment);
    this.#charactersMax = charactersMax;
  }

  override evaluate(...[node, environment]: Parameters<Interpreter["evaluate"]>): Value {
    this.#spend(1);
    const parent = this.#frame;
    const frame: Frame = { use: node === undefined ? "reads" : useOf(node), largest: 1, second: 1, source: undefined };
    this.#frame = frame;
    let result: Value;
    try {
      result = super.evaluate(node, environment);
    } finally {
      this.#frame = parent;
    }
    this.#charge(result);
    // A method has the size of the text that it belongs to.
    if (parent !== undefined) this.#use(parent, result.type === "FunctionValue" ? (frame.source ?? result) : result);
    return result;
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > STEPS_MAX) throw new TemplateError(`the chat template takes more than ${STEPS_MAX} steps`);
  }

  /** Counts what a value costs whoever made it or looks at it. */
  #charge({ value }: Value): void {
    if (typeof value === "string") {
      if (value.length > this.#charactersMax) {
        throw new TemplateError(`the chat template makes more than ${this.#charactersMax} characters`);
      }
      this.#spend(value.length / CHARACTERS_PER_STEP);
    } else if (Array.isArray(value)) {
      if (value.length > LIST_LENGTH_MAX) {
        throw new TemplateError(`the chat template makes a list of more than ${LIST_LENGTH_MAX} elements`);
      }
      this.#spend(this.#lists.has(value) ? value.length / ELEMENTS_PER_STEP : value.length);
      this.#lists.add(value);
    }
  }

  /** Checks a value before the node that asked for it goes to work on it. */
  #use(parent: Frame, value: Value): void {
    if (parent.use === "selects") {
      parent.source ??= value;
    } else if (parent.use === "multiplies") {
      const size = Math.max(this.#sizeOf(value), typeof value.value === "number" ? value.value : 0);
      parent.second = Math.max(parent.second, Math.min(parent.largest, size));
      parent.largest = Math.max(parent.largest, size);
      const length = parent.largest * parent.second;
      if (length > FILTERED_LENGTH_MAX) throw tooLarge();
      this.#spend(length / CHARACTERS_PER_STEP);
    } else if (parent.use !== "reads") {
      this.#sizeOf(value);
      if (parent.use === "loops" && Array.isArray(value.value)) this.#spend(value.value.length);
    }
  }

  /**
   * About how long a value is as text, indented: what lies deep counts for more. Parts that occur several times count each time, as
   * they do in the text; so this is bounded, too.
   */
  #sizeOf(value: Value): number {
    let size = 0;
    const add = (part: Value, depth: number) => {
      const content: unknown = part.value;
      size += depth + (typeof content === "string" ? content.length : 1);
      if (size > FILTERED_LENGTH_MAX) throw tooLarge();
      if (Array.isArray(content)) {
        this.#spend(content.length / ELEMENTS_PER_STEP);
        for (const element of content) add(element, depth + 1);
      } else if (content instanceof Map) {
        this.#spend(content.size / ELEMENTS_PER_STEP);
        for (const [key, element] of content) {
          size += String(key).length;
          add(element, depth + 1);
        }
      }
    };
    add(value, 0);
    return size;
  }
}

function tooLarge(): TemplateError {
  return new TemplateError(`the chat template makes more than ${FILTERED_LENGTH_MAX} characters on the way`);
}
